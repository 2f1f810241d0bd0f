from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Reader, Window, find_channel_axis, window_step

RAMP = np.add.outer(np.arange(20.0), 0.5 * np.arange(30)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(
    start=st.tuples(st.integers(0, 9), st.integers(0, 14)),
    size=st.tuples(st.integers(1, 10), st.integers(1, 15)),
    step=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_blocks_are_means_whatever_kind_of_array_it_is(start, size, step):
    stop = tuple(a + n for a, n in zip(start, size, strict=True))
    window = Window(start, stop, step)
    crop = RAMP[window.slices]
    expected = [
        [crop[i : i + step[0], j : j + step[1]].mean() for j in range(0, crop.shape[1], step[1])]
        for i in range(0, crop.shape[0], step[0])
    ]
    for image in (RAMP, da.from_array(RAMP, chunks=7), zarr.array(RAMP, chunks=(8, 8))):
        channels, share = Reader(image, None).raw(window)
        assert channels.shape == (1, *window.shape)
        np.testing.assert_allclose(channels[0], expected, rtol=1e-5)
        assert (share == 1).all()


def test_large_blocks_of_integers_are_sampled_and_stay_close_to_the_mean():
    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (400, 400)).astype(np.uint8)
    channels, _ = Reader(image, None).raw(Window((0, 0), (400, 400), (40, 40)))
    assert abs(float(channels.mean()) - 100) < 1
    assert channels.std() < 3


def test_voxels_that_are_not_finite_are_counted_and_left_out_of_means():
    image = np.ones((8, 8), np.float32)
    image[0, 0], image[0, 1], image[4:6, 4:6] = np.nan, np.inf, -np.inf
    reader = Reader(image, None)
    patch = reader.patch(Window((0, 0), (8, 8), (2, 2)))
    assert reader.ignored == 6
    assert not patch.valid[2, 2]
    assert patch.valid.sum() == 15
    assert np.isfinite(patch.channels).all()


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "u1", "i2", ">i2", "u8", "?"])
def test_every_real_dtype_is_normalised_alike(dtype):
    image = np.zeros((40, 40))
    image[:, 20:] = 1
    patch = Reader(image.astype(dtype), None).patch(Window((0, 0), (40, 40), (1, 1)))
    assert patch.channels.dtype == np.float32
    assert np.ptp(patch.channels) == pytest.approx(1, rel=1e-3)


def test_huge_and_tiny_numbers_do_not_overflow():
    for scale in (1e300, 1e-300):
        image = np.zeros((40, 40))
        image[:, 20:] = scale
        patch = Reader(image, None).patch(Window((0, 0), (40, 40), (2, 2)))
        assert np.ptp(patch.channels) == pytest.approx(1, rel=1e-3)


def test_channel_axes_are_found_or_checked():
    assert find_channel_axis((20, 30), (20, 30), None) is None
    assert find_channel_axis((20, 30, 3), (20, 30), None) == 2
    assert find_channel_axis((5, 20, 30), (20, 30), None) == 0
    assert find_channel_axis((20, 30, 3), (20, 30), -1) == 2
    with pytest.raises(InputError, match=r"shape \(20, 31\) but the image has \(20, 30\)"):
        find_channel_axis((20, 30), (20, 31), None)
    with pytest.raises(InputError, match="channel_axis is 4 but the image has 3 axes"):
        find_channel_axis((20, 30, 3), (20, 30), 4)


def test_the_channel_axis_may_be_anywhere_in_a_slice_too():
    volume = np.random.default_rng(0).random((4, 6, 7, 2))
    for axis in range(4):
        moved = np.moveaxis(volume, -1, axis)
        reader = Reader(moved, axis)
        assert reader.shape == (4, 6, 7)
        slice_ = reader.at_slice(2).raw(Window((0, 0), (6, 7), (1, 1)))[0]
        np.testing.assert_allclose(slice_, np.moveaxis(volume[2], -1, 0))


def test_cells_are_about_isotropic_in_physical_units():
    assert window_step((100, 100), (1.0, 1.0), 10_000) == (1, 1)
    assert window_step((100, 100), (1.0, 1.0), 2_500) == (2, 2)
    assert window_step((20, 400, 400), (40.0, 4.0, 4.0), 200_000) == (1, 4, 4)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 4)), "image is empty"),
        (np.zeros((1, 1)), "has 1 pixels"),
        (np.zeros((4, 4), complex), "dtype complex128"),
        (np.full((4, 4), "a"), "must hold real numbers"),
    ],
)
def test_images_that_cannot_be_read_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        Reader(image, None)
