"""Tests of the neurons widget in a real viewer: corrections, by clicks, strokes and keys."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
from scipy import ndimage

from .helpers import drag, settle
from .neurons_cases import (
    affinities,
    click,
    drag_view,
    neurons_cutter,
    neurons_opener,
    press_key,
    segment,
    show_section,
    truth,
    two_in,
)

open_neurons, cut = neurons_opener, neurons_cutter


def is_outlined(mark, mask):
    """Whether the line that is shown is two pixels inside the border of a mask."""
    inside = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    return np.array_equal(mark._slice.image.raw > 0, mask & ~inside)


PLACE = {"scale": (1, 4.0, 2.0, 2.0), "translate": (0, 7.0, -3.0, 5.0)}


@pytest.mark.parametrize("kwargs", [{}, PLACE])
def test_a_click_makes_a_neuron_the_current_one(cut, kwargs):
    viewer, widget, layer = cut(**kwargs)
    show_section(viewer, layer, 12)
    (one, voxel), (two, other) = two_in(layer.data)
    assert "click one" in widget.correcting.current.text()
    click(viewer, layer, voxel)
    size = int((layer.data == one).sum())
    assert widget.correcting.current.text() == f"Neuron {one}: {size:,} voxels"
    assert layer.selected_label == one
    mark = viewer.layers["current neuron"]
    assert mark._slice.image.raw.any()
    assert is_outlined(mark, layer.data[12] == one)
    assert np.allclose(mark.data_to_world(voxel), layer.data_to_world(voxel))
    drag_view(viewer, layer, other, (12, 40, 40))
    assert widget.session.corrections.current == one
    click(viewer, layer, other)
    assert widget.session.corrections.current == two
    assert viewer.layers.selection.active is layer


def test_the_current_neuron_follows_the_slider(cut):
    viewer, widget, layer = cut()
    show_section(viewer, layer, 12)
    click(viewer, layer, (12, 20, 20))
    for value in (0, 900, 500):
        widget.cutting.slider.setValue(value)
        now = layer.data[12, 20, 20]
        assert widget.session.corrections.current == now
        assert f"Neuron {now}:" in widget.correcting.current.text()
        assert is_outlined(viewer.layers["current neuron"], layer.data[12] == now)


def test_the_mark_is_not_there_in_3d_and_after_being_deleted_comes_again(cut):
    viewer, _, layer = cut()
    show_section(viewer, layer, 12)
    click(viewer, layer, (12, 20, 20))
    mark = viewer.layers["current neuron"]
    viewer.dims.ndisplay = 3
    assert not mark.visible
    viewer.dims.ndisplay = 2
    assert mark.visible
    viewer.layers.remove(mark)
    click(viewer, layer, (12, 40, 40))
    assert "current neuron" in viewer.layers


@pytest.mark.parametrize("how", ["key", "button"])
def test_two_clicks_merge(cut, how):
    viewer, widget, layer = cut()
    show_section(viewer, layer, 12)
    (one, voxel), (two, other) = two_in(layer.data)
    before = layer.data.copy()
    if how == "key":
        press_key(viewer, "M")
    else:
        widget.correcting.merge_button.click()
    assert widget.correcting.merge_button.isChecked()
    assert "first of two" in widget.advice.text()
    click(viewer, layer, voxel)
    assert f"merge with neuron {one}" in widget.advice.text()
    click(viewer, layer, other)
    assert not widget.correcting.merge_button.isChecked()
    assert "Merged neurons" in widget.advice.text()
    assert layer.data[voxel] == layer.data[other]
    rest = ~np.isin(before, (one, two))
    assert np.array_equal(layer.data[rest], before[rest])
    assert len(np.unique(layer.data)) == len(np.unique(before)) - 1
    assert np.array_equal(layer._slice.image.view, layer.colormap._data_to_texture(layer.data[12]))


def test_merging_in_3d_takes_what_lies_in_front(cut):
    viewer, _, layer = cut(**PLACE)
    viewer.layers.remove("aff")
    viewer.dims.ndisplay = 3
    from napari_implicitseg.widgets._neurons_edits import clicked_voxel

    class Event:
        position = layer.data_to_world((12, 30, 31))
        view_direction = np.array((1.0, 0, 0))
        dims_displayed = (0, 1, 2)

    assert clicked_voxel(layer, Event) == (0, 30, 31)
    layer.data[:7] = 0
    assert clicked_voxel(layer, Event) == (7, 30, 31)
    layer.data[:] = 0
    assert clicked_voxel(layer, Event) is None
    Event.position = layer.data_to_world((12, 300, 31))
    assert clicked_voxel(layer, Event) is None


def test_a_merge_that_cannot_be_keeps_the_first_choice(cut, notes):
    viewer, widget, layer = cut()
    show_section(viewer, layer, 12)
    (_, voxel), (_, other) = two_in(layer.data)
    press_key(viewer, "M")
    click(viewer, layer, voxel)
    click(viewer, layer, voxel)
    assert "click two different ones" in notes[-1]
    click(viewer, layer, other)
    assert layer.data[voxel] == layer.data[other]
    press_key(viewer, "M")
    press_key(viewer, "M")
    assert not widget.session.corrections.merging
    click(viewer, layer, voxel)
    assert len(widget.session.corrections.work.edits) == 1


def test_strokes_split_a_neuron(cut, qtbot):
    viewer, widget, layer = cut()
    widget.cutting.slider.setValue(0)
    assert len(np.unique(layer.data)) == 1
    show_section(viewer, layer, 12)
    wanted = truth()
    (_, voxel), (_, other) = two_in(wanted)
    press_key(viewer, "S")
    scribbles = viewer.layers["scribbles"]
    assert viewer.layers.selection.active is scribbles
    assert scribbles.mode == "paint"
    scribbles.brush_size = 1
    drag(scribbles, scribbles.data_to_world(voxel))
    press_key(viewer, "M")  # Of napari: the next label.
    assert scribbles.selected_label == 2
    assert not widget.session.corrections.merging
    drag(scribbles, scribbles.data_to_world(other))
    strokes = scribbles.data.copy()
    assert sorted(np.unique(strokes)) == [0, 1, 2]
    press_key(viewer, "S")
    settle(qtbot, widget)
    assert len(np.unique(layer.data)) == 2
    assert layer.data[voxel] != layer.data[other]
    assert "Split: 1 neurons became 2" in widget.advice.text()
    assert not scribbles.data.any()
    assert viewer.layers.selection.active is layer
    viewer.layers.selection.active = scribbles
    press_key(viewer, "Control-Z")  # In the layer of strokes it brings these back.
    assert np.array_equal(scribbles.data, strokes)
    assert len(widget.session.corrections.work.edits) == 1
    viewer.layers.selection.active = layer
    press_key(viewer, "Control-Z")
    assert len(np.unique(layer.data)) == 1
    assert np.array_equal(scribbles.data, strokes)
    widget.correcting.split_button.click()
    settle(qtbot, widget)
    assert len(np.unique(layer.data)) == 2


def test_a_split_says_what_is_missing(cut, notes, qtbot):
    viewer, widget, layer = cut()
    widget.correcting.scribbles_button.click()
    widget.correcting.split_button.click()
    assert "Paint two strokes" in widget.advice.text()
    assert not notes
    scribbles = viewer.layers["scribbles"]
    scribbles.brush_size = 1
    show_section(viewer, layer, 12)
    drag(scribbles, scribbles.data_to_world((12, 20, 20)))
    widget.correcting.split_button.click()
    settle(qtbot, widget)
    assert "two scribbles" in notes[-1]
    assert scribbles.data.any()
    assert not widget.session.corrections.work.edits


def test_what_is_frozen_stays(cut, notes):
    viewer, widget, layer = cut()
    press_key(viewer, "F")
    assert "no current neuron" in notes[-1]
    show_section(viewer, layer, 12)
    click(viewer, layer, (12, 20, 20))
    mask = layer.data == layer.data[12, 20, 20]
    press_key(viewer, "F")
    assert "frozen" in widget.correcting.current.text()
    for value in (0, 1000):
        widget.cutting.slider.setValue(value)
        assert np.array_equal(layer.data == layer.data[12, 20, 20], mask)
    press_key(viewer, "F")
    assert "frozen" not in widget.correcting.current.text()
    assert not np.array_equal(layer.data == layer.data[12, 20, 20], mask)


def test_everything_can_be_undone_and_redone(cut):
    viewer, widget, layer = cut()
    step = widget.correcting
    assert not step.undo_button.isEnabled()
    show_section(viewer, layer, 12)
    states = [layer.data.copy()]
    for _ in range(4):
        (_, voxel), (_, other) = two_in(layer.data)
        press_key(viewer, "M")
        click(viewer, layer, voxel)
        click(viewer, layer, other)
        states.append(layer.data.copy())
    assert not step.redo_button.isEnabled()
    for state in states[-2::-1]:
        press_key(viewer, "Control-Z")
        assert np.array_equal(layer.data, state)
        assert step.redo_button.isEnabled()
    assert not step.undo_button.isEnabled()
    assert "Merging was taken back" in widget.advice.text()
    press_key(viewer, "Control-Z")
    assert "nothing to undo" in widget.advice.text()
    for state in states[1:]:
        press_key(viewer, "Control-Shift-Z")
        assert np.array_equal(layer.data, state)
    assert not step.redo_button.isEnabled()
    step.undo_button.click()
    assert np.array_equal(layer.data, states[-2])
    step.redo_button.click()
    assert np.array_equal(layer.data, states[-1])


def test_keys_work_with_the_image_chosen_and_are_given_back(cut):
    viewer, widget, layer = cut()
    viewer.layers.selection.active = viewer.layers["aff"]
    press_key(viewer, "M")
    assert widget.session.corrections.merging
    press_key(viewer, "M")
    assert not widget.session.corrections.merging
    viewer.window._qt_window.show()
    widget.parent().show()
    widget.parent().hide()
    assert not viewer.keymap
    assert not layer.keymap
    widget.parent().show()
    assert layer.keymap
    press_key(viewer, "M")
    assert widget.session.corrections.merging


def test_keys_that_are_taken_are_said_to_be(open_neurons, make_napari_viewer, qtbot):
    from napari_implicitseg.widgets.neurons import NeuronsWidget

    viewer = make_napari_viewer()
    viewer.bind_key("N", lambda viewer: None)
    widget = NeuronsWidget(viewer)
    viewer.window.add_dock_widget(widget)
    settle(qtbot, widget)
    assert "something else" in widget.correcting.next_button.toolTip()
    assert "something else" not in widget.correcting.merge_button.toolTip()
    viewer.window.remove_dock_widget(widget)
    assert len(viewer.keymap) == 1


def test_next_goes_to_the_least_certain_decisions_in_turn(cut, qtbot):
    viewer, widget, layer = cut(**PLACE)
    work = widget.session.corrections.work
    for decision in work.uncertain(3):
        press_key(viewer, "N")
        settle(qtbot, widget)
        voxel = decision.voxel
        assert widget.session.corrections.current == layer.data[voxel]
        world = layer.data_to_world(voxel)
        assert viewer.dims.point[1] == pytest.approx(world[0])
        assert np.allclose(viewer.scene.camera.center[-2:], world[1:])
        assert f"score {decision.score:.3g}" in widget.advice.text()
    viewer.dims.ndisplay = 3
    press_key(viewer, "N")
    settle(qtbot, widget)
    assert np.allclose(viewer.scene.camera.center, layer.data_to_world(work.uncertain(4)[3].voxel))


def test_next_begins_again_after_the_last(open_neurons, qtbot, monkeypatch):
    monkeypatch.setattr("napari_implicitseg.widgets._neurons_edits._LISTED", 3)
    data = affinities(truth((6, 32, 32)))
    _, widget = open_neurons((data, {"name": "aff"}, "image"))
    segment(widget, qtbot)
    corrections = widget.session.corrections
    everything = corrections.work.uncertain(10_000)
    assert len(everything) > 100
    seen = []
    while len(seen) <= len(everything):
        decision = corrections.next_uncertain()
        if decision is None:
            corrections.offer(corrections.work.uncertain(corrections.limit))
        else:
            seen.append(decision)
    assert {*seen} == {*everything}
    assert seen[-1] == seen[0] == everything[0]


def test_what_is_corrected_while_a_split_is_under_way_is_kept(cut, monkeypatch, notes, qtbot):
    viewer, widget, layer = cut()
    go_on, corrections = threading.Event(), widget.session.corrections
    split = type(corrections.work).split

    def slow(*args):
        go_on.wait(60)
        return split(*args)

    monkeypatch.setattr(type(corrections.work), "split", slow)
    widget.cutting.slider.setValue(300)
    show_section(viewer, layer, 12)
    widget.correcting.scribbles_button.click()
    scribbles = viewer.layers["scribbles"]
    middle = np.argwhere(layer.data[12] == np.bincount(layer.data[12].ravel()).argmax())
    scribbles.data[12][tuple(middle[0])] = 1
    scribbles.data[12][tuple(middle[-1])] = 2
    widget.correcting.split_button.click()
    widget.cutting.segment_button.click()
    assert "Splitting is under way" in notes[-1]
    widget.cutting.slider.setValue(350)  # This does no harm.
    go_on.set()
    settle(qtbot, widget)
    assert len(corrections.work.edits) == 1
    assert np.array_equal(layer.data, corrections.work.labels())
    assert corrections.work.threshold == 0.35
    assert not scribbles.data.any()
    scribbles.undo()
    widget.correcting.undo_button.click()
    go_on.clear()
    widget.correcting.split_button.click()
    corrections.select(corrections.work.voxel_of(int(layer.data[20, 60, 60])))
    viewer.layers.selection.active = layer
    press_key(viewer, "F")
    go_on.set()
    settle(qtbot, widget)
    assert "corrected meanwhile" in notes[-1]
    assert len(corrections.work.edits) == 1
    assert scribbles.data.any()


def test_m_merges_what_an_uncertain_decision_names(cut, qtbot):
    viewer, widget, layer = cut(**PLACE)
    corrections = widget.session.corrections
    widget.session.move(0.9)  # So that more is left apart.
    for _ in range(20):
        press_key(viewer, "N")
        settle(qtbot, widget)
        if "Merge them by M" in widget.advice.text():
            break
    one, two = map(int, re.findall(r"Neurons (\d+) and (\d+) touch", widget.advice.text())[0])
    count = corrections.count
    assert corrections.current in (one, two)
    plane = corrections._voxel[0]
    shown = np.unique(layer.data[plane][widget.session.view._outline[plane] > 0])
    assert set(shown) == {one, two}
    press_key(viewer, "M")
    settle(qtbot, widget)
    assert corrections.count == count - 1
    assert not corrections.merging
    assert "Merged neurons" in widget.advice.text()
    assert "N goes to the next." in widget.advice.text()
    press_key(viewer, "M")  # Nothing is named any more: two clicks are asked for.
    assert corrections.merging
