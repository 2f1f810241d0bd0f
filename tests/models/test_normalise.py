"""Grey levels to the range of networks."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation


def test_percentiles_become_minus_one_and_one(rng):
    raw = rng.normal(100, 20, (1, 40, 50, 60)).astype(np.float32)
    scaled = Normalisation().scaling(raw)(raw)
    assert np.percentile(scaled, (1, 99)) == pytest.approx((-1, 1), abs=0.02)


@pytest.mark.parametrize(("gain", "shift"), [(3.0, 20.0), (0.01, -5.0)])
def test_brightness_and_contrast_make_no_difference(rng, gain, shift):
    raw = rng.random((1, 30, 30)).astype(np.float32)
    rule, changed = Normalisation(), gain * raw + shift
    np.testing.assert_allclose(
        rule.scaling(changed)(changed), rule.scaling(raw)(raw), rtol=1e-3, atol=1e-3
    )


def test_channels_are_scaled_on_their_own(rng):
    raw = np.stack([rng.random((20, 20)), 1000 * rng.random((20, 20))])
    scaled = Normalisation().scaling(raw)(raw)
    assert np.abs(scaled).max(axis=(1, 2)) == pytest.approx((1, 1), abs=0.1)


def test_a_range_is_the_same_for_all_volumes():
    raw = np.array([[[0, 255]]], np.uint8)
    scaling = Normalisation(kind="range", low=0, high=255).scaling(raw)
    np.testing.assert_allclose(scaling(raw), [[[-1, 1]]])


@pytest.mark.parametrize("value", [0, 7.5])
def test_a_volume_of_one_value_is_scaled_to_numbers(value):
    raw = np.full((1, 8, 8), value)
    assert np.isfinite(Normalisation().scaling(raw)(raw)).all()


def test_nearly_empty_volumes_keep_their_contrast():
    raw = np.zeros((1, 100, 100))
    raw[0, 0, :5] = 9
    assert Normalisation().scaling(raw)(raw).max() == 1


def test_of_a_large_zarr_only_blocks_are_read(rng, tmp_path):
    values = rng.integers(0, 200, (1, 256, 256, 256), dtype=np.uint8)
    array = zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(1, 64, 64, 64))
    read = []

    class Watched:
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, index):
            found = array[index]
            read.append(found.size)
            return found

    scaling = Normalisation().scaling(Watched())
    assert sum(read) < 0.5 * values.size
    whole = Normalisation().scaling(values)
    assert scaling.low == pytest.approx(whole.low, abs=2)
    assert scaling.high == pytest.approx(whole.high, abs=2)


def test_a_voxel_that_is_no_number_is_named():
    raw = np.zeros((1, 6, 6), np.float32)
    raw[0, 2, 3] = np.nan
    scaling = Normalisation().scaling(raw, "volume 'em.tif'")
    with pytest.raises(InputError, match=r"volume 'em.tif' is NaN or infinite at \(2, 3\)"):
        scaling(raw[:, 1:, 2:], (1, 2))


@pytest.mark.parametrize(
    "values",
    [{"kind": "other"}, {"low": 99, "high": 1}, {"low": -1}, {"high": 101}, {"low": float("nan")}],
)
def test_a_rule_that_is_none_is_refused(values):
    with pytest.raises(InputError):
        Normalisation(**values)


def test_arrays_in_files_are_measured_like_those_in_memory(rng, tmp_path):
    raw = rng.integers(60, 100, (1, 64, 64, 400)).astype(np.uint8)
    raw[..., 70:100] = 255
    stored = zarr.create_array(tmp_path / "a.zarr", data=raw, chunks=(1, 32, 32, 50))
    assert Normalisation().scaling(stored) == Normalisation().scaling(raw)
    assert Normalisation().scaling(raw).high == (255.0,)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32", "int64"])
def test_large_numbers_that_lie_close_together_keep_their_contrast(dtype):
    raw = (2_000_000_000 + 256 * np.arange(64).reshape(1, 8, 8)).astype(dtype)
    scaled = Normalisation().scaling(raw)(raw)
    assert np.isfinite(scaled).all()
    assert scaled.max() - scaled.min() > 1.9


@pytest.mark.parametrize("value", [1e9, 1e300, -4e12])
def test_large_constants_are_scaled_to_numbers(value):
    raw = np.full((1, 8, 8), value)
    assert np.isfinite(Normalisation().scaling(raw)(raw)).all()


def test_truth_values_are_grey_levels_too():
    raw = np.zeros((1, 8, 8), bool)
    raw[0, :4] = True
    np.testing.assert_array_equal(np.unique(Normalisation().scaling(raw)(raw)), [-1, 1])
