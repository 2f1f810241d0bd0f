"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli._run import parse_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg._types import TimeChoice
    from napari_implicitseg.config import FitConfig

__all__ = [
    "BackboneOption",
    "Coupling",
    "CouplingOption",
    "Device",
    "EmbeddingOption",
    "Family",
    "Flow",
    "FlowOption",
    "Json",
    "Level",
    "Model",
    "ModelOption",
    "OmeZarr",
    "OmeZarrOption",
    "OrderOption",
    "Overwrite",
    "PerSlice",
    "SaveResult",
    "Schedule",
    "ScheduleOption",
    "ScribbleShape",
    "ScribbleShapeOption",
    "Seed",
    "Shape",
    "ShapeOption",
    "Spacing",
    "StepsOption",
    "SymmetricFamilyOption",
    "Symmetry",
    "SymmetryOption",
    "TeacherOption",
    "Time",
    "TimePoint",
    "Unit",
    "Upsampler",
    "UpsamplerOption",
    "UpsamplerScaleOption",
    "WeightsOption",
    "embedding_cache",
    "fit_config",
    "unused",
]


class Shape(StrEnum):
    """Promises about the shape."""

    CONVEX = "convex"
    CONNECTED = "connected"
    STAR = "star"
    SYMMETRIC = "symmetric"
    FREE = "free"


class ScribbleShape(StrEnum):
    """Promises about the shape, and the evidence without any."""

    CONVEX = "convex"
    CONNECTED = "connected"
    STAR = "star"
    SYMMETRIC = "symmetric"
    FREE = "free"
    NONE = "none"


class Model(StrEnum):
    """Models of a convex shape."""

    POLYTOPE = "polytope"
    ICNN = "icnn"


class Flow(StrEnum):
    """Maps behind a connected shape."""

    LATTICE = "lattice"
    REALNVP = "realnvp"


class Family(StrEnum):
    """Shapes that can be made symmetric."""

    CONVEX = "convex"
    CONNECTED = "connected"
    STAR = "star"
    FREE = "free"


class Symmetry(StrEnum):
    """Kinds of symmetry."""

    MIRROR = "mirror"
    ROTATION = "rotation"


class Coupling(StrEnum):
    """How evidence and shape are fitted."""

    SEQUENTIAL = "sequential"
    JOINT = "joint"


class Schedule(StrEnum):
    """How shapes are trained."""

    DEFAULT = "default"
    PATH_CONNECTEDNESS = "path-connectedness"


class Upsampler(StrEnum):
    """Networks that make outlines precise."""

    ENCODER_DECODER = "encoder-decoder"
    ORIGINAL = "original"


class OmeZarr(StrEnum):
    """OME-Zarr versions that can be written."""

    V05 = "0.5"
    V04 = "0.4"


ScribbleShapeOption = Annotated[
    ScribbleShape,
    typer.Option(
        help="What every mask must be: convex, connected (one piece), star (every voxel seen "
        "from a centre), symmetric (see --symmetry), free (no promise), or none (no shape is "
        "fitted: the evidence itself)."
    ),
]
ShapeOption = Annotated[
    Shape,
    typer.Option(
        help="What every mask must be: convex, connected (one piece), star (every voxel seen "
        "from a centre), symmetric (see --symmetry), or free (no promise)."
    ),
]
ModelOption = Annotated[
    Model,
    typer.Option(help="Of convex shapes: polytope is fast; icnn is an input-convex network."),
]
FlowOption = Annotated[
    Flow,
    typer.Option(
        help="Of connected shapes: lattice keeps the mask one piece in the image; realnvp, of "
        "the paper, may need joining."
    ),
]
SymmetricFamilyOption = Annotated[
    Family, typer.Option(help="Of symmetric shapes: what is made symmetric.")
]
SymmetryOption = Annotated[
    Symmetry, typer.Option(help="Of symmetric shapes: mirrors, or turns about a centre.")
]
OrderOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Of symmetric shapes: number of mirrors, or of equal turns that make a full one. "
        "[default: 1 mirror, 2 turns]",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Gradient steps; polytopes take none. [default: 120 icnn and star, 440 connected, "
        "200 symmetric and free; fewer for many objects]",
    ),
]
CouplingOption = Annotated[
    Coupling,
    typer.Option(
        help="sequential: evidence, then shape. joint: a network and the shape learn from each "
        "other; takes longer, and is better on some images."
    ),
]
ScheduleOption = Annotated[
    Schedule,
    typer.Option(
        help="path-connectedness trains the networks of the paper of that name by its schedule, "
        "for comparison: minutes, and no promise is kept."
    ),
]
TeacherOption = Annotated[
    bool, typer.Option(help="Of that schedule: whether a network per pixel guides the shape.")
]
UpsamplerOption = Annotated[
    Upsampler,
    typer.Option(help="Of --evidence upsampler: encoder-decoder, or the original, 10 to 100 px."),
]
UpsamplerScaleOption = Annotated[
    int,
    typer.Option(help="Of --evidence upsampler: pixels per cell of the outline: 4, 8 or 16."),
]
EmbeddingOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Features of every voxel for the networks, features first: TIFF, zarr or OME-Zarr.",
    ),
]
BackboneOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Make such features by this network of timm (extra semantic), pretrained unless "
        "there are --weights. They are kept in the cache folder of the user.",
    ),
]
WeightsOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Weights for --backbone (safetensors, pth).")
]
Spacing = Annotated[
    Any,
    typer.Option(
        parser=parse_numbers,
        metavar="Z,Y,X",
        help="Voxel size per axis, in --unit; one number serves all axes. "
        "[default: the file's, else 1]",
    ),
]
Unit = Annotated[
    str | None,
    typer.Option(help="Unit of the voxel size, such as nm or µm. [default: the file's]"),
]
Level = Annotated[
    int, typer.Option(min=0, help="Level of a multiscale image; 0 is full resolution.")
]


def _time(text: str) -> TimeChoice:
    """Read a time point."""
    if text == "all":
        return "all"
    if not text.isdecimal():
        raise typer.BadParameter(f"'{text}' is neither a whole number nor all.")
    return int(text)


Time = Annotated[
    Any,
    typer.Option(
        parser=_time,
        metavar="<int|all>",
        help="Time point to take, from 0; needed if there are several. all: time is an axis like "
        "y and x, and an object of a 2D time series one shape in space and time. "
        "[default: the one]",
    ),
]
TimePoint = Annotated[
    int | None,
    typer.Option("--time", min=0, help="Time point to take, from 0; needed if there are several."),
]
PerSlice = Annotated[
    bool, typer.Option("--per-slice", help="Take each z slice, or frame, by itself, in 2D.")
]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Makes the result repeatable.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:0, mps.")]
OmeZarrOption = Annotated[OmeZarr, typer.Option(help="Version of an OME-Zarr written on its own.")]
SaveResult = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Also save the fitted shapes, for FitResult.load (safetensors)."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]


def fit_config(
    context: typer.Context,
    *,
    shape: Shape | ScribbleShape,
    flow: Flow,
    symmetric_family: Family,
    symmetry: Symmetry,
    order: int | None,
    steps: int | None,
    per_slice: bool,
    model: Model = Model.POLYTOPE,
) -> tuple[FitConfig, list[str]]:
    """Return the options of the models, and warnings about those that do nothing.

    Parameters
    ----------
    context : typer.Context
        Knows which options were given.
    shape, flow, symmetric_family, symmetry, order, steps, per_slice, model
        As given or by default; without an order it is the least there is.

    Raises
    ------
    InputError
        If they do not go together.
    """
    from napari_implicitseg.config import FitConfig

    symmetric = shape == Shape.SYMMETRIC
    connected = shape == Shape.CONNECTED or (symmetric and symmetric_family is Family.CONNECTED)
    planes = shape == Shape.CONVEX and model is Model.POLYTOPE
    descends = not planes and shape != ScribbleShape.NONE
    if not symmetric:
        order = None
    config = FitConfig(
        model=model.value,
        per_slice=per_slice,
        steps=steps,
        flow=flow.value,
        symmetric_family=symmetric_family.value,
        symmetry=symmetry.value,
        order=order,
    )
    warnings = [
        *unused(context, ("model",), shape == Shape.CONVEX, "--shape convex"),
        *unused(context, ("flow",), connected, "--shape connected"),
        *unused(context, ("symmetric_family", "symmetry", "order"), symmetric, "--shape symmetric"),
        *unused(context, ("steps",), descends, "shapes that are fitted by gradient descent"),
    ]
    return config, warnings


def embedding_cache() -> Path:
    """Folder for embeddings, where the system keeps the caches of a user."""
    from platformdirs import user_cache_path

    return user_cache_path("napari-implicitseg") / "embeddings"


def unused(context: typer.Context, names: Sequence[str], used: bool, needed: str) -> list[str]:
    """Say which options were given but have no effect."""
    if used:
        return []
    return [
        f"--{name.replace('_', '-')} does nothing here: it is for {needed}."
        for name in names
        if is_given(context, name)
    ]


def is_given(context: typer.Context, name: str) -> bool:
    """Whether an option stands in the command, and is not as by default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
