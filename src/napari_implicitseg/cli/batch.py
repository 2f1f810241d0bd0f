"""`napari-implicitseg batch`: a job over the blocks of a volume, resumable."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import one_line_errors, parse_counts, progress_bar, warn
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.volumes.estimate import Estimate
    from napari_implicitseg.volumes.report import BatchReport

__all__ = ["batch"]

_MOST_NAMED = 10


def batch(
    context: typer.Context,
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG.yaml]",
            help="Options by the names of the flags (block_shape: [64, 128, 128]); may name source "
            "and target. Flags come first.",
            show_default=False,
        ),
    ] = None,
    job: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="segment (labels) or predict. [default: segment]"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Volume (OME-Zarr, zarr, TIFF, HDF5; folder or URL), or affinities that predict "
            "wrote (.zarr).",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="TARGET.zarr",
            help="Affinities become its image; labels lie in labels/NAME. Records of what is done "
            "lie there, too.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Folder that train wrote, or fibsem-isotropic or sstem-2d; needed for a volume.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the labels. [default: neurons]")
    ] = None,
    block_shape: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels of a block, which is a file of the result. [default: 128 along each axis, "
            "2D 1024]",
        ),
    ] = None,
    halo: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels around a block that its fragments are made from. [default: 32 of the "
            "finest axis]",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Affinity above which regions are one object, 0 to 1. [default: 0.5]"),
    ] = None,
    linkage: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="mean, single or quantile. [default: mean]"),
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Of --linkage quantile, 0 to 1. [default: 0.5]")
    ] = None,
    fragments: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="watershed, distance or auto. [default: auto]"),
    ] = None,
    min_size: Annotated[
        int | None, typer.Option(min=0, help="Voxels that a fragment has at least.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of affinities: uint8 or float16. [default: uint8]"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of the convolutions: float32, bfloat16 or float16. [default: float32]",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where torch computes: auto, cpu, cuda, mps. [default: auto]")
    ] = None,
    level: Annotated[
        int | None, typer.Option(min=0, help="Level of a multiscale image. [default: 0]")
    ] = None,
    time: Annotated[int | None, typer.Option(min=0, help="Time point to take, from 0.")] = None,
    channel: Annotated[int | None, typer.Option(min=0, help="Channel to take, from 0.")] = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes; 0 works in this one. [default: one per core, as memory allows]",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Of a dask scheduler, such as tcp://node:8786, whose workers are used.",
        ),
    ] = None,
    retries: Annotated[
        int | None,
        typer.Option(min=0, help="How often a failed block is tried again. [default: 2]"),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Begin anew; with another threshold only, from the merging of fragments on.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say blocks, memory, disk and time needed (one block is tried)."
        ),
    ] = False,
    json_report: options.Json = False,
) -> None:
    """Predict or segment a volume of any size block by block; go on where it was interrupted.

    The same command again does what is left. Exit status 1 if blocks failed: they are named.

    \b
    Examples:
      napari-implicitseg batch --source em.zarr --model fibsem-isotropic --target neurons.zarr
      napari-implicitseg batch --job segment --source affinities.zarr --target neurons.zarr \\
        --block-shape 48,96,96 --workers 4
      napari-implicitseg batch recipe.yaml --scheduler tcp://node:8786
    """  # noqa: D301 - \b keeps the examples' lines
    given = dict(context.params)
    with one_line_errors():
        config, read, write = _options(recipe, given)
        if dry_run:
            _show_estimate(read, write, config, as_json=json_report)
            return
        report = _run(read, write, config)
        _show(report, as_json=json_report)
    if not report.ok:
        raise typer.Exit(1)


def _options(recipe: Path | None, given: dict[str, Any]) -> tuple[BatchConfig, str, str]:
    """Put flags over what a file says; also source and target."""
    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.recipes import Recipe, read_recipe

    file = Recipe(options={}) if recipe is None else read_recipe(recipe)
    known = {field.name for field in fields(BatchConfig)}
    flags = {k: v for k, v in given.items() if k in known and v is not None and v is not False}
    source, target = given["source"] or file.source, given["target"] or file.target
    for value, flag in ((source, "--source"), (target, "--target")):
        if value is None:
            raise InputError(f"There is no {flag[2:]}: give {flag}, or name it in a YAML file.")
    return BatchConfig(**{**file.options, **flags}), str(source), str(target)


def _run(source: str, target: str, config: BatchConfig) -> BatchReport:
    """Run the job with a bar."""
    from napari_implicitseg.api import run_batch

    with progress_bar("batch") as progress:
        return run_batch(source, target, config=config, progress=progress)


def _show(report: BatchReport, *, as_json: bool) -> None:
    """Print what was done; what failed goes to stderr."""
    if as_json:
        print(json.dumps(report.document()))
        return
    for failure in report.failed[:_MOST_NAMED]:
        warn(str(failure))
    if report.failed:
        more = len(report.failed) - _MOST_NAMED
        rest = f", {more} more than shown" if more > 0 else ""
        warn(
            f"{len(report.failed)} blocks failed{rest}; the others of that stage are done. Mend "
            "the cause, then the same command does the rest."
        )
        return
    facts = ", ".join(f"{number} {name}" for name, number in report.facts.items())
    done = sum(stage.blocks - stage.done_before for stage in report.stages)
    print(
        f"{report.output}: {facts + ' ' if facts else ''}in {report.shape} voxels, "
        f"{report.blocks} blocks, {done} steps done in {report.seconds:.1f} s"
    )


def _show_estimate(source: str, target: str, config: BatchConfig, *, as_json: bool) -> None:
    """Print what a job would need."""
    from napari_implicitseg.volumes.estimate import estimate

    with progress_bar("batch"):
        found = estimate(source, target, config)
    print(json.dumps(found.document()) if as_json else _said(found))


def _said(found: Estimate) -> str:
    """Say what a job would need in a few lines."""
    hours = found.seconds / 3600
    time = f"{found.seconds:.0f} s" if found.seconds < 120 else f"{found.seconds / 60:.0f} min"
    time = f"{hours:.1f} h" if hours > 2 else time
    return (
        f"{found.blocks} blocks of {found.block_shape} voxels, halo {found.halo}, of "
        f"{found.shape}\n"
        f"memory: about {found.worker_bytes / 2**30:.1f} GiB for each of {found.workers} workers, "
        f"{found.merge_bytes / 2**30:.1f} GiB to merge\n"
        f"disk: about {found.disk_bytes / 2**30:.2f} GiB\n"
        f"time: about {time} (one block: {found.block_seconds:.2f} s)"
    )
