"""Tests of the combo boxes that follow the layer list."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_implicitseg.widgets._boxes import LayerComboBox
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES


def names(box):
    return [box.itemText(i) for i in range(box.count())]


def test_a_layer_box_follows_the_layer_list(qtbot):
    viewer = ViewerModel()
    box = LayerComboBox(viewer, (Image,), empty="nothing")
    qtbot.addWidget(box)
    changes = []
    box.layer_changed.connect(lambda: changes.append(box.layer))
    assert names(box) == ["nothing"]
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    assert box.layer is first
    second = viewer.add_image(np.zeros((4, 4)), name="second")
    assert box.layer is first
    first.name = "renamed"
    assert names(box) == ["renamed", "second"]
    viewer.layers.remove(first)
    assert box.layer is second
    viewer.layers.clear()
    assert box.layer is None
    assert changes == [first, second, None]
    box.disconnect_layers()
    viewer.add_image(np.zeros((4, 4)))
    assert box.layer is None


def test_hidden_layers_are_no_choice(qtbot):
    viewer = ViewerModel()
    box = LayerComboBox(viewer, (Labels,), empty="nothing")
    qtbot.addWidget(box)
    viewer.add_labels(np.zeros((4, 4), int), metadata={HIDDEN_FROM_CHOICES: True})
    assert names(box) == ["nothing"]


def test_only_layers_that_suit_are_chosen_unasked(qtbot):
    viewer = ViewerModel()
    box = LayerComboBox(viewer, (Labels,), empty="nothing", suits=lambda layer: layer.name == "b")
    qtbot.addWidget(box)
    viewer.add_labels(np.zeros((4, 4), int), name="a")
    assert box.layer is None
    assert names(box) == ["nothing", "a"]
    viewer.add_labels(np.zeros((4, 4), int), name="b")
    assert box.layer.name == "b"
