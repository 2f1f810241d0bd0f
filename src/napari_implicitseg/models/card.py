"""Model cards: what a model is, what it learned from, how good it is, who made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_implicitseg.affinities.ops import neighbourhood

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_implicitseg.models.affinity import AffinityModel

__all__ = ["describe", "model_card"]

_ORIGIN = (
    ("data", "Data"),
    ("licence", "Licence of the data"),
    ("attribution", "Attribution"),
    ("steps", "Training steps"),
    ("held_out", "Held out"),
    ("command", "Made by"),
)
# Options of a training that are told elsewhere on the card, or say nothing about the model.
_ELSEWHERE = frozenset(
    {"data", "licence", "attribution", "unit", "workers", "checkpoint_every", "compile"}
)


def model_card(model: AffinityModel) -> str:
    """Write the card of a model.

    Parameters
    ----------
    model : AffinityModel

    Returns
    -------
    str
        Markdown. What is not known is said to be so.
    """
    parts = [
        f"# {model.name or 'Affinity model'}",
        f"{describe(model)} Values are from 0 to 1; 1 means that both voxels belong to one object.",
        "## Network",
        _listed(_network(model)),
        "## Training data",
        _listed(_origin(model.training)),
        *_volumes(model.training),
        *_options(model.training),
        "## Validation",
        _validation(model.metrics),
        "Measure it on your own data before you trust it: label a part of a volume that is like "
        "the others, train or predict, and compare.",
        "## Limits",
        "It knows voxels of about the size above and images like those it learned from. Rescale "
        "what is finer or coarser; train anew for another way of staining or imaging.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(model: AffinityModel) -> str:
    """Say in one sentence what a model does.

    Parameters
    ----------
    model : AffinityModel
    """
    kind = {"cnn": "convolutional network", "unet": "U-Net"}[model.network.config.kind]
    count = len(model.offsets)
    which = "nearest neighbours" if _is_direct(model) else f"{count} neighbours"
    return (
        f"A {model.ndim}D {kind} that predicts affinities of each voxel with its {which}: whether "
        "both belong to one object."
    )


def _is_direct(model: AffinityModel) -> bool:
    return model.offsets == neighbourhood("direct", ndim=model.ndim)


def _network(model: AffinityModel) -> Iterable[tuple[str, str]]:
    """Tell what a network takes and gives."""
    config, rule = model.network.config, model.normalisation
    size = " x ".join(f"{length:g}" for length in model.spacing)
    grey = f"percentiles {rule.low:g} and {rule.high:g} of a channel become -1 and 1"
    if rule.kind == "range":
        grey = f"{rule.low:g} and {rule.high:g} become -1 and 1"
    yield "Axes", "z, y, x" if model.ndim == 3 else "y, x; stacks are taken section by section"
    yield "Channels of the image", str(model.channels)
    yield "Voxel size", f"{size} {model.unit}".strip()
    yield "Offsets", ", ".join(map(str, model.offsets))
    yield "Grey levels", grey
    yield "Parameters", f"{config.parameter_count:,}"
    yield "Receptive field", f"{' x '.join(map(str, config.receptive_field))} voxels"


def _origin(training: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Tell where a model comes from."""
    for key, title in _ORIGIN:
        value = training.get(key)
        if value or key in ("data", "licence"):
            yield title, _shown(value) if value else "not recorded"


def _volumes(training: Mapping[str, Any]) -> list[str]:
    """List the volumes a model learned from."""
    volumes = training.get("volumes")
    if not isinstance(volumes, list | tuple):
        return []
    lines = []
    for number, volume in enumerate(volumes, start=1):
        if isinstance(volume, dict):
            name = volume.get("name") or f"volume {number}"
            lines.append((str(name), f"shape {_shown(volume.get('shape', 'unknown'))}"))
    return [_listed(lines)]


def _options(training: Mapping[str, Any]) -> list[str]:
    """List the options of a training."""
    config = training.get("config")
    if not isinstance(config, dict):
        return []
    told = [(k, _shown(v)) for k, v in config.items() if k not in _ELSEWHERE and v is not None]
    return ["### Options", _listed((f"`{name}`", value) for name, value in told)]


def _validation(metrics: Mapping[str, Any]) -> str:
    """Tabulate figures measured on what a model has not seen."""
    figures = [(k, v) for k, v in metrics.items() if not isinstance(v, dict | list | tuple)]
    if not figures:
        return "No figures were recorded."
    rows = [f"| {name} | {_shown(value)} |" for name, value in figures]
    return "\n".join(
        ["On data held out from training:", "", "| figure | value |", "|---|---|", *rows]
    )


def _listed(items: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in items)


def _shown(value: Any) -> str:
    """Show a value as a person would write it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return _sequence(value)
    return " ".join(str(value).split())


def _sequence(values: Sequence[Any]) -> str:
    return ", ".join(f"({_shown(v)})" if isinstance(v, list | tuple) else _shown(v) for v in values)
