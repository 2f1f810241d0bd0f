"""HDF5: which dataset is meant, its axes and voxel size, and what cannot be read."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import Grid, read_image, read_labels, read_probability, volume
from napari_implicitseg.volumes.hdf5 import split_hdf5

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
RAW = RNG.integers(0, 255, (6, 20, 30)).astype(np.uint8)
IDS = RNG.integers(0, 2**40, (6, 20, 30)).astype(np.uint64)


def write(path: Path, **datasets: Any) -> Path:
    """Write datasets, `__` in their names stands for `/`."""
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=data)
    return path


def cremi(path: Path) -> Path:
    """A file laid out as those of the CREMI challenge."""
    write(
        path,
        volumes__raw=RAW,
        volumes__labels__neuron_ids=IDS,
        volumes__labels__clefts=IDS,
        annotations__ids=np.arange(9),
        annotations__locations=np.zeros((9, 3)),
    )
    with h5py.File(path, "a") as file:
        for name in ("volumes/raw", "volumes/labels/neuron_ids"):
            file[name].attrs["resolution"] = (40.0, 4.0, 4.0)
        file["volumes/labels/neuron_ids"].attrs["offset"] = (1520.0, 3644.0, 3644.0)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", ">u2", "f2", "<f4", "f8", "u8", "?"])
@pytest.mark.parametrize("packing", [{}, {"compression": "lzf"}, {"compression": "gzip"}])
def test_every_dtype_and_packing_is_read(tmp_path: Path, dtype: str, packing: Any) -> None:
    data = (RAW % 7).astype(dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("anything", data=data, **packing)
    read = read_image(tmp_path / "a.h5")
    np.testing.assert_array_equal(read.data, data)
    assert read.grid() == Grid.plain(3)


@pytest.mark.parametrize("end", ["", "/volumes/raw", ":volumes/raw", ":/volumes/raw", "/volumes"])
@pytest.mark.parametrize("name", ["a.h5", "a.HDF5", "a.b.hdf"])
def test_a_dataset_is_named_behind_the_file(tmp_path: Path, name: str, end: str) -> None:
    path = cremi(tmp_path / name)
    np.testing.assert_array_equal(read_image(f"{path}{end}").data, RAW)


def test_of_several_datasets_the_usual_one_is_taken(tmp_path: Path) -> None:
    path = cremi(tmp_path / "sample.h5")
    image, labels = read_image(path), read_labels(path)
    np.testing.assert_array_equal(image.data, RAW)
    np.testing.assert_array_equal(labels.data, IDS)
    assert labels.data.dtype == np.uint64
    assert image.grid() == Grid(
        axes=("z", "y", "x"),
        scale=(40.0, 4.0, 4.0),
        translate=(0.0, 0.0, 0.0),
        units=("nanometer",) * 3,
    )
    assert labels.grid().translate == (1520.0, 3644.0, 3644.0)


@pytest.mark.parametrize("name", ["raw", "main", "stack", "some__where__raw"])
def test_usual_names_are_known(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.h5", **{name: RAW, "other": IDS, "scale": np.arange(4)})
    np.testing.assert_array_equal(read_image(path).data, RAW)


def test_the_only_image_is_taken_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", q=RAW, numbers=np.arange(5), name="text")
    np.testing.assert_array_equal(read_image(path).data, RAW)


@pytest.mark.parametrize(
    ("datasets", "end", "message"),
    [
        (
            {"one": RAW, "two": IDS},
            "",
            r"several datasets: 'one' \(6, 20, 30\) uint8, 'two' .*a.h5/one",
        ),
        (
            {"g__a__raw": RAW, "g__b__raw": RAW},
            "/g",
            "group 'g' of '.*a.h5' has several datasets: 'a/raw'",
        ),
        ({"one": RAW}, "/raw", r"no dataset 'raw'; it has 'one' \(6, 20, 30\) uint8"),
        ({"one": RAW}, "/one/two", "no dataset 'one/two'"),
        ({"one": np.arange(3)}, "", r"holds no image: it has 'one' \(3,\) int64"),
        ({}, "", "holds no image: it has no datasets"),
        ({"one": np.arange(3)}, ":one", r"'/one' .* shape \(3,\); an image has numbers"),
        ({"one": "text"}, ":one", "has dtype object"),
        ({"one": RAW[:0]}, "", r"is empty: its shape is \(0, 20, 30\)"),
        ({f"n{i}": RAW for i in range(12)}, "", "and 4 more"),
    ],
)
def test_what_is_not_clear_is_an_error_that_lists_what_is_there(
    tmp_path: Path, datasets: dict[str, Any], end: str, message: str
) -> None:
    path = write(tmp_path / "a.h5", **datasets)
    with pytest.raises(FileError, match=message):
        read_image(f"{path}{end}")


def test_element_size_is_that_of_fiji(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", data=RAW, flat=RAW[0])
    with h5py.File(path, "a") as file:
        for name in ("data", "flat"):
            file[name].attrs["element_size_um"] = (0.5, 0.2, 0.1)
    grid = read_image(f"{path}/data").grid()
    assert (grid.scale, grid.unit) == ((0.5, 0.2, 0.1), "micrometer")
    assert read_image(f"{path}/flat").grid().scale == (0.2, 0.1)


def test_units_may_be_told(tmp_path: Path) -> None:
    for units in ("um", b"um", ["um", "um", "um"]):
        path = write(tmp_path / "a.h5", raw=RAW)
        with h5py.File(path, "a") as file:
            file["raw"].attrs["resolution"] = (4, 1, 1)
            file["raw"].attrs["units"] = units
        assert read_image(path).grid().units == ("micrometer",) * 3


@pytest.mark.parametrize("value", [(0.0, 1.0, 1.0), (np.nan, 1, 1), (-1, 1, 1), "big", (1.0, 1.0)])
def test_sizes_that_mean_nothing_are_ignored(tmp_path: Path, value: Any) -> None:
    path = write(tmp_path / "a.h5", raw=RAW)
    with h5py.File(path, "a") as file:
        file["raw"].attrs["resolution"] = value
    assert set(read_image(path).grid().scale) == {1.0}


def test_axes_are_those_of_ilastik(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", exported_data=np.stack([RAW, RAW], axis=-1)[None])
    with h5py.File(path, "a") as file:
        data = file["exported_data"]
        data.attrs["axistags"] = json.dumps({"axes": [{"key": k} for k in "tzyxc"]})
        data.attrs["element_size_um"] = (0.5, 0.2, 0.1)
    image = read_image(path)
    assert image.channel_axis == 3
    assert image.grid(3).axes == ("z", "y", "x")
    assert image.grid(3).scale == (0.5, 0.2, 0.1)
    np.testing.assert_array_equal(read_labels(path).data, RAW)


def test_time_points_are_chosen_and_dimensions_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", data=RAW)
    with h5py.File(path, "a") as file:
        for dim, name in zip(file["data"].dims, "tyx", strict=True):
            dim.label = name
    np.testing.assert_array_equal(read_image(path, time=2).data, RAW[2])
    with pytest.raises(FileError, match="has 6 time points"):
        read_image(path)


def test_channels_come_first_where_only_the_size_of_space_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", affs=np.stack([RAW] * 3))
    with h5py.File(path, "a") as file:
        file["affs"].attrs["resolution"] = (40, 4, 4)
    image = read_image(path, channel_axis=0)
    assert image.channel_axis == 0
    assert image.grid(0).scale == (40.0, 4.0, 4.0)
    assert read_image(path).channel_axis_for(RAW.shape) == 0


def test_labels_and_masks_are_integers_and_bools(tmp_path: Path) -> None:
    mask = np.where(RAW > 100, 255, 0).astype(np.uint8)
    path = write(tmp_path / "a.h5", mask=mask, yes=mask > 0, whole=IDS % 9 * 1.0, part=RAW / 7.0)
    np.testing.assert_array_equal(read_labels(f"{path}/mask").data, mask)
    assert read_labels(f"{path}/yes").data.dtype == bool
    assert read_labels(f"{path}/whole").data.dtype == np.int64
    with pytest.raises(FileError, match="labels are whole numbers"):
        read_labels(f"{path}/part")
    np.testing.assert_allclose(read_probability(f"{path}/mask"), mask / 255.0)


def test_large_arrays_stay_in_their_file_until_they_are_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volume, "EAGER_BYTES", 100)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", data=RAW, chunks=(2, 5, 10))
    image = read_image(tmp_path / "a.h5")
    assert not isinstance(image.data, np.ndarray)
    assert image.data.chunks == (2, 5, 10)
    np.testing.assert_array_equal(image.data[1:3, 4, ...], RAW[1:3, 4])
    np.testing.assert_array_equal(np.asarray(image.data), RAW)
    del image
    gc.collect()
    with h5py.File(tmp_path / "a.h5", "a"):  # As long as it is open this is refused.
        pass


def test_small_arrays_leave_the_file_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", raw=RAW)
    image = read_image(path)
    path.unlink()
    with h5py.File(path, "w"):
        pass
    np.testing.assert_array_equal(image.data, RAW)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
def test_a_file_cut_off_is_damaged(tmp_path: Path, share: float) -> None:
    path = write(tmp_path / "a.h5", raw=RAW)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileError, match="'.*a.h5' cannot be read as HDF5: .*damaged or cut off"):
        read_image(path)


def test_damaged_chunks_are_reported_when_they_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("raw", data=RAW, chunks=RAW.shape, compression="gzip")
        place = data.id.get_chunk_info(0)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"?" * place.size
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(FileError, match="cannot be read as HDF5"):
        read_image(tmp_path / "a.h5")


def test_filters_that_are_not_installed_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, unused in (("packed", 0), ("plain", 1)):
            how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            how.set_chunk((20, 30))
            how.set_filter(305, h5py.h5z.FLAG_OPTIONAL)
            made = h5py.h5d.create(
                file.id, name.encode(), h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((20, 30)), how
            )
            made.write_direct_chunk((0, 0), RAW[0].tobytes(), filter_mask=unused)
    with pytest.raises(FileError, match="'/packed' .* packed with filter 305.*hdf5plugin"):
        read_image(tmp_path / "a.h5" / "packed")
    np.testing.assert_array_equal(read_image(tmp_path / "a.h5" / "plain").data, RAW[0])


def test_other_files_are_no_hdf5(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("not at all")
    with pytest.raises(FileError, match="cannot be read as HDF5"):
        read_image(tmp_path / "a.h5")
    (tmp_path / "b.h5").touch()
    with pytest.raises(FileError, match=r"b.h5' is empty \(0 bytes\)"):
        read_image(tmp_path / "b.h5")
    with pytest.raises(FileError, match="image file '.*c.h5' does not exist"):
        read_image(tmp_path / "c.h5" / "raw")


def test_there_is_one_level(tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", raw=RAW)
    with pytest.raises(InputError, match="level is 1 but"):
        read_image(path, level=1)


def test_folders_that_look_like_files_are_folders(tmp_path: Path) -> None:
    (tmp_path / "run.h5").mkdir()
    path = write(tmp_path / "run.h5" / "a.h5", raw=RAW)
    assert split_hdf5(path / "raw") == (path, "raw")
    assert split_hdf5(tmp_path / "run.h5") is None
    assert split_hdf5(tmp_path / "a.tif") is None
    np.testing.assert_array_equal(read_image(path).data, RAW)


def test_the_volumes_of_gala_are_read(data_dir: Path) -> None:
    folder = data_dir / "em" / "gala"
    raw, labels = read_image(folder / "train-image.h5"), read_labels(folder / "train-gt.lzf.h5")
    assert raw.shape == labels.shape == (50, 100, 200)
    assert len(np.unique(labels.data)) == 88
