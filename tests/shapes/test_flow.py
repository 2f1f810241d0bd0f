"""Flows: invertible, and those of the box keep every face of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.shapes.flow import LatticeFlow, RealNVP, build_flow

from .helpers import realnvp

SIZES = {2: (3, 5, 9, 17), 3: (3, 5, 9)}
LAYERS = {2: 8, 3: 9}
# Logits as strong as this saturate the cap on most nodes.
STRONG = 2.0


def lattice(seed, ndim, *, count=1, strength=STRONG, layers=None, sizes=None):
    """Lattice flows of normal logits."""
    g = torch.Generator().manual_seed(seed)
    depth = layers or LAYERS[ndim]
    return LatticeFlow(
        [
            strength
            * torch.randn(
                (count, depth, *(n,) * (ndim - 1), n - 1), generator=g, dtype=torch.float64
            )
            for n in sizes or SIZES[ndim]
        ]
    )


FLOWS = {"lattice": lattice, "realnvp": realnvp}


def points(seed, ndim, *, batch=1, count=200):
    """Points of the box, on its faces and corners some of them."""
    g = torch.Generator().manual_seed(seed)
    inside = torch.rand((batch, count, ndim), generator=g, dtype=torch.float64)
    border = torch.rand((batch, count, ndim), generator=g, dtype=torch.float64) * 3 - 1
    return torch.cat([inside, border.clamp(0, 1)], 1)


def jacobians(flow, at):
    """Matrices of derivatives (M, D, D) at points (M, D) of the first flow of a batch."""
    at = at.clone().requires_grad_()
    out = flow(at[None])[0]
    rows = [
        torch.autograd.grad(out[:, i].sum(), at, retain_graph=True)[0] for i in range(at.shape[1])
    ]
    return torch.stack(rows, 1)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_inverse_takes_points_back(kind, ndim, seed):
    flow = FLOWS[kind](seed, ndim, count=2)
    at = points(seed + 1, ndim, batch=2)
    with torch.no_grad():
        there = flow(at)
        assert float((flow.inverse(there) - at).abs().max()) < 1e-5
        assert float((flow(flow.inverse(at)) - at).abs().max()) < 1e-5
        assert float((there - at).abs().max()) > 1e-2


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_inverse_is_good_in_single_precision_too(ndim):
    """Within what a fit finds: the steepest of all lattices would need more digits."""
    flow = lattice(3, ndim, strength=0.3).float()
    at = points(4, ndim).float()
    with torch.no_grad():
        assert float((flow.inverse(flow(at)) - at).abs().max()) < 1e-4


@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_a_lattice_flow_maps_the_box_and_every_face_of_it_onto_itself(ndim, seed):
    flow = lattice(seed, ndim)
    at = points(seed + 1, ndim)
    with torch.no_grad():
        for mapped in (flow(at), flow.inverse(at)):
            assert float(mapped.min()) >= -1e-12
            assert float(mapped.max()) <= 1 + 1e-12
            for side in (0.0, 1.0):
                on_face = at == side
                assert bool(on_face.any(dim=1).all())
                assert float((mapped[on_face] - side).abs().max()) < 1e-12


@pytest.mark.parametrize("ndim", [2, 3])
def test_what_maps_onto_a_face_comes_from_it(ndim):
    """Inner points stay inner points, so no other point can end on a face."""
    at = points(0, ndim)
    inner = at[((at > 0) & (at < 1)).all(-1)][None]
    with torch.no_grad():
        mapped = lattice(1, ndim)(inner)
    assert float(mapped.min()) > 0
    assert float(mapped.max()) < 1


@pytest.mark.parametrize("ndim", [2, 3])
def test_corners_of_the_box_stay_where_they_are(ndim):
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * ndim)
    with torch.no_grad():
        torch.testing.assert_close(lattice(7, ndim)(corners[None])[0], corners, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("ndim", [2, 3])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_jacobian_is_positive_everywhere(kind, ndim, seed):
    at = points(seed + 1, ndim)[0, :200]
    flow = FLOWS[kind](seed, ndim)
    assert float(torch.linalg.det(jacobians(flow, at)).min()) > 0


def test_the_jacobian_of_the_inverse_undoes_that_of_the_flow():
    """An orientation alone could be kept by mistake: here the volumes have to agree as well."""
    flow = lattice(2, 2, strength=0.5)
    at = points(3, 2)[0, :100]
    there = flow(at[None])[0].detach()
    small = 1e-7
    back = [
        (flow.inverse((there + step)[None]) - flow.inverse((there - step)[None]))[0] / (2 * small)
        for step in small * torch.eye(2, dtype=torch.float64)
    ]
    product = torch.linalg.det(jacobians(flow, at)) * torch.linalg.det(torch.stack(back, -1))
    # At a kink of the table the two sides differ.
    assert float((product.detach() - 1).abs().median()) < 1e-4


@pytest.mark.parametrize(("ndim", "axis"), [(2, 0), (2, 1), (3, 0), (3, 1), (3, 2)])
def test_each_layer_rises_along_its_own_axis_and_keeps_the_others(ndim, axis):
    g = torch.Generator().manual_seed(axis)
    table = STRONG * torch.randn((1, *(9,) * (ndim - 1), 8), generator=g, dtype=torch.float64)
    flat = torch.zeros_like(table)
    flow = LatticeFlow([torch.stack([table if a == axis else flat for a in range(ndim)], 1)])
    lines = torch.rand((40, 1, ndim), generator=g, dtype=torch.float64).expand(-1, 101, -1).clone()
    lines[..., axis] = torch.linspace(0, 1, 101, dtype=torch.float64)
    with torch.no_grad():
        mapped = flow(lines.reshape(1, -1, ndim)).reshape(lines.shape)
    assert float(mapped[..., axis].diff(dim=1).min()) > 0
    others = [a for a in range(ndim) if a != axis]
    torch.testing.assert_close(mapped[..., others], lines[..., others], atol=1e-12, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("strength", [0.5, 2.0, 1e3])
def test_slopes_of_a_layer_are_bounded_however_large_the_logits_are(ndim, strength):
    """Steps are a softmax of logits within -1 to 1: none is e^2 times smaller than the mean."""
    nodes = SIZES[ndim][-1]
    for table in lattice(5, ndim, strength=strength).tables():
        slopes = table.detach().diff(dim=-1) * (nodes - 1)
        assert float(slopes.min()) > torch.e**-2
        assert float(slopes.max()) < torch.e**2
        assert float(table.detach()[..., 0].abs().max()) == 0
        assert float((table.detach()[..., -1] - 1).abs().max()) == 0


@pytest.mark.parametrize("ndim", [2, 3])
def test_zero_logits_change_nothing(ndim):
    flow = LatticeFlow.identity(
        3, ndim, layers=LAYERS[ndim], sizes=SIZES[ndim], dtype=torch.float64
    )
    at = points(0, ndim, batch=3)
    with torch.no_grad():
        torch.testing.assert_close(flow(at), at, atol=1e-12, rtol=0)
        torch.testing.assert_close(flow.inverse(at), at, atol=1e-12, rtol=0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_random_realnvp_starts_near_the_identity_and_equal_in_a_batch(ndim):
    g = torch.Generator().manual_seed(0)
    flow = RealNVP.random(2, ndim, layers=8, width=64, generator=g, dtype=torch.float64)
    at = points(0, ndim).expand(2, -1, -1)
    with torch.no_grad():
        mapped = flow(at)
    assert float((mapped - at).abs().max()) < 0.3
    assert torch.equal(mapped[0], mapped[1])


def test_a_realnvp_does_not_keep_the_box():
    """Which is why a set that is one piece in the plane may be two in an image."""
    with torch.no_grad():
        mapped = realnvp(0, 2)(points(0, 2))
    assert float(mapped.min()) < -0.1 or float(mapped.max()) > 1.1


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_rows_are_copies_of_some_flows_of_a_batch(kind, ndim):
    flow = FLOWS[kind](1, ndim, count=4)
    at = points(2, ndim, batch=4)
    part = flow.rows(1, 3)
    with torch.no_grad():
        whole = flow(at)
        torch.testing.assert_close(part(at[1:3]), whole[1:3], atol=1e-12, rtol=0)
        assert float((whole[1] - whole[2]).abs().max()) > 1e-3
        for tensor in part.parameters():
            tensor += 0.5
        assert torch.equal(flow(at), whole)


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_flows_come_back_from_description_and_tensors(kind, ndim):
    flow = FLOWS[kind](4, ndim)
    again = build_flow(flow.description(), dict(flow.state_dict()))
    at = points(5, ndim)
    with torch.no_grad():
        assert again.ndim == ndim
        assert torch.equal(again(at), flow(at))
        assert torch.equal(again.inverse(at), flow.inverse(at))


def test_unknown_kinds_and_missing_tensors_are_key_errors():
    with pytest.raises(KeyError, match="spline"):
        build_flow({"kind": "spline"}, {})
    flow = lattice(0, 2)
    tensors = dict(flow.state_dict())
    del tensors["logits.3"]
    with pytest.raises(KeyError, match=r"logits\.3"):
        build_flow(flow.description(), tensors)


def test_tables_found_before_bend_points_as_the_flow_does():
    flow = lattice(8, 3)
    at = points(9, 3)
    with torch.no_grad():
        assert torch.equal(flow.bend(at, flow.tables()), flow(at))
