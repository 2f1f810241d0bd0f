"""Volumes to learn from, small ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def bricks(shape: tuple[int, ...], side: int = 8) -> NDArray[np.uint16]:
    """Touching boxes, each with an id of its own, from 1."""
    cells = [np.arange(n) // side for n in shape]
    grid = np.meshgrid(*cells, indexing="ij")
    counts = [int(c[-1]) + 1 for c in cells]
    return (np.ravel_multi_index(grid, counts) + 1).astype(np.uint16)


def coordinates_of(shape: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A raw image whose channels are the coordinates of each voxel, and an id for each."""
    raw = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")).astype(np.float32)
    return raw, (np.arange(raw[0].size, dtype=np.int32) + 1).reshape(shape)


def places_of(ids: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Coordinates that the ids of `coordinates_of` stand for, shape (D, *P)."""
    return np.stack(np.unravel_index(ids - 1, shape)).astype(float)


class Recording:
    """An array that is not in memory, and what was read of it."""

    def __init__(self, data: NDArray[Any], chunks: tuple[int, ...]) -> None:
        self.data = data
        self.shape, self.dtype, self.chunks = data.shape, data.dtype, chunks
        self.ndim = data.ndim
        self.read: list[tuple[int, ...]] = []

    def __getitem__(self, index: Any) -> NDArray[Any]:
        found = self.data[index]
        self.read.append(found.shape)
        return found

    @property
    def voxels(self) -> int:
        """How many voxels were read."""
        return sum(int(np.prod(shape)) for shape in self.read)
