"""Joining pieces of a mask, without taking what is others'."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_implicitseg.shapes.certificate import count_components
from napari_implicitseg.shapes.joining import join_pieces, straight_link


def two_squares(gap=10):
    """Two squares of 6 x 6 in a row, so far apart."""
    mask = np.zeros((20, 20 + gap), bool)
    mask[7:13, 2:8] = mask[7:13, 8 + gap : 14 + gap] = True
    return mask


def small_masks(ndim):
    longest = 9 if ndim == 2 else 5
    shapes = npst.array_shapes(min_dims=ndim, max_dims=ndim, min_side=1, max_side=longest)
    return shapes.flatmap(lambda shape: npst.arrays(bool, shape))


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_mask_becomes_one_piece_and_what_changed_is_counted(ndim, data):
    mask = data.draw(small_masks(ndim))
    blocked = data.draw(npst.arrays(bool, mask.shape)) & ~mask
    wanted = data.draw(npst.arrays(bool, mask.shape)) & mask
    joined = join_pieces(mask.copy(), straight_link, blocked=blocked, wanted=wanted)
    assert count_components(joined.mask) == (1 if mask.any() else 0)
    assert not (joined.mask & blocked).any()
    assert joined.added == np.count_nonzero(joined.mask & ~mask)
    assert joined.dropped == np.count_nonzero(mask & ~joined.mask)
    assert (joined.mask & wanted).any() == wanted.any()


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_wanted_voxels_are_kept_where_nothing_is_in_the_way(ndim, data):
    mask = data.draw(small_masks(ndim))
    wanted = data.draw(npst.arrays(bool, mask.shape)) & mask
    joined = join_pieces(mask, straight_link, wanted=wanted)
    assert joined.mask[wanted].all()


def test_a_mask_of_one_piece_stays_as_it_is():
    mask = np.eye(9, dtype=bool)
    joined = join_pieces(mask, straight_link)
    np.testing.assert_array_equal(joined.mask, np.eye(9, dtype=bool))
    assert (joined.added, joined.dropped) == (0, 0)


def test_the_input_is_left_as_it_was():
    mask = two_squares()
    mask[0, 0] = True
    join_pieces(mask, straight_link)
    expected = two_squares()
    expected[0, 0] = True
    np.testing.assert_array_equal(mask, expected)


def test_specks_are_dropped_and_parts_joined():
    mask = two_squares()
    mask[0, 0] = True
    joined = join_pieces(mask, straight_link)
    assert (joined.added, joined.dropped) == (10, 1)
    assert not joined.mask[0, 0]
    assert joined.mask[two_squares()].all()


def test_how_small_a_speck_is_depends_on_the_mask():
    small, large = np.zeros((2, 60, 60), bool)
    small[20:26, 20:26] = small[0, :3] = True
    large[20:58, 20:58] = large[0, :3] = True
    assert join_pieces(small, straight_link).dropped == 0
    assert join_pieces(large, straight_link).dropped == 3


def test_of_nothing_but_single_voxels_one_is_kept():
    mask = np.zeros((9, 9), bool)
    mask[::2, ::2] = True
    joined = join_pieces(mask, straight_link)
    assert (joined.mask.sum(), joined.dropped) == (1, 24)


def test_pieces_are_joined_along_the_link():
    mask = two_squares()

    def arch(start, stop, /):
        """Up, across at row 1, and down again."""
        knees = [start, np.array([1, start[1]]), np.array([1, stop[1]]), stop]
        parts = [straight_link(a, b) for a, b in pairwise(knees)]
        return np.concatenate(parts)

    joined = join_pieces(mask, arch)
    assert count_components(joined.mask) == 1
    assert joined.mask[1, 7:19].all()
    np.testing.assert_array_equal(np.unique(np.nonzero(joined.mask[:, 8:18])[0]), [1])


def test_the_link_runs_between_the_nearest_voxels():
    asked = []

    def noted(start, stop, /):
        asked.append((start, stop))
        return straight_link(start, stop)

    join_pieces(two_squares(), noted)
    ((start, stop),) = asked
    assert abs(int(stop[1] - start[1])) == 11
    assert start[0] == stop[0]


def test_what_is_blocked_is_gone_around():
    mask = two_squares()
    blocked = np.zeros_like(mask)
    blocked[:18, 12] = True
    joined = join_pieces(mask, straight_link, blocked=blocked)
    assert (count_components(joined.mask), joined.dropped) == (1, 0)
    assert not (joined.mask & blocked).any()
    assert joined.mask[18:, 12].any()


def test_a_link_that_leaves_the_grid_is_not_followed():
    def outside(start, stop, /):
        return np.array([start, [-1, 4], stop])

    joined = join_pieces(two_squares(), outside)
    assert (count_components(joined.mask), joined.dropped) == (1, 0)


def test_a_piece_that_cannot_be_reached_is_dropped():
    mask = two_squares()
    mask[7:13, 8:10] = True
    blocked = np.zeros_like(mask)
    blocked[:, 12] = True
    joined = join_pieces(mask, straight_link, blocked=blocked)
    assert (joined.added, joined.dropped) == (0, 36)
    assert not joined.mask[:, 12:].any()


def test_the_piece_with_most_wanted_voxels_is_the_main_one():
    mask = two_squares()
    mask[7:13, 8:10] = True
    wanted = np.zeros_like(mask)
    wanted[9, 19], wanted[9, 20], wanted[9, 3] = True, True, True
    blocked = np.zeros_like(mask)
    blocked[:, 12] = True
    joined = join_pieces(mask, straight_link, blocked=blocked, wanted=wanted)
    assert joined.mask[7:13, 18:24].all()
    assert not joined.mask[:, :12].any()


def test_a_wanted_voxel_is_no_speck():
    mask = two_squares()
    mask[0, 0] = True
    joined = join_pieces(mask, straight_link, wanted=np.eye(*mask.shape, dtype=bool) & mask)
    assert joined.mask[0, 0]
    assert (count_components(joined.mask), joined.dropped) == (1, 0)


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_straight_link_leads_there_in_single_steps_beside_the_line(ndim, data):
    corner = st.lists(st.integers(-30, 30), min_size=ndim, max_size=ndim).map(np.array)
    start, stop = data.draw(corner), data.draw(corner)
    way = straight_link(start, stop)
    np.testing.assert_array_equal(way[0], start)
    np.testing.assert_array_equal(way[-1], stop)
    assert np.abs(np.diff(way, axis=0)).max() <= 1
    assert len(way) == max(np.abs(stop - start).max(), 1) + 1
    share = np.linspace(0, 1, len(way))[:, None]
    assert np.abs(way - (start + share * (stop - start))).max() <= 0.5 + 1e-9
