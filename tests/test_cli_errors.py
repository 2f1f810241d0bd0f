"""What the command line says to bad input: one line, status 1 or 2, nothing written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_implicitseg.volumes import Grid, write_labels

from .command_line import run, shell

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
STROKES = np.zeros(IMAGE.shape, np.uint8)
STROKES[10:14, 10:30] = 2
STROKES[35:37] = 1


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return the names and contents of all there is in a folder."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder of good and bad files."""
    tifffile.imwrite(tmp_path / "image.tif", IMAGE, compression="zlib")
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    Image.fromarray(STROKES).save(tmp_path / "strokes.png")
    Image.fromarray(STROKES).save(tmp_path / "strokes.jpg")
    Image.fromarray(STROKES[:30]).save(tmp_path / "short.png")
    Image.fromarray(np.zeros_like(STROKES)).save(tmp_path / "blank.png")
    Image.fromarray(STROKES // 2 * 0 + (STROKES == 1)).save(tmp_path / "background.png")
    Image.fromarray(np.stack([IMAGE, IMAGE, STROKES], axis=2)).save(tmp_path / "colours.png")
    tifffile.imwrite(tmp_path / "negative.tif", -STROKES.astype(np.int16))
    tifffile.imwrite(tmp_path / "huge.tif", STROKES.astype(np.uint64) << 40)
    tifffile.imwrite(tmp_path / "big.tif", STROKES.astype(np.uint32) * 40000)
    noise = np.random.default_rng(0).integers(0, 256, IMAGE.shape)
    write_labels(tmp_path / "noise.png", noise.astype(np.uint8), Grid.plain(2))
    write_labels(tmp_path / "image.zarr", IMAGE, Grid.plain(2))
    zarr.create_array(tmp_path / "stack.zarr", data=np.stack([IMAGE] * 5))
    zarr.create_array(tmp_path / "strokes3.zarr", data=np.stack([STROKES] * 5))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "image.tif").read_bytes()[:900])
    (tmp_path / "cut.png").write_bytes((tmp_path / "image.png").read_bytes()[:300])
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("this is no picture\nbut two lines")
    (tmp_path / "image.docx").write_text("this is no picture")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "old.tif").write_bytes(b"old")
    return tmp_path


GOOD = ("image.png", "strokes.png", "out.tif")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("none.png", "strokes.png", "out.tif"), ("none.png", "does not exist")),
        (("image.png", "none.png", "out.tif"), ("scribbles file 'none.png'", "does not exist")),
        (("strokes.png", "noise.png", "out.tif"), ("noise.png", "swapped?")),
        (("noise.png", "noise.png", "out.tif"), ("noise.png", "swapped?")),
        (("empty.tif", "strokes.png", "out.tif"), ("empty.tif", "0 bytes")),
        (("text.tif", "strokes.png", "out.tif"), ("text.tif", "cannot be read as TIFF")),
        (("cut.tif", "strokes.png", "out.tif"), ("cut.tif", "cut off")),
        (("cut.png", "strokes.png", "out.tif"), ("cut.png", "cut off")),
        (("image.docx", "strokes.png", "out.tif"), (".docx", ".zarr")),
        (("folder", "strokes.png", "out.tif"), ("folder", "no zarr")),
        (("image.png", "folder", "out.tif"), ("folder", "no zarr")),
        (("image.png", "short.png", "out.tif"), ("short.png", "(30, 50)", "(40, 50)")),
        (("image.png", "colours.png", "out.tif"), ("colours.png", "3 different channels")),
        (("image.png", "strokes.jpg", "out.tif"), ("strokes.jpg", "JPEG", ".png")),
        (("image.png", "blank.png", "out.tif"), ("empty", "Paint at least one stroke")),
        (("image.png", "background.png", "out.tif"), ("only background", "2 or more")),
        (("image.png", "negative.tif", "out.tif"), ("label -", "positive")),
        (("image.png", "huge.tif", "out.tif"), ("label over", "at most")),
        (("image.png", "big.tif", "out.png"), ("80000", "65535", ".tif or .zarr")),
        (("stack.zarr", "strokes3.zarr", "out.png"), ("2 axes", "3")),
        (("image.png", "strokes.png", "old.tif"), ("already exists", "--overwrite")),
        (("image.png", "strokes.png", "folder.tif", "--overwrite"), ("is a folder",)),
        (("image.png", "strokes.png", "image.png", "--overwrite"), ("replace the input",)),
        (("image.png", "strokes.png", "strokes.png", "--overwrite"), ("replace the input",)),
        (("image.zarr/0", "strokes.png", "image.zarr", "--overwrite"), ("replace the input",)),
        (("image.png", "strokes.png", "out.jpg"), (".jpg", ".png or .zarr")),
        (("image.png", "strokes.png", "no/out.tif"), ("does not exist", "Make it")),
        ((*GOOD, "--save-result", "old.tif"), ("old.tif", "already exists")),
        ((*GOOD, "--save-result", "out.tif"), ("both 'out.tif'",)),
        ((*GOOD, "--save-result", "no/fit"), ("does not exist",)),
        ((*GOOD, "--spacing", "1,2,3"), ("spacing is 1,2,3", "y, x")),
        ((*GOOD, "--evidence", "magic"), ("magic", "histogram")),
        ((*GOOD, "--channel-axis", "7"), ("channel_axis is 7", "2 axes")),
        ((*GOOD, "--channel-axis", "0"), ("(40, 50)",)),
        ((*GOOD, "--level", "3"), ("level is 3",)),
        ((*GOOD, "--time", "1"), ("time is 1", "no axis of time")),
        (("image.tif", "strokes.png", "o.tif", "--time", "1"), ("time is 1", "no axis of time")),
        (("image.zarr", "strokes.png", "o.tif", "--level", "3"), ("level is 3", "choose 0")),
        ((*GOOD, "--evidence", "short.png"), ("(30, 50)", "(40, 50)")),
        ((*GOOD, "--device", "abacus"), ("abacus",)),
        (
            (*GOOD, "--shape", "symmetric", "--symmetry", "rotation", "--order", "1"),
            ("order is 1", "2 to 64"),
        ),
    ],
)
def test_an_error_the_user_can_mend_is_one_line_and_changes_nothing(
    files: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = everything(files)
    done = run("scribble", *arguments, cwd=files)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert everything(files) == before


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("text.tif", "strokes.png", "out.tif"), 1),
        (("cut.tif", "strokes.png", "out.tif"), 1),
        (("cut.png", "strokes.png", "out.tif"), 1),
        (("image.zarr", "folder", "out.tif"), 1),
        ((*GOOD, "--order", "0"), 2),
    ],
)
def test_the_shell_gets_the_same_and_libraries_are_silent(
    files: Path, arguments: tuple[str, ...], status: int
) -> None:
    before = everything(files)
    done = shell("scribble", *arguments, cwd=files)
    here = run("scribble", *arguments, cwd=files)
    assert (done.returncode, done.stdout) == (here.returncode, here.stdout) == (status, "")
    assert done.stderr.splitlines()[-1] == here.stderr.splitlines()[-1]
    assert status == 2 or done.stderr == here.stderr
    assert everything(files) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("scribble",),
        ("scribble", "image.png", "strokes.png"),
        ("scribble", *GOOD, "--spacing", "4,x"),
        ("scribble", *GOOD, "--spacing", "4,-1"),
        ("scribble", *GOOD, "--shape", "banana"),
        ("scribble", *GOOD, "--model", "banana"),
        ("scribble", *GOOD, "--flow", "banana"),
        ("scribble", *GOOD, "--symmetric-family", "symmetric"),
        ("scribble", *GOOD, "--symmetry", "banana"),
        ("scribble", *GOOD, "--order", "0"),
        ("scribble", *GOOD, "--steps", "0"),
        ("scribble", *GOOD, "--background", "0"),
        ("scribble", *GOOD, "--nonsense"),
        ("paint",),
    ],
)
def test_wrong_usage_is_status_2(files: Path, arguments: tuple[str, ...]) -> None:
    before = everything(files)
    done = run(*arguments, cwd=files)
    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr
    assert everything(files) == before


def test_a_chunk_that_breaks_during_the_fit_is_one_line(files: Path) -> None:
    big = zarr.create_array(
        files / "big.zarr", shape=(6000, 6000), chunks=(1000, 1000), dtype="u1", fill_value=7
    )
    big[:1000, :1000] = 3
    chunk = next(p for p in (files / "big.zarr" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"broken")
    strokes = zarr.create_array(
        files / "many.zarr", shape=(6000, 6000), chunks=(1000, 1000), dtype="u1", fill_value=0
    )
    strokes[500:520, 500:560] = 2
    strokes[800:820, 500:560] = 1
    done = run("scribble", "big.zarr", "many.zarr", "out.tif", cwd=files)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "'big.zarr' cannot be read as zarr" in done.stderr
    assert not (files / "out.tif").exists()


def test_a_full_disk_is_one_line_and_the_old_file_survives(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = everything(files)
    monkeypatch.setattr(os, "fsync", full)
    done = run("scribble", "image.png", "strokes.png", "old.tif", "--overwrite", cwd=files)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: Cannot write 'old.tif': No space left")
    assert everything(files) == before


@pytest.mark.parametrize("asked", [False, True])
def test_a_bug_is_told_in_one_line_too(asked):
    """A traceback is for those who ask for it."""
    code = (
        "import sys, napari_implicitseg.cli as cli\n"
        "def boom():\n    raise TypeError('two\\nlines')\n"
        "cli.app.command('boom')(boom)\n"
        "sys.argv = ['napari-implicitseg', 'boom']\n"
        "cli.main()\n"
    )
    environment = {**os.environ, "IMPLICITSEG_TRACEBACK": "1" if asked else ""}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=100
    )
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == asked
    if not asked:
        assert done.stderr.startswith("error: TypeError: two lines. This is a bug")
        assert done.stderr.count("\n") == 1
