"""Which values become which classes, and which images are held out."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.semantic_config import SemanticConfig
from napari_implicitseg.training import held_parts
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_examples import class_examples
from napari_implicitseg.training.semantic_patches import ClassSampler

from .helpers import Recording

ALL = SemanticConfig(held_out=0)


def _volumes(*masks) -> list[TrainingVolume]:
    return [
        TrainingVolume(raw=np.zeros((1, *np.shape(m))), labels=np.asarray(m), name=f"image {i}")
        for i, m in enumerate(masks, start=1)
    ]


def _wide(*values: int) -> np.ndarray:
    return np.repeat(np.array([values], np.int64), 10, axis=0).repeat(4, axis=1)


@pytest.mark.parametrize(
    ("mask", "options", "values", "classes"),
    [
        ((0, 1, 2), {}, (1, 2), {0: 0, 1: 1, 2: 2}),
        ((0, 1, 2), {"zero": "background"}, (0, 1, 2), {0: 1, 1: 2, 2: 3}),
        ((1, 3, 255), {"ignore": 255}, (1, 2, 3), {1: 1, 3: 3, 255: 0}),
        ((1, 2), {"classes": ("a", "b", "c")}, (1, 2, 3), {1: 1, 2: 2}),
        ((5, 1, 9), {"values": (9, 5)}, (9, 5), {5: 2, 1: 0, 9: 1}),
    ],
)
def test_values_become_classes(mask, options, values, classes):
    config = dataclasses.replace(ALL, **options)
    told = "0 is class 1" if "zero" in options else "No mask has" if 2 not in mask else ""
    told = "" if "values" in options else told or ("No mask has c" if "classes" in options else "")
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        found = class_examples(_volumes(_wide(*mask)), config)
    assert found.values == values
    labels = found.taught[0].labels
    for value, number in classes.items():
        assert set(labels[_wide(*mask) == value].tolist()) == {number}


def test_other_values_become_classes_in_ascending_order_and_this_is_said():
    config = dataclasses.replace(ALL, zero="background", classes=("rest", "cell", "nucleus"))
    with pytest.warns(UserWarning, match=r"0 is class 1 \(rest\), 128 is class 2 \(cell\), 255"):
        found = class_examples(_volumes(_wide(255, 0, 128)), config)
    assert found.taught[0].labels[0, ::4].tolist() == [3, 1, 2]
    assert found.classes == ("rest", "cell", "nucleus")


@pytest.mark.parametrize(
    ("masks", "options", "message"),
    [
        ([_wide(0, 0)], {}, "nothing to learn"),
        ([_wide(255, 255)], {"ignore": 255}, "nothing to learn"),
        ([_wide(0, 7)], {}, "one class only.*say that 0 is background"),
        ([_wide(1, 2, 3)], {"classes": ("a", "b")}, "There are 2 classes by name"),
        ([_wide(-1, 1)], {}, "hold -1"),
        ([np.arange(400).reshape(20, 20)], {}, "looks like an image, or like ids"),
        ([_wide(1, 2).astype(float)], {}, "dtype float64; classes are integers"),
        ([], {}, "no images to learn from"),
    ],
)
def test_masks_that_teach_nothing_are_refused(masks, options, message):
    with pytest.raises(InputError, match=message):
        class_examples(_volumes(*masks), dataclasses.replace(ALL, **options))


@pytest.mark.parametrize("value", [2**32 - 1, 2**40, 2**63 - 1])
def test_values_far_apart_are_two_classes(value):
    with pytest.warns(UserWarning, match=f"1 is class 1 .*{value} is class 2"):
        found = class_examples(_volumes(_wide(1, value)), ALL)
    assert found.values == (1, value)
    assert set(np.unique(found.taught[0].labels)) == {1, 2}


def _many(count: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + count)[None].repeat(3, axis=0)


@pytest.mark.parametrize(
    ("mask", "options", "count"),
    [
        (_many(65, 0), {}, 64),
        (_many(255), {"classes": tuple(f"c{i}" for i in range(255))}, 255),
        (_many(256, 0), {"classes": tuple(f"c{i}" for i in range(255))}, 255),
        (_many(5000), {"values": (7, 4000)}, 2),
        (_many(5000), {"values": tuple(range(1, 256))}, 255),
        (_many(100).astype(np.uint64) + np.uint64(2**63), {"values": (7, 4000)}, 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Values of the masks become")
def test_many_values_are_classes_where_somebody_says_so(mask, options, count):
    config = dataclasses.replace(ALL, **options)
    mask = mask.astype(np.uint64)
    if not count:
        with pytest.raises(InputError, match="nothing to learn"):
            class_examples(_volumes(mask), config)
        return
    found = class_examples(_volumes(mask), config)
    assert len(found.classes) == count
    assert np.count_nonzero(np.unique(found.taught[0].labels)) == count


def test_values_that_are_too_large_are_told_as_they_are():
    mask = _wide(1, 2).astype(np.uint64) + np.uint64(2**63)
    with pytest.raises(InputError, match="holds 9223372036854775810; values of classes are at"):
        class_examples(_volumes(mask), ALL)


@pytest.mark.parametrize("options", [{"classes": ("a", "b", "c")}, {"values": (1, 2, 9)}])
@pytest.mark.filterwarnings("ignore:There is one image only")
def test_a_class_that_a_single_image_lacks_is_told(options):
    mask = np.tile(_wide(1, 2), (4, 4))
    for held_out in (0.0, 0.25):
        config = SemanticConfig(held_out=held_out, **options)
        with pytest.warns(UserWarning, match="No mask has (c|class 3): it cannot be learned"):
            class_examples(_volumes(mask), config)


@pytest.mark.filterwarnings("ignore:There is one image only")
def test_a_class_that_only_the_held_out_part_has_is_told(monkeypatch):
    mask = np.tile(_wide(1, 2), (4, 4))
    mask[-1, :3] = 3
    monkeypatch.setattr(held_parts, "_ends", lambda *_: iter([(slice(30, 40), slice(0, 32))]))
    monkeypatch.setattr(held_parts, "_boxes", lambda *_: iter(()))
    with pytest.warns(
        UserWarning, match="Only the held-out part y 30 to 39 has class 3: it cannot"
    ):
        class_examples(_volumes(mask), SemanticConfig(held_out=0.25))


def test_an_image_of_which_all_is_ignored_is_left_out_with_its_name():
    with pytest.warns(UserWarning, match="1 of 3 images is left out.*image 2"):
        found = class_examples(_volumes(_wide(1, 2), _wide(0), _wide(2, 1)), ALL)
    assert [v.name for v in found.taught] == ["image 1", "image 3"]


def test_whole_images_are_held_out_by_seed():
    volumes = _volumes(*(_wide(1, 2) for _ in range(10)))
    splits = {
        seed: [v.name for v in class_examples(volumes, SemanticConfig(seed=seed)).held]
        for seed in range(4)
    }
    assert all(len(held) == 2 for held in splits.values())
    assert len({tuple(held) for held in splits.values()}) > 1
    again = class_examples(volumes, SemanticConfig(seed=2))
    assert [v.name for v in again.held] == splits[2]
    assert not {v.name for v in again.held} & {v.name for v in again.taught}


@pytest.mark.parametrize("seed", range(8))
def test_every_class_stays_among_what_is_learned_from(seed):
    masks = [_wide(1, 2, 3), _wide(1, 3), *(_wide(1, 2) for _ in range(4))]
    found = class_examples(_volumes(*masks), SemanticConfig(seed=seed, held_out=0.5))
    assert set(np.unique(np.concatenate([v.labels for v in found.taught], axis=1))) == {1, 2, 3}


def _names(volumes) -> list[str]:
    return [v.name for v in volumes]


@pytest.mark.parametrize("held_out", [0.0, 0.2])
def test_a_class_in_no_image_is_told(held_out):
    config = SemanticConfig(classes=("a", "b", "ghost"), held_out=held_out)
    with pytest.warns(UserWarning, match="No mask has ghost: it cannot be learned"):
        class_examples(_volumes(*(_wide(1, 2) for _ in range(4))), config)


@pytest.mark.parametrize("seed", range(6))
def test_the_only_image_with_a_class_is_learned_from(seed):
    masks = [_wide(1, 2) for _ in range(20)]
    masks[7], masks[11] = _wide(1, 3), _wide(4, 1)
    found = class_examples(_volumes(*masks), SemanticConfig(seed=seed, held_out=0.8))
    assert {"image 8", "image 12"} <= set(_names(found.taught))
    assert len(found.held) == 16
    two = class_examples(_volumes(_wide(1, 2), _wide(1, 2, 3)), SemanticConfig(seed=seed))
    assert (_names(two.taught), _names(two.held)) == (["image 2"], ["image 1"])


def test_fewer_are_held_out_where_classes_would_be_lost_and_this_is_said():
    masks = [_wide(1, 2), _wide(1, 3), _wide(1, 4), _wide(1, 2)]
    with pytest.warns(UserWarning, match="1 of 4 images is held out instead of 2: without"):
        found = class_examples(_volumes(*masks), SemanticConfig(held_out=0.5))
    assert _names(found.held)[0] in ("image 1", "image 4")


def test_where_each_image_has_a_class_of_its_own_a_part_of_one_is_held_out():
    masks = [np.tile(_wide(1, 2), (4, 4)), np.tile(_wide(1, 3), (4, 4))]
    with pytest.warns(UserWarning, match="No whole image can be held out.*the part y .* of image"):
        found = class_examples(_volumes(*masks), SemanticConfig())
    assert len(found.taught) == 2
    assert len(found.held) == 1
    everything = np.concatenate([np.unique(v.labels) for v in found.taught])
    assert set(everything.tolist()) == {1, 2, 3}


def test_the_same_files_are_held_out_in_any_order():
    volumes = [dataclasses.replace(v, name=f"'{v.name}.png'") for v in _volumes(*[_wide(1, 2)] * 9)]
    config = SemanticConfig(seed=3, held_out=0.4)
    held = set(_names(class_examples(volumes, config).held))
    for order in (reversed(range(9)), (4, 8, 0, 2, 1, 7, 3, 6, 5)):
        assert set(_names(class_examples([volumes[i] for i in order], config).held)) == held


def test_of_one_image_a_part_is_held_out_and_this_is_said():
    mask = np.tile(_wide(1, 2), (4, 4))
    with pytest.warns(UserWarning, match="one image only: its part y 30 to 39 is held out"):
        found = class_examples(_volumes(mask), SemanticConfig(held_out=0.25))
    assert found.taught[0].shape == (30, 32)
    assert found.held[0].shape == (10, 32)
    assert found.held[0].name == "image 1 (y 30 to 39)"


def test_of_one_image_what_is_not_measured_is_said():
    mask = np.tile(_wide(1, 2), (4, 4))
    mask[20, 3] = 3
    with (
        pytest.warns(UserWarning, match="one image only"),
        pytest.warns(UserWarning, match="part y 30 to 39 has no class 3, which is not measured"),
    ):
        class_examples(_volumes(mask), SemanticConfig(held_out=0.25))
    few = np.zeros((40, 32), np.uint8)
    few[3, 4], few[30, 9] = 1, 2
    with pytest.warns(UserWarning, match="Image 1 has too few labels to hold some out"):
        found = class_examples(_volumes(few), SemanticConfig(held_out=0.25))
    assert (len(found.taught), found.held) == (1, ())


@pytest.mark.parametrize("ndim", [2, 3])
def test_masks_in_files_are_read_once_until_a_patch_is_drawn(ndim):
    masks = [np.tile(_wide(1, 2), (3, 9, 7))[:, :90, :50] for _ in range(2)]
    lazy = [Recording(mask, (2, 40, 50)) for mask in masks]
    volumes = [
        dataclasses.replace(v, labels=mask) for v, mask in zip(_volumes(*masks), lazy, strict=True)
    ]
    found = class_examples(volumes, SemanticConfig(ndim=ndim, held_out=0))
    options = {"classes": 2, "seed": 0, "normalise": Normalisation()}
    patch = (16,) * ndim if ndim == 2 else (2, 16, 16)
    sampler = ClassSampler(found.taught, patch, **options)
    assert [mask.voxels for mask in lazy] == [mask.size for mask in masks]
    assert sampler.counts.tolist() == [[(m == 1).sum(), (m == 2).sum()] for m in masks]
    whole = ClassSampler(class_examples(_volumes(*masks), ALL).taught, patch, **options)
    assert whole.counts.tolist() == sampler.counts.tolist()
    assert sampler.sample(3).labels.any()


def test_a_value_that_turns_up_later_in_a_file_is_refused():
    from napari_implicitseg.models.class_values import ClassValues, MappedMask

    lazy = MappedMask(_wide(1, 2, 9), ClassValues(values=(1, 2), ignored=(0,)), "mask of x")
    assert lazy[:, :8].max() == 2
    with pytest.raises(InputError, match="mask of x holds 9, which is no class"):
        lazy[...]
