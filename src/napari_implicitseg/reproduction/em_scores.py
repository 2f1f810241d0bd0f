"""Segmentations from affinities and their scores: by sections or as a volume.

Threshold and least size of an object are chosen on what was learned from, and scored on what
was held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import FileError
from napari_implicitseg.hierarchy.components import threshold_curve, threshold_labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray

__all__ = ["Choice", "Rule", "Scores", "choose", "mean_scores", "segmented_section"]

_THRESHOLDS = (*(k / 40 for k in range(1, 40)), 0.99, 0.995)


class Scores(NamedTuple):
    """Scores of a segmentation, means over the sections if they are scored one by one.

    Attributes
    ----------
    rand_index, adapted_rand_error : float
    voi_split, voi_merge : float
        In bits.
    """

    rand_index: float
    adapted_rand_error: float
    voi_split: float
    voi_merge: float

    @property
    def voi(self) -> float:
        """Sum of both, in bits."""
        return self.voi_split + self.voi_merge


@dataclass(frozen=True, slots=True)
class Rule:
    """How affinities become objects.

    Attributes
    ----------
    sizes : tuple of int
        Least voxels of an object, to choose from.
    grow : bool
        Whether the others grow over objects that are smaller, along the highest affinities.
    """

    sizes: tuple[int, ...]
    grow: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What was best on the part that was learned from.

    Attributes
    ----------
    threshold : float
    size : int
    grow : bool
    scores : Scores
        There.
    """

    threshold: float
    size: int
    grow: bool
    scores: Scores


def choose(
    affinities: Affinities,
    truth: NDArray[np.integer[Any]],
    rule: Rule,
    *,
    ndim: int,
    sections: int,
) -> Choice:
    """Take the threshold and the least size of the smallest adapted Rand error.

    Parameters
    ----------
    affinities : Affinities
        Of a stack.
    truth : ndarray of int, shape (Z, Y, X)
        0 is not scored.
    rule : Rule
    ndim : {2, 3}
        2 takes each section by itself, by the edges within it.
    sections : int
        Of these at most so many are taken, spread over the stack.

    Raises
    ------
    FileError
        If there is nothing to score.
    """
    found = []
    for size in rule.sizes:
        rows = mean_scores(affinities, truth, size, rule.grow, ndim=ndim, sections=sections)
        best = min(rows, key=lambda threshold: rows[threshold].adapted_rand_error)
        found.append(Choice(best, size, rule.grow, rows[best]))
    return min(found, key=lambda choice: choice.scores.adapted_rand_error)


def mean_scores(
    affinities: Affinities,
    truth: NDArray[np.integer[Any]],
    size: int,
    grow: bool,
    *,
    ndim: int,
    sections: int,
) -> dict[float, Scores]:
    """Score at every threshold.

    Parameters
    ----------
    affinities, truth, ndim, sections
        See `choose`.
    size : int
        Least voxels of an object.
    grow : bool
        See `Rule`.

    Returns
    -------
    dict of float to Scores
        By threshold.

    Raises
    ------
    FileError
        If there is nothing to score.
    """
    rows = []
    for edges, labels in _cases(affinities, truth, ndim, sections):
        curve = threshold_curve(edges, labels, _THRESHOLDS, min_size=size, grow=grow)
        columns = (curve.rand_index, curve.adapted_rand_error, curve.voi_split, curve.voi_merge)
        rows.append(np.stack(columns, axis=1))
    if not rows:
        raise FileError("No voxel of the sections to score is labelled. Take others, or more.")
    means = (Scores(*map(float, row)) for row in np.mean(rows, axis=0))
    return dict(zip(_THRESHOLDS, means, strict=True))


def segmented_section(
    affinities: Affinities, choice: Choice, place: int, *, ndim: int
) -> LabelArray:
    """Label a stack, or just the section, and return the section.

    Parameters
    ----------
    affinities : Affinities
        Of a stack.
    choice : Choice
    place : int
        Which section.
    ndim : {2, 3}
        Whether objects hang together in the section or in the stack.
    """
    edges = _section(affinities, place) if ndim == 2 else affinities
    labels = threshold_labels(edges, choice.threshold, min_size=choice.size, grow=choice.grow)
    return labels if ndim == 2 else labels[place]


def _cases(
    affinities: Affinities, truth: NDArray[np.integer[Any]], ndim: int, sections: int
) -> Iterator[tuple[Affinities, NDArray[np.integer[Any]]]]:
    """Go through what is scored by itself: the volume, or some of its sections."""
    if ndim == 3:
        if truth.any():
            yield affinities, truth
        return
    for place in _spread(len(truth), sections):
        if truth[place].any():
            yield _section(affinities, place), truth[place]


def _spread(count: int, most: int) -> list[int]:
    """Choose so many places at most, evenly, the first and the last among them."""
    return sorted({int(k) for k in np.linspace(0, count - 1, min(count, most)).round()})


def _section(affinities: Affinities, place: int) -> Affinities:
    """Take the edges within a section."""
    flat = [k for k, offset in enumerate(affinities.offsets) if not offset[0]]
    return Affinities(
        data=affinities.data[flat, place],
        offsets=tuple(affinities.offsets[k][1:] for k in flat),
        spacing=affinities.spacing[1:],
    )
