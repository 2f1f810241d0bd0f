"""Tests of the repair widget on all kinds of masks: ids, bad ones, stacks, probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.ids import parse_ids

from .helpers import damaged, iou, press_preview, repair_preview


def test_selected_and_listed_ids_are_repaired_alone(previewed, qtbot):
    viewer, widget, bad, _ = previewed()
    viewer.layers["cells"].selected_label = 5
    widget.ids_box.value = "selected"
    press_preview(widget, qtbot)
    assert widget.table.labels() == [5]
    assert set(np.unique(repair_preview(viewer))) == {0, 5}
    assert widget.listed_edit.isHidden()
    widget.ids_box.value = "list"
    assert not widget.listed_edit.isHidden()
    widget.listed_edit.setText("3, 7-20")
    press_preview(widget, qtbot)
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
    press_preview(widget, qtbot)
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
    press_preview(widget, qtbot)
    assert message in widget.advice.text()
    assert "'bad'" in widget.advice.text()
    assert not any("report it" in note for note in notes)
    assert "bad repair preview" not in viewer.layers


def test_empty_labels_say_that_there_is_nothing_to_repair(open_repair, qtbot, notes):
    _, widget = open_repair((np.zeros((20, 30), np.uint8), {"name": "cells"}, "labels"))
    press_preview(widget, qtbot)
    assert "nothing to repair" in widget.advice.text()
    assert not widget.accept_button.isEnabled()
    assert not notes


def test_objects_too_small_are_listed_and_stay(open_repair, qtbot):
    bad, _ = damaged()
    bad[2, 2:4] = 21
    viewer, widget = open_repair((bad, {"name": "cells"}, "labels"))
    press_preview(widget, qtbot)
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
    press_preview(widget, qtbot)
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
    press_preview(widget, qtbot)
    assert [bool(part.any()) for part in repair_preview(viewer)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    viewer.dims.set_point(0, 9)
    assert "The preview is of slice 2, not of the one shown" in widget.advice.text()
    viewer.dims.set_point(0, 6)
    assert "click a row" in widget.advice.text()
    widget.scope_box.value = "slices"
    press_preview(widget, qtbot)
    shown = repair_preview(viewer).copy()
    assert iou(shown[2] == 4, bad[1] == 4) > 0.9
    viewer.dims.set_point(0, 0)
    widget.session.jump(4)
    changed = ((shown == 4) ^ (bad == 4)).sum(axis=(1, 2))
    assert viewer.dims.point[0] == 3 * np.argmax(changed) == 6
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells repaired"].data, shown)


def test_a_time_series_is_repaired_at_the_time_shown(open_repair, qtbot):
    bad = np.stack([stack(), stack()])
    viewer, widget = open_repair((bad.copy(), {"name": "cells"}, "labels"))
    widget.scope_box.value = "volume"
    viewer.dims.set_point(0, 1)
    press_preview(widget, qtbot)
    shown = repair_preview(viewer)
    assert not shown[0].any()
    assert iou(shown[1] == 4, stack() == 4) > 0.8
    widget.target_box.value = "same"
    widget.accept_button.click()
    assert np.array_equal(viewer.layers["cells"].data[0], bad[0])
    assert iou(viewer.layers["cells"].data[1] == 4, stack() == 4) > 0.8


@pytest.mark.filterwarnings("ignore:Contours are not displayed")  # napari says so, once
def test_in_3d_the_preview_has_the_colours_of_the_masks(open_repair, qtbot):
    viewer, widget = open_repair((stack(), {"name": "cells"}, "labels"), show=True)
    widget.scope_box.value = "volume"
    press_preview(widget, qtbot)
    layer = viewer.layers["cells repair preview"]
    assert np.allclose(layer.get_color(4), 1)
    viewer.dims.ndisplay = 3
    assert np.allclose(layer.get_color(4), viewer.layers["cells"].get_color(4))
    widget.session.jump(4)
    assert np.allclose(viewer.scene.camera.center, (2, 30, 34), atol=1)
    viewer.dims.ndisplay = 2
    assert np.allclose(layer.get_color(4), 1)
