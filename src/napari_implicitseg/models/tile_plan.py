"""Tiles of a prediction: how large, where, and what of the volume each has to see."""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from napari_implicitseg.models.volume_checks import checked_sides

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Box", "TileGrid", "available_memory", "usual_tile"]

Box: TypeAlias = tuple[slice, ...]

# Sides below which a smaller tile would hardly take less memory: the halo is all.
_SHORTEST = 16
# Of the memory that is free, so much may be taken.
_SHARE = 0.5
_UNKNOWN_MEMORY = 4 << 30
# Voxels of a usual tile by axes of the network; accelerators want more to do at a time.
_USUAL = {2: 1024**2, 3: 128**3}
_USUAL_ACCELERATED = {2: 2048**2, 3: 192**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """Tiles of a volume and their windows.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    halo : tuple of int
        Voxels seen to both sides, per axis; 0 along sections that are predicted one
        by one.
    stride : tuple of int
        Windows start at multiples of it.
    """

    shape: tuple[int, ...]
    halo: tuple[int, ...]
    stride: tuple[int, ...]

    def fitted(self, tile: Sequence[int]) -> tuple[int, ...]:
        """Tile rounded up to strides, no longer than the volume."""
        return tuple(
            min(-(-side // step) * step, -(-length // step) * step)
            for side, step, length in zip(tile, self.stride, self.shape, strict=True)
        )

    def split(self, box: Box, tile: Sequence[int]) -> list[Box]:
        """Boxes that cover a box, none longer than a tile."""
        axes = zip(box, tile, self.stride, strict=True)
        return list(itertools.product(*(list(_parts(b, side, step)) for b, side, step in axes)))

    def window(self, box: Box) -> tuple[Box, Box]:
        """Return what a network has to see to predict a box, and the box within it."""
        seen, kept = [], []
        for part, length, halo, step in zip(box, self.shape, self.halo, self.stride, strict=True):
            start = max(0, (part.start - halo) // step * step)
            stop = min(length, -(-(part.stop + halo) // step) * step)
            seen.append(slice(start, stop))
            kept.append(slice(part.start - start, part.stop - start))
        return tuple(seen), tuple(kept)

    def window_size(self, tile: Sequence[int]) -> int:
        """Most voxels a window of such a tile has."""
        axes = zip(tile, self.halo, self.stride, self.shape, strict=True)
        return math.prod(
            min(side + 2 * (halo + step - 1), length) for side, halo, step, length in axes
        )

    def halved(self, tile: Sequence[int]) -> tuple[int, ...] | None:
        """Half a tile, or None if it is as small as is of use."""
        excess = [
            side / (1 if halo == 0 else max(_SHORTEST, step))
            for side, halo, step in zip(tile, self.halo, self.stride, strict=True)
        ]
        longest = max(range(len(tile)), key=lambda axis: excess[axis])
        if excess[longest] <= 1:
            return None
        sides = list(tile)
        step = self.stride[longest]
        sides[longest] = -(-sides[longest] // (2 * step)) * step
        return tuple(sides)


def _parts(span: slice, side: int, step: int) -> Iterator[slice]:
    """Parts of a span of about equal length, at most `side`, that start at multiples of a step."""
    length = span.stop - span.start
    count = -(-length // side)
    even = min(side, -(-length // (count * step)) * step)
    for start in range(span.start, span.stop, even):
        yield slice(start, min(span.stop, start + even))


def usual_tile(
    grid: TileGrid, ndim: int, voxel_bytes: float, device: torch.device
) -> tuple[int, ...]:
    """Choose a tile: of usual size, shaped like the halo, smaller where memory is short.

    Parameters
    ----------
    grid : TileGrid
    ndim : int
        Axes of the network, the last ones.
    voxel_bytes : float
        Memory a voxel of a window takes.
    device : torch.device

    Returns
    -------
    tuple of int
        Sections count along an axis before those of the network.
    """
    usual = (_USUAL if device.type == "cpu" else _USUAL_ACCELERATED)[ndim]
    budget = _SHARE * available_memory(device)
    lead = len(grid.shape) - ndim
    size = float(usual)
    while True:
        sides = _shaped(grid.shape[lead:], grid.halo[lead:], size)
        sections = max(1, int(size / math.prod(sides)))
        tile = grid.fitted((*(sections,) * lead, *sides))
        if grid.window_size(tile) * voxel_bytes <= budget or grid.halved(tile) is None:
            return tile
        size /= 2


def _shaped(shape: Sequence[int], halo: Sequence[int], size: float) -> tuple[int, ...]:
    """Sides in proportion to the halo, which loses least, that make up a size or the shape."""
    low, high = 0.0, float(max(shape))
    for _ in range(40):
        scale = (low + high) / 2
        sides = [min(n, scale * (h + 1)) for n, h in zip(shape, halo, strict=True)]
        low, high = (scale, high) if math.prod(sides) < size else (low, scale)
    return tuple(max(1, round(min(n, high * (h + 1)))) for n, h in zip(shape, halo, strict=True))


def available_memory(device: torch.device) -> int:
    """Bytes that are free on a device, as far as can be known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + held)
    found = [_free_of_system(), _free_of_group()]
    return min((n for n in found if n is not None), default=_UNKNOWN_MEMORY)


def _free_of_system() -> int | None:
    """Memory the system can give without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(x.split()[1]) << 10 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _free_of_group() -> int | None:
    """Memory left to a container with limits."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = (int((folder / f"memory.{n}").read_text()) for n in ("max", "current"))
    except (OSError, ValueError):
        return None
    return max(0, most - used)


def checked_tile(tile: Sequence[int], grid: TileGrid, ndim: int) -> tuple[int, ...]:
    """Return a tile of one number per axis of the volume, rounded up to strides.

    Raises
    ------
    InputError
        If it has another number of axes, or sides that are no positive whole numbers.
    """
    sides = checked_sides(tile, ndim, len(grid.shape))
    return grid.fitted((*(1,) * (len(grid.shape) - len(sides)), *sides))
