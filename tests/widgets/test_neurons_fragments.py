"""Tests of what the neurons widget merges, and of the image of its borders."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.hierarchy.cuts import saliency_map

from .helpers import settle
from .neurons_cases import affinities, neurons_cutter, neurons_opener, segment, truth

open_neurons, cut = neurons_opener, neurons_cutter


@pytest.mark.parametrize("kind", ["distance", "watershed", "higra", "voxels"])
def test_the_chosen_fragments_are_merged(open_neurons, qtbot, kind):
    _, widget = open_neurons((affinities(truth((6, 24, 24))), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    automatic = widget.session.corrections.work.hierarchy
    widget.cutting.fragments_box.value = kind
    widget.cutting.size_box.setValue(0)
    segment(widget, qtbot)
    found = widget.session.corrections.work.hierarchy
    assert found is not automatic
    assert (found.size == found.fragments.size) == (kind == "voxels")


def test_small_fragments_are_merged_up_to_the_size(open_neurons, qtbot):
    _, widget = open_neurons((affinities(truth((6, 24, 24))), {"name": "aff"}, "image"))
    widget.cutting.fragments_box.value = "watershed"
    assert widget.cutting.size_box.text() == "automatic"
    for size in (0, 40):
        widget.cutting.size_box.setValue(size)
        segment(widget, qtbot)
        hierarchy = widget.session.corrections.work.hierarchy
        assert (hierarchy.graph.sizes.min() >= 40) == (size == 40)


@pytest.mark.parametrize("linkage", ["mean", "area"])
def test_the_saliency_of_borders_is_an_image_on_the_neurons(cut, qtbot, linkage):
    viewer, widget, layer = cut(scale=(1, 4.0, 2.0, 2.0), translate=(0, 7.0, -3.0, 5.0))
    widget.cutting.linkage_box.value = linkage
    segment(widget, qtbot)
    active = viewer.layers.selection.active
    widget.cutting.saliency_button.click()
    settle(qtbot, widget)
    image = viewer.layers[f"{layer.name} saliency"]
    assert np.allclose(image.scale, layer.scale)
    assert np.allclose(image.translate, layer.translate)
    expected = saliency_map(widget.session.corrections.work.hierarchy)
    finite = np.isfinite(expected)
    assert np.array_equal(image.data[finite], expected[finite])
    assert np.isfinite(image.data).all()
    assert viewer.layers.selection.active is active


def test_there_is_no_saliency_before_there_are_neurons(open_neurons):
    _, widget = open_neurons((affinities(truth((6, 24, 24))), {"name": "aff"}, "image"))
    assert not widget.cutting.saliency_button.isEnabled()
