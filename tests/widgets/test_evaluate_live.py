"""Tests of the evaluation widget on neurons that are cut live."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from napari_implicitseg.evaluation import evaluate
from napari_implicitseg.metrics import contingency
from napari_implicitseg.widgets import _evaluate_jobs

from .evaluate_cases import Live, evaluate_opener, live_opener, press
from .helpers import settle
from .neurons_cases import neurons_cutter, neurons_opener
from .neurons_cases import truth as true_neurons

open_evaluate, live = evaluate_opener, live_opener
open_neurons, cut = neurons_opener, neurons_cutter


def is_shown(widget, neurons):
    """Whether all figures are those of the neurons as they are now."""
    found = evaluate(neurons.work.labels(), neurons.truth)
    shown = {title: value for title, value, _ in widget.figures.texts()}
    return (
        shown["VOI"] == f"{found['voi']:.4f}"
        and shown["Adapted Rand error"] == f"{found['adapted_rand_error']:.4f}"
        and shown["AP"] == f"{found['ap']:.4f}"
        and not widget.is_working
    )


@pytest.mark.parametrize("linkage", ["mean", "ward"])
def test_the_curve_is_that_of_the_hierarchy(live, qtbot, linkage):
    _, widget, neurons = live(linkage)
    press(widget, qtbot)
    assert is_shown(widget, neurons)
    curve = neurons.work.hierarchy.curve(neurons.truth)
    levels, values = widget.plot.drawing.lines["VOI"]
    np.testing.assert_array_equal(levels, curve.thresholds)
    np.testing.assert_array_equal(values, curve.voi)
    assert f"Best at {curve.best().threshold:.3g}" in widget.point_label.text()
    assert f"Now at {neurons.work.threshold:.3g}" in widget.point_label.text()
    assert not widget.best_button.isHidden()


def test_the_figures_follow_the_slider_without_the_voxels(live, qtbot, monkeypatch):
    _, widget, neurons = live()
    press(widget, qtbot)
    before = widget.session.outcome

    def fails(*_, **__):
        raise AssertionError("voxels were compared again")

    monkeypatch.setattr("napari_implicitseg.metrics.contingency_blocks", fails)
    points = []
    widget.session.moved.connect(points.append)
    neurons.move(0.6)
    qtbot.waitUntil(lambda: bool(points))
    assert points[-1].threshold == 0.6
    assert points[-1].objects == len(np.unique(neurons.work.lookup[1:]))
    assert "Now at 0.6" in widget.point_label.text()
    qtbot.waitUntil(lambda: widget.session.outcome is not before and not widget.is_working)
    table = contingency(neurons.work.labels(), neurons.truth)
    assert widget.session.outcome.found.table.counts.tolist() == table.counts.tolist()
    monkeypatch.undo()
    assert is_shown(widget, neurons)
    assert widget.session.outcome.places is not None


def test_what_is_known_at_once_is_shown_at_once(live, qtbot):
    _, widget, neurons = live()
    press(widget, qtbot)
    neurons.move(0.7)
    widget.session.follow()
    found = evaluate(neurons.work.labels(), neurons.truth)
    texts = {title: value for title, value, _ in widget.figures.texts()}
    assert texts["VOI split"] == f"{found['voi_split']:.4f}"
    assert texts["Rand index"] == f"{found['rand']:.4f}"
    assert texts["AP"] == "..."
    assert texts["Voxels"] == f"{found['voxels']:,}"
    qtbot.waitUntil(lambda: is_shown(widget, neurons))


def test_the_button_goes_to_the_best_threshold(live, qtbot):
    _, widget, neurons = live()
    press(widget, qtbot)
    best = neurons.work.hierarchy.curve(neurons.truth).best()
    assert neurons.work.threshold != best.threshold
    widget.best_button.click()
    assert neurons.work.threshold == best.threshold
    qtbot.waitUntil(lambda: is_shown(widget, neurons))
    assert widget.session.outcome.found["voi"] == pytest.approx(best.voi)


@pytest.mark.parametrize("linkage", ["mean", "ward"])
def test_a_click_in_the_plot_moves_the_threshold(live, qtbot, linkage):
    _, widget, neurons = live(linkage, show=True)
    press(widget, qtbot)
    drawing = widget.plot.drawing
    left, top, right, bottom = drawing.box
    half = QPoint(round((left + right) / 2), round((top + bottom) / 2))
    qtbot.mouseClick(widget.plot, Qt.MouseButton.LeftButton, pos=half)
    assert neurons.work.threshold == pytest.approx(drawing.value_at(half.x()))
    if linkage == "mean":
        assert neurons.work.threshold == pytest.approx(0.5, abs=0.01)
    qtbot.mouseClick(widget.plot, Qt.MouseButton.LeftButton, pos=QPoint(round(right) + 5, 10))
    assert neurons.work.threshold == pytest.approx(drawing.along[0][-1])
    qtbot.waitUntil(lambda: is_shown(widget, neurons))


def test_the_mark_is_drawn_where_the_threshold_is(live, qtbot):
    _, widget, neurons = live(show=True)
    press(widget, qtbot)
    drawing = widget.plot.drawing
    neurons.move(0.9)
    qtbot.waitUntil(lambda: widget.plot._point.threshold == 0.9)
    point = widget.plot._point
    picture = widget.plot.grab().toImage()
    x, y = round(drawing.x_of(0.9)), round(drawing.y_of(point.voi))
    beside = picture.pixelColor(x - 3, y)
    assert beside.lightness() > 200
    neurons.move(0.5)
    qtbot.waitUntil(lambda: widget.plot._point.threshold == 0.5)
    assert widget.plot.grab().toImage().pixelColor(x, y + 4).lightness() < 200


def test_corrections_count(live, qtbot):
    _, widget, neurons = live()
    press(widget, qtbot)
    assert not widget.notes.text()
    labels = neurons.work.labels()
    two = [tuple(int(v) for v in np.argwhere(labels == i)[0]) for i in np.unique(labels)[-2:]]
    neurons.work.merge(*two)
    neurons.repaint()
    qtbot.waitUntil(lambda: is_shown(widget, neurons))
    assert "without corrections" in widget.notes.text()
    curve = widget.session.outcome.known.curve
    ids, sizes = np.unique(neurons.work.labels(), return_counts=True)
    inside = np.argwhere(neurons.work.labels() == ids[sizes.argmax()])
    neurons.work.split([inside[:3], inside[-3:]])
    neurons.repaint()
    qtbot.waitUntil(lambda: is_shown(widget, neurons))
    assert widget.session.outcome.known.curve is curve


def test_a_mistake_is_chosen_in_the_other_panel(live, qtbot):
    viewer, widget, neurons = live()
    press(widget, qtbot)
    table = widget.merges if widget.merges.mistakes else widget.splits
    table.clicked.emit(table.model().index(0, 0))
    outcome = widget.session.outcome
    place = outcome.places[outcome.mistakes.index(table.mistakes[0])]
    assert neurons.picked == [place]
    assert viewer.layers["neurons"].selected_label == neurons.work.object_at(place)


def test_neurons_that_are_let_go_are_compared_as_any_others(live, qtbot, notes):
    _, widget, neurons = live()
    press(widget, qtbot)
    neurons.link.detach(neurons.layer)
    qtbot.waitUntil(lambda: not widget.best_button.isEnabled())
    widget.plot.picked.emit(0.5)
    assert "not cut live" in notes[-1]
    press(widget, qtbot)
    assert widget.best_button.isHidden()
    assert "AP" in widget.plot.drawing.lines


def test_a_duplicate_of_live_neurons_is_not_live(live, qtbot):
    viewer, widget, neurons = live()
    other = copy.deepcopy(neurons.layer.metadata)
    viewer.add_labels(neurons.layer.data.copy(), name="copy", metadata=other)
    widget.choose(viewer.layers["copy"])
    press(widget, qtbot)
    assert widget.session.outcome.known is None


def test_a_new_hierarchy_is_counted_anew(live, qtbot):
    _, widget, neurons = live()
    press(widget, qtbot)
    old = widget.session.outcome.known
    neurons.work = Live(linkage="single").work
    neurons.repaint()
    qtbot.waitUntil(lambda: widget.session.outcome.known.curve is not old.curve)
    qtbot.waitUntil(lambda: is_shown(widget, neurons))
    assert widget.session.outcome.request.cut.hierarchy is neurons.work.hierarchy


def test_neurons_of_another_shape_are_refused_once(live, qtbot, notes, monkeypatch):
    _, widget, neurons = live()
    press(widget, qtbot)
    asked = []
    real = _evaluate_jobs.EvaluateRequest.run
    monkeypatch.setattr(
        _evaluate_jobs.EvaluateRequest, "run", lambda *a: asked.append(1) or real(*a)
    )
    neurons.work = Live((8, 16, 16)).work
    neurons.layer.data = neurons.work.labels()
    qtbot.waitUntil(lambda: bool(notes))
    qtbot.wait(600)
    assert len(notes) == 1
    assert "(8, 16, 16)" in notes[0]
    assert not asked


def test_figures_that_were_cancelled_stay_away_until_the_slider_moves(live, qtbot, monkeypatch):
    _, widget, neurons = live()
    press(widget, qtbot)
    runs = []
    real = _evaluate_jobs.EvaluateRequest.run

    def slow(request, report):
        runs.append(request)
        while len(runs) == 1:
            report(0.5, "Held")
        return real(request, report)

    monkeypatch.setattr(_evaluate_jobs.EvaluateRequest, "run", slow)
    neurons.move(0.6)
    qtbot.waitUntil(lambda: bool(runs))
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: not widget.is_working)
    qtbot.wait(700)
    assert len(runs) == 1
    neurons.move(0.55)
    qtbot.waitUntil(lambda: is_shown(widget, neurons))


def test_a_hidden_panel_does_not_follow(live, qtbot):
    _, widget, neurons = live(show=True)
    press(widget, qtbot)
    widget.hide()
    points = []
    widget.session.moved.connect(points.append)
    neurons.move(0.6)
    qtbot.wait(300)
    assert not points
    widget.show()
    qtbot.waitUntil(lambda: is_shown(widget, neurons))
    settle(qtbot, widget)


def test_the_neurons_of_the_other_panel_are_followed_and_moved(cut, qtbot):
    viewer, panel, layer = cut(scale=(1, 4.0, 2.0, 2.0), translate=(0, 7.0, -3.0, 5.0))
    viewer.add_labels(true_neurons(), name="truth", scale=(4, 2, 2), translate=(7, -3, 5))
    _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Evaluate labels")
    settle(qtbot, widget)
    assert widget.labels_box.layer is layer
    press(widget, qtbot)
    curve = widget.session.outcome.known.curve
    work = panel.session.corrections.work

    def agree():
        found = evaluate(layer.data, viewer.layers["truth"].data)
        shown = widget.session.outcome.found
        return found["voi"] == pytest.approx(shown["voi"], abs=1e-12) and not widget.is_working

    panel.cutting.slider.setValue(panel.cutting.slider.maximum() * 9 // 10)
    qtbot.waitUntil(lambda: f"Now at {work.threshold:.3g}" in widget.point_label.text())
    qtbot.waitUntil(agree)
    outcome = widget.session.outcome
    assert outcome.known.curve is curve
    widget.splits.clicked.emit(widget.splits.model().index(0, 0))
    place = outcome.places[outcome.mistakes.index(widget.splits.mistakes[0])]
    assert panel.session.corrections.current == work.object_at(place)
    widget.best_button.click()
    assert work.threshold == curve.best().threshold
    assert panel.cutting.share == pytest.approx(work.threshold, abs=0.01)
    qtbot.waitUntil(agree)
    assert widget.session.outcome.found["voi"] == pytest.approx(curve.best().voi)
