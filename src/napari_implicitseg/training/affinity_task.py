"""What is particular to training affinities."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.training.identity import identify
from napari_implicitseg.training.journal import voi, voi_in_words
from napari_implicitseg.training.objective import Objective, learning_rate
from napari_implicitseg.training.patches import PatchSampler
from napari_implicitseg.training.validation import Validation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

    from napari_implicitseg.config import TrainConfig
    from napari_implicitseg.predictors.architectures import Network, NetworkConfig
    from napari_implicitseg.training.plan import Plan

__all__ = ["AffinityTask"]


class AffinityTask:
    """A network for affinities; see `Task`.

    Parameters
    ----------
    plan : Plan
    config : TrainConfig
    objective : Objective
    """

    gradient_norm = 5.0
    figure = "voi"

    def __init__(self, plan: Plan, config: TrainConfig, objective: Objective) -> None:
        self.config, self.objective = config, objective
        self.patch_shape = plan.patch_shape
        self._plan = plan
        self._validation = Validation(plan.held, plan.ndim)
        self._rule = Normalisation() if plan.start is None else plan.start.normalisation

    @property
    def network(self) -> NetworkConfig:
        """Architecture."""
        return self._plan.network

    def start(self) -> Mapping[str, Tensor] | None:
        """Weights of the model it starts from."""
        return None if self._plan.start is None else self._plan.start.network.state_dict()

    def rate(self, step: int) -> float:
        """Learning rate of a step, from 0."""
        return learning_rate(self.config, step)

    def sampler(self, patch_shape: tuple[int, ...]) -> PatchSampler:
        """Patches of a shape."""
        return PatchSampler(
            self._plan.taught,
            patch_shape,
            seed=self.config.seed,
            augmentation=self._plan.augmentation,
            border_share=self.config.border_share,
            normalise=self._rule,
        )

    def has_validation(self) -> bool:
        """Whether anything is held out to measure on."""
        return bool(self._validation)

    def validate(self, model: AffinityModel, device: torch.device) -> dict[str, float]:
        """Figures of a model on what is held out."""
        return self._validation(model, device)

    def rank(self, row: Mapping[str, Any]) -> float:
        """Place of a validation: the lowest VOI is best."""
        return voi(row)

    def told(self, row: Mapping[str, Any]) -> str:
        """Say in words how good a validation was."""
        return voi_in_words(row)

    def model(
        self,
        network: Network,
        name: str,
        figures: Mapping[str, Any],
        *,
        step: int,
        patch_shape: tuple[int, ...],
    ) -> AffinityModel:
        """Return the model of a network."""
        config, plan = self.config, self._plan
        return AffinityModel(
            network=network,
            offsets=plan.offsets,
            spacing=plan.spacing,
            unit=config.unit,
            normalisation=self._rule,
            name=name,
            training={
                "data": config.data,
                "licence": config.licence,
                "attribution": config.attribution,
                "volumes": [v.describe() for v in plan.taught],
                "held_out": [v.describe()["name"] for v in plan.held],
                "patch_shape": list(patch_shape),
                "started_from": "" if plan.start is None else plan.start.name,
                "steps": step,
                "config": asdict(config),
            },
            metrics=dict(figures),
        )

    def identity(self, network: Network) -> dict[str, Any]:
        """Return what must not change between the runs of one training."""
        return identify(self._plan, self.config, network)
