"""`napari-implicitseg batch`: flags and YAML in, OME-Zarr out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from napari_implicitseg import convert
from napari_implicitseg.volumes import Grid, read_labels, write_labels

from .batch.batch_cases import affinity_file, cells, noisy
from .command_line import run

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = ("--block-shape", "8,16,16", "--halo", "8,8,8", "--workers", "0", "--fragments", "distance")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    made = noisy(cells((16, 32, 32), 20))
    return affinity_file(tmp_path_factory.mktemp("affinities"), made)


def test_labels_lie_in_the_target_and_the_report_says_what_was_done(source, tmp_path):
    target = tmp_path / "out.zarr"
    done = run("batch", "--job", "segment", "--source", source, "--target", target, *FLAGS)
    assert done.returncode == 0, done.stderr
    found = np.asarray(read_labels(target / "labels" / "neurons").data)
    assert f"{found.max()} objects in (16, 32, 32) voxels, 8 blocks" in done.stdout
    again = run("batch", "--source", source, "--target", target, *FLAGS, "--json")
    report = json.loads(again.stdout)
    assert report["ok"]
    assert report["resumed"]
    assert report["facts"]["objects"] == found.max()
    assert [s["done_before"] for s in report["stages"] if s["name"] != "merge"] == [8, 8, 8]
    assert {"napari-implicitseg", "zarr", "python"} <= set(report["versions"])


def test_a_recipe_says_the_same_as_flags_and_flags_come_first(source, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"source: {source}\njob: segment\nblock-shape: [8, 16, 16]\nhalo: 8\nworkers: 0\n"
        "fragments: distance\nthreshold: 0.9\n"
    )
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    done = run("batch", recipe, "--target", one, "--threshold", "0.5", "--name", "cells")
    assert done.returncode == 0, done.stderr
    run("batch", "--source", source, "--target", two, *FLAGS, "--threshold", "0.5")
    found = [read_labels(p).data for p in (one / "labels/cells", two / "labels/neurons")]
    assert (np.asarray(found[0]) == np.asarray(found[1])).all()
    high = run("batch", recipe, "--target", tmp_path / "high.zarr", "--json")
    assert json.loads(high.stdout)["facts"]["objects"] > np.asarray(found[0]).max()


def test_a_dry_run_says_what_is_needed_and_writes_nothing(source, tmp_path):
    words = ("batch", "--source", source, "--target", tmp_path / "out.zarr", *FLAGS, "--dry-run")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    for word in ("8 blocks of (8, 16, 16)", "memory:", "disk:", "time:"):
        assert word in done.stdout
    found = json.loads(run(*words, "--json").stdout)
    assert found["blocks"] == 8
    assert found["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_prediction_tries_a_block_of_it(data_dir, tmp_path):
    raw = tifffile.imread(data_dir / "em" / "fib25" / "raw.tif")[:16, :32, :32]
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    words = ("--source", tmp_path / "raw.tif", "--target", tmp_path / "out.zarr")
    done = run("batch", *words, "--model", "fibsem-isotropic", *FLAGS, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["worker_bytes"] > 1 << 28
    assert found["disk_bytes"] > raw.size
    assert not (tmp_path / "out.zarr").exists()


def test_blocks_that_failed_make_the_exit_status_1(source, tmp_path):
    made = noisy(cells((16, 32, 32), 20))
    made.data[:, 2, 2, 2] = 2
    bad = affinity_file(tmp_path, made)
    words = ("batch", "--source", bad, "--target", tmp_path / "out.zarr", *FLAGS)
    done = run(*words)
    assert done.returncode == 1
    assert "block 0-0-0 [0:8, 0:16, 0:16], fragments: The affinities range" in done.stderr
    assert "blocks failed; the others of that stage are done" in done.stderr
    assert done.stdout == ""
    report = json.loads(run(*words, "--json").stdout)
    assert report["ok"] is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "holds no options"),
        ("job: [", "cannot be read as YAML"),
        ("treshold: 0.5", "has the option 'treshold', which no job knows.*threshold"),
        ("threshold: 2", "threshold is 2; give a number from 0 to 1"),
        ("threshold: low", "threshold is 'low'"),
        ("job: paint", "job is 'paint'; choose one of predict, segment"),
        ("block_shape: [0, 4]", r"block_shape is \[0, 4\]"),
        ("name: ../../elsewhere", "name is '../../elsewhere'; give the labels a plain name"),
        ("name: a/b", "name is 'a/b'"),
        ("workers: -1", "workers is -1"),
        ("restart: perhaps", "restart is 'perhaps'"),
        ("spacing: [1, -2, 3]", "spacing is"),
        ("job: predict", "needs a model"),
        ("linkage: [mean]", r"linkage is \['mean'\]"),
    ],
)
def test_bad_options_are_one_line(source, tmp_path, text, words):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    done = run("batch", recipe, "--source", source, "--target", tmp_path / "out.zarr")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    import re

    assert re.search(words, done.stderr)
    assert not (tmp_path / "out.zarr").exists()


def test_source_and_target_are_needed(source, tmp_path):
    done = run("batch", "--target", tmp_path / "out.zarr")
    assert done.returncode == 1
    assert "There is no source: give --source" in done.stderr
    done = run("batch", "--source", source)
    assert "There is no target: give --target" in done.stderr


def test_a_changed_option_is_refused_until_restart(source, tmp_path):
    words = ("batch", "--source", source, "--target", tmp_path / "out.zarr", *FLAGS)
    assert run(*words).returncode == 0
    done = run(*words, "--threshold", "0.2")
    assert done.returncode == 1
    assert "config.threshold was 0.5, now 0.2" in done.stderr
    assert run(*words, "--threshold", "0.2", "--restart").returncode == 0


def test_a_halo_of_nothing_and_ids_of_64_bits_are_taken(source, tmp_path):
    flags = ("--block-shape", "8,16,16", "--workers", "0", "--fragments", "distance")
    words = ("--source", source, "--target", tmp_path / "out.zarr", *flags)
    done = run("batch", *words, "--halo", "0,0,0", "--json")
    assert json.loads(done.stdout)["halo"] == [0, 0, 0]
    assert run("batch", *words, "--halo", "1,-2,3").returncode == 2
    labels = np.zeros((20, 20), np.uint64)
    labels[4:9, 4:12], labels[12:18, 3:9] = 2**40, 7
    zarr.create_array(tmp_path / "labels.zarr", data=labels)
    words = ("--source", tmp_path / "labels.zarr", "--target", tmp_path / "r.zarr")
    words = ("batch", "--job", "repair", *words, "--workers", "0")
    done = run(*words, "--ids", f"7, {2**40}", "--json")
    assert json.loads(done.stdout)["facts"]["objects"] == 2
    for ids in ("0", "9-3", "a", "1,,2"):
        assert run(*words, "--ids", ids).returncode == 2


def test_a_fit_that_is_none_is_said_also_beside_flags_of_the_fit(source, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("job: repair\nfit: [1]\n")
    words = ("--source", source, "--target", tmp_path / "out.zarr", "--per-slice")
    done = run("batch", recipe, *words)
    assert done.returncode == 1
    assert "error: fit is [1]; give options by name" in done.stderr


def test_a_model_that_does_not_fit_the_voxels_is_warned_of(data_dir, tmp_path):
    raw = tifffile.imread(data_dir / "em" / "fib25" / "raw.tif")[:8, :32, :32]
    tifffile.imwrite(tmp_path / "raw.tif", raw)
    convert(tmp_path / "raw.tif", tmp_path / "raw.zarr", spacing=(30, 8, 8), unit="nm")
    words = ("batch", "--source", tmp_path / "raw.zarr", "--target", tmp_path / "out.zarr", *FLAGS)
    words = (*words, "--model", "fibsem-isotropic")
    for more in ((), ("--dry-run",)):
        done = run(*words, *more)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Results may be poor") == 1
    segmented = ("segment", tmp_path / "raw.zarr", "--model", "fibsem-isotropic")
    assert "Results may be poor" in run(*segmented, "-o", tmp_path / "s.tif").stderr


def test_labels_are_no_image(tmp_path):
    labels = np.ones((8, 16, 16), np.uint32)
    write_labels(tmp_path / "l.zarr", labels, Grid.plain(3))
    words = ("--source", tmp_path / "l.zarr", "--target", tmp_path / "out.zarr")
    done = run("batch", *words, "--model", "fibsem-isotropic", *FLAGS)
    assert done.returncode == 1
    assert "holds labels, no grey levels" in done.stderr


def test_an_address_without_a_port_is_refused_at_once(source, tmp_path):
    words = ("--source", source, "--target", tmp_path / "out.zarr", "--scheduler", "localhost")
    done = run("batch", *words)
    assert done.returncode == 1
    assert "with the port, such as tcp://node:8786" in done.stderr
