"""Fits by the schedule of the paper on path-connectedness, from checked inputs to a result."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Window
from napari_implicitseg.fit_setup import count_strokes, fit_digest
from napari_implicitseg.fitting.published import EPOCHS, fit_published
from napari_implicitseg.predictors.describing import Describer, cell_places
from napari_implicitseg.results import FitReport, FitResult
from napari_implicitseg.shapes.base import box_extent
from napari_implicitseg.shapes.certificate import certify
from napari_implicitseg.shapes.published import PublishedShape

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.features import Reader
    from napari_implicitseg.fit_setup import FitOptions
    from napari_implicitseg.scribbles import Samples
    from napari_implicitseg.shapes.certificate import CertificateKind

__all__ = ["fit_by_schedule"]

_FLOWS = {"convex": False, "connected": True}
_MOST_VOXELS = 1 << 24


def fit_by_schedule(
    reader: Reader, samples: Samples, options: FitOptions, *, progress: Progress | None
) -> FitResult:
    """Train the paper's networks for every object, one after the other.

    The masks are what the networks draw: nothing is joined or cut off, and the
    certificates say what became of the promise.

    Parameters
    ----------
    reader : Reader
    samples : Samples
    options : FitOptions
    progress : Progress, optional

    Raises
    ------
    InputError
        If the shape is not one of the paper's, the strokes show no background, or
        the image is too large to be seen whole.
    """
    _check(reader, samples, options)
    begin = time.perf_counter()
    kind: CertificateKind = "connected" if _FLOWS[options.shape] else "convex"
    features = _features(reader, options.spacing)
    extent = box_extent(reader.shape, options.spacing)
    labels = np.zeros(reader.shape, np.uint32)
    lowest = np.zeros(reader.shape)
    evidence = np.zeros(reader.shape, np.float32) if options.config.teacher else None
    shapes, history = {}, {}
    for number, label in enumerate(samples.objects):
        own, others = (np.zeros(reader.shape, bool) for _ in range(2))
        own[tuple(samples.coords[samples.ids == label].T)] = True
        others[tuple(samples.coords[samples.ids != label].T)] = True
        done = _Epochs(progress, number, len(samples.objects))
        found = fit_published(
            features,
            own,
            others,
            flow=_FLOWS[options.shape],
            teacher=options.config.teacher,
            spacing=options.spacing,
            seed=options.seed,
            check=done,
        )
        shapes[label] = PublishedShape(found.network, extent=extent)
        history[f"loss/{label}"] = found.losses
        if evidence is not None and found.teacher is not None:
            history[f"loss/teacher/{label}"] = found.teacher_losses
            np.maximum(evidence, found.teacher, out=evidence)
        level = shapes[label].sample(reader.shape)
        labels[level <= np.minimum(lowest, 0)] = label
        np.minimum(lowest, level, out=lowest)
    return FitResult(
        labels=labels,
        shapes=shapes,
        certificates={k: certify(labels == k, kind=kind) for k in shapes},
        evidence=evidence,
        history=history,
        spacing=options.spacing,
        report=FitReport(
            seconds=time.perf_counter() - begin,
            ignored_voxels=reader.ignored,
            digest=fit_digest(samples, options),
            strokes=count_strokes(samples),
        ),
    )


class _Epochs:
    """Reports the epochs of one of several objects."""

    def __init__(self, progress: Progress | None, number: int, count: int) -> None:
        self._progress = progress
        self._done, self._total = number * EPOCHS, count * EPOCHS

    def __call__(self) -> None:
        """One more epoch begins; the callback may raise to cancel."""
        if self._progress is not None:
            self._progress(self._done / self._total, "Training by the paper's schedule")
        self._done += 1


def _check(reader: Reader, samples: Samples, options: FitOptions) -> None:
    """Refuse what the schedule is not made for."""
    if options.shape not in _FLOWS:
        raise InputError(
            f"The schedule 'path-connectedness' knows the shapes {' and '.join(_FLOWS)}, not "
            f"{options.shape!r}. Choose one of them, or schedule='default'."
        )
    if options.config.per_slice:
        raise InputError(
            "The schedule 'path-connectedness' takes an image whole. Leave per_slice off, or give "
            "one slice."
        )
    if not samples.is_background.any():
        raise InputError(
            "The schedule 'path-connectedness' needs background strokes. Paint one, of label "
            f"{samples.background}."
        )
    if math.prod(reader.shape) > _MOST_VOXELS:
        raise InputError(
            f"The image has {math.prod(reader.shape)} voxels; the schedule 'path-connectedness' "
            f"takes at most {_MOST_VOXELS}. Cut the image, or take a coarser level."
        )


def _features(reader: Reader, spacing: tuple[float, ...]) -> np.ndarray:
    """Colours, texture and place of every voxel, (F, *S)."""
    window = Window((0,) * len(reader.shape), reader.shape, (1,) * len(reader.shape))
    patch = reader.patch(window)
    sides = [n * s for n, s in zip(reader.shape, spacing, strict=True)]
    centres = [window.centres(a) * s for a, s in enumerate(spacing)]
    places = cell_places(centres, sides)
    return Describer(patch.channels, places)(patch.channels, places)
