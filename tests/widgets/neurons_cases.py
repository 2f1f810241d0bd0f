"""Volumes of neurons, and clicks and strokes for the tests of the neurons widget."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_implicitseg.api import labels_to_affinities
from napari_implicitseg.widgets._neurons_jobs import direct_offsets

from .helpers import mouse_event, settle

SHAPE = (24, 64, 64)


@pytest.fixture(name="open_neurons")
def neurons_opener(make_napari_viewer, qtbot):
    """Open the widget on layers given as napari layer tuples."""
    from napari_implicitseg.widgets.neurons import NeuronsWidget

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **kwargs)
        widget = NeuronsWidget(viewer)
        viewer.window.add_dock_widget(widget)
        settle(qtbot, widget)
        return viewer, widget

    return make


def truth(shape=SHAPE, number=9, seed=3):
    """Make a volume that is all neurons, the cells of random points."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (number, len(shape))) * shape
    grid = np.moveaxis(np.indices(shape), 0, -1)[..., None, :]
    return (np.linalg.norm(grid - points, axis=-1).argmin(-1) + 1).astype(np.uint32)


def affinities(labels, seed=0, noise=0.12):
    """Affinities of labels with noise, float32 (K, *S), weak but not nil at borders."""
    found = labels_to_affinities(labels, direct_offsets(labels.ndim, labels.ndim))
    rng = np.random.default_rng(seed)
    data = 0.15 + 0.7 * found.data + rng.normal(0, noise, found.data.shape)
    return np.clip(data, 0, 1).astype(np.float32)


def image_of(labels, seed=0):
    """Grey cells with dark borders."""
    edges = sum(np.abs(np.diff(labels.astype(int), axis=a, prepend=0)) for a in range(labels.ndim))
    rng = np.random.default_rng(seed)
    return (0.8 - 0.6 * (edges > 0) + rng.normal(0, 0.05, labels.shape)).astype(np.float32)


def click(viewer, layer, voxel, **kwargs):
    """Click a voxel of a layer, as the canvas would: viewer first, then the active layer."""
    world = tuple(layer.data_to_world(voxel))
    world = (0.0,) * (viewer.dims.ndim - len(world)) + world
    for owner in (viewer, viewer.layers.selection.active):
        events = [mouse_event(f"mouse_{kind}", world, **kwargs) for kind in ("press", "release")]
        for event in events:
            event.dims_displayed = tuple(viewer.dims.displayed)
        mouse_press_callbacks(owner, ReadOnlyWrapper(events[0]))
        mouse_release_callbacks(owner, events[1])


def drag_view(viewer, layer, *voxels):
    """Drag the view over voxels of a layer."""
    world = [tuple(layer.data_to_world(voxel)) for voxel in voxels]
    press = ReadOnlyWrapper(mouse_event("mouse_press", world[0]))
    mouse_press_callbacks(viewer, press)
    for point in world[1:]:
        mouse_move_callbacks(viewer, mouse_event("mouse_move", point, is_dragging=True))
    mouse_release_callbacks(viewer, mouse_event("mouse_release", world[-1]))


def press_key(viewer, key):
    """Press a key over the canvas."""
    handler = viewer.window._qt_viewer.canvas._key_map_handler
    handler.press_key(key)
    handler.release_key(key)


def segment(widget, qtbot):
    """Press Segment and wait for it."""
    widget.cutting.segment_button.click()
    settle(qtbot, widget)


@pytest.fixture(name="cut")
def neurons_cutter(open_neurons, qtbot):
    """Open the widget on affinities and press Segment; also return the neurons' layer."""

    def make(show=False, **kwargs):
        viewer, widget = open_neurons(
            (affinities(truth()), {"name": "aff", **kwargs}, "image"), show=show
        )
        segment(widget, qtbot)
        return viewer, widget, viewer.layers["aff neurons"]

    return make


def two_in(labels, section=12):
    """Two neighbours in a section and a voxel of each, well inside."""
    plane = labels[section]
    for row, column in np.argwhere(plane[:, 3:] != plane[:, :-3]):
        one, two = plane[row, column], plane[row, column + 3]
        voxels = (section, int(row), int(column)), (section, int(row), int(column) + 3)
        if (plane == one).sum() > 60 and (plane == two).sum() > 60:
            return (int(one), voxels[0]), (int(two), voxels[1])
    raise AssertionError("no neighbours")


def show_section(viewer, layer, section):
    viewer.dims.set_point(viewer.dims.ndim - layer.ndim, layer.data_to_world((section, 0, 0))[0])
