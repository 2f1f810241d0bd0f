"""Tests of how far strokes reach, and of the level of the evidence that is looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg import fit_scribbles
from napari_implicitseg.features import Window
from napari_implicitseg.fitting.parts import at_level
from napari_implicitseg.fitting.reach import _LEVELS, Scout

SIZE = 160
STEP, RADIUS = 22, 12.5


def tissue(ndim=2):
    """Bodies that overlap on a lattice without two corners, weaker where they meet, one stroke."""
    size = SIZE if ndim == 2 else 110
    axes = np.meshgrid(*[np.arange(size)] * ndim, indexing="ij")
    distance = np.sqrt(sum((((a - size // 2 + STEP // 2) % STEP) - STEP // 2) ** 2 for a in axes))
    probability = np.where(distance < 0.75 * RADIUS, 0.95, 0.65)
    # Few gaps: all bodies hang together, by broad bridges.
    probability[distance > (1.18 if ndim == 2 else 1.5) * RADIUS] = 0.05
    corner = size // 2 + STEP // 2
    probability[corner:, ..., corner:] = probability[:-corner, ..., :-corner] = 0.02
    probability[0] = probability[-1] = 0.02
    scribbles = np.zeros((size,) * ndim, np.uint8)
    middle = (size // 2,) * (ndim - 1)
    scribbles[(*middle, slice(size // 2 - 3, size // 2 + 4))] = 2
    scribbles[0] = 1
    return probability, scribbles, distance < 0.75 * RADIUS


def whole(p):
    return Window((0,) * len(p.grid.shape), p.grid.shape, (1,) * len(p.grid.shape))


@pytest.mark.parametrize("ndim", [2, 3])
def test_in_a_clump_the_level_is_raised_until_the_part_is_compact(posed, ndim):
    probability, scribbles, bodies = tissue(ndim)
    p = posed(probability, scribbles)
    scout = Scout(p.evidence, p.samples, p.grid)
    window = whole(p) if ndim == 2 else Window((0,) * 3, p.grid.shape, (2,) * 3)
    assert scout.at(2, window, 0.0).region.mean() > 0.4
    found = scout.search(2, window)
    assert found.level > 0
    start = np.asarray(found.window.start)
    size = np.asarray(found.window.stop) - start
    assert (size < 4 * RADIUS + 12).all()  # Narrowed down to the one body.
    own = np.zeros(p.grid.shape, bool)
    own[tuple(slice(s // 2 - STEP // 2, s // 2 + STEP // 2) for s in p.grid.shape)] = True
    own &= bodies
    volume = found.region.sum() * np.prod(found.window.step)
    assert (volume / own.sum()) ** (1 / ndim) == pytest.approx(1, abs=0.2)  # Of the radius.


def test_a_nucleus_in_tissue_is_fitted_alone_and_stays(draw):
    probability, scribbles, bodies = tissue()
    own = bodies.copy()
    own[: SIZE // 2 - STEP // 2] = own[SIZE // 2 + STEP // 2 :] = False
    own[:, : SIZE // 2 - STEP // 2] = own[:, SIZE // 2 + STEP // 2 :] = False
    image = np.zeros(probability.shape)
    result = first = fit_scribbles(image, scribbles, evidence=probability)
    assert draw.iou(result.labels == 2, own) > 0.8
    assert result.report.looks[2].level > 0
    for _ in range(4):
        result = fit_scribbles(image, scribbles, evidence=probability, warm_start=result)
    assert draw.iou(result.labels == 2, first.labels == 2) > 0.95
    assert result.report.looks == first.report.looks


def test_an_object_that_may_be_convex_is_taken_as_it_is(posed, draw):
    truth = draw.ellipsoid((90, 120), (45, 60), (25, 40), turn=0.4)
    p = posed(np.where(truth, 0.9, 0.1), draw.strokes(truth.shape, (45, 60)))
    found = Scout(p.evidence, p.samples, p.grid).search(2, whole(p))
    assert found.level == 0
    assert found.window == whole(p)
    assert draw.iou(found.region, truth) > 0.95


def test_a_ragged_border_is_no_clump(posed, draw):
    shape = (120, 120)
    y, x = np.indices(shape) - 60
    angle, radius = np.arctan2(y, x), np.hypot(y, x)
    ragged = radius < 34 + 12 * np.cos(9 * angle)
    probability = np.where(radius < 24, 0.97, np.where(ragged, 0.7, 0.03))
    p = posed(probability, draw.strokes(shape, (60, 60)))
    assert Scout(p.evidence, p.samples, p.grid).search(2, whole(p)).level == 0


@given(
    st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=20),
    st.sampled_from(_LEVELS),
)
def test_a_level_is_taken_off_the_log_odds(values, level):
    probability = np.array(values, np.float32)
    exact = np.log(probability.astype(float) / (1 - probability.astype(float))) - level
    np.testing.assert_allclose(
        at_level(probability, level), 1 / (1 + np.exp(-exact)), rtol=2e-3, atol=1e-6
    )


def test_sure_evidence_stays_sure():
    sure = np.array([0.0, 1.0], np.float32)
    assert at_level(sure, 4.0)[0] == 0
    assert at_level(sure, 4.0)[1] > 0.99
