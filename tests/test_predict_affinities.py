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
        ((18, 21), None, "Give a stack of sections, or choose a model for 2D images"),
        ((2, 2, 8, 9, 9), 0, "of which axis 0 holds channels.*Give one volume at a time"),
        ((1, 8, 9, 9), 7, "give 0 to 3"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(model, shape, axis, message):
    with pytest.raises(InputError, match=message):
        predict_affinities(np.zeros(shape, np.uint8), model, channel_axis=axis)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize(
    ("shape", "solid", "message"),
    [
        ((96, 96, 3), False, "3 colours along the last axis; the model '' is for 2D images"),
        ((96, 96, 3), False, r"take one of them.*if not, give volume\[None\] with channel_axis=0"),
        ((96, 32, 4), False, "4 colours"),
        ((40, 96, 96, 3), False, "3 colours.*say by channel_axis which axis"),
        ((96, 96, 3), True, "3 colours along the last axis; the model 'small' is for 3D volumes"),
        ((40, 96, 96, 3), True, r"shape \(40, 96, 96, 3\), which looks like 3 colours"),
        ((1, 96, 96, 3), True, "3 colours.*channel_axis"),
    ],
)
def test_colours_are_not_taken_for_sections(model, flat, tmp_path, shape, solid, message, stored):
    volume = np.zeros(shape, np.uint8)
    if stored:
        volume = zarr.create_array(tmp_path / "a.zarr", data=volume)
    with pytest.raises(InputError, match=message):
        predict_affinities(volume, model if solid else flat)


def test_a_volume_that_looks_like_colours_is_taken_where_it_is_said_to_be_none(model, flat):
    thin = np.random.default_rng(0).random((24, 24, 3), dtype=np.float32)
    for chosen in (model, flat):
        found = predict_affinities(thin[None], chosen, channel_axis=0)
        assert found.shape == thin.shape
    assert predict_affinities(thin[:, :23], model).shape == (24, 23, 3)
    assert predict_affinities(thin.transpose(2, 0, 1), flat).shape == (3, 24, 24)


@pytest.mark.parametrize(
    ("shape", "axis"), [((96, 96, 3), -1), ((3, 96, 96), None), ((3, 5, 96, 96), 0)]
)
def test_a_model_of_colours_takes_them_where_they_are(shape, axis):
    colours = AffinityModel(
        network=CNN(CNNConfig(in_channels=3, features=(4, 2)), seed=1).eval(),
        offsets=((-1, 0), (0, -1)),
        spacing=(4.0, 4.0),
    )
    space = np.delete(shape, 0 if axis is None else axis)
    found = predict_affinities(np.zeros(shape, np.uint8), colours, channel_axis=axis)
    assert found.shape == tuple(space)
    if axis == -1:
        with pytest.raises(InputError, match="If they are colours, give channel_axis=2"):
            predict_affinities(np.zeros(shape, np.uint8), colours)


def test_a_file_of_colours_is_told_from_a_stack(model, tmp_path):
    raw = np.zeros((3, 5, 5), np.uint8)
    tifffile.imwrite(tmp_path / "thin.tif", raw, photometric="rgb")
    with pytest.raises(InputError, match=r"of which axis 0 holds channels.*save the file as grey"):
        predict_affinities(tmp_path / "thin.tif", model)
    tifffile.imwrite(tmp_path / "thin.tif", raw, photometric="minisblack")
    assert predict_affinities(tmp_path / "thin.tif", model).shape == (3, 5, 5)


@pytest.mark.parametrize("model", [None, 5, [1, 2]])
def test_what_is_no_model_is_refused(raw, model):
    with pytest.raises(InputError, match="give the path of its folder"):
        predict_affinities(raw, model)


def test_sizes_in_warnings_have_six_digits(model, raw):
    with pytest.warns(UserWarning, match=r"has voxels of \(30.0, 30.0, 33.3333\) but"):
        predict_affinities(raw, model, spacing=(0.03 * 1000, 29.999999999999996, 100 / 3))


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
