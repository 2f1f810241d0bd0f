"""Masks of the evidence alone: a predictor as an interactive segmenter, without a shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.features import Window, window_step
from napari_implicitseg.fitting.parts import stroke_component

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.predictors.evidence import Evidence
    from napari_implicitseg.scribbles import Samples

__all__ = ["label_by_evidence"]

# Cells of an object's territory that are looked at; of larger ones each stands for several voxels.
_MOST_CELLS = 1 << 22


def label_by_evidence(
    evidence: Evidence,
    samples: Samples,
    *,
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    check: Callable[[], None],
) -> tuple[LabelArray, NDArray[np.float32]]:
    """Give each object what is likely and hangs together with its strokes.

    Where two are likely the likelier gets the voxel; strokes are their own.

    Parameters
    ----------
    evidence : Evidence
    samples : Samples
    shape : tuple of int
        Spatial shape of the image.
    spacing : tuple of float
    check : callable
        Called before each object is looked at; may raise to cancel.

    Returns
    -------
    labels : ndarray of uint32
    probability : ndarray of float32
        Of any object; 0 where no object is near.
    """
    for _ in range(evidence.rounds):
        evidence.learn([_region(evidence, samples, label, check) for label in samples.objects])
    labels = np.zeros(shape, np.uint32)
    best = np.zeros(shape, np.float32)
    for label in samples.objects:
        check()
        window = evidence.territory(label)
        size = tuple(b - a for a, b in zip(window.start, window.stop, strict=True))
        fine = Window(window.start, window.stop, window_step(size, spacing, _MOST_CELLS))
        _, probability = evidence.refined(label, window, fine)
        for axis, step in enumerate(fine.step):
            probability = np.repeat(probability, step, axis=axis)
        probability = probability[tuple(slice(0, n) for n in size)]
        box = window.slices
        strokes = samples.coords[samples.ids == label] - np.asarray(window.start)
        likely = stroke_component(probability > 0.5, strokes)
        labels[box][likely & (probability > best[box])] = label
        best[box] = np.maximum(best[box], probability)
    at = tuple(samples.coords.T)
    labels[at] = np.where(samples.is_background, 0, samples.ids)
    return labels, best


def _region(
    evidence: Evidence, samples: Samples, label: int, check: Callable[[], None]
) -> tuple[Window, NDArray[np.bool_]]:
    """Where an object seems to be, in the coarse look."""
    check()
    window = evidence.territory(label)
    likely = evidence.probability(label, window) > 0.5
    cells = window.cells(samples.coords[samples.ids == label])
    return window, stroke_component(likely, cells)
