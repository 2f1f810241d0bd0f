"""Cross-validation of networks for classes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.api import SemanticConfig, train_semantic
from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.devices import find_device
from napari_implicitseg.progress import part_of
from napari_implicitseg.semantic.pictures import side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.reproduction.class_cases import ClassCase, ClassSet

__all__ = ["Validated", "cross_validate", "image_iou"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Validated:
    """What a cross-validation came to.

    Attributes
    ----------
    figures : SemanticEvaluation
        Over all images that were held out.
    mirrored : SemanticEvaluation or None
        The same, predicted as the mean over mirror images.
    worst : dict of str to ndarray of uint8, shape (Y, X, 3)
        Image, truth and prediction of the worst ones, by their titles.
    steps : int
        Of each training.
    minutes : float
        All trainings together.
    """

    figures: SemanticEvaluation
    mirrored: SemanticEvaluation | None
    worst: dict[str, NDArray[np.uint8]]
    steps: int
    minutes: float


def image_iou(figures: SemanticEvaluation) -> float:
    """Mean over images of their mean IoU, over the classes each has."""
    return float(np.mean([image.iou for image in figures.images]))


def cross_validate(
    one: ClassSet,
    cases: Sequence[ClassCase],
    preset: str,
    *,
    steps: int,
    seed: int,
    folds: int | None = None,
    worst: int = 0,
    mirrored: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Validated:
    """Hold each fold out once; learn from the others, and measure on it.

    Parameters
    ----------
    one : ClassSet
    cases : sequence of ClassCase
    preset : str
        Of `SemanticConfig`.
    steps, seed : int
    folds : int, optional
        The first ones only.
    worst : int
        Images whose pictures are kept.
    mirrored : bool
        Predict them as the mean over mirror images, too.
    progress : Progress, optional
    **options
        Of `SemanticConfig`.
    """
    count = min(one.folds, folds or one.folds)
    config = SemanticConfig.preset(
        preset,
        **{
            "classes": one.classes,
            "values": tuple(range(1, len(one.classes) + 1)),
            "steps": steps,
            "checkpoint_every": steps,
            "seed": seed,
            # What is held out is not even there: nothing is chosen by it.
            "held_out": 0.0,
            **options,
        },
    )
    parts: list[SemanticEvaluation] = []
    means: list[SemanticEvaluation] = []
    pictures: list[tuple[float, str, NDArray[np.uint8]]] = []
    minutes = 0.0
    for fold in range(count):
        taught, held = one.parts(cases, fold)
        part = part_of(progress, fold / count, (fold + 1) / count, f"fold {fold + 1}")
        begin = time.perf_counter()
        model = _trained(taught, config, part)
        minutes += (time.perf_counter() - begin) / 60
        for case in held:
            figures, picture = _measured(model, case)
            parts.append(figures)
            if mirrored:
                means.append(_measured(model, case, mirrored=True)[0])
            pictures.append((figures.iou, f"{case.name}: {figures.iou:.2f}", picture))
            pictures = sorted(pictures, key=lambda entry: entry[:2])[:worst]
    return Validated(
        figures=SemanticEvaluation.joined(parts),
        mirrored=SemanticEvaluation.joined(means) if means else None,
        worst={title: picture for _, title, picture in pictures},
        steps=steps,
        minutes=minutes,
    )


def _trained(
    taught: Sequence[ClassCase], config: SemanticConfig, progress: Progress | None
) -> SemanticModel:
    """Train a network on images."""
    with TemporaryDirectory() as folder:
        return train_semantic(
            [case.image for case in taught],
            [case.mask for case in taught],
            config=config,
            out=Path(folder) / "model",
            progress=progress,
        )


def _measured(
    model: SemanticModel, case: ClassCase, *, mirrored: bool = False
) -> tuple[SemanticEvaluation, NDArray[np.uint8]]:
    """Return figures and picture of an image."""
    where = find_device("auto", large=True)
    found = model.predict(case.image, mirrored=mirrored, device=where, name=case.name)
    figures = SemanticEvaluation.of(model.classes, found, case.mask, case.name)
    image = case.image[None] if case.image.ndim == 2 else np.moveaxis(case.image, -1, 0)
    return figures, side_by_side(image, case.mask, found, len(model.classes))
