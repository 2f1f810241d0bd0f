"""What the loop of a training needs to know of what is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from napari_implicitseg.config import NormKind
    from napari_implicitseg.predictors.architectures import Network, NetworkConfig
    from napari_implicitseg.training.batches import Batch, Sampler

__all__ = ["LoopOptions", "Task"]


class LoopOptions(Protocol):
    """Options of any training; see `TrainConfig`."""

    @property
    def steps(self) -> int:
        """Training steps."""

    @property
    def batch_size(self) -> int:
        """Patches per step."""

    @property
    def learning_rate(self) -> float:
        """Of the optimiser, at its highest."""

    @property
    def weight_decay(self) -> float:
        """Of weights that are no biases."""

    @property
    def average(self) -> float:
        """Decay of the moving average of the weights."""

    @property
    def norm(self) -> NormKind:
        """What follows a convolution."""

    @property
    def validate_every(self) -> int:
        """Steps between measurements."""

    @property
    def checkpoint_every(self) -> int:
        """Steps between checkpoints."""

    @property
    def precision(self) -> str:
        """Of convolutions."""

    @property
    def compile(self) -> bool:
        """Whether `torch.compile` is used."""

    @property
    def workers(self) -> int:
        """Threads that prepare patches."""

    @property
    def seed(self) -> int:
        """Makes the training repeatable."""


class Task(Protocol):
    """What is trained: patches, loss, measure, and the model that comes out."""

    @property
    def config(self) -> LoopOptions:
        """Options of the loop."""

    @property
    def network(self) -> NetworkConfig:
        """Architecture."""

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Pixels of a patch, per axis of the network."""

    @property
    def gradient_norm(self) -> float:
        """Length at which gradients are cut; infinite for never."""

    @property
    def figure(self) -> str:
        """Name of the figure that only rows of a validation have."""

    def start(self) -> Mapping[str, Tensor] | None:
        """Weights to begin with, or None for random ones."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""

    def sampler(self, patch_shape: tuple[int, ...]) -> Sampler:
        """Patches of a shape."""

    def objective(self, logits: Tensor, batch: Batch, step: int) -> Tensor:
        """Loss of a batch."""

    def has_validation(self) -> bool:
        """Whether anything is held out to measure on."""

    def validate(self, model: Any, device: torch.device) -> dict[str, Any]:
        """Figures of a model on what is held out."""

    def rank(self, row: Mapping[str, Any]) -> float:
        """Place of a validation among others; the weights of the lowest are kept."""

    def told(self, row: Mapping[str, Any]) -> str:
        """Say in words how good a validation was."""

    def model(
        self,
        network: Network,
        name: str,
        figures: Mapping[str, Any],
        *,
        step: int,
        patch_shape: tuple[int, ...],
    ) -> Any:
        """Return the model of a network."""

    def identity(self, network: Network) -> dict[str, Any]:
        """Return what must not change between the runs of one training, as JSON values."""
