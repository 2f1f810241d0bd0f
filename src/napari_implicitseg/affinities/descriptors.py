"""Local shape descriptors: what an object looks like around each of its voxels.

A network that has to predict them besides affinities has to look at more than the
nearest membrane.
"""

from __future__ import annotations

import operator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.affinities.ops import checked_truth
from napari_implicitseg.errors import InputError
from napari_implicitseg.voxel_sizes import checked_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["descriptor_channels", "local_shape_descriptors"]

# The window ends at so many standard deviations.
_REACH = 3.0
# Rows of a band matrix that are multiplied at a time.
_ROWS = 128
# Variance, of that of the window, below which an object counts as flat.
_FLAT = 1e-4


def descriptor_channels(ndim: int) -> int:
    """Return the number of descriptors: 10 in a volume, 6 in an image."""
    return 1 + 2 * ndim + ndim * (ndim - 1) // 2


def local_shape_descriptors(
    labels: ArrayLike,
    *,
    sigma: float,
    spacing: Sequence[float] | None = None,
    downsample: int = 1,
) -> NDArray[np.float32]:
    """Describe the part of its object that lies in a Gaussian window around each voxel.

    Parameters
    ----------
    labels : array_like of int, shape S
        2D or 3D, ids of any size; 0 is no object.
    sigma : float
        Standard deviation of the window, in the unit of the spacing; the window
        ends at three times as far. About the width of the thinner objects: 80 to
        120 nm in the paper, for neurons.
    spacing : sequence of float, optional
        Size of a voxel along each axis; 1 by default.
    downsample : int
        Side, in voxels, of blocks whose voxels share the sums over the window. 2
        is three times as fast over 128 voxels along each axis and wins little below;
        the descriptors then are those of the middle of a block.

    Returns
    -------
    ndarray of float32, shape (10, z, y, x) or (6, y, x)
        Within 0 and 1; 0 outside objects. In this order: the offset from the
        voxel to the centre of mass, per axis, -sigma to sigma as 0 to 1; the
        variance per axis, 0 to sigma squared as 0 to 1; the correlation of each
        pair of axes, first with second, first with third, second with third, -1
        to 1 as 0 to 1; the share of the window's weight that lies in the object.
        What goes beyond is cut off. Nothing is known beyond the volume: there is
        no object there.

    Raises
    ------
    InputError
        If the labels are no integers, or an option is out of its range.

    References
    ----------
    Sheridan et al., "Local shape descriptors for neuron segmentation", Nature
    Methods 2022.
    """
    values = checked_truth(labels)
    apart = np.array(checked_spacing(spacing, values.ndim)) / _checked_sigma(sigma)
    blocks = _checked_blocks(downsample)
    described = np.zeros((descriptor_channels(values.ndim), *values.shape), np.float32)
    numbers = _consecutive(values)
    kernels = [_kernels(step * blocks) for step in apart]
    for number, box in enumerate(ndimage.find_objects(numbers), 1):
        own = numbers[box] == number
        described[(slice(None), *box)][:, own] = _describe(own, kernels, blocks)
    return described


def _checked_sigma(sigma: float) -> float:
    if not (np.isfinite(sigma) and sigma > 0):
        raise InputError(f"sigma is {sigma}; it has to be more than 0, in the unit of the spacing.")
    return float(sigma)


def _checked_blocks(downsample: Any) -> int:
    try:
        blocks = operator.index(downsample)
    except TypeError:
        blocks = 0
    if blocks < 1:
        raise InputError(f"downsample is {downsample!r}; give a whole number, 1 for none.")
    return blocks


def _consecutive(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels with the objects numbered from 1, where 0 stays 0."""
    ids, numbers = np.unique(labels, return_inverse=True)
    return np.asarray(numbers.reshape(labels.shape) + (ids[0] != 0), np.int64)


def _kernels(step: float) -> list[NDArray[np.float32]]:
    """Gaussian along an axis of steps in units of sigma, times powers 0 to 2 of the distance."""
    reach = int(_REACH / step)
    distance = np.arange(-reach, reach + 1) * step
    weight = np.exp(-0.5 * distance**2)
    weight /= weight.sum()
    return [(weight * distance**power).astype(np.float32) for power in range(3)]


def _describe(
    own: BoolArray, kernels: list[list[NDArray[np.float32]]], blocks: int
) -> NDArray[np.float32]:
    """Descriptors of an object, shape (D, N), at its N voxels in C order."""
    coarse = own if blocks == 1 else _block_means(own, blocks)
    there = coarse > 0
    moments = {
        powers: sums[there] for powers, sums in _moments(coarse.astype(np.float32), kernels).items()
    }
    found = _from_moments(moments, own.ndim)
    if blocks == 1:
        return found
    number = np.zeros(there.shape, np.int64)
    number[there] = np.arange(found.shape[1])
    return found[:, number[tuple(axis // blocks for axis in np.nonzero(own))]]


def _block_means(own: BoolArray, side: int) -> NDArray[np.float32]:
    """Share of each block that an object takes; blocks begin with its box."""
    padded = np.pad(own, [(0, -n % side) for n in own.shape])
    split = [m for n in padded.shape for m in (n // side, side)]
    within = tuple(range(1, len(split), 2))
    return np.asarray(padded.reshape(split).mean(axis=within, dtype=np.float32))


def _moments(
    mask: NDArray[np.float32], kernels: list[list[NDArray[np.float32]]]
) -> dict[tuple[int, ...], NDArray[np.float32]]:
    """Sum products of powers of the distances over the window around each voxel.

    Axis by axis, since the window is a product: up to the second order these are
    19 passes over a volume where ten separate filters would be 30.
    """
    sums: dict[tuple[int, ...], NDArray[np.float32]] = {(): mask}
    for axis in kernels:
        sums = {
            (*powers, power): _along_first(values, axis[power])
            for powers, values in sums.items()
            for power in range(3 - sum(powers))
        }
    return sums


def _along_first(values: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlate the first axis with a kernel and put it last; there is 0 outside.

    As a product with a band matrix, which is many times quicker than sliding the
    kernel along.
    """
    length, reach = len(values), len(kernel) // 2
    columns = values.reshape(length, -1)
    out = np.empty((columns.shape[1], length), np.float32)
    for begin in range(0, length, _ROWS):
        end = min(begin + _ROWS, length)
        low, high = max(0, begin - reach), min(length, end + reach)
        distance = np.arange(low, high)[:, None] - np.arange(begin, end)
        band = kernel[np.clip(distance, -reach, reach) + reach]
        band[np.abs(distance) > reach] = 0
        out[:, begin:end] = columns[low:high].T @ band
    return out.reshape(*values.shape[1:], length)


def _from_moments(
    moments: dict[tuple[int, ...], NDArray[np.float32]], ndim: int
) -> NDArray[np.float32]:
    """Offsets, variances, correlations and size, within 0 and 1, from moments of shape (N,)."""
    unit = np.eye(ndim, dtype=int)

    def moment(*axes: int) -> NDArray[np.float32]:
        return moments[tuple(int(n) for n in unit[list(axes)].sum(axis=0))]

    size = moment()
    offsets = [moment(i) / size for i in range(ndim)]
    variances = [np.maximum(moment(i, i) / size - offsets[i] ** 2, 0) for i in range(ndim)]
    widths = [np.sqrt(np.maximum(v, _FLAT)) for v in variances]
    correlations = [
        (moment(i, j) / size - offsets[i] * offsets[j]) / (widths[i] * widths[j])
        for i, j in combinations(range(ndim), 2)
    ]
    signed = [0.5 + 0.5 * value for value in (*offsets, *correlations)]
    parts = [*signed[:ndim], *variances, *signed[ndim:], size]
    return np.asarray(np.clip(np.stack(parts), 0, 1))
