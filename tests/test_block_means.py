from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_implicitseg.block_means import finite_mean, sampled_mean

STEPS = {2: [(1, 1), (2, 3), (4, 1), (7, 7), (50, 50)], 3: [(1, 2, 3), (2, 2, 2), (1, 5, 5)]}
SHAPES = {2: (23, 31), 3: (5, 11, 12)}
CASES = [(ndim, step) for ndim, steps in STEPS.items() for step in steps]


def blocks(shape, step):
    """Index of every block, and its box."""
    counts = [-(-n // s) for n, s in zip(shape, step, strict=True)]
    for index in itertools.product(*map(range, counts)):
        yield index, tuple(slice(i * s, (i + 1) * s) for i, s in zip(index, step, strict=True))


@pytest.mark.parametrize(("ndim", "step"), CASES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_means_of_finite_voxels_are_those_of_brute_force(ndim, step, channels, dtype):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(channels, *SHAPES[ndim])).astype(dtype)
    data[rng.random(data.shape) < 0.2] = np.nan
    data[:, *[slice(0, 4)] * ndim] = np.inf
    mean, share, finite = finite_mean(data, step)
    known = np.isfinite(data).all(axis=0)
    assert finite == known.sum()
    for index, box in blocks(data.shape[1:], step):
        assert share[index] == pytest.approx(known[box].mean())
        values = data[:, *box][:, known[box]].astype(np.float64)
        expected = values.mean(axis=1) if values.size else np.zeros(channels)
        np.testing.assert_allclose(mean[:, *index], expected, rtol=1e-5, atol=1e-5)


@given(arrays(np.float64, (1, 6, 9), elements=st.floats(-1e300, 1e300)))
@settings(deadline=None)
def test_the_largest_doubles_do_not_get_lost(data):
    mean, share, finite = finite_mean(data, (2, 2))
    assert finite == 54
    assert (share == 1).all()
    assert np.abs(mean).max() <= np.abs(data).max() * (1 + 1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_views_and_read_only_arrays_are_taken_as_they_are(order):
    data = np.asarray(np.arange(400, dtype=np.float32).reshape(20, 20), order=order)
    data.flags.writeable = False
    mean, _, _ = finite_mean(data[None, ::-2, 3:], (2, 4))
    assert mean[0, 0, 0] == pytest.approx(data[[19, 17], 3:7].mean())


@pytest.mark.parametrize(("ndim", "step"), CASES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, bool, ">u2"])
def test_small_blocks_of_integers_are_averaged_exactly(ndim, step, dtype):
    """Up to three voxels per axis a block is averaged whole; a larger one, from nine of them."""
    data = np.random.default_rng(1).integers(0, 2 if dtype is bool else 100, (2, *SHAPES[ndim]))
    data = data.astype(dtype)
    mean = sampled_mean(data, step)
    assert mean.dtype == (np.float64 if data.dtype.itemsize == 8 else np.float32)
    for index, box in blocks(data.shape[1:], step):
        block = data[:, *box].astype(np.float64)
        assert (mean[:, *index] >= block.min(axis=tuple(range(1, ndim + 1)))).all()
        assert (mean[:, *index] <= block.max(axis=tuple(range(1, ndim + 1)))).all()
        if block.shape[1:] == tuple(step) and max(step) <= 3:
            exact = block.mean(axis=tuple(range(1, ndim + 1)))
            np.testing.assert_allclose(mean[:, *index], exact, rtol=1e-6)


def test_sampled_means_have_their_weight_in_the_middle_of_the_block():
    """A ramp keeps its place: blocks must not look at one side of themselves."""
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8), (1, 200, 200))
    for step in (2, 4, 5, 8, 20):
        mean = sampled_mean(ramp, (step, step))[0, 0]
        np.testing.assert_allclose(mean, np.arange(0, 200, step) + (step - 1) / 2, atol=0.51)
