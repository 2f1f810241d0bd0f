"""Flags of `napari-implicitseg batch`; those that are not given are None."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_implicitseg.cli._run import parse_counts, parse_label
from napari_implicitseg.errors import InputError

__all__ = ["chosen_ids", "chosen_options", "parse_halo", "parse_large_ids"]

_MOST_IDS = 1_000_000
_IDS = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


def parse_halo(text: str) -> tuple[int, ...]:
    """Parse "8,16,16", or 0 for none; for typer, which turns the error into one about usage."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(f"{text!r} is no list of whole numbers from 0, such as 8,16,16")
    return tuple(map(int, parts))


def parse_large_ids(text: str) -> tuple[tuple[int, int], ...]:
    """Parse "3,7-9", of ids of 64 bits; for typer, which turns the error into one about usage."""
    found = [_IDS.fullmatch(part.strip()) for part in text.split(",")]
    ranges = tuple((int(m[1]), int(m[2] or m[1])) for m in found if m is not None)
    if len(ranges) < len(found) or any(not 0 < first <= last for first, last in ranges):
        raise typer.BadParameter(
            f"{text!r} is no list of ids from 1 and of ranges of them, such as 3,7,10-20"
        )
    return ranges


Recipe = Annotated[
    Path | None,
    typer.Argument(
        metavar="[RECIPE.yaml]",
        help="What Save recipe of a panel wrote, or options by the names of the flags "
        "(block_shape: [64, 128, 128]); may name source and target. Flags override it.",
        show_default=False,
    ),
]
Job = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="segment (labels of neurons), predict (affinities), semantic (classes), repair "
        "(labels), scribble (masks from scribbles), evaluate (labels against truth). "
        "[default: segment]",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="SOURCE",
        help="Volume (OME-Zarr, zarr, TIFF, HDF5; folder or URL); affinities that predict wrote "
        "(.zarr); to repair and evaluate a label image, such as neurons.zarr/labels/neurons.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="TARGET.zarr",
        help="Affinities become its image; labels lie in labels/NAME. Records of what is done "
        "lie there, too. To evaluate: FIGURES.json.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Of the labels. [default: neurons, classes, repaired or objects, by the job]",
    ),
]
BlockShape = Annotated[
    Any,
    typer.Option(
        parser=parse_counts,
        metavar="Z,Y,X",
        help="Voxels of a block, which is a file of the result. [default: 128 along each axis, "
        "2D 1024]",
    ),
]
Halo = Annotated[
    Any,
    typer.Option(
        parser=parse_halo,
        metavar="Z,Y,X",
        help="Voxels around a block that its fragments are made from, or around the scribbles of "
        "an object. [default: 32 of the finest axis; of scribbles by their size]",
    ),
]
Level = Annotated[int | None, typer.Option(min=0, help="Level of a multiscale image. [default: 0]")]
Time = Annotated[int | None, typer.Option(min=0, help="Time point to take, from 0.")]
Channel = Annotated[int | None, typer.Option(min=0, help="Channel to take, from 0.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="predict, segment: folder that train wrote, or fibsem-isotropic or sstem-2d; "
        "semantic: one that semantic train wrote. Needed for a volume.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="predict, segment: of affinities: uint8 or float16. [default: uint8]",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="predict, segment: of the convolutions: float32, bfloat16 or "
        "float16. [default: float32]",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="segment: affinity above which regions are one object, 0 to 1. [default: 0.5]",
    ),
]
Linkage = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="segment: mean, single or quantile. [default: mean]",
    ),
]
Quantile = Annotated[
    float | None,
    typer.Option(help="segment: of --linkage quantile, 0 to 1. [default: 0.5]"),
]
Fragments = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="segment: watershed, distance or auto. [default: auto]",
    ),
]
MinSize = Annotated[
    int | None,
    typer.Option(min=0, help="segment: voxels that a fragment has at least."),
]
Shape = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="repair, scribble: convex, connected, star, symmetric or free: promised of each "
        "object. [default: convex]",
    ),
]
Ids = Annotated[
    Any,
    typer.Option(
        parser=parse_large_ids,
        metavar="IDS",
        help="repair: objects to repair, such as 3,7,10-20. [default: all]",
    ),
]
Scribbles = Annotated[
    str | None,
    typer.Option(
        metavar="LABELS",
        help="scribble: label image of the scribbles. [default: labels/scribbles of the source]",
    ),
]
Evidence = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="scribble: what tells object from background; see scribble --help. [default: auto]",
    ),
]
Coupling = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="scribble: sequential or joint. [default: sequential]"),
]
PerSlice = Annotated[
    bool,
    typer.Option(
        "--per-slice",
        help="repair, scribble: in every slice along the first axis on its own, in 2D.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, help="repair, scribble: makes fits repeatable. [default: 0]"),
]
MostVoxels = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="repair, scribble: of the surroundings of an object, which are in memory as a "
        "whole; larger objects are left as they are. [default: 67108864, 406 along each axis]",
    ),
]
Truth = Annotated[
    str | None,
    typer.Option(
        metavar="LABELS",
        help="evaluate: label image that SOURCE is compared with.",
    ),
]
Ignore = Annotated[
    Any,
    typer.Option(
        parser=parse_label,
        metavar="<int|none>",
        help="evaluate: label of the truth whose voxels are left out. [default: 0]",
    ),
]
Border = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="evaluate: leave out voxels up to this distance from a border of the truth, in "
        "--unit.",
    ),
]
Background = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="To evaluate, see evaluate --help; of scribbles the label of background. [default: "
        "none; of scribbles 1]",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where torch computes: auto, cpu, cuda, mps. [default: auto]",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Processes; 0 works in this one. [default: one per core, as memory allows]",
    ),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Of a dask scheduler, such as tcp://node:8786, whose workers are used.",
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="How often a failed block is tried again. [default: 2]",
    ),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Begin anew; with another threshold only, from the merging of fragments on.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say blocks, memory, disk and time needed (one block is tried).",
    ),
]


def chosen_ids(ranges: Any) -> tuple[int, ...]:
    """Return the ids that ranges name.

    Raises
    ------
    InputError
        If there are more than anyone would list.
    """
    count = sum(last - first + 1 for first, last in ranges)
    if count > _MOST_IDS:
        raise InputError(
            f"--ids names {count} objects; name up to {_MOST_IDS}, or leave it out for all."
        )
    return tuple(sorted({i for first, last in ranges for i in range(first, last + 1)}))


def chosen_options(given: dict[str, Any], known: set[str], file: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the flags that are given, by the names of `BatchConfig`."""
    flags = {k: v for k, v in given.items() if k in known and v is not None and v is not False}
    if "ids" in flags:
        flags["ids"] = chosen_ids(flags["ids"])
    if flags.get("ignore") == "none":
        flags["ignore"] = None
    fit = file.get("fit") or {}
    # What is no mapping is refused with all other options.
    if given.get("per_slice"):
        flags["fit"] = {**fit, "per_slice": True} if isinstance(fit, dict) else fit
    return flags
