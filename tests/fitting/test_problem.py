from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.features import Window
from napari_implicitseg.fitting.problem import (
    Effort,
    Geometry,
    pose,
    touches_border,
    window_around,
)


def geometry(shape, spacing=None, count=1):
    return Geometry(shape, spacing or (1.0,) * len(shape), Effort.for_objects(count, len(shape)))


@st.composite
def boxes(draw):
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(1, 2000 if ndim == 2 else 200)) for _ in range(ndim))
    spacing = tuple(draw(st.sampled_from([0.05, 1.0, 1.7, 40.0])) for _ in range(ndim))
    ends = [sorted(draw(st.floats(0, n)) for _ in range(2)) for n in shape]
    count = draw(st.sampled_from([1, 30]))
    low, high = (np.array([e[side] for e in ends]) for side in (0, 1))
    return low, high, geometry(shape, spacing, count)


@settings(max_examples=300, deadline=None)
@given(boxes())
def test_a_window_holds_its_box_on_a_grid_of_its_step(given_):
    low, high, grid = given_
    window = window_around(low, high, grid)
    assert (np.array(window.start) >= 0).all()
    assert (np.array(window.stop) <= grid.shape).all()
    assert (np.array(window.stop) > window.start).all()
    assert (window.start <= low).all()
    assert (window.stop >= high).all()
    for start, stop, step, size in zip(
        window.start, window.stop, window.step, grid.shape, strict=True
    ):
        assert start % step == 0
        assert stop == size or stop % step == 0
    # Aligning adds at most one cell at each end.
    room = math.prod(n + 2 for n in window.shape)
    assert math.prod(window.shape) <= max(grid.effort.cells, 1) or room > grid.effort.cells


def test_a_window_has_a_margin_where_the_image_has_room():
    grid = geometry((400, 400))
    window = window_around(np.array([150.0, 180.0]), np.array([250.0, 200.0]), grid)
    np.testing.assert_allclose(np.array([150, 180]) - window.start, [35 + 6, 7 + 6], atol=3)
    np.testing.assert_allclose(np.array(window.stop) - [250, 200], [35 + 6, 7 + 6], atol=3)


def test_growing_a_window_again_and_again_reaches_the_whole_image():
    grid = geometry((900, 700))
    window = window_around(np.array([400.0, 300.0]), np.array([405.0, 306.0]), grid)
    for _ in range(20):
        wider = window_around(np.array(window.start, float), np.array(window.stop, float), grid)
        assert wider.start <= window.start
        assert wider.stop >= window.stop
        window = wider
    assert (window.start, window.stop) == ((0, 0), (900, 700))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("side", [0, -1])
def test_only_sides_within_the_image_count_as_touched(axis, side):
    grid = geometry((50, 60))
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    inner = Window((10, 10), (30, 30), (1, 1))
    assert not touches_border(mask, inner, grid)
    np.moveaxis(mask, axis, 0)[side, 10] = True
    assert touches_border(mask, inner, grid)
    start, stop = [10, 10], [30, 30]
    start[axis], stop[axis] = (0, 20) if side == 0 else (grid.shape[axis] - 20, grid.shape[axis])
    assert not touches_border(mask, Window(tuple(start), tuple(stop), (1, 1)), grid)


def test_many_objects_get_less_effort_each_but_never_none():
    for ndim in (2, 3):
        counts = (0, 1, 8, 9, 30, 1000, 10**6)
        efforts = [Effort.for_objects(count, ndim) for count in counts]
        assert [e.objects for e in efforts] == list(counts)
        efforts = [replace(e, objects=0) for e in efforts]
        assert efforts[0] == efforts[1] == efforts[2]
        for name in ("cells", "fine", "soft", "sharp"):
            values = [getattr(e, name) for e in efforts]
            assert values == sorted(values, reverse=True)
            assert values[-1] > 100
        assert efforts[-1] == efforts[-2]


def test_cell_centres_are_in_shape_coordinates():
    grid = Geometry((10, 40), (4.0, 2.0), Effort.for_objects(1, 2))
    assert grid.extent == (0.5, 1.0)
    window = Window((2, 8), (10, 39), (3, 4))
    centres = grid.cell_centres(window, np.ones(window.shape, bool))
    assert centres.shape == (math.prod(window.shape), 2)
    # The first block holds voxels 2..4 and 8..11, the last one 8..9 and 36..38.
    np.testing.assert_allclose(centres[0], [3.5 / 20, 10 / 40])
    np.testing.assert_allclose(centres[-1], [9 / 20, 37.5 / 40])
    some = np.array([3, 0, 11])
    np.testing.assert_allclose(grid.cell_centres(window, some), centres[some])
    mask = np.zeros(window.shape, bool)
    mask.flat[[0, 3, 11]] = True
    np.testing.assert_allclose(grid.cell_centres(window, mask), centres[[0, 3, 11]])


@pytest.fixture
def two(posed, draw):
    """Two objects of one kind, that touch each other, and one far off without strokes."""
    shape = (100, 160)
    left = draw.ellipsoid(shape, (50, 45), (25, 25))
    right = draw.ellipsoid(shape, (50, 92), (25, 25))
    far = draw.ellipsoid(shape, (15, 145), (8, 8))
    strokes = draw.strokes(shape, (50, 45))
    probability = np.where(left | right | far, 0.9, 0.1)
    probability[48:53, 42:48] = 0.9
    return posed(probability, strokes), left, right, far


def posed_cells(p):
    window = Window((0, 0), (100, 160), (2, 2))
    problem = pose(p.reach(2, window), p.evidence, p.samples, p.grid)
    return (
        problem,
        problem.cells.target.reshape(window.shape),
        problem.cells.weight.reshape(window.shape),
    )


def test_what_lies_behind_a_neck_is_background_and_what_lies_apart_is_unknown(two):
    p, left, right, far = two
    problem, target, weight = posed_cells(p)
    cells = (slice(None, None, 2),) * 2
    inner = [(part & ~other)[cells] for part, other in ((left, right), (right, left))]
    assert target[inner[0]].mean() > 0.95
    assert target[inner[1]].mean() < 0.05
    assert (weight[inner[1]] > 0.5).mean() > 0.9
    assert (weight[far[cells]] == 0).mean() > 0.9
    assert problem.core[inner[0]].mean() > 0.95


def test_a_problem_knows_all_strokes_of_its_window(two):
    p, *_ = two
    problem, _, weight = posed_cells(p)
    assert len(problem.voxels) == len(p.samples.coords)
    np.testing.assert_array_equal(problem.own, p.samples.ids == 2)
    np.testing.assert_allclose(problem.strokes * 160, problem.voxels + 0.5)
    assert (problem.boost == 1).all()
    assert (weight >= 0).all()
    assert (weight <= 1).all()
    assert problem.fine.window.start == problem.window.start
    assert problem.fine.window.stop == problem.window.stop


def test_strokes_against_the_evidence_still_make_a_problem(posed, draw):
    """Where the map says background all over, the stroke itself is the core."""
    p = posed(np.full((40, 40), 0.1), draw.strokes((40, 40), (20, 20)))
    window = window_around(np.array([18.0, 15.0]), np.array([22.0, 25.0]), p.grid)
    problem = pose(p.reach(2, window), p.evidence, p.samples, p.grid)
    assert problem.core.sum() == 7
    assert np.isfinite(problem.whitening.matrix).all()
