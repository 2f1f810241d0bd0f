"""The precision of convolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg import SemanticConfig, train_semantic
from napari_implicitseg.models.precision import training_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("patch", "stride", "found"),
    [
        ((48, 48, 48), (8, 8, 8), "bfloat16"),
        ((48, 16, 48), (8, 8, 8), "float32"),
        ((2, 48, 48), (1, 8, 8), "float32"),
        ((3, 48, 48), (1, 8, 8), "bfloat16"),
        ((16, 16), (16, 16), "bfloat16"),
    ],
)
def test_thin_volumes_are_learned_from_in_float32(patch, stride, found):
    assert training_precision("bfloat16", CPU, patch, stride) == found
    assert training_precision("float32", CPU, patch, stride) == "float32"
    assert training_precision("auto", CPU, patch, stride) in (found, "float32")


def test_a_thin_volume_trains(tmp_path):
    # Gradients were NaN, or the process died, on processors that compute with bfloat16.
    rng = np.random.default_rng(0)
    mask = np.ones((30, 1, 30), np.uint8)
    mask[15:] = 2
    raw = (100 * mask + rng.integers(0, 20, mask.shape)).astype(np.uint8)
    config = SemanticConfig(
        ndim=3, steps=3, width=8, depth=2, held_out=0.0, batch_size=2, precision="bfloat16"
    )
    model = train_semantic([raw] * 2, [mask] * 2, config=config, out=tmp_path / "m")
    assert all(torch.isfinite(p).all() for p in model.network.parameters())
