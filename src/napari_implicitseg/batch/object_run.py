"""Repairs of objects, and shapes from scribbles: the stages in their order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch import object_steps as steps
from napari_implicitseg.batch.label_steps import prepare_labels
from napari_implicitseg.batch.object_tasks import TaskTable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_implicitseg.batch.object_stages import ObjectJob
    from napari_implicitseg.batch.run import Run

__all__ = ["run_objects"]

_SCAN, _FIT, _PAINT, _COARSEN = 1.0, 20.0, 1.0, 0.5
"""About how long a voxel takes in each stage, beside the others."""
_MOST_NAMED, _MOST_SAID = 8, 6
_KINDS = {
    "convex": "convex",
    "connected": "one piece",
    "star": "star-shaped",
    "symmetric": "symmetric",
    "free": "checked",
}
_SENTENCES = {
    "broken": "not {kind}, as others hold voxels that would be needed",
    "empty": "without voxels now: no such shape fits, or others hold them",
    "small": "too small for any shape; they stay as before",
    "poor": "in less than half agreement with what they were; if one is several objects, give "
    "each an id of its own",
    "cut": "cut off where what is seen of the volume ends; see more around objects (--halo)",
    "strokes": "at odds with some of their strokes",
}


def run_objects(run: Run, job: ObjectJob) -> Path:
    """Repair the objects of a volume, or fit them to scribbles; return where the result is."""
    run.shares = {"scan": _SCAN, "fit": _FIT, "paint": _PAINT, "coarsen": _COARSEN}
    run.blocks(job, "scan", said="Finding objects")
    if run.failed:
        return job.labels
    with run.once("tasks", "Sorting objects"):
        done = steps.prepare_tasks(job)
    run.facts.update({name: int(done[name]) for name in ("objects", "left", "tasks", "rounds")})
    _say_left(run, job, done)
    if not _fit(run, job, int(done["rounds"])):
        return job.labels
    made = prepare_labels(job, run.plan.voxels, writers="paint", dtype=done["dtype"])
    run.blocks(job, "paint", said="Writing objects")
    run.coarser(job, made)
    return job.labels


def _fit(run: Run, job: ObjectJob, rounds: int) -> bool:
    """Do all tasks, round by round; whether none has failed."""
    # The rounds share what all take together; what is left over keeps the sum.
    each = _FIT / max(1, rounds)
    run.shares = {**run.shares, "fit": each, "more rounds": _FIT - each}
    records: list[Mapping[str, Any]] = []
    said = "Repairing objects" if job.source.scribbles is None else "Fitting objects"
    for number, tasks in enumerate(TaskTable.open(job.tasks).places()):
        found = run.blocks(job, f"fit:{number}", tasks, said=said)
        records += [found[name] for name in sorted(found)]
        if run.failed:
            return False
    run.facts["certificates"] = sum(int(record["holds"]) for record in records)
    _say_found(run, job, records)
    return True


def _say_left(run: Run, job: ObjectJob, done: Mapping[str, Any]) -> None:
    """Name objects that are too large."""
    if not done["left"]:
        return
    listed = ", ".join(f"{identity} ({size:,})" for identity, size in done["largest"])
    more = int(done["left"]) - len(done["largest"])
    kept = "left as they are" if job.source.scribbles is None else "left out"
    run.warnings.append(
        f"{done['left']} of {done['objects']} objects are too large and {kept}: what would be in "
        f"memory at once, in voxels, is over {job.config.most_voxels:,}: {listed}"
        f"{f' and {more} more' if more > 0 else ''}. Allow more (--most-voxels)."
    )


def _say_found(run: Run, job: ObjectJob, records: list[Mapping[str, Any]]) -> None:
    """Say what is to be known of the fits, by kind."""
    notes = steps.gathered(records)
    for kind, sentence in _SENTENCES.items():
        if kind not in notes:
            continue
        count, some = notes[kind]
        names = sorted(set(some))[:_MOST_NAMED]
        more = f" and {count - len(names)} more" if kind != "strokes" and count > len(names) else ""
        is_one = count == 1 or (kind == "strokes" and len(names) == 1)
        run.warnings.append(
            f"{'Object' if is_one else 'Objects'} {', '.join(map(str, names))}{more} "
            f"{'is' if is_one else 'are'} {sentence.format(kind=_KINDS[job.config.shape])}."
        )
    texts = Counter(notes.get("said", (0, []))[1])
    for text, count in texts.most_common(_MOST_SAID):
        run.warnings.append(text if count == 1 else f"{text} ({count} times)")
    if len(texts) > _MOST_SAID:
        run.warnings.append(f"The fits said {len(texts) - _MOST_SAID} more such things.")
