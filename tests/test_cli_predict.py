"""`napari-implicitseg predict`: time points, channels, and what does not fit the model."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_implicitseg import AffinityModel
from napari_implicitseg.cli._volumes import for_channels, read_volume
from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig
from napari_implicitseg.volumes.affinity_files import read_affinities

from .command_line import run

GREY = np.random.default_rng(0).integers(0, 255, (40, 44)).astype(np.uint8)
COLOURS = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with models and images of all kinds."""
    path = tmp_path_factory.mktemp("predict")
    for channels in (1, 3):
        AffinityModel(
            network=CNN(CNNConfig(in_channels=channels, features=(4, 2)), seed=1).eval(),
            offsets=((-1, 0), (0, -1)),
            spacing=(4.0, 4.0),
            name=f"of-{channels}",
        ).save(path / f"of-{channels}")
    config = UNetConfig.from_spacing((1, 1, 1), out_channels=3, depth=2, width=4)
    AffinityModel(
        network=UNet(config, seed=1).eval(),
        offsets=((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        spacing=(10.0, 10.0, 10.0),
        unit="nanometer",
        name="solid",
    ).save(path / "solid")
    Image.fromarray(GREY).save(path / "grey.png")
    Image.fromarray(COLOURS).save(path / "colours.png")
    Image.fromarray(np.stack([GREY] * 3, axis=-1)).save(path / "grey-as-rgb.png")
    tifffile.imwrite(path / "grey.tif", GREY)
    movie = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])
    tifffile.imwrite(path / "movie.ome.tif", movie, metadata={"axes": "TYX"})
    stacks = np.stack([np.stack([GREY] * 5), np.stack([GREY[::-1]] * 5)])
    tifffile.imwrite(path / "stacks.ome.tif", stacks, metadata={"axes": "TZYX"})
    tifffile.imwrite(path / "planes.tif", COLOURS.transpose(2, 0, 1), photometric="rgb")
    zarr.create_array(path / "bare.zarr", data=COLOURS)
    zarr.create_array(path / "stack-of-colours.zarr", data=np.stack([COLOURS] * 40))
    (path / "begun" / "training").mkdir(parents=True)
    (path / "begun" / "training" / "checkpoint.safetensors").write_bytes(b"half")
    return path


def predicted(folder, image, *words, model="of-1"):
    """Predict, and return what was written."""
    done = run(
        "predict", image, "--model", model, "-o", "out.h5", "--overwrite", *words, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return read_affinities(folder / "out.h5").data


def refused(folder, image, *words, model="of-1"):
    """Predict in vain, and return the one line that was said."""
    done = run("predict", image, "--model", model, "-o", "none.h5", *words, cwd=folder)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert not (folder / "none.h5").exists()
    return done.stderr


def test_a_time_point_is_chosen(folder):
    for time, frame in enumerate((GREY, GREY[::-1], GREY[:, ::-1])):
        Image.fromarray(frame).save(folder / "frame.png")
        want = predicted(folder, "frame.png")
        np.testing.assert_array_equal(predicted(folder, "movie.ome.tif", "--time", time), want)


@pytest.mark.parametrize("name", ["movie.ome.tif", "stacks.ome.tif"])
def test_a_time_series_is_told_of_the_options_there_are(folder, name):
    said = refused(folder, name)
    assert f"'{name}' is a time series" in said
    assert "--time N" in said
    assert "--per-slice" not in said
    assert "time is 7" in refused(folder, name, "--time", "7")


def test_time_is_a_number_and_only_of_files_that_have_it(folder):
    for word in ("all", "-1"):
        done = run("predict", "movie.ome.tif", "--model", "of-1", "-o", "n.h5", "--time", word)
        assert done.returncode == 2
    assert "no axis of time" in refused(folder, "grey.tif", "--time", "1")


@pytest.mark.parametrize("image", ["movie.ome.tif", "stacks.ome.tif"])
def test_training_tells_to_extract_a_time_point(folder, image):
    for pair in ((image, "grey.png"), ("grey.png", image)):
        done = run("train", *pair, "-o", "trained", "--steps", "2", cwd=folder)
        assert done.returncode == 1
        assert f"'{image}' is a time series" in done.stderr
        assert "Save one time point of it in a file of its own" in done.stderr
        assert "--" not in done.stderr


@pytest.mark.parametrize("channel", [0, 1, 2])
@pytest.mark.parametrize("image", ["colours.png", "bare.zarr"])
def test_a_channel_is_chosen(folder, image, channel):
    Image.fromarray(COLOURS[..., channel]).save(folder / "one.png")
    want = predicted(folder, "one.png")
    np.testing.assert_array_equal(predicted(folder, image, "--channel", channel), want)


def test_grey_saved_as_colours_is_taken_for_grey(folder):
    want = predicted(folder, "grey.png")
    np.testing.assert_array_equal(predicted(folder, "grey-as-rgb.png"), want)


def test_a_model_of_colours_takes_them_all(folder):
    assert predicted(folder, "colours.png", model="of-3").shape == (2, 40, 44)
    assert predicted(folder, "grey-as-rgb.png", model="of-3").shape == (2, 40, 44)
    assert "has 1 channel; the model 'of-3' was trained on 3" in refused(
        folder, "colours.png", "--channel", "0", model="of-3"
    )


@pytest.mark.parametrize(
    ("image", "words", "message"),
    [
        ("colours.png", (), "has 3 channels that differ, shape (40, 44, 3); the model takes one"),
        ("colours.png", (), "--channel N, 0 to 2"),
        ("colours.png", ("--channel", "3"), "has 3 channels: choose 0 to 2"),
        ("grey.png", ("--channel", "0"), "has no channels"),
        ("bare.zarr", (), "looks like 3 colours along the last axis"),
        ("bare.zarr", (), "--channel N"),
    ],
)
def test_channels_that_do_not_fit_are_told(folder, image, words, message):
    assert message in refused(folder, image, *words)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("grey.tif", "has 2 axes, shape (40, 44); the model 'solid' is for 3D volumes (z, y, x)"),
        ("grey.tif", "Give a stack of sections, or choose a model for 2D images such as sstem-2d"),
        ("planes.tif", "If they are the sections of a stack, save it as one"),
        ("stack-of-colours.zarr", "shape (40, 40, 44, 3), which looks like 3 colours"),
    ],
)
def test_what_a_model_of_volumes_cannot_take_is_told(folder, image, message):
    assert message in refused(folder, image, model="solid")


def test_a_training_that_has_not_finished_is_told(folder):
    said = refused(folder, "grey.png", model="begun")
    assert "its training has not finished" in said
    assert "`train --resume`" in said


def test_voxel_sizes_have_no_digits_that_conversion_left(folder):
    done = run(
        "predict", "stacks.ome.tif", "--model", "solid", "-o", "digits.h5", "--time", "0",
        "--spacing", "0.03", "--unit", "um", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0
    assert "has voxels of (30.0, 30.0, 30.0) but the model 'solid'" in done.stderr


def test_a_tile_is_told_by_the_name_of_its_option(folder):
    assert "(--tile)" in refused(folder, "grey.png", "--tile", "8,8,8,8")


def test_missing_options_are_told_like_other_files(folder):
    done = run("train", "grey.png", "grey.png", "-o", "m", "--config", "nothing.yaml", cwd=folder)
    assert done.returncode == 1
    assert "the file 'nothing.yaml' does not exist. Check the path." in done.stderr
    assert "Errno" not in done.stderr


def test_a_thin_volume_is_none_of_colours_if_its_axes_have_names(folder):
    tifffile.imwrite(
        folder / "thin.ome.tif", COLOURS, photometric="minisblack", metadata={"axes": "ZYX"}
    )
    assert predicted(folder, "thin.ome.tif").shape == (2, 40, 44, 3)
    assert "if not, save it with named axes" in refused(folder, "bare.zarr")


@pytest.mark.parametrize("axis", [0, 1, 3])
@pytest.mark.parametrize("odd", [None, 0, -1])
def test_channels_of_large_files_are_compared_to_the_end(folder, monkeypatch, axis, odd):
    """Lazily read volumes are compared slab by slab, and the channel stays in its file."""
    from napari_implicitseg.cli import _volumes
    from napari_implicitseg.volumes import volume as volumes

    monkeypatch.setattr(volumes, "EAGER_BYTES", 0)
    monkeypatch.setattr(_volumes, "_SLAB", 50)
    grey = np.random.default_rng(1).random((6, 7, 8))
    data = np.stack([grey] * 3, axis=axis)
    if odd is not None:
        np.moveaxis(data, axis, 0)[2].flat[odd] += 1
    names = list("zyx")
    names.insert(axis, "c")
    path = folder / f"lazy-{axis}-{odd}.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=data, chunks=(2, 3, 2, 2))
    kinds = [{"name": n, "type": "channel" if n == "c" else "space"} for n in names]
    scale = [{"type": "scale", "scale": [1.0] * 4}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"name": "em", "axes": kinds, "datasets": levels}],
    }
    volume = read_volume(path, level=0, time=None)
    assert not isinstance(volume.data, np.ndarray)
    if odd is not None:
        with pytest.raises(InputError, match="3 channels that differ"):
            for_channels(volume, 1, None)
        chosen = for_channels(volume, 1, 2)
        np.testing.assert_array_equal(np.asarray(chosen.data), np.moveaxis(data, axis, 0)[2])
        return
    found = for_channels(volume, 1, None)
    assert not isinstance(found.data, np.ndarray)
    assert found.channel_axis is None
    assert [a.name for a in found.axes] == list("zyx")
    np.testing.assert_array_equal(np.asarray(found.data), grey)
    np.testing.assert_array_equal(found.data[2:4, 1:, ::3], grey[2:4, 1:, ::3])
