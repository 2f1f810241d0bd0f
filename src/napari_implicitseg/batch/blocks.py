"""Blocks a volume is worked through in: where they lie, and what they see of their neighbours."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["BlockGrid", "Box", "block_name", "chunks_in", "relative", "size_of"]

Box: TypeAlias = tuple[slice, ...]
"""One slice per axis, with start and stop."""

_CHUNK, _SHORTEST = 64, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockGrid:
    """Blocks that cover a volume without overlap, and the margins they are computed with.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    block_shape : tuple of int
        Of a block; the last ones along an axis may be shorter. Never longer than the volume.
    halo : tuple of int
        Voxels seen around a block, to both sides of each axis.

    Raises
    ------
    InputError
        If the numbers of axes differ, or a length is not positive.
    """

    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    halo: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what is no grid."""
        same = len(self.shape) == len(self.block_shape) == len(self.halo) > 0
        if not same or min(*self.shape, *self.block_shape) < 1 or min(self.halo) < 0:
            raise InputError(
                f"Blocks of {self.block_shape} with a halo of {self.halo} do not cut a volume of "
                f"shape {self.shape}; give one positive whole number per axis, and a halo from 0."
            )
        block = tuple(min(b, n) for b, n in zip(self.block_shape, self.shape, strict=True))
        object.__setattr__(self, "block_shape", block)

    @property
    def counts(self) -> tuple[int, ...]:
        """Blocks along each axis."""
        return tuple(-(-n // b) for n, b in zip(self.shape, self.block_shape, strict=True))

    def __len__(self) -> int:
        """Return the number of blocks."""
        return math.prod(self.counts)

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        """Yield the places of blocks in C order."""
        return itertools.product(*map(range, self.counts))

    def number(self, place: Sequence[int]) -> int:
        """Return the number of a block in C order."""
        result = 0
        for i, count in zip(place, self.counts, strict=True):
            result = result * count + i
        return result

    def core(self, place: Sequence[int]) -> Box:
        """Return the voxels that belong to a block."""
        parts = zip(place, self.block_shape, self.shape, strict=True)
        return tuple(slice(i * b, min((i + 1) * b, n)) for i, b, n in parts)

    def outer(self, place: Sequence[int]) -> Box:
        """Return the voxels a block is computed from: its own and those around it."""
        return self.grown(self.core(place), self.halo, self.halo)

    def grown(self, box: Box, before: Sequence[int], after: Sequence[int]) -> Box:
        """Return a box with margins, as far as the volume goes."""
        parts = zip(box, before, after, self.shape, strict=True)
        return tuple(slice(max(0, p.start - a), min(n, p.stop + b)) for p, a, b, n in parts)

    def below(self, place: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield the neighbours before a block: the axis, and their place."""
        for axis, i in enumerate(place):
            if i:
                yield axis, tuple(j - (a == axis) for a, j in enumerate(place))

    def touched(self, box: Box) -> Iterator[tuple[tuple[int, ...], Box]]:
        """Yield the blocks a box lies in, in C order, and what of the box lies in each."""
        ranges = [
            range(p.start // b, -(-p.stop // b)) for p, b in zip(box, self.block_shape, strict=True)
        ]
        for place in itertools.product(*ranges):
            core = self.core(place)
            yield (
                place,
                tuple(
                    slice(max(p.start, c.start), min(p.stop, c.stop))
                    for p, c in zip(box, core, strict=True)
                ),
            )


def block_name(place: Sequence[int]) -> str:
    """Return the name of a block, such as "0-3-12"."""
    return "-".join(map(str, place))


def relative(box: Box, frame: Box) -> Box:
    """Return a box in the coordinates of one that holds it."""
    return tuple(
        slice(b.start - f.start, b.stop - f.start) for b, f in zip(box, frame, strict=True)
    )


def size_of(box: Box) -> int:
    """Return the number of voxels of a box."""
    return math.prod(part.stop - part.start for part in box)


def chunks_in(block: Sequence[int]) -> tuple[int, ...]:
    """Return chunks that make up a block exactly, of about 64 voxels along each axis.

    A block is one file, so that no two workers write the same one.
    """
    return tuple(_part(length) for length in block)


def _part(length: int) -> int:
    """Return the longest part, up to 64, that a length is a multiple of; or the length."""
    for parts in range(-(-length // _CHUNK), length // _SHORTEST + 1):
        if length % parts == 0:
            return length // parts
    return length
