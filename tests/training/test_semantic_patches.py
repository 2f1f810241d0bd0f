"""Patches for classes: any size of image, a share for rare classes, nothing made up is learned."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_patches import ClassPlaces, ClassSampler

RANGE = Normalisation(kind="range", low=0, high=2)


def _volume(labels: np.ndarray, channels: int = 1) -> TrainingVolume:
    raw = np.stack([labels.astype(np.float32)] * channels)
    return TrainingVolume(raw=raw, labels=labels, zero="unlabelled", name="image")


def _sampler(volumes, patch, **options) -> ClassSampler:
    return ClassSampler(volumes, patch, **{"classes": 3, "seed": 0, "normalise": RANGE, **options})


@pytest.mark.parametrize("shape", [(7, 40), (40, 7), (5, 3), (33, 33), (1, 20)])
def test_images_smaller_than_a_patch_are_filled_with_what_teaches_nothing(shape):
    labels = np.ones(shape, np.uint8)
    patch = _sampler([_volume(labels)], (16, 16)).sample(0)
    assert patch.raw.shape == (1, 16, 16)
    known = min(16, shape[0]) * min(16, shape[1])
    assert patch.known.sum() == known
    # Mirrored: every grey level is one the image has.
    np.testing.assert_array_equal(patch.raw, np.zeros((1, 16, 16)))


def test_raw_and_labels_stay_together_in_every_form():
    rng = np.random.default_rng(1)
    coarse = rng.integers(1, 4, (12, 12))
    labels = np.kron(coarse, np.ones((8, 8), int)).astype(np.uint8)
    moving = Augmentation(intensity=0, noise=0, blur=0, colour=0)
    sampler = _sampler([_volume(labels)], (32, 32), augmentation=moving)
    for step in range(10):
        patch = sampler.sample(step)
        known = patch.known
        agree = np.round(patch.raw[0] + 1).astype(int)[known] == patch.labels[known]
        assert agree.mean() > 0.9  # Grey levels between pixels differ at borders only.


def test_a_rare_class_gets_its_share_of_patches():
    labels = np.ones((200, 200), np.uint8)
    labels[3:6, 190:193] = 3
    common = _volume(np.ones((200, 200), np.uint8))
    seen = {}
    for share in (0.0, 1.0):
        sampler = _sampler([common, _volume(labels)], (16, 16), balanced_share=share)
        seen[share] = np.mean([(sampler.sample(i).labels == 3).any() for i in range(60)])
    assert seen[0.0] < 0.1
    assert 0.3 < seen[1.0] < 0.7


def test_sections_of_stacks_and_images_are_samples_of_one_network():
    stack = np.zeros((3, 30, 30), np.uint8)
    stack[2] = 2
    sampler = _sampler([_volume(stack), _volume(np.ones((20, 20), np.uint8))], (16, 16))
    patches = [sampler.sample(step) for step in range(20)]
    assert {patch.raw.shape for patch in patches} == {(1, 16, 16)}
    assert {patch.start[0] for patch in patches if patch.volume == 0} == {2}


def test_patches_depend_on_seed_and_step_alone():
    volumes = [_volume(np.random.default_rng(0).integers(0, 4, (40, 50)).astype(np.uint8), 3)]
    one = _sampler(volumes, (16, 24), augmentation=Augmentation(colour=1.0))
    other = _sampler(volumes, (16, 24), augmentation=Augmentation(colour=1.0))
    one.sample(4)
    for item in range(2):
        a, b = one.sample(3, item), other.sample(3, item)
        np.testing.assert_array_equal(a.raw, b.raw)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert not np.array_equal(one.sample(3).raw, one.sample(5).raw)


def test_few_labelled_pixels_are_never_lost_by_a_deformation():
    labels = np.zeros((60, 60), np.uint8)
    labels[30, 31] = 2
    strong = Augmentation(elastic=1.0, displacement=8.0, rotation=45.0)
    sampler = _sampler([_volume(labels)], (16, 16), augmentation=strong)
    assert all(sampler.sample(step).known.any() for step in range(30))


def test_pixels_of_a_class_are_all_as_likely():
    labels = np.zeros((300, 4), np.uint8)
    labels[[0, 150, 299], 1] = 2
    places = ClassPlaces(labels, 3, flat=False)
    assert places.counts.tolist() == [0, 3, 0]
    rng = np.random.default_rng(0)
    rows = [places.choose(rng, 1)[0] for _ in range(300)]
    assert sorted(set(rows)) == [0, 150, 299]
    assert min(rows.count(row) for row in (0, 150, 299)) > 70


def test_masks_without_a_label_are_refused():
    with pytest.raises(InputError, match="No pixel of any mask is labelled"):
        _sampler([_volume(np.zeros((20, 20), np.uint8))], (16, 16))
