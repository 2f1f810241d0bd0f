"""Tests of cutting strokes of others off a mask."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg import certify, fit_scribbles
from napari_implicitseg.features import Window
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.fitting.sequential import Fitted
from napari_implicitseg.fitting.trim import contradicting, trimmed
from napari_implicitseg.scribbles import stroke_numbers
from napari_implicitseg.shapes.convex import Polytope


def ball(shape, spacing, own, others):
    """A fitted object that takes almost all of an image, with strokes (K, D)."""
    ndim = len(shape)
    grid = Geometry(shape, spacing, Effort.for_objects(1, ndim))
    normals = torch.cat([torch.eye(ndim), -torch.eye(ndim)])
    middle = torch.tensor([e / 2 for e in grid.extent])
    polytope = Polytope(
        normals,
        torch.full((2 * ndim,), 2.0),
        4.2 * torch.eye(ndim),
        middle,
        kappa=60,
        sharpness=60,
        extent=grid.extent,
    )
    window = Window((0,) * ndim, shape, (1,) * ndim)
    voxels = np.array([*own, *others], np.int64)
    problem = SimpleNamespace(
        label=2, window=window, voxels=voxels, own=np.arange(len(voxels)) < len(own)
    )
    mask = np.ones(shape, bool) & polytope.rasterize(shape)
    return grid, Fitted(problem, polytope, mask, [])


@given(st.data())
def test_what_a_plane_parts_from_the_strokes_is_cut_off(data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = (24, 30) if ndim == 2 else (10, 14, 16)
    spacing = data.draw(st.sampled_from([(1.0,) * ndim, (5.0, *(1.0,) * (ndim - 1))]))
    voxel = st.tuples(*(st.integers(0, n - 1) for n in shape))
    own = data.draw(st.lists(voxel, min_size=1, max_size=6, unique=True))
    others = data.draw(st.lists(voxel, min_size=1, max_size=6, unique=True))
    grid, item = ball(shape, spacing, own, others)
    item.mask[tuple(np.array(own).T)] = True
    wrong = ~item.problem.own & item.mask[tuple(item.problem.voxels.T)]
    found = trimmed(item, wrong, grid)
    assert (found.mask <= item.mask).all()
    kept = item.shape.rasterize(shape)[tuple(np.array(own).T)]
    assert found.mask[tuple(np.array(own)[kept].T)].all()
    assert not any(found.mask[v] for v in others if _outside_hull(own, v))
    assert certify(found.shape.rasterize(shape), kind="convex").holds


@given(st.data())
def test_strokes_within_the_hull_of_an_objects_own_contradict_it(data):
    ndim = data.draw(st.sampled_from([2, 3]))
    shape = (9, 11) if ndim == 2 else (5, 6, 7)
    voxel = st.tuples(*(st.integers(0, n - 1) for n in shape))
    voxels = data.draw(st.lists(voxel, min_size=2, max_size=14, unique=True))
    count = data.draw(st.integers(1, len(voxels) - 1))
    own, others = voxels[:count], voxels[count:]
    problem = SimpleNamespace(voxels=np.array(voxels), own=np.arange(len(voxels)) < count)
    found = contradicting(problem)
    assert not found[:count].any()
    numbers = stroke_numbers(np.array(others))
    within = [not _outside_hull(own, v) for v in others]
    for number, got in zip(numbers, found[count:], strict=True):
        assert got == any(w for w, n in zip(within, numbers, strict=True) if n == number)


def _outside_hull(points, other):
    """Whether a voxel lies outside the hull of others, by linear programming."""
    from scipy.optimize import linprog

    points = np.array(points, float)
    equal = np.vstack([points.T, np.ones(len(points))])
    return linprog(np.zeros(len(points)), A_eq=equal, b_eq=[*other, 1]).status == 2


def test_a_dab_right_across_a_stroke_does_not_spoil_the_mask(scene):
    before = fit_scribbles(scene.image, scene.scribbles)
    scene.scribbles[46:51, 46:51] = 1
    result = fit_scribbles(scene.image, scene.scribbles)
    assert result.report.unsatisfied
    assert (result.labels == 2).sum() > 0.5 * (before.labels == 2).sum()


@pytest.mark.parametrize("ndim", [2, 3])
def test_background_beside_a_stroke_is_satisfied(ndim):
    shape = (60,) * ndim
    axes = np.indices(shape) - 30
    image = (np.sqrt((axes**2).sum(0)) < 18).astype(np.float32)
    scribbles = np.zeros(shape, np.uint8)
    middle = (30,) * (ndim - 1)
    scribbles[(*middle, slice(20, 40))] = 2
    scribbles[(*middle[:-1], 32, slice(20, 40))] = 1  # Two voxels beside it, in the object.
    result = fit_scribbles(image, scribbles)
    assert not result.report.unsatisfied
    assert result.certificates[2].holds
