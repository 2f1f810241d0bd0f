"""`napari-implicitseg models`: cards, packages out and in."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import typer.testing

from napari_implicitseg.cli.models import app
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.bioimage import import_bioimageio
from napari_implicitseg.models.folder import load_model, shipped_models
from napari_implicitseg.predictors.cnn import CNN, CNNConfig

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("bioimageio.core", reason='needs the extra "bioimageio"')

from .models import packages


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with a model, a package of another program and an image."""
    path = tmp_path_factory.mktemp("models")
    network = CNN(CNNConfig(features=(4, 2), kernel=3), seed=1).eval()
    AffinityModel(
        network=network,
        offsets=((-1, 0), (0, -1)),
        spacing=(4.0, 4.0),
        unit="nanometer",
        name="small",
        training={"data": "sections of a fly", "steps": 12},
        metrics={"voi": 0.8765},
    ).save(path / "model")
    packages.affinity_package(path / "theirs.zip")
    rng = np.random.default_rng(0)
    tifffile.imwrite(path / "image.tif", rng.integers(0, 255, (20, 21)).astype(np.uint8))
    return path


def run(folder: Path, *arguments: object) -> typer.testing.Result:
    """Run the command; a bug is raised."""
    with contextlib.chdir(folder):
        done = typer.testing.CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_without_more_it_lists_the_models_that_are_shipped(folder):
    done = run(folder)
    assert done.exit_code == 0
    for name in shipped_models():
        assert f"{name}: " in done.stdout
    assert [m["name"] for m in json.loads(run(folder, "--json").stdout)] == list(shipped_models())


def test_the_card_of_a_model_is_printed(folder):
    done = run(folder, "show", "model")
    assert done.exit_code == 0, done.stderr
    for text in ("# small", "sections of a fly", "not recorded", "0.8765", "4 x 4 nanometer"):
        assert text in done.stdout
    report = json.loads(run(folder, "show", "model", "--json").stdout)
    assert report["offsets"] == [[-1, 0], [0, -1]]


def test_a_model_goes_out_and_comes_in_again(folder):
    done = run(folder, "export", "model", "-o", "ours.zip", "--licence", "CC-BY-4.0",
               "--sample", "image.tif", "--author", "A. Person", "--no-torchscript")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "ours.zip: " in done.stdout
    again = run(folder, "import", "ours.zip", "--output", "back")
    assert again.exit_code == 0, again.stderr
    assert "back: small: 2D, voxels of 4 x 4 nanometer (2 offsets)" in again.stdout
    raw = tifffile.imread(folder / "image.tif")
    before, after = (load_model(folder / name).predict(raw) for name in ("model", "back"))
    np.testing.assert_array_equal(before.data, after.data)
    assert "# small" in run(folder, "show", "ours.zip").stdout


def test_a_package_of_another_program_comes_in_with_what_is_said_of_it(folder):
    offsets = "-1,0,0;0,-2,0;0,0,-3"
    done = run(folder, "import", "theirs.zip", "-o", "said", "--offsets", offsets, "--repulsive")
    assert done.exit_code == 0, done.stderr
    model = import_bioimageio(folder / "said")
    assert model.offsets == ((-1, 0, 0), (0, -2, 0), (0, 0, -3))
    card = run(folder, "show", "said").stdout
    assert "two objects" in card
    assert "Somebody" in card
    refused = run(folder, "export", "said", "-o", "again.zip")
    assert refused.exit_code == 1
    assert "another program's model" in refused.stderr


@pytest.mark.parametrize(
    ("words", "status", "match"),
    [
        ("export model -o out.zip", 1, "no licence and a package needs one"),
        ("export model -o out.tar --licence MIT", 1, "packages end in .zip"),
        ("export none -o out.zip", 1, "The model 'none' is not there"),
        ("import theirs.zip -o out", 1, "cannot be told which of the 3 channels"),
        ("import image.tif -o out", 1, "no zip archive"),
        ("import theirs.zip -o model", 1, "already exists"),
        ("import theirs.zip -o out --offsets up", 2, "are no offsets such as"),
        ("import theirs.zip -o out --channels a", 2, "is no list of channels"),
        ("import theirs.zip", 2, "Missing option"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_and_nothing_is_written(folder, words, status, match):
    before = sorted(folder.iterdir())
    done = run(folder, *words.split())
    assert done.exit_code == status
    assert match in " ".join(done.stderr.split())
    if status == 1:
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")
    assert sorted(folder.iterdir()) == before
