"""Layers to evaluate, live neurons and waiting for the tests of the evaluation widget."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.proofreading import Proofreading
from napari_implicitseg.widgets._neurons_jobs import direct_offsets
from napari_implicitseg.widgets._neurons_link import NeuronsLink

from .helpers import settle
from .neurons_cases import affinities, truth


@pytest.fixture(name="open_evaluate")
def evaluate_opener(make_napari_viewer, qtbot):
    """Open the widget through the manifest, on Labels layers given as (data, kwargs)."""

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs in layers:
            viewer.add_labels(data, **kwargs)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Evaluate labels")
        settle(qtbot, widget)
        return viewer, widget

    return make


def press(widget, qtbot):
    """Press Evaluate and wait for it."""
    widget.evaluate_button.click()
    settle(qtbot, widget)


def cells(ndim=2, side=40):
    """A truth of blocks, and labels with one of them split, two merged, and other ids."""
    blocks = np.indices((side,) * ndim)[-2:] // (side // 4)
    right = (blocks[0] * 4 + blocks[1] + 1).astype(np.int32)
    labels = right + 100
    labels[(right == 6) & (np.indices(right.shape)[-1] % 10 < 4)] = 200
    labels[right == 12] = 111
    return labels, right


class Live:
    """A layer of neurons cut live, as the panel *Volume to neurons* does."""

    def __init__(self, shape=(12, 32, 32), linkage="mean"):
        self.truth = truth(shape, 7)
        noisy = affinities(self.truth, noise=0.25)
        hierarchy = build_hierarchy(noisy, offsets=direct_offsets(3, 3), linkage=linkage)
        # Some are merged wrongly and some are still in pieces.
        start = 0.5 if hierarchy.by_affinity else float(np.quantile(hierarchy.altitudes, 0.95))
        self.work = Proofreading(hierarchy, start)
        self.picked = []
        self.layer = None

    def attach(self, layer):
        self.layer = layer
        self.link = NeuronsLink(lambda: self.work, self.move, self.picked.append)
        self.link.attach(layer)

    def move(self, threshold):
        self.work.threshold = threshold
        self.repaint()

    def repaint(self):
        self.work.labels(out=self.layer.data)
        self.layer.refresh()


@pytest.fixture(name="live")
def live_opener(open_evaluate, qtbot):
    """Open the widget on live neurons and their truth."""

    def make(linkage="mean", show=False, **kwargs):
        neurons = Live(linkage=linkage)
        viewer, widget = open_evaluate(
            (neurons.truth, {"name": "truth", **kwargs}),
            (neurons.work.labels(), {"name": "neurons", **kwargs}),
            show=show,
        )
        neurons.attach(viewer.layers["neurons"])
        return viewer, widget, neurons

    return make
