"""Tests of what the evaluation widget takes and refuses."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest

from napari_implicitseg.evaluation import evaluate

from .evaluate_cases import cells, evaluate_opener, press

open_evaluate = evaluate_opener

TRUTH = {"name": "truth"}
CELLS = {"name": "cells"}


def test_the_advice_says_what_is_missing(open_evaluate, qtbot, notes):
    labels, truth = cells()
    viewer, widget = open_evaluate()
    assert "each as a Labels layer" in widget.advice.text()
    viewer.add_labels(labels, name="cells")
    assert "only one Labels layer, 'cells'" in widget.advice.text()
    viewer.add_labels(truth, name="b")
    assert "Choose the layer of the truth" in widget.advice.text()
    widget.choose(viewer.layers["cells"], viewer.layers["cells"])
    assert "'cells' is chosen twice" in widget.advice.text()
    press(widget, qtbot)
    assert "chosen as labels and as truth" in widget.advice.text()
    widget.choose(truth=viewer.layers["b"])
    press(widget, qtbot)
    assert "VOI" in widget.advice.text()
    assert len(notes) == 1


@pytest.mark.parametrize("name", ["truth", "Ground truth", "my_gt", "EM-truth", "groundtruth"])
def test_a_layer_named_truth_is_taken_for_it(open_evaluate, name):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": name}), (labels, {"name": "weights"}))
    assert widget.truth_box.layer.name == name
    assert widget.labels_box.layer.name == "weights"


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"scale": (1, 1)}, {"scale": (2, 2)}, r"has scale \(1, 1\) px but 'truth' has \(2, 2\)"),
        ({"translate": (0, 3)}, {}, r"lie apart, by \(0, -3\) voxels"),
        ({"rotate": 45}, {}, "is turned or sheared"),
        ({"scale": (2, 2), "translate": (4, 0)}, {"scale": (2, 2)}, r"apart, by \(-2, 0\) voxels"),
    ],
)
def test_layers_that_do_not_lie_on_each_other_are_refused(
    open_evaluate, qtbot, notes, ours, theirs, message
):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {**TRUTH, **theirs}), (labels, {**CELLS, **ours}))
    press(widget, qtbot)
    assert widget.session.outcome is None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(notes[-1])
    assert "'cells'" in notes[-1]
    assert "Compare by index" in notes[-1]
    widget.anywhere_check.setChecked(True)
    press(widget, qtbot)
    assert widget.session.outcome.found["voi"] == evaluate(labels, truth)["voi"]


def test_one_place_in_different_units_is_one_place(open_evaluate, qtbot):
    labels, truth = cells()
    _, widget = open_evaluate(
        (truth, {**TRUTH, "scale": (8, 8), "units": ("nm", "nm")}),
        (labels, {**CELLS, "scale": (0.008, 0.008), "units": ("um", "um")}),
    )
    press(widget, qtbot)
    assert widget.session.outcome is not None


@pytest.mark.parametrize("shape", [(40, 39), (3, 40, 40)])
def test_other_shapes_are_refused(open_evaluate, qtbot, notes, shape):
    labels, _ = cells()
    _, widget = open_evaluate((np.ones(shape, int), TRUTH), (labels, CELLS))
    press(widget, qtbot)
    assert f"'cells' has shape (40, 40) but 'truth' has {shape}" in notes[-1]


def test_the_finest_levels_that_fit_are_compared(open_evaluate, qtbot):
    labels, truth = cells(2, 80)
    levels = [np.kron(labels, np.ones((2, 2), int)), labels, labels[::2, ::2]]
    viewer, widget = open_evaluate(
        (truth, {**TRUTH, "scale": (2, 2), "translate": (0.5, 0.5)}),
        (levels, {**CELLS, "multiscale": True}),
    )
    press(widget, qtbot)
    outcome = widget.session.outcome
    assert outcome.request.levels == (1, 0)
    assert outcome.found["voi"] == evaluate(labels, truth)["voi"]
    widget.splits.clicked.emit(widget.splits.model().index(0, 0))
    world = viewer.layers["truth"].data_to_world(outcome.places[0])
    assert viewer.scene.camera.center[-2:] == pytest.approx(world)
    assert viewer.layers["cells"].selected_label == 200


def test_lazy_layers_are_compared(open_evaluate, qtbot):
    labels, truth = cells(3)
    lazy = dask.array.from_array(labels, chunks=16)
    _, widget = open_evaluate((truth, TRUTH), (lazy, CELLS))
    press(widget, qtbot)
    assert widget.session.outcome.found["voi"] == evaluate(labels, truth)["voi"]


def test_a_truth_without_labels_is_refused(open_evaluate, qtbot, notes):
    labels, truth = cells()
    _, widget = open_evaluate((truth * 0, TRUTH), (labels, CELLS))
    press(widget, qtbot)
    assert "all 1,600 have the label 0 in 'truth', which is left out" in notes[-1]
    widget.ignore_box.setValue(-1)
    press(widget, qtbot)
    assert widget.session.outcome.found["voi_merge"] == 0


def test_a_note_says_what_is_not_seen(open_evaluate, qtbot):
    labels, truth = cells()
    _, widget = open_evaluate((np.where(truth == 6, 1, 0), TRUTH), (labels, CELLS))
    press(widget, qtbot)
    assert '"Leave out: nothing" counts it.' in widget.notes.text()


def test_four_axes_have_figures_but_no_places(open_evaluate, qtbot, notes):
    labels, truth = cells()
    pair = [np.broadcast_to(a, (2, 3, *a.shape)).copy() for a in (labels, truth)]
    _, widget = open_evaluate((pair[1], TRUTH), (pair[0], CELLS))
    press(widget, qtbot)
    assert widget.session.outcome.found["voi"] == pytest.approx(evaluate(labels, truth)["voi"])
    assert "4 axes" in widget.notes.text()
    widget.splits.clicked.emit(widget.splits.model().index(0, 0))
    assert "no place to show" in notes[-1]
