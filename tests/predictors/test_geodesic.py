from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from napari_implicitseg.predictors import geodesic
from napari_implicitseg.predictors.geodesic import two_nearest


def distances_by_dijkstra(features, seeds, spacing, weight, label):
    """Distance of every voxel to the seeds of one label, from SciPy's graph search."""
    shape = seeds.shape
    index = np.arange(seeds.size).reshape(shape)
    steps = [s for s in np.ndindex(*[3] * len(shape)) if s != (1,) * len(shape)]
    axis = int(np.argmax(features.shape[1:])) + 1
    change = np.sqrt((np.diff(features, axis=axis) ** 2).sum(axis=0))
    noise = weight * np.median(change) if change.size else 0.0
    rows, columns, costs = [], [], []
    for step in np.array(steps) - 1:
        source = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(step, shape, strict=True))
        target = tuple(slice(max(0, s), n + min(0, s)) for s, n in zip(step, shape, strict=True))
        jump = np.sqrt(((features[:, *source] - features[:, *target]) ** 2).sum(axis=0)) * weight
        length = np.linalg.norm(step * np.array(spacing))
        rows.append(index[source].ravel())
        columns.append(index[target].ravel())
        costs.append(np.hypot(length, np.maximum(jump - noise, 0)).ravel())
    graph = coo_matrix(
        (np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns))),
        shape=(seeds.size, seeds.size),
    )
    starts = index[seeds == label]
    return dijkstra(graph.tocsr(), indices=starts, min_only=True).reshape(shape)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(7, 9), (1, 12), (12, 2), (4, 5, 6), (1, 6, 5)]),
    labels=st.integers(1, 4),
    weight=st.sampled_from([0.0, 1.0, 40.0]),
    seed=st.integers(0, 10**6),
)
def test_the_two_nearest_labels_are_those_of_a_graph_search(shape, labels, weight, seed):
    rng = np.random.default_rng(seed)
    features = rng.random((2, *shape)).astype(np.float32)
    seeds = np.full(shape, -1, np.int32)
    cells = rng.permutation(seeds.size)[: 2 * labels]
    seeds.flat[cells] = np.arange(len(cells)) % labels
    spacing = tuple(float(s) for s in rng.uniform(0.5, 4, len(shape)))
    found = two_nearest(features, seeds, spacing=spacing, edge_weight=weight)
    present = np.unique(seeds[seeds >= 0])
    every = np.stack([distances_by_dijkstra(features, seeds, spacing, weight, k) for k in present])
    ordered = np.sort(every, axis=0)
    np.testing.assert_allclose(found.near, ordered[0], rtol=2e-5, atol=1e-5)
    if len(present) > 1:
        np.testing.assert_allclose(found.far, ordered[1], rtol=2e-5, atol=1e-5)
        assert (found.first != found.second).all()
    else:
        assert np.isinf(found.far).all()


def test_evidence_is_half_way_between_two_strokes_and_flips_at_an_edge():
    features = np.zeros((1, 9, 60), np.float32)
    features[:, :, 40:] = 1
    seeds = np.full((9, 60), -1, np.int32)
    seeds[4, 0], seeds[4, 59] = 0, 1
    flat = two_nearest(0 * features, seeds, spacing=(1.0, 1.0), edge_weight=300.0).evidence(1)
    edge = two_nearest(features, seeds, spacing=(1.0, 1.0), edge_weight=300.0).evidence(1)
    assert int((flat[4] > 0.5).argmax()) == 30
    assert int((edge[4] > 0.5).argmax()) == 40
    assert flat[4, 59] == 1
    assert flat[4, 0] == 0


def test_voxels_without_a_colour_cost_their_length_only():
    features = np.zeros((1, 5, 20), np.float32)
    features[0, :, 10] = 50
    seeds = np.full((5, 20), -1, np.int32)
    seeds[2, 0] = 0
    valid = np.ones((5, 20), bool)
    valid[:, 10] = False
    found = two_nearest(features, seeds, spacing=(1.0, 1.0), edge_weight=9.0, valid=valid)
    assert found.near[2, 19] == pytest.approx(19)


def test_distances_go_on_from_the_rim_of_a_window():
    rng = np.random.default_rng(0)
    features = rng.random((1, 20, 20)).astype(np.float32)
    seeds = np.full((20, 20), -1, np.int32)
    seeds[0, 0], seeds[19, 19] = 0, 1
    options = {"spacing": (1.0, 1.0), "edge_weight": 0.0}
    whole = two_nearest(features, seeds, **options)
    box = (slice(5, 15), slice(5, 15))
    rim = type(whole)(*(f[box].copy() for f in (whole.first, whole.second, whole.near, whole.far)))
    rim.near[1:-1, 1:-1] = rim.far[1:-1, 1:-1] = np.inf
    rim.first[1:-1, 1:-1] = rim.second[1:-1, 1:-1] = -1
    inner = two_nearest(features[:, *box], np.full((10, 10), -1, np.int32), initial=rim, **options)
    np.testing.assert_allclose(inner.near, whole.near[box], rtol=1e-5)
    np.testing.assert_allclose(inner.far, whole.far[box], rtol=1e-5)


def test_no_seed_at_all_is_undecided():
    features = np.zeros((1, 4, 4), np.float32)
    found = two_nearest(
        features, np.full((4, 4), -1, np.int32), spacing=(1.0, 1.0), edge_weight=1.0
    )
    assert (found.first == -1).all()
    assert (found.evidence(0) == 0).all()


@pytest.mark.parametrize("most", [5, 300])
def test_few_buckets_are_slower_but_exact(monkeypatch, most):
    rng = np.random.default_rng(0)
    features = rng.random((1, 20, 24)).astype(np.float32)
    seeds = np.full((20, 24), -1, np.int32)
    seeds[3, 4], seeds[15, 20] = 0, 1
    options = {"spacing": (1.0, 50.0), "edge_weight": 200.0}
    exact = two_nearest(features, seeds, **options)
    spread = geodesic._spread.py_func
    monkeypatch.setattr(geodesic, "_MOST_BUCKETS", most)
    monkeypatch.setattr(geodesic, "_spread", spread)
    found = two_nearest(features, seeds, **options)
    np.testing.assert_allclose(found.near, exact.near, rtol=1e-5)
    np.testing.assert_allclose(found.far, exact.far, rtol=1e-5)
    np.testing.assert_array_equal(found.first, exact.first)
