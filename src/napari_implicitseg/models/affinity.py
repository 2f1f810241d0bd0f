"""A network that predicts affinities, with all that is needed to apply it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.affinities.ops import Affinities, checked_offsets
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.models.tiles import predict_tiles

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.normalise import Scaling
    from napari_implicitseg.predictors.architectures import Network

__all__ = ["AffinityModel", "with_channel"]

_MOST_OFF = 1.5
"""How many times larger or smaller voxels may be than those a model has learned from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AffinityModel:
    """A trained network and how it is applied.

    Attributes
    ----------
    network : CNN or UNet
        From grey levels (B, C, *S) to logits (B, K, *S), K at least the number of offsets.
    offsets : tuple of tuple of int
        Edges it predicts, in the axes of the network; those of a 2D network are (y, x).
    spacing : tuple of float
        Voxel size it has learned from, per axis of the network.
    unit : str
        Of `spacing`; "" if unknown.
    normalisation : Normalisation
        How grey levels are scaled first.
    name : str
    training : mapping
        What it learned from: data, licence, options.
    metrics : mapping
        How good it was on what it had not seen.
    """

    network: Network
    offsets: tuple[tuple[int, ...], ...]
    spacing: tuple[float, ...]
    unit: str = ""
    normalisation: Normalisation = field(default_factory=Normalisation)
    name: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        checked_offsets(self.offsets, self.ndim)
        outputs = self.network.config.out_channels
        if len(self.spacing) != self.ndim or outputs < len(self.offsets):
            raise InputError(
                f"A network with {self.ndim} axes and {outputs} outputs does not predict the "
                f"{len(self.offsets)} offsets {self.offsets} at spacing {self.spacing}."
            )

    @property
    def ndim(self) -> int:
        """Spatial axes of the network."""
        return int(self.network.config.ndim)

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return int(self.network.config.in_channels)

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write the model into a folder; see `load_model`.

        Parameters
        ----------
        path : path
        half : bool
            Store the weights with half the digits.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        from napari_implicitseg.models.folder import save_model

        save_model(self, path, half=half)

    def predict(
        self,
        volume: Any,
        *,
        spacing: Sequence[float] | None = None,
        channel_axis: int | None = None,
        tile_shape: Sequence[int] | None = None,
        precision: str = "float32",
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        name: str = "volume",
    ) -> Affinities:
        """Predict the affinities of a whole volume, tile by tile.

        Parameters
        ----------
        volume : array-like, shape (*S) or with one channel axis
            NumPy, zarr or dask; of a lazy one tiles are read. A network with two axes
            takes a stack section by section.
        spacing : sequence of float, optional
            Voxel size, in the unit of the model.
        channel_axis : int, optional
            Axis that holds channels; the first if there is one axis too many.
        tile_shape : sequence of int, optional
            Voxels predicted at a time; the memory decides if None.
        precision : {"float32", "bfloat16", "float16"}
            Of the convolutions.
        device : torch.device or str
        progress : Progress, optional
        name : str
            What to call the volume in messages.

        Returns
        -------
        Affinities
            Of the volume's spatial shape; the edges of a network with two axes lie in
            the sections.

        Raises
        ------
        InputError
            If axes or channels do not fit, or a voxel is NaN or infinite.
        Cancelled
            If `progress` asked to stop.
        """
        raw = self.channels_first(volume, channel_axis=channel_axis, name=name)
        shape = tuple(int(n) for n in raw.shape[1:])
        if 0 in shape:
            raise InputError(f"The {name} has shape {shape}: there is no voxel to predict.")
        steps = self._spacing(spacing, len(shape), name)
        scaling = self.normalisation.scaling(raw, name)
        data = predict_tiles(
            self.network,
            _reader(raw, scaling),
            shape,
            channels=len(self.offsets),
            tile_shape=None if tile_shape is None else tuple(tile_shape),
            device=torch.device(device),
            precision=precision,
            progress=progress,
        )
        flat = (0,) * (len(shape) - self.ndim)
        offsets = tuple((*flat, *offset) for offset in self.offsets)
        return Affinities(data=data, offsets=offsets, spacing=steps)

    def channels_first(
        self, volume: Any, *, channel_axis: int | None = None, name: str = "volume"
    ) -> Any:
        """Return a volume as (C, *S), lazy ones still lazy, and check it.

        Raises
        ------
        InputError
            If axes or channels are not those of the network.
        """
        axes = len(volume.shape)
        if np.dtype(volume.dtype).kind not in "biuf":
            raise InputError(
                f"The {name} has dtype {volume.dtype}; a network needs real numbers. Convert it."
            )
        wanted = (2, 3) if self.ndim == 2 else (3,)
        if axes in wanted and channel_axis is None and (self.channels == 1 or axes == self.ndim):
            raw = with_channel(volume)
        elif axes - 1 in wanted:
            raw = _moved(volume, 0 if channel_axis is None else channel_axis)
        else:
            dims = "2D images or stacks" if self.ndim == 2 else "3D volumes"
            raise InputError(
                f"The {name} has {axes} axes, shape {tuple(volume.shape)}; the model "
                f"'{self.name}' is for {dims}. Cut it, or choose another model."
            )
        if int(raw.shape[0]) != self.channels:
            raise InputError(
                f"The {name} has {int(raw.shape[0])} channels; the model '{self.name}' was trained "
                f"on {self.channels}. Choose the channels it knows, or another model."
            )
        return raw

    def _spacing(self, spacing: Sequence[float] | None, ndim: int, name: str) -> tuple[float, ...]:
        """Voxel size of a volume; warns where the model has learned from another."""
        if spacing is None:
            return (*(1.0,) * (ndim - self.ndim), *self.spacing)
        given = tuple(float(s) for s in spacing)
        if len(given) != ndim or not all(0 < s < float("inf") for s in given):
            raise InputError(
                f"spacing is {given}; give one positive number for each of the {ndim} axes."
            )
        ratios = [a / b for a, b in zip(given[ndim - self.ndim :], self.spacing, strict=True)]
        if max(ratios) > _MOST_OFF or min(ratios) < 1 / _MOST_OFF:
            warnings.warn(
                f"The {name} has voxels of {given} but the model '{self.name}' has learned from "
                f"{self.spacing} {self.unit}. Results may be poor: rescale the volume, or train "
                "the model on volumes like it.",
                stacklevel=3,
            )
        return given


def with_channel(volume: Any) -> Any:
    """Return an array without channels as one with a single channel, in front."""
    return volume[None] if isinstance(volume, np.ndarray) else _Channel(volume)


class _Channel:
    """An array without channels as one with a single channel; reads only what is asked."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = (1, *array.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self._array[index[1:]])[None]


class _Moved:
    """An array with the channel axis moved to the front; reads only what is asked."""

    def __init__(self, array: Any, axis: int) -> None:
        self._array, self._axis = array, axis
        self.shape = (array.shape[axis], *array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        moved = (*index[1 : self._axis + 1], index[0], *index[self._axis + 1 :])
        return np.moveaxis(np.asarray(self._array[moved]), self._axis, 0)


def _moved(volume: Any, axis: int) -> Any:
    """Channels first."""
    axes = len(volume.shape)
    if not -axes <= axis < axes:
        raise InputError(f"channel_axis is {axis}, but the volume has {axes} axes.")
    axis %= axes
    if isinstance(volume, np.ndarray):
        return np.moveaxis(volume, axis, 0)
    return _Moved(volume, axis)


def _reader(raw: Any, scaling: Scaling) -> Any:
    """Make the function that reads a window of scaled grey levels."""

    def read(window: tuple[slice, ...]) -> NDArray[np.float32]:
        return scaling(raw[:, *window], [part.start or 0 for part in window])

    return read
