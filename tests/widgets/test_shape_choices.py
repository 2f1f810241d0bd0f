"""Tests of the shape families in the scribble widget."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import FitConfig
from napari_implicitseg.widgets._shape_choices import ShapeChoices

from .helpers import drag, iou, settle


@pytest.mark.parametrize("shape", ["convex", "connected", "star", "symmetric", "free"])
def test_every_family_follows_strokes_painted(painted, qtbot, shape):
    viewer, widget, truth = painted()
    widget.shape_box.value = shape
    settle(qtbot, widget)
    preview = viewer.layers["disks preview"]
    assert iou(preview.data == 2, truth == 2) > 0.8
    promise = widget.table.item(0, 2).text()
    assert promise == "no promise" if shape == "free" else shape in promise
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 86), (46, 98))
    settle(qtbot, widget)
    assert iou(preview.data == 3, truth == 3) > 0.8
    widget.accept_button.click()
    masks = viewer.layers["disks masks"].data
    assert set(np.unique(masks)) == {0, 2, 3}


def test_only_options_that_matter_can_be_changed(painted, qtbot):
    _, widget, _ = painted()
    choices = widget.choices
    widget.live_box.setChecked(False)
    widget.advanced.click()
    expected = {
        "convex": (True, False, False),
        "connected": (False, True, False),
        "star": (False, False, False),
        "symmetric": (False, True, True),
        "free": (False, False, False),
    }
    for shape, (model, flow, symmetry) in expected.items():
        widget.shape_box.value = shape
        assert choices.model_box.enabled == model
        assert choices.flow_box.enabled == flow
        assert choices.order_box.isVisibleTo(widget) == symmetry
        assert choices.family_box.native.isVisibleTo(widget) == symmetry


def test_an_option_of_another_family_starts_no_fit(painted, qtbot):
    _, widget, _ = painted()
    version = widget.session._version
    widget.choices.flow_box.value = "realnvp"
    widget.choices.order_box.setValue(3)
    settle(qtbot, widget)
    assert widget.session._version == version


def test_symmetry_is_passed_on(painted, qtbot):
    _, widget, _ = painted()
    widget.live_box.setChecked(False)
    choices = widget.choices
    widget.shape_box.value = "symmetric"
    assert widget.session.inputs.config.order == 1
    choices.symmetry_box.value = "rotation"
    assert choices.order_box.value() == 2
    choices.order_box.setValue(4)
    assert choices.flow_box.enabled
    choices.family_box.value = "star"
    assert not choices.flow_box.enabled
    config = widget.session.inputs.config
    assert (config.symmetry, config.order, config.symmetric_family) == ("rotation", 4, "star")
    widget.shape_box.value = "convex"
    assert widget.session.inputs.config == FitConfig()


def test_the_choices_begin_with_the_defaults_of_the_library(painted):
    _, widget, _ = painted()
    choices = widget.choices
    default = FitConfig()
    assert choices.family_box.value == default.symmetric_family
    assert choices.flow_box.value == default.flow
    assert choices.symmetry_box.value == default.symmetry
    assert choices.order_box.value() == default.symmetry_order


def test_the_evidence_alone_is_offered_for_strokes_and_not_for_repairs(painted, qtbot):
    viewer, widget, truth = painted()
    widget.shape_box.value = "none"
    settle(qtbot, widget)
    preview = viewer.layers["disks preview"]
    assert iou(preview.data == 2, truth == 2) > 0.8
    assert widget.table.item(0, 2).text() == "no promise"
    widget.accept_button.click()
    assert (viewer.layers["disks masks"].data == 2).any()
    assert "none" not in ShapeChoices().shape_box.choices
