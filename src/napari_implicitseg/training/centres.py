"""Where patches are taken: near borders between objects, or inside, where there are labels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.training.arrays import Blocks, in_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["Centres"]

# Of labels in a file, so many blocks are compared before one is chosen,
_COMPARED = 3
# so many are searched for a border,
_SEARCHED = 64
# and so many looked at to estimate how much is labelled.
_ESTIMATED = 16

_INTERIOR, _BORDER = 0, 1


class Centres:
    """Labelled voxels of one volume, to choose from.

    Of labels in memory the voxels are counted block by block, once, and every border
    voxel is as likely as any other, and every interior one. Of labels in a file only few
    blocks are looked at for each choice; of these, fuller ones are likelier. What is
    chosen never depends on what was looked at before.

    Parameters
    ----------
    labels : array of integers, shape S
    flat : bool
        Patches lie in one section, and so must the neighbours that make a border.
    background : bool
        0 is something else than any object, not unknown.
    """

    def __init__(self, labels: Any, *, flat: bool, background: bool) -> None:
        self._blocks = Blocks(labels, flat=flat)
        self._axes = range(1 if flat else 0, len(labels.shape))
        self._background = background
        self._known: dict[int, tuple[int, int]] = {}
        self._totals: NDArray[np.int64] | None = None
        if in_memory(labels):
            counts = [self._count(number) for number in range(len(self._blocks))]
            self._totals = np.cumsum(np.array(counts, np.int64), axis=0)
            self._known.clear()

    def labelled(self) -> float:
        """Count the labelled voxels; for labels in a file estimated from a few blocks."""
        if self._totals is not None:
            return float(self._totals[-1].sum())
        looked, labelled = 0, 1
        for _, number in zip(range(_ESTIMATED), self._blocks.walk(), strict=False):
            window = self._blocks.window(number)
            looked += math.prod(part.stop - part.start for part in window)
            labelled += sum(self._count(number))
        return labelled / looked * math.prod(self._blocks.shape)

    def choose(self, rng: np.random.Generator, *, border: bool) -> tuple[int, ...] | None:
        """Choose a voxel at a border or inside an object, or the other where there is none.

        Returns
        -------
        tuple of int or None
            None if no voxel is labelled.
        """
        kinds = (_BORDER, _INTERIOR) if border else (_INTERIOR, _BORDER)
        choose = self._choose_searching if self._totals is None else self._choose_counted
        for kind in kinds:
            found = choose(rng, kind)
            if found is not None:
                return found
        return None

    def _choose_counted(self, rng: np.random.Generator, kind: int) -> tuple[int, ...] | None:
        """Choose among all voxels of a kind, which are counted."""
        assert self._totals is not None
        totals = self._totals[:, kind]
        if not totals[-1]:
            return None
        chosen = int(rng.integers(totals[-1]))
        number = int(np.searchsorted(totals, chosen, side="right"))
        before = int(totals[number - 1]) if number else 0
        return self._pick(number, kind, chosen - before)

    def _choose_searching(self, rng: np.random.Generator, kind: int) -> tuple[int, ...] | None:
        """Choose among the voxels of a kind in a few blocks, which are read."""
        blocks = [int(b) for b in rng.integers(len(self._blocks), size=_COMPARED)]
        counts = np.cumsum([self._count(b)[kind] for b in blocks])
        if counts[-1]:
            chosen = int(rng.integers(counts[-1]))
            at = int(np.searchsorted(counts, chosen, side="right"))
            return self._pick(blocks[at], kind, chosen - int(counts[at - 1] if at else 0))
        most = _SEARCHED if kind == _BORDER else len(self._blocks)
        for _, number in zip(range(most), self._blocks.walk(blocks[0]), strict=False):
            count = self._count(number)[kind]
            if count:
                return self._pick(number, kind, int(rng.integers(count)))
        return None

    def _count(self, number: int) -> tuple[int, int]:
        """Count the interior and the border voxels of a block; asked again, from memory."""
        known = self._known.get(number)
        if known is None:
            labels = self._blocks.read(number)
            inside = int(np.count_nonzero(labels))
            border = self._border(labels)
            at_border = int(np.count_nonzero(border))
            known = inside - int(np.count_nonzero(border & (labels != 0))), at_border
            self._known[number] = known
        return known

    def _pick(self, number: int, kind: int, which: int) -> tuple[int, ...]:
        """Return a voxel of a kind in a block, in raster order."""
        labels = self._blocks.read(number)
        border = self._border(labels)
        flat = np.flatnonzero(border if kind == _BORDER else (labels != 0) & ~border)
        place = np.unravel_index(int(flat[which]), labels.shape)
        window = self._blocks.window(number)
        return tuple(part.start + int(i) for part, i in zip(window, place, strict=True))

    def _border(self, labels: NDArray[Any]) -> BoolArray:
        """Mark voxels that differ from the voxel before them, along any axis of the patches."""
        border = np.zeros(labels.shape, bool)
        for axis in self._axes:
            after: list[slice] = [slice(None)] * labels.ndim
            before = list(after)
            after[axis], before[axis] = slice(1, None), slice(None, -1)
            here, there = labels[tuple(after)], labels[tuple(before)]
            differ = here != there
            if not self._background:
                differ &= (here != 0) & (there != 0)
            border[tuple(after)] |= differ
        return border
