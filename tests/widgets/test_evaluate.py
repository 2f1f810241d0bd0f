"""Tests of the evaluation widget in a real viewer: labels of any tool against the truth."""

from __future__ import annotations

import csv
import json
import threading

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from napari_implicitseg.evaluation import evaluate
from napari_implicitseg.widgets import _evaluate_jobs

from .evaluate_cases import cells, evaluate_opener, press
from .helpers import settle

open_evaluate = evaluate_opener


def shown(widget):
    """The figures as they are shown: title to value."""
    return {title: value for title, value, _ in widget.figures.texts()}


def click_row(widget, table, number, qtbot):
    """Click a line of a table with the mouse."""
    widget.tabs.setCurrentWidget(table)
    place = table.visualRect(table.model().index(number, 1)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)


@pytest.mark.parametrize("ndim", [2, 3])
def test_figures_are_those_of_evaluate(open_evaluate, qtbot, ndim):
    labels, truth = cells(ndim)
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    assert widget.advice.text() == "Press Evaluate to compare 'cells' with 'truth'."
    assert widget.figures.isHidden()
    press(widget, qtbot)
    found = evaluate(labels, truth)
    assert shown(widget)["VOI split"] == f"{found['voi_split']:.4f}"
    assert shown(widget)["Adapted Rand error"] == f"{found['adapted_rand_error']:.4f}"
    assert shown(widget)["Voxels"] == f"{truth.size:,}"
    assert ("VOI", f"{found['voi']:.4f}", "lower") in widget.figures.texts()
    assert f"VOI {found['voi']:.3g} bits" in widget.advice.text()
    assert not widget.figures.isHidden()


def test_the_label_left_out_and_borders_count(open_evaluate, qtbot):
    labels, truth = cells()
    truth[:, :10] = 0
    scaled = {"scale": (4.0, 4.0), "units": ("nm", "nm")}
    _, widget = open_evaluate(
        (truth, {"name": "truth", **scaled}), (labels, {"name": "cells", **scaled})
    )
    press(widget, qtbot)
    assert shown(widget)["VOI"] == f"{evaluate(labels, truth)['voi']:.4f}"
    widget.ignore_box.setValue(-1)
    assert widget.ignore_box.text() == "nothing"
    assert "with these options" in widget.advice.text()
    press(widget, qtbot)
    whole = evaluate(labels, truth, ignore=None)
    assert shown(widget)["VOI"] == f"{whole['voi']:.4f}" != f"{evaluate(labels, truth)['voi']:.4f}"
    widget.border_check.setChecked(True)
    widget.border_box.setValue(6.0)
    assert widget.border_box.suffix() == " nm"
    press(widget, qtbot)
    found = evaluate(labels, truth, ignore=None, border=6.0, spacing=(4.0, 4.0))
    assert shown(widget)["VOI"] == f"{found['voi']:.4f}"
    assert shown(widget)["Left out"] == f"{found['ignored']:,}" != "0"


def test_labels_without_a_hierarchy_have_a_curve_over_iou(open_evaluate, qtbot):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    assert widget.plot.isHidden()
    press(widget, qtbot)
    matches = evaluate(labels, truth)["matches"]
    levels, values = widget.plot.drawing.lines["AP"]
    assert levels.tolist() == list(matches)
    assert values.tolist() == [one.average_precision for one in matches.values()]
    assert not widget.plot.isHidden()
    assert widget.best_button.isHidden()
    with qtbot.assertNotEmitted(widget.plot.picked):
        qtbot.mouseClick(widget.plot, Qt.MouseButton.LeftButton)


def test_the_plot_takes_the_colours_of_the_theme(open_evaluate, qtbot):
    labels, truth = cells()
    viewer, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    corners = []
    for theme in ("dark", "light"):
        viewer.theme = theme
        settle(qtbot, widget)
        corners.append(widget.plot.drawing.pixels[0, 0, :3].astype(int).sum())
    assert corners[0] < 200 < 500 < corners[1]


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"scale": (3.0, 0.5, 2.0), "translate": (5.0, -7.0, 11.0), "rotate": (0, 0, 30)}],
)
@pytest.mark.parametrize("ndisplay", [2, 3])
def test_a_click_on_a_mistake_goes_there(open_evaluate, qtbot, kwargs, ndisplay):
    labels, truth = cells(3)
    viewer, widget = open_evaluate(
        (truth, {"name": "truth", **kwargs}), (labels, {"name": "cells", **kwargs})
    )
    viewer.dims.ndisplay = ndisplay
    press(widget, qtbot)
    outcome = widget.session.outcome
    for table, kind in ((widget.splits, "split"), (widget.merges, "merge")):
        mistake = table.mistakes[0]
        assert mistake.kind == kind
        click_row(widget, table, 0, qtbot)
        place = outcome.places[outcome.mistakes.index(mistake)]
        world = viewer.layers["cells"].data_to_world(place)
        seen = viewer.dims.displayed
        assert viewer.scene.camera.center[-len(seen) :] == pytest.approx([world[a] for a in seen])
        if ndisplay == 2:
            step = viewer.dims.range[0].step
            assert viewer.dims.point[0] == pytest.approx(world[0], abs=step / 2)
    assert viewer.layers["cells"].selected_label == 111
    assert viewer.layers["truth"].selected_label in (11, 12)
    assert truth[place] == viewer.layers["truth"].selected_label
    assert labels[place] == 111


def test_the_arrow_keys_go_to_the_next_mistake(open_evaluate, qtbot, monkeypatch):
    labels, truth = cells()
    labels = labels.copy()
    labels[(truth == 1) & (np.indices(truth.shape)[0] < 3)] = 300
    viewer, widget = open_evaluate(
        (truth, {"name": "truth"}), (labels, {"name": "cells"}), show=True
    )
    press(widget, qtbot)
    click_row(widget, widget.splits, 0, qtbot)
    first = viewer.layers["truth"].selected_label
    # Windows get no focus where no window manager runs.
    monkeypatch.setattr(widget.splits, "hasFocus", lambda: True)
    qtbot.keyClick(widget.splits, Qt.Key.Key_Down)
    assert {first, viewer.layers["truth"].selected_label} == {1, 6}


def test_rows_say_what_was_split_and_merged(open_evaluate, qtbot):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    split, merge = (
        [table.model().data(table.model().index(0, column)) for column in range(4)]
        for table in (widget.splits, widget.merges)
    )
    found = evaluate(labels, truth)
    assert split == ["6", "106, 200", "100", f"{100 * found['voi_split'] / found['voi']:.1f}"]
    assert merge[:3] == ["111", "11, 12", "200"]
    assert widget.tabs.tabText(0) == "Worst splits (1)"
    tip = widget.splits.model().data(widget.splits.model().index(0, 0), Qt.ItemDataRole.ToolTipRole)
    assert "Object 6 of the truth is cut into 2 segments" in tip
    assert "200: 40 voxels" in tip


def test_no_more_than_a_hundred_mistakes_are_listed(open_evaluate, qtbot):
    rows, columns = np.indices((60, 60))
    truth = (rows // 4) * 15 + columns // 4 + 1
    labels = truth * 2 + (rows % 4 == 0)
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    assert len(widget.splits.mistakes) == 100


def test_figures_are_copied_and_saved(open_evaluate, qtbot, tmp_path, monkeypatch):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    found = evaluate(labels, truth)
    widget.copy_button.click()
    copied = dict(line.split("\t")[:2] for line in QGuiApplication.clipboard().text().splitlines())
    assert float(copied["voi"]) == found["voi"]
    for name in ("r.json", "r.csv"):
        path = str(tmp_path / name)
        monkeypatch.setattr(widget, "ask_where_to_save", lambda path=path: path)
        widget.save_button.click()
        assert name in widget.advice.text()
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["labels"], report["truth"]) == ("cells", "truth")
    assert report["figures"] == json.loads(json.dumps(found.as_dict()))
    place = tuple(report["worst_merges"][0]["place"])
    assert labels[place] == 111
    with (tmp_path / "r.csv").open(newline="") as file:
        lines = {line["figure"]: line["value"] for line in csv.DictReader(file)}
    assert float(lines["voi"]) == found["voi"]


def test_a_report_that_cannot_be_written_is_told_of(open_evaluate, qtbot, monkeypatch, notes):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    monkeypatch.setattr(widget, "ask_where_to_save", lambda: "/nowhere/at/all/r.json")
    widget.save_button.click()
    assert "/nowhere/at/all" in widget.advice.text()
    assert any("/nowhere/at/all" in note for note in notes)


def test_edits_after_an_evaluation_are_noticed(open_evaluate, qtbot):
    labels, truth = cells()
    viewer, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    viewer.layers["cells"].data_setitem((np.array([0]), np.array([0])), 102)
    qtbot.waitUntil(lambda: "changed since" in widget.advice.text())
    press(widget, qtbot)
    assert "VOI" in widget.advice.text()
    viewer.layers["truth"].data = truth.copy()
    qtbot.waitUntil(lambda: "changed since" in widget.advice.text())


class Held:
    """Holds jobs in the thread until they are let go."""

    def __init__(self, monkeypatch):
        self.inside, self.go = threading.Event(), threading.Event()
        real = _evaluate_jobs.EvaluateRequest.run

        def run(request, report):
            self.inside.set()
            while not self.go.wait(0.01):
                report(0.5, "Held")
            return real(request, report)

        monkeypatch.setattr(_evaluate_jobs.EvaluateRequest, "run", run)


@pytest.mark.parametrize("gone", ["cells", "truth"])
def test_a_layer_may_go_while_it_is_compared(open_evaluate, qtbot, monkeypatch, gone, notes):
    labels, truth = cells()
    viewer, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    held = Held(monkeypatch)
    widget.evaluate_button.click()
    held.inside.wait(10)
    viewer.layers.remove(gone)
    held.go.set()
    settle(qtbot, widget)
    assert widget.session.outcome is None
    assert "only one Labels layer" in widget.advice.text()
    assert not notes


def test_an_evaluation_is_cancelled(open_evaluate, qtbot, monkeypatch):
    labels, truth = cells()
    _, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    held = Held(monkeypatch)
    widget.evaluate_button.click()
    held.inside.wait(10)
    assert widget.cancel_button.isEnabled()
    widget.cancel_button.click()
    settle(qtbot, widget)
    assert widget.session.outcome is None
    assert "Cancelled" in widget.advice.text()
    held.go.set()
    press(widget, qtbot)
    assert widget.session.outcome is not None


def test_the_panel_may_go_while_layers_are_compared(open_evaluate, qtbot, monkeypatch):
    labels, truth = cells()
    viewer, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    held = Held(monkeypatch)
    widget.evaluate_button.click()
    held.inside.wait(10)
    viewer.window.remove_dock_widget(widget)
    held.go.set()
    qtbot.waitUntil(lambda: not widget.session.inputs.labels)
    viewer.layers["cells"].name = "others"
    viewer.theme = "light"


def test_layers_may_go_or_be_renamed_after_an_evaluation(open_evaluate, qtbot, notes):
    labels, truth = cells()
    viewer, widget = open_evaluate((truth, {"name": "truth"}), (labels, {"name": "cells"}))
    press(widget, qtbot)
    viewer.layers["cells"].name = "renamed"
    viewer.layers.move(0, 2)
    click_row(widget, widget.splits, 0, qtbot)
    assert viewer.layers["renamed"].selected_label == 200
    viewer.layers.remove("renamed")
    click_row(widget, widget.merges, 0, qtbot)
    assert viewer.layers["truth"].selected_label in (11, 12)
    assert not notes
    viewer.layers.remove("truth")
    click_row(widget, widget.splits, 0, qtbot)
    assert any("not in the viewer any more" in note for note in notes)


def test_a_hidden_panel_keeps_what_it_shows(open_evaluate, qtbot):
    labels, truth = cells()
    viewer, widget = open_evaluate(
        (truth, {"name": "truth"}), (labels, {"name": "cells"}), show=True
    )
    press(widget, qtbot)
    before = shown(widget)
    widget.hide()
    viewer.layers["cells"].data_setitem((np.array([0]), np.array([0])), 102)
    widget.show()
    assert shown(widget) == before
    press(widget, qtbot)
    assert shown(widget) != before
