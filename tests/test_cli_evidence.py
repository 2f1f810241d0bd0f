"""Evidence on the command line: outlines, layers, embeddings, joint fits, reproductions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_implicitseg.cli import app

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image of a disc, strokes, an outline, labels and an embedding."""
    y, x = np.indices((72, 80))
    truth = np.hypot(y - 36, x - 40) < 20
    rng = np.random.default_rng(0)
    image = (80 + 90 * truth + rng.normal(0, 8, truth.shape)).astype(np.uint8)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[34:37, 30:50], strokes[4:6, 4:76] = 2, 1
    outline = 2 * (np.hypot(y - 38, x - 39) < 23).astype(np.uint8)
    tifffile.imwrite(tmp_path / "image.tif", image)
    tifffile.imwrite(tmp_path / "strokes.tif", strokes)
    tifffile.imwrite(tmp_path / "outline.tif", outline)
    tifffile.imwrite(tmp_path / "labels.tif", np.where(truth, 700, 3).astype(np.uint16))
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    zarr.save(tmp_path / "embedding.zarr", np.stack([truth, ~truth]).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    """Run in this process; returns what was printed."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return str(done.output)


def refused(*arguments: str) -> str:
    """Run in this process what has to fail; returns the error."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def overlap(path: str) -> float:
    """IoU of a mask that was written with the disc."""
    mask, truth = tifffile.imread(path) == 2, tifffile.imread("truth.tif")
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize(
    "options",
    [
        ["--coupling", "joint"],
        ["--evidence", "labels:labels.tif"],
        ["--evidence", "auto", "--embedding", "embedding.zarr"],
        ["--coupling", "joint", "--shape", "connected"],
    ],
)
def test_evidence_is_taken_from_where_it_is_named(files: Path, options: list[str]) -> None:
    run("scribble", "image.tif", "strokes.tif", "out.tif", *options)
    assert overlap("out.tif") > 0.9


@pytest.mark.parametrize("scale", ["4", "8"])
def test_a_sloppy_outline_is_made_precise(files: Path, scale: str) -> None:
    options = ["--evidence", "upsampler", "--upsampler-scale", scale, "--shape", "connected"]
    printed = run("scribble", "image.tif", "outline.tif", "out.tif", *options, "--json")
    assert overlap("out.tif") > 0.9
    report = json.loads(printed)
    assert not any("background" in warning for warning in report["warnings"])


def test_what_cannot_be_evidence_is_refused(files: Path) -> None:
    scribble = ["scribble", "image.tif", "strokes.tif", "out.tif"]
    assert "'none.tif' of --evidence does not exist" in refused(
        *scribble, "--evidence", "labels:none.tif"
    )
    assert "or labels:FILE" in refused(*scribble, "--evidence", "histgram")
    assert "looks like grey levels" in refused(*scribble, "--evidence", "labels:image.tif")
    tifffile.imwrite("small.tif", np.zeros((5, 5), np.uint8))
    assert "has shape (5, 5) but the scribbles" in refused(
        *scribble, "--evidence", "labels:small.tif"
    )
    assert "features first" in refused(*scribble, "--embedding", "image.tif")
    wrong = [*scribble, "--evidence", "upsampler", "--upsampler-scale", "5"]
    assert "upsampler_scale is 5; use 4 or 8 or 16" in refused(*wrong)
    assert not (files / "out.tif").exists()


def test_options_without_effect_are_told(files: Path) -> None:
    printed = run("scribble", "image.tif", "strokes.tif", "out.tif", "--upsampler", "original")
    assert "--upsampler does nothing here: it is for --evidence upsampler" in printed
    printed = run("scribble", "image.tif", "strokes.tif", "out.tif", "--overwrite", "--no-teacher")
    assert "--teacher does nothing here" in printed


def test_more_options_without_effect_are_told(files: Path) -> None:
    scribble = ["scribble", "image.tif", "strokes.tif", "out.tif", "--overwrite"]
    printed = run(*scribble, "--weights", "none.pth")
    assert "--weights does nothing here: it is for --backbone" in printed
    printed = run(*scribble, "--evidence", "histogram", "--embedding", "embedding.zarr")
    assert "--embedding does nothing here" in printed
    printed = run(*scribble, "--shape", "none", "--coupling", "joint")
    assert "--coupling does nothing here" in printed
    assert "name it labels:labels.tif" in run(*scribble, "--evidence", "labels.tif")
    both = [*scribble, "--backbone", "resnet18", "--embedding", "embedding.zarr"]
    assert "give one of them" in refused(*both)


def test_an_output_that_cannot_be_is_told_first(files: Path) -> None:
    (files / "taken").write_text("a file")
    assert "taken" in refused("reproduce", "corruptions", "--output", "taken")


def test_the_schedule_of_the_paper_is_for_two_shapes(files: Path) -> None:
    error = refused(
        *("scribble", "image.tif", "strokes.tif", "out.tif"),
        *("--schedule", "path-connectedness", "--shape", "star"),
    )
    assert "knows the shapes convex and connected" in error


def test_a_table_is_written_with_its_pictures(files: Path, data_dir, monkeypatch) -> None:
    from napari_implicitseg.reproduction import corruptions

    monkeypatch.setattr(corruptions, "DAMAGES", {})
    monkeypatch.setattr(corruptions, "_TRAINED", 4)
    printed = run(
        *("reproduce", "corruptions", "--limit", "1", "--data", str(data_dir)),
        *("--output", "tables"),
    )
    assert "## Corruptions" in printed
    assert sorted(path.name for path in (files / "tables").iterdir()) == [
        *("corruptions-iou.png", "corruptions-masks.png", "corruptions.json", "corruptions.md")
    ]


def test_missing_data_are_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "which is no folder" in refused("reproduce", "corruptions", "--data", "nowhere")
    monkeypatch.setenv("IMPLICITSEG_DATA", "nowhere")
    assert "There is no data folder 'nowhere'" in refused("reproduce", "single-image")
