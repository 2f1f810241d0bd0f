"""Checks of what the functions of the façade are called with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.config import EVIDENCE, FitConfig
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "as_array",
    "check_choice",
    "checked_config",
    "checked_embedding",
    "checked_spacing",
    "image_array",
    "named_source",
]

_SMALLEST = 1e-15
_MOST_ANISOTROPY = 200


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise an InputError unless an option is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        raise InputError(f"{name} is {value!r}; use one of {listed}.")


def as_array(value: Any) -> Any:
    """Return an array-like with shape and dtype; lists and tuples become NumPy arrays."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__"):
        return value
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError("The rows of a list are of different lengths; give an array.") from error


def image_array(value: Any) -> Any:
    """Return the image as an array-like; what is masked in a masked array is unknown."""
    if isinstance(value, np.ma.MaskedArray):
        data = np.array(value.data, value.dtype if value.dtype.kind == "f" else np.float64)
        data[np.ma.getmaskarray(value)] = np.nan
        return data
    return as_array(value)


def named_source(evidence: Any, shape: tuple[int, ...]) -> tuple[str, Any]:
    """Name of the evidence, and the layer if it is one: "given" probabilities or "labels"."""
    if isinstance(evidence, str):
        check_choice("evidence", evidence, EVIDENCE)
        return evidence, None
    layer = as_array(evidence)
    if tuple(layer.shape) != shape:
        raise InputError(
            f"The layer given as evidence has shape {tuple(layer.shape)} but the image has "
            f"{shape}. They must agree."
        )
    return ("labels" if np.dtype(layer.dtype).kind in "iu" else "given"), layer


def checked_embedding(embedding: Any, shape: tuple[int, ...]) -> Any:
    """Check features of every voxel against the image."""
    embedding = as_array(embedding)
    if tuple(embedding.shape[1:]) != shape or len(embedding.shape) != len(shape) + 1:
        raise InputError(
            f"The embedding has shape {tuple(embedding.shape)} but the image has {shape}; needed "
            f"is {('E', *shape)}, features first. Move the axis of the features to the front."
        )
    return embedding


def checked_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return one positive voxel size per axis."""
    if spacing is None:
        return (1.0,) * ndim
    try:
        values = tuple(float(s) for s in np.atleast_1d(np.asarray(spacing, float)))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"spacing is {spacing!r}; give one positive number for each of the {ndim} spatial axes."
        ) from error
    sane = all(_SMALLEST < s < 1 / _SMALLEST for s in values)
    if len(values) != ndim or not sane or max(values) > _MOST_ANISOTROPY * min(values):
        raise InputError(
            f"spacing is {values}; give one positive number for each of the {ndim} spatial axes, "
            f"none more than {_MOST_ANISOTROPY:g} times another. An axis of time takes the size of "
            "another axis."
        )
    return values


def checked_config(config: FitConfig | None) -> FitConfig:
    """Return the options, those by default if none are given."""
    if config is None:
        return FitConfig()
    if not isinstance(config, FitConfig):
        raise InputError(f"config is {config!r}; give a FitConfig, or None.")
    return config
