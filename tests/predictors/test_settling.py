from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.predictors.settling import settle


def halves(shape=(40, 60)):
    """An image of two flat halves, the left one object."""
    truth = np.zeros(shape, bool)
    truth[..., : shape[-1] // 2] = True
    return truth, truth[None].astype(np.float32)


def speckled(truth, share, seed=0):
    """Evidence that is sure, and wrong for a share of the cells."""
    wrong = np.random.default_rng(seed).random(truth.shape) < share
    return np.where(truth ^ wrong, 0.9, 0.1).astype(np.float32)


@pytest.mark.parametrize("shape", [(40, 60), (10, 16, 20)])
def test_single_cells_that_look_like_the_object_are_passed_over(shape):
    truth, features = halves(shape)
    evidence = speckled(truth, 0.1)
    settled = settle(evidence, features, (1.0,) * len(shape))
    assert (settled.shape, settled.dtype) == (evidence.shape, np.float32)
    assert ((evidence > 0.5) != truth).mean() > 0.07
    assert ((settled > 0.5) != truth).mean() < 0.001


def test_edges_of_the_image_are_kept_and_others_blurred():
    truth, features = halves()
    evidence = speckled(truth, 0.0)
    with_edge = settle(evidence, features, (1, 1))
    without = settle(evidence, np.zeros_like(features), (1, 1))
    across = [abs(s[20, 29] - s[20, 30]) for s in (with_edge, without)]
    assert across[0] > 0.5
    assert across[1] < 0.5 * across[0]


def test_evidence_that_is_all_one_way_stays_so():
    flat = np.zeros((2, 20, 30), np.float32)
    for value, settled_to in ((0.9, 1.0), (0.2, 0.0)):
        settled = settle(np.full((20, 30), value, np.float32), flat, (1, 1))
        np.testing.assert_allclose(settled, settled_to, atol=0.05)


def test_stronger_evidence_wins_over_more_of_it():
    evidence = np.full((31, 31), 0.49, np.float32)
    evidence[12:19, 12:19] = 1.0
    settled = settle(evidence, np.zeros((1, 31, 31), np.float32), (1, 1))
    assert settled[15, 15] > 0.5
    assert (settled > 0.5).sum() > 49


def test_where_nothing_is_known_the_neighbours_decide():
    evidence = np.full((21, 41), 0.5, np.float32)
    evidence[:, :5], evidence[:, -5:] = 0.95, 0.05
    settled = settle(evidence, np.zeros((1, 21, 41), np.float32), (1, 1))
    middle = settled[10]
    assert (np.diff(middle) <= 1e-3).all()
    assert middle[12] > 0.5 > middle[28]


def test_close_neighbours_are_tied_more_than_far_ones():
    evidence = np.full((25, 25), 0.1, np.float32)
    evidence[10:15, 10:15] = 0.95
    settled = settle(evidence, np.zeros((1, 25, 25), np.float32), (4.0, 1.0))
    assert settled[12, 17] > settled[17, 12] + 0.01


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), ndim=st.integers(1, 3), pitch=st.floats(0.2, 5))
def test_any_evidence_gives_probabilities_within_what_it_says(seed, ndim, pitch):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 9, ndim))
    evidence = rng.random(shape).astype(np.float32)
    features = rng.normal(size=(3, *shape)).astype(np.float32)
    settled = settle(evidence, features, (pitch, *(1.0,) * (ndim - 1)))
    assert settled.shape == shape
    assert np.isfinite(settled).all()
    assert settled.min() >= 0
    assert settled.max() <= 1
    if (evidence > 0.5).all():
        assert settled.min() > 0.9


@pytest.mark.parametrize("shape", [(2,), (1, 5), (2, 1, 1)])
def test_windows_of_few_cells_are_settled_too(shape):
    evidence = np.full(shape, 0.8, np.float32)
    settled = settle(evidence, np.ones((2, *shape), np.float32), (1.0,) * len(shape))
    np.testing.assert_allclose(settled, 1.0, atol=0.05)


def test_it_minimises_what_it_says():
    """Against a dense solution of the same sum of squares."""
    from napari_implicitseg.predictors import settling

    rng = np.random.default_rng(3)
    evidence = rng.random((5, 6)).astype(np.float32)
    features = rng.normal(size=(2, 5, 6)).astype(np.float32)
    odds = (2 * evidence - 1).ravel().astype(float)
    trust = np.abs(odds) + settling._LEAST_TRUST
    index = np.arange(30).reshape(5, 6)
    pairs = [(i, j) for i, j in zip(index[:-1].ravel(), index[1:].ravel(), strict=True)]
    pairs += [(i, j) for i, j in zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True)]
    flat = features.reshape(2, -1)
    steps = np.array([((flat[:, i] - flat[:, j]) ** 2).sum() for i, j in pairs])
    matrix = np.diag(trust)
    for (i, j), step in zip(pairs, steps, strict=True):
        link = settling._STIFFNESS * (
            np.exp(-settling._EDGE * step / steps.mean()) + settling._LEAST_LINK
        )
        matrix[[i, j], [i, j]] += link
        matrix[[i, j], [j, i]] -= link
    exact = np.linalg.solve(matrix, trust * np.sign(odds))
    settled = settle(evidence, features, (1.0, 1.0))
    np.testing.assert_allclose(settled.ravel(), np.clip((exact + 1) / 2, 0, 1), atol=0.01)
