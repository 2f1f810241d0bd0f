"""Networks by description: what a model's JSON may name, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig

__all__ = ["ARCHITECTURES", "Network", "NetworkConfig", "build_network", "describe_network"]

if TYPE_CHECKING:
    from torch import nn

NetworkConfig: TypeAlias = CNNConfig | UNetConfig
Network: TypeAlias = CNN | UNet

ARCHITECTURES: Mapping[str, tuple[type[NetworkConfig], type[Network]]] = {
    CNNConfig.kind: (CNNConfig, CNN),
    UNetConfig.kind: (UNetConfig, UNet),
}
"""Configuration and network by name."""

# What fits into the memory of a laptop; a damaged description can ask for anything.
_MOST_PARAMETERS = 500_000_000


def build_network(description: Mapping[str, Any], *, seed: int = 0) -> Network:
    """Build a network, with random weights, from its description.

    Parameters
    ----------
    description : Mapping
        As `describe_network` returns it: "architecture" and the fields of its
        configuration. Nothing in it is executed.
    seed : int

    Returns
    -------
    CNN or UNet

    Raises
    ------
    InputError
        If a field is missing, unknown or wrong; it is named.
    """
    if not isinstance(description, Mapping):
        raise InputError(
            f"The description of a network is of type {type(description).__name__}; needed is a "
            "mapping with 'architecture' and its fields."
        )
    fields = dict(description)
    name = fields.pop("architecture", None)
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise InputError(
            f"architecture is {str(name)[:80]!r}; known are {', '.join(ARCHITECTURES)}. "
            "It may come from a newer version."
        )
    config_type, network_type = ARCHITECTURES[name]
    config = config_type.from_json(fields)
    if config.parameter_count > _MOST_PARAMETERS:
        raise InputError(
            f"The network has {config.parameter_count:,} parameters; at most "
            f"{_MOST_PARAMETERS:,} are built. Use fewer features or smaller kernels."
        )
    return network_type(config, seed=seed)  # type: ignore[arg-type]


def describe_network(network: nn.Module) -> dict[str, Any]:
    """Describe a network as JSON knows it, without its weights.

    Raises
    ------
    InputError
        If its architecture is not one of `ARCHITECTURES`.
    """
    if not isinstance(network, CNN | UNet):
        raise InputError(
            f"A {type(network).__name__} cannot be described; known are "
            f"{', '.join(ARCHITECTURES)}. Build the network by build_network."
        )
    return {"architecture": network.config.kind, **network.config.to_json()}
