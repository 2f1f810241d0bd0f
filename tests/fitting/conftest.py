"""Scenes whose truth is known, posed as fitting problems without a detour over images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_implicitseg.features import Reader
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.fitting.reach import Scout
from napari_implicitseg.fitting.sequential import Fitter
from napari_implicitseg.predictors.evidence import Evidence
from napari_implicitseg.scribbles import read_scribbles


class Posed:
    """A probability map, strokes in it, and what a fit needs to know of them."""

    def __init__(self, probability, scribbles, *, spacing=None):
        probability = np.asarray(probability, np.float32)
        self.spacing = spacing or (1.0,) * probability.ndim
        self.samples = read_scribbles(np.asarray(scribbles, np.uint8), background=1)
        effort = Effort.for_objects(len(self.samples.objects), probability.ndim)
        self.grid = Geometry(probability.shape, self.spacing, effort)
        self.evidence = Evidence(
            Reader.of_probability(probability), self.samples, source="given", spacing=self.spacing
        )

    def reach(self, label, window):
        """What strokes reach in a window, at even odds."""
        return Scout(self.evidence, self.samples, self.grid).at(label, window, 0.0)

    def fit(self, solver, **previous):
        """Fit all objects with a solver class's instance made for this grid."""
        fitter = Fitter(
            self.evidence,
            self.samples,
            grid=self.grid,
            solver=solver,
            previous=previous.get("previous", {}),
            check=lambda: None,
        )
        return fitter.run()

    def painted(self, item):
        """Mask of a fitted object in the whole image."""
        out = np.zeros(self.grid.shape, bool)
        out[item.window.slices] = item.mask
        return out


@pytest.fixture
def posed():
    return Posed


@pytest.fixture
def cpu():
    return torch.device("cpu")


def ellipsoid(shape, centre, radii, *, turn=0.0, spacing=None):
    """Ellipsoid turned in its last two axes; centre in voxels, radii in physical units."""
    spacing = spacing or (1.0,) * len(shape)
    axes = [(np.arange(n) - c) * s for n, c, s in zip(shape, centre, spacing, strict=True)]
    grid = list(np.meshgrid(*axes, indexing="ij"))
    y, x = grid[-2:]
    grid[-2:] = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    return sum((g / r) ** 2 for g, r in zip(grid, radii, strict=True)) <= 1


def box(shape, centre, half, *, turn=0.0):
    """Box turned in its last two axes, of half side lengths in voxels."""
    axes = [np.arange(n) - float(c) for n, c in zip(shape, centre, strict=True)]
    grid = list(np.meshgrid(*axes, indexing="ij"))
    y, x = grid[-2:]
    grid[-2:] = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    return np.all([np.abs(g) <= h for g, h in zip(grid, half, strict=True)], axis=0)


def strokes(shape, *middles, half=3):
    """A short stroke along the last axis per object, from label 2 on, and background at a side."""
    out = np.zeros(shape, np.uint8)
    out[(0,) * (len(shape) - 1)] = 1
    for label, middle in enumerate(middles, start=2):
        *rest, last = (round(m) for m in middle)
        out[(*rest, slice(last - half, last + half + 1))] = label
    return out


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.fixture
def draw():
    """Return the drawing functions: `draw.ellipsoid`, `.box`, `.strokes`, and `.iou`."""

    return SimpleNamespace(ellipsoid=ellipsoid, box=box, strokes=strokes, iou=iou)
