from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.fitting.planes import (
    SHARP_STAGES,
    SOFT_STAGES,
    Planes,
    Stage,
    _damped_step,
    _State,
    _tangents,
    fit_planes,
    spread_directions,
)
from napari_implicitseg.fitting.points import PointBatch, Points

STAGES = (*SOFT_STAGES, *SHARP_STAGES)


def start(count, ndim, *, radius=2.0, batch=1, dtype=torch.float32):
    directions = torch.from_numpy(spread_directions(count, ndim)).to(dtype)
    offsets = torch.full((count,), radius, dtype=dtype)
    return Planes(directions.expand(batch, -1, -1).clone(), offsets.expand(batch, -1).clone())


def grid_of(ndim, count):
    axis = np.linspace(-4, 4, count)
    return np.stack(np.meshgrid(*[axis] * ndim, indexing="ij"), -1).reshape(-1, ndim)


def evidence(target, coords):
    return Points(coords, target, np.ones(len(coords), np.float32))


def turned_ellipse(coords, radii, turn):
    moved = coords - 0.2
    y, x = moved[:, -2], moved[:, -1]
    turned = [
        *moved[:, :-2].T,
        np.cos(turn) * y + np.sin(turn) * x,
        np.cos(turn) * x - np.sin(turn) * y,
    ]
    return sum((t / r) ** 2 for t, r in zip(turned, radii, strict=True)) <= 1


def fit(planes, points, stages=STAGES):
    history = []
    batch = PointBatch.pack(points, torch.device("cpu"))
    return fit_planes(planes, batch, stages, history=history, check=lambda: None), history


def inside(planes, coords):
    """Mask of the hard polytope of the first object."""
    along = torch.from_numpy(coords).float() @ planes.normals[0].T
    return np.asarray((along <= planes.offsets[0]).all(-1))


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


def reference_residuals(step, planes, points, stage):
    """Residuals after a step, by the plain formula, for one object."""
    moved = planes.moved(step[None])
    logits = stage.kappa * (points.coords @ moved.normals.mT - moved.offsets[:, None])
    level = torch.logsumexp(logits, -1) / stage.kappa
    chance = torch.sigmoid(-stage.sharpness * level)
    return (points.weight.sqrt() * (chance - points.target))[0]


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("stage", [SOFT_STAGES[0], SHARP_STAGES[-1]])
def test_normal_equations_agree_with_automatic_differentiation(ndim, stage):
    generator = torch.Generator().manual_seed(0)
    count = 9
    planes = start(count, ndim, radius=1.1, dtype=torch.float64)
    planes = planes.moved(0.1 * torch.randn(1, count * ndim, generator=generator).double())
    coords = torch.randn(1, 200, ndim, generator=generator).double()
    target = (coords.norm(dim=-1) < 1.3).double()
    weight = torch.rand(1, 200, generator=generator).double()
    points = PointBatch(coords, target, weight)
    state = _State.of(planes, points, stage)
    matrix, gradient = state.normal_equations(points, stage)
    zero = torch.zeros(count * ndim, dtype=torch.float64)
    residuals = reference_residuals(zero, planes, points, stage)
    jacobian = torch.func.jacrev(reference_residuals)(zero, planes, points, stage)
    torch.testing.assert_close(state.loss[0], residuals.square().sum())
    torch.testing.assert_close(gradient[0], jacobian.T @ residuals)
    torch.testing.assert_close(matrix[0], jacobian.T @ jacobian)


@given(st.integers(2, 4), st.integers(0, 10_000))
def test_tangents_are_an_orthonormal_basis_across_the_normal(ndim, seed):
    normal = np.random.default_rng(seed).normal(size=ndim)
    normal /= np.linalg.norm(normal)
    for each in (normal, np.eye(ndim)[0], -np.eye(ndim)[0], np.eye(ndim)[-1]):
        tangents = _tangents(torch.from_numpy(each))
        basis = np.column_stack([each, np.asarray(tangents)])
        np.testing.assert_allclose(basis.T @ basis, np.eye(ndim), atol=1e-12)


@given(st.integers(2, 3), st.integers(0, 10_000), st.floats(0, 1.0))
def test_moved_normals_stay_unit_vectors(ndim, seed, length):
    rng = np.random.default_rng(seed)
    step = torch.from_numpy(length * rng.uniform(-1, 1, (1, 6 * ndim)))
    moved = start(6, ndim, dtype=torch.float64).moved(step)
    np.testing.assert_allclose(moved.normals.norm(dim=-1), 1, rtol=1e-12)


def test_no_step_moves_nothing():
    planes = start(12, 3, dtype=torch.float64)
    moved = planes.moved(torch.zeros(1, 36, dtype=torch.float64))
    torch.testing.assert_close(moved.normals, planes.normals)
    torch.testing.assert_close(moved.offsets, planes.offsets)


@pytest.mark.parametrize("count", [4, 5, 16, 41])
def test_directions_in_the_plane_are_equal_angles_apart(count):
    directions = spread_directions(count, 2)
    neighbours = (directions * np.roll(directions, -1, axis=0)).sum(1)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(neighbours, np.cos(2 * np.pi / count), atol=1e-12)


@pytest.mark.parametrize("count", [4, 12, 40, 200])
def test_directions_in_space_leave_no_large_gap(count):
    directions = spread_directions(count, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    probes = np.random.default_rng(0).normal(size=(4000, 3))
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    nearest = np.arccos(np.clip((probes @ directions.T).max(axis=1), -1, 1))
    # A cap of the mean area a direction has, with a factor for the shape of its cell.
    assert nearest.max() < 1.7 * np.arccos(1 - 2 / count)
    # So the planes bound a body: every direction meets one.
    assert nearest.max() < np.pi / 2


@pytest.mark.parametrize("name", ["ellipse", "turned", "box"])
def test_a_planar_shape_is_recovered(name):
    coords = grid_of(2, 90)
    truth = {
        "ellipse": turned_ellipse(coords, (2.6, 1.5), 0.0),
        "turned": turned_ellipse(coords, (1.2, 2.7), 0.7),
        "box": (np.abs(coords - [0.3, -0.2]) <= [1.3, 2.1]).all(1),
    }[name]
    fitted, history = fit(start(16, 2), [evidence(truth, coords)])
    assert iou(inside(fitted, coords), truth) > 0.97
    assert history[-1] < 0.2 * history[0]


@pytest.mark.parametrize("name", ["ellipsoid", "box"])
def test_a_body_is_recovered(name):
    coords = grid_of(3, 22)
    truth = {
        "ellipsoid": turned_ellipse(coords, (2.6, 1.5, 1.9), 0.6),
        "box": (np.abs(coords) <= [1.3, 2.1, 1.7]).all(1),
    }[name]
    fitted, _ = fit(start(40, 3), [evidence(truth, coords)])
    assert iou(inside(fitted, coords), truth) > 0.95


def several(count, *, sizes=None):
    """Different ellipses seen at different points."""
    out = []
    for i in range(count):
        coords = grid_of(2, sizes[i] if sizes else 40)
        out.append(
            evidence(turned_ellipse(coords, (1.3 + 0.3 * i, 2.4 - 0.2 * i), 0.5 * i), coords)
        )
    return out


def test_objects_fitted_together_are_those_fitted_alone():
    points = several(4, sizes=(40, 31, 52, 23))
    together, history = fit(start(16, 2, batch=4), points)
    losses = torch.stack(history)
    for i, each in enumerate(points):
        alone, own = fit(start(16, 2), [each])
        torch.testing.assert_close(losses[:, i], torch.stack(own)[:, 0], atol=2e-5, rtol=1e-2)
        one = Planes(together.normals[i : i + 1], together.offsets[i : i + 1])
        coords = grid_of(2, 80)
        assert iou(inside(one, coords), inside(alone, coords)) > 0.995


def test_the_loss_never_rises_within_a_stage():
    _, history = fit(start(16, 2, radius=1.0, batch=4), several(4))
    losses = torch.stack(history)
    assert len(losses) == sum(stage.steps for stage in STAGES)
    first = 0
    for stage in STAGES:
        part = losses[first : first + stage.steps]
        assert (part[1:] <= part[:-1]).all()
        first += stage.steps
    assert (losses >= 0).all()
    # Weights sum to 1 and no point costs more than that.
    assert (losses <= 1).all()


def test_the_same_twice_gives_the_same_bits():
    first, _ = fit(start(16, 2, batch=3), several(3))
    second, _ = fit(start(16, 2, batch=3), several(3))
    assert torch.equal(first.normals, second.normals)
    assert torch.equal(first.offsets, second.offsets)


def test_an_object_without_evidence_stays_as_it_is():
    points = several(2)
    empty = Points(points[0].coords, points[0].target, np.zeros(len(points[0].coords), np.float32))
    begin = start(16, 2, batch=2)
    fitted, history = fit(begin, [empty, points[1]])
    torch.testing.assert_close(fitted.offsets[0], begin.offsets[0])
    torch.testing.assert_close(fitted.normals[0], begin.normals[0])
    assert (torch.stack(history)[:, 0] == 0).all()
    assert not torch.equal(fitted.offsets[1], begin.offsets[1])


def test_outliers_far_away_do_not_pull_the_planes():
    coords = grid_of(2, 60)
    truth = turned_ellipse(coords, (2.0, 1.5), 0.0)
    liars = np.random.default_rng(0).uniform(-60, 60, (150, 2))
    liars = liars[np.abs(liars).max(axis=1) > 12]
    noisy = evidence(
        np.concatenate([truth, np.ones(len(liars), bool)]), np.concatenate([coords, liars])
    )
    fitted, _ = fit(start(16, 2), [noisy])
    assert iou(inside(fitted, coords), truth) > 0.95


def test_a_refused_step_keeps_the_planes():
    """At the optimum of one plane's worth of points no step helps."""
    coords = np.array([[0.0, 0.0]])
    fitted, history = fit(
        start(8, 2), [evidence(np.array([True]), coords)], (Stage(80.0, 80.0, 5),)
    )
    torch.testing.assert_close(fitted.offsets, start(8, 2).offsets)
    assert float(history[-1]) == 0


def test_a_step_solves_the_damped_equations():
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(2, 30, 6, generator=generator).double()
    matrix, gradient = root.mT @ root, 0.1 * torch.randn(2, 6, generator=generator).double()
    damping = torch.tensor([0.5, 1e-5], dtype=torch.float64)
    step = _damped_step(matrix, gradient, damping)
    for i in range(2):
        diagonal = matrix[i].diagonal()
        extra = damping[i] * (diagonal + diagonal.mean())
        expected = torch.linalg.solve(matrix[i] + torch.diag(extra), -gradient[i])
        torch.testing.assert_close(step[i], expected, rtol=1e-4, atol=1e-8)


def test_steps_are_bounded_and_a_broken_matrix_gives_none():
    matrix = torch.stack([1e-6 * torch.eye(4), -torch.eye(4), torch.eye(4)])
    gradient = torch.tensor([[1.0, 2.0, 0.0, -4.0]]).repeat(3, 1)
    step = _damped_step(matrix, gradient, torch.full((3,), 0.01))
    torch.testing.assert_close(step[0].abs().max(), torch.tensor(1.0))
    assert (step[1] == 0).all()
    assert torch.isfinite(step).all()
    assert (step[2] * gradient[2] <= 0).all()


def test_check_is_called_before_every_step_and_may_cancel():
    calls = []

    def check():
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt

    batch = PointBatch.pack(several(1), torch.device("cpu"))
    history = []
    with pytest.raises(KeyboardInterrupt):
        fit_planes(start(16, 2), batch, STAGES, history=history, check=check)
    assert len(history) == 3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_random_evidence_never_breaks_the_planes(seed, ndim):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 60))
    points = [
        Points(
            rng.normal(0, 10 ** rng.uniform(-3, 2), (count, ndim)),
            rng.random(count) < rng.random(),
            rng.random(count).astype(np.float32),
        )
    ]
    fitted, history = fit(start(8, ndim), points)
    assert torch.isfinite(fitted.normals).all()
    assert torch.isfinite(fitted.offsets).all()
    torch.testing.assert_close(fitted.normals.norm(dim=-1), torch.ones(1, 8))
    assert torch.isfinite(torch.stack(history)).all()
