"""Electron micrographs with the truth of their objects, and the quarter that is held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.reproduction.cases import data_folder
from napari_implicitseg.training.examples import TrainingVolume, checked_volumes, hold_out
from napari_implicitseg.volumes import read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg.config import ZeroMeaning

__all__ = ["EM_SETS", "HELD_OUT", "EmSet", "fib25", "isbi2012", "labels_of_sections", "noise"]

HELD_OUT = 0.25
"""Share of each set that no network learns from: the last sections."""

_LEAST_SHOWN = 15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmSet:
    """A stack of sections and its truth.

    Attributes
    ----------
    name, title : str
    spacing : tuple of float
        Voxel size in nanometres, (z, y, x).
    raw : ndarray, shape (Z, Y, X)
    truths : mapping of int to ndarray of int, shape (Z, Y, X)
        By the number of axes in which objects hang together: of 2, ids are those of a
        section and say nothing about other sections. 0 is not scored.
    zero : {"unlabelled", "background"}
        What 0 teaches.
    """

    name: str
    title: str
    spacing: tuple[float, float, float]
    raw: NDArray[Any]
    truths: Mapping[int, NDArray[np.integer[Any]]]
    zero: ZeroMeaning

    def volume(self, ndim: int) -> TrainingVolume:
        """Return all of it.

        Parameters
        ----------
        ndim : {2, 3}
            Which truth.
        """
        return TrainingVolume(
            raw=self.raw,
            labels=self.truths[ndim],
            kind="instances",
            zero=self.zero,
            spacing=self.spacing,
            name=self.name,
        )

    def parts(self, ndim: int) -> tuple[TrainingVolume, TrainingVolume]:
        """Return what may be learned from, and what is held out.

        The cut is the one `train_affinities` makes by itself.

        Parameters
        ----------
        ndim : {2, 3}
            Which truth.

        Raises
        ------
        FileError
            If the set has too few labels to be cut.
        """
        try:
            taught, held = hold_out(self.volume(ndim), HELD_OUT, axis=0)
        except InputError as error:
            raise FileError(f"The set '{self.name}' is too small: {error}") from error
        assert held is not None
        return taught, held

    def scored(self, ndim: int) -> tuple[TrainingVolume, TrainingVolume]:
        """Return what is scored: the held-out part and sections that were learned from.

        The latter are the last ones before the cut, as many as are held out but at
        least 15: the larger a volume, the worse the scores of equal segmentations.

        Parameters
        ----------
        ndim : {2, 3}
            Which truth.
        """
        taught, held = self.parts(ndim)
        count = len(taught.labels)
        first = max(0, count - max(len(held.labels), _LEAST_SHOWN))
        window = (slice(first, count), *(slice(0, n) for n in taught.shape[1:]))
        return taught.crop(window), held


def isbi2012() -> EmSet:
    """Read serial sections whose membranes are marked; what they enclose is an object.

    Raises
    ------
    FileError
        If files are missing or damaged.
    """
    folder = data_folder() / "em" / "isbi2012"
    names = sorted(path.name for path in (folder / "image").glob("*.png"))
    if len(names) < 2:
        raise FileError(
            f"'{folder / 'image'}' holds {len(names)} sections. Put 00.png, 01.png, ... there, and "
            "their masks of membranes, by the same names, into 'label' beside it."
        )
    raw, masks = (_stack([folder / part / name for name in names]) for part in ("image", "label"))
    spacing = (50.0, 4.0, 4.0)
    membranes = TrainingVolume(
        raw=raw, labels=masks, kind="membranes", spacing=spacing, name="isbi2012"
    )
    (cells,) = _checked(membranes, folder)
    return EmSet(
        name="isbi2012",
        title="ISBI 2012, serial sections",
        spacing=spacing,
        raw=raw,
        truths={2: np.asarray(cells.labels)},
        zero="background",
    )


def fib25() -> EmSet:
    """Read a cube of isotropic voxels and its neurons.

    Raises
    ------
    FileError
        If files are missing or damaged.
    """
    folder = data_folder() / "em" / "fib25"
    raw = np.asarray(read_image(folder / "raw.tif").data)
    neurons = np.asarray(read_labels(folder / "neurons.tif").data)
    spacing = (10.0, 10.0, 10.0)
    volume = TrainingVolume(
        raw=raw, labels=neurons, kind="instances", zero="unlabelled", spacing=spacing, name="fib25"
    )
    _checked(volume, folder)
    return EmSet(
        name="fib25",
        title="FIB-25, isotropic voxels",
        spacing=spacing,
        raw=raw,
        truths={2: labels_of_sections(neurons), 3: neurons},
        zero="unlabelled",
    )


EM_SETS = {"isbi2012": isbi2012, "fib25": fib25}
"""What reads each set, by name."""


def labels_of_sections(labels: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Give each piece of an object in each section an id of its own in this section.

    Within a section nothing tells that two profiles that do not touch belong together.

    Parameters
    ----------
    labels : ndarray of int, shape (Z, Y, X)
        0 stays 0.

    Returns
    -------
    ndarray of int32, shape (Z, Y, X)
    """
    from skimage.measure import label

    return np.stack([label(section, connectivity=1) for section in labels]).astype(np.int32)


def noise(raw: NDArray[Any]) -> float:
    """Return the standard deviation of what a Gaussian of one pixel takes from sections.

    Parameters
    ----------
    raw : ndarray, shape (Z, Y, X)
    """
    from scipy import ndimage

    sections = (section.astype(np.float32) for section in raw)
    return float(np.mean([(s - ndimage.gaussian_filter(s, 1.0)).std() for s in sections]))


def _stack(paths: list[Path]) -> NDArray[Any]:
    """Read sections of one shape."""
    sections = [np.asarray(read_image(path).data) for path in paths]
    for path, section in zip(paths, sections, strict=True):
        if section.ndim != 2 or section.shape != sections[0].shape:
            raise FileError(
                f"'{path}' has shape {section.shape}, but '{paths[0]}' {sections[0].shape}; "
                "needed are grey sections of one size."
            )
    return np.stack(sections)


def _checked(volume: TrainingVolume, folder: Path) -> tuple[TrainingVolume, ...]:
    """Refuse a set that nothing can be learned from."""
    try:
        return checked_volumes([volume], ndim=2 if volume.kind == "membranes" else 3)
    except InputError as error:
        raise FileError(f"The set in '{folder}' cannot be used: {error}") from error
