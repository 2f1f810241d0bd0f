from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg.fitting.points import (
    PointBatch,
    Points,
    Whitening,
    gather,
)
from napari_implicitseg.fitting.problem import pose, window_around


@given(st.integers(0, 10_000), st.sampled_from([2, 3]))
def test_whitened_points_have_unit_spread_and_come_back(seed, ndim):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(200, ndim)) @ rng.normal(size=(ndim, ndim)) + rng.normal(size=ndim)
    whitening = Whitening.of(points, 1e-9)
    white = whitening(points)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(white.T @ white / 200, np.eye(ndim), atol=1e-6)
    back = white @ np.linalg.inv(whitening.matrix).T + whitening.centre
    np.testing.assert_allclose(back, points, atol=1e-8)
    # No turn: whitening along the ellipse's own axes.
    np.testing.assert_allclose(whitening.matrix, whitening.matrix.T, atol=1e-9)


def test_a_full_ball_becomes_one_of_radius_about_two():
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 201)] * 2, indexing="ij"), -1).reshape(-1, 2)
    points = grid[np.linalg.norm(grid, axis=1) <= 1] * [0.01, 30.0] + 5
    radius = np.linalg.norm(Whitening.of(points, 1e-6)(points), axis=1).max()
    assert radius == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    "points", [np.ones((1, 3)), np.full((7, 2), 0.3), np.arange(6.0).reshape(3, 2)]
)
def test_points_without_spread_are_scaled_by_the_floor(points):
    whitening = Whitening.of(points, 0.01)
    assert np.linalg.norm(whitening.matrix, 2) == pytest.approx(100)
    assert np.isfinite(whitening(points)).all()


def some_points(rng, count, ndim=2):
    return Points(
        rng.normal(size=(count, ndim)),
        rng.random(count) < 0.5,
        rng.random(count).astype(np.float32),
    )


def test_weights_sum_to_one_per_object_and_padding_weighs_nothing():
    rng = np.random.default_rng(0)
    points = [some_points(rng, n) for n in (3, 11, 1)]
    batch = PointBatch.pack(points, torch.device("cpu"))
    assert batch.coords.shape == (3, 11, 2)
    torch.testing.assert_close(batch.weight.sum(1), torch.ones(3))
    for i, each in enumerate(points):
        count = len(each.coords)
        np.testing.assert_allclose(batch.coords[i, :count], each.coords, rtol=1e-6)
        np.testing.assert_array_equal(batch.target[i, :count], each.target)
        np.testing.assert_allclose(
            batch.weight[i, :count], each.weight / each.weight.sum(), rtol=1e-5
        )
        assert not batch.weight[i, count:].any()


def test_weights_of_nothing_stay_nothing():
    points = Points(np.zeros((4, 2)), np.zeros(4, bool), np.zeros(4, np.float32))
    assert not PointBatch.pack([points], torch.device("cpu")).weight.any()


@pytest.fixture
def problem(posed, draw):
    truth = draw.ellipsoid((90, 100), (45, 50), (25, 18))
    p = posed(np.where(truth, 0.9, 0.2), draw.strokes((90, 100), (45, 50)))
    window = window_around(np.array([20.0, 32.0]), np.array([70.0, 68.0]), p.grid)
    return pose(p.reach(2, window), p.evidence, p.samples, p.grid)


@pytest.mark.parametrize("most", [40, 500, 10**6])
def test_gather_keeps_to_its_budget_and_adds_the_strokes(problem, most):
    points = gather(problem, problem.cells, most)
    strokes = min(len(problem.own), most // 4)
    cells = min(most, len(problem.cells.target))
    assert len(points.coords) == len(points.target) == len(points.weight)
    assert abs(len(points.coords) - cells - strokes) <= 1
    assert np.isfinite(points.weight).all()
    assert (points.weight >= 0).all()
    assert points.target[-strokes:].tolist() == sorted(points.target[-strokes:].tolist())


def test_strokes_weigh_a_small_share_of_all(problem):
    points = gather(problem, problem.cells, 2000)
    strokes = len(problem.own)
    share = points.weight[-strokes:].sum() / points.weight.sum()
    assert 0 < share < 0.35
    np.testing.assert_array_equal(points.target[-strokes:], problem.own)
    np.testing.assert_allclose(
        points.coords[-strokes:], problem.whitening(problem.strokes), rtol=1e-6
    )


def test_missed_strokes_are_kept_and_weigh_as_much_more_as_they_are_boosted(problem):
    problem.boost[2:5] = 8.0
    points = gather(problem, problem.cells, 16)
    weights = []
    for voxel in (0, 2, 3, 4):
        point = problem.whitening(problem.strokes[voxel : voxel + 1])
        # Strokes come after the cells.
        at = np.flatnonzero(np.isclose(points.coords, point).all(axis=1))[-1]
        weights.append(points.weight[at])
    np.testing.assert_allclose(np.array(weights[1:]) / weights[0], 8, rtol=1e-5)


def test_gathered_cells_are_those_chosen(problem):
    chosen = np.array([5, 17, 400])
    points = gather(problem, problem.cells, 1000, chosen)
    np.testing.assert_array_equal(points.target[:3], problem.cells.target[chosen])
    np.testing.assert_array_equal(points.weight[:3], problem.cells.weight[chosen])
    centres = problem.grid.cell_centres(problem.cells.window, chosen)
    np.testing.assert_allclose(points.coords[:3], problem.whitening(centres))


def test_no_cells_leave_the_strokes(problem):
    points = gather(problem, problem.cells, 100, np.array([], np.int64))
    assert len(points.coords) == min(25, len(problem.own))
    assert (points.weight > 0).all()
