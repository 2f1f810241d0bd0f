"""A job over the blocks of a volume, whatever it is."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch.config import BatchConfig
from napari_implicitseg.batch.engine import open_engine
from napari_implicitseg.batch.fingerprint import files_of
from napari_implicitseg.batch.label_steps import write_report
from napari_implicitseg.batch.lock import locked
from napari_implicitseg.batch.planning import begin, check_places
from napari_implicitseg.batch.run import Run
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from napari_implicitseg._types import Progress
    from napari_implicitseg.batch.planning import Plan
    from napari_implicitseg.batch.report import BatchReport, BlockEvent

__all__ = ["DASHBOARD", "make_plan", "run_batch"]

DASHBOARD = "dashboard "
"""In the message of progress that ends with the address of dask's dashboard."""
_KINDS = {
    "predict": "neuron",
    "segment": "neuron",
    "repair": "object",
    "scribble": "object",
    "semantic": "semantic",
    "evaluate": "comparison",
}
"""Of each job: modules ``KIND_planning`` and ``KIND_run``, with functions ``plan_KINDs`` and
``run_KINDs``."""
_READ = ("source", "truth", "scribbles")
"""What jobs read, by the names in `Plan.about`."""


def run_batch(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: BatchConfig,
    client: Any = None,
    progress: Progress | None = None,
    watch: Callable[[BlockEvent], None] | None = None,
) -> BatchReport:
    """Work through a volume of any size block by block, and go on where it was interrupted.

    What is done is recorded in the target after its data is safely on the disk: the same call
    again does the rest, and what comes out is the same to the byte as without interruption.

    Parameters
    ----------
    source : path or URL
        A volume (OME-Zarr, zarr, TIFF, HDF5); or affinities, the OME-Zarr that `predict` writes,
        for the job "segment"; or a label image, for "repair" and "evaluate".
    target : path
        ``NAME.zarr``. Affinities become its image; labels lie in ``labels/NAME`` as OME-Zarr with
        a pyramid. Of "evaluate": ``NAME.json``.
    config : BatchConfig
    client : dask.distributed.Client, optional
        Whose workers are used; by default those that `config` says.
    progress : callable, optional
        Called as ``progress(fraction, message)`` after each block; may raise `Cancelled`.
    watch : callable, optional
        Called with a `BlockEvent` for each block that is done, was done before, or failed.

    Returns
    -------
    BatchReport
        With the blocks that failed, if any did: then the rest of their stage is done, and the
        stages after it are not.

    Raises
    ------
    InputError
        If source, model and options do not fit; if the target was begun with others; if another
        run of the job is at work; or the scheduler is gone.
    FileError
        If something cannot be read or written.
    Cancelled
        If `progress` asked to stop.

    References
    ----------
    J. Funke et al., "Large scale image segmentation with structured loss based deep learning for
    connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.
    """
    if not isinstance(config, BatchConfig):
        raise InputError(f"config is {config!r}; give a BatchConfig.")
    plan = make_plan(str(source), str(target), config)
    work: Callable[[Run, Any], Path] = _function("run", config)
    folder = plan.job.folder
    with locked(folder.with_name(f"{folder.name}.lock")):
        resumed = begin(plan)
        with open_engine(config, client) as engine:
            run = Run(plan, engine, progress, watch, resumed=resumed)
            run.warnings += plan.warnings
            if engine.dashboard:
                run.tell(f"{engine.workers} workers, {DASHBOARD}{engine.dashboard}")
            output = work(run, replace(plan.job, threads=engine.threads))
            run.warnings += _changed(plan)
            report = run.report(output)
            write_report(plan.job, report.document())
            return report


def _changed(plan: Plan) -> list[str]:
    """Warn of sources that were written to while the job ran."""
    read = [plan.about[name] for name in _READ if name in plan.about]
    return [
        f"'{one['path']}' has changed while the job ran, so that blocks may be of before and "
        "after. Begin anew with restart (--restart) once it is complete."
        for one in read
        if any(one.get(name) != value for name, value in files_of(one["path"]).items())
    ]


def make_plan(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at source and target, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If source, target and options do not fit together.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        plan: Plan = _function("plan", config)(source, target, config)
    check_places(plan)
    told = (str(one.message) for one in caught if issubclass(one.category, UserWarning))
    return replace(plan, warnings=tuple(dict.fromkeys(told)))


def _function(what: str, config: BatchConfig) -> Any:
    """Import what plans or runs a kind of job."""
    kind = _KINDS[config.job]
    module = f"{kind}_planning" if what == "plan" else f"{kind}_run"
    return getattr(importlib.import_module(f"{__package__}.{module}"), f"{what}_{kind}s")
