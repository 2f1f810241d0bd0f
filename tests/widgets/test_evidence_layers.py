"""Tests of layers as evidence in the scribble widget: labels, probabilities, embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from .helpers import disks, drag, iou, settle

GREY = np.zeros((96, 128), np.float32)


@pytest.fixture
def labelled(painted, qtbot):
    """Scribble a disk that only a layer of labels shows, and take that as evidence."""
    viewer, widget, truth = painted()
    viewer.layers["disks"].data = GREY
    layer = viewer.add_labels(np.where(truth == 2, 5, 0).astype(np.uint8), name="instances")
    widget.evidence_box.value = layer
    settle(qtbot, widget)
    return viewer, widget, truth, layer


def mask(viewer, label=2):
    return viewer.layers["disks preview"].data == label


def offered(widget):
    box = widget.evidence_box.native
    return [box.itemText(i) for i in range(box.count())]


def test_a_label_layer_is_evidence(labelled, qtbot):
    viewer, widget, truth, layer = labelled
    assert "Labels: instances" in offered(widget)
    assert iou(mask(viewer), truth == 2) > 0.9
    layer.data = np.where(truth > 0, truth + 10, 0).astype(np.int64)
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 86), (46, 98))
    settle(qtbot, widget)
    assert iou(mask(viewer), truth == 2) > 0.9
    assert iou(mask(viewer, 3), truth == 3) > 0.9


def test_a_label_layer_that_is_painted_on_is_read_again(labelled, qtbot):
    viewer, widget, truth, layer = labelled
    widget.shape_box.value = "none"
    settle(qtbot, widget)
    assert iou(mask(viewer), truth == 2) > 0.9
    layer.mode, layer.selected_label, layer.brush_size = "paint", 5, 30
    drag(layer, (46, 50), (46, 66))
    settle(qtbot, widget)
    assert iou(mask(viewer), layer.data == 5) > 0.9
    layer.data = np.where(truth == 2, 5, 0).astype(np.uint8)
    settle(qtbot, widget)
    assert iou(mask(viewer), truth == 2) > 0.9


def test_a_label_layer_may_be_renamed_and_removed(labelled, qtbot):
    viewer, widget, _, layer = labelled
    layer.name = "of cells"
    settle(qtbot, widget)
    assert widget.session.inputs.evidence is layer
    assert widget.evidence_box.native.currentText() == "Labels: of cells"
    viewer.layers.remove(layer)
    settle(qtbot, widget)
    assert widget.session.inputs.evidence == "auto"


def test_what_the_widgets_have_made_is_no_evidence(painted, qtbot):
    viewer, widget, _ = painted()
    widget.accept_button.click()
    settle(qtbot, widget)
    assert {"disks scribbles", "disks preview", "disks masks"} < {x.name for x in viewer.layers}
    assert not [text for text in offered(widget) if text.startswith("Labels")]
    widget.new_button.click()
    assert "Labels: disks scribbles" in offered(widget)  # The old ones.


def test_a_label_layer_of_another_shape_is_told(painted, qtbot, notes):
    viewer, widget, _ = painted()
    widget.evidence_box.value = viewer.add_labels(np.ones((9, 9), np.uint8), name="small")
    settle(qtbot, widget)
    assert "Layer 'small' has shape (9, 9) but the scribbles 'disks scribbles'" in notes[0]
    assert "Choose a layer of that shape as evidence" in widget.advice.text()


def test_the_level_of_a_multiscale_label_layer_that_fits_is_taken(painted, qtbot):
    viewer, widget, truth = painted()
    viewer.layers["disks"].data = GREY
    fine = np.kron(np.where(truth == 2, 5, 0), np.ones((2, 2), int))
    layer = viewer.add_labels([fine, fine[::2, ::2]], name="pyramid", multiscale=True)
    widget.evidence_box.value = layer
    settle(qtbot, widget)
    assert iou(mask(viewer), truth == 2) > 0.9


def test_an_image_of_whole_numbers_is_probability_and_no_labels(painted, qtbot):
    viewer, widget, truth = painted()
    viewer.layers["disks"].data = GREY
    layer = viewer.add_image((truth > 0).astype(np.uint8), name="mask")
    widget.evidence_box.value = layer
    settle(qtbot, widget)
    assert "Probability: mask" in offered(widget)
    assert widget.session.preview.outcomes[None, None].request.evidence.dtype == np.float32
    assert iou(mask(viewer), truth == 2) > 0.85


def test_slices_of_a_label_layer_are_cut_as_the_image_is(open_widget, qtbot):
    _, truth = disks()
    stack = np.stack([truth > 5, truth == 2, truth > 5])
    viewer, widget = open_widget((np.zeros(stack.shape, np.float32), {"name": "disks"}, "image"))
    widget.new_button.click()
    layer = widget.scribbles_box.layer
    widget.evidence_box.value = viewer.add_labels(stack.astype(np.uint8), name="instances")
    layer.data[1, 8, 8:118] = 1
    layer.data[1, 46, 28:44] = 2
    viewer.dims.set_point(0, 1)
    layer.refresh()
    settle(qtbot, widget)
    assert iou(mask(viewer)[1], truth == 2) > 0.9


def test_an_embedding_is_offered_by_its_shape_and_used(painted, qtbot):
    viewer, widget, truth = painted()
    box = widget.evidence.embedding_box
    assert box.count() == 1
    viewer.layers["disks"].data = GREY
    features = np.stack([truth == 2, truth == 3, truth == 0]).astype(np.float32)
    layer = viewer.add_image(features, name="features")
    viewer.add_image(np.zeros((3, 9, 9), np.float32), name="of another image")
    assert [box.itemText(i) for i in range(box.count())] == ["none", "features"]
    box.layer = layer
    widget.evidence_box.value = "pixel"
    settle(qtbot, widget)
    assert iou(mask(viewer), truth == 2) > 0.85
    viewer.layers.remove(layer)
    settle(qtbot, widget)
    assert box.layer is None
    assert widget.session.inputs.embedding is None


def test_an_embedding_of_a_stack_is_cut_by_the_slice(open_widget, qtbot):
    _, truth = disks()
    stack = np.stack([truth > 5, truth == 2, truth > 5]).astype(np.float32)
    viewer, widget = open_widget((np.zeros(stack.shape, np.float32), {"name": "disks"}, "image"))
    widget.new_button.click()
    layer = widget.scribbles_box.layer
    widget.evidence_box.value = "pixel"
    widget.evidence.embedding_box.layer = viewer.add_image(np.stack([stack, 1 - stack]), name="e")
    layer.data[1, 8, 8:118] = 1
    layer.data[1, 46, 28:44] = 2
    viewer.dims.set_point(1, 1)
    layer.refresh()
    settle(qtbot, widget)
    assert iou(mask(viewer)[1], truth == 2) > 0.85
