"""Prediction as users call it: arrays of all kinds, files, and what does not fit the model."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import tifffile
import zarr

import napari_implicitseg
from napari_implicitseg import AffinityModel, predict_affinities
from napari_implicitseg.errors import Cancelled, FileError, InputError
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig

DIRECT = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


@pytest.fixture(scope="module")
def model() -> AffinityModel:
    config = UNetConfig.from_spacing((1, 1, 1), out_channels=3, depth=2, width=4)
    return AffinityModel(
        network=UNet(config, seed=1).eval(),
        offsets=DIRECT,
        spacing=(10.0, 10.0, 10.0),
        unit="nanometer",
        name="small",
    )


@pytest.fixture(scope="module")
def flat() -> AffinityModel:
    return AffinityModel(
        network=CNN(CNNConfig(), seed=1).eval(), offsets=((-1, 0), (0, -1)), spacing=(4.0, 4.0)
    )


@pytest.fixture(scope="module")
def raw() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (13, 18, 21)).astype(np.uint8)


def test_affinities_are_probabilities_of_the_volume_s_edges(model, raw):
    found = predict_affinities(raw, model)
    assert found.data.shape == (3, 13, 18, 21)
    assert found.data.dtype == np.float32
    assert found.offsets == DIRECT
    assert found.spacing == (10, 10, 10)
    assert 0 <= found.data.min() < found.data.max() <= 1


@pytest.mark.parametrize("tile", [(8, 8, 8), (4, 18, 12), (100, 100, 100)])
def test_tiles_make_no_difference(model, raw, tile):
    whole = predict_affinities(raw, model).data
    np.testing.assert_allclose(
        predict_affinities(raw, model, tile_shape=tile).data, whole, atol=1e-5
    )


def test_arrays_of_all_kinds_are_read_alike(model, raw, tmp_path):
    whole = predict_affinities(raw, model, tile_shape=(8, 8, 8)).data
    stored = zarr.create_array(tmp_path / "raw.zarr", data=raw, chunks=(8, 8, 8))
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    for volume in (
        stored,
        dask.array.from_array(raw, chunks=8),
        raw.tolist(),
        tmp_path / "raw.tif",
        str(tmp_path / "raw.zarr"),
    ):
        found = predict_affinities(volume, model, tile_shape=(8, 8, 8)).data
        np.testing.assert_allclose(found, whole, atol=1e-5)


def test_one_channel_may_be_an_axis(model, raw):
    whole = predict_affinities(raw, model).data
    for volume, axis in ((raw[None], None), (raw[None], 0), (raw[..., None], -1)):
        found = predict_affinities(volume, model, channel_axis=axis).data
        np.testing.assert_array_equal(found, whole)


def test_a_network_of_two_axes_takes_sections_one_by_one(flat, raw):
    found = predict_affinities(raw, flat)
    assert found.offsets == ((0, -1, 0), (0, 0, -1))
    assert found.data.shape == (2, 13, 18, 21)
    section = predict_affinities(raw[4], flat)
    assert section.offsets == ((-1, 0), (0, -1))
    # The stack is scaled as a whole, so a section by itself differs by its percentiles.
    assert np.corrcoef(found.data[:, 4].ravel(), section.data.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_precision_changes_little(model, raw, precision):
    whole = predict_affinities(raw, model).data
    found = predict_affinities(raw, model, precision=precision).data
    np.testing.assert_allclose(found, whole, atol=0.03)


def test_a_model_s_folder_will_do(model, raw, tmp_path):
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(
        predict_affinities(raw, tmp_path / "m").data, predict_affinities(raw, model).data
    )


@pytest.mark.parametrize(
    ("shape", "axis", "message"),
    [
        ((18, 21), None, r"has 2 axes, shape \(18, 21\); the model 'small' is for 3D volumes"),
        ((2, 2, 8, 9, 9), None, "has 5 axes"),
        ((3, 8, 9, 9), None, "has 3 channels; the model 'small' was trained on 1"),
        ((8, 9, 9, 3), 3, "has 3 channels"),
        ((1, 8, 9, 9), 7, "channel_axis is 7"),
        ((0, 9, 9), None, "no voxel to predict"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(model, shape, axis, message):
    with pytest.raises(InputError, match=message):
        predict_affinities(np.zeros(shape, np.uint8), model, channel_axis=axis)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1, 1)}, "give one positive number for each of the 3 axes"),
        ({"spacing": (1, -1, 1)}, "give one positive number"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"device": "abacus"}, "device is 'abacus'"),
        ({"tile_shape": "a"}, "tile_shape is 'a'; needed are 3 whole numbers"),
        ({"tile_shape": 5}, "tile_shape is 5"),
        ({"tile_shape": (64.0, 64.0, 64.0)}, "tile_shape is"),
        ({"tile_shape": (0, 8, 8)}, "tile_shape is"),
    ],
)
def test_options_that_cannot_work_are_refused(model, raw, options, message):
    with pytest.raises(InputError, match=message):
        predict_affinities(raw, model, **options)


def test_a_voxel_that_is_no_number_is_named(model, raw):
    volume = raw.astype(np.float32)
    volume[2, 3, 4] = np.nan
    with pytest.raises(InputError, match=r"NaN or infinite at \(2, 3, 4\)"):
        predict_affinities(volume, model)
    with pytest.raises(InputError, match=r"NaN or infinite at \(2, 3, 4\)"):
        predict_affinities(volume, model, tile_shape=(4, 4, 4))


def test_complex_numbers_are_refused(model):
    with pytest.raises(InputError, match="dtype complex128"):
        predict_affinities(np.zeros((8, 8, 8), complex), model)


def test_voxels_of_another_size_are_warned_about(model, raw):
    with pytest.warns(UserWarning, match="Results may be poor"):
        found = predict_affinities(raw, model, spacing=(40, 10, 10))
    assert found.spacing == (40, 10, 10)


def test_a_file_knows_its_voxel_size(model, raw, tmp_path):
    tifffile.imwrite(
        tmp_path / "raw.tif",
        raw,
        imagej=True,
        resolution=(1000 / 10.5, 1000 / 10.5),
        metadata={"axes": "ZYX", "spacing": 0.0105, "unit": "um"},
    )
    found = predict_affinities(tmp_path / "raw.tif", model)
    assert found.spacing == pytest.approx((10.5, 10.5, 10.5), rel=1e-3)


def test_progress_may_cancel(model, raw):
    def stop(fraction: float, message: str, /) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        predict_affinities(raw, model, tile_shape=(4, 4, 4), progress=stop)


def test_progress_rises_to_one(model, raw):
    told = []
    predict_affinities(raw, model, tile_shape=(8, 8, 8), progress=lambda f, m: told.append(f))
    assert told == sorted(told)
    assert told[-1] == 1


def test_a_missing_model_is_told(raw):
    with pytest.raises(FileError, match="The model 'nothing' is not there"):
        predict_affinities(raw, "nothing")


def test_a_constant_volume_is_predicted(model):
    found = predict_affinities(np.full((9, 9, 9), 7, np.uint8), model)
    assert np.isfinite(found.data).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (5, 1, 3)])
def test_thin_volumes_are_predicted(model, shape):
    assert predict_affinities(np.ones(shape, np.uint16), model).data.shape == (3, *shape)


def test_the_functions_are_those_of_the_package():
    for name in ("predict_affinities", "train_affinities", "load_model", "malis_loss"):
        assert callable(getattr(napari_implicitseg, name))
