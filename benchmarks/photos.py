"""The photographs: objects that are one piece each and mostly not convex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage import io

from data import Case, data_folder, seeded
from simulate import background_arc, object_stroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["PHOTOS", "grabcut_photos", "pets"]

_OBJECT, _BACKGROUND = (255, 255, 207), (219, 0, 0)
_CAT, _DOG, _BORDER = (128, 0, 0), (0, 128, 0), (255, 255, 255)
_UNSURE = 128


def _is(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Pixels of one colour."""
    return (picture == np.array(colour, np.uint8)).all(axis=-1)


def grabcut_photos() -> list[Case]:
    """Photographs of the GrabCut set with people's own strokes; unsure pixels are ignored."""
    cases = []
    for path in sorted((data_folder() / "scribbles" / "grabcut").glob("*_image.jpg")):
        stem = path.stem.removesuffix("_image")
        drawn = io.imread(path.with_name(f"{stem}_scribbles.png"))
        truth = io.imread(path.with_name(f"{stem}_truth.png"))
        scribbles = np.where(_is(drawn, _OBJECT), 2, np.where(_is(drawn, _BACKGROUND), 1, 0))
        cases.append(
            Case(
                stem,
                io.imread(path),
                scribbles.astype(np.int32),
                np.where(truth == 255, 2, 0).astype(np.int32),
                truth == _UNSURE,
            )
        )
    return cases


def pets() -> list[Case]:
    """Cats and dogs with simulated strokes; the border drawn around them is ignored.

    The background's stroke keeps clear of the border too, as a person's would.
    """
    cases = []
    for path in sorted((data_folder() / "photos" / "pets").glob("*_image.jpg")):
        stem = path.stem.removesuffix("_image")
        drawn = io.imread(path.with_name(f"{stem}_truth.png"))
        animal, border = _is(drawn, _CAT) | _is(drawn, _DOG), _is(drawn, _BORDER)
        rng = seeded(path.name)
        scribbles = np.zeros(animal.shape, np.int32)
        scribbles[background_arc(animal | border, rng)] = 1
        scribbles[object_stroke(animal, rng)] = 2
        truth = np.where(animal, 2, 0).astype(np.int32)
        cases.append(Case(stem, io.imread(path), scribbles, truth, border))
    return cases


PHOTOS: dict[str, Callable[[], list[Case]]] = {"grabcut": grabcut_photos, "pets": pets}
