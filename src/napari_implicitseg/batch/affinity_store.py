"""Affinities on the disk, read window by window from any process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jobs are pickled
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities, edges_inside
from napari_implicitseg.batch.block_arrays import open_array
from napari_implicitseg.batch.blocks import relative
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.affinity_files import ABOUT, is_affinities, read_grid
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, FileArray, unreadable
from napari_implicitseg.volumes.ome_zarr import open_node

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box

__all__ = ["BYTE", "AffinityStore", "affinity_store", "packed", "unpacked"]

BYTE = 255
"""Of affinities stored as uint8: what stands for 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityStore:
    """Affinities in an OME-Zarr on disk.

    Attributes
    ----------
    path : Path
        Of the group; level 0 is the array "0".
    offsets : tuple of tuple of int
    spacing : tuple of float
        Voxel size in one unit.
    shape : tuple of int
        Of the volume.
    """

    path: Path
    offsets: tuple[tuple[int, ...], ...]
    spacing: tuple[float, ...]
    shape: tuple[int, ...]

    def read(self, box: Box, core: Box | None = None) -> Affinities:
        """Read a window.

        Parameters
        ----------
        box : tuple of slice
        core : tuple of slice, optional
            A part of it: only edges that begin there, and end inside the volume, are known.

        Raises
        ------
        FileError
            If it cannot be read, or the array has become another one.
        """
        try:
            array = open_array(self.path / "0")
        except DECODE_ERRORS as error:
            raise unreadable(self.path, error, "affinities") from error
        if tuple(array.shape[1:]) != self.shape:
            raise FileError(
                f"'{self.path}' has become {array.shape[1:]} voxels, from {self.shape}. Wait until "
                "it is complete, and begin anew with restart (--restart)."
            )
        whole = tuple(slice(0, n) for n in array.shape)
        view = FileArray(array, whole, path=self.path, kind="affinities")
        data = unpacked(view[(slice(None), *box)])
        mask = None if core is None else self._known(box, core)
        return Affinities(data=data, offsets=self.offsets, spacing=self.spacing, mask=mask)

    def _known(self, box: Box, core: Box) -> NDArray[np.bool_]:
        """Mark the edges of a window that begin in a part of it."""
        sides = tuple(part.stop - part.start for part in box)
        mask = np.zeros((len(self.offsets), *sides), np.bool_)
        mask[(slice(None), *relative(core, box))] = True
        mask &= edges_inside(sides, self.offsets)
        return mask

    @property
    def reach(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Voxels that edges lead out of a block, before it and after it."""
        columns = list(zip(*self.offsets, strict=True))
        return tuple(max(0, -min(c)) for c in columns), tuple(max(0, *c) for c in columns)


def unpacked(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored affinities as fractions."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(BYTE)
    return values.astype(np.float32, copy=False)


def packed(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return affinities as they are stored."""
    if dtype == "uint8":
        return np.rint(values * BYTE).astype(np.uint8)
    return values.astype(dtype)


def affinity_store(path: Path) -> AffinityStore | None:
    """Return the affinities at a path, or None if there are none."""
    if not is_affinities(path):
        return None
    node: Any = open_node(path)
    about = node.attrs.asdict()[ABOUT]
    try:
        offsets = tuple(tuple(int(v) for v in offset) for offset in about["offsets"])
        shape = tuple(int(n) for n in node["0"].shape[1:])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, error, "affinities") from error
    grid = read_grid(path)
    return AffinityStore(path=path, offsets=offsets, spacing=grid.fit_spacing, shape=shape)
