"""Files of other kinds to OME-Zarr."""

from __future__ import annotations

import tracemalloc

import h5py
import numpy as np
import ome_zarr_models
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import tifffile
import zarr
from PIL import Image

from napari_implicitseg import convert
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import Layout, copying, read_image, read_labels, write_labels
from napari_implicitseg.volumes.converting import convert_file
from napari_implicitseg.volumes.pyramid import coarsen

from .converting_cases import EM, RNG, VERSIONS, array, ome, save_imagej


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("packed", [None, "zlib"])
def test_a_tiff_becomes_a_valid_image_where_it_was(tmp_path, version, packed) -> None:
    source = save_imagej(tmp_path / "a.tif", compression=packed)
    target = tmp_path / "a.ome.zarr"
    convert(source, target, layout=Layout(version=version))
    np.testing.assert_array_equal(array(target)[...], EM)
    assert read_image(target).grid() == read_image(source).grid()
    package = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    assert isinstance(ome_zarr_models.open_ome_zarr(target, version=version), package.Image)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_other_readers_open_what_is_written(tmp_path, version) -> None:
    target = tmp_path / "folder" / "a.zarr"
    target.parent.mkdir()
    large = RNG.integers(0, 255, (3, 700, 650)).astype(np.uint8)
    convert(save_imagej(tmp_path / "a.tif", large), target, layout=Layout(version=version))
    napari_reader = pytest.importorskip("napari_ome_zarr").napari_get_reader(str(target))
    data, options, _ = napari_reader(str(target))[0]
    np.testing.assert_array_equal(np.asarray(data[0]), large)
    assert len(data) == 2
    np.testing.assert_allclose(np.ravel(options["scale"]), (40, 4, 4))


@pytest.mark.parametrize("version", VERSIONS)
def test_ome_zarr_py_opens_what_is_written(tmp_path, version) -> None:
    pytest.importorskip("ome_zarr")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    target = tmp_path / "a.zarr"
    convert(save_imagej(tmp_path / "a.tif"), target, layout=Layout(version=version))
    labels = (EM // 100).astype(np.uint32)
    tifffile.imwrite(tmp_path / "l.tif", labels)
    convert(tmp_path / "l.tif", target / "labels" / "cells")
    nodes = list(Reader(parse_url(target))())
    np.testing.assert_array_equal(np.asarray(nodes[0].data[0]), EM)
    found = [np.asarray(node.data[0]) for node in nodes[1:] if node.data]
    assert any(np.array_equal(f, labels) for f in found)


def test_time_channels_and_space_are_in_the_order_of_ome_zarr(tmp_path) -> None:
    data = RNG.integers(0, 999, (4, 3, 2, 8, 9)).astype(np.uint16)  # z, c, t, y, x
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        data,
        metadata={"axes": "ZCTYX", "PhysicalSizeX": 0.1, "PhysicalSizeZ": 0.5},
    )
    convert(tmp_path / "a.ome.tif", tmp_path / "a.zarr")
    image = ome(tmp_path / "a.zarr")["multiscales"][0]
    assert [axis["name"] for axis in image["axes"]] == list("tczyx")
    np.testing.assert_array_equal(array(tmp_path / "a.zarr")[...], data.transpose(2, 1, 0, 3, 4))
    scale = image["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale == [1, 1, 0.5, 1, 0.1]
    assert array(tmp_path / "a.zarr").chunks[:2] == (1, 1)


def test_colours_come_before_space(tmp_path) -> None:
    colours = RNG.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    convert(tmp_path / "a.png", tmp_path / "a.zarr")
    np.testing.assert_array_equal(array(tmp_path / "a.zarr")[...], np.moveaxis(colours, -1, 0))
    np.testing.assert_array_equal(read_image(tmp_path / "a.zarr").data, np.moveaxis(colours, -1, 0))


def test_a_dataset_of_hdf5_keeps_its_voxel_size_and_is_seen_to_be_labels(tmp_path) -> None:
    labels = RNG.integers(0, 9, (5, 20, 30)).astype(np.uint16)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("volumes/labels/neuron_ids", data=labels, chunks=(2, 7, 30))
        data.attrs["resolution"] = (40.0, 4.0, 4.0)
        file["volumes/raw"] = EM
    target = tmp_path / "l.zarr"
    done = convert_file(f"{tmp_path}/a.h5/volumes/labels/neuron_ids", target)
    assert done.kind == "labels"
    np.testing.assert_array_equal(read_labels(target).data, labels)
    assert read_labels(target).grid().spacing_in("nanometer") == (40, 4, 4)
    assert convert_file(f"{tmp_path}/a.h5/volumes/raw", tmp_path / "r.zarr").kind == "image"


@pytest.mark.parametrize("kind", [".png", ".tif"])
def test_a_folder_of_sections_becomes_a_volume(tmp_path, kind) -> None:
    (tmp_path / "s").mkdir()
    for i, plane in enumerate(EM):
        if kind == ".tif":
            tifffile.imwrite(tmp_path / "s" / f"s{i + 5}.tif", plane)
        else:
            Image.fromarray(plane).save(tmp_path / "s" / f"s{i + 5}.png")
    convert(tmp_path / "s", tmp_path / "a.zarr", spacing=(50, 10, 10), unit="nm")
    np.testing.assert_array_equal(array(tmp_path / "a.zarr")[...], EM)
    assert read_image(tmp_path / "a.zarr").grid().spacing_in("nanometer") == (50, 10, 10)


@pytest.mark.parametrize("source_version", VERSIONS)
def test_a_zarr_is_cut_anew_and_keeps_its_place(tmp_path, source_version) -> None:
    first, second = tmp_path / "a.zarr", tmp_path / "b.zarr"
    convert(
        save_imagej(tmp_path / "a.tif"),
        first,
        layout=Layout(version=source_version, chunks=(9, 7, 80)),
    )
    assert array(first).chunks == (9, 7, 80)
    layout = Layout(chunks=(4, 16, 16), shards=(8, 32, 48))
    done = convert_file(first, second, layout=layout)
    assert (done.chunks, done.shards) == ((4, 16, 16), (8, 32, 48))
    np.testing.assert_array_equal(array(second)[...], EM)
    assert read_image(second).grid() == read_image(first).grid()
    assert array(second).metadata.zarr_format == 3


def test_slabs_that_do_not_fit_go_through_a_file(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(copying, "_IN_MEMORY", 1000)
    monkeypatch.setattr(copying, "_PIECE", 3000)
    big = RNG.integers(0, 999, (11, 90, 100)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", big, compression="zlib", rowsperstrip=8)
    monkeypatch.setattr("napari_implicitseg.volumes.volume.EAGER_BYTES", 0)
    layout = Layout(chunks=(4, 16, 16), shards=(4, 32, 32))
    convert(tmp_path / "a.tif", tmp_path / "a.zarr", layout=layout)
    np.testing.assert_array_equal(array(tmp_path / "a.zarr")[...], big)


def test_each_page_is_decoded_once(tmp_path, monkeypatch) -> None:
    (tmp_path / "s").mkdir()
    for i in range(12):
        Image.fromarray(EM[i % 9]).save(tmp_path / "s" / f"{i}.png")
    from napari_implicitseg.volumes import picture_stack

    seen: list[str] = []
    read = picture_stack._read_section

    def counting(path, labels):
        seen.append(path.name)
        return read(path, labels)

    monkeypatch.setattr(picture_stack, "_read_section", counting)
    monkeypatch.setattr("napari_implicitseg.volumes.volume.EAGER_BYTES", 0)
    convert(
        tmp_path / "s", tmp_path / "a.zarr", layout=Layout(chunks=(4, 8, 8), shards=(4, 16, 16))
    )
    assert sorted(seen) == sorted(f"{i}.png" for i in range(12))


def test_memory_does_not_grow_with_the_volume(tmp_path) -> None:
    peaks = []
    for depth in (112, 224):
        path = tmp_path / f"{depth}.tif"
        stack = tifffile.memmap(path, shape=(depth, 512, 640), dtype=np.uint8)
        stack[::7, ::5] = 200
        stack.flush()
        del stack
        tracemalloc.start()
        convert(path, tmp_path / f"{depth}.zarr", layout=Layout(shards=(64, 128, 128)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 60e6  # the volume has 73 MB
    assert peaks[1] < 1.25 * peaks[0]


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint64", "int64"])
def test_labels_are_unsigned_and_their_levels_have_their_ids(tmp_path, dtype) -> None:
    labels = (RNG.integers(0, 2, (600, 610)) * 70001).astype(dtype)
    tifffile.imwrite(tmp_path / "l.tif", labels)
    done = convert_file(tmp_path / "l.tif", tmp_path / "l.zarr")
    assert done.kind == "labels"
    assert np.dtype(done.dtype).kind == "u"
    fine, coarse = array(tmp_path / "l.zarr")[...], array(tmp_path / "l.zarr", 1)[...]
    np.testing.assert_array_equal(fine, labels)
    np.testing.assert_array_equal(coarse, coarsen(fine, (2, 2), (300, 305), method="mode"))
    assert "image-label" in ome(tmp_path / "l.zarr")
    ome_zarr_models.open_ome_zarr(tmp_path / "l.zarr")


def test_whether_they_are_labels_may_be_said(tmp_path) -> None:
    source = save_imagej(tmp_path / "a.tif")
    assert convert_file(source, tmp_path / "i.zarr").kind == "image"
    assert convert_file(source, tmp_path / "l.zarr", kind="labels").kind == "labels"
    assert convert_file(tmp_path / "l.zarr", tmp_path / "m.zarr").kind == "labels"
    assert ome(tmp_path / "i.zarr")["multiscales"][0]["type"] == "mean"
    assert ome(tmp_path / "l.zarr")["multiscales"][0]["type"] == "mode"


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_are_added_to_an_image(tmp_path, version) -> None:
    image = tmp_path / "i.zarr"
    convert(save_imagej(tmp_path / "a.tif"), image, layout=Layout(version=version))
    convert(save_imagej(tmp_path / "l.tif", EM // 50), image / "labels" / "cells")
    assert read_labels(image / "labels" / "cells").grid() == read_image(image).grid()
    assert array(image / "labels" / "cells").metadata.zarr_format == (2 if version == "0.4" else 3)
    found = zarr.open_group(image / "labels", mode="r").attrs.asdict()
    assert found.get("ome", found)["labels"] == ["cells"]
    tifffile.imwrite(tmp_path / "bare.tif", EM // 50)
    convert(tmp_path / "bare.tif", image / "labels" / "bare")
    assert read_labels(image / "labels" / "bare").grid() == read_image(image).grid()
    save_imagej(tmp_path / "s.tif", EM[:3])
    with pytest.raises(FileError, match=r"has \(9, 70, 80\) at level 0"):
        convert(tmp_path / "s.tif", image / "labels" / "small")
    assert not (image / "labels" / "small").exists()


def test_affinities_keep_their_offsets(tmp_path) -> None:
    from napari_implicitseg import labels_to_affinities
    from napari_implicitseg.volumes import Grid
    from napari_implicitseg.volumes.affinity_files import read_affinities, write_affinities

    affinities = labels_to_affinities(EM // 100, ((-1, 0, 0), (0, -1, 0), (0, 0, -1)))
    write_affinities(tmp_path / "a.zarr", affinities, Grid.plain(3))
    convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    again = read_affinities(tmp_path / "b.zarr")
    assert again.offsets == affinities.offsets
    np.testing.assert_array_equal(again.data, affinities.data)
    ome_zarr_models.open_ome_zarr(tmp_path / "a.zarr")


def test_axes_without_names_are_of_space_or_are_to_be_named(tmp_path) -> None:
    zarr.create_array(tmp_path / "a", data=RNG.integers(0, 9, (2, 3, 20, 30)).astype("u1"))
    with pytest.raises(InputError, match=r"not all named.*--axes czyx"):
        convert(tmp_path / "a", tmp_path / "b.zarr")
    with pytest.raises(InputError, match="were called 'zyx'"):
        convert(tmp_path / "a", tmp_path / "b.zarr", axes="zyx")
    with pytest.raises(InputError, match="are called y, y, z, x"):
        convert(tmp_path / "a", tmp_path / "b.zarr", axes="yyzx")
    assert convert_file(tmp_path / "a", tmp_path / "b.zarr", axes="ctyx").axes == "tcyx"
    assert array(tmp_path / "b.zarr").shape == (3, 2, 20, 30)


def test_labels_that_are_written_and_converted_are_the_same(tmp_path) -> None:
    labels = (EM // 60).astype(np.uint32)
    tifffile.imwrite(tmp_path / "l.tif", labels)
    convert(tmp_path / "l.tif", tmp_path / "a.zarr")
    write_labels(tmp_path / "b.zarr", labels, read_labels(tmp_path / "l.tif").grid())
    first, second = ome(tmp_path / "a.zarr"), ome(tmp_path / "b.zarr")
    for found in (first, second):
        found["multiscales"][0].pop("name")
    assert first == second
    assert array(tmp_path / "a.zarr").metadata == array(tmp_path / "b.zarr").metadata
