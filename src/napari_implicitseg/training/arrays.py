"""Arrays in memory or in files, of which only windows and blocks are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import chunk_shape, with_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = [
    "Blocks",
    "CroppedArray",
    "HiddenWindow",
    "Window",
    "as_array",
    "channels_first",
    "crop",
    "in_memory",
    "read_window",
]

Window = tuple[slice, ...]
"""One slice per axis, with a start and a stop and no step."""

# Sides of the blocks in which labels are looked at, by how many axes they have.
_SIDES = {1: 4096, 2: 128, 3: 32}
_MOST_VOXELS = 1 << 18


def as_array(value: Any, what: str) -> Any:
    """Return something with a shape, a NumPy dtype and indexing, as it is if it can be.

    Raises
    ------
    InputError
        If it is no array of numbers.
    """
    if isinstance(value, np.ma.MaskedArray):
        return value.filled(0)
    if not all(hasattr(value, name) for name in ("shape", "dtype", "__getitem__")) or not (
        isinstance(value.dtype, np.dtype)
    ):
        try:
            value = np.asarray(value)
        except ValueError as error:
            raise InputError(f"The {what} is no array: {error}. Give an array.") from error
    if value.dtype.kind not in "biuf":
        raise InputError(
            f"The {what} has dtype {value.dtype}; needed are integers or floating-point numbers."
        )
    return value


def in_memory(array: Any) -> bool:
    """Whether all of an array is at hand and looking at it costs no reading."""
    return isinstance(array, np.ndarray) and not isinstance(array, np.memmap)


def read_window(array: Any, window: Sequence[slice | int]) -> NDArray[Any]:
    """Read a window; integers drop their axis."""
    return np.asarray(array[tuple(window)])


class CroppedArray:
    """View of a window of an array in a file, read on indexing.

    Parameters
    ----------
    source : array
        Anything with `shape`, `dtype` and indexing by integers and slices.
    window : tuple of slice
        One per axis of `source`, inside it.
    """

    def __init__(self, source: Any, window: Window) -> None:
        self._source = source
        self._window = window
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        self.shape: tuple[int, ...] = tuple(int(part.stop - part.start) for part in window)
        self.ndim = len(self.shape)
        self.chunks = chunk_shape(source)
        counts = getattr(source, "counts", None)
        self.counts = None if counts is None else counts.within(window)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a window; indices are integers, slices with positive step and Ellipsis."""
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            place = parts.index(Ellipsis)
            parts[place : place + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        key: list[int | slice] = []
        for fixed, part, length in zip(self._window, parts, self.shape, strict=True):
            if isinstance(part, slice):
                first, last, step = part.indices(length)
                key.append(slice(fixed.start + first, fixed.start + max(first, last), step))
            else:
                key.append(fixed.start + range(length)[part])
        return np.asarray(self._source[tuple(key)])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


class HiddenWindow:
    """View of labels in a file that are 0 in a window.

    Parameters
    ----------
    source : array
        Anything with `shape`, `dtype` and indexing by slices.
    window : tuple of slice
        One per axis of `source`, inside it.
    """

    def __init__(self, source: Any, window: Window) -> None:
        self._source, self._window = source, window
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        self.shape: tuple[int, ...] = tuple(int(n) for n in source.shape)
        self.ndim = len(self.shape)
        self.chunks = chunk_shape(source)
        counts = getattr(source, "counts", None)
        self.counts = None if counts is None else counts.without(window)

    def __getitem__(self, index: Window) -> NDArray[Any]:
        """Read a window: one slice per axis, without step."""
        found = np.array(self._source[index])
        spans = [part.indices(n)[:2] for part, n in zip(index, self.shape, strict=True)]
        hidden = tuple(
            slice(max(0, part.start - first), max(0, min(last, part.stop) - first))
            for part, (first, last) in zip(self._window, spans, strict=True)
        )
        found[hidden] = 0
        return found


def crop(array: Any, window: Window) -> Any:
    """Return a window of an array: a view in memory, or one that reads when it is indexed."""
    return array[window] if isinstance(array, np.ndarray) else CroppedArray(array, window)


def channels_first(array: Any, ndim: int) -> Any:
    """Return an image of `ndim` axes of space with an axis of channels before them."""
    return array if len(array.shape) > ndim else with_channel(array)


class Blocks:
    """An array cut into blocks, numbered in raster order.

    Parameters
    ----------
    array : array
        In memory or in a file.
    flat : bool
        Blocks of a stack lie in one section.
    """

    def __init__(self, array: Any, *, flat: bool = False) -> None:
        self._array = array
        self.shape = tuple(int(n) for n in array.shape)
        self.block = _block_shape(self.shape, chunk_shape(array), flat=flat)
        self._counts = tuple(-(-n // b) for n, b in zip(self.shape, self.block, strict=True))

    def __len__(self) -> int:
        """Count the blocks."""
        return math.prod(self._counts)

    def window(self, number: int) -> Window:
        """Where a block lies."""
        index = np.unravel_index(number, self._counts)
        return tuple(
            slice(int(i) * b, min((int(i) + 1) * b, n))
            for i, b, n in zip(index, self.block, self.shape, strict=True)
        )

    def read(self, number: int) -> NDArray[Any]:
        """Read a block."""
        return read_window(self._array, self.window(number))

    def walk(self, start: int = 0) -> Iterator[int]:
        """Go through all blocks, each once, far apart from one to the next."""
        n = len(self)
        step = max(1, round(n * (math.sqrt(5) - 1) / 2))
        while math.gcd(step, n) > 1:
            step += 1
        for i in range(n):
            yield (start + i * step) % n


def _block_shape(
    shape: tuple[int, ...], chunks: tuple[int, ...] | None, *, flat: bool
) -> tuple[int, ...]:
    """Choose blocks that are whole chunks, or lie within one that is large."""
    thick = len(shape) - 2 if flat else 0
    side = _SIDES[min(3, len(shape) - thick)]
    sides = [min(c, n) for c, n in zip(chunks or (side,) * len(shape), shape, strict=True)]
    sides[:thick] = [1] * thick
    if math.prod(sides) < side ** (len(shape) - thick):
        grown = [c * max(1, side // c) for c in sides[thick:]]
        sides[thick:] = [min(g, n) for g, n in zip(grown, shape[thick:], strict=True)]
    while math.prod(sides) > _MOST_VOXELS:
        longest = sides.index(max(sides))
        sides[longest] = -(-sides[longest] // 2)
    return tuple(sides)
