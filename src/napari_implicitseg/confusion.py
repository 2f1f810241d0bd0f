"""How well classes were told apart: the confusion matrix, its figures, and those of each image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg._contingency import contingency
from napari_implicitseg.class_scores import class_accuracy, class_ious, mean_iou
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._contingency import Contingency

__all__ = ["ImageScores", "SemanticEvaluation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """Figures of one image.

    Attributes
    ----------
    name : str
    iou : float
        Mean over the classes that its mask has.
    iou_per_class : dict of str to float
        Of these classes.
    accuracy : float
    pixels : int
        Compared.
    """

    name: str
    iou: float
    iou_per_class: dict[str, float]
    accuracy: float
    pixels: int

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "name": self.name,
            "iou": self.iou,
            "iou_per_class": dict(self.iou_per_class),
            "accuracy": self.accuracy,
            "pixels": self.pixels,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticEvaluation:
    """Figures of the classes of some images, over all their labelled pixels together.

    Attributes
    ----------
    classes : tuple of str
        Names; class 1 first.
    table : Contingency
        Of predicted and true classes.
    images : tuple of ImageScores
        In the order they were compared.
    """

    classes: tuple[str, ...]
    table: Contingency
    images: tuple[ImageScores, ...] = field(default=())

    @classmethod
    def of(
        cls, classes: tuple[str, ...], predicted: ArrayLike, truth: ArrayLike, name: str = "image"
    ) -> SemanticEvaluation:
        """Compare one image.

        Parameters
        ----------
        classes : tuple of str
        predicted, truth : array_like of int, shape S
            Classes from 1. Where the truth is 0 nothing is compared.
        name : str

        Raises
        ------
        InputError
            If the shapes differ, all of the truth is unlabelled, or a number is no class.
        """
        table = contingency(predicted, truth)
        if not table.total:
            raise InputError(
                f"All pixels of the mask of {name} are unlabelled or ignored: there is nothing to "
                "measure. Leave the image out, or label some of it."
            )
        for ids, what in ((table.label_ids, "prediction"), (table.truth_ids, "mask")):
            odd = [int(i) for i in ids if not 1 <= int(i) <= len(classes)]
            if odd:
                raise InputError(
                    f"The {what} of {name} holds {odd[0]}; the {len(classes)} classes are 1 to "
                    f"{len(classes)}, and 0 in a mask is unlabelled. Correct it."
                )
        ious = class_ious(table)
        scores = ImageScores(
            name=name,
            iou=mean_iou(table),
            iou_per_class={classes[i - 1]: value for i, value in ious.items()},
            accuracy=class_accuracy(table),
            pixels=table.total,
        )
        return cls(classes=classes, table=table, images=(scores,))

    @classmethod
    def joined(cls, parts: list[SemanticEvaluation]) -> SemanticEvaluation:
        """Return the figures of some images together.

        Raises
        ------
        InputError
            If there is none, or they are of other classes.
        """
        if not parts:
            raise InputError("There is no image to measure. Give at least one with its mask.")
        first, *others = parts
        if other := next((part for part in others if part.classes != first.classes), None):
            raise InputError(
                f"Figures of the classes {', '.join(first.classes)} and of the classes "
                f"{', '.join(other.classes)} do not add up. Join those of the same classes."
            )
        return cls(
            classes=first.classes,
            table=first.table.merged(*(part.table for part in others)),
            images=tuple(image for part in parts for image in part.images),
        )

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Pixels of each true class (rows) by what was predicted (columns)."""
        table, n = self.table, len(self.classes)
        matrix = np.zeros((n, n), np.int64)
        rows, columns = table.truth_ids[table.columns] - 1, table.label_ids[table.rows] - 1
        matrix[rows, columns] = table.counts
        return matrix

    @property
    def accuracy(self) -> float:
        """Trace of the matrix over its sum, 0 to 1."""
        return class_accuracy(self.table)

    @property
    def iou_per_class(self) -> dict[str, float]:
        """Intersection over union of each class that the truth has, 0 to 1."""
        return {self.classes[i - 1]: value for i, value in class_ious(self.table).items()}

    @property
    def iou(self) -> float:
        """Mean of `iou_per_class`."""
        return mean_iou(self.table)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the labelled pixels that each class has in the truth."""
        sizes = self.matrix.sum(axis=1)
        shares = (sizes / max(1, sizes.sum())).tolist()
        return dict(zip(self.classes, shares, strict=True))

    def worst(self, count: int = 5) -> tuple[ImageScores, ...]:
        """Return the images of the lowest mean IoU, the lowest first."""
        return tuple(sorted(self.images, key=lambda image: (image.iou, image.name))[:count])

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "iou": self.iou,
            "accuracy": self.accuracy,
            "iou_per_class": self.iou_per_class,
            "class_shares": self.shares,
            "classes": list(self.classes),
            "confusion": self.matrix.tolist(),
            "images": [image.as_dict() for image in self.images],
        }
