"""The command line on a photograph of coins."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import skimage.data
import tifffile
import zarr
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from napari_implicitseg.fitting.flow_model import FlowModel
from napari_implicitseg.fitting.free_model import FreeModel
from napari_implicitseg.fitting.star_model import StarModel
from napari_implicitseg.volumes import Grid, read_labels, write_labels

from .command_line import run, shell

if TYPE_CHECKING:
    from pathlib import Path

COINS = skimage.data.coins()[25:175, 20:160]
STROKES = np.zeros(COINS.shape, np.uint8)
STROKES[38:44, 22:34] = 2
STROKES[35:44, 80:92] = 3
STROKES[2:4, 2:138] = 1
STROKES[70:72, 2:138] = 1
STROKES[2:140, 1:3] = 1
STROKES[5:70, 56:58] = 1


def coin(label: int) -> np.ndarray:
    """Return a coin by thresholding, as truth."""
    pieces, _ = ndimage.label(threshold_otsu(COINS) < COINS)
    ids = pieces[label == STROKES]
    mask = pieces == np.bincount(ids[ids > 0]).argmax()
    return np.asarray(ndimage.binary_fill_holes(mask))


def check_masks(labels: np.ndarray) -> None:
    """See that both coins were found."""
    assert set(np.unique(labels)) == {0, 2, 3}
    for label in (2, 3):
        mask, truth = labels == label, coin(label)
        assert (mask & truth).sum() / (mask | truth).sum() > 0.75


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with the image and the scribbles in every format."""
    grid = Grid(axes=("y", "x"), scale=(0.5, 0.5), translate=(3.0, 4.0), units=("micrometer",) * 2)
    tifffile.imwrite(
        tmp_path / "coins.tif", COINS, imagej=True, resolution=(2, 2), metadata={"unit": "um"}
    )
    Image.fromarray(COINS).save(tmp_path / "coins.png")
    Image.fromarray(np.stack([COINS] * 3, axis=2)).save(tmp_path / "coins.bmp")
    Image.fromarray(COINS).save(tmp_path / "coins.jpg", quality=95)
    write_labels(tmp_path / "coins.zarr", COINS, grid)
    tifffile.imwrite(tmp_path / "strokes.tif", STROKES)
    Image.fromarray(STROKES).save(tmp_path / "strokes.png")
    write_labels(tmp_path / "strokes.zarr", STROKES, grid)
    return tmp_path


@pytest.mark.parametrize(
    ("image", "strokes", "out"),
    [
        ("coins.tif", "strokes.png", "masks.tif"),
        ("coins.png", "strokes.tif", "masks.png"),
        ("coins.zarr", "strokes.zarr", "masks.zarr"),
        ("coins.bmp", "strokes.png", "masks.ome.tif"),
        ("coins.jpg", "strokes.zarr", "masks.ome.zarr"),
    ],
)
def test_every_format_goes_in_and_out(files: Path, image: str, strokes: str, out: str) -> None:
    done = run("scribble", image, strokes, out, cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    check_masks(read_labels(files / out).data)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["2", "3"]
    assert all("voxels" in line and "convex holds" in line for line in lines[:2])
    assert lines[2].startswith("2 objects in ")
    calibrated = image in ("coins.tif", "coins.zarr")
    assert ("µm²" in lines[0]) == calibrated
    if image == "coins.zarr":
        grid = read_labels(files / out).grid()
        assert (grid.scale, grid.translate, grid.unit) == ((0.5, 0.5), (3.0, 4.0), "micrometer")


def test_the_report_is_json_and_the_result_is_saved(files: Path) -> None:
    from napari_implicitseg import FitResult

    done = run(
        "scribble", "coins.png", "strokes.png", "masks.tif", "--json", "--spacing", "4",
        "--unit", "nm", "--save-result", "fit.safetensors", "--evidence", "geodesic", cwd=files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    labels = read_labels(files / "masks.tif")
    check_masks(labels.data)
    assert labels.grid().scale == (4.0, 4.0)
    assert (report["spacing"], report["unit"], report["size_unit"]) == ([4, 4], "nanometer", "nm²")
    for entry in report["objects"]:
        assert entry["voxels"] == (labels.data == entry["id"]).sum()
        assert entry["size"] == entry["voxels"] * 16
        assert (entry["kind"], entry["holds"], entry["components"]) == ("convex", True, 1)
    result = FitResult.load(files / "fit.safetensors")
    assert sorted(result.shapes) == [2, 3]
    np.testing.assert_array_equal(result.labels, labels.data)


def test_labels_are_added_to_an_image_and_replaced_on_request(files: Path) -> None:
    arguments = ("scribble", "coins.zarr", "strokes.png", "coins.zarr/labels/masks")
    assert run(*arguments, cwd=files).returncode == 0
    refused = run(*arguments, cwd=files)
    assert refused.returncode == 1
    assert "already exists" in refused.stderr
    assert run(*arguments, "--overwrite", cwd=files).returncode == 0
    check_masks(read_labels(files / "coins.zarr" / "labels" / "masks").data)
    attributes = zarr.open_group(files / "coins.zarr" / "labels", mode="r").attrs.asdict()
    assert attributes["ome"]["labels"] == ["masks"]
    np.testing.assert_array_equal(read_labels(files / "coins.zarr").data, COINS)


def test_a_probability_map_in_a_file_is_evidence(files: Path) -> None:
    Image.fromarray(((coin(2) | coin(3)) * 255).astype(np.uint8)).save(files / "map.png")
    done = run(
        "scribble", "coins.png", "strokes.png", "masks.png", "--evidence", "map.png", cwd=files
    )
    assert done.returncode == 0, done.stderr
    check_masks(read_labels(files / "masks.png").data)


def test_a_stack_is_fitted_slice_by_slice_or_whole(files: Path) -> None:
    strokes = np.stack([STROKES, np.zeros_like(STROKES), STROKES])
    options: dict[str, Any] = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(files / "stack.tif", np.stack([COINS] * 3), **options)
    tifffile.imwrite(files / "strokes3.tif", strokes, **options)
    each = run("scribble", "stack.tif", "strokes3.tif", "each.tif", "--per-slice", cwd=files)
    assert each.returncode == 0, each.stderr
    labels = read_labels(files / "each.tif").data
    check_masks(labels[0])
    check_masks(labels[2])
    assert not labels[1].any()
    whole = run(
        "scribble", "stack.tif", "strokes3.tif", "whole.zarr", "--spacing", "40,4,4", cwd=files
    )
    assert whole.returncode == 0, whole.stderr
    volume = read_labels(files / "whole.zarr")
    check_masks(volume.data[1])
    assert volume.grid().scale == (40.0, 4.0, 4.0)


def test_slices_taken_for_channels_are_told_of(files: Path) -> None:
    tifffile.imwrite(files / "ten.tif", np.stack([COINS] * 10), photometric="minisblack")
    done = run("scribble", "ten.tif", "strokes.png", "m.png", cwd=files)
    assert done.returncode == 0, done.stderr
    assert "of length 10, is taken for channels" in done.stderr


def test_a_level_and_a_time_point_are_chosen(files: Path) -> None:
    movie = np.stack([np.zeros_like(COINS), COINS])
    tifffile.imwrite(files / "movie.ome.tif", movie, metadata={"axes": "TYX"})
    refused = run("scribble", "movie.ome.tif", "strokes.png", "m.png", cwd=files)
    assert (refused.returncode, "--time" in refused.stderr) == (1, True)
    done = run("scribble", "movie.ome.tif", "strokes.png", "m.png", "--time", 1, cwd=files)
    assert done.returncode == 0, done.stderr
    check_masks(read_labels(files / "m.png").data)
    strokes = np.stack([np.zeros_like(STROKES), STROKES])
    tifffile.imwrite(files / "strokes.ome.tif", strokes, metadata={"axes": "TYX"})
    done = run("scribble", "movie.ome.tif", "strokes.ome.tif", "n.png", "--time", 1, cwd=files)
    assert done.returncode == 0, done.stderr
    assert (files / "n.png").read_bytes() == (files / "m.png").read_bytes()
    big = np.kron(COINS, np.ones((5, 5), np.uint8))
    write_labels(files / "big.zarr", big, Grid.plain(2))
    coarse = np.asarray(read_labels(files / "big.zarr", level=1).data)
    small = np.asarray(
        Image.fromarray(STROKES).resize(coarse.shape[::-1], Image.Resampling.NEAREST)
    )
    Image.fromarray(small).save(files / "small.png")
    done = run("scribble", "big.zarr", "small.png", "l.zarr", "--level", 1, cwd=files)
    assert done.returncode == 0, done.stderr
    assert read_labels(files / "l.zarr").grid().scale == (2.0, 2.0)
    assert read_labels(files / "l.zarr").shape == coarse.shape


@pytest.mark.parametrize(
    "options",
    [
        ("connected", "--steps", 30),
        ("connected", "--steps", 5, "--flow", "realnvp"),
        ("star", "--steps", 30),
        ("symmetric", "--steps", 30, "--symmetry", "rotation", "--order", 3),
        ("free", "--steps", 30),
    ],
)
def test_every_shape_is_offered(files: Path, options: tuple[object, ...]) -> None:
    done = run(
        "scribble", "coins.png", "strokes.png", "masks.png", "--json", "--shape", *options,
        cwd=files,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "does nothing" not in done.stderr
    labels = np.asarray(read_labels(files / "masks.png").data)
    for entry in json.loads(done.stdout)["objects"]:
        assert entry["kind"] == ("none" if options[0] == "free" else options[0])
        assert entry["voxels"] == (labels == entry["id"]).sum() > 0
        if options[0] == "connected":
            assert (entry["holds"], entry["components"]) == (True, 1)


def test_options_of_other_shapes_are_told_of(files: Path) -> None:
    done = run(
        "scribble", "coins.png", "strokes.png", "masks.png", "--order", 2, "--flow", "lattice",
        "--steps", 9, cwd=files,
    )  # fmt: skip
    assert done.returncode == 0
    assert [line.split()[1] for line in done.stderr.splitlines()] == [
        "--flow",
        "--order",
        "--steps",
    ]
    assert all("does nothing here" in line for line in done.stderr.splitlines())


def test_the_same_seed_gives_the_same_file(files: Path) -> None:
    for name in ("a.tif", "b.tif"):
        assert (
            run("scribble", "coins.png", "strokes.png", name, "--seed", 3, cwd=files).returncode
            == 0
        )
    assert (files / "a.tif").read_bytes() == (files / "b.tif").read_bytes()


def test_the_shell_gets_the_same_without_a_word_on_stderr(files: Path) -> None:
    arguments = ("scribble", "coins.zarr", "strokes.zarr")
    done = shell(*arguments, "a.tif", cwd=files)
    assert (done.returncode, done.stderr) == (0, "")
    here = run(*arguments, "b.tif", cwd=files)
    assert (files / "a.tif").read_bytes() == (files / "b.tif").read_bytes()
    # The last line has the time it took and the name of the file.
    assert done.stdout.splitlines()[:-1] == here.stdout.splitlines()[:-1]


def test_advice_goes_to_stderr(files: Path) -> None:
    Image.fromarray(np.where(STROKES > 1, STROKES, 0).astype(np.uint8)).save(files / "o.png")
    done = run("scribble", "coins.png", "o.png", "masks.png", cwd=files)
    assert done.returncode == 0
    assert all(line.startswith("warning: ") for line in done.stderr.splitlines())
    assert "background" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_report_that_cannot_be_printed_is_an_error_but_the_masks_are_there(files: Path) -> None:
    command = [sys.executable, "-m", "napari_implicitseg.cli", "scribble"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "coins.png", "strokes.png", "masks.png"],
            cwd=files,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: The report cannot be printed: No space left")
    assert done.stderr.count("\n") == 1
    check_masks(read_labels(files / "masks.png").data)


@pytest.mark.parametrize("command", ["scribble", "repair"])
def test_help_and_version_are_quick_and_import_nothing_heavy(tmp_path: Path, command: str) -> None:
    code = (
        "import sys, napari_implicitseg.cli as c\n"
        f"sys.argv = ['napari-implicitseg', '{command}', '--help']\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'napari', 'numba', 'zarr', 'scipy', 'qtpy', 'skimage'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    done = shell("--version", cwd=tmp_path)
    assert done.stdout.strip() == f"napari-implicitseg {version('napari-implicitseg')}"


@pytest.mark.parametrize("command", ["scribble", "repair", "demo"])
def test_help_names_units_defaults_and_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"napari-implicitseg {command} " in done.stdout
    assert "default: " in done.stdout
    if command != "demo":
        words = ("--unit", "--spacing", "nm", "--flow", "--symmetry", "--order")
        assert all(word in done.stdout for word in words)
        steps = f"{StarModel.steps} icnn and star, {FlowModel.steps} connected, "
        steps += f"{FreeModel.steps} symmetric and free"
        assert steps in " ".join(done.stdout.split())
    if command == "scribble":
        assert "--background" in done.stdout


def interrupt(files: Path, number: int, *options: str) -> tuple[int, str, list[str]]:
    """Start a long fit on a terminal, stop it when its bar shows, return what it left."""
    import pty

    before = sorted(p.name for p in files.iterdir())
    terminal, stderr = pty.openpty()
    command = [sys.executable, "-m", "napari_implicitseg.cli", "scribble", "big.png", "many.png"]
    # A job in the background of a script ignores SIGINT, and so would its children.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen([*command, *options], cwd=files, stderr=stderr, text=True)
    signal.signal(signal.SIGINT, ours)
    os.close(stderr)
    text = ""
    deadline = time.monotonic() + 120
    try:
        while "%" not in text and time.monotonic() < deadline:
            text += os.read(terminal, 1000).decode(errors="replace")
        process.send_signal(number)
        while True:
            piece = os.read(terminal, 1000).decode(errors="replace")
            if not piece:
                break
            text += piece
    except OSError:
        pass  # Linux reports a closed terminal as an error.
    finally:
        os.close(terminal)
        status = process.wait(timeout=60)
    assert before == sorted(p.name for p in files.iterdir())
    return status, text, before


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_a_long_fit_leaves_the_old_output(
    tmp_path: Path, number: int, status: int
) -> None:
    image = np.tile(COINS, (5, 5))
    strokes = np.zeros(image.shape, np.uint16)
    for i in range(25):
        y, x = i // 5 * COINS.shape[0], i % 5 * COINS.shape[1]
        part = np.where(STROKES > 1, STROKES + 2 * i, STROKES)
        strokes[y : y + COINS.shape[0], x : x + COINS.shape[1]] = part
    Image.fromarray(image).save(tmp_path / "big.png")
    Image.fromarray(strokes).save(tmp_path / "many.png")
    (tmp_path / "old.tif").write_bytes(b"old")
    options = ("old.tif", "--overwrite", "--model", "icnn")
    got, text, _ = interrupt(tmp_path, number, *options)
    assert got == status
    assert (tmp_path / "old.tif").read_bytes() == b"old"
    assert "Traceback" not in text


def test_the_demo_passes_options_and_status_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer.testing

    from napari_implicitseg.cli import app

    seen: list[list[str]] = []

    def fake(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(subprocess, "run", fake)
    arguments = ["demo", "--headless", "--output", str(tmp_path)]
    result = typer.testing.CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    module = [sys.executable, "-m", "napari_implicitseg.widgets.demo"]
    assert seen == [[*module, "--headless", "--output", str(tmp_path)]]


def test_the_demo_without_qt_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    import typer.testing

    from napari_implicitseg.cli import app

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = typer.testing.CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 1
    assert 'pip install "napari-implicitseg[all]"' in result.stderr
    assert len(result.stderr.splitlines()) == 1
