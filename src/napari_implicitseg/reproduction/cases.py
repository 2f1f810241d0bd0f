"""Images with strokes and truth, from a folder of data that does not come with the package."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage.io import imread

from napari_implicitseg.errors import FileError
from napari_implicitseg.reproduction.strokes import background_arc, background_waves, object_stroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SETS", "Case", "CaseSet", "data_folder", "seeded"]

_MOST_OBJECTS = 8
# What files that are missing or damaged raise.
_DAMAGED = (OSError, ValueError, KeyError, SyntaxError, struct.error)
_LEAST_AREA = 80
_OBJECT, _BACKGROUND = (255, 255, 207), (219, 0, 0)
_CAT, _DOG, _BORDER = (128, 0, 0), (0, 128, 0), (255, 255, 255)
_UNSURE = 128


@dataclass(frozen=True, slots=True)
class Case:
    """An image with strokes and the truth of the objects they are on.

    Attributes
    ----------
    name : str
    image : ndarray, shape (Y, X) or (Y, X, C)
    scribbles, truth : ndarray of int, shape (Y, X)
        Background strokes are 1, objects from 2 on; truth is 0 elsewhere.
    ignore : ndarray of bool, shape (Y, X), optional
        Pixels whose truth is not known: they are not scored.
    """

    name: str
    image: NDArray[np.generic]
    scribbles: NDArray[np.int32]
    truth: NDArray[np.int32]
    ignore: NDArray[np.bool_] | None = None


def data_folder() -> Path:
    """Folder of the real images: `IMPLICITSEG_DATA`, or ../shared/data.

    Raises
    ------
    FileError
        If there is none.
    """
    folder = Path(os.environ.get("IMPLICITSEG_DATA", Path("..") / "shared" / "data"))
    if not folder.is_dir():
        raise FileError(
            f"There is no data folder '{folder}'. Name one, laid out as docs/reproduction.md "
            "says, or set IMPLICITSEG_DATA to it."
        )
    return folder


def seeded(name: str) -> np.random.Generator:
    """Random numbers that depend on the file's name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def blood_cells() -> list[Case]:
    """Whole white blood cells (nucleus and cytoplasm), one object an image."""
    cases = []
    for path in sorted((data_folder() / "cells" / "wbc").glob("*.bmp")):
        mask = imread(path.with_name(f"{path.stem}_mask.png")) > 64
        rng = seeded(path.name)
        scribbles = np.zeros(mask.shape, np.int32)
        scribbles[background_arc(mask, rng)] = 1
        scribbles[object_stroke(mask, rng)] = 2
        cases.append(Case(path.stem, imread(path), scribbles, np.where(mask, 2, 0)))
    return cases


def nuclei() -> list[Case]:
    """Nuclei of the 2018 Data Science Bowl, at most eight of an image.

    Chosen at random among those of 80 pixels or more that do not touch the
    border; the others get no stroke of either kind.
    """
    cases = []
    for path in sorted((data_folder() / "cells" / "dsb2018").glob("*_image.*")):
        stem = path.stem.removesuffix("_image")
        labels = imread(next(path.parent.glob(f"{stem}_labels.*")))
        image = imread(path)
        image = image[..., :3] if image.ndim == 3 else image
        rng = seeded(path.name)
        ids, areas = np.unique(labels[labels > 0], return_counts=True)
        rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        ids = ids[(areas >= _LEAST_AREA) & ~np.isin(ids, rim)]
        scribbles = np.zeros(labels.shape, np.int32)
        truth = np.zeros(labels.shape, np.int32)
        scribbles[background_waves(labels > 0, rng)] = 1
        for number, label in enumerate(rng.permutation(ids)[:_MOST_OBJECTS]):
            scribbles[object_stroke(labels == label, rng)] = number + 2
            truth[labels == label] = number + 2
        if truth.any() and (scribbles == 1).any():
            cases.append(Case(path.stem, image, scribbles, truth))
    return cases


def organs() -> list[Case]:
    """Organs in CT with the strokes of three people each."""
    return _medical("btcv")


def lobed_nuclei() -> list[Case]:
    """Nuclei of white blood cells, grey, with the strokes of three people each."""
    return _medical("wbc")


def _medical(name: str) -> list[Case]:
    """Images of a medical set with the strokes of three people each."""
    path = data_folder() / "scribbles" / "medical" / f"{name}.npz"
    try:
        with np.load(path) as stored:
            images, truths, strokes = (stored[key] for key in ("img", "seg", "scribble"))
    except _DAMAGED as error:
        raise FileError(f"Cannot read '{path}' ({error}). Put the set there.") from error
    cases = []
    for i, image in enumerate(images):
        for person in range(strokes.shape[1]):
            on, off = strokes[i, person] > 0
            scribbles = np.where(on, 2, np.where(off, 1, 0)).astype(np.int32)
            truth = np.where(truths[i] > 127, 2, 0).astype(np.int32)
            cases.append(Case(f"{i}/{person}", image.astype(np.float32), scribbles, truth))
    return cases


def _is(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Pixels of one colour."""
    return np.asarray((picture == np.array(colour, np.uint8)).all(axis=-1))


def grabcut_photos() -> list[Case]:
    """Photographs of the GrabCut set with people's own strokes; unsure pixels are ignored."""
    cases = []
    for path in sorted((data_folder() / "scribbles" / "grabcut").glob("*_image.jpg")):
        stem = path.stem.removesuffix("_image")
        drawn = imread(path.with_name(f"{stem}_scribbles.png"))
        truth = imread(path.with_name(f"{stem}_truth.png"))
        scribbles = np.where(_is(drawn, _OBJECT), 2, np.where(_is(drawn, _BACKGROUND), 1, 0))
        cases.append(
            Case(
                stem,
                imread(path),
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
        drawn = imread(path.with_name(f"{stem}_truth.png"))
        animal, border = _is(drawn, _CAT) | _is(drawn, _DOG), _is(drawn, _BORDER)
        rng = seeded(path.name)
        scribbles = np.zeros(animal.shape, np.int32)
        scribbles[background_arc(animal | border, rng)] = 1
        scribbles[object_stroke(animal, rng)] = 2
        truth = np.where(animal, 2, 0).astype(np.int32)
        cases.append(Case(stem, imread(path), scribbles, truth, border))
    return cases


@dataclass(frozen=True, slots=True)
class CaseSet:
    """A set of cases.

    Attributes
    ----------
    title : str
    read : callable
    shape : str
        What its objects are.
    files : str
        Where they lie in the folder.
    """

    title: str
    read: Callable[[], list[Case]]
    shape: str
    files: str

    def cases(self) -> list[Case]:
        """Read the cases.

        Raises
        ------
        FileError
            If files are missing or damaged.
        """
        folder = data_folder()
        try:
            found = self.read()
        except (*_DAMAGED, IndexError, StopIteration) as error:
            raise FileError(
                f"The set '{self.title}' cannot be read from '{folder}' ({error}). Needed are "
                f"{self.files}."
            ) from error
        if not found:
            raise FileError(
                f"'{folder}' holds nothing of the set '{self.title}'. Needed are {self.files}."
            )
        return found


SETS = {
    "btcv": CaseSet(
        "organs in CT, people's strokes", organs, "convex", "scribbles/medical/btcv.npz"
    ),
    "medical-wbc": CaseSet(
        "lobed nuclei, people's strokes", lobed_nuclei, "connected", "scribbles/medical/wbc.npz"
    ),
    "grabcut": CaseSet(
        "photographs, people's strokes",
        grabcut_photos,
        "connected",
        "scribbles/grabcut/*_image.jpg with *_scribbles.png and *_truth.png",
    ),
    "wbc": CaseSet(
        "white blood cells, simulated strokes",
        blood_cells,
        "convex",
        "cells/wbc/NNN.bmp with NNN_mask.png",
    ),
    "dsb": CaseSet(
        "nuclei, simulated strokes", nuclei, "convex", "cells/dsb2018/*_image.* with *_labels.*"
    ),
    "pets": CaseSet(
        "cats and dogs, simulated strokes",
        pets,
        "connected",
        "photos/pets/*_image.jpg with *_truth.png",
    ),
}
"""Sets by name."""
