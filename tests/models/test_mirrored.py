"""The mean over mirror images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg.models.mirrored import Mirrored
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.models.tiles import predict_tiles
from napari_implicitseg.predictors.architectures import build_network
from napari_implicitseg.predictors.unet_config import UNetConfig


def network(ndim, depth=3):
    """A network of random weights."""
    config = UNetConfig.from_spacing(
        (1.0,) * ndim, depth=depth, width=3, in_channels=2, out_channels=3, norm="none"
    )
    made = build_network({"architecture": "unet", **config.to_json()}, seed=1)
    return made.eval().requires_grad_(False)


def predicted(net, raw, tile=None):
    """Probabilities of a mirrored network, tile by tile."""
    read = lambda box: raw[(slice(None), *box)]  # noqa: E731
    return predict_tiles(Mirrored(net), read, raw.shape[1:], tile_shape=tile, activation="softmax")


@pytest.mark.parametrize(("shape", "count"), [((16, 24), 4), ((8, 12, 16), 8)])
def test_it_is_the_mean_over_all_mirror_images(shape, count):
    net = network(len(shape))
    raw = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    logits = []
    for number in range(count):
        axes = [1 + axis for axis in range(len(shape)) if number >> axis & 1]
        with torch.inference_mode():
            made = net(torch.from_numpy(np.ascontiguousarray(np.flip(raw, axes)))[None])[0]
        logits.append(np.flip(made.numpy(), axes))
    wanted = torch.from_numpy(np.mean(logits, axis=0)).softmax(dim=0).numpy()
    np.testing.assert_allclose(predicted(net, raw), wanted, atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "tile"), [((37, 53), (16, 12)), ((50, 21), (8, 8)), ((9, 22, 19), (4, 8, 8))]
)
def test_tiles_make_no_difference(shape, tile):
    net = network(len(shape))
    raw = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    np.testing.assert_allclose(predicted(net, raw, tile), predicted(net, raw), atol=2e-6)


def test_a_mirrored_image_gives_the_mirrored_answer():
    model = SemanticModel(network=network(2), classes=("a", "b", "c"), spacing=(1.0, 1.0))
    image = np.random.default_rng(0).integers(0, 255, (2, 32, 40), np.uint8)
    found = model.predict_proba(image, channel_axis=0, mirrored=True)
    other = model.predict_proba(image[:, ::-1], channel_axis=0, mirrored=True)
    np.testing.assert_allclose(other, found[:, ::-1], atol=2e-6)
    plain = model.predict_proba(image, channel_axis=0)
    assert np.abs(plain - found).max() > 1e-3
