from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.rays import best_centre, fill_rays, find_centre, hidden_voxels

small_masks = arrays(bool, array_shapes(min_dims=2, max_dims=3, max_side=6))


def rounded(value):
    """Nearest integer; half-integers towards 0."""
    half = Fraction(1, 2)
    return ceil(value - half) if value > 0 else floor(value + half)


def segment(centre, voxel):
    """The digital segment, in fractions."""
    steps = [v - c for c, v in zip(centre, voxel, strict=True)]
    longest = max(map(abs, steps))
    return {
        tuple(c + rounded(Fraction(s * k, longest)) for c, s in zip(centre, steps, strict=True))
        for k in range(longest + 1)
        if longest
    } or {tuple(centre)}


def hidden_by_walking(mask, centre):
    inside = set(map(tuple, np.argwhere(mask).tolist()))
    return sum(not segment(centre, v) <= inside for v in inside)


def filled_by_walking(mask, centre):
    inside = set(map(tuple, np.argwhere(mask).tolist()))
    while True:
        grown = inside.union(*(segment(centre, v) for v in inside))
        if grown == inside:
            break
        inside = grown
    out = np.zeros_like(mask)
    for voxel in inside:
        out[voxel] = True
    return out


@st.composite
def masks_with_centres(draw):
    mask = draw(small_masks)
    return mask, tuple(draw(st.integers(0, n - 1)) for n in mask.shape)


@given(masks_with_centres())
@settings(max_examples=150, deadline=None)
def test_hidden_voxels_are_those_that_a_plain_walk_finds(case):
    mask, centre = case
    assert hidden_voxels(mask, centre) == hidden_by_walking(mask, centre)


@given(masks_with_centres())
@settings(max_examples=150, deadline=None)
def test_filling_adds_what_a_plain_walk_adds(case):
    mask, centre = case
    filled = fill_rays(mask, centre)
    np.testing.assert_array_equal(filled, filled_by_walking(mask, centre))
    assert hidden_voxels(filled, centre) == 0


@given(st.integers(0, 10**6), st.integers(2, 3))
@settings(max_examples=30, deadline=None)
def test_filling_is_a_closure(seed, ndim):
    rng = np.random.default_rng(seed)
    shape = (40, 30) if ndim == 2 else (12, 15, 11)
    mask = rng.random(shape) < rng.choice([0.001, 0.02, 0.7])
    more = mask | (rng.random(shape) < 0.01)
    centre = rng.integers(0, shape)
    filled = fill_rays(mask, centre)
    assert (filled >= mask).all()
    assert filled[tuple(centre)] == mask.any()
    assert hidden_voxels(filled, centre) == 0
    np.testing.assert_array_equal(fill_rays(filled, centre), filled)
    assert (fill_rays(more, centre) >= filled).all()


@given(small_masks)
@settings(max_examples=100, deadline=None)
def test_a_small_mask_has_no_centre_if_none_is_found(mask):
    hidden = {tuple(v): hidden_by_walking(mask, v) for v in np.argwhere(mask).tolist()}
    found = find_centre(mask)
    if not hidden:
        assert found is None
        return
    assert best_centre(mask)[1] == min(hidden.values())
    assert (found is None) == (min(hidden.values()) > 0)
    if found is not None:
        assert hidden[found] == 0


def test_the_deepest_of_all_centres_is_found_first():
    assert find_centre(np.ones((21, 31), bool)) == (10, 15)


def polar(size, centre):
    y, x = np.mgrid[:size, :size] - np.reshape(centre, (2, 1, 1))
    return np.hypot(y, x), np.arctan2(y, x)


def ellipse(size, half_axes, angle):
    y, x = np.mgrid[:size, :size] - (size / 2 + 0.2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (u / half_axes[0]) ** 2 + (v / half_axes[1]) ** 2 <= 1


def ball(size, radius):
    return sum((g - size / 2 + 0.3) ** 2 for g in np.mgrid[:size, :size, :size]) <= radius**2


@pytest.mark.parametrize("size", [48, 200])
@pytest.mark.parametrize("angle", np.linspace(0, 3, 4))
def test_discs_ellipses_and_stars_are_star_shaped(size, angle):
    """Small ones are searched exhaustively, large ones by the linear programme."""
    r, theta = polar(size, (size / 2 + 0.4, size / 2 - 0.3))
    star = r <= 0.3 * size * (1 + 0.4 * np.cos(5 * (theta - angle)))
    for mask in (r <= 0.4 * size, ellipse(size, (0.4 * size, 0.2 * size), angle), star):
        centre = find_centre(mask)
        assert centre is not None
        assert hidden_voxels(mask, centre) == 0


@pytest.mark.parametrize("size", [12, 50])
def test_balls_are_star_shaped(size):
    assert hidden_voxels(ball(size, 0.4 * size), (size / 2,) * 3) == 0
    assert find_centre(ball(size, 0.4 * size)) is not None


@pytest.mark.parametrize("size", [24, 200])
def test_rings_pieces_and_spirals_are_not(size):
    r, theta = polar(size, (size / 2, size / 2))
    ring = (r <= 0.4 * size) & (r >= 0.2 * size)
    pieces = r <= 0.4 * size
    pieces[:, size // 2] = False
    spiral = np.abs(r - size * (0.25 + theta / 20)) <= 0.05 * size
    for mask in (ring, pieces, spiral):
        centre, hidden = best_centre(mask)
        assert find_centre(mask) is None
        assert mask[centre]
        assert hidden == hidden_voxels(mask, centre) > 0


def test_the_best_centre_of_a_large_mask_hides_hardly_more_than_any_other():
    """A wide arm and a narrow one: the best place sees the wide one."""
    mask = np.zeros((90, 80), bool)
    mask[:60, :60] = mask[20:30, 60:] = mask[60:, :10] = True
    mask[:, 55:60] &= np.arange(90)[:, None] < 40
    rng = np.random.default_rng(0)
    tried = [hidden_voxels(mask, v) for v in rng.permutation(np.argwhere(mask))[:1500]]
    assert best_centre(mask)[1] <= min(tried)


@pytest.mark.parametrize("seed", range(6))
def test_the_only_centre_of_a_large_mask_is_found(seed):
    """Spikes with nearly radial sides, filled: hardly a voxel but the centre sees all."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(60, 140, 2)
    r, theta = polar(300, centre)
    reach = np.full(r.shape, 12.0)
    for angle in rng.uniform(-np.pi, np.pi, 5):
        away = (theta - angle + np.pi) % (2 * np.pi) - np.pi
        reach += rng.uniform(40, 120) * np.exp(-(away**2) / 0.01)
    mask = fill_rays(r <= reach, centre)
    assert mask.sum() > 2000
    found = find_centre(mask)
    assert found is not None
    assert hidden_voxels(mask, found) == 0


def test_a_pit_is_filled_and_nothing_behind_it():
    r, _ = polar(101, (50, 50))
    ring = (r <= 40) & (r >= 20)
    np.testing.assert_array_equal(fill_rays(ring, (50, 50)), r <= 40)
    assert hidden_voxels(ring, (50, 50)) == ring.sum()


def test_centres_are_rounded_to_voxels():
    mask = np.zeros((5, 9), bool)
    mask[2, 2:7] = True
    assert hidden_voxels(mask, (2.4, 1.5)) == 0
    assert hidden_voxels(mask, (2.5, 4)) == 5
    np.testing.assert_array_equal(fill_rays(mask, (1.51, 4.2)), mask)


def test_degenerate_masks():
    one = np.zeros((4, 5), bool)
    one[3, 4] = True
    assert find_centre(one) == (3, 4)
    assert hidden_voxels(one, (3, 4)) == 0
    assert hidden_voxels(one, (0, 0)) == 1
    assert hidden_voxels(one, (-70, 1e300)) == 1
    assert find_centre(np.ones((2, 1, 9))) is not None
    assert find_centre(np.ones((60, 60), np.uint8)) is not None
    assert find_centre(np.eye(9)) == (4, 4)
    assert find_centre(np.eye(3000, 2500, dtype=bool)) is not None
    empty = np.zeros((3, 4, 5))
    assert find_centre(empty) is None
    assert hidden_voxels(empty, (1, 1, 1)) == 0
    assert not fill_rays(empty, (1, 1, 1)).any()
    assert not fill_rays(empty, (9, 9, 9)).any()
    assert not fill_rays(np.zeros((0, 4)), (0, 0)).any()
    with pytest.raises(InputError, match="mask is empty"):
        best_centre(empty)


def test_the_input_is_left_as_it_was():
    mask = np.zeros((9, 9), bool)
    mask[0, 0] = mask[8, 8] = True
    filled = fill_rays(mask, (4, 4))
    assert mask.sum() == 2
    np.testing.assert_array_equal(filled, np.eye(9, dtype=bool))
    frozen = np.asfortranarray(mask)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(fill_rays(frozen, (4, 4)), filled)
    assert fill_rays(np.where(mask, -0.5, 0), (4, 4)).dtype == bool


@pytest.mark.parametrize("centre", [(1,), (1, 2, 3), (1, float("nan")), 3, "ab", None])
def test_centres_that_are_none_are_refused(centre):
    for function in (hidden_voxels, fill_rays):
        with pytest.raises(InputError, match="give one voxel index for each of the 2 axes"):
            function(np.ones((3, 3)), centre)


def test_centres_outside_the_grid_cannot_be_filled():
    for centre in itertools.product((-1, 3), (1, 5)):
        with pytest.raises(InputError, match=r"outside of a mask of shape \(3, 4\)"):
            fill_rays(np.ones((3, 4)), centre)
    with pytest.raises(InputError, match="The mask has 4 axes"):
        find_centre(np.ones((2, 2, 2, 2)))
