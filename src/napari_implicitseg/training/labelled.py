"""A raw image or stack with its labels, in memory or in files."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.training.arrays import channels_first, crop, read_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.config import LabelKind, ZeroMeaning
    from napari_implicitseg.training.arrays import Window

__all__ = ["TrainingVolume"]

# Of how many voxels side by side are equal.
_LIKE_LABELS, _LIKE_AN_IMAGE = 0.9, 0.5
_LOOKED_AT = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingVolume:
    """A raw image or stack and its labels.

    Attributes
    ----------
    raw : array, shape S or (C, *S)
        NumPy, zarr, dask, HDF5 or anything with a shape, a dtype and indexing
        by slices. What lies in a file is read in patches, never whole.
    labels : array of integers, shape S
        For membranes also of bool or floats.
    kind : {"instances", "membranes"}, optional
        `instances`: one id per object. `membranes`: two values, the larger is
        inside objects and the smaller their membranes, or the probability
        of being inside, 0 to 1. None leaves it to `checked_volumes`.
    zero : {"unlabelled", "background"}, optional
        What 0 says in instances: nothing, so that it teaches nothing, or that
        there is no object, as in membranes. None leaves it to `checked_volumes`.
    spacing : tuple of float, optional
        Voxel size per axis of S, in any unit; 1 if it is not known.
    labels_spacing : tuple of float, optional
        That of the labels, where it is known by itself; it has to be the same.
    name : str
        What to call it in messages.
    """

    raw: Any
    labels: Any
    kind: LabelKind | None = None
    zero: ZeroMeaning | None = None
    spacing: tuple[float, ...] | None = None
    labels_spacing: tuple[float, ...] | None = None
    name: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape."""
        return tuple(int(n) for n in self.labels.shape)

    @property
    def channels(self) -> int:
        """Number of channels of the raw image."""
        return int(self.raw.shape[0]) if len(self.raw.shape) > len(self.labels.shape) else 1

    @property
    def voxel_size(self) -> tuple[float, ...]:
        """Voxel size per axis, 1 where it is not known."""
        return self.spacing or (1.0,) * len(self.labels.shape)

    def read_raw(self, window: Window) -> NDArray[Any]:
        """Read a window of all channels, shape (C, *window); the window is one of space.

        Raises
        ------
        InputError
            If it holds NaN or infinity.
        """
        raw = channels_first(self.raw, len(self.labels.shape))
        found = read_window(raw, (slice(0, self.channels), *window))
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise self._not_finite(np.argwhere(~np.isfinite(found))[0][1:], window)
        return found

    def read_labels(self, window: Window) -> NDArray[Any]:
        """Read a window of the labels.

        Raises
        ------
        InputError
            If one is negative.
        """
        found = read_window(self.labels, window)
        if found.dtype.kind == "i" and found.size and found.min() < 0:
            place = _moved(np.argwhere(found < 0)[0], window)
            raise InputError(
                f"The labels of {self.name} hold {found.min()}, at {place}; ids are positive, and "
                "0 is unlabelled or background. Relabel them."
            )
        return found

    def warn_if_swapped(self) -> None:
        """Warn if image and labels look like each other's: neighbours differ in an image."""
        middle = tuple(slice(n // 2, min(n, n // 2 + _LOOKED_AT)) for n in self.shape)
        raw, labels = self.read_raw(middle), self.read_labels(middle)
        alike = [float(np.mean(a[..., 1:] == a[..., :-1])) for a in (raw, labels) if a.size]
        if len(alike) == 2 and alike[0] > _LIKE_LABELS and alike[1] < _LIKE_AN_IMAGE:
            warnings.warn(
                f"The labels of {self.name} look like an image, and its image like labels: are "
                "they swapped? The image comes first.",
                stacklevel=2,
            )

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the description of a model: nothing but text and numbers."""
        return {
            # Where files lie is nobody else's business.
            "name": re.sub(r"'[^']*[/\\\\]([^'/\\\\]+)'", r"'\1'", self.name),
            "shape": list(self.shape),
            "channels": self.channels,
            "spacing": list(self.voxel_size),
            "zero": self.zero,
        }

    def _not_finite(self, index: NDArray[Any], window: Window) -> InputError:
        """Return the error for NaN or infinity at a voxel of a window."""
        return InputError(
            f"The raw image of {self.name} holds NaN or infinity at {_moved(index, window)}. "
            "Replace such values, for instance by numpy.nan_to_num."
        )

    def crop(self, window: Window) -> TrainingVolume:
        """Return a window of it, which reads nothing."""
        extra = len(self.raw.shape) - len(self.labels.shape)
        whole = tuple(slice(0, int(n)) for n in self.raw.shape[:extra])
        raw, labels = crop(self.raw, (*whole, *window)), crop(self.labels, window)
        return replace(self, raw=raw, labels=labels)


def _moved(index: NDArray[Any], window: Window) -> tuple[int, ...]:
    """Where a voxel of a window lies in the volume."""
    return tuple(int(i) + (part.start or 0) for i, part in zip(index, window, strict=True))
