"""Distances and floods, beside scipy and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.segmentation import watershed

from napari_implicitseg.hierarchy._flooding import LEVELS, distances, flooded

SHAPES = st.sampled_from([(7, 9), (1, 6), (6, 1), (5, 6, 7), (3, 1, 5), (1, 1, 4), (9, 2, 3)])
SIZES = st.sampled_from([(1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (2.5, 1.0, 1.25), (1.0, 30.0, 1.5)])
SEEDS = st.integers(0, 10**6)


@settings(deadline=None, max_examples=150)
@given(SHAPES, SIZES, SEEDS, st.sampled_from([0.05, 0.5, 0.95]))
def test_distances_are_those_of_scipy(shape, size, seed, share):
    rng = np.random.default_rng(seed)
    inside = rng.random(shape) < share
    inside.reshape(-1)[rng.integers(inside.size)] = False
    found = distances(inside, size[: len(shape)])
    assert found.dtype == np.float32
    expected = ndimage.distance_transform_edt(inside, sampling=size[: len(shape)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_distances_in_whole_voxels_are_exact():
    inside = np.random.default_rng(0).random((60, 50, 40)) < 0.9995
    expected = ndimage.distance_transform_edt(inside).astype(np.float32)
    np.testing.assert_array_equal(distances(inside, (1, 1, 1)), expected)
    assert expected.max() > 12


def some_seeds(rng, shape, share):
    """Numbers from 1 at some voxels; one at least."""
    there = rng.random(shape) < share
    there.reshape(-1)[rng.integers(there.size)] = True
    return np.cumsum(there).reshape(shape) * there


@settings(deadline=None, max_examples=150)
@given(SHAPES, SEEDS, st.sampled_from([0.01, 0.2, 1.0]))
def test_floods_are_those_of_scikit_image(shape, seed, share):
    """Where no two seeds have one height: there scikit-image's order is that of its heap."""
    rng = np.random.default_rng(seed)
    height = (rng.permutation(np.prod(shape)).reshape(shape) + 0.5) / LEVELS
    seeds = some_seeds(rng, shape, share)
    found = flooded(height.astype(np.float32), seeds)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, watershed(height, seeds))


@settings(deadline=None, max_examples=100)
@given(SHAPES, SEEDS, st.sampled_from([1, 2, 5]))
def test_of_equal_voxels_the_first_that_was_reached_is_next(shape, seed, values):
    """One seed for each height, and plateaus in between."""
    rng = np.random.default_rng(seed)
    height = rng.integers(0, values + 1, shape) / values
    seeds = np.zeros(shape, int)
    for number, level in enumerate(np.unique(height), 1):
        seeds.reshape(-1)[rng.choice(np.flatnonzero(height == level))] = number
    np.testing.assert_array_equal(
        flooded(height.astype(np.float32), seeds), watershed(height, seeds)
    )


def test_a_flood_meets_on_the_ridge():
    height = np.array([[0.1, 0.2, 0.9, 0.3, 0.0]], np.float32)
    seeds = np.array([[7, 0, 0, 0, 3]])
    assert flooded(height, seeds).tolist() == [[7, 7, 7, 3, 3]]
    assert flooded(np.ones((1, 1, 3), np.float32), np.array([[[0, 2, 0]]])).tolist() == [
        [[2, 2, 2]]
    ]


@pytest.mark.parametrize("call", ["distances", "flooded"])
def test_the_interpreter_goes_on_meanwhile(call):
    """Seen from another thread, which counts."""
    import threading
    import time

    rng = np.random.default_rng(0)
    shape = (90, 90, 90)
    inside, height = rng.random(shape) < 0.99, rng.random(shape, np.float32)
    seeds = some_seeds(rng, shape, 0.001)

    def run():
        return distances(inside, (1, 1, 1)) if call == "distances" else flooded(height, seeds)

    run()
    thread = threading.Thread(target=run)
    gaps, last = [], time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.0005)
        gaps.append(time.perf_counter() - last)
        last = time.perf_counter()
    assert len(gaps) > 5
