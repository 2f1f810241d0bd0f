"""Voxels handed out to seeds: near ones, before walls, over edges there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_implicitseg.affinities.ops import Affinities, edges_inside
from napari_implicitseg.hierarchy._components import direct_edges
from napari_implicitseg.hierarchy._territories import hand_out


def territories(data, seeds, spacing=None, known=None):
    """Hand all voxels out; `seeds` are the voxels of each."""
    shape = data.shape[1:]
    offsets = tuple(map(tuple, (-np.eye(len(shape), dtype=int)).tolist()))
    mask = edges_inside(shape, offsets) & (True if known is None else known)
    spacing = spacing or (1.0,) * len(shape)
    edges = Affinities(data=data.astype(np.float32), offsets=offsets, spacing=spacing, mask=mask)
    owners = np.zeros(shape, np.int64)
    for number, voxel in enumerate(seeds, 1):
        owners[voxel] = number
    hand_out(owners, np.ones(shape, bool), direct_edges(edges, None)[1], spacing)
    return owners


def nearest(shape, seeds, spacing):
    """Distance to each seed."""
    grid = np.indices(shape).reshape(len(shape), -1).T * np.array(spacing)
    at = np.array(seeds) * np.array(spacing)
    return np.linalg.norm(grid[:, None] - at, axis=2).reshape(*shape, len(seeds))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([(23, 31), (9, 14, 12)]),
    st.integers(2, 5),
    st.sampled_from([1.0, 2.5]),
    st.floats(0, 0.08),
    st.integers(0, 10**6),
)
def test_where_affinities_are_alike_borders_lie_half_way(shape, number, long, noise, seed):
    rng = np.random.default_rng(seed)
    spacing = (long, *(1.0,) * (len(shape) - 1))
    places = rng.choice(int(np.prod(shape)), number, replace=False)
    seeds = list(zip(*(axis.tolist() for axis in np.unravel_index(places, shape)), strict=True))
    data = 1 - rng.uniform(0, noise, (len(shape), *shape))
    owners = territories(data, seeds, spacing)
    away = nearest(shape, seeds, spacing)
    own = np.take_along_axis(away, owners[..., None] - 1, axis=-1)[..., 0]
    # Noise of affinities adds this much at most over the longest way.
    slack = 1.5 * long + 50 * noise**2 * sum(shape)
    assert (own <= away.min(axis=-1) + slack).all()
    for number, voxel in enumerate(seeds, 1):
        assert owners[voxel] == number
        assert ndimage.label(owners == number)[1] == 1


def test_borders_are_straight_in_noise():
    """By a watershed one seed gets next to nothing here."""
    rng = np.random.default_rng(0)
    data = rng.uniform(0.85, 1, (2, 60, 60))
    owners = territories(data, [(30, 10), (30, 49)])
    assert np.abs((owners == 1).sum(axis=1) - 30).max() <= 2
    crossings = (owners[1:] != owners[:-1]).sum() + (owners[:, 1:] != owners[:, :-1]).sum()
    assert crossings <= 60 + 12


@pytest.mark.parametrize("level", [0.0, 0.3, 0.5])
def test_a_membrane_is_the_border_wherever_the_seeds_are(level):
    rng = np.random.default_rng(1)
    data = rng.uniform(0.85, 1, (2, 40, 40))
    wall = 30 + np.round(3 * np.sin(np.arange(40) / 6)).astype(int)
    for row, column in enumerate(wall):
        data[:, row, column : column + 3] = level
    owners = territories(data, [(20, 8), (20, 37)])
    for row, column in enumerate(wall):
        assert (owners[row, : column - 1] == 1).all()
        assert (owners[row, column + 3 :] == 2).all()


def test_edges_that_are_not_known_are_not_crossed():
    data, known = np.ones((2, 5, 9)), np.ones((2, 5, 9), bool)
    known[1, :, 3] = known[1, :, 6] = False
    owners = territories(data, [(2, 0), (2, 4)], known=known)
    assert (owners[:, :3] == 1).all()
    assert (owners[:, 3:6] == 2).all()
    assert (owners[:, 6:] == 0).all()
