"""Tests of the scribble widget while layers, views and strokes change under it."""

from __future__ import annotations

import numpy as np
import pytest

from .helpers import WAIT, disks, drag, iou, settle

BACKGROUND = [((8, 8), (8, 118)), ((86, 8), (86, 118))]
OBJECT = [((46, 28), (46, 44))]


@pytest.fixture
def stacked(open_widget, qtbot):
    """Open the widget on a stack of nine slices with disks."""
    image, truth = disks()
    viewer, widget = open_widget((np.stack([image] * 9), {"name": "disks"}, "image"))
    widget.new_button.click()
    widget.scribbles_box.layer.brush_size = 4
    settle(qtbot, widget)
    return viewer, widget, truth == 2


def paint_slice(viewer, widget, z, *, objects=OBJECT, background=BACKGROUND):
    """Paint strokes on a slice."""
    layer = widget.scribbles_box.layer
    viewer.dims.set_point(0, z)
    for label, strokes in ((1, background), (2, objects)):
        layer.selected_label = label
        for stroke in strokes:
            drag(layer, *((z, *point) for point in stroke))


def accept(widget, qtbot):
    """Press Accept and wait."""
    widget.accept_button.click()
    settle(qtbot, widget)


def preview(viewer):
    return viewer.layers["disks preview"].data


def test_a_fit_is_not_lost_by_scrolling_on(stacked, qtbot):
    viewer, widget, truth = stacked
    paint_slice(viewer, widget, 5)
    settle(qtbot, widget)
    paint_slice(viewer, widget, 3)
    qtbot.waitUntil(lambda: not widget._soon.isActive(), timeout=WAIT)
    # The fit of slice 3 runs while the user paints on slice 5.
    paint_slice(viewer, widget, 5, objects=[((50, 28), (50, 44))], background=[])
    settle(qtbot, widget)
    assert iou(preview(viewer)[3] == 2, truth) > 0.8
    assert iou(preview(viewer)[5] == 2, truth) > 0.8
    accept(widget, qtbot)
    masks = viewer.layers["disks masks"].data
    assert iou(masks[3] == 2, truth) > 0.8
    assert iou(masks[5] == 2, truth) > 0.8


def test_strokes_undone_from_another_slice_are_not_accepted(stacked, qtbot):
    viewer, widget, truth = stacked
    for z in (2, 5):
        paint_slice(viewer, widget, z)
        settle(qtbot, widget)
    viewer.dims.set_point(0, 1)
    settle(qtbot, widget)
    widget.scribbles_box.layer.undo()
    assert not (widget.scribbles_box.layer.data[5] == 2).any()
    accept(widget, qtbot)
    masks = viewer.layers["disks masks"].data
    assert not masks[5].any()
    assert iou(masks[2] == 2, truth) > 0.8


def test_a_slip_that_is_undone_leaves_no_trace(painted, qtbot):
    viewer, widget, _ = painted()
    before = preview(viewer).copy()
    layer = widget.scribbles_box.layer
    layer.selected_label = 1
    drag(layer, (30, 20), (62, 50))  # Background right through the object.
    settle(qtbot, widget)
    assert not np.array_equal(preview(viewer), before)
    layer.undo()
    settle(qtbot, widget)
    assert np.array_equal(preview(viewer), before)


def test_outputs_follow_an_image_that_is_moved_or_calibrated(painted, qtbot):
    viewer, widget, _ = painted()
    accept(widget, qtbot)
    image, layer = viewer.layers["disks"], widget.scribbles_box.layer
    for moved in (image, layer):
        moved.translate, moved.scale, moved.units = (50, 70), (2, 2), ("um", "um")
    settle(qtbot, widget)
    layer.selected_label = 2
    drag(layer, (50 + 2 * 48, 70 + 2 * 30), (50 + 2 * 48, 70 + 2 * 44))
    settle(qtbot, widget)
    accept(widget, qtbot)
    for name in ("disks preview", "disks masks"):
        output = viewer.layers[name]
        assert tuple(output.translate) == (50, 70)
        assert tuple(output.scale) == (2, 2)
        assert output.units == image.units


def test_a_probability_layer_may_be_renamed(painted, qtbot):
    viewer, widget, truth = painted()
    layer = viewer.add_image((truth == 2).astype(np.float32), name="probability")
    widget.evidence_box.value = layer
    layer.name = "of nuclei"
    settle(qtbot, widget)
    assert widget.session.inputs.evidence is layer
    assert "Probability: of nuclei" in widget.evidence_box.native.currentText()
    viewer.layers.remove(layer)
    settle(qtbot, widget)
    assert widget.session.inputs.evidence == "auto"


def test_grey_levels_are_no_probability(painted, qtbot, notes):
    viewer, widget, truth = painted()
    grey = viewer.add_image(np.where(truth == 2, 220, 20).astype(np.uint8), name="grey")
    widget.evidence_box.value = grey
    settle(qtbot, widget)
    assert any("from 20 to 220" in note for note in notes)
    assert "Divide it" in widget.advice.text()


def test_no_preview_of_another_shape_stays(painted, qtbot):
    viewer, widget, truth = painted()
    layer = widget.scribbles_box.layer
    data = layer.data
    layer.data = np.zeros((50, 60), np.uint16)
    settle(qtbot, widget)
    assert "disks preview" not in viewer.layers
    layer.data = data
    settle(qtbot, widget)
    assert iou(preview(viewer) == 2, truth == 2) > 0.8


def test_scribbles_may_change_to_another_level(open_widget, qtbot, notes):
    image, truth = disks((192, 256), ((92, 72, 40), (92, 184, 34)))
    pyramid = [image, image[::2, ::2]]
    viewer, widget = open_widget((pyramid, {"name": "disks", "multiscale": True}, "image"))
    widget.new_button.click()
    layer = widget.scribbles_box.layer
    for level in (1, 0):
        strokes = np.zeros(pyramid[level].shape, np.uint16)
        strokes[6, 8:100] = 1
        strokes[92 >> level, 60 >> level : 84 >> level] = 2
        layer.data = strokes
        settle(qtbot, widget)
        step = 2**level
        assert iou(preview(viewer) == 2, truth[::step, ::step] == 2) > 0.8
    assert not notes


def test_scribbles_of_another_shape_are_given_up_for_another_image(painted, qtbot, notes):
    viewer, widget, _ = painted()
    strokes = widget.scribbles_box.layer
    other = viewer.add_image(np.zeros((40, 50)), name="other")
    widget.image_box.layer = other
    settle(qtbot, widget)
    assert widget.scribbles_box.layer is None
    assert "New scribbles" in widget.advice.text()
    widget.image_box.layer = viewer.layers["disks"]
    settle(qtbot, widget)
    assert widget.scribbles_box.layer is strokes
    assert not notes


def test_the_advice_knows_what_was_accepted(painted, qtbot, notes):
    viewer, widget, _ = painted()
    assert "K to accept" in widget.advice.text()
    accept(widget, qtbot)
    widget.scribbles_box.layer.selected_label = 1
    assert widget.advice.text().startswith("Accepted.")
    accept(widget, qtbot)
    accept(widget, qtbot)  # Said once.
    assert sum("no new mask to accept" in note for note in notes) == 1
    viewer.layers["disks masks"].undo()
    widget.fit_button.click()
    settle(qtbot, widget)
    accept(widget, qtbot)
    assert (viewer.layers["disks masks"].data == 2).any()


def test_figures_keep_their_ids(painted, qtbot):
    viewer, widget, _ = painted()
    box = np.array([[60, 100], [60, 120], [76, 120], [76, 100]])
    shapes = viewer.add_shapes([box, box - [40, 0]], shape_type="rectangle")
    widget.shapes_box.layer = shapes
    settle(qtbot, widget)
    assert [row.label for row in widget.table.rows] == [2, 3, 4]
    widget.next_button.click()
    layer = widget.scribbles_box.layer
    assert layer.selected_label == 5
    drag(layer, (46, 86), (46, 94))
    settle(qtbot, widget)
    labels = viewer.layers["disks preview"].data
    assert (labels[68, 110], labels[28, 110], labels[46, 90]) == (3, 4, 5)
    shapes.selected_data = {0}
    shapes.remove_selected()
    settle(qtbot, widget)
    labels = viewer.layers["disks preview"].data
    assert (labels[68, 110], labels[28, 110], labels[46, 90]) == (0, 4, 5)


def test_new_scribbles_hide_the_old_ones(painted, qtbot):
    _, widget, _ = painted()
    old = widget.scribbles_box.layer
    widget.new_button.click()
    settle(qtbot, widget)
    assert widget.scribbles_box.layer is not old
    assert not old.visible


def test_live_off_and_on_leaves_masks_as_they_are(painted, qtbot):
    viewer, widget, _ = painted()
    before = widget.session.preview.outcomes.copy()
    widget.live_box.setChecked(False)
    widget.live_box.setChecked(True)
    settle(qtbot, widget)
    assert widget.session.preview.outcomes == before
    assert preview(viewer).any()
