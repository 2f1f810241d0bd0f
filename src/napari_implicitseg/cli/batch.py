"""`napari-implicitseg batch`: a job over the blocks of a volume, resumable."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import typer

from napari_implicitseg.cli import _batch_options as flags  # noqa: TC001 - typer reads it
from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._batch_options import chosen_options
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.estimate import Estimate
    from napari_implicitseg.batch.report import BatchReport

__all__ = ["batch"]

_MOST_NAMED = 10
_KEPT = "What is done is kept: the same command goes on."


def batch(
    context: typer.Context,
    recipe: flags.Recipe = None,
    job: flags.Job = None,
    source: flags.Source = None,
    target: flags.Target = None,
    name: flags.Name = None,
    block_shape: flags.BlockShape = None,
    halo: flags.Halo = None,
    level: flags.Level = None,
    time: flags.Time = None,
    channel: flags.Channel = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    model: flags.Model = None,
    dtype: flags.Dtype = None,
    precision: flags.Precision = None,
    threshold: flags.Threshold = None,
    linkage: flags.Linkage = None,
    quantile: flags.Quantile = None,
    fragments: flags.Fragments = None,
    min_size: flags.MinSize = None,
    shape: flags.Shape = None,
    ids: flags.Ids = None,
    scribbles: flags.Scribbles = None,
    evidence: flags.Evidence = None,
    coupling: flags.Coupling = None,
    per_slice: flags.PerSlice = False,
    seed: flags.Seed = None,
    most_voxels: flags.MostVoxels = None,
    truth: flags.Truth = None,
    ignore: flags.Ignore = None,
    border: flags.Border = None,
    background: flags.Background = None,
    device: flags.Device = None,
    workers: flags.Workers = None,
    scheduler: flags.Scheduler = None,
    retries: flags.Retries = None,
    restart: flags.Restart = False,
    dry_run: flags.DryRun = False,
    json_report: options.Json = False,
) -> None:
    """Work through a volume of any size block by block; go on where it was interrupted.

    The same command again does what is left. Exit status 1 if blocks failed: they are named.

    \b
    Examples:
      napari-implicitseg batch --source em.zarr --model fibsem-isotropic --target neurons.zarr
      napari-implicitseg batch --job segment --source affinities.zarr --target neurons.zarr \\
        --block-shape 48,96,96 --workers 4
      napari-implicitseg batch recipe.yaml --source em.zarr --scheduler tcp://node:8786
      napari-implicitseg batch --job repair --source neurons.zarr/labels/neurons \\
        --target repaired.zarr --shape connected
      napari-implicitseg batch --job evaluate --source neurons.zarr/labels/neurons \\
        --truth truth.zarr --target figures.json
    """  # noqa: D301 - \b keeps the examples' lines
    given = dict(context.params)
    with one_line_errors(_KEPT):
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
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.recipes import Recipe, read_recipe

    file = Recipe(options={}) if recipe is None else read_recipe(recipe)
    known = {field.name for field in fields(BatchConfig)}
    chosen = chosen_options(given, known, file.options)
    source, target = given["source"] or file.source, given["target"] or file.target
    for value, flag in ((source, "--source"), (target, "--target")):
        if value is None:
            raise InputError(f"There is no {flag[2:]}: give {flag}, or name it in a YAML file.")
    config = file.config(**chosen)
    for name in config.unused():
        if name in chosen:
            warn(f"--{name.replace('_', '-')} is of no use to the job {config.job}.")
    return config, str(source), str(target)


def _run(source: str, target: str, config: BatchConfig) -> BatchReport:
    """Run the job with a bar."""
    from napari_implicitseg.api import run_batch
    from napari_implicitseg.batch.pipeline import DASHBOARD

    with progress_bar("batch") as progress:

        def tell(fraction: float, message: str, /) -> None:
            if DASHBOARD in message:
                # To stay where it is: a bar would take it away.
                print(message, file=sys.stderr, flush=True)
            elif progress is not None:
                progress(fraction, message)

        return run_batch(source, target, config=config, progress=tell)


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
    for message in report.warnings:
        warn(message)
    facts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in report.facts.items())
    resumed = ", resumed" if report.resumed else ""
    print(
        f"{report.output}: {facts + ' ' if facts else ''}in {report.shape} voxels, "
        f"{report.blocks} block{'s' * (report.blocks != 1)}, {report.seconds:.1f} s{resumed}"
    )
    for name, value in report.figures.items():
        print(f"{name} {value:.4f}")


def _show_estimate(source: str, target: str, config: BatchConfig, *, as_json: bool) -> None:
    """Print what a job would need."""
    from napari_implicitseg.batch.estimate import estimate

    with progress_bar("batch"):
        found = estimate(source, target, config)
    if as_json:
        print(json.dumps(found.document()))
        return
    for message in found.warnings:
        warn(message)
    print(_said(found))


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
