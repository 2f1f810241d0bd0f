"""Images with masks of classes, from a folder of data that does not come with the package."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.io import imread

from napari_implicitseg.errors import FileError
from napari_implicitseg.models.class_values import packed_colours
from napari_implicitseg.reproduction.cases import data_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CLASS_SETS", "ClassCase", "ClassSet"]

_PET_SIDE = 160
_CAT, _DOG = 0x800000, 0x008000
_DAMAGED = (OSError, ValueError, SyntaxError)


@dataclass(frozen=True, slots=True, eq=False)
class ClassCase:
    """An image with its classes.

    Attributes
    ----------
    name : str
    image : ndarray of uint8, shape (Y, X) or (Y, X, C)
    mask : ndarray of uint8, shape (Y, X)
        Classes from 1; 0 is not scored and teaches nothing.
    """

    name: str
    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSet:
    """A set of images, cut into folds that are held out in turn.

    Attributes
    ----------
    name, title, files : str
        `files` says where they lie in the folder.
    classes : tuple of str
    folds : int
        Each image is held out once.
    steps, report_steps : int
        Of the default preset and of "report-2024": as many as take about the same time.
    read_one : callable
        Reads an image and its mask by the path of the image.
    pattern : str
        Of the images' names in the folder.
    few : bool
        Learn from the fold instead, and hold out all others.
    """

    name: str
    title: str
    files: str
    classes: tuple[str, ...]
    folds: int
    steps: int
    report_steps: int
    read_one: Callable[[Path], tuple[NDArray[np.uint8], NDArray[np.uint8]]]
    pattern: str
    few: bool = False

    def cases(self) -> list[ClassCase]:
        """Read the images, in the order of their names.

        Raises
        ------
        FileError
            If files are missing or damaged.
        """
        folder, found = data_folder(), []
        for path in sorted(folder.glob(self.pattern)):
            try:
                image, mask = self.read_one(path)
            except _DAMAGED as error:
                raise FileError(
                    f"'{path}' or its mask cannot be read ({error}). Needed are {self.files}."
                ) from error
            if image.shape[:2] != mask.shape:
                raise FileError(
                    f"'{path}' has shape {image.shape[:2]} but its mask {mask.shape}. Needed are "
                    f"{self.files}, of the same size."
                )
            found.append(ClassCase(path.stem, image, mask))
        if len(found) < self.folds:
            raise FileError(
                f"'{folder}' holds {len(found)} images of the set '{self.title}'; needed are "
                f"{self.folds} or more: {self.files}."
            )
        return found

    def parts(
        self, cases: Sequence[ClassCase], fold: int
    ) -> tuple[list[ClassCase], list[ClassCase]]:
        """Return what is learned from, and what is held out, in a fold.

        Neighbours by name, which are alike, come into different folds.

        Parameters
        ----------
        cases : sequence of ClassCase
        fold : int
            From 0.
        """
        one = [case for i, case in enumerate(cases) if i % self.folds == fold]
        others = [case for i, case in enumerate(cases) if i % self.folds != fold]
        return (one, others) if self.few else (others, one)


def _blood_cell(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a white blood cell: 255 nucleus, 128 cytoplasm."""
    mask = imread(path.with_name(f"{path.stem}_mask.png"))
    return imread(path), _by_level(mask)


def _axons(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a section of nerve: 255 axon, 127 myelin."""
    image = imread(path)
    mask = imread(path.with_name(f"{path.stem}_axonmyelin.png"))
    # Transparency, where there is any.
    image, mask = (a if a.ndim == 2 else a[..., 0] for a in (image, mask))
    return image, _by_level(mask)


def _pet(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read a cat or dog, small; the border drawn about it says nothing."""
    from skimage.transform import resize

    image = imread(path)
    stem = path.stem.removesuffix("_image")
    drawn = packed_colours(imread(path.with_name(f"{stem}_truth.png"))[..., :3])
    mask = np.select([drawn == 0, drawn == _CAT, drawn == _DOG], [1, 2, 3], 0)
    scale = _PET_SIDE / max(mask.shape)
    shape = tuple(math.ceil(n * scale) for n in mask.shape)
    small = resize(image, shape, anti_aliasing=True, preserve_range=True)
    nearest = resize(mask, shape, order=0, anti_aliasing=False, preserve_range=True)
    return np.round(small).astype(np.uint8), nearest.astype(np.uint8)


def _by_level(mask: NDArray[Any]) -> NDArray[np.uint8]:
    """Return classes from 1 of a mask of black, grey and white."""
    return np.select([mask < 64, mask < 192], [1, 2], 3).astype(np.uint8)


CLASS_SETS = {
    one.name: one
    for one in (
        ClassSet(
            name="wbc",
            title="white blood cells",
            files="cells/wbc/NNN.bmp with NNN_mask.png",
            classes=("background", "cytoplasm", "nucleus"),
            folds=5,
            steps=600,
            report_steps=125,
            read_one=_blood_cell,
            pattern="cells/wbc/*.bmp",
        ),
        ClassSet(
            name="axons",
            title="axons and myelin",
            files="em/axons/*_SEM.png with *_SEM_axonmyelin.png",
            classes=("background", "myelin", "axon"),
            folds=5,
            steps=1600,
            report_steps=420,
            read_one=_axons,
            pattern="em/axons/*_SEM.png",
        ),
        ClassSet(
            name="pets",
            title="cats and dogs",
            files="photos/pets/*_image.jpg with *_truth.png",
            classes=("background", "cat", "dog"),
            folds=4,
            steps=600,
            report_steps=160,
            read_one=_pet,
            pattern="photos/pets/*_image.jpg",
        ),
    )
}
"""Sets by name."""
