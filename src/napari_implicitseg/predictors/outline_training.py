"""Training of the upsampler on one image: random masks, and sloppy outlines of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from napari_implicitseg.descent_steps import Adam, torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.predictors.outline_looks import OutlineLook
    from napari_implicitseg.predictors.outline_networks import (
        EncoderDecoder,
        TransposedConvolutions,
    )

__all__ = ["component_under", "follow", "random_mask", "sloppy", "train"]

_MASKS = 100
_MOST_TRIALS = 400
# Shares of the image.
_LEAST, _LARGEST = 0.0016, 0.7
# A mask that the colours pull this far from where it was drawn is about something else.
_LEAST_KEPT = 0.35
_AT_ONCE = 10
_ROUNDS = 3
_NOISE = 0.02
_RISE = 10


def random_mask(shape: tuple[int, int], rng: np.random.Generator) -> BoolArray:
    """Draw a random rectangle, ellipse or polygon."""
    from skimage.draw import ellipse, polygon

    mask = np.zeros(shape, bool)
    size = rng.uniform(0.2, 1.0) * min(shape)
    middle = rng.uniform(0, 1, 2) * shape
    half = size * rng.uniform(0.6, 1.6, 2) / 2
    match rng.integers(3):
        case 0:
            low, high = np.maximum(middle - half, 0).astype(int), (middle + half).astype(int) + 1
            mask[low[0] : high[0], low[1] : high[1]] = True
        case 1:
            mask[ellipse(*middle, *half, shape, rng.uniform(0, math.pi))] = True
        case _:
            turn = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(5, 12)))
            reach = size * rng.uniform(0.33, 0.92, len(turn))
            corners = middle[:, None] + reach * np.stack([np.sin(turn), np.cos(turn)])
            mask[polygon(*corners, shape)] = True
    return mask


def sloppy(mask: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Bend, shift, grow or shrink a mask as if it were outlined in haste."""
    size = math.sqrt(mask.sum())
    knots = [max(3, int(2.5 * n / max(size, 1))) for n in mask.shape]
    shift = []
    for _ in range(2):
        rough = rng.normal(0, 0.2 * size, knots)
        zoom = [n / k for n, k in zip(mask.shape, knots, strict=True)]
        shift.append(ndimage.zoom(rough, zoom, order=3) + rng.normal(0, 0.07 * size))
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 0.08 * size)
    moved = ndimage.map_coordinates(soft, np.indices(mask.shape) + shift, order=1, mode="nearest")
    return np.asarray(moved > rng.uniform(0.15, 0.7))


def component_under(mask: BoolArray, outline: BoolArray) -> BoolArray:
    """Component of a mask that an outline shares most with, holes filled; empty if there is none.

    Both have the shape (H, W).
    """
    labels, count = ndimage.label(mask)
    shared = np.bincount(labels[outline], minlength=count + 1)
    if count == 0 or not shared[1:].any():
        return np.zeros(mask.shape, bool)
    return np.asarray(ndimage.binary_fill_holes(labels == 1 + int(np.argmax(shared[1:]))))


def follow(
    odds: Callable[[Tensor], Tensor], outlines: NDArray[np.bool_], rounds: int
) -> tuple[BoolArray, NDArray[np.float32]]:
    """Take what an outline gives as the next outline, several times.

    Parameters
    ----------
    odds : callable
        Log odds (B, H, W) of masks (B, H, W).
    outlines : ndarray of bool, shape (B, H, W)
    rounds : int

    Returns
    -------
    masks : ndarray of bool, shape (B, H, W)
        Empty where nothing was found.
    odds : ndarray of float32, shape (B, H, W)
        Those of the last round.
    """
    masks = outlines
    with torch.no_grad():
        for _ in range(rounds):
            found = odds(_tensor(masks)).numpy()
            masks = np.stack([component_under(f > 0, m) for f, m in zip(found, masks, strict=True)])
    return masks, found


def train(
    network: EncoderDecoder | TransposedConvolutions,
    look: OutlineLook,
    *,
    steps: int,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train a network on one image; returns the loss of every step.

    The original network learns random shapes as they are. The other learns what
    the colours of the image make of them, from sloppy outlines of that.

    Parameters
    ----------
    network : EncoderDecoder or TransposedConvolutions
    look : OutlineLook
    steps : int
    seed : int
    check : callable
        Called before every step; may raise to cancel.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    optimiser = Adam([{"params": parameters, "lr": network.rate}])
    losses = []
    with torch_threads(0):  # With more threads than idle cores steps take ten times as long.
        masks = _masks(look, rng, snapped=network.snaps, check=check)
        for step in range(steps):
            check()
            chosen = [masks[i] for i in rng.integers(len(masks), size=network.batch)]
            drawn = [sloppy(mask, rng) for mask in chosen] if network.snaps else chosen
            outlines, targets = (_tensor(np.stack(part)) for part in (drawn, chosen))
            coarse = look.coarse(outlines)
            coarse[:, 1] += _NOISE * torch.randn(coarse[:, 1].shape, generator=generator)
            share = min(1.0, (step + 1) / _RISE) * 0.5 * (1 + math.cos(math.pi * step / steps))
            with torch.enable_grad():
                loss = network.loss(look, coarse, targets)
                grads = torch.autograd.grad(loss, parameters)
            optimiser.step(grads, share)
            losses.append(float(loss.detach()))
    return losses


def _masks(
    look: OutlineLook, rng: np.random.Generator, *, snapped: bool, check: Callable[[], None]
) -> list[BoolArray]:
    """Random masks to learn; `snapped` to what the colours of the image make of them."""
    found: list[BoolArray] = []
    area = math.prod(look.shape)
    drawn = [np.ones(look.shape, bool)]
    for _ in range(_MOST_TRIALS // _AT_ONCE):
        check()
        shapes = [random_mask(look.shape, rng) for _ in range(_AT_ONCE)]
        drawn = [shape for shape in shapes if shape.sum() >= _LEAST * area] or drawn
        masks = np.stack(drawn)
        if snapped:
            masks, _ = follow(lambda m: look.guess(look.coarse(m))[1], masks, _ROUNDS)
        for mask, shape in zip(masks, drawn, strict=True):
            kept = (mask & shape).sum() / (mask | shape).sum()
            if _LEAST <= mask.sum() / area <= _LARGEST and kept > _LEAST_KEPT:
                found.append(mask)
        if len(found) >= _MASKS:
            break
    # Of an image without colours nothing is left but the shapes themselves.
    return found or drawn


def _tensor(masks: BoolArray) -> Tensor:
    """Masks as numbers."""
    return torch.from_numpy(masks.astype(np.float32))
