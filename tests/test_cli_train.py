"""`napari-implicitseg train` and `predict`: what they write, print and refuse."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from napari_implicitseg import TrainConfig, load_model
from napari_implicitseg.volumes import read_image
from napari_implicitseg.volumes.affinity_files import read_affinities

from .command_line import run, shell

FAST = ("--width", "4", "--depth", "2", "--patch", "16,16", "--ndim", "2", "--steps", "6")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("em")
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 17).reshape(4, 4), np.ones((8, 8), int)).astype(np.uint16)
    stack = np.stack([labels, labels, labels, labels + 20])
    raw = (40 + 7 * (stack % 20) + rng.normal(0, 3, stack.shape)).astype(np.uint8)
    tifffile.imwrite(folder / "raw.tif", raw, photometric="minisblack")
    tifffile.imwrite(folder / "labels.tif", stack.astype(np.uint16), photometric="minisblack")
    tifffile.imwrite(folder / "cut.tif", stack[:, 4:].astype(np.uint16), photometric="minisblack")
    inside = np.where((np.indices(raw.shape)[1:] % 8 > 0).all(0), 255, 0).astype(np.uint8)
    tifffile.imwrite(folder / "membranes.tif", inside, photometric="minisblack")
    with h5py.File(folder / "em.h5", "w") as file:
        file["volumes/raw"] = raw
        file["volumes/labels/neuron_ids"] = stack
        for key in ("volumes/raw", "volumes/labels/neuron_ids"):
            file[key].attrs["resolution"] = (50.0, 4.0, 4.0)
    return folder


@pytest.fixture(scope="module")
def model(files):
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", files / "model", *FAST,
        "--spacing", "50,4,4", "--unit", "nm", "--licence", "CC0-1.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return files / "model"


def test_training_writes_a_model_and_says_how_good_it_is(files, model):
    read = load_model(model)
    assert read.spacing == (4, 4)
    assert read.unit == "nanometer"
    assert read.training["licence"] == "CC0-1.0"
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", model, *FAST, "--resume",
        "--spacing", "50,4,4", "--unit", "nm", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["voi"] == read.metrics["voi"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("raw.tif", "cut.tif"), "has shape (4, 32, 32) but its labels (4, 28, 32)"),
        (("raw.tif", "nothing.tif"), "does not exist"),
        (("raw.tif", "labels.tif", "--config", "nothing.yaml"), "Cannot read the options"),
        (("raw.tif", "labels.tif", "--also", "raw.tif"), "give two files with a comma"),
        (("raw.tif", "labels.tif", "--patch", "16,16,16"), "patch_shape is (16, 16, 16)"),
        (("raw.tif", "labels.tif", "--neighbourhood", "round"), "round"),
        (("raw.tif", "labels.tif", "--device", "abacus"), "device is 'abacus'"),
        (("raw.tif", "labels.tif", "-o", "."), "holds other files"),
        (("raw.tif", "labels.tif", "-o", "x" * 300), "File name too long"),
    ],
)
def test_what_cannot_be_trained_is_told_in_one_line(files, arguments, message):
    names = [files / a if a.endswith(("tif", "yaml")) else a for a in arguments]
    done = run("train", "-o", files / "none", *names, "--ndim", "2", "--steps", "2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_a_model_is_not_replaced_unasked(files, model):
    done = run("train", files / "raw.tif", files / "labels.tif", "-o", model, *FAST)
    assert done.returncode == 1
    assert "already holds a model" in done.stderr


def test_options_come_from_a_file_and_the_command_line_goes_first(files):
    (files / "train.yaml").write_text("steps: 3\nwidth: 4\ndepth: 2\npatch_shape: [16, 16]\n")
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", files / "by-file",
        "--config", files / "train.yaml", "--steps", "2", "--ndim", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    options = load_model(files / "by-file").training["config"]
    assert (options["steps"], options["width"]) == (2, 4)
    assert options["seed"] == TrainConfig().seed
    (files / "odd.yaml").write_text("stepz: 3\n")
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", files / "odd",
        "--config", files / "odd.yaml",
    )  # fmt: skip
    assert done.returncode == 1
    assert "has the option 'stepz'; known are" in done.stderr


def test_numbers_of_a_file_may_be_written_in_any_way(files):
    (files / "rate.yaml").write_text("learning_rate: 1e-3\nneighbourhood: [[-1, 0], [0, -1]]\n")
    (files / "rate.json").write_text('{\n\t"learning_rate": 1e-3\n}')
    for name in ("rate.yaml", "rate.json"):
        done = run(
            "train", files / "raw.tif", files / "labels.tif", "-o", files / f"of-{name}",
            "--config", files / name, *FAST,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert load_model(files / f"of-{name}").training["config"]["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: 2", "has the option 1"),
        ("widths: &a [*a]", "use one positive whole number per level"),
        ("unit: 5", "unit is 5; give text"),
        ("- steps", "holds no options"),
    ],
)
def test_odd_files_of_options_are_told_in_one_line(files, text, message):
    (files / "odd.yaml").write_text(text)
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", files / "odd",
        "--config", files / "odd.yaml", *FAST,
    )  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_patches_are_whole_numbers(files):
    done = run(
        "train", files / "raw.tif", files / "labels.tif", "-o", files / "no", "--patch", "16.5,16"
    )
    assert done.returncode == 2
    assert "no list of whole numbers" in done.stderr


def test_hdf5_knows_its_voxel_size_and_membranes_become_objects(files):
    done = run(
        "train", files / "em.h5", files / "membranes.tif", "--labels", "membranes",
        "-o", files / "membranes", *FAST,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert load_model(files / "membranes").spacing == (4, 4)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5"])
def test_affinities_are_written_as_they_were_predicted(files, model, name):
    done = run("predict", files / "raw.tif", "--model", model, "-o", files / name)
    assert done.returncode == 0, done.stderr
    read = read_affinities(files / name)
    raw = tifffile.imread(files / "raw.tif")
    np.testing.assert_array_equal(read.data, load_model(model).predict(raw).data)
    assert read.offsets == ((0, -1, 0), (0, 0, -1))
    again = run("predict", files / "raw.tif", "--model", model, "-o", files / name)
    assert "already exists" in again.stderr


def test_affinities_are_an_ome_zarr_image(files, model):
    done = run(
        "predict", files / "em.h5", "--model", model, "-o", files / "o.zarr", "--half", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["shape"] == [2, 4, 32, 32]
    from ome_zarr_models.v05 import Image

    Image.from_zarr(zarr.open_group(files / "o.zarr", mode="r"))
    volume = read_image(files / "o.zarr")
    assert volume.channel_axis == 0
    assert volume.grid(0).scale == (50, 4, 4)
    assert volume.data.dtype == np.float16


def test_a_volume_of_other_voxels_is_told(files, model):
    done = run(
        "predict", files / "raw.tif", "--model", model, "-o", files / "w.h5",
        "--spacing", "50,16,16", "--unit", "nm",
    )  # fmt: skip
    assert done.returncode == 0
    assert "has voxels of (50.0, 16.0, 16.0) but the model" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "nothing", "-o", "b.zarr"), "The model 'nothing' is not there"),
        (("--model", "M", "-o", "b.txt"), "use a name that ends in .zarr or .h5"),
        (("--model", "M", "-o", "no/b.zarr"), "does not exist"),
    ],
)
def test_what_cannot_be_predicted_is_told_in_one_line(files, model, arguments, message):
    words = [model if a == "M" else a for a in arguments]
    done = run("predict", files / "raw.tif", *words, cwd=files)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("image", "output"),
    [("in.zarr", "in.zarr"), ("em.h5/volumes/raw", "em.h5"), ("em.h5:volumes/raw", "em.h5")],
)
def test_the_volume_that_is_read_is_never_replaced(files, model, image, output):
    if not (files / "in.zarr").exists():
        zarr.create_array(files / "in.zarr", data=tifffile.imread(files / "raw.tif"))
    done = run("predict", image, "--model", model, "-o", output, "--overwrite", cwd=files)
    assert done.returncode == 1
    assert "would replace the input" in done.stderr
    assert read_image(files / image).shape == (4, 32, 32)


def test_a_voxel_size_without_a_unit_is_in_the_unit_of_the_file(files):
    raw = tifffile.imread(files / "raw.tif")
    meta = {"axes": "ZYX", "spacing": 0.05, "unit": "um"}
    tifffile.imwrite(files / "um.tif", raw, imagej=True, resolution=(50, 50), metadata=meta)
    done = run(
        "train", files / "um.tif", files / "labels.tif", "-o", files / "um", *FAST,
        "--spacing", "0.05,0.02,0.02",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = load_model(files / "um")
    assert (model.spacing, model.unit) == ((0.02, 0.02), "micrometer")
    done = run("predict", files / "um.tif", "--model", files / "um", "-o", files / "um.h5")
    assert done.returncode == 0
    assert not done.stderr


def test_a_damaged_affinity_file_is_told(files, model):
    run("predict", files / "raw.tif", "--model", model, "-o", files / "d.h5")
    (files / "d.h5").write_bytes((files / "d.h5").read_bytes()[:500])
    from napari_implicitseg.errors import FileError

    with pytest.raises(FileError, match="d.h5"):
        read_affinities(files / "d.h5")


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_from_which_training_goes_on(files):
    import signal
    import subprocess
    import sys
    import time

    command = [
        sys.executable, "-m", "napari_implicitseg.cli", "train", files / "raw.tif",
        files / "labels.tif", "-o", files / "stopped", *FAST[:-1], "4000",
    ]  # fmt: skip
    process = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    checkpoint = files / "stopped" / "training" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume goes on from there" in errors
    assert "Traceback" not in errors


def test_help_names_units_and_defaults():
    for command in ("train", "predict"):
        done = shell(command, "--help")
        assert done.returncode == 0
        assert "Voxel size per axis, in --unit" in " ".join(done.stdout.split())
