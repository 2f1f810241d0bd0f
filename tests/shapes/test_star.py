"""Star shapes: from the heart every point is seen, whatever the parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import certify
from napari_implicitseg.shapes import StarShape, build_shape
from napari_implicitseg.shapes.rays import fill_rays
from napari_implicitseg.shapes.star import star_level

from .helpers import BOX, generator, star, unit_rows

GRID = {2: (90, 63), 3: (24, 40, 32)}


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), rough=st.floats(0, 4))
def test_every_ray_from_the_heart_leaves_the_shape_once(ndim, seed, rough):
    shape = star(seed, ndim, rough=rough)
    away = unit_rows(50, ndim, generator(seed + 1))
    # Up to a whitened distance that no radius reaches: they are means of the weights.
    longest = 1.5 * float(shape.weights.detach().max().exp())
    reach = longest / (away @ shape.whiten.T).norm(dim=1)
    share = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        level = shape.level(shape.star_centre + share * reach[:, None] * away)
    assert bool((level[0] < 0).all())
    assert bool((level[-1] > 0).all())
    # At the heart itself there is no direction, so the level rises from the first step on.
    assert float(level[1:].diff(dim=0).min()) > 0
    assert bool(((level <= 0).diff(dim=0).sum(dim=0) == 1).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_straight_lines_to_the_heart_stay_within_the_shape(ndim):
    checked = 0
    for seed in range(8):
        shape = star(seed, ndim)
        inside = np.argwhere(shape.rasterize(GRID[ndim]))
        at = torch.from_numpy((inside + 0.5) * np.divide(BOX[ndim], GRID[ndim]))
        share = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None, None]
        with torch.no_grad():
            on_lines = shape.level(shape.star_centre + share * (at - shape.star_centre))
        assert bool((on_lines <= 1e-9).all())
        checked += len(inside)
    assert checked > 1000


def test_the_radius_of_a_planar_shape_is_periodic_and_smooth():
    shape = star(3, 2, rough=1.0)
    angle = torch.linspace(-math.pi, math.pi, 20001, dtype=torch.float64)
    whitened = shape.heart.detach() + torch.stack([angle.sin(), angle.cos()], -1)
    with torch.no_grad():
        level = shape.level(whitened @ torch.linalg.inv(shape.whiten).T + shape.centre)
    assert float(level.max() - level.min()) > 1
    # The seam at pi is like any other place.
    assert abs(float(level[0] - level[-1])) < 1e-9
    assert float(level.diff().abs().max()) < 0.02 * float(level.max() - level.min())


def test_equal_weights_make_a_ball():
    directions = unit_rows(40, 3, generator(0))
    weights = torch.full((1, 40), math.log(0.7), dtype=torch.float64)
    heart = torch.tensor([[0.2, -0.1, 0.4]], dtype=torch.float64)
    at = 2 * torch.rand((1, 500, 3), dtype=torch.float64) - 1
    level = star_level(at, heart, weights, directions, 20.0)
    torch.testing.assert_close(level, (at - heart[:, None]).norm(dim=-1) - 0.7)


def test_the_radius_follows_the_weight_of_the_direction_it_points_to():
    angles = torch.arange(8, dtype=torch.float64) * math.pi / 4
    directions = torch.stack([angles.sin(), angles.cos()], -1)
    weights = torch.log(torch.tensor([[1.0, 2, 1, 1, 1, 0.5, 1, 1]], dtype=torch.float64))
    at = directions[[1, 5, 3]][None]
    level = star_level(at, torch.zeros((1, 2)).double(), weights, directions, 30.0)[0]
    torch.testing.assert_close(1 - level, torch.tensor([2, 0.5, 1]).double(), rtol=0.01, atol=0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_level_is_finite_at_the_heart_and_so_is_its_gradient(ndim):
    shape = star(1, ndim)
    at = shape.star_centre[None].clone().requires_grad_()
    level = shape.level(at)
    level.sum().backward()
    assert float(level.detach()) < 0
    assert bool(torch.isfinite(at.grad).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_masks_are_star_shaped_on_the_grid_once_the_rays_are_filled(ndim):
    added = []
    for seed in range(10):
        shape = star(seed, ndim)
        mask = shape.rasterize(GRID[ndim])
        centre = shape.star_centre.numpy() * np.divide(GRID[ndim], BOX[ndim]) - 0.5
        full = fill_rays(mask, tuple(centre))
        assert certify(full, kind="star", centre=tuple(centre)).holds
        assert full[mask].all()
        added.append((full & ~mask).sum() / mask.sum())
    assert np.median(added) < 0.02


@pytest.mark.parametrize("ndim", [2, 3])
@given(seed=st.integers(0, 50), by=st.floats(0.1, 20))
@settings(max_examples=15, deadline=None)
def test_a_lifted_shape_holds_the_first_and_one_lowered_is_held_by_it(ndim, seed, by):
    shape = star(seed, ndim)
    before = {name: tensor.clone() for name, tensor in shape.state_dict().items()}
    at = torch.rand(500, ndim, generator=generator(seed)).double()
    with torch.no_grad():
        level, higher, lower = (s.level(at) for s in (shape, shape.lifted(by), shape.lifted(-by)))
        assert bool((higher < level).all())
        assert bool((lower > level).all())
        torch.testing.assert_close(shape.lifted(by).star_centre, shape.star_centre)
    assert all(torch.equal(before[name], tensor) for name, tensor in shape.state_dict().items())


def test_a_lifted_ball_is_less_by_that_everywhere():
    ball = star(2, 2, rough=0.0)
    at = torch.rand(200, 2, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ball.lifted(7.0).level(at), ball.level(at) - 7.0)


def test_a_shape_lowered_by_more_than_its_radii_is_all_but_empty():
    assert not star(0, 2).lifted(-1e4).rasterize(GRID[2]).any()


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_come_back_from_description_and_tensors(ndim):
    shape = star(6, ndim)
    again = build_shape(shape.description(), dict(shape.state_dict()))
    assert isinstance(again, StarShape)
    at = torch.rand(300, ndim, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(again.level(at), shape.level(at), rtol=0, atol=0)


def test_a_crop_is_that_part_of_the_whole_at_any_resolution():
    shape = star(5, 3)
    for factor in (1, 2):
        size = tuple(factor * n for n in GRID[3])
        crop = tuple(slice(n // 4, n - 5) for n in size)
        whole = shape.rasterize(size)
        assert whole.any()
        np.testing.assert_array_equal(shape.rasterize(size, region=crop), whole[crop])
