"""OME-Zarr 0.4 and 0.5 and plain zarr arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import ome_zarr_models
import ome_zarr_models.v04
import ome_zarr_models.v05
import pytest
import zarr

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import Grid, read_image, read_labels, write_labels
from napari_implicitseg.volumes.pyramid import coarsen

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, (6, 40, 50)).astype(np.uint32)
GRID = Grid(
    axes=("z", "y", "x"),
    scale=(40.0, 4.0, 4.0),
    translate=(80.0, 0.0, 12.0),
    units=("nanometer",) * 3,
)
VERSIONS = ("0.4", "0.5")


def make_image(path: Path, data: np.ndarray, names: str, version: str, levels: int = 1) -> None:
    """Write an OME-Zarr image as other programs do."""
    kinds = {"t": "time", "c": "channel"}
    axes: list[dict[str, Any]] = [{"name": n, "type": kinds.get(n, "space")} for n in names]
    for axis in axes:
        if axis["type"] == "space":
            axis["unit"] = "micrometer"
    step = [1 if n in kinds else 2 for n in names]
    datasets = [
        {
            "path": f"s{i}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [0.5 * s**i if s > 1 else 1.0 for s in step]}
            ],
        }
        for i in range(levels)
    ]
    image: dict[str, Any] = {"axes": axes, "datasets": datasets, "name": "raw"}
    attributes: dict[str, Any] = {"multiscales": [image]}
    if version == "0.5":
        attributes = {"ome": {"version": "0.5", **attributes}}
    else:
        image["version"] = "0.4"
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2, attributes=attributes)
    for i in range(levels):
        names_option = {"dimension_names": list(names)} if version == "0.5" else {}
        group.create_array(f"s{i}", data=data, **names_option)
        data = data[tuple(slice(None, None, s) for s in step)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int32])
def test_labels_survive_a_round_trip(tmp_path: Path, version: str, dtype: type) -> None:
    path = tmp_path / "a.ome.zarr"
    labels = LABELS.astype(dtype)
    labels[0, 0, 0] = np.iinfo(dtype).max
    write_labels(path, labels, GRID, version=version)
    volume = read_labels(path)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.data, labels)
    assert volume.grid() == GRID
    array = zarr.open_array(path / "0", mode="r")
    np.testing.assert_array_equal(array[...], labels)
    assert array.metadata.zarr_format == (2 if version == "0.4" else 3)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_valid_and_carries_properties(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.zarr"
    write_labels(path, LABELS, GRID, version=version, properties={2: {"holds": True}})
    model = ome_zarr_models.open_ome_zarr(path, version=version)
    package = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    assert isinstance(model, package.ImageLabel)
    attributes = zarr.open_group(path, mode="r").attrs.asdict()
    label = attributes.get("ome", attributes)["image-label"]
    assert label["properties"] == [{"label-value": 2, "holds": True}]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_large_image_gets_a_pyramid_of_its_own_ids(tmp_path: Path, version: str) -> None:
    labels = RNG.integers(0, 2, (3, 1501, 700)).astype(np.uint32) * 70001
    write_labels(tmp_path / "a.zarr", labels, GRID, version=version)
    shapes = []
    for level in range(3):
        volume = read_labels(tmp_path / "a.zarr", level=level)
        step = 2**level
        if level:
            fine = np.asarray(read_labels(tmp_path / "a.zarr", level=level - 1).data)
            expected = coarsen(fine, (1, 2, 2), volume.shape, method="mode")
            np.testing.assert_array_equal(volume.data, expected)
        assert set(np.unique(volume.data)) == {0, 70001}
        assert volume.grid().scale == (40.0, 4.0 * step, 4.0 * step)
        # Voxel 0 of a coarse level lies in the middle of those it stands for.
        shift = 4.0 * (step - 1) / 2
        assert volume.grid().translate == (80.0, shift, 12.0 + shift)
        shapes.append(volume.shape)
    assert shapes == [(3, 1501, 700), (3, 751, 350), (3, 376, 175)]
    ome_zarr_models.open_ome_zarr(tmp_path / "a.zarr", version=version)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_labels_are_added_to_an_image(tmp_path: Path, version: str, consolidated: bool) -> None:
    path = tmp_path / "image.zarr"
    raw = RNG.integers(0, 255, (2, 6, 40, 51)).astype(np.uint8)
    make_image(path, raw, "czyx", version, levels=2)
    if consolidated:
        zarr.consolidate_metadata(path)
    grid = read_image(path).grid(0)
    write_labels(path / "labels" / "cells", RNG.integers(0, 3, (6, 40, 51)).astype("u4"), grid)
    write_labels(path / "labels" / "more", RNG.integers(0, 3, (6, 40, 51)).astype("u4"), grid)
    np.testing.assert_array_equal(read_image(path).data, raw)
    package = ome_zarr_models.v04 if version == "0.4" else ome_zarr_models.v05
    group = zarr.open_group(path, mode="r")
    model = package.Image.from_zarr(group)
    assert model.labels is not None
    attributes = group["labels"].attrs.asdict()
    assert attributes.get("ome", attributes)["labels"] == ["cells", "more"]
    assert sorted(group["labels"].keys()) == ["cells", "more"]
    assert [read_labels(path / "labels" / "cells", level=i).shape for i in (0, 1)] == [
        (6, 40, 51),
        (3, 20, 26),
    ]
    assert read_labels(path / "labels" / "cells").grid() == grid
    assert read_labels(path / "labels" / "cells", level=1).grid().scale == (1.0, 1.0, 1.0)


def test_labels_of_a_coarser_level_are_not_added_to_an_image(tmp_path: Path) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5", levels=2)
    volume = read_image(tmp_path / "i.zarr", level=1)
    with pytest.raises(FileError, match=r"\(3, 20, 25\) but .* has \(6, 40, 50\) at level 0"):
        write_labels(tmp_path / "i.zarr/labels/a", volume.data, volume.grid())
    assert not (tmp_path / "i.zarr" / "labels").exists()


def test_a_failure_leaves_no_labels_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_labels(tmp_path / "i.zarr/labels/a", LABELS, GRID)
    assert sorted(p.name for p in (tmp_path / "i.zarr").iterdir()) == ["s0", "zarr.json"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("names", "shape", "kept", "channel"),
    [
        ("yx", (8, 9), (8, 9), None),
        ("tczyx", (1, 1, 1, 8, 9), (8, 9), None),
        ("tczyx", (1, 2, 4, 8, 9), (2, 4, 8, 9), 0),
        ("cyx", (3, 8, 9), (3, 8, 9), 0),
    ],
)
def test_axes_are_channels_space_and_nothing_else(
    tmp_path: Path,
    version: str,
    names: str,
    shape: tuple[int, ...],
    kept: tuple[int, ...],
    channel: int | None,
) -> None:
    data = RNG.integers(0, 255, shape).astype(np.uint16)
    make_image(tmp_path / "i.zarr", data, names, version)
    volume = read_image(tmp_path / "i.zarr")
    np.testing.assert_array_equal(volume.data, data.reshape(kept))
    assert volume.channel_axis == channel
    grid = volume.grid(channel)
    assert grid.axes == ("z", "y", "x")[-grid.ndim :]
    assert set(grid.scale) == {0.5}
    assert grid.unit == "micrometer"


def test_several_time_points_need_a_choice(tmp_path: Path) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "tyx", "0.5")
    with pytest.raises(FileError, match="6 time points"):
        read_image(tmp_path / "i.zarr")
    np.testing.assert_array_equal(read_image(tmp_path / "i.zarr", time=-1).data, LABELS[5])


@pytest.mark.parametrize("version", VERSIONS)
def test_all_time_points_are_an_axis_that_is_written_as_one(tmp_path: Path, version: str) -> None:
    frames = np.repeat(np.repeat(LABELS, 90, 1), 90, 2)
    make_image(tmp_path / "i.zarr", frames, "tyx", version)
    volume = read_image(tmp_path / "i.zarr", time="all")
    np.testing.assert_array_equal(volume.data, frames)
    grid = volume.grid()
    assert grid.axes == ("t", "y", "x")
    assert grid.units == ("", "micrometer", "micrometer")
    assert grid.spacing is None  # Seconds and micrometres cannot be compared.
    assert grid.with_spacing((2, 3, 3), "nm").units == ("", "nanometer", "nanometer")
    write_labels(tmp_path / "l.zarr", frames, grid, version=version)
    again = read_labels(tmp_path / "l.zarr", time="all")
    np.testing.assert_array_equal(again.data, frames)
    assert again.grid() == grid
    assert [axis.kind for axis in again.axes] == ["time", "space", "space"]
    coarse = read_labels(tmp_path / "l.zarr", time="all", level=1)
    assert coarse.shape == (len(frames), *(-(-n // 2) for n in frames.shape[1:]))


def test_time_and_three_axes_of_space_are_one_too_many(tmp_path: Path) -> None:
    make_image(tmp_path / "i.zarr", np.stack([LABELS] * 3), "tzyx", "0.5")
    with pytest.raises(FileError, match=r"three axes of space.*--time N"):
        read_image(tmp_path / "i.zarr", time="all")
    make_image(tmp_path / "s.zarr", LABELS, "zyx", "0.5")
    with pytest.raises(InputError, match="time is all but .* no axis of time"):
        read_image(tmp_path / "s.zarr", time="all")


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", ["bool", "float16", ">u2", ">f4", "int64"])
def test_plain_arrays_are_read(tmp_path: Path, zarr_format: int, dtype: str) -> None:
    data = (LABELS % 2).astype(dtype)
    zarr.create_array(tmp_path / "a.zarr", data=data, zarr_format=zarr_format)  # type: ignore[arg-type]
    volume = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(volume.data, data)
    assert volume.grid() == Grid.plain(3)


def test_an_array_of_an_image_has_the_scale_of_its_level(tmp_path: Path) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5", levels=2)
    assert read_image(tmp_path / "i.zarr" / "s1").grid().scale == (1.0, 1.0, 1.0)
    assert read_image(tmp_path / "i.zarr" / "s1").grid().unit == "micrometer"


def test_transformations_of_the_whole_image_count(tmp_path: Path) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5")
    metadata = tmp_path / "i.zarr" / "zarr.json"
    document = json.loads(metadata.read_text())
    document["attributes"]["ome"]["multiscales"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [10.0, 2.0, 2.0]},
        {"type": "translation", "translation": [0.0, 1.0, 2.0]},
    ]
    metadata.write_text(json.dumps(document))
    grid = read_image(tmp_path / "i.zarr").grid()
    assert grid.scale == (5.0, 1.0, 1.0)
    assert grid.translate == (0.0, 1.0, 2.0)


def test_folders_without_an_image_say_what_is_in_them(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("raw", data=LABELS)
    (tmp_path / "plain").mkdir()
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5")
    with pytest.raises(FileError, match="has 'raw'. Name an image or array inside"):
        read_image(tmp_path / "g.zarr")
    with pytest.raises(FileError, match="is a folder but no zarr"):
        read_image(tmp_path / "plain")
    with pytest.raises(InputError, match="level is 1 but .* has 1"):
        read_image(tmp_path / "i.zarr", level=1)


@pytest.mark.parametrize("name", ["zarr.json", "s0/zarr.json", "s0/c/0/0/0"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"zarr_format": 3}', b"\xff\x00broken"])
def test_damaged_zarrs_are_file_errors(tmp_path: Path, name: str, content: bytes) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.5")
    (tmp_path / "i.zarr" / name).write_bytes(content)
    with pytest.raises(FileError, match=r"i\.zarr"):
        read_image(tmp_path / "i.zarr")


def test_an_empty_array_is_a_file_error(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(0, 5), dtype="u1")
    with pytest.raises(FileError, match="holds no image"):
        read_image(tmp_path / "a.zarr")


def test_overwriting_replaces_the_whole_group(tmp_path: Path) -> None:
    large = RNG.integers(0, 2, (700, 700)).astype(np.uint32)
    write_labels(tmp_path / "a.zarr", large, Grid.plain(2))
    write_labels(tmp_path / "a.zarr", large[:9, :9], Grid.plain(2), overwrite=True)
    assert sorted(p.name for p in (tmp_path / "a.zarr").iterdir()) == ["0", "zarr.json"]
    np.testing.assert_array_equal(read_labels(tmp_path / "a.zarr").data, large[:9, :9])
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("version", VERSIONS)
def test_naparis_reader_of_ome_zarr_opens_it(tmp_path: Path, version: str) -> None:
    reader = pytest.importorskip("napari_ome_zarr")
    path = tmp_path / "folder" / "a.zarr"  # the reader leaves a group in the folder around it
    path.parent.mkdir()
    write_labels(path, LABELS, GRID, version=version)
    layers = reader.napari_get_reader(str(path))(str(path))
    assert any(np.array_equal(np.asarray(layer[0][0]), LABELS) for layer in layers)
