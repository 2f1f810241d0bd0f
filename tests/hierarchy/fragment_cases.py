"""Affinities to cut into fragments, and their edges."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_implicitseg.affinities.ops import Affinities, edge_slices, neighbourhood

# Both directions, in another order, and long-range ones among them.
OFFSETS = {
    2: [((-1, 0), (0, -1)), ((0, 1), (-3, 0), (1, 0)), ((0, -1), (2, -2))],
    3: [((-1, 0, 0), (0, -1, 0), (0, 0, -1)), ((0, 0, 1), (-1, 0, 0), (-2, 1, 0), (0, 1, 0))],
}
CASES = st.tuples(
    st.sampled_from([(6, 7), (1, 9), (8, 1), (1, 1), (9, 8), (3, 4, 5), (1, 5, 4), (4, 1, 1)]),
    st.integers(0, 1),
    st.sampled_from([1, 2, 3, 10, 2**20]),
    st.booleans(),
    st.integers(0, 10**6),
)
METHODS = ("watershed", "higra", "distance")


def random_affinities(case):
    """Random affinities of few or many different values, perhaps with a mask; rubbish outside."""
    shape, choice, values, masked, seed = case
    rng = np.random.default_rng(seed)
    offsets = OFFSETS[len(shape)][choice]
    data = (rng.integers(0, values + 1, (len(offsets), *shape)) / values).astype(np.float32)
    mask = rng.random(data.shape) < 0.8 if masked else None
    affinities = Affinities(data=data, offsets=offsets, spacing=(1.0,) * len(shape), mask=mask)
    data[~affinities.known & direct_channels(affinities)] = np.nan
    return affinities


def direct_channels(affinities):
    """Which channels are direct, to index the data with."""
    direct = np.array([sum(map(abs, o)) == 1 for o in affinities.offsets])
    return direct.reshape(-1, *(1,) * affinities.ndim)


def distinct_affinities(shape, choice, seed):
    """Affinities of which no two are alike, none 0."""
    rng = np.random.default_rng(seed)
    offsets = OFFSETS[len(shape)][choice]
    size = len(offsets) * int(np.prod(shape))
    data = ((1 + rng.permutation(size)) / size).astype(np.float32).reshape(-1, *shape)
    return Affinities(data=data, offsets=offsets, spacing=(1.0,) * len(shape))


def plain(data, offsets=None, spacing=None):
    """Affinities of an array."""
    values = np.asarray(data, np.float32)
    ndim = values.ndim - 1
    return Affinities(
        data=values,
        offsets=neighbourhood(ndim=ndim) if offsets is None else offsets,
        spacing=(1.0,) * ndim if spacing is None else spacing,
    )


def direct_edges(affinities):
    """The known direct edges: affinities and both voxels, by channel and then in C order."""
    index = np.arange(np.prod(affinities.shape)).reshape(affinities.shape)
    parts = [(np.zeros(0, np.float32), np.zeros(0, int), np.zeros(0, int))]
    for k, offset in enumerate(affinities.offsets):
        if sum(map(abs, offset)) == 1:
            here, there = edge_slices(affinities.shape, offset)
            known = affinities.known[k][here]
            parts.append((affinities.data[k][here][known], index[here][known], index[there][known]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def pieces(affinities, kept):
    """Connected components of some edges, flat, from 0."""
    _, sources, targets = direct_edges(affinities)
    size = int(np.prod(affinities.shape))
    ends = (sources[kept], targets[kept])
    graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(size, size))
    return connected_components(graph, directed=False)
