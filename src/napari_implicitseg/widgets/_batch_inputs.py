"""What the user has chosen for a job over blocks, and what it says in words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.planning import RECORDS
from napari_implicitseg.batch.recipes import read_recipe
from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._batch_jobs import BatchRequest, told_time
from napari_implicitseg.widgets._layers import level_shapes
from napari_implicitseg.widgets._neurons_view import lies_on

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.estimate import Estimate
    from napari_implicitseg.batch.recipes import Recipe
    from napari_implicitseg.volumes.volume import Grid

__all__ = [
    "STAGES",
    "BatchInputs",
    "build_request",
    "describe",
    "free_target",
    "has_file",
    "parse_block",
    "place_of",
    "say_estimate",
]

STAGES = {
    "predict": "Predicting",
    "fragments": "Fragments",
    "contacts": "Contacts",
    "relabel": "Objects",
    "scan": "Looking for objects",
    "fit": "Fitting",
    "paint": "Masks",
    "classify": "Classes",
    "compare": "Comparing",
}
"""Stages over blocks, and what they are called."""
_LINKAGES = {"mean": "mean", "single": "highest", "quantile": "median"}
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class BatchInputs:
    """What the user has chosen.

    Attributes
    ----------
    source, recipe, target : str
        Paths; the source may be a URL.
    layer : Layer or None
        Which shows the source: where it lies, blocks and results do.
    workers : int or None
        None chooses by cores and memory.
    block_shape : str
        As the user typed it; empty for the recipe's own.
    restart : bool
    """

    source: str = ""
    recipe: str = ""
    target: str = ""
    layer: Layer | None = None
    workers: int | None = None
    block_shape: str = ""
    restart: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether there is all that a job needs."""
        return bool(self.source.strip() and self.recipe.strip() and self.target.strip())


def has_file(layer: Layer) -> bool:
    """Whether the data of a layer comes from a file."""
    return layer.source.path is not None


def parse_block(text: str) -> tuple[int, ...] | None:
    """Read the voxels of a block, such as "64, 128, 128"; None of nothing.

    Raises
    ------
    InputError
        If it is no such thing.
    """
    if not text.strip():
        return None
    parts = [part for part in re.split(r"[\s,;x]+", text.strip()) if part]
    if not parts or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(
            f"The block size is {text!r}; give one whole number for all axes or one per axis, such "
            "as 64, 128, 128."
        )
    return tuple(map(int, parts))


def build_request(inputs: BatchInputs) -> BatchRequest:
    """Ask for a job.

    Raises
    ------
    InputError, FileError
        If something is missing, or the recipe cannot be read.
    """
    needed = {
        "source": "Choose a source: a layer that comes from a file, or a path or URL.",
        "recipe": "Choose a recipe: what Save recipe of the other panels writes.",
        "target": "Choose a target: where the results are to be written.",
    }
    for name, text in needed.items():
        if not getattr(inputs, name).strip():
            raise InputError(text)
    given: dict[str, Any] = {"restart": inputs.restart}
    block = parse_block(inputs.block_shape)
    if block is not None:
        given["block_shape"] = block
    recipe = read_recipe(inputs.recipe.strip())
    if recipe.options.get("scheduler") is None:
        given["workers"] = inputs.workers
    return BatchRequest(
        source=inputs.source.strip(),
        target=inputs.target.strip(),
        config=recipe.config(**given),
        bare=inputs.layer is None,
    )


def describe(recipe: Recipe) -> str:
    """Say what a recipe does, and what it needs.

    Raises
    ------
    InputError
        If its options do not fit together.
    """
    config = recipe.config()
    text = _DESCRIBED[config.job](config)
    unused = config.unused()
    return f"{text} Not used by this job: {', '.join(unused)}." if unused else text


def _predicts(config: BatchConfig) -> str:
    return (
        f"Predicts affinities with {_short(config.model)} ({config.dtype}). Needs a volume; the "
        "target is their .zarr."
    )


def _segments(config: BatchConfig) -> str:
    linkage = _LINKAGES[config.linkage]
    if config.linkage == "quantile" and config.quantile != 0.5:
        linkage = f"{config.quantile:g} quantile"
    first = "Needs affinities (.zarr)."
    if config.model is not None:
        first = f"Predicts with {_short(config.model)}. Needs a volume, or affinities (.zarr)."
    return (
        f"Makes objects by {linkage} affinity, cut at {config.threshold:.3g}. {first} They are "
        f"written to labels/{config.name} of the target .zarr."
    )


def _repairs(config: BatchConfig) -> str:
    which = "all objects" if config.ids is None else f"{len(config.ids)} objects"
    return (
        f"Repairs {which}, {_shape(config)}. Needs a label image; they are written to "
        f"labels/{config.name} of the target .zarr."
    )


def _scribbles(config: BatchConfig) -> str:
    where = "in its labels/scribbles" if config.scribbles is None else f"in {config.scribbles}"
    return (
        f"Fits objects to scribbles, {_shape(config)}, evidence {config.evidence}. Needs an image "
        f"with scribbles {where}; objects are written to labels/{config.name} of the target .zarr."
    )


def _classifies(config: BatchConfig) -> str:
    return (
        f"Tells classes with {_short(config.model)}. Needs a volume; they are written to "
        f"labels/{config.name} of the target .zarr."
    )


def _evaluates(config: BatchConfig) -> str:
    left = "nothing" if config.ignore is None else f"label {config.ignore}"
    return (
        f"Compares labels with {_short(config.truth)}, leaving out {left}. Needs a label image; "
        "the target is a .json."
    )


_DESCRIBED = {
    "predict": _predicts,
    "segment": _segments,
    "repair": _repairs,
    "scribble": _scribbles,
    "semantic": _classifies,
    "evaluate": _evaluates,
}


def _shape(config: BatchConfig) -> str:
    return f"{config.shape}{' in each slice' if config.fit.per_slice else ''}"


def _short(path: str | None) -> str:
    return f"'{Path(str(path)).name}'"


def free_target(source: str, job: str, name: str) -> str:
    """Return a target beside the source, or in the user's home: a new one, or one to go on with."""
    suffix = ".json" if job == "evaluate" else ".zarr"
    remote = "://" in source
    stem = Path(source.rstrip("/")).name.split(".")[0] or "volume"
    folder = Path.home() if remote else Path(source).absolute().parent
    what = {"predict": "affinities", "evaluate": "evaluation"}.get(job, name)
    zarrs = [p for p in (folder, *folder.parents) if p.suffix == ".zarr"]
    if zarrs:
        folder = zarrs[-1].parent  # A target beside a part of a zarr would lie in it.
    number, found = 1, folder / f"{stem}-{what}{suffix}"
    while found.exists() and not _is_unfinished(found):
        number += 1
        found = folder / f"{stem}-{what}-{number}{suffix}"
    return str(found)


def _is_unfinished(target: Path) -> bool:
    """Whether a job was begun in a target and has not come to its end."""
    folder = target / RECORDS
    jobs = [job for job in folder.iterdir() if job.is_dir()] if folder.is_dir() else []
    return any(not (job / "report.json").exists() for job in jobs)


def place_of(layer: Layer | None, shape: tuple[int, ...], voxels: Grid) -> dict[str, Any]:
    """Return where a volume lies, as arguments of napari's layers.

    Parameters
    ----------
    layer : Layer or None
        Which shows it; None takes what the file says.
    shape : tuple of int
        Of the volume.
    voxels : Grid
    """
    ndim = len(shape)
    if layer is not None and hasattr(layer, "multiscale") and ndim <= layer.ndim:
        for level, sizes in enumerate(level_shapes(layer)):
            if sizes[len(sizes) - ndim :] == shape:
                return lies_on(layer, ndim, level)
    return {
        "scale": np.array(voxels.scale),
        "translate": np.array(voxels.translate),
        "affine": np.eye(ndim + 1),
        "units": tuple(unit or "pixel" for unit in voxels.units),
        "axis_labels": voxels.axes,
    }


def say_estimate(found: Estimate) -> str:
    """Say what a job would need, in a few lines."""
    block = " x ".join(map(str, found.block_shape))
    each = f"for each of {found.workers} workers" if found.workers > 1 else "for one worker"
    return (
        f"{found.blocks:,} blocks of {block} voxels\n"
        f"Memory: {found.worker_bytes / _GIB:.1f} GiB {each}, "
        f"{found.merge_bytes / _GIB:.1f} GiB to merge\n"
        f"Disk: {found.disk_bytes / _GIB:.2f} GiB\n"
        f"Time: about {told_time(found.seconds)} (a block: {found.block_seconds:.2f} s)"
        + "".join(f"\nNote: {text}" for text in found.warnings)
    )
