"""The three sets of the benchmark of convex masks, each a list of cases."""

from __future__ import annotations

import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage import io

from simulate import background_arc, background_waves, object_stroke

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["SETS", "Case", "data_folder", "seeded"]

_MOST_OBJECTS = 8
_LEAST_AREA = 80


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
    """Folder of the real images."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("IMPLICITSEG_DATA", default))
    if not folder.is_dir():
        sys.exit(f"There is no data folder at {folder}; set IMPLICITSEG_DATA to where it is.")
    return folder


def seeded(name: str) -> np.random.Generator:
    """Random numbers that depend on the file's name alone."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def blood_cells() -> list[Case]:
    """Whole white blood cells (nucleus and cytoplasm), one object an image."""
    cases = []
    for path in sorted((data_folder() / "cells" / "wbc").glob("*.bmp")):
        mask = io.imread(path.with_name(f"{path.stem}_mask.png")) > 64
        rng = seeded(path.name)
        scribbles = np.zeros(mask.shape, np.int32)
        scribbles[background_arc(mask, rng)] = 1
        scribbles[object_stroke(mask, rng)] = 2
        cases.append(Case(path.stem, io.imread(path), scribbles, np.where(mask, 2, 0)))
    return cases


def nuclei() -> list[Case]:
    """Nuclei of the 2018 Data Science Bowl, at most eight of an image.

    Chosen at random among those of 80 pixels or more that do not touch the
    border; the others get no stroke of either kind.
    """
    cases = []
    for path in sorted((data_folder() / "cells" / "dsb2018").glob("*_image.*")):
        stem = path.stem.removesuffix("_image")
        labels = io.imread(next(path.parent.glob(f"{stem}_labels.*")))
        image = io.imread(path)
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
    stored = np.load(data_folder() / "scribbles" / "medical" / "btcv.npz")
    cases = []
    for i, image in enumerate(stored["img"]):
        for person in range(stored["scribble"].shape[1]):
            on, off = stored["scribble"][i, person] > 0
            scribbles = np.where(on, 2, np.where(off, 1, 0)).astype(np.int32)
            truth = np.where(stored["seg"][i] > 127, 2, 0).astype(np.int32)
            cases.append(Case(f"{i}/{person}", image.astype(np.float32), scribbles, truth))
    return cases


SETS: dict[str, Callable[[], list[Case]]] = {"wbc": blood_cells, "dsb": nuclei, "btcv": organs}
