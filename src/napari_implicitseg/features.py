"""Reading images piece by piece, and the features the evidence is made of.

An image may be a NumPy, dask or zarr array of any size. A `Reader` hands out
windows of it as normalised float32 channels, averaged over blocks where a
coarser look is enough, and remembers which voxels were not finite.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.block_means import finite_mean, sampled_mean
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, FloatArray

__all__ = ["Patch", "Reader", "Window", "find_channel_axis", "iter_blocks", "smooth", "window_step"]

_BLOCK_VOXELS = 1 << 24
_LEAST_VOXELS = 4
# Values this many times the usual range away from it say no more than "far off".
_WILD = 30.0


@dataclass(frozen=True, slots=True)
class Window:
    """A box of voxels looked at through blocks of `step` voxels.

    Attributes
    ----------
    start, stop : tuple of int
        First voxel and the one after the last, per axis.
    step : tuple of int
        Voxels per block and axis; 1 is full resolution.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of blocks per axis; the last one may be cut off."""
        return tuple(
            -(-(b - a) // s) for a, b, s in zip(self.start, self.stop, self.step, strict=True)
        )

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as slices of the image."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def cells(self, coords: NDArray[np.int64]) -> NDArray[np.int64]:
        """Block indices (N, D) of voxel indices (N, D)."""
        return np.asarray((coords - np.asarray(self.start)) // np.asarray(self.step))

    def box_of(self, mask: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First voxel and the one after the last of the blocks in a mask of the window's shape."""
        cells, start, step = np.argwhere(mask), np.asarray(self.start), np.asarray(self.step)
        return start + cells.min(axis=0) * step, start + (cells.max(axis=0) + 1) * step

    def cells_of(self, finer: Window) -> tuple[NDArray[np.int64], ...]:
        """Open mesh of the block that each block of a finer window lies in."""
        return np.ix_(
            *(
                np.minimum((finer.centres(a).astype(np.int64) - self.start[a]) // s, n - 1)
                for a, (s, n) in enumerate(zip(self.step, self.shape, strict=True))
            )
        )

    def common_cells(
        self, other: Window
    ) -> tuple[tuple[NDArray[np.int64], ...], tuple[NDArray[np.int64], ...]]:
        """Open meshes of the blocks whose centres another window holds, in either window."""
        own, others = [], []
        for axis, (start, stop, step) in enumerate(
            zip(other.start, other.stop, other.step, strict=True)
        ):
            centres = self.centres(axis)
            index = np.flatnonzero((centres >= start) & (centres < stop))
            own.append(index)
            others.append(((centres[index] - start) // step).astype(np.int64))
        return np.ix_(*own), np.ix_(*others)

    def centres(self, axis: int) -> NDArray[np.float64]:
        """Centre of each block along an axis, in voxels; voxel i has its centre at i + 0.5."""
        low = np.arange(self.start[axis], self.stop[axis], self.step[axis], dtype=np.float64)
        return (low + np.minimum(low + self.step[axis], self.stop[axis])) / 2


@dataclass(frozen=True, slots=True)
class Patch:
    """Channels of an image seen through a window.

    Attributes
    ----------
    window : Window
    channels : ndarray of float32, shape (C, *window.shape)
        Block averages, shifted and scaled to unit robust spread per channel.
    valid : ndarray of bool, shape window.shape
        False where a block held no finite voxel.
    """

    window: Window
    channels: NDArray[np.float32]
    valid: BoolArray


def window_step(shape: tuple[int, ...], spacing: tuple[float, ...], cells: int) -> tuple[int, ...]:
    """Voxels per block and axis so that a box takes at most `cells` about isotropic blocks."""
    pitch = min(spacing)
    count = 1
    while True:
        step = tuple(
            min(n, max(1, int(count * pitch / s + 1e-6)))
            for n, s in zip(shape, spacing, strict=True)
        )
        if math.prod(-(-n // k) for n, k in zip(shape, step, strict=True)) <= cells:
            return step
        count += 1


def iter_blocks(array: Any) -> Iterator[tuple[tuple[int, ...], NDArray[Any]]]:
    """Yield `(origin, block)` over an array, along its chunks if it has any."""
    if isinstance(array, np.ndarray):
        yield (0,) * array.ndim, array
        return
    shape = tuple(int(n) for n in array.shape)
    for starts in itertools.product(
        *(range(0, n, c) for n, c in zip(shape, _chunks(array), strict=True))
    ):
        box = tuple(
            slice(a, min(a + c, n)) for a, c, n in zip(starts, _chunks(array), shape, strict=True)
        )
        yield starts, np.asarray(array[box])


def _chunks(array: Any) -> tuple[int, ...]:
    """Return a regular block shape that fits the array's own chunks and memory."""
    shape = tuple(int(n) for n in array.shape)
    chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None) or shape
    if not all(isinstance(c, int) for c in chunks):
        chunks = shape
    block = [max(1, min(int(c), n)) for c, n in zip(chunks, shape, strict=True)]
    axis = len(block) - 1
    while axis >= 0:
        room = _BLOCK_VOXELS // max(1, math.prod(block))
        if room < 2:
            break
        block[axis] = max(1, min(shape[axis], block[axis] * room))
        axis -= 1
    return tuple(block)


def find_channel_axis(
    image_shape: tuple[int, ...], spatial: tuple[int, ...], channel_axis: int | None
) -> int | None:
    """Find the channel axis of an image whose spatial shape is known.

    Parameters
    ----------
    image_shape : tuple of int
    spatial : tuple of int
        Shape of the scribbles.
    channel_axis : int or None
        What the caller says; None finds out.

    Returns
    -------
    int or None
        None if the image has no channels.

    Raises
    ------
    InputError
        If the image less its channel axis does not have the spatial shape.
    """
    ndim = len(image_shape)
    if channel_axis is not None:
        if not -ndim <= channel_axis < ndim:
            raise InputError(f"channel_axis is {channel_axis} but the image has {ndim} axes.")
        axis: int = channel_axis % ndim
        if image_shape[:axis] + image_shape[axis + 1 :] == spatial:
            return axis
    elif image_shape == spatial:
        return None
    elif ndim == len(spatial) + 1:
        for axis in (ndim - 1, *range(ndim - 1)):
            if image_shape[:axis] + image_shape[axis + 1 :] == spatial:
                return axis
    given = "" if channel_axis is None else f" with channel_axis={channel_axis}"
    raise InputError(
        f"The scribbles have shape {spatial} but the image has {image_shape}{given}. "
        "They must agree, apart from one channel axis of the image."
    )


class Reader:
    """Windows of an image as normalised float32 channels.

    Parameters
    ----------
    image : array
        NumPy, dask or zarr array of any real dtype.
    channel_axis : int or None
        Which axis holds channels.

    Attributes
    ----------
    shape : tuple of int
        Spatial shape.
    ignored : int
        Voxels of the first window read that were not finite.
    embedding : Reader or None
        What else is known of every voxel.

    Raises
    ------
    InputError
        If the image is empty or its dtype is not a real number.
    """

    def __init__(self, image: Any, channel_axis: int | None) -> None:
        dtype = np.dtype(image.dtype)
        if dtype.kind not in "biuf":
            raise InputError(
                f"The image has dtype {dtype}; it must hold real numbers or bool. "
                "Convert it, for instance with image.astype('float32')."
            )
        self._image = image
        self._channel_axis = channel_axis
        shape = tuple(int(n) for n in image.shape)
        self.shape = tuple(n for a, n in enumerate(shape) if a != channel_axis)
        if math.prod(shape) == 0:
            raise InputError(f"The image is empty: its shape is {shape}. Open another one.")
        if math.prod(self.shape) < _LEAST_VOXELS:
            raise InputError(
                f"The image has {math.prod(self.shape)} pixels; a shape needs at least "
                f"{_LEAST_VOXELS}. Open another image, or check channel_axis."
            )
        self.lazy = not isinstance(image, np.ndarray)
        self.ignored = 0
        self.embedding: Reader | None = None
        self._bound = 2 * _WILD
        self._counted = False
        self._is_probability = False
        self._shift: FloatArray | None = None
        self._scale: FloatArray | None = None

    @classmethod
    def of_probability(cls, probability: Any) -> Reader:
        """Reader of a probability map: channels are the probability less one half."""
        reader = cls(probability, None)
        reader._is_probability = True
        reader._shift, reader._scale = np.array([0.5]), np.array([1.0])
        return reader

    @classmethod
    def of_embedding(cls, embedding: Any) -> Reader:
        """Reader of features of every voxel, (E, *S): they are taken as they are."""
        reader = cls(embedding, 0)
        reader._shift, reader._scale = np.zeros(embedding.shape[0]), np.ones(embedding.shape[0])
        reader._bound = float(np.finfo(np.float32).max)
        return reader

    def at_slice(self, index: int) -> Reader:
        """Reader of one slice along the first spatial axis."""
        axis = 1 if self._channel_axis == 0 else 0
        channel = self._channel_axis
        data = self._image[(slice(None),) * axis + (index,)]
        out = Reader(data, channel - 1 if channel is not None and channel > axis else channel)
        out._shift, out._scale = self._shift, self._scale
        out._is_probability, out._bound = self._is_probability, self._bound
        out.embedding = None if self.embedding is None else self.embedding.at_slice(index)
        return out

    def raw(self, window: Window) -> tuple[FloatArray, FloatArray]:
        """Average a window over its blocks.

        Returns
        -------
        channels : ndarray of float, shape (C, *window.shape)
        share : ndarray of float, shape window.shape
            Share of each block's voxels that were finite in every channel.
        """
        data = self._read(window)
        if data.dtype.kind != "f":
            self._counted = True
            return sampled_mean(data, window.step), np.ones(window.shape, np.float32)
        channels, share, finite = finite_mean(data, window.step)
        if not self._counted:
            self.ignored = math.prod(data.shape[1:]) - finite
        self._counted = True
        return channels, share

    def normalise(self, channels: FloatArray, valid: BoolArray) -> None:
        """Learn shift and scale per channel from a look at the image."""
        known = channels[:, valid]
        if known.shape[1] == 0:
            known = np.zeros((len(channels), 1))
        low, middle, high = np.percentile(known, (2, 50, 98), axis=1)
        # Objects of few voxels lie outside these percentiles but widen the deviation.
        # A few wild values, such as those that stand for "no data", must not widen it, too.
        wild = (_WILD * (high - low))[:, None]
        tame = np.clip(known, low[:, None] - wild, high[:, None] + wild)
        known = np.where(wild > 0, tame, known)
        peak = np.abs(known).max(axis=1)
        peak = np.where(peak > 0, peak, 1)
        spread = np.maximum(high - low, peak * (known / peak[:, None]).std(axis=1))
        # A constant image has no spread: it must stay constant, not become noise.
        self._shift = middle
        self._scale = np.where(spread > 0, 1 / np.maximum(spread, 1e-300), 0.0)

    @property
    def constant(self) -> bool:
        """Whether every channel had one value in the first window that was read."""
        return self._scale is not None and not self._scale.any()

    def patch(self, window: Window) -> Patch:
        """Read a window; the first one read sets the normalisation of all."""
        channels, share = self.raw(window)
        valid = share > 0
        if self._shift is None or self._scale is None:
            self.normalise(channels, valid)
        assert self._shift is not None
        assert self._scale is not None
        if self._is_probability:
            _check_probability(channels[:, valid])
        extra = (slice(None), *(None,) * valid.ndim)
        channels = np.clip(
            (channels - self._shift[extra]) * self._scale[extra], -self._bound, self._bound
        )
        if not valid.all():
            channels[:, ~valid] = 0
        return Patch(window, channels.astype(np.float32, copy=False), valid)

    def _read(self, window: Window) -> NDArray[Any]:
        """Return the raw voxels of a window, channels first."""
        box = list(window.slices)
        if self._channel_axis is not None:
            box.insert(self._channel_axis, slice(None))
        data = np.asarray(self._image[tuple(box)])
        if self._channel_axis is None:
            return data[None]
        return np.moveaxis(data, self._channel_axis, 0)


def _check_probability(values: FloatArray) -> None:
    """Refuse what is no probability, such as grey levels from 0 to 255."""
    if not values.size:
        return
    low, high = float(values.min()), float(values.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f"The probability map has values from {low:g} to {high:g}; needed are fractions "
            "from 0 to 1. Divide it by its largest possible value."
        )


def smooth(channels: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur (C, *S) with a Gaussian of `sigma` samples along the spatial axes."""
    axes = tuple(range(1, channels.ndim))
    return np.asarray(
        ndimage.gaussian_filter(channels, sigma, axes=axes, mode="nearest", truncate=2.5)
    )
