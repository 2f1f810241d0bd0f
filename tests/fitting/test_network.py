from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg import FitConfig, certify
from napari_implicitseg.fitting import network
from napari_implicitseg.fitting.network import NetworkSolver


@pytest.fixture
def solver(cpu):
    def make(p, *, seed=0, **options):
        config = FitConfig(model="icnn", **options)
        return NetworkSolver(config, seed=seed, grid=p.grid, device=cpu, check=lambda: None)

    return make


def scene(posed, draw, ndim=2):
    shape = (90, 110) if ndim == 2 else (28, 40, 44)
    middle = [n // 2 for n in shape]
    radii = (30, 18) if ndim == 2 else (9, 15, 12)
    truth = draw.ellipsoid(shape, middle, radii, turn=0.5)
    return truth, posed(truth, draw.strokes(shape, middle))


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_ellipsoid_is_recovered(posed, draw, solver, ndim):
    truth, p = scene(posed, draw, ndim)
    (found,) = p.fit(solver(p))
    mask = p.painted(found)
    assert draw.iou(mask, truth) > (0.96 if ndim == 2 else 0.92)
    assert certify(mask, kind="convex").holds
    assert len(found.losses) >= 120
    assert found.losses[-1] < 0.5 * found.losses[0]
    assert np.isfinite(found.losses).all()


@pytest.mark.parametrize("options", [{}, {"layers": 1, "width": 8}, {"layers": 5, "width": 16}])
def test_the_trained_level_is_convex_and_its_weights_are_not_negative(posed, draw, solver, options):
    _, p = scene(posed, draw)
    (found,) = p.fit(solver(p, steps=60, **options))
    assert len(found.shape.hidden) == options.get("layers", 3)
    for weight in found.shape.hidden:
        assert (weight >= 0).all()
    generator = torch.Generator().manual_seed(0)
    first, last = (3 * torch.rand(4000, 2, generator=generator).double() - 1 for _ in range(2))
    share = torch.rand(4000, 1, generator=generator).double()
    with torch.no_grad():
        between = found.shape.level(share * first + (1 - share) * last)
        bound = share[:, 0] * found.shape.level(first) + (1 - share[:, 0]) * found.shape.level(last)
    assert (between <= bound + 1e-9 * (1 + bound.abs())).all()


def test_every_step_keeps_the_weights_from_going_negative(posed, draw, solver, monkeypatch):
    _, p = scene(posed, draw)
    lowest = []

    def least(weights):
        return min(float(w.detach().min()) for w in weights["hidden"])

    def clamp(weights, clamped=network._clamp):
        before = least(weights)
        clamped(weights)
        lowest.append((before, least(weights)))

    monkeypatch.setattr(network, "_clamp", clamp)
    # A start so noisy that much of it is not convex.
    monkeypatch.setattr(network, "_NOISE", 2.0)
    (found,) = p.fit(solver(p, steps=40))
    assert certify(p.painted(found), kind="convex").holds
    assert min(before for before, _ in lowest) < 0
    assert min(after for _, after in lowest) >= 0


def test_the_shape_has_the_level_that_was_trained(posed, draw, solver):
    _, p = scene(posed, draw)
    window = p.fit(solver(p, steps=5))[0].problem
    made = solver(p)
    weights = made._initial([network._ONSET])
    shape = made._shape(window, weights, 0)
    coords = torch.rand(50, 2, generator=torch.Generator().manual_seed(0)).double()
    white = torch.from_numpy(window.whitening(coords.numpy())).float()
    with torch.no_grad():
        level = network._level(weights, white[None])[0]
        torch.testing.assert_close(
            shape.level(coords), network._SHARPNESS[1] * level.double(), rtol=1e-4, atol=1e-3
        )
        # And back again.
        again = made._initial([network._ONSET])
        for parts in again.values():
            for tensor in parts:
                tensor.zero_()
        network._insert(again, 0, shape)
        torch.testing.assert_close(network._level(again, white[None])[0], level)


@pytest.mark.parametrize("onset", [0.0, network._ONSET])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_start_is_about_a_ball(posed, draw, solver, ndim, onset):
    _, p = scene(posed, draw, ndim)
    weights = solver(p)._initial([onset])
    directions = np.random.default_rng(0).normal(size=(500, ndim))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = np.linspace(0.1, 5, 60)
    points = torch.from_numpy(radii[:, None, None] * directions).float().reshape(1, -1, ndim)
    with torch.no_grad():
        level = np.asarray(network._level(weights, points)).reshape(60, 500)
    crossing = radii[(level > 0).argmax(axis=0)]
    assert crossing.mean() == pytest.approx(2, abs=0.4)
    assert crossing.min() > 1.2
    assert crossing.max() < 3.2


def test_objects_fitted_together_are_those_solved_alone(posed, draw, solver):
    shape = (120, 200)
    middles, radii = [(40, 50), (70, 140)], [(20, 30), (35, 22)]
    masks = [draw.ellipsoid(shape, m, r) for m, r in zip(middles, radii, strict=True)]
    p = posed(np.any(masks, axis=0), draw.strokes(shape, *middles))
    problems = [item.problem for item in p.fit(solver(p))]
    together, _ = solver(p).solve(problems, [None, None])
    for problem, shape_, truth in zip(problems, together, masks, strict=True):
        (alone,), _ = solver(p).solve([problem], [None])
        box = problem.window.slices
        assert draw.iou(*(s.rasterize(p.grid.shape, region=box) for s in (alone, shape_))) > 0.98
        assert draw.iou(shape_.rasterize(p.grid.shape), truth) > 0.95


def test_the_seed_decides_and_nothing_else(posed, draw, solver):
    _, p = scene(posed, draw)
    torch.manual_seed(0)
    (first,) = p.fit(solver(p, seed=3, steps=20))
    torch.manual_seed(99)
    (again,) = p.fit(solver(p, seed=3, steps=20))
    (other,) = p.fit(solver(p, seed=4, steps=20))
    assert first.losses == again.losses
    assert first.losses != other.losses
    for name, tensor in first.shape.state_dict().items():
        assert torch.equal(tensor, again.shape.state_dict()[name])


def test_a_warm_start_takes_fewer_steps_and_stays(posed, draw, solver):
    truth, p = scene(posed, draw)
    (cold,) = p.fit(solver(p))
    (warm,) = p.fit(solver(p), previous={2: cold.earlier})
    assert len(warm.losses) == 48
    assert draw.iou(p.painted(warm), truth) > draw.iou(p.painted(cold), truth) - 0.02


def test_networks_of_another_size_are_not_continued(posed, draw, solver):
    _, p = scene(posed, draw)
    (found,) = p.fit(solver(p, steps=5, width=8))
    assert solver(p, width=8).accepts(found.shape)
    assert not solver(p, width=16).accepts(found.shape)
    assert not solver(p, width=8, layers=2).accepts(found.shape)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 1, 3), (3, 4, 2)])
def test_the_smallest_networks_are_fitted_without_a_fault(posed, draw, solver, sizes):
    steps, layers, width = sizes
    _, p = scene(posed, draw)
    (found,) = p.fit(solver(p, steps=steps, layers=layers, width=width))
    assert np.isfinite(found.losses).all()
    assert torch.isfinite(found.shape.level(torch.rand(20, 2))).all()
    assert certify(p.painted(found), kind="convex").holds
