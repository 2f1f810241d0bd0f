"""Tests of the repair widget in a real viewer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari._app_model import get_app_model
from qtpy.QtCore import Qt

from napari_implicitseg.errors import Cancelled

from .helpers import (
    WAIT,
    column,
    damaged,
    drag,
    fit_threads,
    iou,
    press_preview,
    repair_preview,
    settle,
)

PLACE = {"scale": (2.0, 0.5), "translate": (10.0, -4.0), "units": ("um", "um")}


def test_the_widget_is_in_the_segment_menu(make_napari_viewer):
    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/segment")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Repair labels") for title in titles)


def test_a_preview_shows_repaired_masks_and_leaves_the_input(previewed):
    viewer, widget, bad, truth = previewed()
    assert np.array_equal(viewer.layers["cells"].data, bad)
    assert not viewer.layers["cells"]._undo_history
    shown = repair_preview(viewer)
    for label in (3, 5, 9):
        assert iou(shown == label, truth == label) > 0.8
        assert iou(shown == label, truth == label) >= iou(bad == label, truth == label)
    assert widget.source_box.layer.name == "cells"
    assert widget.source_box.count() == 1
    assert "3 objects" in widget.advice.text()


def test_the_worst_agreement_comes_first_and_any_column_sorts(previewed):
    _, widget, bad, _ = previewed()
    agreement = [float(text) for text in column(widget, 3)]
    assert agreement == sorted(agreement)
    assert set(column(widget, 4)) == {"✓ convex"}
    assert widget.table.labels()[-1] == 9
    widget.table.sortByColumn(0, Qt.SortOrder.DescendingOrder)
    assert column(widget, 0) == ["9", "5", "3"]
    widget.table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    sizes = [int(text.replace(",", "")) for text in column(widget, 1)]
    assert sizes == sorted((bad == label).sum() for label in (3, 5, 9))


def test_a_click_on_a_row_goes_to_the_object(previewed, qtbot):
    viewer, widget, _, truth = previewed(show=True, **PLACE)
    layer = viewer.layers["cells"]
    row = widget.table.labels().index(5)
    rect = widget.table.visualItemRect(widget.table.item(row, 0))
    qtbot.mouseClick(widget.table.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    assert widget.table.selected_labels() == [5]
    at = np.argwhere(truth == 5)
    world = np.array([layer.data_to_world(point) for point in at])
    camera = viewer.scene.camera
    assert np.allclose(camera.center[-2:], (world.min(0) + world.max(0)) / 2, atol=2)
    seen = np.array(viewer.canvas.size) / camera.zoom
    assert (np.ptp(world, axis=0) < seen).all()
    assert (np.ptp(world, axis=0) > 0.3 * seen).any()


def test_accept_makes_a_repaired_copy_that_lies_where_the_input_lies(previewed):
    viewer, widget, bad, _ = previewed(**PLACE)
    shown = repair_preview(viewer).copy()
    widget.accept_button.click()
    layer = viewer.layers["cells repaired"]
    assert np.array_equal(layer.data, shown)
    assert layer.data.dtype == np.uint32
    assert np.array_equal(viewer.layers["cells"].data, bad)
    for name in ("scale", "translate", "units"):
        assert np.all(getattr(layer, name) == getattr(viewer.layers["cells"], name))
    assert "cells repair preview" not in viewer.layers
    assert widget.table.rowCount() == 0
    assert "Accepted 3 objects" in widget.advice.text()
    layer.undo()
    assert np.array_equal(layer.data, bad)


def test_accept_into_the_layer_is_one_step_of_undo(previewed):
    viewer, widget, bad, _ = previewed()
    shown = repair_preview(viewer).copy()
    widget.target_box.value = "same"
    widget.accept_button.click()
    layer = viewer.layers["cells"]
    assert np.array_equal(layer.data, shown)
    assert "cells repaired" not in viewer.layers
    layer.undo()
    assert np.array_equal(layer.data, bad)
    layer.redo()
    assert np.array_equal(layer.data, shown)


@pytest.mark.parametrize("target", ["new", "same"])
def test_only_the_lines_selected_are_accepted(previewed, target):
    viewer, widget, bad, _ = previewed()
    shown = repair_preview(viewer).copy()
    widget.target_box.value = target
    assert not widget.selected_button.isEnabled()
    widget.table.selectRow(widget.table.labels().index(3))
    assert widget.selected_button.text() == "Accept selected (1)"
    widget.selected_button.click()
    data = viewer.layers["cells repaired" if target == "new" else "cells"].data
    assert np.array_equal(data == 3, shown == 3)
    others = (data != 3) & (bad != 3)
    assert np.array_equal(data[others], bad[others])
    assert sorted(widget.table.labels()) == [5, 9]
    assert not (repair_preview(viewer) == 3).any()
    widget.accept_button.click()
    data = viewer.layers["cells repaired" if target == "new" else "cells"].data
    assert np.array_equal(data, shown)


def test_what_was_drawn_in_the_repaired_copy_stays(previewed, qtbot):
    viewer, widget, _, truth = previewed()
    widget.accept_button.click()
    layer = viewer.layers["cells repaired"]
    layer.mode, layer.brush_size, layer.selected_label = "paint", 6, 3
    drag(layer, (80, 30), (80, 40))
    drawn = (layer.data == 3) & (np.indices(layer.data.shape)[0] > 75)
    assert drawn.any()
    press_preview(widget, qtbot)
    widget.accept_button.click()
    assert (layer.data[drawn] == 3).all()
    assert "kept" in widget.advice.text()
    assert iou((layer.data == 3) & ~drawn, truth == 3) > 0.8
    assert sum(x.name.startswith("cells repaired") for x in viewer.layers) == 1


def test_drawing_in_the_input_makes_the_preview_stale(previewed, qtbot, notes):
    viewer, widget, _, _ = previewed()
    layer = viewer.layers["cells"]
    layer.mode, layer.brush_size, layer.selected_label = "paint", 6, 3
    drag(layer, (46, 12), (46, 20))
    settle(qtbot, widget)
    assert "has changed since the preview" in widget.advice.text()
    before = layer.data.copy()
    widget.target_box.value = "same"
    widget.accept_button.click()
    assert np.array_equal(layer.data, before)
    assert "Preview again" in notes[-1]
    layer.undo()
    settle(qtbot, widget)
    assert "has changed" not in widget.advice.text()
    drag(layer, (46, 12), (46, 20))
    press_preview(widget, qtbot)
    assert "has changed" not in widget.advice.text()
    widget.accept_button.click()
    assert "Accepted 3" in widget.advice.text()


def test_other_choices_are_told_of(previewed, qtbot):
    _, widget, _, _ = previewed()
    widget.shape_box.value = "star"
    assert "earlier choices" in widget.advice.text()
    press_preview(widget, qtbot)
    assert set(column(widget, 4)) == {"✓ star"}


@pytest.fixture
def stuck(monkeypatch):
    """Let repairs wait until they are cancelled."""
    started = threading.Event()

    def wait(*args, progress, **kwargs):
        started.set()
        for _ in range(6000):
            progress(0.5, "Waiting")
            threading.Event().wait(0.01)
        raise AssertionError("nobody cancelled")

    def begin():
        monkeypatch.setattr("napari_implicitseg.api.project_labels", wait)
        return started

    return begin


def test_cancel_keeps_the_preview_there_was(previewed, qtbot, stuck):
    viewer, widget, _, _ = previewed()
    shown = repair_preview(viewer).copy()
    started = stuck()
    widget.preview_button.click()
    assert widget.cancel_button.isEnabled()
    assert not widget.accept_button.isEnabled()
    qtbot.waitUntil(started.is_set, timeout=WAIT)
    widget.cancel_button.click()
    settle(qtbot, widget)
    assert "Cancelled" in widget.advice.text()
    assert np.array_equal(repair_preview(viewer), shown)
    assert widget.accept_button.isEnabled()


@pytest.mark.parametrize("how", ["remove", "hide", "viewer"])
def test_closing_while_a_repair_runs_leaves_no_layer_or_thread(previewed, qtbot, stuck, how):
    viewer, widget, bad, _ = previewed()
    started = stuck()
    widget.preview_button.click()
    qtbot.waitUntil(started.is_set, timeout=WAIT)
    if how == "remove":
        viewer.window.remove_dock_widget(widget)
    elif how == "viewer":
        viewer.close()
    else:
        viewer.window._qt_window.show()
        widget.parent().show()
        widget.parent().hide()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    if how != "viewer":
        assert [layer.name for layer in viewer.layers] == ["cells"]
        assert np.array_equal(viewer.layers["cells"].data, bad)


@pytest.mark.parametrize("shape", [(30, 30), (3, 30, 30)])
def test_an_array_of_another_shape_is_no_longer_what_was_previewed(previewed, qtbot, shape):
    viewer, widget, _, _ = previewed()
    layer = viewer.layers["cells"]
    layer.data = np.full(shape, 6, np.uint16)
    settle(qtbot, widget)
    assert "Press Preview" in widget.advice.text()
    widget.accept_button.click()
    assert (layer.data == 6).all()
    assert "cells repaired" not in viewer.layers
    press_preview(widget, qtbot)
    assert widget.table.labels() == [6]


@pytest.mark.parametrize("name", ["cells", "cells repair preview"])
def test_deleting_a_layer_while_a_repair_runs(previewed, qtbot, notes, name):
    viewer, widget, _, truth = previewed()
    widget.preview_button.click()
    viewer.layers.remove(name)
    settle(qtbot, widget)
    if name == "cells":
        assert len(viewer.layers) == 0
        assert widget.table.rowCount() == 0
    else:
        assert iou(repair_preview(viewer) == 3, truth == 3) > 0.8
    assert not notes


def test_a_bug_in_the_library_is_reported_and_leaves_the_widget_usable(
    previewed, qtbot, notes, monkeypatch
):
    _, widget, _, _ = previewed()

    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr("napari_implicitseg.api.project_labels", broken)
        press_preview(widget, qtbot)
    assert "report it" in notes[-1]
    press_preview(widget, qtbot)
    assert "3 objects" in widget.advice.text()


def test_layers_that_cannot_be_written_are_refused(open_repair, qtbot, notes):
    bad, _ = damaged()
    bad.flags.writeable = False
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    press_preview(widget, qtbot)
    widget.target_box.value = "same"
    widget.accept_button.click()
    assert "read-only" in notes[-1]
    widget.target_box.value = "new"
    widget.accept_button.click()
    assert "Accepted 3" in widget.advice.text()
    assert "cells repaired" in viewer.layers


@pytest.mark.parametrize("shape", ["convex", "connected", "star", "symmetric", "free"])
def test_every_family_repairs(open_repair, qtbot, shape):
    bad, truth = damaged()
    bad[bad > 4] = 0
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    widget.shape_box.value = shape
    press_preview(widget, qtbot)
    assert iou(repair_preview(viewer) == 3, truth == 3) > 0.7
    expected = "no promise" if shape == "free" else shape
    assert expected in column(widget, 4)[0]


def test_progress_is_cancelled_not_failed():
    """The worker's callback stops a repair by raising what the library lets through."""
    from napari_implicitseg import project_labels

    def progress(fraction, message, /):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        project_labels(damaged()[0], progress=progress)
