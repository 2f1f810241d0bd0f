"""The schedule of the paper on path-connectedness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg import FitConfig, FitResult, fit_scribbles
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.fitting import published
from napari_implicitseg.fitting.published import fit_published
from napari_implicitseg.shapes.published import PublishedNetwork, PublishedShape


@pytest.fixture
def scene():
    """Features that tell a disc, and strokes."""
    y, x = np.indices((40, 50))
    truth = np.hypot(y - 20, x - 24) < 12
    features = np.stack([np.where(truth, 1.0, -1.0), y / 20 - 1, x / 25 - 1]).astype(np.float32)
    strokes = np.zeros(truth.shape, bool)
    strokes[18:22, 14:34] = strokes[2, 2:48] = strokes[36, 2:48] = True
    return features, truth, strokes & truth, strokes & ~truth


@pytest.mark.parametrize("flow", [False, True])
def test_the_level_is_convex_and_stays_so_under_training(scene, flow):
    features, _, *strokes = scene
    network = fit_published(features, *strokes, flow=flow, teacher=False, epochs=5).network
    assert all(bool((layer.weight >= 0).all()) for layer in network.inner)
    a, b = torch.randn(2, 400, 2)
    network.flow = torch.nn.Sequential()
    with torch.no_grad():
        middle, ends = network((a + b) / 2), (network(a) + network(b)) / 2
    assert (middle <= ends + 1e-5).all()


def test_the_flow_starts_as_the_identity_and_the_convex_network_has_none():
    points = torch.randn(30, 2)
    torch.testing.assert_close(PublishedNetwork(2, flow=True).flow(points), points)
    assert len(PublishedNetwork(2, flow=False).flow) == 0


def test_the_schedule_is_that_of_the_paper(scene, monkeypatch):
    """1200 more pixels an epoch, the teacher rounded from epoch 30, as it is from 200."""
    features, _, *strokes = scene
    seen = []

    original = torch.nn.functional.mse_loss

    def spy(odds, said):
        seen.append(bool(((said == 0) | (said == 1)).all()))
        return original(odds, said)

    monkeypatch.setattr(published.functional, "mse_loss", spy)
    out = fit_published(features, *strokes, flow=False, teacher=True, epochs=202)
    assert published.RATE == 1e-4
    assert (published.BATCH, published.EXTRA, published.EPOCHS) == (1500, 1200, 300)
    assert len(seen) == 172  # One batch an epoch, from epoch 30 on.
    assert all(seen[:170])
    assert not any(seen[170:])
    assert len(out.losses) == len(out.teacher_losses) == 202


def test_the_teacher_learns_the_object_and_draws_the_shape_to_it(scene, monkeypatch):
    features, truth, *strokes = scene
    # So few pixels make few steps: they have to be longer.
    monkeypatch.setattr(published, "RATE", 3e-3)
    out = fit_published(features, *strokes, flow=False, teacher=True)
    assert ((out.teacher > 0.5) == truth).mean() > 0.97
    mask = PublishedShape(out.network, extent=(0.8, 1.0)).rasterize(truth.shape)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85


@pytest.mark.parametrize("shape", ["convex", "connected"])
def test_a_fit_by_the_schedule_is_saved_and_loaded(tmp_path, monkeypatch, shape):
    monkeypatch.setattr("napari_implicitseg.published_fits.EPOCHS", 3)
    monkeypatch.setattr(
        published.fit_published,
        "__kwdefaults__",
        {**published.fit_published.__kwdefaults__, "epochs": 3},
    )
    image = np.random.default_rng(0).random((30, 40))
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[15, 10:20], scribbles[2], scribbles[20, 30:35] = 2, 1, 4
    config = FitConfig(schedule="path-connectedness")
    result = fit_scribbles(image, scribbles, shape=shape, config=config)
    assert set(result.certificates) == {2, 4}
    assert len(result.history["loss/2"]) == len(result.history["loss/teacher/4"]) == 3
    result.save(tmp_path / "fit.safetensors")
    again = FitResult.load(tmp_path / "fit.safetensors")
    for label, fitted in result.shapes.items():
        np.testing.assert_array_equal(
            fitted.rasterize(image.shape), again.shapes[label].rasterize(image.shape)
        )
    lifted = result.shapes[2].lifted(0.5)
    np.testing.assert_allclose(
        lifted.sample(image.shape), result.shapes[2].sample(image.shape) - 0.5
    )


def test_what_the_schedule_is_not_for_is_refused():
    image, scribbles = np.zeros((20, 20)), np.zeros((20, 20), np.uint8)
    scribbles[10, 5:15] = 2
    config = FitConfig(schedule="path-connectedness")
    with pytest.raises(InputError, match="needs background strokes"):
        fit_scribbles(image, scribbles, config=config)
    scribbles[2] = 1
    with pytest.raises(InputError, match="knows the shapes convex and connected, not 'star'"):
        fit_scribbles(image, scribbles, shape="star", config=config)
    with pytest.raises(InputError, match="takes an image whole"):
        fit_scribbles(
            image, scribbles, config=FitConfig(schedule="path-connectedness", per_slice=True)
        )
    with pytest.raises(InputError, match="teacher is 1"):
        FitConfig(teacher=1)


def test_a_fit_by_the_schedule_can_be_cancelled():
    image, scribbles = np.zeros((20, 20)), np.zeros((20, 20), np.uint8)
    scribbles[10, 5:15], scribbles[2] = 2, 1

    def progress(fraction, message):
        if fraction > 0.01:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_scribbles(
            image, scribbles, config=FitConfig(schedule="path-connectedness"), progress=progress
        )
