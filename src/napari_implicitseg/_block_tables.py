"""Contingency tables of volumes larger than memory, and the blocks they are read in."""

from __future__ import annotations

import itertools
import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg._borders import BorderZone
from napari_implicitseg._contingency import Contingency, check_kind, check_shapes
from napari_implicitseg._pair_counts import PairCounter
from napari_implicitseg.errors import InputError
from napari_implicitseg.voxel_sizes import checked_spacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress

__all__ = [
    "Box",
    "boxes",
    "check_volumes",
    "contingency_blocks",
    "contingency_box",
    "default_block_shape",
]

Box = tuple[slice, ...]
"""A part of a volume, a slice with start and stop per axis."""

# Voxels read at one time, unless chunks are larger.
_BLOCK = 1 << 22


def contingency_blocks(
    labels: Any,
    truth: Any,
    *,
    ignore: int | None = 0,
    border: float | None = None,
    spacing: Sequence[float] | None = None,
    block_shape: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Contingency:
    """Count shared voxels of volumes that do not fit into memory, block by block.

    Parameters
    ----------
    labels, truth : array of int or bool, shape S
        Anything with `shape`, `dtype` and indexing by slices: NumPy, zarr, dask, HDF5.
    ignore : int, optional
        As in `contingency`.
    border : float, optional
        Voxels up to this distance from a border of the truth are left out, too, as in the CREMI
        challenge (which takes 25 nm). Sections, the planes of the last two axes, are taken one
        by one. A voxel of which one of the four neighbours in the section has another label,
        the ignored one included, is at distance 0; the others are as far as the centre of the
        nearest of these. By default no border is left out.
    spacing : sequence of float, optional
        Size of a voxel along each axis, in the unit of `border`; 1 by default.
    block_shape : sequence of int, optional
        Voxels per axis read at one time; by default several chunks of the arrays. The result is
        the same for any.
    progress : Progress, optional
        Hears of each block, and may cancel.

    Returns
    -------
    Contingency
        That of the whole volumes.

    Raises
    ------
    InputError
        If the arrays differ in shape or hold no integers, or border, spacing or blocks do not
        fit them.
    """
    check_volumes(labels, truth)
    shape = tuple(truth.shape)
    step = _checked_step(block_shape, shape) or default_block_shape(labels, truth)
    parts = list(boxes(shape, step))
    told = _told(parts, progress)
    return _counted(labels, truth, told, ignore=ignore, border=border, spacing=spacing)


def contingency_box(
    labels: Any,
    truth: Any,
    box: Box,
    *,
    ignore: int | None = 0,
    border: float | None = None,
    spacing: Sequence[float] | None = None,
) -> Contingency:
    """Count shared voxels of one part of two volumes; those of all parts `merged` are the whole's.

    Parameters
    ----------
    labels, truth, ignore, border, spacing
        As `contingency_blocks` takes them.
    box : tuple of slice
        With start and stop. Borders are looked for beyond it, too.

    Raises
    ------
    InputError
        As `contingency_blocks` does.
    """
    check_volumes(labels, truth)
    return _counted(labels, truth, [box], ignore=ignore, border=border, spacing=spacing)


def _told(parts: Sequence[Box], progress: Progress | None) -> Iterator[Box]:
    """Yield blocks, and tell of each."""
    for i, box in enumerate(parts):
        if progress is not None:
            progress(i / len(parts), f"Comparing block {i + 1} of {len(parts)}")
        yield box


def _counted(
    labels: Any,
    truth: Any,
    parts: Iterable[Box],
    *,
    ignore: int | None,
    border: float | None,
    spacing: Sequence[float] | None,
) -> Contingency:
    """Count shared voxels of parts of two volumes."""
    shape = tuple(truth.shape)
    size = checked_spacing(spacing, len(shape))
    zone = None if border is None else BorderZone.of(border, size, shape)
    counter = PairCounter(np.dtype(labels.dtype), np.dtype(truth.dtype), ignore)
    near = 0
    for box in parts:
        if zone is None:
            counter.add(np.asarray(labels[box]), np.asarray(truth[box]))
        else:
            near += _add_far(counter, labels, truth, box, zone)
    return Contingency.from_entries(*counter.entries(), ignored=counter.ignored + near)


def _add_far(counter: PairCounter, labels: Any, truth: Any, box: Box, zone: BorderZone) -> int:
    """Count the voxels of a block that are far from borders; how many are near."""
    around = zone.around(box)
    seen: NDArray[Any] = np.asarray(truth[around])
    inner = tuple(
        slice(b.start - a.start, b.stop - a.start) for a, b in zip(around, box, strict=True)
    )
    far = ~zone.near(seen)[inner]
    counter.add(np.asarray(labels[box])[far], seen[inner][far])
    return int(far.size - np.count_nonzero(far))


def check_volumes(labels: Any, truth: Any) -> None:
    """Refuse what are not two volumes of integers of the same shape.

    Raises
    ------
    InputError
        If they are none.
    """
    for array, name in ((labels, "labels"), (truth, "truth")):
        if not (hasattr(array, "shape") and hasattr(array, "dtype")):
            raise InputError(f"The {name} are of type {type(array).__name__}; give an array.")
        check_kind(array, name)
    check_shapes(tuple(labels.shape), tuple(truth.shape))


def default_block_shape(*arrays: Any) -> tuple[int, ...]:
    """Voxels per axis to read at one time: whole chunks, as many as fit."""
    shape = tuple(arrays[0].shape)
    sides = [1] * len(shape)
    for array in arrays:
        # Those of dask list every chunk.
        chunks = [max(c) if isinstance(c, tuple) else c for c in getattr(array, "chunks", ()) or ()]
        sides = [max(s, c) for s, c in zip(sides, chunks or sides, strict=True)]
    for axis in reversed(range(len(shape))):
        while sides[axis] < shape[axis] and 2 * math.prod(sides) <= _BLOCK:
            sides[axis] *= 2
    return tuple(sides)


def boxes(shape: tuple[int, ...], step: tuple[int, ...]) -> Iterator[Box]:
    """Cut a volume into blocks."""
    starts = itertools.product(*(range(0, n, s) for n, s in zip(shape, step, strict=True)))
    for corner in starts:
        yield tuple(slice(a, min(a + s, n)) for a, s, n in zip(corner, step, shape, strict=True))


def _checked_step(asked: Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the block shape that was asked for, if one was."""
    if asked is None:
        return None
    step = tuple(operator.index(n) for n in asked)
    if len(step) != len(shape) or min(step, default=1) < 1:
        raise InputError(
            f"block_shape is {tuple(asked)}; give {len(shape)} positive numbers of voxels for "
            f"volumes of shape {shape}."
        )
    return step
