"""`napari-implicitseg semantic`: what it writes, prints and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_implicitseg import load_model
from napari_implicitseg.volumes import read_image, read_labels

from .command_line import run, shell

FAST = (
    "--width",
    "8",
    "--depth",
    "2",
    "--patch",
    "32,32",
    "--steps",
    "60",
    "--validate-every",
    "30",
)


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a bright square on the dark, with its mask of 0 and 255."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((40 + 4 * seed, 48), np.uint8)
    y, x = rng.integers(4, 18, 2)
    mask[y : y + 16, x : x + 20] = 255
    return (mask * 0.6 + rng.normal(60, 8, mask.shape)).clip(0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(4):
        image, mask = _scene(seed)
        Image.fromarray(image).save(folder / f"{seed}.png")
        Image.fromarray(mask).save(folder / f"{seed}_mask.png")
    return folder


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    done = run(
        "semantic", "train", folder, folder, "-o", out, *FAST, "--zero", "background",
        "--classes", "ground,square", "--held-out", "0.25", "--seed", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done


def test_training_says_the_mapping_and_how_good_the_model_is(trained):
    out, done = trained
    assert "0 is class 1 (ground), 255 is class 2 (square)" in done.stderr
    assert "1 ground (0), 2 square (255)" in done.stdout
    figures = load_model(out).metrics
    assert f"accuracy {figures['accuracy']:.4f}, mean IoU {figures['iou']:.4f}" in done.stdout
    assert figures["iou"] > 0.8


def test_training_goes_on_and_reports_as_json(folder, trained):
    out, _ = trained
    arguments = ("--zero", "background", "--classes", "ground,square", "--held-out", "0.25")
    done = run(
        "semantic", "train", folder, folder, "-o", out, *FAST, *arguments, "--seed", "1",
        "--resume", "--json",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["iou"] == load_model(out).metrics["iou"]
    assert report["values"] == [0, 255]
    again = run("semantic", "train", folder, folder, "-o", out, *FAST, *arguments)
    assert again.returncode == 1
    assert "already holds a model" in again.stderr


def test_one_image_becomes_a_label_image_of_any_format(folder, trained, tmp_path):
    out, _ = trained
    for name in ("a.png", "a.tif", "a.zarr"):
        done = run("semantic", "predict", folder / "0.png", "--model", out, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "ground" in done.stdout
    arrays = [np.asarray(read_labels(tmp_path / n).data) for n in ("a.png", "a.tif", "a.zarr")]
    _, mask = _scene(0)
    assert np.mean(arrays[0] == 1 + mask // 255) > 0.95
    for other in arrays[1:]:
        np.testing.assert_array_equal(other, arrays[0])
    once_more = ("semantic", "predict", folder / "0.png", "--model", out, "-o", tmp_path / "a.png")
    assert "exists" in run(*once_more).stderr
    assert run(*once_more, "--overwrite", "--mask-values").returncode == 0
    values = np.asarray(read_labels(tmp_path / "a.png").data)
    np.testing.assert_array_equal(values, np.array([0, 0, 255])[arrays[0]])


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
def test_probabilities_lie_beside_the_labels(folder, trained, tmp_path, suffix):
    out, _ = trained
    target = tmp_path / f"p.{suffix}"
    done = run(
        "semantic", "predict", folder / "1.png", "--model", out, "-o", target, "--probability"
    )
    assert done.returncode == 0, done.stderr
    volume = read_image(tmp_path / f"p_probability.{suffix}")
    assert volume.channel_axis == 0
    found = np.asarray(volume.data)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-4)
    np.testing.assert_array_equal(found.argmax(axis=0) + 1, np.asarray(read_labels(target).data))


def test_a_folder_becomes_a_folder_without_masks_and_corrupt_files(folder, trained, tmp_path):
    out, _ = trained
    source = tmp_path / "in"
    source.mkdir()
    for path in folder.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "broken.png").write_bytes(b"\x89PNG and no more")
    done = run("semantic", "predict", source, "--model", out, "-o", tmp_path / "out", "--json")
    report = json.loads(done.stdout)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{i}.tif" for i in range(4)]
    assert report["skipped"] == [str(source / "broken.png")]
    assert "broken.png" in done.stderr
    assert "4 files are masks of others" in done.stderr
    for row in report["images"]:
        assert sum(row["shares"].values()) == pytest.approx(1)


def test_measuring_writes_figures_and_pictures(folder, trained, tmp_path):
    out, _ = trained
    done = run(
        "semantic", "evaluate", folder, folder, "--model", out, "--pictures", tmp_path / "r",
        "--worst", "2", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == report
    assert len(report["images"]) == 4
    assert np.trace(report["confusion"]) / np.sum(report["confusion"]) == report["accuracy"]
    pictures = sorted(p.name for p in (tmp_path / "r").glob("worst_*.png"))
    stems = [name.strip("'").removesuffix(".png") for name in report["worst"]]
    assert pictures == [f"worst_{i:02d}_{stem}.png" for i, stem in enumerate(stems, start=1)]
    shape = np.asarray(Image.open(tmp_path / "r" / pictures[0])).shape
    assert shape[1] == 3 * 48 + 8
    assert np.asarray(Image.open(tmp_path / "r" / "confusion.png")).std() > 10
    held = run("semantic", "evaluate", folder, folder, "--model", out, "--held-out")
    figures = load_model(out).metrics
    assert f"accuracy {figures['accuracy']:.4f}, mean IoU {figures['iou']:.4f}" in held.stdout


def test_the_preset_of_the_report_is_trained_by_name(folder, tmp_path):
    done = run(
        "semantic", "train", folder, folder, "-o", tmp_path / "m", "--preset", "report-2024",
        "--width", "4", "--depth", "2", "--steps", "2", "--patch", "16,16", "--values", "0,255",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    config = load_model(tmp_path / "m").training["config"]
    assert (config["keep"], config["widths"], config["residual"]) == ("last", None, False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "0.png", "nothing.png", "-o", "m"), "does not exist"),
        (("train", "0.png", "1_mask.png", "-o", "m"), "has shape (44, 48) but the image (40, 48)"),
        (("train", "0.png", "0_mask.png", "-o", "m"), "--zero background"),
        (("train", "0.png", "0.png", "-o", "m"), "looks like an image"),
        (("train", ".", "0_mask.png", "-o", "m"), "are a folder and a file"),
        (("train", ".", ".", "-o", "m", "--classes", "a,,b"), "--classes is 'a,,b'"),
        (("train", ".", ".", "-o", "m", "--values", "a"), "--values is 'a'"),
        (("train", ".", ".", "-o", "m", "--colours", "cat"), "--colours is 'cat'"),
        (("predict", "0.png", "--model", "fibsem-isotropic", "-o", "a.tif"), "not classes"),
        (("predict", "0.png", "--model", "nothing", "-o", "a.tif"), "is not there"),
        (("evaluate", ".", ".", "--model", "nothing"), "is not there"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(folder, arguments, message):
    done = run("semantic", *arguments, cwd=folder)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (folder / "m").exists()


def test_affinities_are_not_predicted_by_a_model_of_classes(folder, trained, tmp_path):
    out, _ = trained
    done = run("predict", folder / "0.png", "--model", out, "-o", tmp_path / "a.zarr")
    assert done.returncode == 1
    assert "predicts classes, not affinities" in done.stderr


def test_a_volume_goes_through_the_shell(tmp_path):
    image = np.zeros((8, 24, 24), np.uint8)
    image[2:6, 6:18, 6:18] = 200
    tifffile.imwrite(tmp_path / "v.tif", image, imagej=True, metadata={"axes": "ZYX"})
    mask = np.where(image > 0, 2, 1).astype(np.uint8)
    tifffile.imwrite(tmp_path / "w.tif", mask, imagej=True, metadata={"axes": "ZYX"})
    done = shell(
        "semantic", "train", "v.tif", "w.tif", "-o", "m", "--ndim", "3", "--width", "4",
        "--depth", "2", "--steps", "3", "--patch", "8,16,16", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "There is one image only" in done.stderr
    done = shell("semantic", "predict", "v.tif", "--model", "m", "-o", "o.tif", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_labels(tmp_path / "o.tif").shape == image.shape
