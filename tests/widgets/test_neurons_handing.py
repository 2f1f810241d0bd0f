"""Tests of neurons handed over to other panels, taken back, and of panels that move them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg.widgets._neurons_jobs import threshold_at
from napari_implicitseg.widgets._neurons_link import link_of

from .helpers import settle
from .neurons_cases import affinities, neurons_cutter, neurons_opener, segment, truth

open_neurons, cut = neurons_opener, neurons_cutter
PLACE = {"scale": (1, 4.0, 2.0, 2.0), "translate": (0, 7.0, -3.0, 5.0)}


def choose(widget, layer, voxel=(12, 30, 30)):
    """Make a neuron the current one; return its mask."""
    widget.session.corrections.select(voxel)
    widget._show_state()
    return layer.data == layer.data[voxel]


def other_panel(viewer, name, qtbot):
    _, panel = viewer.window.add_plugin_dock_widget("napari-implicitseg", name)
    settle(qtbot, panel)
    return panel


def take_back(widget, qtbot):
    widget.correcting.back_button.click()
    settle(qtbot, widget)


def eaten(mask, axis=2):
    """Cut the far end off a mask and add a rim before it."""
    half = np.argwhere(mask)[:, axis].mean()
    places = np.indices(mask.shape)[axis]
    grown = mask.copy()
    grown[:, :, :-2] |= mask[:, :, 2:]
    return grown & (places < half + 3)


@pytest.mark.parametrize("kwargs", [{}, PLACE])
def test_a_repaired_neuron_comes_back_as_a_correction(cut, qtbot, kwargs):
    viewer, widget, layer = cut(**kwargs)
    step = widget.correcting
    assert not step.repair_button.isEnabled()
    assert not step.back_button.isEnabled()
    mask = choose(widget, layer)
    before = layer.data.copy()
    step.repair_button.click()
    panel = other_panel(viewer, "Repair labels", qtbot)
    handed = panel.source_box.layer
    assert np.allclose(handed.scale, layer.scale)
    start = np.round(layer.world_to_data(handed.data_to_world((0, 0, 0)))).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, handed.data.shape, strict=True))
    assert np.array_equal(handed.data > 0, mask[box])
    wanted = eaten(mask)
    handed.data = np.where(wanted[box], handed.data.max(), 0)  # As if it was accepted into.
    take_back(widget, qtbot)
    assert "100.0%" in widget.advice.text()
    assert np.array_equal(layer.data == widget.session.corrections.current, wanted)
    assert len(widget.session.corrections.work.edits) == 1
    assert layer.visible
    untouched = ~(mask | wanted)
    pairs = np.unique(np.stack([before[untouched], layer.data[untouched]]), axis=1)
    assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1]))
    step.undo_button.click()
    assert np.array_equal(layer.data, before)
    step.redo_button.click()
    assert np.array_equal(layer.data == layer.data[12, 30, 30], wanted)
    segment(widget, qtbot)  # Edits are replayed.
    assert np.array_equal(layer.data == layer.data[12, 30, 30], wanted)


def test_repair_labels_gives_a_mask_back(cut, qtbot):
    viewer, widget, layer = cut()
    choose(widget, layer)
    widget.correcting.repair_button.click()
    panel = other_panel(viewer, "Repair labels", qtbot)
    panel.source_box.layer.data[:, :, ::2] = 0
    panel.preview_button.click()
    settle(qtbot, panel)
    panel.accept_button.click()
    accepted = next(item for item in viewer.layers if item.name.endswith("repaired"))
    take_back(widget, qtbot)
    assert "same there" in widget.advice.text()
    assert not accepted.visible
    start = np.array(accepted.translate).astype(int)
    box = tuple(slice(s, s + n) for s, n in zip(start, accepted.data.shape, strict=True))
    shown = layer.data[box] == widget.session.corrections.current
    wanted = accepted.data > 0
    assert (shown ^ wanted).sum() < 0.01 * wanted.sum()


def test_scribble_to_mask_gives_a_section_back(cut, qtbot):
    viewer, widget, layer = cut()
    viewer.dims.set_point(1, 12)
    viewer.dims.ndisplay = 3
    mask = choose(widget, layer)
    widget.correcting.scribble_button.click()
    assert viewer.dims.ndisplay == 2
    panel = other_panel(viewer, "Scribble to mask", qtbot)
    image, strokes = panel.image_box.layer, panel.scribbles_box.layer
    start = np.array(strokes.translate).astype(int)
    assert np.array_equal(image.translate, strokes.translate)
    sections = np.unique(np.nonzero(strokes.data)[0])
    assert (sections + start[0]).tolist() == [12]
    own = mask[tuple(slice(s, s + n) for s, n in zip(start, strokes.data.shape, strict=True))]
    assert own[strokes.data == 2].all()
    assert not own[strokes.data == 1].any()
    panel.accept_button.click()
    settle(qtbot, panel)
    accepted = next(item for item in viewer.layers if item.name.endswith("masks"))
    found = accepted.data[12 - start[0]] > 0
    assert found.any()
    take_back(widget, qtbot)
    now = layer.data == widget.session.corrections.current
    rows, columns = (slice(s, s + n) for s, n in zip(start[1:], found.shape, strict=True))
    shown = now[12][rows, columns]
    assert not (found & ~shown).any()
    specks, _ = ndimage.label(shown & ~found, np.ones((3, 3)))
    assert np.bincount(specks[specks > 0], minlength=1).max() < 10  # These stay with the neuron.
    others = np.arange(layer.data.shape[0]) != 12
    assert np.array_equal(now[others], mask[others])


def test_what_cannot_be_handed_over_or_taken_back_is_told_of(cut, notes, qtbot):
    viewer, widget, layer = cut()
    widget.repair_neuron()
    assert "no current neuron" in notes[-1]
    widget.take_back()
    assert "No neuron was handed over" in notes[-1]
    choose(widget, layer)
    widget.correcting.scribble_button.click()
    take_back(widget, qtbot)
    assert "no mask" in notes[-1]
    assert not widget.session.corrections.work.edits
    widget.correcting.repair_button.click()
    panel = other_panel(viewer, "Repair labels", qtbot)
    panel.source_box.layer.data = np.zeros_like(panel.source_box.layer.data)
    take_back(widget, qtbot)
    assert "no mask" in notes[-1]
    widget.correcting.repair_button.click()
    widget.session.corrections.toggle_freeze()
    panel.source_box.layer.data[:, ::2] = 0
    take_back(widget, qtbot)
    assert "frozen" in notes[-1]


def test_images_are_handed_over_too(open_neurons, qtbot):
    labels = truth((64, 80))
    viewer, widget = open_neurons((affinities(labels), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    layer = viewer.layers["aff neurons"]
    mask = choose(widget, layer, (30, 30))
    widget.correcting.scribble_button.click()
    panel = other_panel(viewer, "Scribble to mask", qtbot)
    assert panel.image_box.layer.ndim == 2
    panel.accept_button.click()
    settle(qtbot, panel)
    take_back(widget, qtbot)
    assert "same there" in widget.advice.text()
    assert len(widget.session.corrections.work.edits) == 1
    assert mask[30, 30]


def test_another_panel_moves_the_slider_and_chooses(cut, notes):
    viewer, widget, layer = cut()
    link = link_of(layer)
    assert link.work() is widget.session.corrections.work
    link.move(0.317)
    assert link.work().threshold == 0.317
    assert widget.cutting.slider.value() == 317
    assert "0.317" in widget.cutting.count.text()
    assert np.array_equal(layer.data, link.work().labels())
    link.select((12, 30, 30))
    assert widget.session.corrections.current == layer.data[12, 30, 30]
    link.move(7.0)
    assert "threshold" in notes[-1]
    assert link.work().threshold == 0.317
    viewer.window.remove_dock_widget(widget)
    assert link_of(layer) is None


@pytest.mark.parametrize("linkage", ["ward", "area"])
def test_the_slider_goes_where_other_linkages_are_cut(open_neurons, qtbot, linkage):
    viewer, widget = open_neurons((affinities(truth((8, 32, 32))), {"name": "aff"}, "image"))
    widget.cutting.linkage_box.value = linkage
    segment(widget, qtbot)
    layer = viewer.layers["aff neurons"]
    for value in (200, 900):
        widget.cutting.slider.setValue(value)
        link = link_of(layer)
        threshold, count = link.work().threshold, len(np.unique(layer.data))
        widget.cutting.slider.setValue(500)
        link.move(threshold)
        assert len(np.unique(layer.data)) == count
        assert threshold_at(link.work().hierarchy, widget.session.share) == threshold
        assert widget.cutting.slider.value() == round(1000 * widget.session.share)


def test_seeds_are_a_correction(cut, qtbot):
    viewer, widget, layer = cut()
    before = layer.data.copy()
    seeds = np.zeros(layer.data.shape, np.uint16)
    one, two = (12, 30, 30), tuple(map(int, np.argwhere(before != before[12, 30, 30])[0]))
    seeds[one] = seeds[two] = 5  # These become one,
    mask = np.argwhere(before == before[20, 60, 60])
    seeds[tuple(mask[0])], seeds[tuple(mask[-1])] = 6, 7  # and this becomes two.
    widget.seeding.seeds_box.layer = viewer.add_labels(seeds, name="seeds")
    widget.seeding.seed_button.click()
    settle(qtbot, widget)
    assert len(viewer.layers) == 4  # With the mark.
    assert layer.data[one] == layer.data[two]
    assert layer.data[tuple(mask[0])] != layer.data[tuple(mask[-1])]
    assert widget.session.corrections.work.edits[-1].kind == "seeds"
    widget.correcting.undo_button.click()
    assert np.array_equal(layer.data, before)


def test_evaluate_opens_with_the_neurons_chosen(cut, qtbot):
    viewer, widget, layer = cut()
    viewer.add_labels(truth().astype(np.uint16), name="truth")
    widget.evaluating.evaluate_button.click()
    panel = other_panel(viewer, "Evaluate labels", qtbot)
    assert panel.labels_box.layer is layer
