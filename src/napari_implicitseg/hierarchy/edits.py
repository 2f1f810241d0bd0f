"""Corrections as a list that can be replayed and saved.

Corrections name voxels and not ids: ids change with the threshold, and voxels stay where
they are. So a list of edits means the same on another threshold, and nearly the same on
other fragments.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = [
    "Edit",
    "EditFile",
    "Freeze",
    "Merge",
    "Seeds",
    "Split",
    "Voxel",
    "check_lifts",
    "read_edits",
    "shared_voxel",
    "strokes_of",
    "voxels_of",
    "write_edits",
]

FORMAT = "napari-implicitseg/edits/1"

Voxel = Annotated[tuple[int, ...], Field(min_length=2, max_length=3)]
"""Index of a voxel, (y, x) or (z, y, x)."""


class _InWords(ModelMetaclass):
    """Says what is wrong with a document that is made by hand as other functions here do."""

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        try:
            return super().__call__(*args, **fields)
        except ValidationError as error:
            raise InputError(
                f"This is no {cls.__name__}: {_first_mistake(error)}. See its attributes."
            ) from error


class _Strict(BaseModel, metaclass=_InWords):
    """No unknown fields, no conversions of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Merge(_Strict):
    """The objects at these voxels are one.

    Attributes
    ----------
    voxels : tuple of tuple of int
        Two at least.
    lifts : tuple of int
        Earlier splits, by their places in the list, that hold no longer: they had cut what is one
        now.
    """

    kind: Literal["merge"] = "merge"
    voxels: Annotated[tuple[Voxel, ...], Field(min_length=2)]
    lifts: tuple[Annotated[int, Field(ge=0)], ...] = ()


class Split(_Strict):
    """No two of these scribbles are in one object.

    Attributes
    ----------
    scribbles : tuple of tuple of tuple of int
        Voxels of each; two scribbles at least, and no voxel in both.
    """

    kind: Literal["split"] = "split"
    scribbles: Annotated[
        tuple[Annotated[tuple[Voxel, ...], Field(min_length=1)], ...], Field(min_length=2)
    ]

    @model_validator(mode="after")
    def _apart(self) -> Split:
        """Refuse a voxel that two scribbles share."""
        if both := shared_voxel(self.scribbles):
            raise ValueError(f"voxel {both} is in two scribbles")
        return self


class Seeds(_Strict):
    """The voxels of each seed are one object, and no two seeds are in one.

    Attributes
    ----------
    seeds : tuple of tuple of tuple of int
        Voxels of each; one seed at least, and no voxel in two.
    lifts : tuple of int
        As of `Merge`.
    """

    kind: Literal["seeds"] = "seeds"
    seeds: Annotated[
        tuple[Annotated[tuple[Voxel, ...], Field(min_length=1)], ...], Field(min_length=1)
    ]
    lifts: tuple[Annotated[int, Field(ge=0)], ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Seeds:
        """Refuse a voxel that two seeds share."""
        if both := shared_voxel(self.seeds):
            raise ValueError(f"voxel {both} is in two seeds")
        return self


class Freeze(_Strict):
    """An object is right as it is, whatever the threshold.

    Attributes
    ----------
    voxels : tuple of tuple of int
        One of each of its fragments.
    frozen : bool
        False takes that back.
    """

    kind: Literal["freeze"] = "freeze"
    voxels: Annotated[tuple[Voxel, ...], Field(min_length=1)]
    frozen: bool = True


Edit = Annotated[Merge | Split | Freeze | Seeds, Field(discriminator="kind")]
"""Any of the corrections."""


class EditFile(_Strict):
    """A list of edits as it is saved.

    Attributes
    ----------
    shape : tuple of int
        Of the volume, in voxels.
    threshold : float
        At which they were made.
    edits : tuple of Merge, Split, Freeze or Seeds
        In the order they were made.
    """

    format: Literal["napari-implicitseg/edits/1"] = "napari-implicitseg/edits/1"
    shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3)]
    threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    edits: tuple[Edit, ...] = ()

    @model_validator(mode="after")
    def _inside(self) -> EditFile:
        """Refuse voxels that are not in the volume."""
        for number, edit in enumerate(self.edits):
            for voxel in voxels_of(edit):
                if len(voxel) != len(self.shape) or not all(
                    0 <= v < n for v, n in zip(voxel, self.shape, strict=True)
                ):
                    raise ValueError(
                        f"edit {number} names voxel {voxel}, outside a volume of {self.shape}"
                    )
        check_lifts(self.edits)
        return self


def check_lifts(edits: Sequence[Edit]) -> None:
    """Refuse edits that lift what is no earlier split, nor seeds.

    Raises
    ------
    InputError
    """
    for number, edit in enumerate(edits):
        for lifted in edit.lifts if isinstance(edit, Merge | Seeds) else ():
            if lifted >= number or not isinstance(edits[lifted], Split | Seeds):
                raise InputError(
                    f"edit {number} lifts edit {lifted}, which is no split before it; give the "
                    "place of one."
                )


def shared_voxel(lists: Iterable[Iterable[tuple[int, ...]]]) -> tuple[int, ...]:
    """Return the first voxel that is in two of several lists; () if there is none."""
    seen: set[tuple[int, ...]] = set()
    for voxels in lists:
        own = set(voxels)
        if both := seen & own:
            return min(both)
        seen |= own
    return ()


def strokes_of(edit: Edit) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Voxels that an edit names: those of each scribble or seed, or all at once."""
    if isinstance(edit, Split):
        return edit.scribbles
    return edit.seeds if isinstance(edit, Seeds) else (edit.voxels,)


def voxels_of(edit: Edit) -> tuple[tuple[int, ...], ...]:
    """All voxels that an edit names."""
    return tuple(voxel for stroke in strokes_of(edit) for voxel in stroke)


def _first_mistake(error: ValidationError) -> str:
    """Say where the first mistake is, and what it is."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "edits"
    return f"{where}: {first['msg']}"


def write_edits(
    path: str | os.PathLike[str], document: EditFile, *, overwrite: bool = False
) -> None:
    """Save edits as JSON, in one step.

    Raises
    ------
    FileError
        If the file cannot be written, or is there and `overwrite` is false.
    """
    with replace_file(Path(path), overwrite=overwrite) as temporary:
        temporary.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_edits(path: str | os.PathLike[str], *, shape: tuple[int, ...] | None = None) -> EditFile:
    """Read edits.

    Parameters
    ----------
    path : path
    shape : tuple of int, optional
        Of the volume they are for.

    Raises
    ------
    FileError
        If there is no such file, or it is damaged or another tool's.
    InputError
        If they are of a volume of another shape.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8")
        content = json.loads(text)
    except OSError as error:
        raise explain(error, place, "read") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"'{path}' is no JSON ({error}). Save the edits anew.") from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise FileError(
            f"'{path}' is of format {found!r}; needed is {FORMAT!r}. Give a file that the "
            "proofreading has saved."
        )
    try:
        document = EditFile.model_validate_json(text)
    except ValidationError as error:
        raise FileError(
            f"'{path}' holds no valid edits: {_first_mistake(error)}. It was edited or damaged."
        ) from error
    if shape is not None and document.shape != tuple(shape):
        raise InputError(
            f"The edits in '{path}' are of a volume of {document.shape}; this one has "
            f"{tuple(shape)}. Open the volume they were made on."
        )
    return document
