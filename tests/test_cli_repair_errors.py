"""What `napari-implicitseg repair` says to bad input: one line, nothing written or lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer.testing
import zarr
from PIL import Image

from napari_implicitseg.cli import app
from napari_implicitseg.volumes import Grid, write_labels

LABELS = np.zeros((96, 128), np.uint16)
LABELS[10:40, 10:40] = 3
LABELS[20:60, 70:90] = 900
MAP = np.clip(1.5 - np.hypot(*np.mgrid[-48:48, -64:64]) / 40, 0, 1).astype(np.float32)


def repair(*arguments: object) -> typer.testing.Result:
    """Run the command in this process and folder; a bug is raised."""
    words = ["repair", *map(str, arguments)]
    done = typer.testing.CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def everything() -> dict[str, bytes | None]:
    """Return the names and contents of all there is in this folder."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in Path().rglob("*")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with good labels."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("labels.tif", LABELS)
    Image.fromarray(LABELS).save("labels.png")
    write_labels("labels.zarr", LABELS, Grid.plain(2))


def bad_files() -> None:
    """Make files that cannot be repaired."""
    random = np.random.default_rng(0)
    tifffile.imwrite("negative.tif", -LABELS.astype(np.int16))
    tifffile.imwrite("huge.tif", LABELS.astype(np.uint64) << 40)
    tifffile.imwrite("big.tif", LABELS.astype(np.uint32) * 100)
    tifffile.imwrite("fractions.tif", LABELS * 1.5)
    tifffile.imwrite("outside.tif", MAP * 1.2 - 0.1)
    tifffile.imwrite("nan.tif", np.where(MAP > 0.9, np.nan, MAP))
    tifffile.imwrite(
        "colours.tif", random.random((20, 30, 3)).astype(np.float32), photometric="rgb"
    )
    tifffile.imwrite("four.tif", np.zeros((2, 9, 20, 20), np.uint8), photometric="minisblack")
    Image.fromarray(random.integers(0, 255, (40, 50, 3)).astype(np.uint8)).save("colours.png")
    Image.fromarray(random.integers(0, 255, (40, 50)).astype(np.uint8)).save("noise.png")
    Image.fromarray(LABELS.astype(np.uint8)).save("labels.jpg")
    zarr.create_array("stack.zarr", data=np.stack([LABELS] * 5))
    Path("cut.png").write_bytes(Path("labels.png").read_bytes()[:200])
    Path("empty.tif").touch()
    Path("labels.docx").write_text("no picture")
    np.save("labels.npy", LABELS)
    Path("old.tif").write_bytes(b"old")
    Path("folder.tif").mkdir()


OUT = ("-o", "out.tif")
GOOD = ("labels.tif", *OUT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.tif", *OUT), ("labels file 'none.tif'", "does not exist")),
        (("empty.tif", *OUT), ("empty.tif", "0 bytes")),
        (("cut.png", *OUT), ("cut.png", "cut off")),
        (("labels.docx", *OUT), (".docx", ".zarr")),
        (("labels.npy", *OUT), (".npy", ".tif")),
        (("labels.jpg", *OUT), ("labels.jpg", "JPEG", ".png")),
        (("folder.tif", *OUT), ("folder.tif", "no zarr")),
        (("negative.tif", *OUT), ("negative.tif", "-900", "positive")),
        (("huge.tif", *OUT), ("huge.tif", "4294967295", "Relabel")),
        (("fractions.tif", *OUT), ("fractions.tif", "0 to 1350", "whole numbers")),
        (("outside.tif", *OUT), ("outside.tif", "-0.1", "from 0 to 1")),
        (("nan.tif", *OUT), ("nan.tif", "NaN", "Replace")),
        (("colours.png", *OUT), ("colours.png", "3 different channels")),
        (("colours.tif", *OUT), ("colours.tif", "one number per voxel")),
        (("noise.png", *OUT), ("noise.png", "looks like an image")),
        (("four.tif", *OUT), ("four.tif", "4 axes")),
        (("big.tif", "-o", "out.png"), ("90000", "65535", ".tif or .zarr")),
        (("stack.zarr", "-o", "out.png"), ("2 axes", "3")),
        (("labels.tif", "-o", "old.tif"), ("already exists", "--overwrite")),
        (("labels.tif", "-o", "folder.tif", "--overwrite"), ("is a folder",)),
        (("labels.tif", "-o", "labels.tif"), ("replace the input",)),
        (("labels.tif", "-o", "labels.tif", "--overwrite"), ("replace the input",)),
        (("labels.zarr/0", "-o", "labels.zarr", "--overwrite"), ("replace the input",)),
        (("labels.tif", "-o", "out.jpg"), (".jpg", ".png or .zarr")),
        (("labels.tif", "-o", "no/out.tif"), ("does not exist", "Make it")),
        ((*GOOD, "--save-result", "old.tif"), ("old.tif", "already exists")),
        ((*GOOD, "--save-result", "out.tif"), ("--output and --save-result", "'out.tif'")),
        ((*GOOD, "--spacing", "1,2,3"), ("spacing is 1,2,3", "y, x")),
        ((*GOOD, "--level", "3"), ("level is 3",)),
        ((*GOOD, "--time", "1"), ("time is 1", "no axis of time")),
        ((*GOOD, "--ids", "3,4"), ("no object 4", "3 to 900")),
        ((*GOOD, "--per-slice"), ("(96, 128)", "3D")),
        ((*GOOD, "--device", "abacus"), ("abacus", "cpu")),
        (
            (*GOOD, "--shape", "symmetric", "--symmetry", "rotation", "--order", "1"),
            ("order is 1", "2 to 64"),
        ),
    ],
)
def test_an_error_the_user_can_mend_is_one_line_and_changes_nothing(
    arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    bad_files()
    before = everything()
    done = repair(*arguments)
    assert done.exit_code == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert everything() == before


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("labels.tif",),
        ("labels.tif", "out.tif"),
        (*GOOD, "--ids", "3,x"),
        (*GOOD, "--ids", ""),
        (*GOOD, "--ids", "0"),
        (*GOOD, "--spacing", "4,-1"),
        (*GOOD, "--shape", "banana"),
        (*GOOD, "--flow", "banana"),
        (*GOOD, "--symmetric-family", "symmetric"),
        (*GOOD, "--symmetry", "banana"),
        (*GOOD, "--order", "0"),
        (*GOOD, "--order", "65"),
        (*GOOD, "--steps", "0"),
        (*GOOD, "--seed", "-1"),
        (*GOOD, "--nonsense"),
    ],
)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...]) -> None:
    before = everything()
    done = repair(*arguments)
    assert done.exit_code == 2
    assert "Usage: " in done.stderr
    assert everything() == before


def test_a_full_disk_leaves_the_old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Path("old.tif").write_bytes(b"old")
    Path("old.safetensors").write_bytes(b"old")
    before = everything()
    monkeypatch.setattr(os, "fsync", full)
    options = ("--overwrite", "--save-result", "old.safetensors")
    done = repair("labels.png", "-o", "old.tif", "--ids", 3, *options)
    assert done.exit_code == 1
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1
    assert everything() == before


def test_masks_that_cannot_be_written_take_the_shapes_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_implicitseg.errors import FileError

    def refuse(*_: object, **__: object) -> None:
        raise FileError("Cannot write 'out.tif': no more.")

    monkeypatch.setattr("napari_implicitseg.volumes.write_labels", refuse)
    before = everything()
    done = repair(*GOOD, "--ids", 3, "--save-result", "fit.safetensors")
    assert (done.exit_code, done.stderr) == (1, "error: Cannot write 'out.tif': no more.\n")
    assert everything() == before


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_is_read_only_is_found_before_the_work(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr("napari_implicitseg.api.project_labels", None)
    done = repair(*GOOD)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: Cannot write 'out.tif': {os.strerror(number)}.")
    assert done.stderr.count("\n") == 1
