"""What cannot be converted is told, and costs nothing that was there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_implicitseg import convert
from napari_implicitseg.errors import Cancelled, FileError, InputError, OutputExistsError
from napari_implicitseg.volumes import Layout, copying, read_image
from napari_implicitseg.volumes.converting import convert_file

from .converting_cases import EM, array, save_imagej

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1, 2)}, "spacing is 1,2; needed is one positive number"),
        ({"spacing": (1, 2, -1)}, "spacing is 1,2,-1"),
        ({"kind": "picture"}, "kind is 'picture'"),
        ({"layout": Layout(chunks=(3, 3))}, "chunks are"),
        ({"layout": Layout(shards=(3, 3, 3, 3))}, "shards are"),
    ],
)
def test_options_that_do_not_fit_are_told_and_nothing_is_written(tmp_path, options, message):
    source = save_imagej(tmp_path / "a.tif")
    with pytest.raises(InputError, match=message):
        convert(source, tmp_path / "b.zarr", **options)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_labels_are_whole_numbers_from_zero(tmp_path) -> None:
    labels = EM.astype(np.int32)
    labels[4, 4, 4] = -7
    tifffile.imwrite(tmp_path / "l.tif", labels)
    with pytest.raises(InputError, match="negative id -7"):
        convert(tmp_path / "l.tif", tmp_path / "l.zarr")
    tifffile.imwrite(tmp_path / "f.tif", EM.astype(np.float32))
    with pytest.raises(InputError, match="dtype float32; labels are one whole number"):
        convert(tmp_path / "f.tif", tmp_path / "l.zarr", kind="labels")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.tif", "l.tif"]


def test_what_is_there_stays_unless_it_may_be_replaced(tmp_path) -> None:
    source, target = save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr"
    convert(source, target)
    save_imagej(tmp_path / "b.tif", EM[::-1].copy())
    with pytest.raises(OutputExistsError, match="--overwrite"):
        convert(tmp_path / "b.tif", target)
    np.testing.assert_array_equal(array(target)[...], EM)
    convert(tmp_path / "b.tif", target, overwrite=True)
    np.testing.assert_array_equal(array(target)[...], EM[::-1])


def test_a_target_is_neither_the_source_nor_in_it(tmp_path) -> None:
    convert(save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr")
    (tmp_path / "s").mkdir()
    Image.fromarray(EM[0]).save(tmp_path / "s" / "0.png")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "a.zarr")
    for source, target, message in (
        ("a.zarr", "a.zarr", "would replace the input"),
        ("a.zarr", "link.zarr", "would replace the input"),
        ("a.zarr/0", "a.zarr", "would replace the input"),
        ("a.zarr", "a.zarr/b.zarr", "inside a zarr"),
        ("s", "s/b.zarr", "inside the input"),
        ("s", "b.tif", "is no OME-Zarr"),
        ("s", "none/b.zarr", "does not exist"),
    ):
        with pytest.raises(FileError, match=message):
            convert(tmp_path / source, tmp_path / target, overwrite=True)
    np.testing.assert_array_equal(array(tmp_path / "a.zarr")[...], EM)


def test_a_full_disk_and_a_stop_leave_nothing_behind(tmp_path, monkeypatch) -> None:
    source, target = save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr"

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.5:
            raise Cancelled("stopped")

    layout = Layout(chunks=(4, 16, 16), shards=(4, 16, 16))
    with pytest.raises(Cancelled):
        convert(source, target, progress=stop, layout=layout)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="No space left.*Free some space"):
        convert(source, target)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_missing_chunks_are_zero_and_broken_ones_are_named(tmp_path) -> None:
    source = tmp_path / "a.zarr"
    convert(
        save_imagej(tmp_path / "a.tif"),
        source,
        layout=Layout(chunks=(9, 32, 32), shards=(9, 32, 32)),
    )
    (source / "0" / "c" / "0" / "1" / "0").unlink()
    convert(source, tmp_path / "b.zarr")
    expected = EM.copy()
    expected[:, 32:64, :32] = 0
    np.testing.assert_array_equal(array(tmp_path / "b.zarr")[...], expected)
    (source / "0" / "c" / "0" / "0" / "2").write_bytes(b"broken")
    with pytest.raises(FileError, match=r"a\.zarr.*chunk 0/c/0/0/2"):
        convert(source, tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()


def test_a_disk_too_small_for_a_slab_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(copying, "_IN_MEMORY", 1000)
    monkeypatch.setattr("napari_implicitseg.volumes.volume.EAGER_BYTES", 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    source = save_imagej(tmp_path / "a.tif", compression="zlib")
    with pytest.raises(FileError, match="No space left.*Free some space"):
        convert(source, tmp_path / "a.zarr", layout=Layout(chunks=(4, 8, 8), shards=(4, 8, 8)))
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def _break(path: Path, change) -> None:
    """Change what the metadata say of the image."""
    document = json.loads((path / "zarr.json").read_text())
    change(document["attributes"]["ome"]["multiscales"][0])
    (path / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.pop("datasets"), "cannot be read as zarr"),
        (lambda image: image.update(datasets=[]), "level is 0"),
        (lambda image: image["datasets"][0].update(path="9"), "cannot be read as zarr"),
        (lambda image: image.update(axes=image["axes"][1:]), "names 2 axes but its array has 3"),
        (lambda image: image["axes"][0].update(name="y"), "are called y, y, x"),
    ],
)
def test_broken_metadata_are_told(tmp_path, change, message) -> None:
    convert(save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr")
    _break(tmp_path / "a.zarr", change)
    with pytest.raises((FileError, InputError), match=message):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()


def test_unknown_axes_are_taken_for_those_of_space_that_are_missing(tmp_path) -> None:
    convert(save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr")
    _break(tmp_path / "a.zarr", lambda image: image["axes"][0].update(name="depth"))
    assert convert_file(tmp_path / "a.zarr", tmp_path / "b.zarr").axes == "zyx"
    assert read_image(tmp_path / "b.zarr").grid().scale == (40, 4, 4)


@pytest.mark.parametrize("path", ["../other/0", "/etc", "0/../../other/0"])
def test_metadata_do_not_lead_out_of_the_zarr(tmp_path, path) -> None:
    convert(save_imagej(tmp_path / "a.tif"), tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "other" / "0", data=EM)
    metadata = tmp_path / "a.zarr" / "zarr.json"
    document = json.loads(metadata.read_text())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    metadata.write_text(json.dumps(document))
    with pytest.raises(FileError, match=r"a\.zarr"):
        convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
