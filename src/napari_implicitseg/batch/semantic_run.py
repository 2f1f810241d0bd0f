"""Classes of a volume: grey levels of the whole, then all blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.batch.label_steps import ONCE, prepare_labels
from napari_implicitseg.batch.predicting import measured, scaled

if TYPE_CHECKING:
    from pathlib import Path

    from napari_implicitseg.batch.run import Run
    from napari_implicitseg.batch.semantic_stages import SemanticJob

__all__ = ["run_semantics"]


def run_semantics(run: Run, job: SemanticJob) -> Path:
    """Tell the classes of all blocks; return where they are."""
    run.shares = {"classify": 1.0, "coarsen": 0.02}
    job = _scaled(job)
    made = prepare_labels(job, run.plan.voxels, writers="classify", dtype=np.uint8)
    run.blocks(job, "classify", said="Classes")
    run.coarser(job, made)
    return job.labels


def _scaled(job: SemanticJob) -> SemanticJob:
    """Measure the grey levels of the volume, unless that is done."""
    done = job.ledger.get(ONCE, "scaling")
    if done is None:
        done = measured(job)
        job.ledger.record(ONCE, "scaling", done)
    return scaled(job, done)
