"""What makes a training the one it is: it goes on only under the same options and volumes."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.predictors.architectures import describe_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_implicitseg.config import TrainConfig
    from napari_implicitseg.predictors.architectures import Network
    from napari_implicitseg.training.labelled import TrainingVolume
    from napari_implicitseg.training.plan import Plan

__all__ = ["check_same", "describe_training", "identify"]

# Options that change how a training runs but not what comes out.
_OF_NO_EFFECT = ("workers", "checkpoint_every", "data", "licence", "attribution")
_LOOKED_AT = 64


def identify(plan: Plan, config: TrainConfig, network: Network) -> dict[str, Any]:
    """Describe a training as JSON values.

    Parameters
    ----------
    plan : Plan
    config : TrainConfig
    network : CNN or UNet
    """
    start = "" if plan.start is None else _digest(plan.start.network)
    return describe_training(config, network, plan.taught, offsets=plan.offsets, start=start)


def describe_training(
    config: Any, network: Network, volumes: Sequence[TrainingVolume], **more: Any
) -> dict[str, Any]:
    """Describe any training as JSON values.

    Parameters
    ----------
    config : dataclass
        Its options.
    network : CNN or UNet
    volumes : sequence of TrainingVolume
        What is learned from.
    **more
        What else must not change.
    """
    options = {k: v for k, v in asdict(config).items() if k not in _OF_NO_EFFECT}
    return {
        **{f"option {name}": _plain(value) for name, value in options.items()},
        "network": describe_network(network),
        **{name: _plain(value) for name, value in more.items()},
        **{f"volume {i}": _volume(v) for i, v in enumerate(volumes, start=1)},
    }


def check_same(now: Mapping[str, Any], before: Mapping[str, Any], out: Path) -> None:
    """Refuse to go on with a training that was another.

    Raises
    ------
    FileError
        Names the first difference.
    """
    gone = [name for name in before if name.startswith("volume ") and name not in now]
    for name in (*now, *gone):
        if before.get(name) != now.get(name):
            raise FileError(
                f"The training in '{out}' had {name} = {before.get(name)!r}, now it is "
                f"{now.get(name)!r}. Resume it with what it had, or train into another folder."
            )


def _volume(volume: TrainingVolume) -> dict[str, Any]:
    """Tell a volume from others; of its voxels, which may be in a file, some are read."""
    digest = hashlib.sha256()
    middle = tuple(slice(n // 2, min(n, n // 2 + _LOOKED_AT)) for n in volume.shape)
    for values in (volume.read_raw(middle), volume.read_labels(middle)):
        digest.update(np.ascontiguousarray(values).tobytes())
    about = {k: v for k, v in volume.describe().items() if k != "name"}
    return {**about, "voxels": digest.hexdigest()[:16]}


def _digest(network: Network) -> str:
    """Tell weights from others."""
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Return tuples as the lists that JSON makes of them."""
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
