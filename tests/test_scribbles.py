from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_implicitseg.errors import InputError, ScribbleError
from napari_implicitseg.scribbles import read_scribbles


@settings(max_examples=50, deadline=None)
@given(
    labels=arrays(
        st.sampled_from([np.uint8, np.int16, np.int32, np.uint64]),
        array_shapes(min_dims=2, max_dims=3, max_side=9),
        elements=st.integers(0, 4),
    ),
    chunk=st.integers(1, 5),
)
def test_the_voxels_found_are_those_that_are_painted(labels, chunk):
    labels.flat[0] = 2
    for array in (labels, np.asfortranarray(labels), da.from_array(labels, chunks=chunk)):
        samples = read_scribbles(array, background=1)
        again = np.zeros_like(labels)
        again[tuple(samples.coords.T)] = samples.ids
        np.testing.assert_array_equal(again, labels)
        assert (np.diff(samples.coords[:, 0]) >= 0).all()
        assert samples.objects == tuple(sorted(set(labels[labels > 1].tolist())))


def test_zarr_arrays_are_read_chunk_by_chunk():
    labels = np.zeros((50, 40), np.uint16)
    labels[20, 3:30], labels[44, 8] = 3, 1
    samples = read_scribbles(zarr.array(labels, chunks=(16, 16)), background=1)
    assert len(samples.ids) == 28
    assert samples.objects == (3,)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_a_box_holds_the_voxels_inside_it(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels = (rng.random((12, 9, 7)) < 0.3).astype(np.uint8) * 2
    labels[0, 0, 0] = 2
    samples = read_scribbles(labels, background=1)
    start = [data.draw(st.integers(0, n)) for n in labels.shape]
    stop = [data.draw(st.integers(a, n)) for a, n in zip(start, labels.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    assert len(samples.inside(start, stop)) == np.count_nonzero(labels[box])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4), np.uint8), "are empty. Paint at least one stroke on an object"),
        (np.ones((4, 4), np.uint8), "only background strokes"),
        (np.full((4, 4), -3), r"label -3 at \(0, 0\); labels must be positive"),
        (np.full((4, 4), 2**40), r"over 4294967295 at \(0, 0\)"),
        (np.full((4, 4), 2**63, np.uint64), r"over 4294967295 at \(0, 0\)"),
    ],
)
def test_strokes_that_cannot_be_fitted_are_refused(labels, message):
    with pytest.raises(ScribbleError, match=message):
        read_scribbles(labels, background=1)


def test_labels_that_are_no_integers_are_refused():
    with pytest.raises(InputError, match="dtype float64; labels must be integers"):
        read_scribbles(np.ones((3, 3)), background=1)
    with pytest.raises(InputError, match="background is 0"):
        read_scribbles(np.ones((3, 3), int), background=0)
