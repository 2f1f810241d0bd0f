"""Coarser levels of images and label images, block by block."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.volumes.volume import Axis

__all__ = ["Level", "Method", "blocks_of", "coarsen", "coarser_block", "factors_of", "plan_levels"]

Method: TypeAlias = Literal["mean", "mode"]
"""How voxels become one: images by their mean, labels by the most frequent of them."""

LARGEST_PLANE = 512
"""Voxels along an axis of the coarsest level, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid.

    Attributes
    ----------
    shape : tuple of int
    scale, translate : tuple of float
        Voxel size and centre of voxel 0 per axis, in that axis's unit.
    """

    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]


def plan_levels(
    shape: Sequence[int], axes: Sequence[Axis], *, largest: int = LARGEST_PLANE
) -> list[Level]:
    """Choose the levels of a pyramid: the finest axes of space are halved until it is small.

    An axis of much larger voxels is left as it is until the others have caught up, so that
    voxels become isotropic. A coarse voxel lies in the middle of those it stands for.

    Parameters
    ----------
    shape : sequence of int
        Of level 0.
    axes : sequence of Axis
        One per axis.
    largest : int
        Levels are added until no axis of space is longer.

    Returns
    -------
    list of Level
        Level 0 first.
    """
    from napari_implicitseg.volumes.volume import common_scale

    sizes = [int(n) for n in shape]
    voxel = common_scale(axes)
    scale = [axis.scale for axis in axes]
    translate = [axis.translate for axis in axes]
    space = [i for i, axis in enumerate(axes) if axis.kind not in ("time", "channel")]
    levels = [Level(shape=tuple(sizes), scale=tuple(scale), translate=tuple(translate))]
    while space and max(sizes[i] for i in space) > largest:
        finest = min(voxel[i] for i in space if sizes[i] > 1)
        for i in [i for i in space if sizes[i] > 1 and voxel[i] < 2 * finest]:
            sizes[i] = -(-sizes[i] // 2)
            translate[i] += scale[i] / 2
            scale[i] *= 2
            voxel[i] *= 2
        levels.append(Level(shape=tuple(sizes), scale=tuple(scale), translate=tuple(translate)))
    return levels


def factors_of(fine: Sequence[int], coarse: Sequence[int]) -> tuple[int, ...]:
    """Return how many voxels of a level become one of a coarser level, per axis."""
    return tuple(max(1, round(n / m)) for n, m in zip(fine, coarse, strict=True))


def blocks_of(shape: Sequence[int], block: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Yield the blocks a shape is cut into, in order; the last ones may be smaller."""
    edges = (
        [slice(start, min(start + step, n)) for start in range(0, n, step)]
        for n, step in zip(shape, block, strict=True)
    )
    return itertools.product(*edges)


def coarser_block(
    source: Any, block: Sequence[slice], factors: Sequence[int], *, method: Method
) -> NDArray[Any]:
    """Compute one block of the next level from the level before it.

    Nothing but the voxels below the block is read, and blocks do not depend on each other:
    any cut into blocks gives the same level.

    Parameters
    ----------
    source : array
        The finer level: anything with `shape` and indexing by slices.
    block : sequence of slice
        Where the block lies in the coarser level, with start and stop.
    factors : sequence of int
        Voxels that become one, per axis; 1 for all but the last three.
    method : {"mean", "mode"}
        Mean: integers are rounded, half up; NaN is left out. Mode: the most frequent label;
        of several equally frequent the smallest that is not 0.

    Returns
    -------
    ndarray
        Of the source's dtype.
    """
    window = []
    for part, factor, size in zip(block, factors, source.shape, strict=True):
        start = min(part.start * factor, size - 1)
        window.append(slice(start, max(start + 1, min(part.stop * factor, size))))
    shape = tuple(part.stop - part.start for part in block)
    return coarsen(np.asarray(source[tuple(window)]), factors, shape, method=method)


def coarsen(
    data: NDArray[Any], factors: Sequence[int], shape: Sequence[int], *, method: Method
) -> NDArray[Any]:
    """Reduce an array to a coarser shape; see `coarser_block`.

    Raises
    ------
    InputError
        If numbers other than integers are to be reduced by mode, or the dtype is none of
        images, or an axis before the last three is to be reduced.
    """
    _check(data, factors, method)
    if all(f == 1 for f in factors) and data.shape == tuple(shape):
        return data
    lead = max(0, data.ndim - 3)
    pad = (1,) * (3 - (data.ndim - lead))
    deep = (math.prod(data.shape[:lead]), *pad, *data.shape[lead:])
    out = (deep[0], *pad, *shape[lead:])
    steps = (*pad, *(int(f) for f in factors[lead:]))
    block = np.ascontiguousarray(data).reshape(deep)
    reduce = _modes if method == "mode" or data.dtype.kind == "b" else _means
    return reduce(block, steps, out).reshape(tuple(shape))


def _check(data: NDArray[Any], factors: Sequence[int], method: Method) -> None:
    """Refuse what has no mean or mode."""
    kinds = "biu" if method == "mode" else "biuf"
    if data.dtype.kind not in kinds:
        needed = "whole numbers" if method == "mode" else "real numbers"
        raise InputError(
            f"The array is of dtype {data.dtype}; a {method} of blocks takes {needed}. Convert it."
        )
    if any(f != 1 for f in factors[:-3]):
        raise InputError(
            f"factors are {tuple(factors)}; only the last three axes can be reduced. Move the "
            "axes of space to the end."
        )


def _modes(block: NDArray[Any], steps: tuple[int, ...], out: tuple[int, ...]) -> NDArray[Any]:
    """Return the most frequent label of each block of voxels."""
    from napari_implicitseg.volumes._downsample import modes

    native = block.astype(block.dtype.newbyteorder("="), copy=False)
    bare = np.dtype(f"u{native.dtype.itemsize}")  # One compiled function for every type of a size.
    result = np.empty(out, native.dtype)
    modes(native.view(bare), steps, result.view(bare))
    return result


def _means(block: NDArray[Any], steps: tuple[int, ...], out: tuple[int, ...]) -> NDArray[Any]:
    """Return the mean of each block of voxels."""
    from napari_implicitseg.volumes._downsample import add_blocks

    dtype = block.dtype.newbyteorder("=")
    exact = dtype.kind in "iu" and dtype.itemsize <= 4
    total: NDArray[Any] = np.zeros(out, np.int64 if exact else np.float64)
    count = np.empty(out, np.int64)
    plain = dtype if exact or dtype in (np.float32, np.float64) else np.dtype(np.float64)
    add_blocks(block.astype(plain, copy=False), steps, total, count)
    if exact:
        return ((2 * total + count) // (2 * count)).astype(dtype)
    with np.errstate(invalid="ignore"):
        mean = total / count  # NaN where no voxel is a number
    if dtype.kind in "iu":
        # Not all numbers of 64 bits are float64: the largest would wrap around.
        info = np.iinfo(dtype)
        top = np.nextafter(float(info.max), 0)
        return np.clip(np.rint(mean), float(info.min), top).astype(dtype)
    return mean.astype(dtype)
