"""Pictures of an evaluation of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.errors import OutputExistsError
from napari_implicitseg.semantic.pictures import (
    WorstImages,
    class_colours,
    side_by_side,
    write_confusion,
)
from napari_implicitseg.training.labelled import TrainingVolume

if TYPE_CHECKING:
    from pathlib import Path


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_classes_have_colours_of_their_own():
    colours = class_colours(40)
    assert colours[0].tolist() == [0, 0, 0]
    assert len({tuple(c) for c in colours.tolist()}) == 41


def test_image_truth_and_prediction_lie_side_by_side():
    raw = np.random.default_rng(0).integers(0, 255, (1, 20, 30))
    truth, found = np.ones((20, 30), int), np.full((20, 30), 2)
    truth[:5] = 0
    picture = side_by_side(raw, truth, found, 2)
    colours = class_colours(2)
    assert picture.shape == (20, 3 * 30 + 8, 3)
    assert picture[10, 40].tolist() == colours[1].tolist()
    assert picture[0, 40].tolist() == [0, 0, 0]
    assert picture[10, 80].tolist() == colours[2].tolist()
    assert picture[0, 80].tolist() == (colours[2] // 3).tolist()


def test_of_a_stack_the_section_with_most_mistakes_is_shown():
    truth = np.ones((4, 9, 9), int)
    found = truth.copy()
    found[1, 0], found[2] = 2, 2
    raw = np.stack([np.full((9, 9), z) for z in range(4)])[None]
    raw[0, :, 0, 0] = 9
    picture = side_by_side(raw, truth, found, 2)
    np.testing.assert_array_equal(picture, side_by_side(raw[:, 2], truth[2], found[2], 2))


def test_the_worst_images_are_kept_and_written_in_order(tmp_path):
    truth = np.repeat([[1, 2]], 8, axis=0).repeat(4, axis=1)
    kept = WorstImages(2, 2)
    for name, wrong in (("fair", 2), ("good", 0), ("bad", 6), ("fine", 1)):
        found = truth.copy()
        found[:wrong] = 3 - found[:wrong]
        part = SemanticEvaluation.of(("a", "b"), found, truth, f"'{name}.png'")
        kept(TrainingVolume(raw=truth[None], labels=truth, name=name), truth, found, part)
    names = [path.name for path in kept.write(tmp_path)]
    assert names == ["worst_01_bad.png", "worst_02_fair.png"]
    assert _size(tmp_path / names[0]) == (3 * 8 + 8, 8)


@pytest.mark.parametrize("count", [2, 30])
def test_the_confusion_matrix_is_drawn(tmp_path, count):
    truth = np.arange(1, count + 1).repeat(3)
    names = tuple(f"class {i}" for i in range(1, count + 1))
    evaluation = SemanticEvaluation.of(names, np.roll(truth, 1), truth)
    write_confusion(tmp_path / "c.png", evaluation, title="model")
    assert min(_size(tmp_path / "c.png")) > 300
    with pytest.raises(OutputExistsError):
        write_confusion(tmp_path / "c.png", evaluation)


@pytest.mark.parametrize(
    "names", [(r"$\foo$", "b"), ("細胞", "b"), ("long" * 25, "b"), ("$x$ costs 5$", "$")]
)
def test_any_names_are_drawn_as_they_are(names, tmp_path):
    evaluation = SemanticEvaluation.of(names, np.array([[1, 2]]), np.array([[1, 1]]))
    write_confusion(tmp_path / "c.png", evaluation, title=names[0])
    assert min(_size(tmp_path / "c.png")) > 300


def test_black_and_white_images_are_shown():
    truth = np.ones((4, 5), int)
    picture = side_by_side(np.eye(4, 5, dtype=bool)[None], truth, truth, 2)
    np.testing.assert_array_equal(picture[:, :5, 0], 255 * np.eye(4, 5))
