from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg.features import Window
from napari_implicitseg.fitting.polytope import PolytopeSolver
from napari_implicitseg.fitting.problem import touches_border
from napari_implicitseg.fitting.sequential import Fitter, _missed


@pytest.fixture
def solver(cpu):
    def make(p):
        return PolytopeSolver(None, grid=p.grid, device=cpu, check=lambda: None)

    return make


class Spy:
    """A solver that notes what it was given, and does what another does."""

    def __init__(self, inner):
        self.inner = inner
        self.calls = []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def solve(self, problems, previous):
        self.calls.append(
            [(p.label, s is not None) for p, s in zip(problems, previous, strict=True)]
        )
        return self.inner.solve(problems, previous)


def test_all_objects_come_back_in_ascending_order_and_in_one_batch(posed, draw, solver):
    shape = (120, 220)
    middles = [(60, 180), (60, 40), (60, 110)]
    masks = [draw.ellipsoid(shape, m, (25, 20)) for m in middles]
    strokes = draw.strokes(shape, *middles)
    strokes[strokes == 3] = 9
    p = posed(np.any(masks, axis=0), strokes)
    spy = Spy(solver(p))
    fitted = p.fit(spy)
    assert [f.label for f in fitted] == [2, 4, 9]
    assert spy.calls == [[(2, False), (4, False), (9, False)]]
    for item, truth in zip(fitted, (masks[0], masks[2], masks[1]), strict=True):
        assert draw.iou(p.painted(item), truth) > 0.95
        assert not _missed(item).any()


def test_the_window_grows_until_the_mask_has_room(posed, draw, solver, monkeypatch):
    shape = (240, 260)
    truth = draw.ellipsoid(shape, (120, 130), (80, 90))
    p = posed(truth, draw.strokes(shape, (120, 130)))
    tight = Window((100, 110), (140, 150), (1, 1))
    monkeypatch.setattr(Fitter, "_cold_window", lambda self, label: tight)
    spy = Spy(solver(p))
    (found,) = p.fit(spy)
    assert len(spy.calls) > 2
    assert not touches_border(found.mask, found.window, p.grid)
    assert draw.iou(p.painted(found), truth) > 0.97


def test_an_object_in_the_corner_does_not_grow_its_window_for_ever(posed, draw, solver):
    shape = (150, 160)
    truth = draw.ellipsoid(shape, (150, 160), (60, 70))
    strokes = draw.strokes(shape, (130, 135))
    p = posed(truth, strokes)
    spy = Spy(solver(p))
    (found,) = p.fit(spy)
    assert draw.iou(p.painted(found), truth) > 0.95
    assert len(spy.calls) <= 2
    assert found.window.stop == shape


def test_strokes_against_the_evidence_are_enforced(posed, draw, solver):
    """The map knows half of the object; strokes say that it reaches further."""
    shape = (100, 140)
    p = posed(draw.ellipsoid(shape, (50, 45), (20, 20)), draw.strokes(shape, (50, 45)))
    (before,) = p.fit(solver(p))
    assert not p.painted(before)[50, 80]
    strokes = draw.strokes(shape, (50, 45))
    strokes[50, 78:84] = 2
    p = posed(draw.ellipsoid(shape, (50, 45), (20, 20)), strokes)
    (after,) = p.fit(solver(p))
    assert p.painted(after)[50, 78:84].all()
    assert p.painted(after)[50, 42:49].all()


def test_background_strokes_in_the_evidence_cut_it(posed, draw, solver):
    shape = (100, 140)
    truth = draw.ellipsoid(shape, (50, 70), (30, 50))
    strokes = draw.strokes(shape, (50, 50))
    strokes[30:70, 100] = 1
    p = posed(truth, strokes)
    (found,) = p.fit(solver(p))
    mask = p.painted(found)
    assert not mask[30:70, 100].any()
    assert mask[strokes == 2].all()
    assert mask[:, :90][truth[:, :90]].mean() > 0.7


def test_impossible_strokes_end_and_say_so(posed, draw, solver):
    """Background between two ends of one object: no convex mask does that."""
    shape = (80, 120)
    truth = draw.ellipsoid(shape, (40, 60), (20, 45))
    strokes = draw.strokes(shape, (40, 30))
    strokes[40, 85:92] = 2
    strokes[35:46, 60] = 1
    p = posed(truth, strokes)
    (found,) = p.fit(solver(p))
    problem = found.problem
    assert problem.hopeless.sum() == 11  # The whole stroke between the ends.
    assert not _missed(found).any()
    got = p.painted(found)[tuple(problem.voxels.T)]
    assert (got == problem.own)[~problem.hopeless].all()
    assert np.isfinite(found.losses).all()
    assert draw.iou(p.painted(found), truth) > 0.9  # What cannot be done spoils nothing else.


def test_shapes_of_another_box_or_another_object_are_ignored(posed, draw, solver):
    shape = (90, 120)
    truth = draw.ellipsoid(shape, (45, 60), (25, 20))
    other = posed(draw.ellipsoid((90, 90), (45, 45), (20, 20)), draw.strokes((90, 90), (45, 45)))
    (foreign,) = other.fit(solver(other))
    p = posed(truth, draw.strokes(shape, (45, 60)))
    (cold,) = p.fit(solver(p))
    for previous in ({2: foreign.earlier}, {7: cold.earlier}):
        (found,) = p.fit(solver(p), previous=previous)
        assert found.losses == cold.losses
        assert torch.equal(found.shape.offsets, cold.shape.offsets)


def test_new_objects_join_those_already_fitted(posed, draw, solver):
    shape = (100, 200)
    middles = [(50, 50), (50, 150)]
    masks = [draw.ellipsoid(shape, m, (25, 20)) for m in middles]
    first = posed(np.any(masks, axis=0), draw.strokes(shape, middles[0]))
    (known,) = first.fit(solver(first))
    p = posed(np.any(masks, axis=0), draw.strokes(shape, *middles))
    fitted = p.fit(solver(p), previous={2: known.earlier})
    for item, truth in zip(fitted, masks, strict=True):
        assert draw.iou(p.painted(item), truth) > 0.95


def test_fitting_leaves_the_evidence_and_the_previous_shapes_alone(posed, draw, solver):
    shape = (90, 120)
    p = posed(draw.ellipsoid(shape, (45, 60), (25, 20)), draw.strokes(shape, (45, 60)))
    (cold,) = p.fit(solver(p))
    kept = {name: tensor.clone() for name, tensor in cold.shape.state_dict().items()}
    coords, ids = p.samples.coords.copy(), p.samples.ids.copy()
    p.fit(solver(p), previous={2: cold.earlier})
    for name, tensor in cold.shape.state_dict().items():
        assert torch.equal(tensor, kept[name])
    np.testing.assert_array_equal(p.samples.coords, coords)
    np.testing.assert_array_equal(p.samples.ids, ids)


def test_a_warm_start_that_misses_strokes_is_dropped_for_a_cold_one(posed, draw, solver):
    shape = (110, 150)
    old = draw.ellipsoid(shape, (50, 40), (20, 20))
    new = draw.ellipsoid(shape, (60, 90), (25, 40))
    before = posed(old, draw.strokes(shape, (50, 40)))
    (stale,) = before.fit(solver(before))
    p = posed(new, draw.strokes(shape, (60, 90)))
    (found,) = p.fit(solver(p), previous={2: stale.earlier})
    (cold,) = p.fit(solver(p))
    assert not _missed(found).any()
    assert draw.iou(p.painted(found), p.painted(cold)) > 0.97


def test_a_warm_start_with_background_deep_inside_is_dropped(posed, draw, solver):
    shape = (110, 150)
    both = draw.ellipsoid(shape, (55, 75), (40, 60))
    own = draw.ellipsoid(shape, (55, 40), (20, 20))
    scribbles = draw.strokes(shape, (55, 40))
    before = posed(both, scribbles)
    (exploded,) = before.fit(solver(before))
    scribbles[52:58, 70:80] = 1
    p = posed(own, scribbles)
    (found,) = p.fit(solver(p), previous={2: exploded.earlier})
    (cold,) = p.fit(solver(p))
    assert found.losses == cold.losses
    assert draw.iou(p.painted(found), own) > 0.95
