"""Helpers of the GUI tests: images, strokes through napari's own calls, waiting."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)
from napari.utils.notifications import notification_manager

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_implicitseg.widgets.scribble import ScribbleWidget

THREAD = "implicitseg-fit"
WAIT = 60_000


def pytest_collection_modifyitems(items):
    """Skip what needs a window where there is no screen to show it on."""
    if sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return
    skip = pytest.mark.skip(reason="needs a screen; `make test` brings a virtual one")
    for item in items:
        if "make_napari_viewer" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


@dataclass
class MouseEvent:
    """What napari's mouse callbacks look at."""

    type: str
    position: tuple[float, ...]
    is_dragging: bool = False
    dims_displayed: tuple[int, ...] = (0, 1)
    dims_point: tuple[float, ...] | None = None
    view_direction: tuple[float, ...] | None = None
    pos: tuple[int, int] = (0, 0)
    button: int = 1
    handled: bool = False
    modifiers: tuple[str, ...] = ()


def drag(layer: Labels, *points: tuple[float, ...]) -> None:
    """Drag the brush through world positions, as the canvas would."""
    # The canvas hands out wrapped events: a drag sees later ones through the first.
    press = ReadOnlyWrapper(MouseEvent("mouse_press", points[0]))
    mouse_press_callbacks(layer, press)
    for point in points[1:]:
        mouse_move_callbacks(layer, MouseEvent("mouse_move", point, is_dragging=True))
    mouse_release_callbacks(layer, MouseEvent("mouse_release", points[-1]))


def disks(shape=(96, 128), centres=((46, 36, 20), (46, 92, 17)), seed=0):
    """Make a noisy image of bright disks and its truth, ids from 2."""
    rows, columns = np.indices(shape)
    truth = np.zeros(shape, np.uint32)
    for label, (row, column, radius) in enumerate(centres, start=2):
        truth[np.hypot(rows - row, columns - column) <= radius] = label
    noise = np.random.default_rng(seed).normal(0, 0.08, shape)
    return ((truth > 0) + noise).astype(np.float32), truth


def iou(one, other):
    """Intersection over union of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def fit_threads():
    """Threads of fits that are alive."""
    return [t for t in threading.enumerate() if t.name == THREAD]


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


def settle(qtbot, widget: ScribbleWidget) -> None:
    """Wait until the fits asked for are done and shown."""
    qtbot.waitUntil(lambda: not widget.jobs.is_busy and not widget.jobs.is_running, timeout=WAIT)
    qtbot.wait(20)


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
