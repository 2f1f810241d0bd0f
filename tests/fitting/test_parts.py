from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_implicitseg.fitting.parts import own_part, stroke_component


def disc(shape, centre, radius):
    grid = np.indices(shape) - np.asarray(centre).reshape(-1, *(1,) * len(shape))
    return (grid**2).sum(axis=0) <= radius**2


def clump(*, bridge=5, gap=8, ndim=2):
    """Two balls with a bridge of some voxels across, and the two of them alone."""
    shape = (60, 120) if ndim == 2 else (40, 60, 120)
    middle = [n // 2 for n in shape[:-1]]
    left, right = (disc(shape, (*middle, 60 + side * (gap // 2 + 18)), 18) for side in (-1, 1))
    *across, along = np.indices(shape)
    thin = [np.abs(a - m) <= bridge // 2 for a, m in zip(across, middle, strict=True)]
    return left | right | np.all([*thin, np.abs(along - 60) < 20], axis=0), left, right


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("bridge", [1, 5, 11])
def test_a_clump_is_cut_at_its_bridge(ndim, bridge):
    both, left, right = clump(bridge=bridge, ndim=ndim)
    for own, other in ((left, right), (right, left)):
        stroke = np.argwhere(own)[[own.sum() // 2]]
        kept = own_part(both, stroke, (1.0,) * ndim)
        assert not (kept & ~both).any()
        assert kept[own].mean() > 0.99
        assert kept[other].mean() < 0.01


def test_touching_discs_are_cut_where_they_touch():
    both, left, right = clump(bridge=1, gap=-8)
    kept = own_part(both, np.array([[30, 45]]), (1.0, 1.0))
    assert kept[left & ~right].mean() > 0.97
    assert kept[right & ~left].mean() < 0.03


def test_strokes_in_both_parts_keep_both():
    both, _, _ = clump()
    strokes = np.array([[30, 35], [30, 85]])
    np.testing.assert_array_equal(own_part(both, strokes, (1.0, 1.0)), both)


def test_a_bridge_nearly_as_wide_as_the_ends_is_no_neck():
    both, _, _ = clump(bridge=33)
    np.testing.assert_array_equal(own_part(both, np.array([[30, 40]]), (1.0, 1.0)), both)


def test_necks_are_measured_in_physical_units():
    """A bridge of few slices is thick where slices are."""
    both, _, _ = clump(bridge=5)
    assert own_part(both, np.array([[30, 38]]), (1.0, 1.0)).sum() < 0.6 * both.sum()
    # Along y a voxel is worth nine: the clump is now one long thing of even width along x.
    assert own_part(both, np.array([[30, 38]]), (9.0, 1.0)).sum() > 0.4 * both.sum()


def turned_ellipse(turn, radii, shape=(90, 90)):
    y, x = np.indices(shape) - (np.array(shape).reshape(2, 1, 1) - 1) / 2
    along, across = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


@settings(max_examples=100, deadline=None)
@given(st.floats(0, np.pi), st.floats(10, 40), st.floats(10, 40), st.integers(0, 10**6))
def test_a_solid_ellipse_is_left_whole(turn, first, second, place):
    mask = turned_ellipse(turn, (first, second))
    inner = np.argwhere(ndimage.binary_erosion(mask, iterations=2))
    stroke = inner[[place % len(inner)]]
    np.testing.assert_array_equal(own_part(mask, stroke, (1.0, 1.0)), mask)


def test_a_stroke_off_the_middle_chooses_its_side():
    both, left, right = clump(bridge=1, gap=-8)
    kept = own_part(both, np.array([[30, 36]]), (1.0, 1.0))
    assert kept[left & ~right].mean() > 0.97
    assert kept[right & ~left].mean() < 0.03


def test_holes_are_no_necks():
    """Dark spots in an object leave bridges between them, but no necks."""
    mask = turned_ellipse(0.4, (38, 30))
    for spot in ((45, 30), (45, 45), (45, 60), (30, 45), (60, 45)):
        mask &= ~disc(mask.shape, spot, 5)
    np.testing.assert_array_equal(own_part(mask, np.array([[52, 52]]), (1.0, 1.0)), mask)


def test_a_mask_that_fills_the_window_is_left_whole():
    for shape in ((20, 31), (9, 12, 10)):
        mask = np.ones(shape, bool)
        assert own_part(mask, np.array([[3] * len(shape)]), (1.0,) * len(shape)).all()


masks = arrays(bool, array_shapes(min_dims=2, max_dims=3, min_side=3, max_side=14))


@st.composite
def masks_with_strokes(draw):
    mask = draw(masks)
    count = draw(st.integers(1, 6))
    cells = [draw(st.tuples(*(st.integers(0, n - 1) for n in mask.shape))) for _ in range(count)]
    return mask, np.array(cells)


@settings(max_examples=200, deadline=None)
@given(masks_with_strokes(), st.floats(0.2, 5))
def test_the_strokes_are_always_kept_and_nothing_is_invented(given_, pitch):
    mask, cells = given_
    before = mask.copy()
    component = stroke_component(mask, cells)
    kept = own_part(component, cells, (pitch,) + (1.0,) * (mask.ndim - 1))
    assert component[tuple(cells.T)].all()
    assert kept[tuple(cells.T)].all()
    assert not (kept & ~component).any()
    np.testing.assert_array_equal(mask, before)


@settings(max_examples=100, deadline=None)
@given(masks_with_strokes())
def test_the_component_is_what_the_strokes_reach(given_):
    mask, cells = given_
    component = stroke_component(mask, cells)
    seeds = np.zeros_like(mask)
    seeds[tuple(cells.T)] = True
    reached = ndimage.binary_propagation(seeds, mask=mask | seeds)
    np.testing.assert_array_equal(component, reached)
