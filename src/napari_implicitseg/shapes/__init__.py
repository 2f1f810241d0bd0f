"""Implicit shapes: functions from coordinates to a level, `level <= 0` is inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError
from napari_implicitseg.shapes.base import ImplicitShape
from napari_implicitseg.shapes.certificate import Certificate, certify
from napari_implicitseg.shapes.clipped import ClippedShape
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.convex import ConvexNetwork, Polytope
from napari_implicitseg.shapes.free import FreeShape
from napari_implicitseg.shapes.published import PublishedShape
from napari_implicitseg.shapes.stack import SliceStack
from napari_implicitseg.shapes.star import StarShape
from napari_implicitseg.shapes.symmetric import SymmetricShape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Certificate",
    "ClippedShape",
    "ConnectedShape",
    "ConvexNetwork",
    "FreeShape",
    "ImplicitShape",
    "Polytope",
    "PublishedShape",
    "SliceStack",
    "StarShape",
    "SymmetricShape",
    "build_shape",
    "certify",
]

_KINDS: dict[str, type[ImplicitShape]] = {
    cls.kind: cls
    for cls in (
        ClippedShape,
        ConnectedShape,
        ConvexNetwork,
        FreeShape,
        Polytope,
        PublishedShape,
        SliceStack,
        StarShape,
        SymmetricShape,
    )
}


def build_shape(description: dict[str, Any], tensors: dict[str, Tensor]) -> ImplicitShape:
    """Build a shape from `description()` and `state_dict()` of the one that was saved.

    Raises
    ------
    FileError
        If the kind is unknown to this version, or a tensor is missing.
    """
    kind = description.get("kind")
    if kind not in _KINDS:
        raise FileError(
            f"The file holds a shape of kind {kind!r}; this version knows {sorted(_KINDS)}. "
            "Open it with the version that wrote it."
        )
    try:
        return _KINDS[kind].from_tensors(description, tensors)
    except KeyError as error:
        raise FileError(f"The file's {kind} shape lacks {error}; it is damaged.") from error
