"""Tests of what the user corrects while neurons are made anew: nothing is lost."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_implicitseg.widgets import _neurons_jobs

from .helpers import settle
from .neurons_cases import (
    affinities,
    click,
    neurons_cutter,
    neurons_opener,
    segment,
    show_section,
    truth,
    two_in,
)

open_neurons, cut = neurons_opener, neurons_cutter


@pytest.fixture
def held(monkeypatch, qtbot):
    """Hold Segment until the event that is returned is set."""
    started, go_on = threading.Event(), threading.Event()
    real = _neurons_jobs.SegmentRequest.run

    def run(request, progress):
        started.set()
        go_on.wait(20)
        return real(request, progress)

    def press(widget):
        monkeypatch.setattr(_neurons_jobs.SegmentRequest, "run", run)
        widget.cutting.segment_button.click()
        qtbot.waitUntil(started.is_set)
        return go_on

    return press


def test_a_merge_made_meanwhile_is_replayed(cut, qtbot, held):
    viewer, widget, layer = cut()
    (_, one), (_, two) = two_in(layer.data)
    show_section(viewer, layer, 12)
    go_on = held(widget)
    widget.correcting.merge_button.click()
    click(viewer, layer, one)
    click(viewer, layer, two)
    go_on.set()
    settle(qtbot, widget)
    assert len(widget.session.corrections.work.edits) == 1
    assert layer.data[tuple(one)] == layer.data[tuple(two)]


def test_what_was_undone_meanwhile_stays_undone(cut, qtbot, held):
    _, widget, layer = cut()
    (_, one), (_, two) = two_in(layer.data)
    widget.session.corrections.work.merge(tuple(one), tuple(two))
    go_on = held(widget)
    widget.undo()
    go_on.set()
    settle(qtbot, widget)
    assert widget.session.corrections.work.edits == ()
    assert layer.data[tuple(one)] != layer.data[tuple(two)]


def test_neurons_corrected_meanwhile_do_not_make_room_for_others(
    open_neurons, qtbot, held, monkeypatch, notes
):
    viewer, widget = open_neurons(
        (affinities(truth()), {"name": "first"}, "image"),
        (affinities(truth(seed=5)), {"name": "second"}, "image"),
    )
    widget.inputs.image_box.layer = viewer.layers["first"]
    segment(widget, qtbot)
    layer = viewer.layers["first neurons"]
    (_, one), (_, two) = two_in(layer.data)
    widget.inputs.image_box.layer = viewer.layers["second"]
    go_on = held(widget)
    widget.session.corrections.work.merge(tuple(one), tuple(two))
    go_on.set()
    settle(qtbot, widget)
    assert len(widget.session.corrections.work.edits) == 1
    assert "second neurons" not in viewer.layers
    assert any("corrected meanwhile. Press Segment again" in str(note) for note in notes)


def test_neurons_that_napari_has_converted_are_shown_again(cut):
    _, widget, layer = cut()
    layer.data = layer.data.astype(np.uint16)
    widget.cutting.slider.setValue(900)
    assert layer.data.dtype == np.uint32
    assert np.array_equal(layer.data, widget.session.corrections.work.labels())
