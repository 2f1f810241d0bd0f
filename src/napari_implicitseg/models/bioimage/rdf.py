"""The description of a model that programs of the BioImage.IO read: `rdf.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg.models.card import describe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from napari_implicitseg.models.affinity import AffinityModel

__all__ = [
    "CONFIG_KEY",
    "PackageInfo",
    "checked_unit",
    "halo_of",
    "least_shape",
    "package_description",
]

CONFIG_KEY = "napari-implicitseg"
"""Where in `config` this package keeps what the format has no field for."""

_FORMAT_VERSION = "0.5.4"
_SHORTEST_NAME, _LONGEST_NAME, _LONGEST_DESCRIPTION = 5, 64, 512
_UNITS = {
    "nm": "nanometer",
    "nanometre": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "μm": "micrometer",
    "micron": "micrometer",
    "micrometre": "micrometer",
    "mm": "millimeter",
    "millimetre": "millimeter",
}
_KNOWN_UNITS = ("angstrom", "picometer", "nanometer", "micrometer", "millimeter", "centimeter")

_TURAGA = {
    "text": "Turaga, Briggman, Helmstaedter, Denk, Seung (2009): Maximin affinity learning of "
    "image segmentation",
    "doi": "10.48550/arXiv.0911.5372",
}
_FUNKE = {
    "text": "Funke et al. (2018): Large scale image segmentation with structured loss based deep "
    "learning for connectome reconstruction",
    "doi": "10.1109/TPAMI.2018.2835450",
}
_UNET = {
    2: {
        "text": "Ronneberger, Fischer, Brox (2015): U-Net: convolutional networks for biomedical "
        "image segmentation",
        "doi": "10.1007/978-3-319-24574-4_28",
    },
    3: {
        "text": "Cicek, Abdulkadir, Lienkamp, Brox, Ronneberger (2016): 3D U-Net: learning dense "
        "volumetric segmentation from sparse annotation",
        "doi": "10.1007/978-3-319-46723-8_49",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageInfo:
    """What a package says of itself; what is None is taken from the model.

    Attributes
    ----------
    name : str or None
        5 to 64 letters, digits, spaces, and ``_+-()``.
    description : str or None
        One or two sentences.
    authors : tuple of str or mapping
        Names, or mappings with "name" and such as "affiliation", "orcid", "github_user".
    licence : str or None
        Of the model, an SPDX identifier such as "CC-BY-4.0"; None takes that of the data
        it was trained on.
    citations : tuple of mapping
        With "text" and "doi" or "url", besides the papers of network and loss.
    tags : tuple of str
        Besides those of network and task.
    documentation : str or None
        The model's card in Markdown.
    timestamp : datetime or None
        None is now, or what the variable SOURCE_DATE_EPOCH says.
    """

    name: str | None = None
    description: str | None = None
    authors: tuple[str | Mapping[str, str], ...] = ("napari-implicitseg developers",)
    licence: str | None = None
    citations: tuple[Mapping[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    documentation: str | None = None
    timestamp: datetime | None = None


def package_description(
    model: AffinityModel,
    info: PackageInfo,
    *,
    licence: str,
    timestamp: str,
    weights: Mapping[str, Any],
    attachments: list[dict[str, str]],
) -> dict[str, Any]:
    """Describe a package as `rdf.yaml` has it.

    Parameters
    ----------
    model : AffinityModel
    info : PackageInfo
    licence : str
        SPDX identifier.
    timestamp : str
        ISO 8601.
    weights : mapping
        By format.
    attachments : list of dict
        The files of the model itself.

    Returns
    -------
    dict
        Of what YAML knows. The files "README.md", "test_input.npy" and
        "test_output.npy" belong to it.
    """
    config = model.network.config
    kind = "U-Net" if config.kind == "unet" else "CNN"
    text = info.description or describe(model)
    return {
        "format_version": _FORMAT_VERSION,
        "type": "model",
        "name": _name(info.name or model.name),
        "description": text[:_LONGEST_DESCRIPTION],
        "authors": [{"name": a} if isinstance(a, str) else dict(a) for a in info.authors],
        "cite": [*_citations(model), *map(dict, info.citations)],
        "license": licence,
        "tags": list(dict.fromkeys([*_tags(model), *info.tags])),
        "timestamp": timestamp,
        "documentation": "README.md",
        "inputs": [_input(model)],
        "outputs": [_output(model)],
        "weights": dict(weights),
        "attachments": attachments,
        "config": {
            "bioimageio": {
                "architecture_type": f"{model.ndim}D {kind}",
                "model_parameter_count": config.parameter_count,
            },
            CONFIG_KEY: {
                "kind": "affinities",
                "offsets": [list(offset) for offset in model.offsets],
                "attached": True,
            },
        },
    }


def halo_of(model: AffinityModel) -> tuple[int, ...]:
    """Voxels to leave off at both ends of an output, per axis; multiples of the stride."""
    config = model.network.config
    return tuple(-(-h // s) * s for h, s in zip(config.halo, config.stride, strict=True))


def least_shape(model: AffinityModel) -> tuple[int, ...]:
    """Smallest input of which something is left without the halo."""
    stride = model.network.config.stride
    return tuple(2 * h + s for h, s in zip(halo_of(model), stride, strict=True))


def checked_unit(unit: str) -> str | None:
    """Return a unit of length as the BioImage.IO spells it; None if it has no such."""
    found = _UNITS.get(unit.strip().casefold(), unit.strip().casefold())
    return found if found in _KNOWN_UNITS else None


def _input(model: AffinityModel) -> dict[str, Any]:
    """Describe the image that goes in."""
    names = ["raw"] if model.channels == 1 else [f"raw_{i}" for i in range(model.channels)]
    stride = model.network.config.stride
    axes = [
        {**axis, "size": {"min": least, "step": step}}
        for axis, least, step in zip(_axes(model), least_shape(model), stride, strict=True)
    ]
    return {
        "id": "raw",
        "description": "Grey levels of any range.",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *axes],
        "data": {"type": "float32"},
        "preprocessing": _preprocessing(model),
        "test_tensor": {"source": "test_input.npy"},
    }


def _output(model: AffinityModel) -> dict[str, Any]:
    """Describe the affinities that come out."""
    axes = []
    for axis, halo in zip(_axes(model), halo_of(model), strict=True):
        size = {"tensor_id": "raw", "axis_id": axis["id"]}
        axes.append({**axis, "size": size, **({"halo": halo} if halo else {})})
    names = [_channel_name(offset) for offset in model.offsets]
    return {
        "id": "affinities",
        "description": "Whether a voxel and the one at the channel's offset are of one object.",
        "axes": [{"type": "batch"}, {"type": "channel", "channel_names": names}, *axes],
        "data": {"type": "float32", "range": [0.0, 1.0]},
        "test_tensor": {"source": "test_output.npy"},
    }


def _axes(model: AffinityModel) -> list[dict[str, Any]]:
    """Spatial axes with their voxel size."""
    unit = checked_unit(model.unit)
    size = {"unit": unit} if unit else {}
    names = "zyx"[3 - model.ndim :]
    return [
        {"type": "space", "id": name, "scale": float(step), **size}
        for name, step in zip(names, model.spacing, strict=True)
    ]


def _preprocessing(model: AffinityModel) -> list[dict[str, Any]]:
    """Say the model's normalisation in the steps the format knows."""
    rule = model.normalisation
    if rule.kind == "percentiles":
        axes = list("zyx"[3 - model.ndim :])
        share = {"axes": axes, "min_percentile": rule.low, "max_percentile": rule.high}
        return [
            {"id": "scale_range", "kwargs": share},
            {"id": "scale_linear", "kwargs": {"gain": 2.0, "offset": -1.0}},
        ]
    gain = 2 / (rule.high - rule.low)
    return [{"id": "scale_linear", "kwargs": {"gain": gain, "offset": -gain * rule.low - 1}}]


def _channel_name(offset: tuple[int, ...]) -> str:
    """Name an offset as an identifier: (-1, 0, 3) is "offset_z_minus_1_x_3"."""
    axes = zip("zyx"[3 - len(offset) :], offset, strict=True)
    parts = [f"{name}_{'minus_' if step < 0 else ''}{abs(step)}" for name, step in axes if step]
    return "_".join(["offset", *parts])


def _name(name: str) -> str:
    """Name with the characters that are allowed."""
    clean = re.sub(r"[^A-Za-z0-9_+\-() ]+", "-", name).strip("- ") or "affinities"
    if len(clean) < _SHORTEST_NAME:
        clean = f"{clean} affinities"
    return clean[:_LONGEST_NAME]


def _tags(model: AffinityModel) -> list[str]:
    """Words by which a model is found."""
    kind = {"unet": "unet", "cnn": "cnn"}[model.network.config.kind]
    return ["affinities", "segmentation", "instance-segmentation", kind, f"{model.ndim}d"]


def _citations(model: AffinityModel) -> list[dict[str, str]]:
    """List the papers that network and loss are from."""
    config = model.training.get("config")
    loss = str(config.get("loss", "")) if isinstance(config, dict) else ""
    papers = [_TURAGA]
    if loss in ("", "malis"):
        papers.append(_FUNKE)
    if model.network.config.kind == "unet":
        papers.append(_UNET[model.ndim])
    return [dict(paper) for paper in papers]
