"""Free shapes: no promise but to be bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_implicitseg.shapes import FreeShape, build_shape
from napari_implicitseg.shapes.certificate import count_components

from .helpers import free, generator

GRID = {2: (90, 63), 3: (24, 40, 32)}


def whitened(shape, at):
    return (at - shape.centre) @ shape.whiten.T


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_shape_ends_within_its_ball(ndim, seed):
    shape = free(seed, ndim)
    at = 2 * torch.rand(2000, ndim, generator=generator(seed)).double() - 0.5
    beyond = whitened(shape, at).norm(dim=-1) - shape.bound
    outside = beyond > 0
    assert bool(outside.any())
    with torch.no_grad():
        level = shape.level(at)
    assert bool((level[outside] > 0).all())
    # And the further away, the surer.
    assert bool((level[outside] >= 9.9 * beyond[outside]).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_within_the_ball_the_network_decides(ndim):
    """So some draws are in pieces, or have holes, which no other family would show."""
    pieces, holes = [], []
    for seed in range(12):
        mask = free(seed, ndim).rasterize(GRID[ndim])
        pieces.append(count_components(mask))
        holes.append((ndimage.binary_fill_holes(mask) & ~mask).any())
    assert min(pieces) == 1
    assert max(pieces) > 1
    assert any(holes)


@pytest.mark.parametrize("ndim", [2, 3])
@given(seed=st.integers(0, 50), by=st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_a_lifted_shape_is_a_level_set_of_the_first(ndim, seed, by):
    shape = free(seed, ndim)
    before = {name: tensor.clone() for name, tensor in shape.state_dict().items()}
    at = torch.rand(300, ndim, generator=generator(seed)).double()
    with torch.no_grad():
        torch.testing.assert_close(shape.lifted(by).level(at), shape.level(at) - by)
    assert all(torch.equal(before[name], tensor) for name, tensor in shape.state_dict().items())


@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_come_back_from_description_and_tensors(ndim):
    shape = free(6, ndim)
    again = build_shape(shape.description(), dict(shape.state_dict()))
    assert isinstance(again, FreeShape)
    at = torch.rand(300, ndim, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(again.level(at), shape.level(at), rtol=0, atol=0)


def test_a_crop_is_that_part_of_the_whole_at_any_resolution():
    shape = free(1, 2)
    for size in ((40, 28), (133, 91)):
        whole = shape.rasterize(size)
        assert whole.any()
        crop = shape.rasterize(size, region=(slice(5, 30), slice(8, 20)))
        np.testing.assert_array_equal(crop, whole[5:30, 8:20])


def test_levels_take_any_leading_axes():
    shape = free(2, 3)
    at = torch.rand(3, 4, 5, 3)
    with torch.no_grad():
        assert shape.level(at).shape == (3, 4, 5)
        torch.testing.assert_close(shape.level(at)[1, 2, 3], shape.level(at[1, 2, 3][None])[0])
