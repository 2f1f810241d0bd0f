"""What is particular to training classes: plan, measure and model."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.predictors.unet_config import UNetConfig
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.held_parts import split_name
from napari_implicitseg.training.identity import describe_training
from napari_implicitseg.training.image_names import ToldNames
from napari_implicitseg.training.membranes import is_anisotropic
from napari_implicitseg.training.objective import learning_rate
from napari_implicitseg.training.plan import check_norm, common_spacing
from napari_implicitseg.training.semantic_objective import class_loss, class_weights
from napari_implicitseg.training.semantic_patches import ClassSampler
from napari_implicitseg.training.semantic_validation import ClassValidation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_implicitseg.predictors.architectures import Network
    from napari_implicitseg.semantic_config import SemanticConfig
    from napari_implicitseg.training.batches import Batch
    from napari_implicitseg.training.labelled import TrainingVolume
    from napari_implicitseg.training.semantic_examples import ClassExamples

__all__ = ["SemanticTask", "network_axes"]

_DEPTHS = {2: 5, 3: 4}
# Across the lowest level of a patch.
_LEAST_CELLS = 4
_PATCH_PIXELS = {2: 160**2, 3: 48**3}


class SemanticTask:
    """A network for classes; see `Task`.

    Parameters
    ----------
    examples : ClassExamples
    config : SemanticConfig
    unit : str
        Of the pixel size.
    names : sequence of str
        Of all images there are, also of those that could not be read: files that are called
        alike are told apart by their folders. By default of the examples.
    """

    figure = "iou"

    def __init__(
        self,
        examples: ClassExamples,
        config: SemanticConfig,
        unit: str = "",
        *,
        names: Sequence[str] = (),
    ) -> None:
        self.config, self._examples, self._unit = config, examples, unit
        self._ndim = network_axes((*examples.taught, *examples.held), config)
        self._spacing = common_spacing((*examples.taught, *examples.held))[-self._ndim :]
        self.network = _network(examples, config, self._spacing)
        self.patch_shape = _patch(examples.taught, config, self._spacing, self.network)
        check_norm(config, self.patch_shape, self.network)
        self.gradient_norm = math.inf if config.gradient_norm is None else config.gradient_norm
        self._rule = Normalisation()
        everything = (*examples.taught, *examples.held)
        self._told = ToldNames(names or [split_name(v.name)[0] for v in everything])
        self._validation = ClassValidation(
            examples.held, examples.classes, ndim=self._ndim, seed=config.seed, told=self._told
        )
        self._weights: Tensor | None = None

    def start(self) -> None:
        """Weights are random at first."""
        return None

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        if self.config.schedule == "constant":
            return self.config.learning_rate
        return learning_rate(self.config, step)

    def sampler(self, patch_shape: tuple[int, ...]) -> ClassSampler:
        """Patches of a shape."""
        sampler = ClassSampler(
            self._examples.taught,
            patch_shape,
            classes=len(self._examples.classes),
            seed=self.config.seed,
            normalise=self._rule,
            augmentation=_augmentation(self._spacing, self.config),
            balanced_share=self.config.balanced_share,
        )
        if self.config.class_balance:
            pixels = sampler.counts.sum(axis=0).tolist()
            self._weights = torch.tensor(class_weights(pixels, self.config.class_balance))
        return sampler

    def objective(self, logits: Tensor, batch: Batch, step: int) -> Tensor:
        """Loss of a batch."""
        weights = None if self._weights is None else self._weights.to(logits.device)
        return class_loss(logits, batch.labels, self.config, weights)

    def has_validation(self) -> bool:
        """Whether anything is held out to measure on."""
        return bool(self._validation)

    def validate(self, model: SemanticModel, device: torch.device) -> dict[str, Any]:
        """Figures of a model on what is held out; of much of it on a part, see there."""
        return self._validation(model, device)

    def rank(self, row: Mapping[str, Any]) -> float:
        """Place of a validation: the highest mean IoU is best, or the last."""
        return -float(row["iou"] if self.config.keep == "best" else row["step"])

    def told(self, row: Mapping[str, Any]) -> str:
        """Say in words how good a validation was."""
        return f"mean IoU {row['iou']:.3f}, accuracy {row['accuracy']:.3f}"

    def model(
        self,
        network: Network,
        name: str,
        figures: Mapping[str, Any],
        *,
        step: int,
        patch_shape: tuple[int, ...],
    ) -> SemanticModel:
        """Return the model of a network."""
        config, examples = self.config, self._examples
        return SemanticModel(
            network=network,
            classes=examples.classes,
            values=examples.values,
            spacing=self._spacing,
            unit=self._unit,
            normalisation=self._rule,
            name=name,
            training={
                "data": config.data,
                "licence": config.licence,
                "attribution": config.attribution,
                "volumes": [{**v.describe(), "name": self._told(v.name)} for v in examples.taught],
                "held_out": [self._told(v.name) for v in examples.held],
                "patch_shape": list(patch_shape),
                "steps": step,
                "config": asdict(config),
            },
            metrics=dict(figures),
        )

    def identity(self, network: Network) -> dict[str, Any]:
        """Return what must not change between the runs of one training."""
        examples = self._examples
        return describe_training(
            self.config,
            network,
            examples.taught,
            **{"classes found": examples.classes, "values found": examples.values},
        )


def network_axes(volumes: Sequence[TrainingVolume], config: SemanticConfig) -> int:
    """Axes of the network for these images.

    Raises
    ------
    InputError
        If an image has fewer than the options ask for.
    """
    wanted = config.ndim or (len(config.patch_shape) if config.patch_shape else None)
    if wanted is not None:
        small = next((v for v in volumes if len(v.shape) < wanted), None)
        if small is not None:
            name = f"{small.name[:1].upper()}{small.name[1:]}"
            raise InputError(
                f"{name} has {len(small.shape)} axes, shape {small.shape}, but the network "
                f"{wanted}. Give stacks, or train a network with ndim=2 (--ndim 2)."
            )
        return wanted
    flat = any(len(v.shape) == 2 or is_anisotropic(v.voxel_size) for v in volumes)
    return 2 if flat else 3


def _network(
    examples: ClassExamples, config: SemanticConfig, spacing: tuple[float, ...]
) -> UNetConfig:
    """Architecture of the network."""
    depth = config.depth or _usual_depth(examples.taught, config, len(spacing))
    widths = config.widths or tuple(config.width * 2**level for level in range(depth))
    usual = UNetConfig.from_spacing(
        spacing,
        depth=len(widths),
        in_channels=examples.taught[0].channels,
        out_channels=len(examples.classes),
        norm=config.norm,
        residual=config.residual,
    )
    return replace(usual, widths=widths)


def _usual_depth(volumes: Sequence[TrainingVolume], config: SemanticConfig, ndim: int) -> int:
    """Levels of a network that sees far, but no farther than patches reach."""
    patch = config.patch_shape or [
        max(v.shape[axis - ndim] for v in volumes) for axis in range(ndim)
    ]
    # Sections of stacks may be few: they are pooled less.
    room = max(1, min(patch[-2:]) // _LEAST_CELLS)
    return min(_DEPTHS[ndim], room.bit_length())


def _patch(
    volumes: Sequence[TrainingVolume],
    config: SemanticConfig,
    spacing: tuple[float, ...],
    network: UNetConfig,
) -> tuple[int, ...]:
    """Patch as wanted, or of a usual number of pixels, but no larger than the largest image."""
    ndim = len(spacing)
    if config.patch_shape is None:
        sides = [min(spacing) / s for s in spacing]
        length = (_PATCH_PIXELS[ndim] / math.prod(sides)) ** (1 / ndim)
        largest = [max(v.shape[axis - ndim] for v in volumes) for axis in range(ndim)]
        wanted = [min(length * side, n) for side, n in zip(sides, largest, strict=True)]
    else:
        wanted = [float(n) for n in config.patch_shape]
    return tuple(math.ceil(n / s) * s for n, s in zip(wanted, network.stride, strict=True))


def _augmentation(spacing: tuple[float, ...], config: SemanticConfig) -> Augmentation:
    """How patches are varied."""
    if not config.augment:
        return Augmentation.none()
    usual = Augmentation.for_spacing(spacing)
    return replace(usual, rotation=15.0, zoom=0.3, noise_strength=0.2, colour=0.5)
