"""Labels and truth: tables of all blocks, and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.batch.blocks import block_name
from napari_implicitseg.evaluation import evaluate_table
from napari_implicitseg.evaluation_report import figure_rows, report_of, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from napari_implicitseg._contingency import Contingency
    from napari_implicitseg.batch.comparison_stages import ComparisonJob
    from napari_implicitseg.batch.run import Run

__all__ = ["run_comparisons"]

_AT_ONCE = 64
"""Tables that are added up together: all at once would hold those of all blocks."""


def run_comparisons(run: Run, job: ComparisonJob) -> Path:
    """Compare all blocks, and write the figures of the whole."""
    run.shares = {"compare": 1.0, "figures": 0.02}
    records = run.blocks(job, "compare", said="Comparing")
    if run.failed:
        return run.plan.target
    with run.once("figures", "Working out the figures"):
        table = _whole(job, records)
        config = job.config
        found = evaluate_table(
            table, ignore=config.ignore, border=config.border, background=config.background
        )
        report = report_of(
            found,
            listed=False,
            labels=job.source,
            truth=job.truth,
            shape=list(job.grid.shape),
            ignore=config.ignore,
            border=config.border,
            spacing=None if job.spacing is None else list(job.spacing),
            background=config.background,
        )
        report["warnings"] = list(found.notes)
        write(run.plan.target, report, figure_rows(found), overwrite=True)
    run.warnings += found.notes
    run.figures.update({k: v for k, v in found.as_dict().items() if isinstance(v, float)})
    run.facts.update({k: int(found[k]) for k in ("objects", "truth_objects", "voxels", "ignored")})
    return run.plan.target


def _whole(job: ComparisonJob, records: Mapping[str, dict[str, Any]]) -> Contingency:
    """Add up the tables of all blocks, some at a time."""
    whole: Contingency | None = None
    waiting: list[Contingency] = []
    for place in job.grid:
        waiting.append(job.load_table(place, int(records[block_name(place)]["ignored"])))
        if len(waiting) == _AT_ONCE:
            whole, waiting = _added(whole, waiting), []
    return _added(whole, waiting)


def _added(whole: Contingency | None, more: list[Contingency]) -> Contingency:
    parts = more if whole is None else [whole, *more]
    return parts[0].merged(*parts[1:])
