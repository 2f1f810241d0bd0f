"""Tests of what *Train U-Net* hands on: probabilities as evidence, objects to repair."""

from __future__ import annotations

import numpy as np
from napari.layers import Image

from napari_implicitseg.widgets._semantic_layers import PREDICTED

from .helpers import settle
from .semantic_cases import (
    PLACE,
    SHAPE,
    model_opener,
    other_panel,
    picture,
    semantic_opener,
    tiny_model,
)

open_semantic, with_model, tiny = semantic_opener, model_opener, tiny_model


def test_a_probability_becomes_evidence(with_model, qtbot):
    viewer, widget = with_model()
    assert "around, disk" in widget.advice.text()
    widget.use.class_box.setCurrentText("disk")
    widget.use.evidence_button.click()
    settle(qtbot, widget)
    layer = viewer.layers["em probability of disk"]
    assert isinstance(layer, Image)
    assert 0 <= layer.data.min() <= layer.data.max() <= 1
    assert layer.contrast_limits == [0, 1]
    assert np.array_equal(layer.translate, PLACE["translate"])
    _, truth = picture()
    assert layer.data[truth == 2].mean() > layer.data[truth == 1].mean()
    panel = other_panel(viewer, "Scribble to mask")
    assert panel.image_box.layer is viewer.layers["em"]
    assert panel.evidence_box.value is layer
    assert panel.scribbles_box.layer.data.shape == SHAPE
    settle(qtbot, panel)
    count = len(viewer.layers)
    widget.use.evidence_button.click()
    settle(qtbot, widget)
    assert len(viewer.layers) == count


def test_objects_of_a_class_are_repaired(with_model, qtbot):
    viewer, widget = with_model()
    widget.use.class_box.setCurrentText("disk")
    widget.use.size_box.setValue(4)
    widget.use.repair_button.click()
    settle(qtbot, widget)
    layer = viewer.layers["em disk"]
    assert np.array_equal(
        layer.data, widget.session.model.objects(viewer.layers["em"].data, "disk", min_size=4)
    )
    assert layer.data.max() >= 1
    assert np.array_equal(layer.scale, PLACE["scale"])
    panel = other_panel(viewer, "Repair labels")
    assert panel.source_box.layer is layer
    settle(qtbot, panel)


def test_too_small_objects_are_not_handed_on(with_model, qtbot):
    viewer, widget = with_model()
    widget.use.size_box.setValue(48 * 48 + 1)
    widget.use.repair_button.click()
    settle(qtbot, widget)
    assert "no objects of around of 2305 pixels" in widget.advice.text()
    assert len(viewer.layers) == 1


def test_a_prediction_that_was_corrected_is_not_overwritten(with_model, qtbot):
    viewer, widget = with_model()
    widget.use.predict_button.click()
    settle(qtbot, widget)
    widget.use.predict_button.click()
    settle(qtbot, widget)
    found = [layer for layer in viewer.layers if PREDICTED in layer.metadata]
    assert len(found) == 1
    found[0].data_setitem((np.array([3]), np.array([3])), 9)
    widget.use.predict_button.click()
    settle(qtbot, widget)
    assert found[0].data[3, 3] == 9
    assert sum(PREDICTED in layer.metadata for layer in viewer.layers) == 2


def test_an_image_with_other_channels_is_refused(with_model, notes, qtbot):
    viewer, widget = with_model()
    rgb = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
    widget.use.target_box.layer = viewer.add_image(rgb, name="colours", rgb=True)
    widget.use.predict_button.click()
    settle(qtbot, widget)
    assert "'colours'" in notes[-1]
    assert "3 channels" in notes[-1]
