"""What `model.json` says, and how strictly it is read."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_implicitseg.errors import FileError

__all__ = [
    "FORMAT",
    "AnyDocument",
    "ModelDocument",
    "NormalisationDocument",
    "SemanticDocument",
    "WeightsDocument",
    "parse_document",
]

FORMAT = "napari-implicitseg/model/1"
_MOST_OFFSETS = 256
_MOST_CLASSES = 255

_Offset = Annotated[tuple[int, ...], Field(min_length=2, max_length=3)]
_Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    """No unknown fields, no conversions of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NormalisationDocument(_Strict):
    """Of grey levels; see `Normalisation`."""

    kind: Literal["percentiles", "range"]
    low: float
    high: float


class WeightsDocument(_Strict):
    """The file of the weights."""

    file: Literal["weights.safetensors"] = "weights.safetensors"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Network(_Strict):
    """A trained network, all but its weights and what it predicts.

    `training` tells what the network learned from and by which options, `metrics` how
    good it was on what it had not seen; both are for people and free in form.
    """

    format: Literal["napari-implicitseg/model/1"] = "napari-implicitseg/model/1"
    name: Annotated[str, Field(max_length=200)] = ""
    package_version: str
    architecture: dict[str, Any]
    spacing: Annotated[tuple[_Size, ...], Field(min_length=2, max_length=3)]
    unit: Annotated[str, Field(max_length=50)] = ""
    normalisation: NormalisationDocument
    training: dict[str, Any]
    metrics: dict[str, Any]
    weights: WeightsDocument


class ModelDocument(_Network):
    """A network that predicts affinities."""

    kind: Literal["affinities"] = "affinities"
    offsets: Annotated[tuple[_Offset, ...], Field(min_length=1, max_length=_MOST_OFFSETS)]


class SemanticDocument(_Network):
    """A network that predicts classes: their names, and what stood for them in the masks."""

    kind: Literal["classes"] = "classes"
    classes: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=100)], ...],
        Field(min_length=2, max_length=_MOST_CLASSES),
    ]
    values: Annotated[tuple[int, ...], Field(min_length=2, max_length=_MOST_CLASSES)]


AnyDocument: TypeAlias = ModelDocument | SemanticDocument


def parse_document(text: str, path: object) -> AnyDocument:
    """Read `model.json`.

    Parameters
    ----------
    text : str
    path : path
        For messages.

    Raises
    ------
    FileError
        If it is no JSON, of another format, or a field is missing or wrong; names the first.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileError(f"'{path}' is no JSON ({error}). Train or copy the model anew.") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise FileError(
            f"'{path}' is of format {found!r}; needed is {FORMAT!r}. It is another tool's, or of "
            "a newer version of this package: update it."
        )
    try:
        if content.get("kind") == "classes":
            return SemanticDocument.model_validate_json(text)
        return ModelDocument.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FileError(
            f"'{path}' is no valid model: {where}: {first['msg']}. It was edited or damaged; "
            "train or copy the model anew."
        ) from error
