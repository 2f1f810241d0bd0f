"""Tests of sloppy outlines in the scribble widget."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.interactions import mouse_double_click_callbacks

from napari_implicitseg import FitConfig

from .helpers import disks, drag, iou, mouse_event, settle


def loop(row, column, radius, corners=9, turn=0.3):
    """Corners of a rough polygon around a disk."""
    angles = turn + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    ring = radius * (1 + 0.12 * np.cos(3 * angles))
    return np.stack([row + ring * np.sin(angles), column + ring * np.cos(angles)], axis=1)


ONE, OTHER = loop(46, 36, 26), loop(46, 92, 23)


@pytest.fixture
def outlining(open_widget, qtbot):
    """Open the widget on two disks and press the button for outlines."""

    def make(image=None, **kwargs):
        found, truth = disks()
        layer = (found if image is None else image, {"name": "disks", **kwargs}, "image")
        viewer, widget = open_widget(layer)
        widget.outline_button.click()
        settle(qtbot, widget)
        return viewer, widget, truth

    return make


@pytest.fixture
def outlined(outlining, qtbot):
    """Outline the first disk."""
    viewer, widget, truth = outlining()
    widget.shapes_box.layer.add_polygons([ONE])
    settle(qtbot, widget)
    return viewer, widget, truth


def shown(widget):
    """Return the outcome of the only region."""
    (outcome,) = widget.session.preview.outcomes.values()
    return outcome


def mask(viewer, label):
    return viewer.layers["disks preview"].data == label


def test_the_button_leads_to_a_lasso_on_the_image(outlining):
    place = {"scale": (2.0, 0.5), "translate": (10.0, -4.0), "units": ("um", "um")}
    viewer, widget, _ = outlining(**place)
    image, layer = viewer.layers["disks"], viewer.layers["disks outlines"]
    assert viewer.layers.selection.active is layer
    assert layer.mode == "add_polygon_lasso"
    assert widget.shapes_box.layer is layer
    assert widget.evidence_box.value == "upsampler"
    assert widget.scribbles_box.layer is viewer.layers["disks scribbles"]
    assert np.array_equal(layer.scale, image.scale)
    assert np.array_equal(layer.translate, image.translate)
    assert layer.units == image.units
    assert "Draw around an object, roughly" in widget.advice.text()
    assert "Outline 2" in widget.brush.text()


def test_a_lasso_drawn_with_the_mouse_becomes_a_mask(outlining, qtbot):
    viewer, widget, truth = outlining()
    layer = viewer.layers["disks outlines"]
    drag(layer, *map(tuple, np.concatenate([ONE, ONE[:1]])))
    assert len(layer.data) == 1
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    assert "background" not in widget.notes.text() + widget.advice.text()
    assert "move a vertex" in widget.advice.text()
    widget.accept_button.click()
    assert iou(viewer.layers["disks masks"].data == 2, truth == 2) > 0.85


def test_a_vertex_that_is_moved_takes_no_new_training(outlined, qtbot):
    viewer, widget, truth = outlined
    first = shown(widget)
    assert first.has_trained
    layer = viewer.layers["disks outlines"]
    layer.mode, layer.selected_data = "direct", {0}
    corner = layer.data[0][2]
    drag(layer, tuple(corner), tuple(corner + 1), tuple(corner + 3))
    assert np.abs(layer.data[0][2] - corner).max() > 1
    settle(qtbot, widget)
    second = shown(widget)
    assert second.request.version > first.request.version
    assert not second.has_trained
    assert iou(mask(viewer, 2), truth == 2) > 0.85


def test_every_outline_is_an_object_and_may_touch_another(outlined, qtbot):
    viewer, widget, truth = outlined
    layer = viewer.layers["disks outlines"]
    box = np.array([[18, 60], [18, 120], [74, 120], [74, 60]])
    layer.add(box, shape_type="ellipse")
    one, other = layer.to_masks((96, 128))
    assert (one & other).any()
    settle(qtbot, widget)
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    assert iou(mask(viewer, 3), truth == 3) > 1.5 * iou(other, truth == 3)
    assert not shown(widget).has_trained
    layer.selected_data = {0}
    layer.remove_selected()
    settle(qtbot, widget)
    assert not mask(viewer, 2).any()
    assert iou(mask(viewer, 3), truth == 3) > 1.5 * iou(other, truth == 3)


def test_another_shape_is_fitted_with_the_network_there_is(outlined, qtbot):
    viewer, widget, truth = outlined
    widget.shape_box.value = "star"
    settle(qtbot, widget)
    assert not shown(widget).has_trained
    assert widget.table.item(0, 2).text().startswith("✓ star")
    assert iou(mask(viewer, 2), truth == 2) > 0.85
    widget.evidence.scale_box.value = 4
    settle(qtbot, widget)
    assert shown(widget).has_trained


def test_an_outline_that_is_not_finished_is_not_read(outlined, qtbot):
    viewer, widget, _ = outlined
    layer = viewer.layers["disks outlines"]
    layer.mode = "add_polygon"
    for point in OTHER[[0, 3, 6, 6]]:
        drag(layer, tuple(point))
    widget.fit_button.click()
    settle(qtbot, widget)
    assert len(layer.data) == 2
    assert [row.label for row in widget.table.rows] == [2]
    mouse_double_click_callbacks(layer, mouse_event("mouse_double_click", tuple(OTHER[6])))
    settle(qtbot, widget)
    assert [row.label for row in widget.table.rows] == [2, 3]


def test_strokes_correct_an_outline(outlined, qtbot, notes):
    viewer, widget, _ = outlined
    layer = widget.scribbles_box.layer
    layer.data[24:70, 14:22] = 1
    layer.refresh()
    settle(qtbot, widget)
    assert not mask(viewer, 2)[30:60, 16:20].any()
    assert mask(viewer, 2)[46, 40]
    assert not notes


def test_strokes_are_not_taken_for_outlines(painted, qtbot):
    _, widget, _ = painted()
    strokes = widget.scribbles_box.layer
    widget.outline_button.click()
    settle(qtbot, widget)
    assert widget.scribbles_box.layer is not strokes
    assert not strokes.visible
    assert strokes.data.any()
    assert widget.table.rowCount() == 0


def test_new_scribbles_end_the_outlines(outlined, qtbot):
    viewer, widget, _ = outlined
    layer = viewer.layers["disks outlines"]
    widget.new_button.click()
    settle(qtbot, widget)
    assert widget.evidence_box.value == "auto"
    assert widget.shapes_box.layer is None
    assert "background" in widget.advice.text()
    widget.outline_button.click()
    settle(qtbot, widget)
    assert widget.shapes_box.layer is layer
    assert [row.label for row in widget.table.rows] == [2]


def test_a_stack_is_outlined_slice_by_slice_and_a_volume_refused(outlining, qtbot, notes):
    image, _ = disks()
    viewer, widget, truth = outlining(np.stack([image] * 3))
    layer = viewer.layers["disks outlines"]
    assert layer.ndim == 3
    viewer.dims.set_point(0, 1)
    drag(layer, *((1, *point) for point in np.concatenate([ONE, ONE[:1]])))
    settle(qtbot, widget)
    assert iou(mask(viewer, 2)[1], truth == 2) > 0.85
    assert not mask(viewer, 2)[::2].any()
    widget.scope_box.value = "volume"
    settle(qtbot, widget)
    assert "3 axes; sloppy outlines are made precise in 2D" in widget.advice.text()
    assert len(notes) == 1
    widget.scope_box.value = "slices"
    settle(qtbot, widget)
    assert iou(mask(viewer, 2)[1], truth == 2) > 0.85


def test_the_network_is_chosen_among_the_advanced(outlining, qtbot):
    _, widget, _ = outlining()
    widget.advanced.click()
    evidence = widget.evidence
    boxes = evidence.network_box, evidence.scale_box
    assert [box.value for box in boxes] == [FitConfig().upsampler, FitConfig().upsampler_scale]
    assert all(box.native.isVisibleTo(widget) for box in boxes)
    evidence.network_box.value, evidence.scale_box.value = "original", 16
    config = widget.session.inputs.config
    assert (config.upsampler, config.upsampler_scale) == ("original", 16)
    widget.evidence_box.value = "histogram"
    assert not any(box.native.isVisibleTo(widget) for box in boxes)
    assert widget.session.inputs.config == FitConfig()


def test_without_an_image_the_button_says_what_comes_first(open_widget, notes):
    _, widget = open_widget()
    widget.outline_button.click()
    assert "There is no image" in notes[-1]
