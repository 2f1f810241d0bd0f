"""Symmetric shapes: equal to their images, exactly, whatever the family and the parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import certify
from napari_implicitseg.shapes import ConnectedShape, SymmetricShape, build_shape
from napari_implicitseg.shapes.symmetric import fold, group_elements
from napari_implicitseg.shapes.symmetries import fill_images

from .helpers import BOX, free, generator, like_fits, polytope, star, unit_rows

GROUPS = [("mirror", 1), ("mirror", 2), ("mirror", 5), ("rotation", 2), ("rotation", 3)]
BASES = ("convex", "connected", "star", "free")


def made_base(kind, seed, ndim):
    """A shape about the origin of the coordinates of the axes."""
    g = generator(seed)
    if kind == "convex":
        return polytope(g, ndim, 0.05 * torch.randn(ndim, generator=g))
    if kind == "star":
        return star(seed, ndim, middle=0.0)
    if kind == "free":
        return free(seed, ndim, middle=0.0)
    low, high = torch.full((ndim,), -0.5), torch.full((ndim,), 0.5)
    head = polytope(g, ndim, torch.full((ndim,), 0.5))
    return ConnectedShape(like_fits(g, ndim), head, low, high, extent=(1.0,) * ndim)


def symmetric(kind, seed, ndim, group="mirror", order=1, *, folds=None, middle=0.4):
    """A base made symmetric about axes turned at random."""
    g = generator(seed + 1)
    axes, _ = torch.linalg.qr(torch.randn(ndim, ndim, generator=g, dtype=torch.float64))
    return SymmetricShape(
        made_base(kind, seed, ndim),
        middle * torch.tensor(BOX[ndim]) / 0.7 + 0.02 * torch.randn(ndim, generator=g),
        axes,
        group=group,
        order=order,
        folds=kind in ("connected", "free") if folds is None else folds,
        extent=BOX[ndim],
    )


@pytest.mark.parametrize("folds", [True, False])
@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    group=st.sampled_from(["mirror", "rotation"]),
    order=st.integers(2, 9),
)
def test_the_level_is_equal_at_all_images_of_a_point(folds, kind, ndim, seed, group, order):
    order -= group == "mirror"
    shape = symmetric(kind, seed, ndim, group, order, folds=folds)
    at = 1.5 * torch.rand(200, ndim, generator=generator(seed)).double() - 0.25
    images = shape.symmetry(1.0).images(at.numpy())
    assert len(images) == (2 * order - 1 if group == "mirror" else order - 1)
    with torch.no_grad():
        level = shape.level(at)
        for image in images:
            torch.testing.assert_close(
                shape.level(torch.from_numpy(image)), level, rtol=1e-6, atol=1e-6
            )


@pytest.mark.parametrize(("group", "order"), GROUPS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_folding_maps_a_point_and_its_images_to_one(group, order, ndim):
    at = torch.randn(300, ndim, generator=generator(order)).double()
    folded = fold(at, group, order)
    for element in group_elements(group, order, ndim):
        torch.testing.assert_close(fold(at @ element.T, group, order), folded)
    apart = (at[:, None] - at).norm(dim=-1) > 0.5
    if group == "mirror":
        # What no element maps to the point is folded elsewhere: a wedge holds one of each orbit.
        nearest = torch.stack(
            [(at[:, None] @ e.T - at).norm(dim=-1) for e in group_elements(group, order, ndim)]
        ).amin(0)
        apart = nearest > 0.1
        assert float((folded[:, None] - folded).norm(dim=-1)[apart].min()) > 0.05
    assert bool(apart.any())


@pytest.mark.parametrize(("group", "order"), GROUPS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_folding_is_continuous(group, order, ndim):
    """A mirror brings no two points further apart, an n-fold turn at most n times."""
    g = generator(order)
    at = torch.randn(2000, ndim, generator=g).double()
    near = at + 1e-3 * unit_rows(2000, ndim, g)
    moved = (fold(at, group, order) - fold(near, group, order)).norm(dim=-1)
    most = 1e-3 * (order if group == "rotation" else 1)
    assert float(moved.max()) <= most * (1 + 1e-6)
    assert float(moved.max()) > 0.5e-3


def test_mirrors_fold_into_a_wedge_at_the_first_mirror():
    at = torch.randn(500, 2, generator=generator(0)).double()
    for order in (2, 3, 5):
        folded = fold(at, "mirror", order)
        angle = torch.atan2(folded[:, 0], folded[:, 1])
        assert float(angle.min()) >= -1e-9
        assert float(angle.max()) <= np.pi / order + 1e-9
        torch.testing.assert_close(folded.norm(dim=1), at.norm(dim=1))


@pytest.mark.parametrize(("group", "order"), GROUPS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_elements_are_a_group_that_keeps_lengths(group, order, ndim):
    elements = group_elements(group, order, ndim)
    assert torch.equal(elements[0], torch.eye(ndim, dtype=torch.float64))
    assert len(elements) == (2 * order if group == "mirror" else order)
    for product in (elements[:, None] @ elements).reshape(-1, ndim, ndim):
        assert float((elements - product).abs().amax(dim=(1, 2)).min()) < 1e-9
    unit = torch.eye(ndim, dtype=torch.float64).expand_as(elements)
    torch.testing.assert_close(elements @ elements.mT, unit)


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), group=st.sampled_from(GROUPS), share=st.floats(0, 1))
def test_images_of_a_convex_shape_meet_in_a_convex_one(ndim, seed, group, share):
    shape = symmetric("convex", seed, ndim, *group)
    g = generator(seed + 2)
    a, b = (2 * torch.rand(60, ndim, generator=g).double() - 0.5 for _ in range(2))
    with torch.no_grad():
        between = shape.level(share * a + (1 - share) * b)
        chord = share * shape.level(a) + (1 - share) * shape.level(b)
    assert bool((between <= chord + 1e-9 * (1 + chord.abs())).all())


@pytest.mark.parametrize("ndim", [2, 3])
def test_images_of_a_star_about_the_centre_meet_in_a_star(ndim):
    shape = symmetric("star", 4, ndim, "rotation", 3)
    with torch.no_grad():
        shape.base.heart.zero_()
    away = unit_rows(40, ndim, generator(1))
    share = torch.linspace(0.01, 1, 100, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        level = shape.level(shape.centre + share * away)
    assert float(level.diff(dim=0).min()) > 0
    assert bool((level[0] < 0).all())


def test_images_meet_within_the_base_and_folding_shows_it_on_both_sides():
    meets, folds = (symmetric("convex", 0, 2, folds=f) for f in (False, True))
    at = torch.rand(2000, 2, generator=generator(5)).double()
    turned = (at - meets.centre) @ meets.axes.T
    with torch.no_grad():
        base = meets.base.level(turned)
        assert bool((meets.level(at) >= base).all())
        half = turned[:, 0] > 0
        torch.testing.assert_close(folds.level(at)[half], base[half])
        assert float((folds.level(at)[~half] - base[~half]).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize(("group", "order"), [("mirror", 1), ("rotation", 3)])
def test_masks_are_symmetric_to_a_voxel_once_images_of_thin_tips_are_added(kind, group, order):
    size, spacing, changed = (200, 140), (1 / 200, 1 / 200), []
    for seed in range(8):
        shape = symmetric(kind, seed, 2, group, order)
        symmetry = shape.symmetry(1.0)
        mask = shape.rasterize(size)
        full = fill_images(mask, symmetry, spacing)
        assert certify(full, kind="symmetric", symmetry=symmetry, spacing=spacing).holds
        assert full[mask].all()
        if mask.any():
            changed.append((full & ~mask).sum() / mask.sum())
    assert len(changed) > 4
    assert max(changed) < 0.02


@pytest.mark.parametrize("kind", ["convex", "connected"])
@given(seed=st.integers(0, 50), by=st.floats(-5, 5))
@settings(max_examples=10, deadline=None)
def test_a_lifted_shape_is_a_level_set_of_the_first(kind, seed, by):
    shape = symmetric(kind, seed, 2, "mirror", 2)
    before = {name: tensor.clone() for name, tensor in shape.state_dict().items()}
    away = 0.3 * torch.rand(60, 2, generator=generator(seed)).double()
    with torch.no_grad():
        at = shape.centre + away
        torch.testing.assert_close(shape.lifted(by).level(at), shape.level(at) - by)
    assert all(torch.equal(before[name], tensor) for name, tensor in shape.state_dict().items())


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_come_back_from_description_and_tensors(kind, ndim):
    shape = symmetric(kind, 6, ndim, "rotation", 4)
    again = build_shape(shape.description(), dict(shape.state_dict()))
    assert isinstance(again, SymmetricShape)
    assert again.symmetry(2.0) == shape.symmetry(2.0)
    at = torch.rand(300, ndim, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(again.level(at), shape.level(at), rtol=1e-9, atol=1e-9)


def test_the_symmetry_is_told_in_units_of_the_caller():
    shape = symmetric("convex", 0, 2, "mirror", 3)
    told = shape.symmetry(50.0)
    np.testing.assert_allclose(told.centre, 50 * shape.centre.numpy())
    assert (told.kind, told.order) == ("mirror", 3)
