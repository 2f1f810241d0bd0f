"""Failures while writing leave the old file byte for byte and no neighbours."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from napari_implicitseg.atomic import replace_file, replace_folder
from napari_implicitseg.errors import FileError, OutputExistsError
from napari_implicitseg.volumes import Grid, check_output, write_labels

LABELS = np.random.default_rng(0).integers(0, 9, (64, 80)).astype(np.uint32)
OUTPUTS = ("masks.tif", "masks.ome.tif", "masks.png", "masks.zarr")


def content(path: Path) -> dict[str, bytes]:
    """Return all bytes of a file or folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def fail_with(monkeypatch: pytest.MonkeyPatch, number: int, function: str = "fsync") -> None:
    """Make a function of the operating system fail."""

    def broken(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, function, broken)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failing_disk_keeps_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    path = tmp_path / name
    write_labels(path, LABELS, Grid.plain(2))
    before = content(path)
    fail_with(monkeypatch, number)
    with pytest.raises(FileError, match=f"Cannot write .*{name}.*Nothing was changed"):
        write_labels(path, LABELS + 1, Grid.plain(2), overwrite=True)
    assert content(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_failing_disk_leaves_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fail_with(monkeypatch, errno.ENOSPC)
    with pytest.raises(FileError, match="No space left.*Free some space"):
        write_labels(tmp_path / name, LABELS, Grid.plain(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["masks.tif", "masks.zarr"])
def test_a_failing_rename_puts_the_old_output_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    write_labels(path, LABELS, Grid.plain(2))
    before = content(path)
    real = {"rename": os.rename, "replace": os.replace}

    def broken(source: Path, target: Path, *, call: str) -> None:
        # Only the move of the new output fails, not putting the old one back.
        if Path(target) == path and ".tmp" in Path(source).name and not content_is_old(source):
            raise OSError(errno.EIO, "Input/output error")
        real[call](source, target)

    def content_is_old(source: Path) -> bool:
        return content(Path(source)) == before

    monkeypatch.setattr(os, "rename", lambda a, b: broken(a, b, call="rename"))
    monkeypatch.setattr(os, "replace", lambda a, b: broken(a, b, call="replace"))
    with pytest.raises(FileError, match="Input/output error"):
        write_labels(path, LABELS + 1, Grid.plain(2), overwrite=True)
    assert content(path) == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("replace", [replace_file, replace_folder])
def test_an_interrupt_leaves_nothing(tmp_path: Path, replace: object) -> None:
    assert callable(replace)
    with pytest.raises(KeyboardInterrupt), replace(tmp_path / "out", overwrite=False):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_existing_output_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_labels(path, LABELS, Grid.plain(2))
    before = content(path)
    with pytest.raises(OutputExistsError, match="already exists.*--overwrite"):
        write_labels(path, LABELS, Grid.plain(2))
    assert content(path) == before


def test_overwriting_keeps_permissions_and_follows_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.tif", tmp_path / "link.tif"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_labels(link, LABELS, Grid.plain(2), overwrite=True)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.stat().st_size > 3


@pytest.mark.parametrize("name", ["a.tif", "a.zarr"])
def test_a_read_only_output_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    write_labels(path, LABELS, Grid.plain(2))
    before = content(path)
    path.chmod(0o555 if path.is_dir() else 0o444)
    real = os.access  # root may write everything
    monkeypatch.setattr(os, "access", lambda p, m: m != os.W_OK and real(p, m))
    with pytest.raises(FileError, match="read-only"):
        check_output(path, overwrite=True)
    with pytest.raises(FileError, match="read-only"):
        write_labels(path, LABELS, Grid.plain(2), overwrite=True)
    assert content(path) == before
    path.chmod(0o755)


def test_new_files_are_readable_by_others_as_the_umask_says(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_labels(tmp_path / "a.png", LABELS, Grid.plain(2))
    finally:
        os.umask(old)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:  # root may write everywhere
        monkeypatch.setattr(
            Path, "touch", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied"))
        )
    else:
        tmp_path.chmod(0o555)
    with pytest.raises(FileError, match="Write to a folder you may write to"):
        check_output(tmp_path / "a.tif")
    tmp_path.chmod(0o755)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """Return a file system of 128 kB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        done = False
    if not done:
        pytest.skip("mounting a small disk needs root")
    return folder


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_really_full_disk_keeps_the_old_output(small_disk: Path, name: str) -> None:
    path = small_disk / name
    noise = np.random.default_rng(0).integers(0, 60000, (300, 300)).astype(np.uint32)
    try:
        write_labels(path, LABELS, Grid.plain(2))
        before = content(path)
        with pytest.raises(FileError, match="No space left"):
            write_labels(path, noise, Grid.plain(2), overwrite=True)
        assert content(path) == before
        assert [p.name for p in small_disk.iterdir()] == [name]
    finally:
        subprocess.run(["umount", str(small_disk)], check=True)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("in.zarr", "would replace the input"),
        ("in.zarr/labels/strokes", "would replace the input"),
        ("in.zarr/0", "extension ''"),
        ("in.zarr/0/x.tif", "lies inside a zarr"),
        ("in.zarr/other.zarr", "lies inside a zarr"),
        ("picture.jpg", r"extension '\.jpg'.*\.png or \.zarr"),
        ("missing/a.tif", "does not exist. Make it"),
        ("folder.tif", "is a folder"),
        ("notes.zarr", "is no zarr, so it is not replaced"),
        ("linked.tif", "would replace the input"),
    ],
)
def test_outputs_that_would_do_harm_are_refused(tmp_path: Path, name: str, match: str) -> None:
    write_labels(tmp_path / "in.zarr", LABELS, Grid.plain(2))
    write_labels(tmp_path / "in.zarr" / "labels" / "strokes", LABELS, Grid.plain(2))
    write_labels(tmp_path / "in.tif", LABELS, Grid.plain(2))
    (tmp_path / "linked.tif").hardlink_to(tmp_path / "in.tif")
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "notes.zarr").mkdir()
    (tmp_path / "notes.zarr" / "thesis.txt").write_text("years of work")
    inputs = [tmp_path / "in.tif", tmp_path / "in.zarr" / "labels" / "strokes"]
    with pytest.raises(FileError, match=match):
        check_output(tmp_path / name, inputs=inputs, overwrite=True)


def test_a_good_output_passes_and_leaves_no_trace(tmp_path: Path) -> None:
    check_output(tmp_path / "a.tif", inputs=[tmp_path / "b.tif"])
    write_labels(tmp_path / "i.zarr", LABELS, Grid.plain(2))
    check_output(tmp_path / "i.zarr" / "labels" / "new")
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    check_output(tmp_path / "a.tif")
    (tmp_path / "zarr.json").unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["i.zarr"]
    assert not (tmp_path / "i.zarr" / "labels").exists()


def test_a_name_as_long_as_the_disk_takes_works(tmp_path: Path) -> None:
    target = tmp_path / ("µ" * 125 + ".tif")
    with replace_file(target, overwrite=False) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]
