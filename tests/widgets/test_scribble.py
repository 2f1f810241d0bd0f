"""Tests of the scribble widget in a real viewer, painted through napari's own calls."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_implicitseg.widgets.scribble import KEYS

from .helpers import WAIT, disks, drag, fit_threads, iou, settle


def preview_of(viewer, name="disks"):
    return viewer.layers[f"{name} preview"]


def mask(viewer, label, name="disks"):
    return preview_of(viewer, name).data == label


def test_a_mask_appears_and_follows_each_stroke(painted, qtbot):
    viewer, widget, truth = painted()
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    assert not mask(viewer, 3).any()
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 86), (46, 98))
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    assert iou(mask(viewer, 3), truth == 3) > 0.85


def test_three_clicks_lead_from_the_image_to_a_result(open_widget, qtbot):
    image, truth = disks()
    viewer, widget = open_widget((image, {"name": "disks"}, "image"))  # the first
    widget.new_button.click()  # the second
    layer = viewer.layers.selection.active
    assert layer.mode == "paint"
    assert layer.selected_label == 1
    drag(layer, (8, 8), (8, 118))
    press(viewer, KEYS["next"])
    drag(layer, (46, 28), (46, 44))
    press(viewer, KEYS["next"])
    drag(layer, (46, 86), (46, 98))
    settle(qtbot, widget)
    widget.accept_button.click()  # the third
    result = viewer.layers["disks masks"].data
    assert result.dtype == np.uint32
    assert iou(result == 2, truth == 2) > 0.85
    assert iou(result == 3, truth == 3) > 0.85


def press(viewer, key):
    """Press a key on the canvas."""
    from qtpy.QtTest import QTest

    native = viewer.window._qt_viewer.canvas.native
    QTest.keyClick(native, getattr(Qt.Key, f"Key_{key}"))


def test_undo_redo_and_erase_are_followed(painted, qtbot):
    viewer, widget, truth = painted()
    layer = widget.scribbles_box.layer
    layer.undo()
    settle(qtbot, widget)
    assert not preview_of(viewer).data.any()
    assert widget.table.rowCount() == 0
    layer.redo()
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    layer.fill((46, 36), 0)
    settle(qtbot, widget)
    assert not preview_of(viewer).data.any()


def test_polygons_and_fills_are_strokes_too(painted, qtbot):
    viewer, widget, truth = painted()
    layer = widget.scribbles_box.layer
    layer.paint_polygon([(40, 86), (40, 98), (52, 98), (52, 86)], 3)
    settle(qtbot, widget)
    assert iou(mask(viewer, 3), truth == 3) > 0.85


def test_the_fit_sees_the_whole_of_a_polygon(painted, qtbot):
    """Edits outside a stroke are told of before napari writes them."""
    viewer, widget, _ = painted()
    # Before a window is drawn every edit redraws the whole layer, which is noticed, too.
    viewer.window._qt_window.show()
    qtbot.wait(200)
    layer = widget.scribbles_box.layer
    shown = preview_of(viewer).data == 2
    layer.paint_polygon([(30, 50), (30, 60), (64, 60), (64, 50)], 1)
    settle(qtbot, widget)
    (outcome,) = widget.session.preview.outcomes.values()
    assert np.array_equal(outcome.request.labels, layer.data)
    assert (preview_of(viewer).data == 2).sum() < shown.sum()
    layer.fill((2, 2), 3)
    settle(qtbot, widget)
    (outcome,) = widget.session.preview.outcomes.values()
    assert np.array_equal(outcome.request.labels, layer.data)


def test_writing_to_the_array_is_followed(painted, qtbot):
    viewer, widget, truth = painted()
    layer = widget.scribbles_box.layer
    layer.data[45:48, 86:98] = 3
    layer.refresh()
    settle(qtbot, widget)
    assert iou(mask(viewer, 3), truth == 3) > 0.85


def test_with_live_off_only_the_button_fits(painted, qtbot):
    viewer, widget, _ = painted()
    widget.live_box.setChecked(False)
    before = preview_of(viewer).data.copy()
    drag(widget.scribbles_box.layer, (46, 28), (20, 60))
    settle(qtbot, widget)
    assert np.array_equal(preview_of(viewer).data, before)
    assert "Press Fit" in widget.advice.text()
    widget.fit_button.click()
    settle(qtbot, widget)
    assert not np.array_equal(preview_of(viewer).data, before)


def test_accept_fits_first_where_strokes_have_changed(painted, qtbot):
    viewer, widget, truth = painted()
    widget.live_box.setChecked(False)
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 86), (46, 98))
    widget.accept_button.click()
    settle(qtbot, widget)
    assert iou(viewer.layers["disks masks"].data == 3, truth == 3) > 0.85


def test_accepted_objects_are_taken_back_by_undo(painted):
    viewer, widget, truth = painted()
    widget.accept_button.click()
    result = viewer.layers["disks masks"]
    assert iou(result.data == 2, truth == 2) > 0.85
    assert not preview_of(viewer).data.any()
    result.undo()
    assert not result.data.any()
    result.redo()
    assert iou(result.data == 2, truth == 2) > 0.85


def test_accept_keeps_what_was_drawn_and_accepted_before(painted, qtbot):
    viewer, widget, truth = painted()
    widget.accept_button.click()
    result = viewer.layers["disks masks"]
    result.mode, result.brush_size, result.selected_label = "paint", 6, 7
    drag(result, (46, 80), (46, 90))
    drawn = result.data == 7
    assert drawn.any()
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 90), (46, 98))
    settle(qtbot, widget)
    widget.accept_button.click()
    assert (result.data[drawn] == 7).all()
    assert "kept" in widget.advice.text()
    assert iou(result.data == 2, truth == 2) > 0.85
    assert iou((result.data == 3) | drawn, truth == 3) > 0.85


def test_strokes_are_never_written(painted, qtbot):
    _, widget, _ = painted()
    layer = widget.scribbles_box.layer
    before = layer.data.copy()
    widget.accept_button.click()
    drag(layer, (46, 30), (46, 40))
    settle(qtbot, widget)
    assert np.array_equal(layer.data, before)


def test_outputs_lie_where_the_image_lies(painted):
    place = {
        "scale": (2.0, 0.5),
        "translate": (10.0, -4.0),
        "units": ("um", "um"),
        "axis_labels": ("up", "right"),
    }
    viewer, widget, truth = painted(**place)
    widget.accept_button.click()
    image = viewer.layers["disks"]
    for name in ("disks scribbles", "disks preview", "disks masks"):
        layer = viewer.layers[name]
        assert np.allclose(layer.scale, image.scale)
        assert np.allclose(layer.translate, image.translate)
        assert layer.units == image.units
        assert layer.axis_labels == image.axis_labels
    assert iou(viewer.layers["disks masks"].data == 2, truth == 2) > 0.85
    area = widget.table.item(0, 1).text()
    assert area.endswith(" µm²")
    number = float(area.split()[0].replace(",", ""))
    assert number == pytest.approx((viewer.layers["disks masks"].data == 2).sum(), rel=0.01)


def test_the_table_says_what_the_fit_did(painted):
    _, widget, _ = painted()
    assert widget.table.rowCount() == 1
    label, area, promise, time = (widget.table.item(0, c).text() for c in range(4))
    assert label == "2"
    assert area.endswith(" px")
    assert promise.startswith("✓ convex")
    assert time.endswith(("ms", "s"))


def test_keys_are_bound_while_open_and_shown(painted):
    viewer, widget, _ = painted()
    bound = {str(k) for k in viewer.keymap}
    assert set(KEYS.values()) <= bound
    assert "(K)" in widget.accept_button.text()
    assert "Key: K" in widget.accept_button.toolTip()
    press(viewer, KEYS["live"])
    assert not widget.live_box.isChecked()
    press(viewer, KEYS["accept"])
    assert viewer.layers["disks masks"].data.any()


def test_a_key_that_is_taken_is_left_alone(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    pressed = []
    viewer.bind_key("K", pressed.append)
    _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Scribble to mask")
    settle(qtbot, widget)
    assert widget.accept_button.text() == "Accept"
    assert "taken" in widget.accept_button.toolTip()
    press(viewer, "K")
    assert pressed
    viewer.window.remove_dock_widget(widget)
    press(viewer, "K")
    assert len(pressed) == 2


@pytest.mark.parametrize("how", ["remove", "hide"])
def test_closing_leaves_no_key_layer_or_thread(painted, qtbot, how):
    viewer, widget, _ = painted()
    drag(widget.scribbles_box.layer, (46, 28), (46, 46))
    assert widget.jobs.is_busy
    if how == "remove":
        viewer.window.remove_dock_widget(widget)
    else:
        viewer.window._qt_window.show()
        widget.parent().show()
        widget.parent().hide()
    assert not viewer.keymap
    assert [layer.name for layer in viewer.layers] == ["disks", "disks scribbles"]
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    drag(viewer.layers["disks scribbles"], (46, 28), (46, 48))
    qtbot.wait(100)
    assert not fit_threads()
    assert len(viewer.layers) == 2


def test_a_hidden_panel_takes_up_its_work_when_shown(painted, qtbot):
    viewer, widget, truth = painted()
    viewer.window._qt_window.show()
    dock = widget.parent()
    dock.hide()
    assert "disks preview" not in viewer.layers
    dock.show()
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    assert set(KEYS.values()) <= {str(k) for k in viewer.keymap}


def test_closing_the_viewer_during_a_fit(painted, qtbot):
    viewer, widget, _ = painted()
    drag(widget.scribbles_box.layer, (46, 28), (46, 46))
    assert widget.jobs.is_busy
    viewer.close()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)


@pytest.mark.parametrize("name", ["disks", "disks scribbles", "disks preview"])
def test_deleting_a_layer_during_a_fit(painted, qtbot, notes, name):
    viewer, widget, truth = painted()
    drag(widget.scribbles_box.layer, (46, 28), (46, 46))
    assert widget.jobs.is_busy
    viewer.layers.remove(name)
    settle(qtbot, widget)
    if name == "disks preview":
        assert iou(mask(viewer, 2), truth == 2) > 0.85
    else:
        assert "disks preview" not in viewer.layers
        assert widget.table.rowCount() == 0
    assert not notes


def test_cancel_stops_the_fit_and_the_next_stroke_starts_again(painted, qtbot):
    viewer, widget, truth = painted()
    before = preview_of(viewer).data.copy()
    drag(widget.scribbles_box.layer, (46, 28), (46, 60))
    assert widget.jobs.is_busy
    assert widget.cancel_button.isEnabled()
    widget.cancel_button.click()
    assert not widget.jobs.is_busy
    settle(qtbot, widget)
    assert np.array_equal(preview_of(viewer).data, before)
    assert "Cancelled" in widget.advice.text()
    widget.scribbles_box.layer.undo()
    drag(widget.scribbles_box.layer, (46, 28), (46, 45))
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85


def test_of_many_quick_strokes_the_last_one_wins(painted, qtbot):
    viewer, widget, truth = painted()
    layer = widget.scribbles_box.layer
    shown = []
    widget.session.shown.connect(shown.append)
    widget.next_button.click()
    for column in range(84, 100, 2):
        drag(layer, (46, column), (46, column + 2))
    settle(qtbot, widget)
    assert shown[-1].request.version == widget.session._version
    assert np.array_equal(shown[-1].request.labels, layer.data)
    assert len(shown) < 8
    assert iou(mask(viewer, 3), truth == 3) > 0.85


def test_the_advice_leads_through_the_strokes(open_widget, qtbot):
    image, _ = disks()
    _, widget = open_widget()
    assert "Open an image" in widget.advice.text()
    widget.viewer.add_image(image, name="disks")
    assert 'Press "New scribbles"' in widget.advice.text()
    widget.new_button.click()
    settle(qtbot, widget)
    assert "background (label 1)" in widget.advice.text()
    layer = widget.scribbles_box.layer
    drag(layer, (8, 8), (8, 100))
    settle(qtbot, widget)
    assert "Background is set" in widget.advice.text()
    widget.next_button.click()
    assert "inside the object (label 2)" in widget.advice.text()
    drag(layer, (46, 28), (46, 44))
    settle(qtbot, widget)
    assert "K to accept" in widget.advice.text()


def test_the_boxes_follow_the_layer_list(painted, qtbot):
    viewer, widget, _ = painted()

    def names(box):
        return [box.itemText(i) for i in range(box.count())]

    viewer.layers["disks"].name = "renamed"
    assert names(widget.image_box) == ["renamed"]
    viewer.add_image(np.zeros((96, 128), np.float32), name="other")
    assert names(widget.image_box) == ["renamed", "other"]
    assert widget.image_box.layer.name == "renamed"
    assert "Probability: other" in names(widget.evidence_box.native)
    assert "disks preview" not in names(widget.scribbles_box)
    viewer.layers.remove("renamed")
    settle(qtbot, widget)
    assert widget.image_box.layer.name == "other"


def test_a_probability_layer_is_evidence(painted, qtbot):
    viewer, widget, truth = painted()
    viewer.layers["disks"].data = np.zeros((96, 128), np.float32)
    viewer.add_image((truth > 0).astype(np.float32), name="probability")
    widget.evidence_box.value = viewer.layers["probability"]
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85


def test_the_convex_network_can_be_chosen(painted, qtbot):
    viewer, widget, truth = painted()
    widget.model_box.value = "icnn"
    settle(qtbot, widget)
    assert widget.session.inputs.config.model == "icnn"
    assert iou(mask(viewer, 2), truth == 2) > 0.85
