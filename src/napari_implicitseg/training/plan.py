"""From options and volumes to what a training does: network, edges, patches, parts held out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_implicitseg.affinities.descriptors import descriptor_channels
from napari_implicitseg.affinities.ops import checked_offsets, neighbourhood
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.predictors.cnn import CNNConfig
from napari_implicitseg.predictors.unet import UNetConfig
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.examples import as_volumes, checked_volumes, hold_out
from napari_implicitseg.training.membranes import is_anisotropic
from napari_implicitseg.training.patches import fitting_patch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.config import TrainConfig
    from napari_implicitseg.training.examples import TrainingVolume
    from napari_implicitseg.training.task import LoopOptions

__all__ = ["Plan", "check_norm", "common_spacing", "make_plan"]

# About what two cores do in a fraction of a second.
_PATCH_VOXELS = {2: 192**2, 3: 56**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a training does.

    Attributes
    ----------
    network : UNetConfig or CNNConfig
    offsets : tuple of tuple of int
        In the axes of the network.
    spacing : tuple of float
        Per axis of the network.
    patch_shape : tuple of int
        Per axis of the network.
    augmentation : Augmentation
    taught, held : tuple of TrainingVolume
        What is learned from, and what is validated on.
    start : AffinityModel or None
        Whose weights come first.
    """

    network: UNetConfig | CNNConfig
    offsets: tuple[tuple[int, ...], ...]
    spacing: tuple[float, ...]
    patch_shape: tuple[int, ...]
    augmentation: Augmentation
    taught: tuple[TrainingVolume, ...]
    held: tuple[TrainingVolume, ...]
    start: AffinityModel | None = None

    @property
    def ndim(self) -> int:
        """Axes of the network."""
        return int(self.network.ndim)


def make_plan(volumes: Any, config: TrainConfig, start: AffinityModel | None = None) -> Plan:
    """Decide what a training does.

    Parameters
    ----------
    volumes : volumes, see `checked_volumes`
    config : TrainConfig
    start : AffinityModel, optional
        Whose network and edges are taken over.

    Raises
    ------
    InputError
        If volumes, options and model do not go together.
    """
    listed = as_volumes(volumes)
    channels = None
    if start is not None:
        _check_start(start, config)
        channels = start.channels
    ndim = start.ndim if start is not None else config.ndim or _axes(listed, config)
    checked = checked_volumes(
        listed, ndim=ndim, in_channels=channels, kind=config.labels, zero=config.zero
    )
    spacing = common_spacing(checked)[-ndim:]
    if start is None:
        offsets = _offsets(config, ndim, spacing)
        network = _network(config, ndim, spacing, checked[0].channels, len(offsets))
    else:
        offsets, network = start.offsets, start.network.config
    taught, held = _parts(checked, config.held_out)
    for volume in taught:
        volume.warn_if_swapped()
    patch = config.patch_shape or _usual_patch(spacing, network, taught)
    if len(patch) != ndim:
        raise InputError(
            f"patch_shape is {patch} but the network has {ndim} axes; give one length per axis."
        )
    patch = fitting_patch(patch, taught, stride=network.stride)
    check_norm(config, patch, network)
    return Plan(
        network=network,
        offsets=offsets,
        spacing=spacing,
        patch_shape=patch,
        augmentation=_augmentation(spacing, config),
        taught=taught,
        held=held,
        start=start,
    )


def _check_start(start: AffinityModel, config: TrainConfig) -> None:
    """Refuse models that cannot be trained on."""
    if not isinstance(start, AffinityModel):
        raise InputError(
            f"The model to start from is {type(start).__name__}; give one that this package has "
            "trained."
        )
    outputs = len(start.offsets) + descriptor_channels(start.ndim)
    if config.descriptors and start.network.config.out_channels != outputs:
        raise InputError(
            f"The model {start.name!r} has not learned descriptors; leave them out here, too."
        )


def _augmentation(spacing: tuple[float, ...], config: TrainConfig) -> Augmentation:
    """How patches are varied."""
    if not config.augment:
        return Augmentation.none()
    return replace(Augmentation.for_spacing(spacing), noise_strength=config.noise)


def check_norm(
    config: LoopOptions, patch: tuple[int, ...], network: UNetConfig | CNNConfig
) -> None:
    """Refuse patches of which the lowest level has one voxel, of which there is no variance."""
    cells = math.prod(n // s for n, s in zip(patch, network.stride, strict=True))
    if config.norm == "batch" and cells * config.batch_size < 2:
        raise InputError(
            f"Patches of {patch} leave one voxel at the lowest level of the network, too few for "
            "batch norm. Use larger patches, more of them in a batch, less depth or norm='group'."
        )


def _axes(volumes: Sequence[TrainingVolume], config: TrainConfig) -> int:
    """Axes of the network for these volumes."""
    if config.network == "cnn" or any((v.kind or config.labels) == "membranes" for v in volumes):
        return 2  # What membranes enclose is an object of its section.
    if config.patch_shape is not None:
        return len(config.patch_shape)
    flat = any(len(v.labels.shape) == 2 or is_anisotropic(v.voxel_size) for v in volumes)
    return 2 if flat else 3


def common_spacing(volumes: Sequence[TrainingVolume]) -> tuple[float, ...]:
    """Voxel size all volumes have."""
    first = volumes[0].voxel_size
    for other in volumes[1:]:
        pairs = zip(first[::-1], other.voxel_size[::-1], strict=False)
        if any(not 0.8 < a / b < 1.25 for a, b in pairs):
            raise InputError(
                f"{other.name} has voxels of {other.voxel_size} but {volumes[0].name} of {first}. "
                "One network learns one voxel size: rescale one of them."
            )
    return first


def _offsets(
    config: TrainConfig, ndim: int, spacing: tuple[float, ...]
) -> tuple[tuple[int, ...], ...]:
    """Edges the network predicts."""
    wanted = config.neighbourhood
    if isinstance(wanted, str):
        return neighbourhood(wanted, ndim=ndim, spacing=spacing)
    return checked_offsets(wanted, ndim)


def _network(
    config: TrainConfig, ndim: int, spacing: tuple[float, ...], channels: int, edges: int
) -> UNetConfig | CNNConfig:
    """Architecture of the network."""
    outputs = edges + (descriptor_channels(ndim) if config.descriptors else 0)
    if config.network == "cnn":
        if ndim != 2:
            raise InputError("The network 'cnn' is for 2D affinities; use ndim=2, or a U-Net.")
        features = (*CNNConfig().features[:-1], outputs)
        return CNNConfig(in_channels=channels, features=features, norm=config.norm)
    widths = config.widths or tuple(config.width * 2**level for level in range(config.depth))
    usual = UNetConfig.from_spacing(
        spacing,
        depth=len(widths),
        in_channels=channels,
        out_channels=outputs,
        norm=config.norm,
        # In 3D a second convolution on the way down costs time and halo, and brought nothing.
        convolutions=(1,) * len(widths) if ndim == 3 else (),
        decoder_convolutions=(2,) * (len(widths) - 1) if ndim == 3 else (),
    )
    return replace(usual, widths=widths)


def _parts(
    volumes: Sequence[TrainingVolume], share: float
) -> tuple[tuple[TrainingVolume, ...], tuple[TrainingVolume, ...]]:
    """Split every volume."""
    if not share:
        return tuple(volumes), ()
    parts = [hold_out(volume, share) for volume in volumes]
    return tuple(p[0] for p in parts), tuple(p[1] for p in parts if p[1] is not None)


def _usual_patch(
    spacing: tuple[float, ...],
    network: UNetConfig | CNNConfig,
    volumes: Sequence[TrainingVolume],
) -> tuple[int, ...]:
    """Patch of a usual number of voxels, about as long in all directions, that volumes hold."""
    ndim = len(spacing)
    sides = [min(spacing) / s for s in spacing]
    length = (_PATCH_VOXELS[ndim] / math.prod(sides)) ** (1 / ndim)
    least = [min(v.shape[axis - ndim] for v in volumes) for axis in range(ndim)]
    wanted = [min(length * side, n) for side, n in zip(sides, least, strict=True)]
    return tuple(
        max(step, int(n // step) * step) for n, step in zip(wanted, network.stride, strict=True)
    )
