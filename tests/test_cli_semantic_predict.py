"""`semantic predict` and `semantic evaluate` on files that are alike, wrong or in the way."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile

from napari_implicitseg import SemanticConfig, load_model, train_semantic
from napari_implicitseg.volumes import read_image, read_labels

from .command_line import run

IMAGE = np.kron([[20, 200], [200, 20]], np.ones((12, 14))).astype(np.float32)
MASK = np.where(IMAGE > 100, 2, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    config = SemanticConfig(steps=2, width=2, depth=1, held_out=0.0, classes=("ground", "square"))
    train_semantic(IMAGE, MASK, config=config, out=out)
    return out


@pytest.fixture
def pair(tmp_path):
    """A folder with an image and its mask."""
    tifffile.imwrite(tmp_path / "a.tif", IMAGE)
    tifffile.imwrite(tmp_path / "a_mask.tif", MASK)
    return tmp_path


@pytest.mark.parametrize("suffix", ["tif", "zarr"])
@pytest.mark.parametrize("name", ["square", "2"])
def test_the_probability_of_a_class_is_evidence(model, pair, suffix, name):
    target = pair / f"out.{suffix}"
    done = run(
        "semantic", "predict", pair / "a.tif", "--model", model, "-o", target, "--probability",
        "--class", name,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = np.asarray(read_image(pair / f"out_probability.{suffix}").data).reshape(MASK.shape)
    wanted = load_model(model).evidence(IMAGE, "square")
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    strokes = np.zeros(MASK.shape, np.uint8)
    strokes[4:8, 18:24], strokes[4:8, 2:4] = 2, 1
    tifffile.imwrite(pair / "strokes.tif", strokes)
    fitted = run(
        "scribble", pair / "a.tif", pair / "strokes.tif", pair / "fit.tif", "--evidence",
        pair / f"out_probability.{suffix}",
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr


def test_a_class_that_is_not_there_is_named(model, pair):
    arguments = ("semantic", "predict", pair / "a.tif", "--model", model, "-o", pair / "o.tif")
    done = run(*arguments, "--probability", "--class", "circle")
    assert done.returncode == 1
    assert "1 ground, 2 square" in done.stderr
    assert "--class does nothing here" in run(*arguments, "--class", "square").stderr


def test_mirror_images_are_averaged_where_that_is_wanted(model, pair):
    for options in ((), ("--mirrored",)):
        done = run(
            "semantic", "predict", pair / "a.tif", "--model", model, "--probability", "-o",
            pair / f"o{len(options)}.tif", *options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        wanted = load_model(model).predict_proba(IMAGE, mirrored=bool(options))
        found = read_image(pair / f"o{len(options)}_probability.tif").data
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_images_of_one_name_are_not_written_over_each_other(model, pair):
    for name in ("one", "two"):
        (pair / name).mkdir()
        shutil.copy(pair / "a.tif", pair / name)
    arguments = ("--model", model, "-o", pair / "out", "--overwrite")
    done = run("semantic", "predict", pair / "one" / "a.tif", pair / "two" / "a.tif", *arguments)
    assert done.returncode == 1
    assert "would both be written to" in done.stderr
    assert not (pair / "out").exists()
    # The same image twice is one.
    done = run("semantic", "predict", pair / "one" / "a.tif", pair / "one", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(list((pair / "out").iterdir())) == 1


def test_wrong_images_of_a_folder_are_skipped_and_the_others_done(model, pair):
    (pair / "in").mkdir()
    damaged = IMAGE.copy()
    damaged[3, 4] = np.nan
    for name, image in (("a", IMAGE), ("b", damaged), ("c", IMAGE)):
        tifffile.imwrite(pair / "in" / f"{name}.tif", image)
    arguments = ("--model", model, "-o", pair / "out", "--json")
    done = run("semantic", "predict", pair / "in", *arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["skipped"] == [str(pair / "in" / "b.tif")]
    assert sorted(path.name for path in (pair / "out").iterdir()) == ["a.tif", "c.tif"]


def test_a_folder_that_cannot_be_written_ends_it_all(model, pair, monkeypatch):
    from napari_implicitseg import volumes
    from napari_implicitseg.errors import FileError

    (pair / "in").mkdir()
    for name in "abc":
        tifffile.imwrite(pair / "in" / f"{name}.tif", IMAGE)
    tried = []

    def full(target, *_, **__):
        tried.append(target)
        raise FileError(f"Cannot write '{target}': no space left on device.")

    monkeypatch.setattr(volumes, "write_labels", full)
    done = run("semantic", "predict", pair / "in", "--model", model, "-o", pair / "out")
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert len(tried) == 1


def test_values_of_masks_that_labels_cannot_hold_are_refused(pair):
    config = SemanticConfig(steps=1, width=2, depth=1, held_out=0.0, values=(-2, -1))
    train_semantic(IMAGE, MASK.astype(np.int16) - 3, config=config, out=pair / "m")
    arguments = ("--model", pair / "m", "-o", pair / "o.tif", "--mask-values")
    done = run("semantic", "predict", pair / "a.tif", *arguments)
    assert done.returncode == 1
    assert "-2 for a class, which label images cannot hold" in done.stderr
    assert not (pair / "o.tif").exists()


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_file_in_place_of_a_folder_is_named(model, pair, command):
    (pair / "taken").write_text("mine")
    files = (pair / "a.tif", pair / "a_mask.tif")
    where = ("-o", pair / "taken") if command == "predict" else ("--pictures", pair / "taken")
    done = run("semantic", command, *files, "--model", model, *where)
    assert done.returncode == 1
    assert f"'{pair / 'taken'}', which is a file. Name a folder" in done.stderr
    assert (pair / "taken").read_text() == "mine"


def test_figures_that_are_there_are_kept_or_replaced_as_a_whole(model, pair):
    arguments = ("semantic", "evaluate", "--model", model, "--pictures", pair / "r")
    assert run(*arguments, pair / "a.tif", pair / "a_mask.tif").returncode == 0
    assert (pair / "r" / "worst_01_a.png").is_file()
    (pair / "a.tif").rename(pair / "b.tif")
    (pair / "a_mask.tif").rename(pair / "b_mask.tif")
    refused = run(*arguments, pair / "b.tif", pair / "b_mask.tif")
    assert refused.returncode == 1
    assert "confusion.png' already exists" in refused.stderr
    assert run(*arguments, pair / "b.tif", pair / "b_mask.tif", "--overwrite").returncode == 0
    assert sorted(path.name for path in (pair / "r").glob("worst*")) == ["worst_01_b.png"]


def test_labels_are_those_of_the_model(model, pair):
    done = run("semantic", "predict", pair / "a.tif", "--model", model, "-o", pair / "o.png")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(
        read_labels(pair / "o.png").data, load_model(model).predict(IMAGE)
    )
