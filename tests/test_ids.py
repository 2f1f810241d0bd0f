"""Ids of label images, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import ids as module
from napari_implicitseg.ids import among, count_voxels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.int64, bool])
@pytest.mark.parametrize("ids", [[], [1], [3, 5, 200, 70_000]])
def test_voxels_of_some_ids_are_found(dtype, ids):
    labels = np.array([[0, 1, 2], [3, 5, 200]]).astype(dtype)
    assert np.array_equal(among(labels, ids), np.isin(labels, ids))
    large = np.array([0, 5, 2**32 - 1], np.uint32)
    assert np.array_equal(among(large, ids), np.isin(large, ids))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int64, bool])
@pytest.mark.parametrize("most", [5, 3_000_000])
@pytest.mark.parametrize("shape", [(40, 30), (9, 20, 30), (0, 4)])
def test_voxels_are_counted_whatever_the_slabs(monkeypatch, dtype, most, shape):
    labels = np.random.default_rng(0).integers(0, most, shape).astype(dtype)
    values, numbers = np.unique(labels[labels != 0], return_counts=True)
    truth = dict(zip(values.tolist(), numbers.tolist(), strict=True))
    for slab in (1, 100, 10**6):
        monkeypatch.setattr(module, "_SLAB", slab)
        assert count_voxels(labels) == truth


def test_a_probability_map_is_one_object_over_a_half():
    assert count_voxels(np.array([[0.2, 0.5, 0.6, 1.0]])) == {1: 2}
    assert count_voxels(np.zeros((3, 3), np.float32)) == {}
