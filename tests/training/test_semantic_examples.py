"""Which values become which classes, and which images are held out."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.semantic_config import SemanticConfig
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_examples import class_examples

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
    said = pytest.warns(UserWarning, match="0 is class 1") if "zero" in options else nullcontext()
    with said:
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
        ([_wide(0, 7)], {}, r"one class only.*--zero background"),
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


def test_an_image_of_which_all_is_ignored_is_left_out_with_its_name():
    with pytest.warns(UserWarning, match="1 of 3 images are left out.*image 2"):
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


def test_a_class_in_no_image_to_learn_from_is_told():
    config = SemanticConfig(classes=("a", "b", "ghost"))
    with pytest.warns(UserWarning, match="has ghost: it cannot be learned"):
        class_examples(_volumes(*(_wide(1, 2) for _ in range(4))), config)


def test_of_one_image_a_part_is_held_out_and_this_is_said():
    mask = np.tile(_wide(1, 2), (4, 4))
    with pytest.warns(UserWarning, match="There is one image only"):
        found = class_examples(_volumes(mask), SemanticConfig(held_out=0.25))
    assert found.taught[0].shape == (30, 32)
    assert found.held[0].shape == (10, 32)


def test_a_value_that_turns_up_later_in_a_file_is_refused():
    from napari_implicitseg.models.class_values import ClassValues, MappedMask

    lazy = MappedMask(_wide(1, 2, 9), ClassValues(values=(1, 2), ignored=(0,)), "mask of x")
    assert lazy[:, :8].max() == 2
    with pytest.raises(InputError, match="mask of x holds 9, which is no class"):
        lazy[...]
