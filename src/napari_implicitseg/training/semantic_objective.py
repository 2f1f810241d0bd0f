"""Loss of classes: cross-entropy, and Dice over the classes that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_implicitseg.semantic_config import SemanticConfig

__all__ = ["class_cross_entropy", "class_dice", "class_loss", "class_weights"]

_SMOOTH = 1.0


def class_weights(pixels: Sequence[int], balance: float) -> tuple[float, ...]:
    """Return weights of classes, of mean 1 over all pixels.

    Parameters
    ----------
    pixels : sequence of int
        Of each class.
    balance : float
        A class weighs its share to the power of minus this; one that is not there 1.
    """
    sizes = np.asarray(pixels, np.float64)
    shares = np.where(sizes > 0, sizes / max(1.0, sizes.sum()), 1.0)
    weights = shares**-balance
    mean = float((weights * sizes).sum() / max(1.0, sizes.sum())) or 1.0
    return tuple(float(w) / mean if n else 1.0 for w, n in zip(weights, sizes, strict=True))


def class_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over labelled pixels; 0 if there is none.

    Parameters
    ----------
    logits : Tensor, shape (B, C, *P)
    labels : Tensor of integers, shape (B, *P)
        Classes from 1; 0 is left out.
    weights : Tensor, shape (C,), optional
    """
    target = labels.long() - 1
    losses = functional.cross_entropy(
        logits, target, weight=weights, ignore_index=-1, reduction="sum"
    )
    return losses / (target >= 0).sum().clamp(min=1)


def class_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of 1 - soft Dice over the classes that the labels of the batch have.

    Parameters
    ----------
    logits, labels
        See `class_cross_entropy`.

    References
    ----------
    F. Milletari, N. Navab and S.-A. Ahmadi, "V-Net: fully convolutional neural networks for
    volumetric medical image segmentation", 3DV 2016.
    """
    known = (labels > 0).unsqueeze(1)
    probability = logits.softmax(dim=1) * known
    classes = logits.shape[1]
    truth = functional.one_hot(labels.long(), classes + 1).movedim(-1, 1)[:, 1:] * known
    axes = (0, *range(2, logits.ndim))
    both = (probability * truth).sum(dim=axes)
    sizes = probability.sum(dim=axes) + truth.sum(dim=axes)
    there = truth.sum(dim=axes) > 0
    scores = 1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)
    return (scores * there).sum() / there.sum().clamp(min=1)


def class_loss(
    logits: Tensor, labels: Tensor, config: SemanticConfig, weights: Tensor | None
) -> Tensor:
    """Loss that the options name.

    Parameters
    ----------
    logits, labels, weights
        See `class_cross_entropy`.
    config : SemanticConfig
    """
    wide = logits.float()
    loss = class_cross_entropy(wide, labels, weights)
    if config.loss == "cross-entropy+dice" and config.dice:
        loss = loss + config.dice * class_dice(wide, labels)
    return torch.as_tensor(loss)
