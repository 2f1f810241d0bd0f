"""`napari-implicitseg repair` on small label images: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer.testing
from PIL import Image

from napari_implicitseg import FitResult, certify
from napari_implicitseg.cli import app
from napari_implicitseg.volumes import Grid, read_labels, write_labels

Y, X = np.mgrid[:96, :128]
LABELS = np.zeros(Y.shape, np.uint16)
LABELS[(Y - 30) ** 2 + (X - 30) ** 2 < 18**2] = 3
LABELS[26:34, 40:50] = 0  # A chunk is missing.
LABELS[(Y - 30) ** 2 + (X - 80) ** 2 < 14**2] = 900
LABELS[70:, :30] = 7  # Touches two borders.
LABELS[60, 60:63], LABELS[60, 70], LABELS[62:64, 80] = 11, 12, 13  # Too small.
LABELS[(Y - 75) ** 2 + (X - 100) ** 2 < 15**2] = 20
LABELS[72:78, 97:103] = 0  # A hole.
SMALL = [11, 12, 13]
MAP = (1 / (1 + np.exp((np.hypot(Y - 48, X - 60) - 25) / 3))).astype(np.float32)
ENTRY = {
    "id": int, "voxels_before": int, "voxels_after": int, "size_after": float,
    "agreement": float, "kind": str, "holds": bool, "components": int, "repaired": int,
    "detail": str,
}  # fmt: skip


def repair(*arguments: object) -> typer.testing.Result:
    """Run the command in this process and folder; a bug is raised."""
    words = ["repair", *map(str, arguments)]
    done = typer.testing.CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def repaired(*arguments: object) -> np.ndarray:
    """Run the command, which has to succeed, and return the labels it wrote."""
    done = repair(*arguments)
    assert done.exit_code == 0, done.stderr
    words = [str(a) for a in arguments]
    path = words[(words.index("--output") if "--output" in words else words.index("-o")) + 1]
    return np.asarray(read_labels(path).data)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum())


def stack() -> np.ndarray:
    """Return two bodies in 3D, one with a cut, and a speck."""
    z, y, x = np.mgrid[:8, :32, :32]
    labels = np.zeros(z.shape, np.uint16)
    labels[((z - 4) / 3.5) ** 2 + ((y - 10) / 8) ** 2 + ((x - 10) / 8) ** 2 < 1] = 4
    labels[3:5, 9:11, 12:20] = 0
    labels[((z - 4) / 3.5) ** 2 + ((y - 24) / 6) ** 2 + ((x - 24) / 6) ** 2 < 1] = 6
    labels[0, 0, :3] = 9
    return labels


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with labels in every format."""
    monkeypatch.chdir(tmp_path)
    grid = Grid(axes=("y", "x"), scale=(0.5, 0.5), translate=(3.0, 4.0), units=("micrometer",) * 2)
    tifffile.imwrite("labels.tif", LABELS, imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    Image.fromarray(LABELS).save("labels.png")
    write_labels("labels.zarr", LABELS, grid)


@pytest.mark.parametrize(
    ("labels", "out"),
    [
        ("labels.tif", "out.tif"),
        ("labels.png", "out.png"),
        ("labels.zarr", "out.zarr"),
        ("labels.tif", "out.ome.tif"),
        ("labels.zarr", "labels.zarr/labels/repaired"),
    ],
)
def test_every_format_goes_in_and_out_and_ids_stay(labels: str, out: str) -> None:
    got = repaired(labels, "--output", out)
    assert set(np.unique(got)) == set(np.unique(LABELS))
    assert got.dtype == (np.uint16 if out.endswith(".png") else np.uint32)
    for label in (3, 7, 20, 900):
        assert certify(got == label, kind="convex").holds
        assert iou(got == label, label == LABELS) > 0.8
    assert got[30, 42] == 3  # The chunk is back.
    assert got[75, 100] == 20  # The hole is filled.
    for label in SMALL:
        np.testing.assert_array_equal(got == label, label == LABELS)
    if labels == "labels.zarr":
        kept = read_labels(out).grid()
        assert (kept.scale, kept.translate, kept.unit) == ((0.5, 0.5), (3.0, 4.0), "micrometer")
        np.testing.assert_array_equal(read_labels(labels).data, LABELS)


def test_the_text_has_the_least_agreement_first_and_a_summary() -> None:
    done = repair("labels.tif", "-o", "out.tif")
    *lines, summary = done.stdout.splitlines()
    assert len(lines) == 7
    values = [float(ln.split("agreement ")[1].split(",")[0]) for ln in lines if "agreement" in ln]
    assert values == sorted(values)
    first = next(line for line in lines if line.startswith("3: "))
    assert "941 -> " in first
    assert "µm²" in first
    assert "convex holds" in first
    assert sum("too small, left as before" in line for line in lines) == 3
    assert summary.startswith("4 objects repaired, 3 too small and left as before in ")
    assert summary.endswith(" -> out.tif")
    assert done.stderr.splitlines() == [
        line for line in done.stderr.splitlines() if line.startswith("warning: ")
    ]
    assert "11, 12, 13 are too small" in done.stderr


def test_of_many_objects_the_worst_are_printed_and_json_has_all() -> None:
    many = np.zeros((192, 192), np.uint8)
    for k in range(64):
        y, x = k // 8 * 24 + 2, k % 8 * 24 + 2
        many[y : y + 16, x : x + 16] = k + 1
        many[y : y + 4, x + 4 : x + 4 + k % 7] = 0
    Image.fromarray(many).save("many.png")
    done = repair("many.png", "-o", "out.png")
    lines = done.stdout.splitlines()
    assert len(lines) == 22
    assert lines[20].startswith("... 44 more, of agreement ")
    assert "--json" in lines[20]
    assert lines[21].startswith("64 objects repaired in ")
    report = json.loads(repair("many.png", "-o", "out.png", "--overwrite", "--json").stdout)
    assert [entry["id"] for entry in report["objects"]] == list(range(1, 65))
    worst = min(report["objects"], key=lambda entry: entry["agreement"])
    assert f"agreement {worst['agreement']:.3f}" in lines[0]


def test_the_report_is_json_and_the_result_is_saved() -> None:
    done = repair(
        "labels.png", "-o", "out.tif", "--json", "--spacing", 4, "--unit", "nm",
        "--save-result", "fit.safetensors",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == [
        "labels", "output", "shape", "spacing", "unit", "size_unit", "seconds", "objects",
        "unchanged", "warnings",
    ]  # fmt: skip
    assert (report["labels"], report["output"], report["shape"]) == (
        "labels.png", "out.tif", "convex",
    )  # fmt: skip
    assert (report["spacing"], report["unit"], report["size_unit"]) == ([4, 4], "nanometer", "nm²")
    assert report["unchanged"] == SMALL
    assert len(report["warnings"]) == 1
    volume = read_labels("out.tif")
    assert volume.grid().scale == (4.0, 4.0)
    assert [entry["id"] for entry in report["objects"]] == [3, 7, 11, 12, 13, 20, 900]
    for entry in report["objects"]:
        assert {name: type(value) for name, value in entry.items()} == ENTRY
        before, after = (a == entry["id"] for a in (LABELS, volume.data))
        assert (entry["voxels_before"], entry["voxels_after"]) == (before.sum(), after.sum())
        assert entry["size_after"] == after.sum() * 16
        assert entry["agreement"] == pytest.approx(iou(before, after), abs=1e-4)
        assert (entry["kind"], entry["holds"], entry["components"]) == ("convex", True, 1)
    result = FitResult.load("fit.safetensors")
    assert sorted(result.shapes) == [3, 7, 20, 900]
    np.testing.assert_array_equal(result.labels, volume.data)


@pytest.mark.parametrize(
    "options",
    [
        ("connected", "--steps", 30),
        ("connected", "--steps", 5, "--flow", "realnvp"),
        ("star", "--steps", 30),
        ("symmetric", "--steps", 30),
        ("symmetric", "--steps", 30, "--symmetry", "rotation"),
        ("symmetric", "--steps", 30, "--symmetric-family", "star", "--order", 2),
        ("free", "--steps", 30),
    ],
)
def test_every_shape_is_offered(options: tuple[object, ...]) -> None:
    done = repair("labels.tif", "-o", "out.tif", "--json", "--ids", 3, "--shape", *options)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert not any("does nothing" in warning for warning in report["warnings"])
    (entry,) = report["objects"]
    assert entry["kind"] == ("none" if options[0] == "free" else options[0])
    assert report["shape"] == options[0]
    assert entry["voxels_after"] == (read_labels("out.tif").data == 3).sum() > 0
    if options[0] == "connected":
        assert (entry["holds"], entry["components"]) == (True, 1)


def test_only_the_chosen_ids_change() -> None:
    got = repaired("labels.tif", "-o", "out.tif", "--ids", "3,900")
    assert got[30, 42] == 3
    others = ~np.isin(LABELS, (0, 3, 900))
    np.testing.assert_array_equal(got[others], LABELS[others])
    report = json.loads(repair("labels.tif", "-o", "b.tif", "--ids", "20,3", "--json").stdout)
    assert [entry["id"] for entry in report["objects"]] == [3, 20]


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_a_mask_of_0_and_255_stays_so(name: str) -> None:
    mask = np.where(LABELS == 3, 255, 0).astype(np.uint8)
    if name.endswith("png"):
        Image.fromarray(mask).save(name)
    else:
        tifffile.imwrite(name, mask)
    got = repaired(name, "-o", "out.png")
    assert set(np.unique(got)) == {0, 255}
    assert got[30, 42] == 255


def test_a_probability_map_gives_object_1() -> None:
    tifffile.imwrite("map.tif", MAP)
    got = repaired("map.tif", "-o", "out.tif")
    assert set(np.unique(got)) == {0, 1}
    assert iou(got == 1, MAP > 0.5) > 0.9
    report = json.loads(repair("map.tif", "-o", "b.tif", "--json").stdout)
    assert report["objects"][0]["voxels_before"] == (MAP > 0.5).sum()


def test_ids_may_be_saved_as_whole_fractions() -> None:
    tifffile.imwrite("float.tif", LABELS.astype(np.float32))
    repair("labels.tif", "-o", "a.png")
    repair("float.tif", "-o", "b.png")
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()


def test_a_volume_is_repaired_whole_or_slice_by_slice() -> None:
    labels = stack()
    grid = Grid(
        axes=("z", "y", "x"), scale=(8.0, 4.0, 4.0), translate=(0.0,) * 3, units=("nanometer",) * 3
    )
    write_labels("stack.zarr", labels, grid)
    whole = repair("stack.zarr", "-o", "whole.zarr")
    assert whole.exit_code == 0, whole.stderr
    assert "nm³" in whole.stdout
    got = read_labels("whole.zarr")
    assert got.grid().scale == (8.0, 4.0, 4.0)
    assert got.data[4, 10, 14] == 4
    assert certify(np.asarray(got.data) == 4, kind="convex").holds
    np.testing.assert_array_equal(np.asarray(got.data) == 9, labels == 9)
    each = repaired("stack.zarr", "-o", "each.tif", "--per-slice")
    assert set(np.unique(each)) == {0, 4, 6, 9}
    assert all(certify(plane == 4, kind="convex").holds for plane in each)
    np.testing.assert_array_equal(each.any(axis=(1, 2)), labels.any(axis=(1, 2)))


def test_slices_called_channels_are_taken_for_slices() -> None:
    tifffile.imwrite("stack.tif", stack(), imagej=True)
    done = repair("stack.tif", "-o", "out.tif")
    assert done.exit_code == 0, done.stderr
    assert "of length 8, is called channels and taken for slices" in done.stderr
    assert read_labels("out.tif").shape == (8, 32, 32)


def test_a_time_point_is_chosen() -> None:
    tifffile.imwrite("movie.ome.tif", np.stack([0 * LABELS, LABELS]), metadata={"axes": "TYX"})
    refused = repair("movie.ome.tif", "-o", "out.png")
    assert (refused.exit_code, "--time" in refused.stderr) == (1, True)
    got = repaired("movie.ome.tif", "-o", "out.png", "--time", 1)
    np.testing.assert_array_equal(got, repaired("labels.png", "-o", "b.png"))


def test_empty_labels_give_an_empty_label_image() -> None:
    Image.fromarray(np.zeros((40, 50), np.uint8)).save("empty.png")
    done = repair("empty.png", "-o", "out.tif")
    assert done.exit_code == 0
    assert done.stdout.startswith("0 objects repaired in ")
    assert done.stderr.startswith("warning: The labels hold no object")
    assert not read_labels("out.tif").data.any()
    assert read_labels("out.tif").shape == (40, 50)


def test_an_object_that_fills_the_image_stays() -> None:
    Image.fromarray(np.full((40, 50), 4, np.uint8)).save("full.png")
    assert (repaired("full.png", "-o", "out.png") == 4).all()


def test_pieces_far_apart_are_joined_and_told_of() -> None:
    apart = np.zeros((96, 128), np.uint8)
    apart[10:25, 10:25] = apart[70:85, 100:115] = 5
    tifffile.imwrite("apart.tif", apart)
    done = repair("apart.tif", "-o", "out.tif", "--shape", "connected", "--steps", 30, "--json")
    assert "Object 5 is in pieces far apart" in done.stderr
    (entry,) = json.loads(done.stdout)["objects"]
    assert (entry["components"], entry["holds"]) == (1, True)


def test_an_object_with_nothing_left_is_not_said_to_keep_its_promise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from napari_implicitseg.cli import _report

    entry = {
        "id": 2, "voxels_before": 40, "voxels_after": 0, "size_after": 0.0, "agreement": 0.0,
        "kind": "convex", "holds": True, "components": 0, "repaired": 0, "detail": "",
    }  # fmt: skip
    report = {
        "output": "out.tif", "size_unit": "", "seconds": 0.1, "objects": [entry], "unchanged": [],
        "warnings": [],
    }  # fmt: skip
    _report.show(report, as_json=False)
    line, summary = capsys.readouterr().out.splitlines()
    assert line == "2: agreement 0.000, 40 -> 0 voxels, NOTHING left"
    assert "1 of them with nothing left" in summary


def test_options_without_effect_are_told_of() -> None:
    done = repair("labels.tif", "-o", "out.tif", "--symmetry", "rotation", "--steps", 9, "--json")
    assert done.exit_code == 0
    warnings = json.loads(done.stdout)["warnings"]
    assert "--symmetry does nothing here: it is for --shape symmetric." in warnings
    assert any(warning.startswith("--steps does nothing here") for warning in warnings)
    assert not any("--flow" in warning or "--order" in warning for warning in warnings)


def test_the_shell_sees_the_same() -> None:
    command = [sys.executable, "-W", "error", "-m", "napari_implicitseg.cli", "repair"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            capture_output=True, encoding="utf-8", env=environment, timeout=300,
        )  # fmt: skip

    done = run("labels.tif", "--output", "out.tif", "--ids", "3,900")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("2 objects repaired in ")
    assert run("labels.tif", "--output", "out.tif").returncode == 1
    assert run("labels.tif").returncode == 2


@pytest.mark.parametrize("shape", ["convex", "connected"])
def test_a_time_series_is_repaired_in_space_and_time(tmp_path: Path, shape: str) -> None:
    """A disc that moves, missing in two frames, is one body over time."""
    frames = np.zeros((24, 60, 80), np.uint16)
    for t in range(len(frames)):
        frames[t][np.hypot(Y - 30, X - 20 - 1.5 * t)[:60, :80] < 12] = 4
    whole = frames.copy()
    frames[11:13] = 0
    tifffile.imwrite(tmp_path / "series.ome.tif", frames, metadata={"axes": "TYX"})
    refused = repair(tmp_path / "series.ome.tif", "-o", tmp_path / "no.tif")
    assert "24 time points" in refused.stderr
    assert not (tmp_path / "no.tif").exists()
    wrong = repair(tmp_path / "series.ome.tif", "-o", tmp_path / "no.tif", "--time", "some")
    assert wrong.exit_code == 2
    assert "'some' is neither a whole number nor all" in " ".join(wrong.stderr.split())
    arguments = (tmp_path / "series.ome.tif", "-o", tmp_path / "out.ome.tif", "--time", "all")
    assert repair(*arguments, "--shape", shape).exit_code == 0
    found = np.asarray(read_labels(tmp_path / "out.ome.tif", time="all").data)
    assert certify(found == 4, kind=shape).holds
    assert found[11:13].any((1, 2)).all()
    assert iou(found == 4, whole == 4) > (0.95 if shape == "convex" else 0.9)
