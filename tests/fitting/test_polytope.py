from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg import certify
from napari_implicitseg.fitting.planes import SHARP_STAGES, SOFT_STAGES, WARM_STAGES
from napari_implicitseg.fitting.polytope import PolytopeSolver, _push
from napari_implicitseg.fitting.sequential import Earlier
from napari_implicitseg.shapes.clipped import ClippedShape

STEPS = sum(stage.steps for stage in (*SOFT_STAGES, *SHARP_STAGES))


@pytest.fixture
def solver(cpu):
    def make(p, planes=None):
        return PolytopeSolver(planes, grid=p.grid, device=cpu, check=lambda: None)

    return make


def truths(draw, name):
    """Truth, middle and spacing of a scene."""
    flat, solid, slabs = (110, 130), (40, 48, 56), (20, 80, 90)
    thick = (4.0, 1.0, 1.0)
    return {
        "ellipse": (draw.ellipsoid(flat, (55, 65), (40, 22), turn=0.4), (55, 65), None),
        "small": (draw.ellipsoid(flat, (30, 95), (7, 5)), (30, 95), None),
        "box": (draw.box(flat, (55, 65), (40, 22), turn=0.4), (55, 65), None),
        "rod": (draw.box(flat, (55, 65), (4, 50)), (55, 65), None),
        "cut by the border": (draw.ellipsoid(flat, (100, 65), (35, 40)), (95, 65), None),
        "ellipsoid": (
            draw.ellipsoid(solid, (20, 24, 28), (10, 14, 20), turn=0.4),
            (20, 24, 28),
            None,
        ),
        "block": (draw.box(solid, (20, 24, 28), (10, 14, 20), turn=0.4), (20, 24, 28), None),
        "thick slices": (
            draw.ellipsoid(slabs, (10, 40, 45), (28, 22, 36), turn=0.4, spacing=thick),
            (10, 40, 45),
            thick,
        ),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "ellipse",
        "small",
        "box",
        "rod",
        "cut by the border",
        "ellipsoid",
        "block",
        "thick slices",
    ],
)
def test_a_convex_truth_is_recovered(posed, draw, solver, name):
    truth, middle, spacing = truths(draw, name)
    p = posed(truth, draw.strokes(truth.shape, middle), spacing=spacing)
    (found,) = p.fit(solver(p))
    mask = p.painted(found)
    assert draw.iou(mask, truth) > (0.97 if truth.ndim == 2 else 0.94)
    assert certify(mask, kind="convex").holds
    assert len(found.losses) >= STEPS
    assert found.losses[-1] < 0.02


def five(draw):
    shape = (200, 260)
    middles = [(45, 50), (50, 130), (40, 210), (145, 70), (150, 190)]
    radii = [(20, 30), (15, 15), (28, 12), (40, 22), (25, 35)]
    masks = [draw.ellipsoid(shape, m, r) for m, r in zip(middles, radii, strict=True)]
    return masks, draw.strokes(shape, *middles)


def test_objects_fitted_together_are_those_solved_alone(posed, draw, solver):
    masks, strokes = five(draw)
    p = posed(np.any(masks, axis=0), strokes)
    fitted = p.fit(solver(p))
    assert [f.label for f in fitted] == [2, 3, 4, 5, 6]
    for item, truth in zip(fitted, masks, strict=True):
        assert draw.iou(p.painted(item), truth) > 0.95
        (alone,), _ = solver(p).solve([item.problem], [None])
        mask = alone.rasterize(p.grid.shape, region=item.window.slices)
        assert draw.iou(mask, item.mask) > 0.99


def test_the_same_twice_gives_the_same_bits(posed, draw, solver):
    masks, strokes = five(draw)
    runs = []
    for _ in range(2):
        p = posed(np.any(masks, axis=0), strokes)
        runs.append(p.fit(solver(p)))
    for one, other in zip(*runs, strict=True):
        assert one.losses == other.losses
        for name, tensor in one.shape.state_dict().items():
            assert torch.equal(tensor, other.shape.state_dict()[name])


def test_a_warm_start_runs_only_the_last_stages_and_stays(posed, draw, solver):
    truth, middle, _ = truths(draw, "ellipse")
    p = posed(truth, draw.strokes(truth.shape, middle))
    (cold,) = p.fit(solver(p))
    (warm,) = p.fit(solver(p), previous={2: cold.earlier})
    assert len(warm.losses) == sum(stage.steps for stage in WARM_STAGES) < len(cold.losses)
    assert draw.iou(p.painted(warm), truth) > draw.iou(p.painted(cold), truth) - 0.01


def test_a_clipped_shape_is_continued_without_its_cuts(posed, draw, solver):
    truth, middle, _ = truths(draw, "ellipse")
    p = posed(truth, draw.strokes(truth.shape, middle))
    (cold,) = p.fit(solver(p))
    half = ClippedShape(cold.shape, torch.tensor([[1.0, 0.0]]), torch.tensor([0.45]), slope=9.0)
    (warm,) = p.fit(solver(p), previous={2: Earlier(half, cold.problem.look)})
    assert not isinstance(warm.shape, ClippedShape)
    assert draw.iou(p.painted(warm), truth) > 0.97


def test_shapes_with_another_number_of_planes_are_not_continued(posed, draw, solver):
    truth, middle, _ = truths(draw, "small")
    p = posed(truth, draw.strokes(truth.shape, middle))
    (few,) = p.fit(solver(p, 6))
    assert few.shape.offsets.shape == (6,)
    assert not solver(p).accepts(few.shape)
    assert solver(p, 6).accepts(few.shape)


def test_cancelling_goes_through(posed, draw, cpu):
    truth, middle, _ = truths(draw, "small")
    p = posed(truth, draw.strokes(truth.shape, middle))

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        p.fit(PolytopeSolver(None, grid=p.grid, device=cpu, check=stop))


@st.composite
def pushes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    count, planes, ndim = (
        draw(st.integers(1, 30)),
        draw(st.integers(3, 12)),
        draw(st.integers(2, 3)),
    )
    normals = rng.normal(size=(planes, ndim))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    along = rng.normal(0, 1.5, (count, ndim)) @ normals.T
    own = rng.random(count) < draw(st.sampled_from([0, 0.5, 1]))
    return rng.uniform(0.2, 2, planes), along, own, rng.random(count) < 0.5


@given(pushes())
def test_planes_move_past_the_strokes_that_were_missed(push):
    offsets, along, own, missed = push
    before = offsets.copy()
    _push(offsets, along, own, missed)
    assert np.isfinite(offsets).all()
    if not missed.any():
        np.testing.assert_array_equal(offsets, before)
    if not (~own & missed).any():
        assert (offsets >= before).all()
        assert (along[own & missed] < offsets).all()
    if not own.any():
        # Nothing to keep: every missed stroke of another is left outside, one plane for each.
        inside = (along[missed] < offsets).all(axis=1)
        assert inside.sum() == 0


def test_a_stroke_behind_the_own_ones_is_cut_off_where_that_is_cheapest():
    angle = np.arange(8) * np.pi / 4
    normals = np.column_stack([np.cos(angle), np.sin(angle)])
    points = np.array([[0.0, 0.0], [1.5, 0.1]])
    offsets = np.full(8, 2.0)
    _push(offsets, points @ normals.T, np.array([True, False]), np.array([False, True]))
    assert offsets[0] == pytest.approx(1.45)
    np.testing.assert_array_equal(offsets[1:], 2)


def test_a_stroke_between_own_ones_moves_no_plane():
    normals = np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, -1.0]])
    points = np.array([[-1.0, 0], [1.0, 0], [0, 1.0], [0, -1.0], [0.0, 0.0]])
    offsets = np.full(4, 2.0)
    own, missed = np.array([1, 1, 1, 1, 0], bool), np.array([0, 0, 0, 0, 1], bool)
    _push(offsets, points @ normals.T, own, missed)
    np.testing.assert_array_equal(offsets, 2)
