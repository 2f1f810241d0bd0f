"""Classes block by block: those of the whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_implicitseg import BatchConfig, convert, run_batch
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.predictors.unet import UNet, UNetConfig

from ..command_line import run
from .batch_cases import labels_of


@pytest.fixture(scope="module", params=[2, 3])
def case(request, tmp_path_factory):
    """A model with random weights, a volume as OME-Zarr, and the classes of the whole."""
    folder, ndim = tmp_path_factory.mktemp("semantic"), request.param
    config = UNetConfig(ndim=ndim, in_channels=1, out_channels=3, widths=(4, 6), norm="batch")
    network = UNet(config, seed=1).eval().requires_grad_(False)
    classes = ("background", "axon", "myelin")
    model = SemanticModel(network=network, classes=classes, spacing=(1.0,) * ndim, name="small")
    model.save(folder / "model")
    image = np.random.default_rng(0).integers(0, 255, (10, 40, 36)).astype(np.uint8)
    image = np.kron(image[::2, ::4, ::4], np.ones((2, 4, 4), np.uint8))
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    convert(folder / "image.tif", folder / "image.zarr", spacing=(1, 1, 1))
    return folder / "image.zarr", folder / "model", model.predict(image)


def options(model, **more):
    shape = (4, 16, 20)
    return BatchConfig(job="semantic", model=model, block_shape=shape, workers=0, **more)


def test_classes_in_blocks_are_those_of_the_whole(case, tmp_path):
    source, model, whole = case
    report = run_batch(source, tmp_path / "out.zarr", config=options(model))
    found = labels_of(tmp_path / "out.zarr", "classes")
    assert report.ok
    assert len(np.unique(whole)) > 1
    # Where two classes are as probable but for rounding, either may win.
    assert (found != whole).mean() < 1e-3
    assert found.dtype == np.uint8
    again = run_batch(source, tmp_path / "out.zarr", config=options(model))
    assert again.stages[0].done_before == again.blocks == 18


def test_models_of_another_kind_are_refused(case, tmp_path):
    source, model, _ = case
    with pytest.raises(InputError, match="predicts affinities, no classes"):
        run_batch(source, tmp_path / "a.zarr", config=options("fibsem-isotropic"))
    config = BatchConfig(job="predict", model=model, workers=0)
    with pytest.raises(InputError, match="tells classes .background, axon, myelin."):
        run_batch(source, tmp_path / "a.zarr", config=config)
    with pytest.raises(InputError, match="needs a model"):
        BatchConfig(job="semantic")


def test_the_command_does_it_too(case, tmp_path):
    source, model, _ = case
    words = ("batch", "--job", "semantic", "--source", source, "--model", model)
    words = (*words, "--target", tmp_path / "out.zarr", "--workers", "0")
    dry = json.loads(run(*words, "--dry-run", "--json").stdout)
    assert dry["worker_bytes"] > 0
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert "labels/classes" in done.stdout
