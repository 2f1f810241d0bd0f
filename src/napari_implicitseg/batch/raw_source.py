"""A volume that a network predicts from, read window by window from any process."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.channels import channels_before, with_channels
from napari_implicitseg.models.loading import load_model
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.models.volume_checks import checked_volume, with_channel
from napari_implicitseg.volumes.files import place_of, read_image
from napari_implicitseg.volumes.lazy import FileArray
from napari_implicitseg.volumes.ome_zarr import zarr_attributes

if TYPE_CHECKING:
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.volumes.volume import Grid, Volume

__all__ = ["RawSource", "model_digest", "one_channel", "open_model", "open_raw", "raw_source"]

Model: TypeAlias = AffinityModel | SemanticModel
"""A network and how it is applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSource:
    """A volume as a network takes it.

    Attributes
    ----------
    path : str
    level, time, channel
        See `BatchConfig`.
    model : str
    model_digest : str
        Of the weights.
    spacing : tuple of float or None
        Voxel size in the unit of the model, if it is known.
    shape : tuple of int
        Of the volume, without channels.
    semantic : bool
        Whether the model tells classes; else it predicts affinities.
    outputs : int
        What it predicts of each voxel: edges, or classes.
    offsets : tuple of tuple of int
        Of the edges; empty for classes.
    """

    path: str
    level: int
    time: int | None
    channel: int | None
    model: str
    model_digest: str
    spacing: tuple[float, ...] | None
    shape: tuple[int, ...] = ()
    semantic: bool = False
    outputs: int = 0
    offsets: tuple[tuple[int, ...], ...] = ()


def raw_source(path: str, config: BatchConfig) -> tuple[RawSource, Grid]:
    """Open a volume for a model; also the grid of its voxels.

    Raises
    ------
    InputError, FileError
        If model and volume do not fit together, or cannot be read.
    """
    assert config.model is not None
    if "image-label" in zarr_attributes(place_of(path)):
        raise InputError(f"'{path}' holds labels, no grey levels; give the image they are of.")
    semantic = config.job == "semantic"
    network = open_model(config.model, semantic=semantic)
    volume = one_channel(read_image(path, level=config.level, time=config.time), config.channel)
    grid = volume.grid(volume.channel_axis)
    if config.spacing is not None:
        grid = grid.with_spacing(config.spacing, config.unit)
    source = RawSource(
        path=path,
        level=config.level,
        time=config.time,
        channel=config.channel,
        model=config.model,
        model_digest=model_digest(network),
        spacing=grid.spacing_in(network.unit),
        semantic=semantic,
        outputs=len(network.classes if isinstance(network, SemanticModel) else network.offsets),
        offsets=() if isinstance(network, SemanticModel) else network.offsets,
    )
    raw, _ = _checked(volume, network, source)
    return replace(source, shape=tuple(int(n) for n in raw.shape[1:])), grid


@functools.lru_cache(maxsize=1)
def open_raw(source: RawSource) -> tuple[Any, tuple[float, ...], Model]:
    """Open a volume and its model, once per process: (C, *S), voxel size, model."""
    network = open_model(source.model, semantic=source.semantic)
    if model_digest(network) != source.model_digest:
        raise FileError(
            f"The model '{source.model}' has changed since the job began. Begin anew with restart "
            "(--restart)."
        )
    volume = one_channel(
        read_image(source.path, level=source.level, time=source.time), source.channel
    )
    raw, size = _checked(volume, network, source)
    if tuple(raw.shape[1:]) != source.shape:
        raise FileError(
            f"'{source.path}' has become {tuple(raw.shape[1:])} voxels, from {source.shape}. Wait "
            "until it is complete, and begin anew with restart (--restart)."
        )
    return raw, size, network


def open_model(name: str, *, semantic: bool = False) -> Model:
    """Read a model for affinities, or for classes, whose context is known.

    Raises
    ------
    InputError
        If it is of another kind.
    """
    model = load_model(name)
    if isinstance(model, SemanticModel) and semantic:
        return model
    if isinstance(model, SemanticModel):
        raise InputError(
            f"The model '{name}' tells classes ({', '.join(model.classes)}), no affinities. Use "
            "the job semantic, or a model that train wrote."
        )
    if isinstance(model, AffinityModel) and semantic:
        raise InputError(
            f"The model '{name}' predicts affinities, no classes. Use the job predict or segment, "
            "or a model that semantic train wrote."
        )
    if not isinstance(model, AffinityModel):
        raise InputError(
            f"The model '{name}' is a package whose context is not known, so blocks would not fit "
            "together. Predict with it at once (napari-implicitseg predict), then segment the "
            "affinities."
        )
    return model


def one_channel(volume: Volume, channel: int | None) -> Volume:
    """Return a volume with one channel of several, if one is chosen.

    Raises
    ------
    InputError
        If there is no such channel.
    """
    axis = volume.channel_axis
    if channel is None:
        return volume
    count = 1 if axis is None else volume.shape[axis]
    if channel >= count:
        raise InputError(
            f"channel is {channel}, but '{volume.path}' has {count}: choose 0 to {count - 1}, or "
            "leave it out."
        )
    if axis is None:
        return volume
    key: list[int | slice] = [slice(0, n) for n in volume.shape]
    key[axis] = channel
    data = FileArray(volume.data, tuple(key), path=volume.path, kind="image")
    return replace(volume, data=data, axes=volume.axes[:axis] + volume.axes[axis + 1 :])


def _checked(volume: Volume, network: Model, source: RawSource) -> tuple[Any, tuple[float, ...]]:
    """Return a volume as (C, *S), and its voxel size."""
    data, axis = volume.data, volume.channel_axis
    if axis is None and all(a.kind == "space" for a in volume.axes):
        # The file says that a short last axis is no colour.
        data, axis = with_channel(data), 0
    if isinstance(network, SemanticModel):
        # Transparency is dropped, and grey taken for a colour where the model wants colours.
        name = f"volume '{source.path}'"
        data, axis = with_channels(channels_before(data, axis), network.channels, name), 0
    return checked_volume(
        data, network, spacing=source.spacing, channel_axis=axis, name=f"volume '{source.path}'"
    )


def model_digest(network: Model) -> str:
    """Return a digest of the weights and rules of a model."""
    told = network.classes if isinstance(network, SemanticModel) else network.offsets
    found = hashlib.sha256(repr((told, network.normalisation)).encode())
    for name, values in sorted(network.network.state_dict().items()):
        found.update(name.encode())
        found.update(values.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]
