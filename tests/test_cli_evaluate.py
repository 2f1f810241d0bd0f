"""`napari-implicitseg evaluate`: what it prints, writes and refuses."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.evaluation import METRICS, evaluate
from napari_implicitseg.volumes import Grid, write_labels
from napari_implicitseg.volumes.affinity_files import write_affinities

from .command_line import run, shell


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 9, (3, 6, 7)), np.ones((2, 6, 6), int)).astype(np.uint16)
    labels = np.roll(truth, 1, 2)
    labels[3:, :20][labels[3:, :20] == 4] = 44
    labels[labels == 2] = 3
    return labels, truth


@pytest.fixture(scope="module")
def files(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    labels, truth = pair
    for name, data in (("labels", labels), ("truth", truth), ("cut", truth[:, 1:])):
        tifffile.imwrite(folder / f"{name}.tif", data, photometric="minisblack")
    tifffile.imwrite(folder / "empty.tif", truth * 0, photometric="minisblack")
    tifffile.imwrite(folder / "grey.tif", truth / np.float32(7), photometric="minisblack")
    zarr.save_array(folder / "labels.zarr", labels)
    with h5py.File(folder / "truth.h5", "w") as file:
        file["neurons"] = truth
        file["neurons"].attrs["resolution"] = (40.0, 4.0, 4.0)
    return folder


def told(files, *arguments):
    """The report as JSON."""
    done = run("evaluate", files / "labels.tif", files / "truth.tif", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_report_has_the_figures_of_evaluate(pair, files):
    report = told(files)
    assert report["figures"] == json.loads(json.dumps(evaluate(*pair).as_dict()))
    assert list(report["figures"]) == list(METRICS)
    assert report["shape"] == [6, 36, 42]
    assert (report["ignore"], report["border"], report["warnings"]) == (0, None, [])
    assert "worst_splits" not in report


def test_figures_are_chosen_by_name(pair, files):
    assert list(told(files, "--metrics", "voi, rand")["figures"]) == ["voi", "rand"]
    assert list(told(files, "--metrics", "ap-50")["figures"]) == ["ap_50"]


@pytest.mark.parametrize(("text", "ignore"), [("none", None), ("3", 3), ("0", 0)])
def test_a_label_or_none_is_ignored(pair, files, text, ignore):
    report = told(files, "--ignore", text, "--background", "0")
    assert report["ignore"] == ignore
    expected = evaluate(*pair, ignore=ignore, background=0)
    assert report["figures"] == json.loads(json.dumps(expected.as_dict()))


def test_the_worst_are_listed_with_their_places(pair, files):
    labels, truth = pair
    report = told(files, "--worst", "2")
    expected = evaluate(*pair).worst_splits(2)
    assert [e["id"] for e in report["worst_splits"]] == [e.id for e in expected]
    assert [e["bits"] for e in report["worst_splits"]] == [e.bits for e in expected]
    for entry in report["worst_splits"]:
        assert truth[tuple(entry["place"])] == entry["id"]
        assert labels[tuple(entry["place"])] == entry["parts"][1]
    for entry in report["worst_merges"]:
        assert labels[tuple(entry["place"])] == entry["id"]
        assert truth[tuple(entry["place"])] == entry["parts"][1]


def test_people_get_tables(files):
    done = run("evaluate", files / "labels.tif", files / "truth.tif", "--worst", "3")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for text in ("voi_split", "Objects matched", "IoU per class", "Worst splits", "Worst merges"):
        assert text in done.stdout
    few = run("evaluate", files / "labels.tif", files / "truth.tif", "--metrics", "voi")
    assert "voi " in few.stdout
    assert "Objects matched" not in few.stdout
    matches = run("evaluate", files / "labels.tif", files / "truth.tif", "--metrics", "matches")
    assert "IoU from" in matches.stdout
    assert "figure" not in matches.stdout


def test_the_border_is_in_the_unit_of_the_voxel_size(pair, files):
    spacing = (40, 4, 4)
    expected = evaluate(*pair, border=6, spacing=spacing)["voxels"]
    given = told(files, "--border", "6", "--spacing", "40,4,4")
    assert given["figures"]["voxels"] == expected
    assert given["spacing"] == [40, 4, 4]
    for unit, border in (((), 6), (("--unit", "nm"), 6), (("--unit", "um"), 0.006)):
        done = run(
            "evaluate", files / "labels.zarr", files / "truth.h5", "--border", border, *unit,
            "--json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["figures"]["voxels"] == expected
    one = told(files, "--border", "1.5", "--spacing", "1")
    assert one["figures"]["voxels"] == expected


def test_what_does_nothing_is_warned_of(files):
    assert told(files, "--unit", "nm")["warnings"] == [
        "--unit does nothing here: it is for --border."
    ]
    done = run("evaluate", files / "empty.tif", files / "truth.tif", "--metrics", "voi")
    assert done.returncode == 0
    assert done.stderr == (
        "warning: The labels are 0 wherever they are compared: there is no segment.\n"
    )


def test_the_report_is_written_and_not_replaced_unasked(files, tmp_path):
    out = tmp_path / "report.json"
    report = told(files, "--output", out)
    assert json.loads(out.read_text(encoding="utf-8")) == report
    again = run("evaluate", files / "labels.tif", files / "truth.tif", "-o", out)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    told(files, "--output", out, "--overwrite", "--metrics", "voi")
    assert list(json.loads(out.read_text(encoding="utf-8"))["figures"]) == ["voi"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("labels.tif", "cut.tif"), "cut.tif' has (6, 35, 42); compare volumes of the same voxels"),
        (("nothing.tif", "truth.tif"), "labels file"),
        (("labels.tif", "nothing.tif"), "truth file"),
        (("grey.tif", "truth.tif"), "grey.tif"),
        (("labels.tif", "empty.tif"), "all 9072 are left out"),
        (
            ("labels.tif", "truth.tif", "--metrics", "jaccard"),
            "no figure 'jaccard'; known are voi_split",
        ),
        (("labels.tif", "truth.tif", "--metrics", ","), "give 'all', or some of"),
        (("labels.tif", "truth.tif", "--border", "9", "--unit", "nm"), "give it by --spacing"),
        (("labels.tif", "truth.tif", "--border", "9", "--spacing", "1,2"), "one positive number"),
        (("labels.tif", "truth.tif", "-o", "no/folder.json"), "does not exist"),
    ],
)
def test_what_cannot_be_compared_is_told_in_one_line(files, arguments, message):
    names = [files / a if a.endswith("tif") else a for a in arguments]
    done = run("evaluate", *names)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--ignore", "all"),
        ("--border", "nan"),
        ("--border", "-1"),
        ("--worst", "-1"),
        ("--spacing", "a"),
        ("--bo", "1"),
    ],
)
def test_wrong_usage_has_status_2(files, arguments):
    done = run("evaluate", files / "labels.tif", files / "truth.tif", *arguments)
    assert done.returncode == 2


def test_the_input_is_never_written_over(files):
    done = run(
        "evaluate", files / "labels.tif", files / "truth.tif", "-o", files / "truth.tif",
        "--overwrite",
    )  # fmt: skip
    assert done.returncode == 1
    assert "would replace the input" in done.stderr


def test_the_shell_prints_the_same(files):
    done = shell(
        "evaluate", files / "labels.tif", files / "truth.tif", "--metrics", "voi", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"] == told(files, "--metrics", "voi")["figures"]


def test_a_border_without_a_voxel_size_is_said_to_be_in_voxels(files):
    words = ("evaluate", files / "labels.tif", files / "truth.tif", "--border", "1")
    assert "The border of 1 is in voxels" in run(*words).stderr
    assert run(*words, "--spacing", "4", "--unit", "nm").stderr == ""


def test_affinities_and_images_are_no_labels(files, tmp_path):
    data = np.zeros((2, 8, 8), np.float32)
    made = Affinities(data=data, offsets=((-1, 0), (0, -1)), spacing=(1, 1))
    write_affinities(tmp_path / "a.zarr", made, Grid.plain(2))
    done = run("evaluate", tmp_path / "a.zarr", tmp_path / "a.zarr")
    assert done.returncode == 1
    assert "are affinities, not one number per voxel. Segment them first" in done.stderr
    write_labels(tmp_path / "a.zarr" / "labels" / "cells", np.ones((8, 8), np.uint8), Grid.plain(2))
    done = run("evaluate", tmp_path / "a.zarr", tmp_path / "a.zarr")
    assert "Name the labels in it, such as" in done.stderr
    assert "labels/cells" in done.stderr
