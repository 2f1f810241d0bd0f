"""How far each source of evidence can be trusted: strokes left out and predicted.

Strokes are cut into contiguous thirds. One end predicts the other, so a source
has to reach across a gap as it will have to across the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.features import smooth
from napari_implicitseg.predictors.geodesic import two_nearest
from napari_implicitseg.predictors.histogram import ColourModel
from napari_implicitseg.predictors.networks import StrokeNetwork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["left_out_gains", "network_gain", "novelty", "weights_from_gains"]

_FOLDS = 3
# Trials run on about this many cells: they have to be quick.
_TRIAL_CELLS = {2: 72**2, 3: 24**3}
# Doublings of a source's weight per bit of gain. Low, because end-to-end trials
# flatter the distance: full trust in them lost up to 0.04 IoU on real images.
_TRUST = 0.7
_LEAST, _MOST = 0.02, 0.98


def folds(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cut cells (N, D) into contiguous thirds along their longest direction, shape (N,)."""
    if len(cells) < _FOLDS:
        return np.zeros(len(cells), np.int64)
    moved = cells - cells.mean(axis=0)
    _, vectors = np.linalg.eigh(moved.T @ moved)
    rank = np.argsort(np.argsort(moved @ vectors[:, -1], kind="stable"), kind="stable")
    return np.asarray(rank * _FOLDS // len(cells), np.int64)


def novelty(colours: NDArray[np.float32], cells: NDArray[np.int64]) -> float:
    """Share of left-out stroke colours that the rest of the strokes has not seen, 0 to 1.

    Parameters
    ----------
    colours : ndarray of float32, shape (C, N)
    cells : ndarray of int, shape (N, D)
        Where they were found.
    """
    fold = folds(cells)
    missed = []
    for k in range(_FOLDS):
        out = fold == k
        if out.any() and not out.all():
            versus = ColourModel.fit(colours[:, ~out], colours[:, out], floors=(0, 0))
            missed.append(float((versus.predict(colours[:, out]) < _LEAST).mean()))
    return float(np.mean(missed)) if missed else 0.5


def weights_from_gains(gains: dict[str, float]) -> dict[str, float]:
    """Turn gains in bits into weights that sum to 1."""
    power = {name: 2.0 ** (_TRUST * gain) for name, gain in gains.items()}
    return {name: value / sum(power.values()) for name, value in power.items()}


def left_out_gains(
    features: NDArray[np.float32],
    seeds: NDArray[np.int32],
    valid: BoolArray,
    *,
    pitch: tuple[float, ...],
    edge_weight: float,
) -> dict[str, float]:
    """Bits per voxel by which each source predicts left-out strokes better than chance.

    Parameters
    ----------
    features : ndarray of float32, shape (C, *S)
    seeds : ndarray of int32, shape S
        0 background, positive objects, -1 unlabelled.
    valid : ndarray of bool, shape S
    pitch : tuple of float
        Cell size per axis.
    edge_weight : float
        See `two_nearest`.

    Returns
    -------
    dict of str to float
        1 is perfect, 0 chance, below 0 misleading; 0 for both sources if the
        strokes are too short to try.
    """
    features, seeds, valid, pitch = _thinned(features, seeds, valid, pitch)
    scores: dict[str, list[float]] = {"histogram": [], "geodesic": []}
    for known, left in _splits(seeds, valid):
        colour = ColourModel.fit(features[:, known[0]], features[:, known[1]])
        rest = np.where(known[0], 1, np.where(known[1], 0, -1)).astype(np.int32)
        distance = two_nearest(features, rest, spacing=pitch, edge_weight=edge_weight, valid=valid)
        scores["histogram"].append(_gain(colour.predict(features), *left))
        scores["geodesic"].append(_gain(distance.evidence(1), *left))
    return {name: float(np.mean(found)) if found else 0.0 for name, found in scores.items()}


def network_gain(
    described: NDArray[np.float32], seeds: NDArray[np.int32], valid: BoolArray, *, seed: int
) -> float:
    """Bits per voxel by which a network predicts left-out strokes better than chance.

    Parameters
    ----------
    described : ndarray of float32, shape (F, *S)
    seeds, valid
        See `left_out_gains`.
    seed : int
        Of the network.
    """
    scores = []
    for known, left in _splits(seeds, valid):
        network = StrokeNetwork("pixel", seed=seed)
        network.train(described, *known)
        scores.append(_gain(network.predict(described), *left))
    return float(np.mean(scores)) if scores else 0.0


def _splits(
    seeds: NDArray[np.int32], valid: BoolArray
) -> Iterator[tuple[tuple[BoolArray, BoolArray], tuple[BoolArray, BoolArray]]]:
    """Object and background strokes of one end, and those of the other to predict."""
    is_object, is_background = seeds > 0, seeds == 0
    fold = np.full(seeds.shape, -1)
    for part in (is_object, is_background):
        fold[part] = folds(np.argwhere(part))
    for k in (0, _FOLDS - 1):
        rest, out = (fold == _FOLDS - 1 - k) & valid, (fold == k) & valid
        known = rest & is_object, rest & is_background
        left = out & is_object, out & is_background
        if all(part.any() for part in (*known, *left)):
            yield known, left


def _gain(probability: NDArray[np.float32], positive: BoolArray, negative: BoolArray) -> float:
    """One plus the mean log2-likelihood, both classes counting alike."""
    clipped = np.clip(probability, _LEAST, _MOST)
    both = np.log2(clipped[positive]).mean() + np.log2(1 - clipped[negative]).mean()
    return 1 + 0.5 * float(both)


def _thinned(
    features: NDArray[np.float32],
    seeds: NDArray[np.int32],
    valid: BoolArray,
    pitch: tuple[float, ...],
) -> tuple[NDArray[np.float32], NDArray[np.int32], BoolArray, tuple[float, ...]]:
    """Take every n-th cell, keeping all strokes."""
    thin = max(1, round((seeds.size / _TRIAL_CELLS[seeds.ndim]) ** (1 / seeds.ndim)))
    if thin == 1:
        return features, seeds, valid, pitch
    box = (slice(None, None, thin),) * seeds.ndim
    blurred = smooth(features, thin / 2)[:, *box]
    out = np.full(blurred.shape[1:], -1, np.int32)
    painted = seeds >= 0
    out[tuple((np.argwhere(painted) // thin).T)] = seeds[painted]
    return blurred, out, valid[box], tuple(p * thin for p in pitch)
