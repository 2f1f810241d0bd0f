"""What of held-out images is measured while classes are learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from napari_implicitseg import SemanticConfig, train_semantic
from napari_implicitseg.training import semantic_validation
from napari_implicitseg.training.image_names import ToldNames
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_validation import ClassValidation, labelled_window
from napari_implicitseg.training.validation import middle_window
from napari_implicitseg.training.value_counts import count_blocks

from .helpers import Recording

CPU = "cpu"


def _image(labels, name: str = "x") -> TrainingVolume:
    raw = np.zeros((1, *labels.shape), np.uint8)
    return TrainingVolume(raw=raw, labels=labels, name=name)


class Predictor:
    """A model that says class 1 everywhere."""

    def predict(self, raw, **_):
        return np.ones(raw.shape[1:], np.uint8)


def test_the_middle_is_measured_where_all_classes_are_there():
    labels = np.tile(np.array([[1, 2]], np.uint8).repeat(50, axis=1), (1000, 6))
    window = labelled_window(_image(labels), 2, 1 << 17, 2)
    assert window == middle_window(labels.shape, 1 << 17, 2)
    small = labelled_window(_image(labels[:300]), 2, 1 << 20, 2)
    assert small == (slice(0, 300), slice(0, 600))


@pytest.mark.parametrize("place", list(itertools.product((3, 500, 1350), repeat=2)))
def test_a_large_image_is_measured_where_its_labels_are(place):
    labels = np.zeros((1400, 1400), np.uint8)
    labels[place] = 1
    labels[place[0] + 9, place[1] + 30] = 2
    window = labelled_window(_image(labels), 2, 1 << 17, 2)
    assert np.prod([part.stop - part.start for part in window]) <= 1 << 17
    assert set(np.unique(labels[window])) == {0, 1, 2}


def test_most_classes_count_before_most_labels():
    labels = np.zeros((1400, 1400), np.uint8)
    labels[:300, :300] = 1
    labels[1300:1320, 1300:1320] = 2
    labels[1340:1345, 1300:1320] = 1
    window = labelled_window(_image(labels), 2, 1 << 17, 2)
    assert set(np.unique(labels[window])) == {0, 1, 2}


@pytest.mark.parametrize("at", [10, 900, 4999])
def test_labels_in_blocks_that_are_longer_than_the_window_are_found(at):
    data = np.zeros((600, 5000), np.uint8)
    data[590, at] = 2
    lazy = Recording(data, (50, 5000))
    lazy.counts = count_blocks(lazy).of_classes((1, 2))
    read = lazy.voxels
    window = labelled_window(_image(lazy), 2, 1 << 16, 2)
    assert data[window].any()
    assert lazy.voxels - read < data.size / 4
    assert labelled_window(_image(np.zeros((600, 5000), np.uint8)), 2, 1 << 16, 2) is None


def test_truth_is_read_when_it_is_measured():
    data = np.tile(np.array([[1, 2]], np.uint8), (64, 32))
    masks = [Recording(data, (32, 32)) for _ in range(5)]
    for mask in masks:
        mask.counts = count_blocks(mask).of_classes((1, 2))
        mask.read.clear()
    volumes = [_image(mask, f"image {i}") for i, mask in enumerate(masks)]
    measure = ClassValidation(volumes, ("a", "b"), ndim=2, seed=0, told=ToldNames(()))
    assert [mask.voxels for mask in masks] == [0] * 5
    figures = measure(Predictor(), CPU)
    assert [mask.voxels for mask in masks] == [data.size] * 5
    assert figures["accuracy"] == 0.5
    assert "measured" not in figures


def test_of_many_images_some_are_measured_with_every_class_and_this_is_said(monkeypatch):
    monkeypatch.setattr(semantic_validation, "_ALL", {2: 8 * 900})
    labels = [np.full((30, 30), 1 + (i == 17), np.uint8) for i in range(40)]
    volumes = [_image(mask, f"image {i}") for i, mask in enumerate(labels)]

    def names(seed, volumes=volumes):
        with pytest.warns(UserWarning, match="Of the 40 images that are held out 8 are measured"):
            measure = ClassValidation(volumes, ("a", "b"), ndim=2, seed=seed, told=ToldNames(()))
        figures = measure(Predictor(), CPU)
        assert figures["measured"] == {"images": 8, "of": 40, "share": 0.2}
        return {image["name"] for image in figures["images"]}

    found = [names(seed) for seed in range(4)]
    assert all("image 17" in one for one in found)
    assert len({frozenset(one) for one in found}) == 4
    assert names(2, volumes[::-1]) == found[2]


def test_a_held_out_image_with_labels_at_its_edge_is_measured(tmp_path):
    image = np.zeros((1200, 1200), np.uint8)
    mask = np.zeros_like(image)
    mask[:20], mask[30:60] = 1, 2
    config = SemanticConfig(steps=1, width=4, depth=2, batch_size=1, workers=0, augment=False)
    model = train_semantic([image] * 2, [mask] * 2, config=config, out=tmp_path / "m")
    assert sum(one["pixels"] for one in model.metrics["images"]) > 0
    assert set(model.metrics["iou_per_class"]) == {"class 1", "class 2"}
    assert model.metrics["measured"]["share"] < 1
