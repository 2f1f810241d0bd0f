from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import certify
from napari_implicitseg.features import Window
from napari_implicitseg.fitting.claims import (
    _best_bound,
    _logistic_normal,
    _overlapping,
    part_overlaps,
)
from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.shapes.clipped import ClippedShape
from napari_implicitseg.shapes.convex import Polytope


@dataclass
class Item:
    """As much of a fitted object as parting needs."""

    window: Window
    shape: Polytope | ClippedShape
    mask: np.ndarray
    strokes: np.ndarray

    @property
    def anchors(self):
        return self.strokes


def item(grid, centre, radius, *, window=None, strokes=None):
    """A polytope close to a ball, centre and radius in voxels; its middle is its stroke."""
    ndim = len(grid.shape)
    count = 24 if ndim == 2 else 60
    pitch = grid.pitch.min()
    shape = Polytope(
        torch.from_numpy(spread_directions(count, ndim)),
        torch.full((count,), 2.0),
        torch.eye(ndim) * (2.0 / (radius * pitch)),
        torch.tensor((np.asarray(centre) + 0.5) * grid.pitch),
        kappa=60.0,
        sharpness=80.0,
        extent=grid.extent,
    )
    window = window or Window((0,) * ndim, grid.shape, (1,) * ndim)
    middle = np.round([centre]).astype(np.int64)
    mask = shape.rasterize(grid.shape, region=window.slices)
    return Item(window, shape, mask, middle if strokes is None else np.array(strokes))


def grid_of(*shape, spacing=None):
    return Geometry(shape, spacing or (1.0,) * len(shape), Effort.for_objects(1, len(shape)))


def whole(grid, item_):
    out = np.zeros(grid.shape, bool)
    out[item_.window.slices] = item_.mask
    return out


def part(grid, *items):
    """Masks in the whole image before and after."""
    before = [whole(grid, i) for i in items]
    part_overlaps(items, grid)
    return before, [whole(grid, i) for i in items]


def check_parted(before, after):
    """Both convex, neither larger, no voxel in common."""
    for was, is_ in zip(before, after, strict=True):
        assert not (is_ & ~was).any()
        assert is_.any()
        assert certify(is_, kind="convex").holds
    assert np.sum(after, axis=0).max() <= 1


@pytest.mark.parametrize("shape", [(90, 120), (40, 60, 80)])
def test_two_overlapping_balls_are_parted_in_the_middle(shape):
    grid = grid_of(*shape)
    middle = [n // 2 for n in shape[:-1]]
    radius = 0.3 * shape[-2]
    first, last = shape[-1] / 2 - 0.8 * radius, shape[-1] / 2 + 0.8 * radius
    a, b = (item(grid, (*middle, x), radius) for x in (first, last))
    before, after = part(grid, a, b)
    check_parted(before, after)
    shared = before[0] & before[1]
    assert shared.any()
    # Equal balls: each gets about half of what both claimed, and keeps all that it alone claimed.
    for was, is_, other in zip(before, after, before[::-1], strict=True):
        assert is_[was & ~other].mean() > 0.99
        assert 0.3 < is_[shared].mean() < 0.7
    assert (after[0] | after[1])[before[0] | before[1]].mean() > 0.97
    # Their middles, where the strokes would be, stay their own.
    assert after[0][(*middle, round(first))]
    assert after[1][(*middle, round(last))]


def test_the_levels_agree_with_the_masks():
    grid = grid_of(80, 100)
    a, b = item(grid, (40, 38), 22), item(grid, (44, 66), 20)
    part(grid, a, b)
    for each in (a, b):
        assert isinstance(each.shape, ClippedShape)
        levels = each.shape.sample(grid.shape)
        np.testing.assert_array_equal(levels <= 0, each.mask)


def test_the_deeper_object_gets_more():
    grid = grid_of(100, 140)
    large, small = item(grid, (50, 50), 40), item(grid, (50, 92), 14)
    before, after = part(grid, large, small)
    check_parted(before, after)
    assert after[0].sum() > 0.9 * before[0].sum()
    assert after[1].sum() > 0.4 * before[1].sum()


def test_objects_that_do_not_overlap_are_left_alone():
    grid = grid_of(80, 120)
    # Their windows overlap, their masks do not.
    items = item(grid, (40, 30), 20), item(grid, (40, 80), 20)
    shapes = [i.shape for i in items]
    before, after = part(grid, *items)
    assert [i.shape for i in items] == shapes
    np.testing.assert_array_equal(before, after)


def test_three_in_a_ring_are_parted_in_pairs():
    grid = grid_of(120, 120)
    centres = [60 + 24 * np.array([np.sin(t), np.cos(t)]) for t in 2 * np.pi * np.arange(3) / 3]
    items = [item(grid, c, 26) for c in centres]
    before, after = part(grid, *items)
    check_parted(before, after)
    for each, is_, centre in zip(items, after, centres, strict=True):
        assert len(each.shape.bounds) == 2
        assert is_[tuple(np.round(centre).astype(int))]


def test_windows_that_differ_refer_to_the_same_voxels():
    grid = grid_of(90, 120)
    boxes = Window((10, 5), (80, 75), (2, 2)), Window((12, 30), (85, 118), (1, 1))
    centres, radii = ((45, 40), (45, 70)), (22, 22)
    cropped = [item(grid, c, r, window=w) for c, r, w in zip(centres, radii, boxes, strict=True)]
    full = [item(grid, c, r) for c, r in zip(centres, radii, strict=True)]
    assert _overlapping(cropped) == [(0, 1)]
    part_overlaps(cropped, grid)
    part_overlaps(full, grid)
    for one, other in zip(cropped, full, strict=True):
        np.testing.assert_array_equal(whole(grid, one), other.mask)


def test_spacing_counts():
    """In physical units the parting plane of equal balls is the one between their middles."""
    grid = grid_of(20, 80, 80, spacing=(4.0, 1.0, 1.0))
    a, b = item(grid, (9.5, 40, 27), 22), item(grid, (9.5, 40, 53), 22)
    before, after = part(grid, a, b)
    check_parted(before, after)
    normal = np.asarray(a.shape.normals[0])
    np.testing.assert_allclose(normal, [0, 0, 1], atol=0.05)
    assert float(a.shape.bounds[0]) == pytest.approx(40.5 / 80, abs=1 / 80)


def test_parting_does_not_depend_on_the_order():
    grid = grid_of(80, 100)
    first = [item(grid, (40, 38), 22), item(grid, (44, 66), 20)]
    second = [item(grid, (44, 66), 20), item(grid, (40, 38), 22)]
    _, one = part(grid, *first)
    _, other = part(grid, *second)
    # Rounding decides about voxels on the plane.
    assert (np.array(one) != np.array(other[::-1])).sum() <= 4


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(10, 70), st.floats(10, 70), st.floats(3, 25)), min_size=2, max_size=5
    )
)
def test_parted_masks_stay_convex_and_only_shrink(discs):
    grid = grid_of(80, 80)
    # Strokes are on different voxels, and each is in its own object.
    apart = [
        d
        for i, d in enumerate(discs)
        if all(np.hypot(d[0] - e[0], d[1] - e[1]) > 4 for e in discs[:i])
    ]
    items = [item(grid, (y, x), r) for y, x, r in apart]
    before, after = part(grid, *items)
    for was, is_, each in zip(before, after, items, strict=True):
        assert not (is_ & ~was).any()
        assert certify(is_, kind="convex").holds
        assert is_[tuple(each.strokes[0])]
    if len(items) == 2:
        assert not (after[0] & after[1]).any()


def test_an_object_within_another_keeps_its_voxels():
    """No plane parts them: the outer one loses its convexity, but the inner one is not lost."""
    grid = grid_of(100, 100)
    outer = item(grid, (50, 50), 40, strokes=[(20, 50), (80, 50), (50, 20), (50, 80)])
    inner = item(grid, (50, 50), 10)
    before, after = part(grid, outer, inner)
    np.testing.assert_array_equal(after[1], before[1])
    np.testing.assert_array_equal(after[0], before[0] & ~before[1])


def test_strokes_decide_where_levels_are_wrong():
    """The larger mask has the lower level at the stroke of the smaller, and cuts it off."""
    grid = grid_of(100, 100)
    large, small = item(grid, (50, 40), 38, strokes=[(50, 20)]), item(grid, (50, 66), 9)
    before, after = part(grid, large, small)
    check_parted(before, after)
    assert before[0][50, 66]
    assert after[1].sum() > 0.5 * before[1].sum()


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=15))
def test_the_bound_makes_the_fewest_mistakes(points):
    along = np.array([float(x) for x, _ in points])
    owner = np.array([b for _, b in points])

    def mistakes(bound):
        return ((along <= bound) & owner).sum() + ((along > bound) & ~owner).sum()

    bound = _best_bound(along, owner, 0.1, np.ones(len(along)))
    assert mistakes(bound) == min(mistakes(c) for c in np.arange(-6, 7) + 0.5)


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_the_logistic_plane_parts_what_can_be_parted(seed, ndim):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=ndim)
    normal /= np.linalg.norm(normal)
    points = rng.normal(size=(300, ndim))
    along = points @ normal
    points += np.sign(along)[:, None] * normal
    found = _logistic_normal(points, along > 0, np.ones(300))
    assert np.linalg.norm(found) == pytest.approx(1)
    assert found @ normal > 0.95
    bound = _best_bound(points @ found, along > 0, 1e-3, np.ones(300))
    np.testing.assert_array_equal(points @ found > bound, along > 0)


def test_points_that_coincide_still_give_a_plane():
    for owner in ([True, False], [True, True]):
        normal = _logistic_normal(np.full((2, 3), 0.4), np.array(owner), np.ones(2))
        assert np.linalg.norm(normal) == pytest.approx(1)
