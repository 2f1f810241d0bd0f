"""Evaluating in blocks: the same figures as of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_implicitseg import BatchConfig, evaluate, run_batch
from napari_implicitseg.errors import InputError, OutputExistsError
from napari_implicitseg.evaluation import METRICS
from napari_implicitseg.volumes import Grid, write_labels

from ..command_line import run
from .batch_cases import cells

SIZES = (40.0, 4.0, 4.0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Labels in OME-Zarr and truth in TIFF, with sections of 40 nm."""
    folder = tmp_path_factory.mktemp("pair")
    truth, labels = cells((20, 40, 36), 25), cells((20, 40, 36), 40, seed=5)
    truth[:, :3] = 0
    grid = Grid(
        axes=("z", "y", "x"), scale=SIZES, units=("nanometer",) * 3, translate=(0.0, 0.0, 0.0)
    )
    write_labels(folder / "labels.zarr", labels, grid)
    write_labels(folder / "truth.ome.tif", truth.astype(np.uint16), grid)
    return folder / "labels.zarr", folder / "truth.ome.tif", labels, truth


@pytest.mark.parametrize(
    "options",
    [{}, {"ignore": None}, {"background": 0}, {"border": 8.0, "unit": "nanometer"}, {"ignore": 3}],
)
def test_figures_are_those_of_the_whole(pair, tmp_path, options):
    source, where, labels, truth = pair
    config = BatchConfig(
        job="evaluate", truth=str(where), block_shape=(7, 16, 11), workers=0, **options
    )
    target = tmp_path / "figures.json"
    report = run_batch(source, target, config=config)
    asked = {k: v for k, v in options.items() if k != "unit"}
    if "border" in asked:
        asked["spacing"] = SIZES
    expected = evaluate(labels, truth, **asked)
    assert report.ok
    written = json.loads(target.read_text())
    assert written["figures"] == json.loads(json.dumps(expected.as_dict()))
    assert set(written["figures"]) == set(METRICS)
    assert report.figures["voi"] == pytest.approx(expected["voi"])
    assert report.facts["voxels"] == expected["voxels"]
    assert written["ignore"] == options.get("ignore", 0)


def test_the_border_is_in_the_unit_asked_for(pair, tmp_path):
    source, where, labels, truth = pair
    config = BatchConfig(
        job="evaluate", truth=str(where), border=0.008, unit="µm", block_shape=16, workers=0
    )
    report = run_batch(source, tmp_path / "f.json", config=config)
    expected = evaluate(labels, truth, border=8.0, spacing=SIZES)
    assert report.facts["voxels"] == expected["voxels"]


def test_the_same_call_again_reads_what_was_counted(pair, tmp_path):
    source, where, *_ = pair
    config = BatchConfig(job="evaluate", truth=str(where), block_shape=16, workers=0)
    first = run_batch(source, tmp_path / "f.json", config=config)
    written = (tmp_path / "f.json").read_bytes()
    again = run_batch(source, tmp_path / "f.json", config=config)
    assert (tmp_path / "f.json").read_bytes() == written
    assert again.resumed
    assert again.stages[0].done_before == first.blocks
    other = BatchConfig(job="evaluate", truth=str(where), block_shape=16, workers=0, ignore=None)
    with pytest.raises(InputError, match=r"config.ignore was 0, now null"):
        run_batch(source, tmp_path / "f.json", config=other)


def test_what_cannot_be_compared_is_refused_before_anything_is_written(pair, tmp_path):
    source, where, *_ = pair
    config = BatchConfig(job="evaluate", truth=str(where), workers=0)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(OutputExistsError, match="not of this job"):
        run_batch(source, tmp_path / "mine.json", config=config)
    tifffile.imwrite(tmp_path / "small.tif", np.ones((7, 8, 9), np.uint8))
    small = BatchConfig(job="evaluate", truth=str(tmp_path / "small.tif"), workers=0)
    with pytest.raises(InputError, match=r"shape \(20, 40, 36\).*\(7, 8, 9\)"):
        run_batch(source, tmp_path / "f.json", config=small)
    with pytest.raises(InputError, match="needs the truth"):
        BatchConfig(job="evaluate")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.json", "small.tif"]


def test_the_command_prints_figures(pair, tmp_path):
    source, where, labels, truth = pair
    words = ("--source", source, "--truth", where, "--target", tmp_path / "f.json")
    done = run("batch", "--job", "evaluate", *words, "--workers", "0", "--ignore", "none")
    assert done.returncode == 0, done.stderr
    assert f"voi {evaluate(labels, truth, ignore=None)['voi']:.4f}" in done.stdout
    dry = run("batch", "--job", "evaluate", *words, "--workers", "0", "--dry-run", "--json")
    assert json.loads(dry.stdout)["blocks"] == 1
