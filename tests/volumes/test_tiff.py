"""TIFF: plain, ImageJ and OME."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import Grid, read_image, read_labels, write_labels

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 255, (5, 20, 30)).astype(np.uint8)
EM = Grid(
    axes=("z", "y", "x"), scale=(40.0, 4.0, 4.5), translate=(0.0,) * 3, units=("nanometer",) * 3
)


@pytest.mark.parametrize("dtype", ["u1", "i2", "<u2", ">u2", "f2", "<f4", ">f4", "f8", "i4", "?"])
def test_every_dtype_is_read(tmp_path: Path, dtype: str) -> None:
    data = (STACK % 7).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif",
        data,
        byteorder=">" if dtype[0] == ">" else "<",
        photometric="minisblack",
    )
    read = read_image(tmp_path / "a.tif").data
    np.testing.assert_array_equal(read, data)
    assert read.dtype.kind == data.dtype.kind or dtype == "?"


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.ome.tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_labels_survive_a_round_trip(tmp_path: Path, name: str, dtype: type) -> None:
    labels = STACK.astype(dtype)
    labels[0, 0, 0] = np.iinfo(dtype).max
    write_labels(tmp_path / name, labels, EM)
    volume = read_labels(tmp_path / name)
    np.testing.assert_array_equal(volume.data, labels)
    assert volume.data.dtype == dtype
    assert volume.grid() == EM
    with tifffile.TiffFile(tmp_path / name) as file:
        assert file.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.is_ome == (".ome." in name)
        assert file.is_imagej != file.is_ome


@pytest.mark.parametrize("unit", ["micrometer", "angstrom", "мкм"])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_units_that_are_not_ascii_survive(tmp_path: Path, name: str, unit: str) -> None:
    grid = Grid(axes=("y", "x"), scale=(2.0, 2.0), translate=(0.0, 0.0), units=(unit, unit))
    write_labels(tmp_path / name, STACK[0], grid)
    assert read_labels(tmp_path / name).grid().units == (unit, unit)


def test_64_bit_ids_are_kept_or_refused(tmp_path: Path) -> None:
    labels = STACK.astype(np.uint64)
    write_labels(tmp_path / "a.ome.tif", labels, EM)
    assert read_labels(tmp_path / "a.ome.tif").data.dtype == np.uint32
    labels[0, 0, 0] = 2**40
    write_labels(tmp_path / "a.tif", labels, EM)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, labels)
    with pytest.raises(FileError, match="OME-TIFF holds ids up to 4294967295"):
        write_labels(tmp_path / "b.ome.tif", labels, EM)
    assert not (tmp_path / "b.ome.tif").exists()


@pytest.mark.parametrize("shape", [(20, 30), (1, 1), (3, 7), (7, 3), (5, 20, 3), (3, 20, 30)])
def test_small_and_odd_shapes_keep_their_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    labels = RNG.integers(0, 9, shape).astype(np.uint32)
    for name in ("a.tif", "a.ome.tif"):
        write_labels(tmp_path / name, labels, Grid.plain(len(shape)))
        volume = read_labels(tmp_path / name)
        np.testing.assert_array_equal(volume.data, labels)
        assert volume.grid() == Grid.plain(len(shape))


def test_imagej_calibration_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        resolution=(10.0, 5.0),
        metadata={"axes": "ZYX", "spacing": -0.5, "unit": "um"},
    )
    grid = read_image(tmp_path / "a.tif").grid()
    assert grid.units == ("micrometer",) * 3
    np.testing.assert_allclose(grid.scale, (0.5, 0.2, 0.1))


def test_dots_per_inch_are_no_voxel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(72, 72), resolutionunit="INCH")
    assert read_image(tmp_path / "a.tif").grid() == Grid.plain(2)


def test_nonsense_calibration_is_ignored(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        STACK,
        imagej=True,
        resolution=(0.0, 0.0),
        metadata={"axes": "ZYX", "spacing": float("nan"), "unit": "um"},
    )
    assert read_image(tmp_path / "a.tif").grid().scale == (1.0, 1.0, 1.0)


def test_units_of_different_axes_are_compared(tmp_path: Path) -> None:
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeZ": 0.04,
        "PhysicalSizeZUnit": "µm",
        **{f"PhysicalSize{a}": 4.0 for a in "XY"},
        **{f"PhysicalSize{a}Unit": "nm" for a in "XY"},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    grid = read_image(tmp_path / "a.ome.tif").grid()
    assert grid.units == ("micrometer", "nanometer", "nanometer")
    assert grid.spacing == pytest.approx((40.0, 4.0, 4.0))
    assert grid.unit == "nanometer"


@pytest.mark.parametrize(
    ("axes", "shape", "channel"),
    [("CYX", (2, 20, 30), 0), ("ZCYX", (5, 2, 20, 30), 1), ("TZCYX", (1, 5, 2, 20, 30), 1)],
)
def test_channels_are_found(
    tmp_path: Path, axes: str, shape: tuple[int, ...], channel: int
) -> None:
    data = RNG.integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", data, metadata={"axes": axes})
    volume = read_image(tmp_path / "a.ome.tif")
    assert volume.channel_axis == channel
    np.testing.assert_array_equal(volume.data, data.squeeze())
    assert volume.grid(channel).axes == tuple("zyx")[-(volume.data.ndim - 1) :]


def test_colours_are_channels_without_transparency(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (20, 30, 4)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "b.tif", data[..., :3], photometric="rgb", compression="zlib")
    for name in ("a.tif", "b.tif"):
        volume = read_image(tmp_path / name)
        np.testing.assert_array_equal(volume.data, data[..., :3])
        assert volume.channel_axis == 2


def test_a_palette_is_colours_in_an_image_and_ids_in_labels(tmp_path: Path) -> None:
    table = RNG.integers(0, 255, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], colormap=table * 257)
    volume = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.data, np.moveaxis(table[:, STACK[0]], 0, 2))
    assert volume.channel_axis == 2
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif").data, STACK[0])


def test_a_stack_saved_as_channels_is_a_stack_to_scribbles_of_its_shape(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "CYX"})
    volume = read_image(tmp_path / "a.ome.tif")
    assert volume.channel_axis_for((5, 20, 30)) is None
    assert volume.channel_axis_for((20, 30)) == 0


def test_an_axis_without_a_name_is_what_the_scribbles_make_of_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK)
    volume = read_image(tmp_path / "a.tif")
    assert volume.channel_axis is None
    assert volume.channel_axis_for((20, 30)) == 0
    assert volume.channel_axis_for((5, 20, 30)) is None
    assert volume.grid().axes == ("z", "y", "x")
    chosen = read_image(tmp_path / "a.tif", channel_axis=-3)
    assert chosen.channel_axis == 0
    with pytest.raises(InputError, match="channel_axis is 3 but .* has 3 axes"):
        read_image(tmp_path / "a.tif", channel_axis=3)


def test_several_time_points_need_a_choice(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX"})
    with pytest.raises(
        FileError, match=r"5 time points.*0 to 4 \(--time N\).*--time all; with --per-slice"
    ):
        read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.ome.tif", time=3).data, STACK[3])
    with pytest.raises(InputError, match="time is 7"):
        read_image(tmp_path / "a.ome.tif", time=7)


def test_a_level_of_a_file_with_one_is_told(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="level is 1 but .* has 1 level only: choose 0"):
        read_image(tmp_path / "s.tif", level=1)


def test_a_level_of_a_pyramid_is_read_with_its_scale(tmp_path: Path) -> None:
    data = RNG.integers(0, 255, (64, 96)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        metadata = {"axes": "YX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0}
        writer.write(data, subifds=1, tile=(16, 16), metadata=metadata)
        writer.write(data[::2, ::2], subfiletype=1, tile=(16, 16))
    volume = read_image(tmp_path / "a.ome.tif", level=1)
    np.testing.assert_array_equal(volume.data, data[::2, ::2])
    assert volume.grid().scale == (4.0, 4.0)
    with pytest.raises(InputError, match="level is 2 but .* has 2: choose 0 to 1"):
        read_image(tmp_path / "a.ome.tif", level=2)


def test_a_file_packed_with_lzw_is_read(tmp_path: Path) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, STACK[0])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
@pytest.mark.parametrize("keep", [3, 8, 100, 0.3, 0.9])
def test_cut_off_files_are_file_errors(
    tmp_path: Path, options: dict[str, object], keep: float
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep >= 1 else len(data) * keep)])
    with pytest.raises(FileError, match=r"a\.tif"):
        read_image(path)


def test_damaged_data_is_a_file_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    data[start : start + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(FileError, match="cannot be read as TIFF.*damaged"):
        read_image(path)


def test_fractions_are_labels_only_if_whole(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(np.float32))
    tifffile.imwrite(tmp_path / "b.tif", STACK + np.float32(0.5))
    read = read_labels(tmp_path / "a.tif").data
    assert read.dtype.kind == "i"
    np.testing.assert_array_equal(read, STACK)
    with pytest.raises(FileError, match="labels are whole numbers"):
        read_labels(tmp_path / "b.tif")
