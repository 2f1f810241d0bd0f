"""Pixels of each value of a mask, counted once, block by block, for all who ask."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.training.arrays import Blocks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.training.arrays import Window

__all__ = ["MANY_VALUES", "MOST_VALUES", "BlockCounts", "count_blocks"]

MANY_VALUES = 64
"""Masks with more values than this are ids of objects, or images, unless somebody says no."""

MOST_VALUES = 258
"""Of as many classes as there may be, and of 0, another and transparency, which say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockCounts:
    """Pixels of each value in each block of a mask.

    Attributes
    ----------
    values : tuple of int
        Ascending, or those that were asked for.
    table : ndarray of int64, shape (blocks, values)
        Blocks in raster order.
    shape, block : tuple of int
        Of the mask, and of its blocks.
    """

    values: tuple[int, ...]
    table: NDArray[np.int64]
    shape: tuple[int, ...]
    block: tuple[int, ...]

    def totals(self) -> Counter[int]:
        """Pixels of each value in the whole mask."""
        pixels = self.table.sum(axis=0).tolist()
        return Counter({v: n for v, n in zip(self.values, pixels, strict=True) if n})

    def of_classes(self, values: Sequence[int]) -> BlockCounts:
        """Return the counts of a mask in which values have become 1, 2 and so on."""
        column = {value: i for i, value in enumerate(self.values)}
        table = np.zeros((len(self.table), len(values)), np.int64)
        for i, value in enumerate(values):
            if value in column:
                table[:, i] = self.table[:, column[value]]
        return BlockCounts(
            values=tuple(range(1, len(values) + 1)),
            table=table,
            shape=self.shape,
            block=self.block,
        )

    def grid(self) -> NDArray[np.int64]:
        """Return the table as blocks along each axis, shape (*blocks per axis, values)."""
        sides = [-(-n // b) for n, b in zip(self.shape, self.block, strict=True)]
        return self.table.reshape(*sides, len(self.values))

    def within(self, window: Window) -> BlockCounts | None:
        """Return the counts of a window, or None if it cuts through blocks."""
        index = self._blocks_of(window)
        if index is None:
            return None
        return BlockCounts(
            values=self.values,
            table=self.grid()[index].reshape(-1, len(self.values)),
            shape=tuple(part.stop - part.start for part in window),
            block=self.block,
        )

    def without(self, window: Window) -> BlockCounts | None:
        """Return the counts of all but a window, or None if it cuts through blocks."""
        index = self._blocks_of(window)
        if index is None:
            return None
        left = self.grid().copy()
        left[index] = 0
        return BlockCounts(
            values=self.values,
            table=left.reshape(self.table.shape),
            shape=self.shape,
            block=self.block,
        )

    def _blocks_of(self, window: Window) -> tuple[slice, ...] | None:
        """Which blocks make up a window."""
        parts = []
        for part, n, b in zip(window, self.shape, self.block, strict=True):
            if part.start % b or (part.stop % b and part.stop != n):
                return None
            parts.append(slice(part.start // b, -(-part.stop // b)))
        return tuple(parts)


def count_blocks(
    mask: Any,
    *,
    flat: bool = False,
    most: int = MANY_VALUES,
    only: Collection[int] | None = None,
) -> BlockCounts | None:
    """Count the pixels of each value of a mask, block by block.

    Parameters
    ----------
    mask : array of integers or bool
        In memory or in a file.
    flat : bool
        Blocks of a stack lie in one section.
    most : int
        How many values there may be.
    only : collection of int, optional
        The values that are counted, of however many there are; by default all.

    Returns
    -------
    BlockCounts or None
        None if there are more values.
    """
    blocks = Blocks(mask, flat=flat)
    seen: set[int] = set()
    found: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
    for number in range(len(blocks)):
        here, pixels = _counted(blocks.read(number))
        if only is not None:
            wanted = [i for i, value in enumerate(here.tolist()) if value in only]
            here, pixels = here[wanted], pixels[wanted]
        seen.update(here.tolist())
        if only is None and len(seen) > most:
            return None
        found.append((here, pixels))
    values = tuple(sorted(int(value) for value in seen))
    column = {value: i for i, value in enumerate(values)}
    table = np.zeros((len(found), len(values)), np.int64)
    for row, (here, pixels) in zip(table, found, strict=True):
        row[[column[value] for value in here.tolist()]] = pixels
    return BlockCounts(values=values, table=table, shape=blocks.shape, block=blocks.block)


def _counted(block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the values of a block, ascending, and the pixels of each."""
    flat = block.ravel()
    if flat.dtype.kind == "b" or flat.dtype == np.uint8:
        pixels = np.bincount(flat.view(np.uint8), minlength=1)
        values = np.flatnonzero(pixels)
        return values, pixels[values]
    # Classes are long runs along the last axis: their values are few and quickly sorted.
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    values, which = np.unique(flat[starts], return_inverse=True)
    pixels = np.bincount(which, weights=np.diff(starts, append=flat.size), minlength=len(values))
    return values, pixels.astype(np.int64)
