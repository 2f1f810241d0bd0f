"""Fitting the objects of one task: repairs, and shapes from scribbles."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.jobs import torch_threads
from napari_implicitseg.batch.object_masks import Mask, part_convex
from napari_implicitseg.batch.object_scenes import see_labels, see_strokes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.object_scenes import Scene
    from napari_implicitseg.batch.object_stages import ObjectJob
    from napari_implicitseg.batch.object_tasks import TaskTable
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.shapes.certificate import Certificate

__all__ = ["Fits", "fit_task"]

_LEAST_AGREEMENT = 0.5
_MOST_STROKES = 5
_NAMED = re.compile(r"\b([Oo]bjects? |label )(\d+(?:, \d+)*)")
_TOLD = ("pieces far apart", "too thin", "NaN", "constant", "no background strokes")
"""Advice of a fit that is passed on; the rest is counted from what it found."""


@dataclass(slots=True)
class Fits:
    """What a task has found.

    Attributes
    ----------
    masks : list of Mask
        Of objects that have voxels.
    certificates : dict of int to Certificate
        By id.
    notes : dict of str to list
        Ids of objects by what there is to say of them: "empty", "small", "poor", "cut", and
        "broken"; sentences under "said".
    """

    masks: list[Mask] = field(default_factory=list)
    certificates: dict[int, Certificate] = field(default_factory=dict)
    notes: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def holds(self) -> int:
        """Number of certificates that hold."""
        return sum(one.holds for one in self.certificates.values())

    def note(self, kind: str, what: Any) -> None:
        """Say something of an object."""
        self.notes.setdefault(kind, []).append(what)

    def take(self, identity: int, inside: BoolArray, found: Certificate, window: Box) -> None:
        """Keep the mask of an object, in a window of the volume, and what was checked on it."""
        self.certificates[identity] = found
        if not found.holds:
            self.note("broken", identity)
        if not inside.any():
            self.note("empty", identity)
            return
        self.masks.append(Mask.of(identity, inside, window))


def fit_task(job: ObjectJob, table: TaskTable, task: int) -> Fits:
    """Fit the objects of a task, given those of the tasks before it."""
    # Fits are small, and with another number of threads they might differ.
    with torch_threads(1):
        return (_repaired if job.source.scribbles is None else _fitted)(job, table, task)


def _repaired(job: ObjectJob, table: TaskTable, task: int) -> Fits:
    """Project objects onto the family of shapes, together with those beside them."""
    from napari_implicitseg.fit_jobs import project_labels

    scene, out = see_labels(job, table, task), Fits()
    for identity in set(table.ids[table.own(task)].tolist()) - {
        int(scene.names[n]) for n in scene.own
    }:
        out.note("empty", identity)  # Others, done before, hold all of its voxels.
    if not scene.own:
        return out
    convex = job.config.shape == "convex"
    # Planes part convex objects, also from those done before; others leave these their voxels.
    again = scene.fixed.tolist() if convex else []
    there = np.bincount(scene.values.reshape(-1), minlength=len(scene.names)) > 0
    again = [n for n in again if there[n]]
    result = project_labels(
        scene.values,
        ids=sorted({*scene.own, *scene.beside, *again}),
        **job.options,
    )
    labels = result.labels
    if scene.done:
        labels = _restored(labels, scene)
    _take_all(job, scene, result, labels, out)
    own = set(scene.own)
    for n in own & set(result.report.unchanged):
        out.note("small", int(scene.names[n]))
    for n, agreement in result.report.agreement.items():
        if n in own and agreement < _LEAST_AGREEMENT:
            out.note("poor", int(scene.names[n]))
    _tell(result, scene, out)
    return out


def _fitted(job: ObjectJob, table: TaskTable, task: int) -> Fits:
    """Fit shapes to strokes, together with those of other objects in the window."""
    from napari_implicitseg.fit_jobs import fit_scribbles, project_labels

    config, out = job.config, Fits()
    scene = see_strokes(job, table, task)
    result = fit_scribbles(
        job.opened.read_image(scene.window),
        scene.values,
        evidence=config.evidence,
        coupling=config.coupling,
        background=scene.number(job.background),
        channel_axis=job.opened.channel_axis,
        **job.options,
    )
    own = np.zeros(len(scene.names), bool)
    own[scene.own] = True
    labels = np.where(own[result.labels], result.labels, 0).astype(np.uint32)
    lost = _lost(labels, scene)
    labels = _restored(labels, scene)
    if lost and config.shape not in ("convex", "free"):
        # What is left of them is brought into the shape again.
        there = set(np.unique(labels).tolist())
        again = [n for n in lost if n in there]
        if again:
            mended = project_labels(labels, ids=again, **job.options)
            labels = mended.labels
            certificates = {**result.certificates, **{n: mended.certificates[n] for n in again}}
            result = replace(result, certificates=certificates)
    _take_all(job, scene, result, labels, out)
    _tell(result, scene, out)
    _tell_strokes(result, scene, out)
    return out


def _lost(labels: NDArray[np.uint32], scene: Scene) -> list[int]:
    """Objects of which those done before hold voxels."""
    if not scene.done:
        return []
    found: list[int] = np.unique(labels[(scene.held != 0) & (labels != 0)]).tolist()
    return found


def _restored(labels: NDArray[np.uint32], scene: Scene) -> NDArray[np.uint32]:
    """Return labels in which objects done before are as they were."""
    fixed = np.zeros(len(scene.names), bool)
    fixed[scene.fixed] = True
    out = np.where(fixed[labels], 0, labels).astype(np.uint32)
    scene.paint_done(out)
    return out


def _take_all(
    job: ObjectJob, scene: Scene, result: FitResult, labels: NDArray[np.uint32], out: Fits
) -> None:
    """Keep the masks of a task's objects, parted from those done before."""
    later = np.zeros(len(scene.names), bool)
    later[scene.beside] = True
    fitted = np.union1d(scene.fixed, np.array(scene.own, np.uint32))
    was, now = _boxes(result.labels), _boxes(labels)
    for n in scene.own:
        identity = int(scene.names[n])
        box = _around([boxes[n] for boxes in (was, now) if n in boxes])
        found = result.certificates.get(n)
        if box is None or found is None:
            out.note("empty", identity)
            continue
        before, crop = result.labels[box] == n, labels[box]
        inside = crop == n
        changed = not np.array_equal(before, inside)
        kind = job.config.shape
        if kind == "convex" and n not in result.report.unchanged:
            if changed or not found.holds:
                others = np.where(inside | later[crop], 0, crop).astype(np.uint32)
                inside = _parted(before, others, fitted, flat=job.config.fit.per_slice)
                found = _certified(inside, job)
                crop[crop == n] = 0
                crop[inside] = n
        elif changed and kind in ("connected", "free"):
            found = _certified(inside, job)
        window = tuple(
            slice(w.start + b.start, w.start + b.stop)
            for w, b in zip(scene.window, box, strict=True)
        )
        out.take(identity, inside, found, window)
        if out.masks and out.masks[-1].id == identity and _is_cut(job, scene, out.masks[-1]):
            out.note("cut", identity)


def _boxes(labels: NDArray[np.uint32]) -> dict[int, Box]:
    """Return the boxes of all labels."""
    from napari_implicitseg.fitting.projection import find_objects

    return {found.label: found.box for found in find_objects(labels)}


def _around(boxes: list[Box]) -> Box | None:
    """Return the box around some boxes, None if there is none."""
    if not boxes:
        return None
    return tuple(
        slice(min(p.start for p in parts), max(p.stop for p in parts))
        for parts in zip(*boxes, strict=True)
    )


def _is_cut(job: ObjectJob, scene: Scene, mask: Mask) -> bool:
    """Whether a mask reaches a side of its window beyond which the volume goes on."""
    return any(
        (m.start == w.start > 0) or (m.stop == w.stop < n)
        for m, w, n in zip(mask.box, scene.window, job.grid.shape, strict=True)
    )


def _parted(
    mask: BoolArray, others: NDArray[np.uint32], fixed: NDArray[np.uint32], *, flat: bool
) -> BoolArray:
    """Return a convex part of a mask, or of its slices, that leaves others their voxels."""
    if not flat:
        return part_convex(mask, others, fixed)
    return np.stack([part_convex(m, o, fixed) for m, o in zip(mask, others, strict=True)])


def _certified(inside: BoolArray, job: ObjectJob) -> Certificate:
    """Check the promise on a mask, or on its slices."""
    from napari_implicitseg.repairs import CERTIFICATES
    from napari_implicitseg.shapes.certificate import certify

    kind = CERTIFICATES[job.config.shape]
    whole = certify(inside, kind="none" if job.config.fit.per_slice else kind)
    if not job.config.fit.per_slice:
        return whole
    broken = [z for z, part in enumerate(inside) if not certify(part, kind=kind).holds]
    return replace(whole, kind=kind, holds=not broken)


def _tell(result: FitResult, scene: Scene, out: Fits) -> None:
    """Pass on the advice of a fit, with ids instead of numbers."""
    for text in result.report.warnings:
        if not any(word in text for word in _TOLD):
            continue
        first = _NAMED.search(text)
        if first and first[1].startswith(("O", "o")):
            numbers = set(map(int, first[2].split(", ")))
            if not numbers & set(scene.own):
                continue
        out.note("said", _NAMED.sub(lambda match: _renamed(match, scene), text))


def _renamed(match: re.Match[str], scene: Scene) -> str:
    """Return the ids of numbers in a text."""
    numbers = map(int, match[2].split(", "))
    ids = (int(scene.names[n]) if n < len(scene.names) else n for n in numbers)
    return match[1] + ", ".join(map(str, ids))


def _tell_strokes(result: FitResult, scene: Scene, out: Fits) -> None:
    """Name strokes of a task's objects that came out as something else."""
    own = set(scene.own)
    wrong = [stroke for stroke in result.report.unsatisfied if stroke.label in own]
    for stroke in wrong[:_MOST_STROKES]:
        position = (p + part.start for p, part in zip(stroke.position, scene.window, strict=True))
        moved = replace(
            stroke,
            label=int(scene.names[stroke.label]),
            got=int(scene.names[stroke.got]),
            position=tuple(position),
        )
        out.note("said", f"{moved}.")
    if wrong:
        out.notes["strokes"] = sorted({int(scene.names[stroke.label]) for stroke in wrong})
