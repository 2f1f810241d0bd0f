"""Connected shapes: one piece in the box, and one piece on the grid once joined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import FitResult, certify, project_labels
from napari_implicitseg.features import Window
from napari_implicitseg.fitting.keeping import keep_promise
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.fitting.projection import Found, pose_mask
from napari_implicitseg.fitting.sequential import Fitted
from napari_implicitseg.shapes import ConnectedShape, build_shape
from napari_implicitseg.shapes.certificate import count_components
from napari_implicitseg.shapes.flow import Flow, RealNVP

from .helpers import BOX, connected, generator, polytope, realnvp

GRID = {2: (96, 67), 3: (15, 25, 20)}


def kept_on_the_grid(shape, size):
    """What a fit does with a shape: rasterise and join; the raster, the mask, its certificate."""
    raster = shape.rasterize(size)
    labels = raster.astype(np.uint32)
    grid = Geometry(size, (1.0,) * len(size), Effort.for_objects(1, len(size)))
    everything = Window((0,) * len(size), size, (1,) * len(size))
    problem, _ = pose_mask(Found(1, everything.slices), labels, grid, convex=False)
    item = Fitted(problem, shape, raster, [], beyond=everything)
    certificate = keep_promise(labels, item, "connected", grid)
    return raster, labels == 1, certificate


def share_repaired(count, strengths):
    """Median share of added voxels over masks of random draws, and how many were in pieces."""
    shares, broken = [], []

    @settings(max_examples=count, deadline=None, database=None)
    @given(seed=st.integers(0, 2**31), strength=st.floats(*strengths))
    def check(seed, strength):
        raster, mask, certificate = kept_on_the_grid(connected(seed, 2, strength), GRID[2])
        assert mask.any() == raster.any()
        assert count_components(mask) == (1 if raster.any() else 0)
        assert certificate.holds
        assert certificate.repaired == np.count_nonzero(mask & ~raster)
        if raster.any():
            shares.append(certificate.repaired / raster.sum())
            broken.append(count_components(raster) > 1)

    check()
    return float(np.median(shares)), sum(broken)


def test_a_thousand_random_masks_are_one_piece_once_joined_and_hardly_change():
    median, broken = share_repaired(1000, (0.0, 2.0))
    assert median < 0.01
    assert broken > 10


def test_masks_of_flows_no_fit_finds_are_one_piece_too_once_joined():
    """Filaments thinner than any voxel: more voxels may be added than there were."""
    _, broken = share_repaired(12, (5.0, 20.0))
    assert broken


def test_random_solids_are_one_piece_once_joined():
    broken = 0
    for seed in range(12):
        raster, mask, certificate = kept_on_the_grid(connected(seed, 3, 1 + seed / 4), GRID[3])
        if not raster.any():  # The thinnest have no voxel centre inside.
            continue
        assert (count_components(mask), certificate.holds) == (1, True)
        broken += count_components(raster) > 1
    assert broken


def voxel_pair(shape, seed):
    """Centres of two voxels of a mask, as far apart as the draw makes them."""
    size = GRID[shape.ndim]
    inside = np.argwhere(shape.rasterize(size))
    chosen = np.random.default_rng(seed).choice(inside, 2)
    return torch.from_numpy((chosen + 0.5) * np.divide(BOX[shape.ndim], size))


@pytest.mark.parametrize("kind", ["lattice", "realnvp"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_paths_lead_from_end_to_end_within_the_shape(kind, ndim):
    for seed in range(8):
        flow = None if kind == "lattice" else realnvp(seed, ndim)
        shape = connected(seed, ndim, 1.5, flow=flow)
        if not shape.rasterize(GRID[ndim]).any():
            continue
        start, stop = voxel_pair(shape, seed)
        with torch.no_grad():
            path = shape.path(start, stop, 300)
            torch.testing.assert_close(path[0], start, atol=1e-9, rtol=0)
            torch.testing.assert_close(path[-1], stop, atol=1e-9, rtol=0)
            ends = shape.level(torch.stack([start, stop]))
            if kind == "lattice":
                sides = torch.tensor(BOX[ndim], dtype=torch.float64)
                assert float(path.min()) >= -1e-9
                assert float((path - sides).max()) <= 1e-9
                # The level after the flow is convex along a straight line.
                assert float(shape.level(path).max()) <= float(ends.max()) + 1e-6
            back = shape.flow(path[None] / torch.tensor(BOX[ndim]))[0]
        turns = back.diff(dim=0)
        torch.testing.assert_close(turns, turns[:1].expand_as(turns), atol=1e-8, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_nothing_outside_the_box_is_inside_the_shape(ndim):
    g = generator(3)
    low, high = torch.full((ndim,), 0.2), torch.full((ndim,), 0.5)
    whole = polytope(g, ndim, torch.full((ndim,), 0.5)).lifted(1e4)
    shape = ConnectedShape(connected(0, ndim).flow, whole, low, high, extent=BOX[ndim])
    at = torch.rand(4000, ndim, generator=g, dtype=torch.float64)
    within = ((at >= low) & (at <= high)).all(-1)
    with torch.no_grad():
        level = shape.level(at)
    assert bool((level[within] < 0).all())
    assert bool((level[~within] > 0).all())
    assert 10 < int(within.sum()) < 3000


def test_the_level_grows_with_the_distance_to_the_box():
    shape = connected(2, 2)
    at = torch.tensor([[0.3, 0.3 - d] for d in (0.31, 0.4, 0.6, 3.0)], dtype=torch.float64)
    with torch.no_grad():
        assert bool((shape.level(at).diff() > 1).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_crop_is_that_part_of_the_whole_at_any_resolution(ndim):
    shape = connected(5, ndim)
    for factor in (1, 2):
        size = tuple(factor * n for n in GRID[ndim])
        whole = shape.rasterize(size)
        crop = tuple(slice(int(i.min()) + 1, int(i.max())) for i in np.nonzero(whole))
        assert 0 < whole[crop].sum() < whole.sum()
        np.testing.assert_array_equal(shape.rasterize(size, region=crop), whole[crop])


@pytest.mark.parametrize("kind", ["lattice", "realnvp"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_come_back_from_description_and_tensors(kind, ndim):
    shape = connected(6, ndim, flow=None if kind == "lattice" else realnvp(6, ndim))
    again = build_shape(shape.description(), dict(shape.state_dict()))
    at = 2 * torch.rand(300, ndim, dtype=torch.float64) - 0.5
    with torch.no_grad():
        torch.testing.assert_close(again.level(at), shape.level(at), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(again.rasterize(GRID[ndim]), shape.rasterize(GRID[ndim]))


def test_shapes_come_back_from_a_file(tmp_path):
    shape = connected(7, 2)
    mask = shape.rasterize((40, 28))
    result = FitResult(
        labels=mask.astype(np.uint32),
        shapes={1: shape},
        certificates={1: certify(mask, kind="connected")},
        evidence=None,
        history={},
        spacing=(1.0, 1.0),
    )
    result.save(tmp_path / "fit.safetensors")
    again = FitResult.load(tmp_path / "fit.safetensors")
    assert again.certificates == result.certificates
    np.testing.assert_array_equal(again.shapes[1].rasterize((90, 63)), shape.rasterize((90, 63)))


@pytest.mark.parametrize("ndim", [2, 3])
@given(seed=st.integers(0, 50), by=st.floats(-10, 10))
@settings(max_examples=10, deadline=None)
def test_a_lifted_shape_is_a_level_set_of_the_first_within_its_box(ndim, seed, by):
    shape = connected(seed, ndim)
    inside = torch.rand(60, ndim, generator=generator(seed)).double() * torch.tensor(BOX[ndim])
    before = {name: tensor.clone() for name, tensor in shape.state_dict().items()}
    with torch.no_grad():
        lifted = shape.lifted(by)
        torch.testing.assert_close(lifted.level(inside), shape.level(inside) - by)
        assert bool((lifted.level(inside - 2) > 0).all())
    assert all(torch.equal(before[name], tensor) for name, tensor in shape.state_dict().items())


class Parabola(Flow):
    """One additive coupling (NICE): (y, x) -> (y + 0.35 - 4.6 (x - 0.5)^2, x)."""

    kind = "parabola"
    ndim = 2

    def forward(self, points):
        y, x = points.unbind(-1)
        return torch.stack([y + self._shift(x), x], -1)

    def inverse(self, points):
        y, x = points.unbind(-1)
        return torch.stack([y - self._shift(x), x], -1)

    def _shift(self, x):
        return 0.35 - 4.6 * (x - 0.5) ** 2

    def rows(self, first, last):
        return self

    def description(self) -> dict[str, Any]:
        return {"kind": self.kind}


def wedge() -> RealNVP:
    """Return the same with a |x - 0.5| in place of the square: a RealNVP of one layer, by hand."""
    into = torch.tensor([[[1.0, -1.0]]], dtype=torch.float64)
    out = torch.tensor([[[0.0, -2.0], [0.0, -2.0]]], dtype=torch.float64)
    biases = [torch.zeros((1, 1, 2)), torch.zeros((1, 1, 2)), torch.tensor([[[0.0, 0.8]]])]
    return RealNVP(
        [[into, torch.eye(2, dtype=torch.float64)[None], out]], [[b.double() for b in biases]]
    )


def ellipse(flowed):
    """Level of a convex set: an ellipse about (0.2, 0.5)."""
    y, x = flowed.unbind(-1)
    return ((y - 0.2) / 0.13) ** 2 + ((x - 0.5) / 0.42) ** 2 - 1


def drawn(flow, low, high, pixels):
    """Mask of the ellipse after a flow, on a square of the plane."""
    centres = low + (high - low) * (torch.arange(pixels, dtype=torch.float64) + 0.5) / pixels
    at = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), -1)
    with torch.no_grad():
        flowed = flow(at.reshape(1, -1, 2))
    return (ellipse(flowed) <= 0).reshape(pixels, pixels).numpy()


@pytest.mark.parametrize("make", [Parabola, wedge])
def test_a_flow_of_the_plane_gives_one_piece_there_and_two_in_the_image(make):
    """Why masks after such flows fall into pieces: what joins them lies beyond the border."""
    flow = make()
    at = 4 * torch.rand((1, 500, 2), dtype=torch.float64) - 2
    with torch.no_grad():
        torch.testing.assert_close(flow.inverse(flow(at)), at, atol=1e-12, rtol=0)
    image, plane = drawn(flow, 0.0, 1.0, 200), drawn(flow, -1.0, 2.0, 600)
    np.testing.assert_array_equal(plane[200:400, 200:400], image)
    assert count_components(image) == 2
    assert min(half.sum() for half in np.split(image, 2, axis=1)) > 0.02 * image.size
    assert count_components(plane) == 1


@pytest.mark.parametrize("make", [Parabola, wedge])
def test_a_flow_of_the_box_fitted_to_both_pieces_is_one_piece_in_the_image(make):
    image = drawn(make(), 0.0, 1.0, 120)
    result = project_labels(image, shape="connected")
    mask = result.labels == 1
    assert (result.certificates[1].holds, count_components(mask)) == (True, 1)
    assert (mask & image).sum() > 0.5 * image.sum()


def test_random_flows_of_the_plane_break_masks_that_flows_of_the_box_do_not():
    """On a grid so fine that rasterising cuts nothing."""
    pieces = {"lattice": [], "realnvp": []}
    for seed in range(30):
        for kind, flow in (("lattice", None), ("realnvp", realnvp(seed, 2))):
            shape = connected(seed, 2, 0.5, flow=flow)
            pieces[kind].append(count_components(shape.rasterize((200, 140))))
    assert max(pieces["lattice"]) == 1
    assert max(pieces["realnvp"]) > 1
