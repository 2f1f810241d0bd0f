"""Tests of the repair widget in a real viewer."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from napari._app_model import get_app_model
from qtpy.QtCore import Qt

from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.widgets._repair_run import parse_ids

from .helpers import WAIT, drag, fit_threads, iou, settle

PLACE = {"scale": (2.0, 0.5), "translate": (10.0, -4.0), "units": ("um", "um")}


def damaged():
    """Make three disks, the first bitten, the second cut in two, the third whole; and the truth."""
    rows, columns = np.indices((96, 160))
    truth = np.zeros((96, 160), np.uint16)
    for label, (row, column, radius) in {
        3: (46, 34, 24),
        5: (40, 90, 18),
        9: (60, 132, 15),
    }.items():
        truth[np.hypot(rows - row, columns - column) <= radius] = label
    bad = truth.copy()
    bad[np.hypot(rows - 46, columns - 14) <= 15] = 0
    bad[38:40, 70:110] = 0
    return bad, truth


@pytest.fixture
def open_repair(make_napari_viewer, qtbot):
    """Open the widget through the manifest, on layers given as napari layer tuples."""

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **kwargs)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Repair labels")
        settle(qtbot, widget)
        return viewer, widget

    return make


@pytest.fixture
def previewed(open_repair, qtbot):
    """Open the widget on damaged disks and press Preview."""

    def make(show=False, **kwargs):
        bad, truth = damaged()
        viewer, widget = open_repair((bad.copy(), {"name": "cells", **kwargs}, "labels"), show=show)
        press(widget, qtbot)
        return viewer, widget, bad, truth

    return make


def press(widget, qtbot):
    widget.preview_button.click()
    settle(qtbot, widget)


def preview_of(viewer, name="cells"):
    return viewer.layers[f"{name} repair preview"].data


def column(widget, number):
    return [widget.table.item(row, number).text() for row in range(widget.table.rowCount())]


def test_the_widget_is_in_the_segment_menu(make_napari_viewer):
    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/segment")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Repair labels") for title in titles)


def test_a_preview_shows_repaired_masks_and_leaves_the_input(previewed):
    viewer, widget, bad, truth = previewed()
    assert np.array_equal(viewer.layers["cells"].data, bad)
    assert not viewer.layers["cells"]._undo_history
    shown = preview_of(viewer)
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
    shown = preview_of(viewer).copy()
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
    shown = preview_of(viewer).copy()
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
    shown = preview_of(viewer).copy()
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
    assert not (preview_of(viewer) == 3).any()
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
    press(widget, qtbot)
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
    press(widget, qtbot)
    assert "has changed" not in widget.advice.text()
    widget.accept_button.click()
    assert "Accepted 3" in widget.advice.text()


def test_other_choices_are_told_of(previewed, qtbot):
    _, widget, _, _ = previewed()
    widget.shape_box.value = "star"
    assert "earlier choices" in widget.advice.text()
    press(widget, qtbot)
    assert set(column(widget, 4)) == {"✓ star"}


def test_selected_and_listed_ids_are_repaired_alone(previewed, qtbot):
    viewer, widget, bad, _ = previewed()
    viewer.layers["cells"].selected_label = 5
    widget.ids_box.value = "selected"
    press(widget, qtbot)
    assert widget.table.labels() == [5]
    assert set(np.unique(preview_of(viewer))) == {0, 5}
    assert widget.listed_edit.isHidden()
    widget.ids_box.value = "list"
    assert not widget.listed_edit.isHidden()
    widget.listed_edit.setText("3, 7-20")
    press(widget, qtbot)
    assert sorted(widget.table.labels()) == [3, 9]
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells repaired"].data == 5, bad == 5)


@pytest.mark.parametrize(
    ("text", "ids"),
    [("2", ((2, 2),)), ("2, 5-9 ;12", ((2, 2), (5, 9), (12, 12))), ("4 7", ((4, 4), (7, 7)))],
)
def test_lists_of_ids_are_read(text, ids):
    assert parse_ids(text) == ids


@pytest.mark.parametrize("text", ["", " , ", "two", "2, x", "0", "9-5", "-3", "1.5"])
def test_bad_lists_of_ids_are_refused(text):
    with pytest.raises(InputError, match="ids"):
        parse_ids(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, x: (setattr(w.ids_box, "value", "list"), w.listed_edit.setText("77")), "77"),
        (
            lambda w, x: (setattr(w.ids_box, "value", "list"), w.listed_edit.setText("70-80")),
            "no object from 70",
        ),
        (
            lambda w, x: (setattr(x, "selected_label", 0), setattr(w.ids_box, "value", "selected")),
            "no object",
        ),
    ],
)
def test_ids_that_are_not_there_are_refused(open_repair, qtbot, notes, change, message):
    bad, _ = damaged()
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    change(widget, viewer.layers["cells"])
    press(widget, qtbot)
    assert message in widget.advice.text()
    assert message in notes[-1]


def negative():
    return np.full((20, 30), -3, np.int32)


def above_one():
    return np.linspace(0, 2, 600, dtype=np.float32).reshape(20, 30)


def with_nan():
    return np.full((20, 30), np.nan, np.float32)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (negative(), "labels", "positive"),
        (above_one(), "image", "within 0 to 1"),
        (with_nan(), "image", "nan_to_num"),
        (np.full((20, 30), 200, np.uint8), "image", "Convert to Labels"),
        ([np.ones((64, 64), np.uint8), np.ones((32, 32), np.uint8)], "labels", "multiscale"),
    ],
)
def test_bad_masks_give_advice(open_repair, qtbot, notes, data, kind, message):
    viewer, widget = open_repair()
    assert "Open a Labels layer" in widget.advice.text()
    layer = getattr(viewer, f"add_{kind}")(data, name="bad")
    widget.source_box.layer = layer
    press(widget, qtbot)
    assert message in widget.advice.text()
    assert "'bad'" in widget.advice.text()
    assert not any("report it" in note for note in notes)
    assert "bad repair preview" not in viewer.layers


def test_empty_labels_say_that_there_is_nothing_to_repair(open_repair, qtbot, notes):
    _, widget = open_repair((np.zeros((20, 30), np.uint8), {"name": "cells"}, "labels"))
    press(widget, qtbot)
    assert "nothing to repair" in widget.advice.text()
    assert not widget.accept_button.isEnabled()
    assert not notes


def test_objects_too_small_are_listed_and_stay(open_repair, qtbot):
    bad, _ = damaged()
    bad[2, 2:4] = 21
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    press(widget, qtbot)
    assert widget.table.item(widget.table.labels().index(21), 4).text() == "too small"
    assert "Object 21 is too small" in widget.notes.text()
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells repaired"].data == 21, bad == 21)


def test_a_probability_map_is_repaired_into_a_new_layer(open_repair, qtbot):
    _, truth = damaged()
    probability = np.where(truth == 3, 0.9, 0.1).astype(np.float32)
    probability[40:52, 20:30] = 0.3
    viewer, widget = open_repair((probability, {"name": "p", "scale": (2, 2)}, "image"))
    assert widget.source_box.layer is None
    widget.source_box.layer = viewer.layers["p"]
    assert not widget.target_box.enabled
    press(widget, qtbot)
    widget.accept_button.click()
    layer = viewer.layers["p repaired"]
    assert iou(layer.data == 1, truth == 3) > 0.9
    assert np.array_equal(layer.scale, (2, 2))


def stack():
    """Make five slices of disks, a bite out of the middle one."""
    rows, columns = np.indices((64, 64))
    data = (
        np.repeat((np.hypot(rows - 30, columns - 34) <= 20)[None], 5, axis=0).astype(np.uint16) * 4
    )
    data[2, 24:36, 10:22] = 0
    return data


def test_a_stack_is_repaired_slice_by_slice_or_one_slice_alone(open_repair, qtbot):
    bad = stack()
    viewer, widget = open_repair((bad.copy(), {"name": "cells", "scale": (3, 1, 1)}, "labels"))
    viewer.dims.set_point(0, 6)
    press(widget, qtbot)
    assert [bool(part.any()) for part in preview_of(viewer)] == [False, False, True, False, False]
    widget.scope_box.value = "slices"
    press(widget, qtbot)
    shown = preview_of(viewer).copy()
    assert iou(shown[2] == 4, bad[1] == 4) > 0.9
    viewer.dims.set_point(0, 0)
    widget.session.jump(4)
    assert viewer.dims.point[0] == 3 * np.argmax((shown == 4).sum(axis=(1, 2)))
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells repaired"].data, shown)


def test_a_time_series_is_repaired_at_the_time_shown(open_repair, qtbot):
    bad = np.stack([stack(), stack()])
    viewer, widget = open_repair((bad.copy(), {"name": "cells"}, "labels"))
    widget.scope_box.value = "volume"
    viewer.dims.set_point(0, 1)
    press(widget, qtbot)
    shown = preview_of(viewer)
    assert not shown[0].any()
    assert iou(shown[1] == 4, stack() == 4) > 0.8
    widget.target_box.value = "same"
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells"].data[0], bad[0])
    assert iou(viewer.layers["cells"].data[1] == 4, stack() == 4) > 0.8


@pytest.fixture
def stuck(monkeypatch):
    """Let repairs wait until they are cancelled."""
    started = threading.Event()

    def wait(*args, progress, **kwargs):
        started.set()
        for _ in range(3000):
            progress(0.5, "Waiting")
            threading.Event().wait(0.01)
        raise AssertionError("nobody cancelled")

    def begin():
        monkeypatch.setattr("napari_implicitseg.api.project_labels", wait)
        return started

    return begin


def test_cancel_keeps_the_preview_there_was(previewed, qtbot, stuck):
    viewer, widget, _, _ = previewed()
    shown = preview_of(viewer).copy()
    started = stuck()
    widget.preview_button.click()
    assert widget.cancel_button.isEnabled()
    assert not widget.accept_button.isEnabled()
    qtbot.waitUntil(started.is_set)
    widget.cancel_button.click()
    settle(qtbot, widget)
    assert "Cancelled" in widget.advice.text()
    assert np.array_equal(preview_of(viewer), shown)
    assert widget.accept_button.isEnabled()


@pytest.mark.parametrize("how", ["remove", "hide", "viewer"])
def test_closing_while_a_repair_runs_leaves_no_layer_or_thread(previewed, qtbot, stuck, how):
    viewer, widget, bad, _ = previewed()
    started = stuck()
    widget.preview_button.click()
    qtbot.waitUntil(started.is_set)
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
        assert iou(preview_of(viewer) == 3, truth == 3) > 0.8
    assert not notes


def test_a_bug_in_the_library_is_reported_and_leaves_the_widget_usable(
    previewed, qtbot, notes, monkeypatch
):
    _, widget, _, _ = previewed()

    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr("napari_implicitseg.api.project_labels", broken)
        press(widget, qtbot)
    assert "report it" in notes[-1]
    press(widget, qtbot)
    assert "3 objects" in widget.advice.text()


def test_layers_that_cannot_be_written_are_refused(open_repair, qtbot, notes):
    bad, _ = damaged()
    bad.flags.writeable = False
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    press(widget, qtbot)
    widget.target_box.value = "same"
    widget.accept_button.click()
    assert "read-only" in notes[-1]
    widget.target_box.value = "new"
    widget.accept_button.click()
    assert "Accepted 3" in widget.advice.text()
    assert "cells repaired" in viewer.layers


@pytest.mark.filterwarnings("ignore:Contours are not displayed")  # napari says so, once
def test_in_3d_the_preview_has_the_colours_of_the_masks(open_repair, qtbot):
    viewer, widget = open_repair((stack(), {"name": "cells"}, "labels"), show=True)
    widget.scope_box.value = "volume"
    press(widget, qtbot)
    layer = viewer.layers["cells repair preview"]
    assert np.allclose(layer.get_color(4), 1)
    viewer.dims.ndisplay = 3
    assert np.allclose(layer.get_color(4), viewer.layers["cells"].get_color(4))
    widget.session.jump(4)
    assert np.allclose(viewer.scene.camera.center, (2, 30, 34), atol=1)
    viewer.dims.ndisplay = 2
    assert np.allclose(layer.get_color(4), 1)


@pytest.mark.parametrize("shape", ["convex", "connected", "star", "symmetric", "free"])
def test_every_family_repairs(open_repair, qtbot, shape):
    bad, truth = damaged()
    bad[bad > 4] = 0
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    widget.shape_box.value = shape
    press(widget, qtbot)
    assert iou(preview_of(viewer) == 3, truth == 3) > 0.7
    expected = "no promise" if shape == "free" else shape
    assert expected in column(widget, 4)[0]


def test_progress_is_cancelled_not_failed():
    """The worker's callback stops a repair by raising what the library lets through."""
    from napari_implicitseg import project_labels

    def progress(fraction, message, /):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        project_labels(damaged()[0], progress=progress)
