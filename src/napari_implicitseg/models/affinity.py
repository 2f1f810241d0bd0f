"""A network that predicts affinities, with all that is needed to apply it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from napari_implicitseg.affinities.ops import Affinities, checked_offsets
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.models.tiles import predict_tiles
from napari_implicitseg.models.volume_checks import checked_volume, in_stack

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.predictors.architectures import Network

__all__ = ["AffinityModel"]


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
        raw, size = checked_volume(
            volume, self, spacing=spacing, channel_axis=channel_axis, name=name
        )
        shape = tuple(int(n) for n in raw.shape[1:])
        scaling = self.normalisation.scaling(raw, name)
        data = predict_tiles(
            self.network,
            scaling.reader(raw),
            shape,
            channels=len(self.offsets),
            tile_shape=tile_shape,
            device=torch.device(device),
            precision=precision,
            progress=progress,
        )
        return Affinities(data=data, offsets=in_stack(self.offsets, len(shape)), spacing=size)
