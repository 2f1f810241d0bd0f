"""Masks of membranes turned into instances: what membranes enclose is one object."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import chunk_shape
from napari_implicitseg.training.arrays import Blocks, in_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = ["MembraneComponents", "is_anisotropic", "membranes_to_instances"]

# Sections this many times further apart than pixels are looked at one by one.
_FAR_APART = 3.0
# Masks with up to so many voxels are labelled as a whole, others window by window.
_WHOLE = 1 << 28


def is_anisotropic(spacing: tuple[float, ...]) -> bool:
    """Whether this is a stack whose sections are much further apart than its pixels."""
    return len(spacing) == 3 and spacing[0] > _FAR_APART * spacing[1]


def membranes_to_instances(volume: TrainingVolume, *, sections: bool) -> TrainingVolume:
    """Give what membranes enclose ids.

    Parameters
    ----------
    volume : TrainingVolume
        Of kind "membranes".
    sections : bool
        Whether the sections of a stack are looked at one by one. Ids are unique
        in the stack all the same.

    Returns
    -------
    TrainingVolume
        Of kind "instances"; 0 is background. Large masks are labelled
        when they are read, window by window: parts of one object that are joined
        outside a window differ.

    Raises
    ------
    InputError
        If the mask has not two values, or is of sections far apart that are
        not looked at one by one.
    """
    spacing = volume.voxel_size
    if is_anisotropic(spacing) and not sections:
        raise InputError(
            f"{volume.name} has membranes in sections {spacing[0] / spacing[1]:.3g} times further "
            "apart than pixels, which do not say what belongs together across sections. Train a "
            "2D network, or give instances."
        )
    low, high = _two_values(volume)
    components = MembraneComponents(volume.labels, (low + high) / 2, sections=sections)
    labels = components[...] if math.prod(volume.shape) <= _WHOLE else components
    return replace(volume, labels=labels, kind="instances", zero="background")


class MembraneComponents:
    """Connected components of a mask, found in each window that is read.

    Parameters
    ----------
    mask : array, shape S
    threshold : float
        Above it is inside an object.
    sections : bool
        Whether components end at their section.
    """

    def __init__(self, mask: Any, threshold: float, *, sections: bool) -> None:
        self._mask = mask
        self._threshold = threshold
        self._sections = sections
        self.dtype: np.dtype[Any] = np.dtype(np.int32)
        self.shape: tuple[int, ...] = tuple(int(n) for n in mask.shape)
        self.ndim = len(self.shape)
        self.chunks = chunk_shape(mask)

    def __getitem__(self, index: Any) -> NDArray[np.int32]:
        """Label the components of a window; a slice per axis, or Ellipsis for all."""
        inside = np.asarray(self._mask[index]) > self._threshold
        return _components(inside, sections=self._sections and inside.ndim == self.ndim)


def _components(inside: BoolArray, *, sections: bool) -> NDArray[np.int32]:
    """Give ids to components that are joined by faces."""
    from scipy import ndimage

    structure = ndimage.generate_binary_structure(inside.ndim, 1)
    if sections:
        structure[[0, -1]] = False
    labels, _ = ndimage.label(inside, structure)
    return np.asarray(labels, np.int32)


def _two_values(volume: TrainingVolume) -> tuple[float, float]:
    """Return the values of membranes and of what is inside."""
    mask = volume.labels
    if mask.dtype.kind == "b":
        return 0.0, 1.0
    blocks = Blocks(mask)
    seen: set[float] = set()
    for number in blocks.walk():
        block = blocks.read(number)
        low, high = block.min(), block.max()
        if mask.dtype.kind == "f":
            if not (low >= 0 and high <= 1):
                raise InputError(
                    f"The mask of membranes of {volume.name} ranges from {low:g} to {high:g}; "
                    "needed is a probability, 0 to 1, or two whole numbers."
                )
            continue
        seen |= {float(low), float(high)}
        between = block[(block != low) & (block != high)]
        if len(seen) > 2 or between.size:
            some = sorted(seen | set(map(float, between[:1])))[:3]
            raise InputError(
                f"The mask of membranes of {volume.name} has more than two values: "
                f"{', '.join(f'{v:g}' for v in some)}, ... Give kind='instances' if these are ids."
            )
        if len(seen) == 2 and not in_memory(mask):
            break
    if mask.dtype.kind == "f":
        return 0.0, 1.0
    if len(seen) < 2:
        raise InputError(
            f"The mask of membranes of {volume.name} is {seen.pop():g} everywhere; needed are "
            "membranes and what they enclose."
        )
    return min(seen), max(seen)
