"""Fixtures of the GUI tests."""

from __future__ import annotations

import gc
import os
import sys

import numpy as np
import pytest
from napari.utils.notifications import notification_manager

from .helpers import damaged, disks, drag, fit_threads, press_preview, settle


def pytest_collection_modifyitems(items):
    """Skip what needs a window where there is no screen to show it on."""
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    skip = pytest.mark.skip(reason="needs a screen; `make test` brings a virtual one")
    for item in items:
        if "make_napari_viewer" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


@pytest.fixture(scope="module", autouse=True)
def _thawed_in_the_end():
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _little_garbage(_thawed_in_the_end):
    """Spare the full collection that ends a test with a viewer what was there before the test."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def notes():
    """Texts of the notifications shown during a test."""
    shown: list[str] = []

    def remember(event):
        shown.append(event.message)

    notification_manager.notification_ready.connect(remember)
    yield shown
    notification_manager.notification_ready.disconnect(remember)


@pytest.fixture(autouse=True)
def no_thread_left():
    """Every test must end its fits: a thread left behind would outlive the viewer."""
    yield
    for thread in fit_threads():
        thread.join(30)
    assert not fit_threads()


@pytest.fixture
def open_widget(make_napari_viewer, qtbot):
    """Open the widget through the manifest, on layers given as napari layer tuples."""

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **kwargs)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Scribble to mask")
        settle(qtbot, widget)
        return viewer, widget

    return make


@pytest.fixture
def painted(open_widget, qtbot):
    """Open the widget on two disks with background and the first disk scribbled."""

    def make(**kwargs):
        image, truth = disks()
        viewer, widget = open_widget((image, {"name": "disks", **kwargs}, "image"))
        widget.new_button.click()
        layer = widget.scribbles_box.layer
        layer.brush_size = 4
        scale = np.asarray(layer.scale)
        offset = np.asarray(layer.translate)
        drag(layer, *(tuple(offset + scale * p) for p in ((8, 8), (8, 118))))
        drag(layer, *(tuple(offset + scale * p) for p in ((86, 8), (86, 118))))
        widget.next_button.click()
        drag(layer, *(tuple(offset + scale * p) for p in ((46, 28), (46, 44))))
        settle(qtbot, widget)
        return viewer, widget, truth

    return make


@pytest.fixture
def open_repair(make_napari_viewer, qtbot):
    """Open the repair widget through the manifest, on layers given as napari layer tuples."""

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **kwargs)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Repair labels")
        settle(qtbot, widget)
        return viewer, widget

    return make


@pytest.fixture
def previewed(open_repair, qtbot):
    """Open the repair widget on damaged disks and press Preview."""

    def make(show=False, **kwargs):
        bad, truth = damaged()
        viewer, widget = open_repair((bad.copy(), {"name": "cells", **kwargs}, "labels"), show=show)
        press_preview(widget, qtbot)
        return viewer, widget, bad, truth

    return make
