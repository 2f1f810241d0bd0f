"""What stands for which class in a mask: any values in a file, classes from 1 inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["UNLABELLED", "ClassValues", "MappedMask", "packed_colours"]

UNLABELLED = 0
"""Stands in masks of classes for nothing: not learned from, not measured."""

_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassValues:
    """Values of masks and the classes they mean.

    Attributes
    ----------
    values : tuple of int
        Value of class 1, of class 2 and so on; all different.
    ignored : tuple of int
        Values that mean nothing, beside those of no class where `strict` is false.
    strict : bool
        Whether a value that is in neither is refused. Otherwise it is unlabelled.
    """

    values: tuple[int, ...]
    ignored: tuple[int, ...] = ()
    strict: bool = True

    def __post_init__(self) -> None:
        """Refuse values that stand for two classes."""
        if len(set(self.values)) != len(self.values):
            raise InputError(f"The values of the classes are {self.values}; give different ones.")

    def __call__(self, mask: NDArray[Any], name: str = "mask") -> NDArray[np.uint8]:
        """Return the classes of a mask.

        Parameters
        ----------
        mask : ndarray of integers or bool
        name : str
            For the message.

        Returns
        -------
        ndarray of uint8, of the same shape
            Classes from 1, 0 where nothing is said.

        Raises
        ------
        InputError
            If the mask holds a value that is no class.
        """
        if mask.dtype == np.uint8 and mask.size > _BYTES:
            return self._of_bytes(mask, name)
        order = np.argsort(self.values)
        values = np.asarray(self.values, np.int64)[order]
        wide = mask.astype(np.int64, copy=False)
        places = np.minimum(np.searchsorted(values, wide), len(values) - 1)
        known = values[places] == wide
        classes = np.where(known, (order + 1)[places], UNLABELLED).astype(np.uint8)
        if self.strict:
            odd = wide[~known & ~np.isin(wide, np.asarray(self.ignored, np.int64))]
            if odd.size:
                raise InputError(
                    f"The {name} holds {int(odd[0])}, which is no class: those are "
                    f"{', '.join(map(str, self.values))}"
                    + (
                        f", and {', '.join(map(str, self.ignored))} says nothing"
                        * bool(self.ignored)
                    )
                    + ". Correct the mask, or have the value ignored."
                )
        return classes

    def _of_bytes(self, mask: NDArray[Any], name: str) -> NDArray[np.uint8]:
        """Return the classes of a mask of bytes, by a table of all there are."""
        there = np.flatnonzero(np.bincount(mask.ravel(), minlength=_BYTES)).astype(np.uint8)
        table = np.zeros(_BYTES, np.uint8)
        try:
            table[there] = self(there, name)
        except InputError:
            self(mask.astype(np.int16), name)  # Names the first such value of the mask.
            raise
        return np.asarray(table[mask], np.uint8)

    def is_plain(self) -> bool:
        """Whether classes are what masks hold already."""
        return self.values == tuple(range(1, len(self.values) + 1))


class MappedMask:
    """Classes of a mask in a file, read on indexing.

    Parameters
    ----------
    source : array of integers
    meaning : ClassValues
    name : str
        For messages.
    counts : BlockCounts, optional
        Pixels of each class, where they were counted.
    """

    def __init__(self, source: Any, meaning: ClassValues, name: str, counts: Any = None) -> None:
        self._source, self._meaning, self._name = source, meaning, name
        self.counts = counts
        self.dtype = np.dtype(np.uint8)
        self.shape: tuple[int, ...] = tuple(int(n) for n in source.shape)
        self.ndim = len(self.shape)
        self.chunks = getattr(source, "chunks", None)

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:
        """Read a window."""
        return self._meaning(np.asarray(self._source[index]), self._name)


def packed_colours(colours: NDArray[Any] | Sequence[Any]) -> NDArray[np.int64]:
    """Return colours (..., 3) as one number each: 0xRRGGBB."""
    wide = np.asarray(colours).astype(np.int64)
    packed: NDArray[np.int64] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return packed
