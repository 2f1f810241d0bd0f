"""Figures of classes against scikit-image-like definitions by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.errors import InputError

NAMES = ("a", "b", "c")


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (40, 50))
    found = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(1, 4, truth.shape))
    return np.maximum(found, 1), truth


def test_the_matrix_and_its_figures_are_those_of_the_definition(pair):
    found, truth = pair
    evaluation = SemanticEvaluation.of(NAMES, found, truth)
    wanted = [[np.sum((truth == t) & (found == f)) for f in (1, 2, 3)] for t in (1, 2, 3)]
    matrix = evaluation.matrix
    assert matrix.tolist() == np.array(wanted).tolist()
    assert evaluation.accuracy == pytest.approx(np.trace(matrix) / matrix.sum())
    known = truth > 0
    for i, name in enumerate(NAMES, start=1):
        ours, theirs = (found == i) & known, truth == i
        iou = np.sum(ours & theirs) / np.sum(ours | theirs)
        assert evaluation.iou_per_class[name] == pytest.approx(iou)
        assert evaluation.shares[name] == pytest.approx(theirs.sum() / known.sum())
    assert evaluation.iou == pytest.approx(np.mean(list(evaluation.iou_per_class.values())))


def test_images_add_up_to_the_whole(pair):
    found, truth = pair
    parts = [
        SemanticEvaluation.of(NAMES, found[:15], truth[:15], "first"),
        SemanticEvaluation.of(NAMES, found[15:], truth[15:], "second"),
    ]
    joined, whole = SemanticEvaluation.joined(parts), SemanticEvaluation.of(NAMES, found, truth)
    assert joined.matrix.tolist() == whole.matrix.tolist()
    assert [image.name for image in joined.images] == ["first", "second"]
    assert json.loads(json.dumps(joined.as_dict()))["accuracy"] == whole.accuracy


def test_a_class_that_the_truth_lacks_has_no_iou_but_its_pixels_count():
    found, truth = np.array([1, 3, 2, 2]), np.array([1, 1, 2, 2])
    evaluation = SemanticEvaluation.of(NAMES, found, truth)
    assert evaluation.iou_per_class == {"a": 0.5, "b": 1.0}
    assert evaluation.iou == 0.75
    assert evaluation.matrix.tolist() == [[1, 0, 1], [0, 2, 0], [0, 0, 0]]
    assert evaluation.shares["c"] == 0


def test_the_worst_images_come_first():
    truth = np.array([1, 1, 2, 2])
    parts = [
        SemanticEvaluation.of(NAMES, found, truth, name)
        for name, found in (("good", [1, 1, 2, 2]), ("bad", [2, 2, 1, 1]), ("fair", [1, 1, 1, 2]))
    ]
    worst = SemanticEvaluation.joined(parts).worst(2)
    assert [image.name for image in worst] == ["bad", "fair"]


def test_nothing_to_measure_is_told():
    with pytest.raises(InputError, match="mask of 'x.png' are unlabelled"):
        SemanticEvaluation.of(NAMES, np.ones(4, int), np.zeros(4, int), "'x.png'")
    with pytest.raises(InputError, match="no image to measure"):
        SemanticEvaluation.joined([])


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ([0, 1], [1, 1], "prediction of x holds 0; the 3 classes are 1 to 3"),
        ([4, 1], [1, 1], "prediction of x holds 4"),
        ([1, 1], [4, 1], "mask of x holds 4"),
        ([1, 1], [-2, 1], "mask of x holds -2"),
    ],
)
def test_numbers_that_are_no_classes_are_refused(found, truth, message):
    with pytest.raises(InputError, match=message):
        SemanticEvaluation.of(NAMES, found, truth, "x")
    # Where nothing is labelled, anything may be predicted.
    assert SemanticEvaluation.of(NAMES, [0, 1], [0, 1]).table.total == 1


def test_figures_of_other_classes_are_not_joined():
    one = SemanticEvaluation.of(NAMES, [1], [1])
    other = SemanticEvaluation.of(("x", "y"), [1], [1])
    with pytest.raises(InputError, match="a, b, c and of the classes x, y do not add up"):
        SemanticEvaluation.joined([one, other])
