"""What stands for which class in a mask: any values in a file, classes from 1 inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "LARGEST",
    "TRANSPARENT",
    "UNLABELLED",
    "ClassValues",
    "MappedMask",
    "check_whole",
    "packed_colours",
    "shown_value",
]

UNLABELLED = 0
"""Stands in masks of classes for nothing: not learned from, not measured."""

LARGEST = (1 << 63) - 1
"""Values of masks go from minus this to this."""

TRANSPARENT = -LARGEST - 1
"""Stands among packed colours for a pixel that is transparent: it says nothing."""

_BYTES = 256
_COLOURS, _ALPHA = 3, 4


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
    colours : bool
        Whether values are packed colours, for messages.
    """

    values: tuple[int, ...]
    ignored: tuple[int, ...] = ()
    strict: bool = True
    colours: bool = False

    def __post_init__(self) -> None:
        """Refuse values that stand for two classes, or that masks do not hold."""
        if len(set(self.values)) != len(self.values):
            raise InputError(f"The values of the classes are {self.values}; give different ones.")
        if any(abs(value) > LARGEST for value in (*self.values, *self.ignored)):
            raise InputError(
                f"The values of the classes are {self.values}, and those that say nothing "
                f"{self.ignored}; use numbers up to {LARGEST}."
            )

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
            If the mask holds fractions, or a value that is no class.
        """
        check_whole(mask, name)
        if mask.dtype == np.uint8 and mask.size > _BYTES:
            return self._of_bytes(mask, name)
        order = np.argsort(self.values)
        values = np.asarray(self.values, np.int64)[order]
        wide = _signed(mask)
        places = np.minimum(np.searchsorted(values, wide), len(values) - 1)
        known = values[places] == wide
        classes = np.where(known, (order + 1)[places], UNLABELLED).astype(np.uint8)
        if self.strict:
            silent = np.asarray((*self.ignored, TRANSPARENT), np.int64)
            odd = mask[~known & (~np.isin(wide, silent) | _is_huge(mask))]
            if odd.size:
                raise self._odd(int(odd[0]), name)
        return classes

    def _odd(self, value: int, name: str) -> InputError:
        """Return the error for a value that is no class."""
        shown, known, silent = (
            ", ".join(shown_value(v, colours=self.colours) for v in some)
            for some in ((value,), self.values, self.ignored)
        )
        also = f", and {silent} says nothing" if silent else ""
        return InputError(
            f"The {name} holds {shown}, which is no class: those are {known}{also}. Correct the "
            "mask, or have the value ignored."
        )

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


def check_whole(mask: Any, name: str = "mask") -> None:
    """Refuse a mask of fractions, or of anything else that is no whole number.

    Raises
    ------
    InputError
    """
    if np.dtype(mask.dtype).kind not in "iub":
        raise InputError(
            f"The {name} has dtype {mask.dtype}; classes are integers. Convert it, for instance by "
            "mask.astype('uint8')."
        )


def packed_colours(colours: NDArray[Any] | Sequence[Any]) -> NDArray[np.int64]:
    """Return colours (..., 3) as one number each: 0xRRGGBB.

    With a fourth number, opacity, those of no opacity become `TRANSPARENT`.
    """
    wide = np.asarray(colours).astype(np.int64)
    packed: NDArray[np.int64] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    if wide.shape[-1] == _ALPHA:
        packed[wide[..., _COLOURS] == 0] = TRANSPARENT
    return packed


def shown_value(value: int, *, colours: bool) -> str:
    """Write a value of a mask; a colour as #rrggbb."""
    return f"#{value:06x}" if colours else str(value)


def _signed(mask: NDArray[Any]) -> NDArray[np.int64]:
    """Return a mask in int64; what that does not hold becomes what is no class."""
    wide: NDArray[np.int64] = mask.astype(np.int64, copy=False)
    huge = _is_huge(mask)
    return np.where(huge, TRANSPARENT, wide) if np.any(huge) else wide


def _is_huge(mask: NDArray[Any]) -> NDArray[np.bool_] | np.bool_:
    """Where a mask holds more than int64 does."""
    return mask > np.uint64(LARGEST) if mask.dtype == np.uint64 else np.False_
