"""`napari-implicitseg convert`: files of any kind in, OME-Zarr out."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_implicitseg.volumes import read_image, read_labels

from .command_line import run, shell

EM = np.random.default_rng(0).integers(0, 255, (5, 40, 50)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    tifffile.imwrite(tmp_path / "em.tif", EM)
    tifffile.imwrite(tmp_path / "ids.tif", EM.astype(np.uint32))
    tifffile.imwrite(tmp_path / "negative.tif", EM.astype(np.int32) - 5)
    zarr.create_array(tmp_path / "many", data=np.zeros((2, 2, 4, 5), np.uint8))
    zarr.create_array(tmp_path / "none", shape=(0, 4, 5), dtype="u1")
    (tmp_path / "broken.tif").write_bytes(b"II*\0broken")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["volumes/raw"] = EM
    return tmp_path


def test_a_volume_gets_the_voxel_size_that_is_given(folder):
    done = run(
        "convert", "em.tif", "em.zarr", "--spacing", "40,4,4", "--unit", "nm", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["shape"] == [5, 40, 50]
    assert (report["kind"], report["axes"], report["dtype"]) == ("image", "zyx", "uint8")
    assert read_image(folder / "em.zarr").grid().spacing_in("nanometer") == (40, 4, 4)


def test_labels_are_added_to_the_image_and_told_in_one_line(folder):
    assert run("convert", "a.h5/volumes/raw", "em.zarr", cwd=folder).returncode == 0
    done = run("convert", "ids.tif", "em.zarr/labels/cells", cwd=folder)
    assert done.stdout == "em.zarr/labels/cells: labels of (5, 40, 50) (zyx), uint32, 1 level\n"
    np.testing.assert_array_equal(read_labels(folder / "em.zarr/labels/cells").data, EM)


def test_how_arrays_are_stored_may_be_chosen(folder):
    options = ("--chunks", "2,16,16", "--shards", "4,32,32", "--labels")
    assert run("convert", "em.tif", "a.zarr", *options, cwd=folder).returncode == 0
    array = zarr.open_array(folder / "a.zarr" / "0", mode="r")
    assert (array.chunks, array.shards) == ((2, 16, 16), (4, 32, 32))
    options = ("--ome-zarr-version", "0.4", "--image")
    assert run("convert", "ids.tif", "b.zarr", *options, cwd=folder).returncode == 0
    assert zarr.open_array(folder / "b.zarr" / "0", mode="r").metadata.zarr_format == 2


def test_axes_may_be_named(folder):
    done = run("convert", "many", "a.zarr", "--axes", "tcyx", "--json", cwd=folder)
    assert json.loads(done.stdout)["axes"] == "tcyx"


def test_the_shell_runs_it_on_a_folder_of_sections(folder):
    (folder / "s").mkdir()
    for i, plane in enumerate(EM):
        Image.fromarray(plane).save(folder / "s" / f"{i}.png")
    done = shell("convert", "s", "s.zarr", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(read_image(folder / "s.zarr").data, EM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.tif", "a.zarr"), "'missing.tif' does not exist"),
        (("broken.tif", "a.zarr"), "broken.tif"),
        (("none", "a.zarr"), "holds no image"),
        (("many", "a.zarr"), "--axes"),
        (("negative.tif", "a.zarr"), "negative id -5"),
        (("em.tif", "a.tif"), "is no OME-Zarr"),
        (("em.tif", "em.tif"), "is no OME-Zarr"),
        (("em.tif", "nowhere/a.zarr"), "does not exist"),
        (("em.tif", "many/labels/a"), "'many'"),
        (("em.tif", "a.zarr", "--spacing", "1,2"), "spacing is 1,2"),
        (("nonsense://a", "a.zarr"), "nonsense"),
        (("em.tif", "a.zarr", "--chunks", "1,2"), "chunks are"),
    ],
)
def test_what_cannot_be_converted_is_told_in_one_line(folder, arguments, message):
    before = sorted(p.name for p in folder.iterdir())
    done = run("convert", *arguments, cwd=folder)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert sorted(p.name for p in folder.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("em.tif",),
        ("em.tif", "a.zarr", "--chunks", "0"),
        ("em.tif", "a.zarr", "--storage-option", "x"),
    ],
)
def test_wrong_usage_is_status_two(folder, arguments):
    assert run("convert", *arguments, cwd=folder).returncode == 2
