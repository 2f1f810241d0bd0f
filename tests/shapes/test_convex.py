from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import certify
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.shapes import (
    ClippedShape,
    ConvexNetwork,
    Polytope,
    SliceStack,
    build_shape,
)

BOX = {2: (1.0, 0.7), 3: (0.6, 1.0, 0.8)}


def polytope(seed: int, ndim: int, planes: int = 14) -> Polytope:
    g = torch.Generator().manual_seed(seed)
    normals = torch.randn(planes, ndim, generator=g, dtype=torch.float64)
    return Polytope(
        normals / normals.norm(dim=1, keepdim=True),
        0.5 + 2 * torch.rand(planes, generator=g),
        torch.eye(ndim) * 8 + torch.randn(ndim, ndim, generator=g),
        torch.rand(ndim, generator=g) * 0.2 + 0.3,
        kappa=20.0 + 60 * float(torch.rand(1, generator=g)),
        sharpness=40.0,
        extent=BOX[ndim],
    )


def network(seed: int, ndim: int, width: int = 12, layers: int = 3) -> ConvexNetwork:
    """Parameters are drawn at random, negative `Wz` among them: they are clamped on use."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g)

    sizes = [width] * layers + [1]
    return ConvexNetwork(
        [draw(sizes[i + 1], width) for i in range(layers)],
        [draw(n, ndim) for n in sizes],
        [draw(n) for n in sizes],
        torch.eye(ndim) * 3,
        torch.full((ndim,), 0.4),
        extent=BOX[ndim],
    )


def clipped(seed: int, ndim: int) -> ClippedShape:
    g = torch.Generator().manual_seed(seed)
    normals = torch.randn(3, ndim, generator=g)
    normals = normals / normals.norm(dim=1, keepdim=True)
    return ClippedShape(polytope(seed, ndim), normals, torch.rand(3, generator=g), slope=50.0)


MAKERS = {"polytope": polytope, "icnn": network, "clipped": clipped}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), share=st.floats(0, 1))
def test_levels_are_convex_between_any_two_points(kind, ndim, seed, share):
    shape = MAKERS[kind](seed, ndim)
    g = torch.Generator().manual_seed(seed + 1)
    a, b = (torch.rand(50, ndim, generator=g, dtype=torch.float64) * 2 - 0.5 for _ in range(2))
    with torch.no_grad():
        between = shape.level(share * a + (1 - share) * b)
        chord = share * shape.level(a) + (1 - share) * shape.level(b)
    scale = 1 + chord.abs()
    assert bool((between <= chord + 1e-9 * scale).all())


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_masks_are_convex_on_the_grid(kind, ndim):
    size = (61, 43) if ndim == 2 else (19, 31, 25)
    held = []
    for seed in range(12):
        mask = MAKERS[kind](seed, ndim).rasterize(size)
        held.append(certify(mask, kind="convex").holds)
    assert all(held)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_separable_raster_equals_the_level(ndim):
    size = (90, 63) if ndim == 2 else (24, 40, 32)
    for seed in range(8):
        shape = polytope(seed, ndim)
        level = shape.sample(size)
        sure = np.abs(level) > 1e-6
        np.testing.assert_array_equal(shape.rasterize(size)[sure], (level <= 0)[sure])


def test_the_raster_holds_where_exponentials_overflow():
    shape = polytope(1, 2)
    shape.kappa = 4000.0
    level = shape.sample((200, 140))
    sure = np.abs(level) > 1e-6
    np.testing.assert_array_equal(shape.rasterize((200, 140))[sure], (level <= 0)[sure])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_crop_is_that_part_of_the_whole_at_any_resolution(kind):
    shape = MAKERS[kind](3, 2)
    for size in ((40, 28), (133, 91)):
        whole = shape.rasterize(size)
        crop = shape.rasterize(size, region=(slice(5, 30), slice(8, 20)))
        np.testing.assert_array_equal(crop, whole[5:30, 8:20])


@pytest.mark.parametrize("kind", [*MAKERS, "stack"])
def test_shapes_come_back_from_description_and_tensors(kind):
    if kind == "stack":
        slices = {2: polytope(0, 2), 5: clipped(1, 2)}
        shape = SliceStack(slices, scale=1.0, count=8, extent=(0.5, 1.0, 0.7))
    else:
        shape = MAKERS[kind](7, 2)
    again = build_shape(shape.description(), dict(shape.state_dict()))
    points = torch.rand(200, shape.ndim, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(again.level(points), shape.level(points), rtol=0, atol=0)


def test_a_stack_takes_each_slice_from_its_own_shape():
    shape = polytope(4, 2)
    stack = SliceStack({3: shape}, scale=1.0, count=6, extent=(0.5, 1.0, 0.7))
    volume = stack.rasterize((6, 50, 35))
    np.testing.assert_array_equal(volume[3], shape.rasterize((50, 35)))
    assert not volume[[0, 1, 2, 4, 5]].any()


def test_levels_take_any_leading_axes_and_single_precision():
    shape = polytope(2, 2)
    points = torch.rand(3, 4, 5, 2)
    with torch.no_grad():
        assert shape.level(points).shape == (3, 4, 5)
        torch.testing.assert_close(shape.level(points)[1, 2, 3], shape.level(points[1, 2, 3]))


def test_wrong_grids_and_unknown_kinds_are_refused():
    with pytest.raises(InputError, match="has 2 axes but the grid has 3"):
        polytope(0, 2).rasterize((4, 4, 4))
    with pytest.raises(FileError, match="shape of kind 'blob'"):
        build_shape({"kind": "blob"}, {})
    shape = polytope(0, 2)
    tensors = dict(shape.state_dict())
    del tensors["offsets"]
    with pytest.raises(FileError, match="lacks 'offsets'; it is damaged"):
        build_shape(shape.description(), tensors)


def test_rasterize_takes_regions_that_run_backwards():
    """A region may be mirrored: its mask is that of the whole grid, mirrored."""
    shape = Polytope(
        torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]]),
        torch.full((4,), 2.0),
        20 * torch.eye(2),
        torch.tensor([0.4, 0.6]),
        kappa=80,
        sharpness=80,
        extent=(1, 1),
    )
    whole = shape.rasterize((300, 300))
    back = (slice(None, None, -1),) * 2
    assert whole.any()
    assert np.array_equal(shape.rasterize((300, 300), region=back), whole[back])


@pytest.mark.parametrize("make", [polytope, network])
@pytest.mark.parametrize("ndim", [2, 3])
@given(seed=st.integers(0, 50), by=st.floats(-20, 20))
@settings(max_examples=20, deadline=None)
def test_a_lifted_shape_is_a_level_set_of_the_first(make, ndim, seed, by):
    shape = make(seed, ndim)
    cuts = torch.eye(ndim, dtype=torch.float64), torch.full((ndim,), 0.4, dtype=torch.float64)
    clipped = ClippedShape.cut(ClippedShape.cut(shape, *cuts, slope=30.0), *cuts, slope=30.0)
    assert clipped.uncut is shape
    coords = torch.rand(60, ndim, generator=torch.Generator().manual_seed(seed)).double()
    before = {name: tensor.clone() for name, tensor in shape.state_dict().items()}
    stack = SliceStack({0: shape}, scale=1.0, count=1, extent=(1.0, *shape.extent))
    for one, at in ((shape, coords), (clipped, coords)):
        torch.testing.assert_close(one.lifted(by).level(at), one.level(at) - by)
    at = torch.cat([torch.full((60, 1), 0.5), coords], 1)
    torch.testing.assert_close(stack.lifted(by).level(at), stack.level(at) - by)
    assert all(torch.equal(before[name], tensor) for name, tensor in shape.state_dict().items())
