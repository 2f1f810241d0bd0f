"""From a volume to neurons: the stages in their order, and what is in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.batch import neuron_steps as steps
from napari_implicitseg.batch.blocks import block_name
from napari_implicitseg.batch.label_steps import prepare_labels

if TYPE_CHECKING:
    from pathlib import Path

    from napari_implicitseg.batch.neuron_stages import NeuronJob
    from napari_implicitseg.batch.run import Run

__all__ = ["run_neurons"]

_SHARES = {"predict": 30.0, "fragments": 3.0, "contacts": 2.0, "relabel": 0.5, "coarsen": 0.1}
"""About how long a voxel takes in each stage, beside the others."""


def run_neurons(run: Run, job: NeuronJob) -> Path:
    """Predict affinities, make objects of them, or both; return where the result is."""
    segments = job.config.job == "segment"
    names = [] if job.raw is None else ["predict"]
    names += [name for name in _SHARES if segments and name != "predict"]
    run.shares = {name: _SHARES[name] for name in names}
    if job.raw is not None:
        job = steps.prepare_affinities(job, run.plan.voxels)
        run.blocks(job, "predict", said="Predicting")
        if not run.failed:
            steps.publish_affinities(job)
    if segments and not run.failed:
        _segment(run, job)
    return job.labels if segments else run.plan.target


def _segment(run: Run, job: NeuronJob) -> None:
    """From affinities to labels."""
    job = steps.choose_fragments(job)
    steps.prepare_fragments(job)
    records = run.blocks(job, "fragments", said="Fragments")
    if run.failed:
        return
    counts = [records[block_name(place)]["fragments"] for place in job.grid]
    run.facts["fragments"] = sum(counts)
    steps.number_fragments(job, counts)
    records = run.blocks(job, "contacts", said="Contacts")
    if run.failed:
        return
    run.facts["edges"] = sum(record["edges"] for record in records.values())
    with run.once("merge", "Merging all blocks"):
        run.facts["objects"] = steps.merge_blocks(job)
    made = prepare_labels(job, run.plan.voxels, writers="relabel", inside=job.raw is not None)
    run.blocks(job, "relabel", said="Objects")
    run.coarser(job, made)
