"""Masks projected onto a family of shapes: every object of a label image."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Window
from napari_implicitseg.fit_setup import Ticker
from napari_implicitseg.fits import make_solver
from napari_implicitseg.fitting.claims import part_overlaps
from napari_implicitseg.fitting.keeping import keep_promise
from napari_implicitseg.fitting.painting import paint
from napari_implicitseg.fitting.problem import Effort, Geometry, touches_border
from napari_implicitseg.fitting.projection import find_objects, pose_mask
from napari_implicitseg.fitting.sequential import Fitted
from napari_implicitseg.ids import among, as_ids, count_voxels
from napari_implicitseg.results import FitReport, FitResult
from napari_implicitseg.shapes.certificate import certify, crop_box, digital_hull
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.rays import best_centre, fill_rays
from napari_implicitseg.slice_fits import gather_slices, part_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, LabelArray, Progress
    from napari_implicitseg.fit_setup import FitOptions
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.fitting.projection import Found
    from napari_implicitseg.shapes.base import ImplicitShape
    from napari_implicitseg.shapes.certificate import Certificate, CertificateKind

__all__ = ["CERTIFICATES", "repair_labels", "repair_slices"]

# Objects with fewer voxels than this times the number of axes stay as they are.
_LEAST_VOXELS = 2
# A mask's border is sharper than evidence: so many more points of it are looked at. In 3D there
# are enough as it is.
_SHARPER = {2: 3.0, 3: 1.0}
# Objects whose problems are held at a time.
_BATCH = 64
_MOST_LISTED = 20
# Where a fit agrees less with an object, that is too thin for it.
_LEAST_AGREEMENT = 0.5
# Share of an object's box along one axis that says that its pieces are joined.
_JOINED = 0.7
CERTIFICATES: dict[str, CertificateKind] = {
    "convex": "convex",
    "connected": "connected",
    "star": "star",
    "symmetric": "symmetric",
    "free": "none",
}
"""What is checked of masks of each family of shapes."""
_NAMES = {
    "convex": "convex",
    "connected": "one piece",
    "star": "star-shaped",
    "symmetric": "symmetric",
}


@dataclass(slots=True)
class _Repair:
    """What is known of a repair while it goes on."""

    values: NDArray[Any]
    out: LabelArray
    certificates: dict[int, Certificate] = field(default_factory=dict)
    small: list[int] = field(default_factory=list)
    apart: list[Found] = field(default_factory=list)
    traced: list[int] = field(default_factory=list)


def repair_labels(
    values: NDArray[Any],
    options: FitOptions,
    *,
    ids: Sequence[int] | None,
    progress: Progress | None,
) -> FitResult:
    """Project the objects of one image onto a family of shapes.

    Parameters
    ----------
    values : ndarray, 2D or 3D
        Labels, or a probability map of one object, which becomes label 1.
    options : FitOptions
    ids : sequence of int or None
        Objects to project; the others keep their voxels.
    progress : Progress, optional

    Returns
    -------
    FitResult
    """
    begin = time.perf_counter()
    tick = Ticker(progress)
    tick("Finding the objects")
    probability = values.dtype.kind == "f"
    found = find_objects(as_ids(values))
    chosen = _chosen(found, ids)
    repair = _Repair(values, np.zeros(values.shape, np.uint32))
    effort = Effort.for_objects(len(chosen), values.ndim)
    effort = replace(effort, sharp=int(_SHARPER[values.ndim] * effort.sharp))
    grid = Geometry(values.shape, options.spacing, effort)
    items, losses = _fitted(repair, chosen, grid, options, tick)
    repair.traced += [item.label for item in items if item.is_traced]
    _keep_others(repair, {item.label for item in items})
    tick("Checking the masks")
    if options.shape == "convex":
        held = None if probability else values
        part_overlaps(items, grid, before=held, check=tick.stay)
    paint(repair.out, items, grid, before=None if probability else values)
    for item in items:
        tick.stay()
        repair.certificates[item.label] = keep_promise(repair.out, item, options.shape, grid)
    kind = CERTIFICATES[options.shape]
    for one in chosen:
        if one.label in repair.small:
            repair.certificates[one.label] = certify(repair.out[one.box] == one.label, kind=kind)
    agreement = _agreement(repair, items)
    return FitResult(
        labels=repair.out,
        shapes={item.label: item.shape for item in items},
        certificates=dict(sorted(repair.certificates.items())),
        evidence=values.astype(np.float32) if probability else None,
        history={f"loss/{item.label}": losses[item.label] for item in items},
        spacing=options.spacing,
        report=FitReport(
            seconds=time.perf_counter() - begin,
            warnings=_warnings(repair, agreement, any_found=bool(found)),
            agreement=agreement,
            unchanged=tuple(repair.small),
        ),
    )


def repair_slices(
    values: NDArray[Any],
    options: FitOptions,
    *,
    ids: Sequence[int] | None,
    progress: Progress | None,
) -> FitResult:
    """Project the objects of every slice along the first axis, in 2D; see `repair_labels`."""
    if values.ndim != 3:
        raise InputError(
            f"per_slice repairs stacks, but the labels have shape {values.shape}. "
            "Give 3D labels, or leave per_slice off."
        )
    begin = time.perf_counter()
    flat = replace(options, spacing=options.spacing[1:])
    inside = as_ids(values)
    if ids is not None:
        _chosen(find_objects(inside), ids)
    filled = [z for z in range(len(values)) if inside[z].any()]
    results = {}
    for done, z in enumerate(filled):
        here = None if ids is None else sorted(set(ids) & set(np.unique(inside[z]).tolist()))
        part = part_of(progress, done, len(filled))
        results[z] = repair_labels(values[z], flat, ids=here, progress=part)
    result = gather_slices(results, values.shape, options.spacing, begin)
    # What is too small in some slices only is told of there.
    fitted = {label for one in results.values() for label in one.shapes}
    unchanged = tuple(label for label in result.report.unchanged if label not in fitted)
    agreement = _agreement_over(values, results)
    report = replace(result.report, agreement=agreement, unchanged=unchanged)
    return replace(result, report=report)


def _agreement_over(values: NDArray[Any], results: Mapping[int, FitResult]) -> dict[int, float]:
    """IoU of each object before and after, over all slices."""
    before: Counter[int] = Counter()
    after: Counter[int] = Counter()
    both: Counter[int] = Counter()
    for z, result in results.items():
        old = as_ids(values[z])
        before.update(count_voxels(old))
        after.update(count_voxels(result.labels))
        both.update(count_voxels(np.where(old == result.labels, old, 0)))
    seen = sorted({label for result in results.values() for label in result.report.agreement})
    return {i: both[i] / max(before[i] + after[i] - both[i], 1) for i in seen}


def _chosen(found: Sequence[Found], ids: Sequence[int] | None) -> list[Found]:
    """Objects to project, all if no ids are given."""
    if ids is None:
        return list(found)
    known = {one.label for one in found}
    missing = sorted(set(ids) - known)
    if missing:
        listed = ", ".join(map(str, missing[:_MOST_LISTED]))
        raise InputError(
            f"There is no object {listed} in the labels; they hold {len(known)} objects"
            + (f", {min(known)} to {max(known)}." if known else ".")
            + " Give ids that are there, or none for all."
        )
    return [one for one in found if one.label in set(ids)]


def _fitted(
    repair: _Repair, chosen: Sequence[Found], grid: Geometry, options: FitOptions, tick: Ticker
) -> tuple[list[Fitted], Mapping[int, list[float]]]:
    """Fit shapes to the objects that are large enough, some at a time."""
    solver = make_solver(options, grid, tick)
    items: list[Fitted] = []
    losses: dict[int, list[float]] = {}
    for begin in range(0, len(chosen), _BATCH):
        problems = []
        for one in chosen[begin : begin + _BATCH]:
            tick.stay()
            inside = as_ids(repair.values[one.box]) == one.label
            if np.count_nonzero(inside) < _LEAST_VOXELS * inside.ndim:
                repair.small.append(one.label)
                continue
            problem, apart = pose_mask(one, repair.values, grid, convex=solver.is_convex)
            problems.append(problem)
            if apart:
                repair.apart.append(one)
        if not problems:
            continue
        shapes, history = solver.solve(problems, [None] * len(problems))
        for problem, shape, lost in zip(problems, shapes, history, strict=True):
            item = _rasterised(problem, shape, lost, grid)
            items.append(_traced_if_better(item, repair.values, options.shape))
            losses[problem.label] = lost
    return items, losses


def _rasterised(
    problem: Problem, shape: ImplicitShape, losses: list[float], grid: Geometry
) -> Fitted:
    """Rasterise a shape, also beyond the window of its problem if it reaches further."""
    window = problem.window
    while True:
        mask = shape.rasterize(grid.shape, region=window.slices)
        if not touches_border(mask, window, grid) or isinstance(shape, ConnectedShape):
            return Fitted(problem, shape, mask, losses, beyond=window)
        low, high = np.asarray(window.start), np.asarray(window.stop)
        more = np.maximum((high - low) // 2, 1)
        first = tuple(np.maximum(low - more, 0).tolist())
        last = tuple(np.minimum(high + more, grid.shape).tolist())
        window = Window(first, last, window.step)


def _traced_if_better(item: Fitted, values: NDArray[Any], family: str) -> Fitted:
    """Take an object's own voxels, to be mended, where it is too thin for the shape fitted."""
    own = np.asarray(as_ids(values[item.window.slices]) == item.label)
    agreement = _iou(item.mask, own)
    if agreement >= _LEAST_AGREEMENT:
        return item
    mended = own
    if family == "convex":
        mended = digital_hull(own)
    elif family == "star":
        mended = fill_rays(own, best_centre(own)[0])
    elif family == "connected":
        pieces, count = ndimage.label(own, np.ones((3,) * own.ndim))
        mended = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1 if count > 1 else own
    if _iou(mended, own) <= agreement:
        return item
    return replace(item, mask=own, is_traced=True)


def _iou(one: BoolArray, other: BoolArray) -> float:
    """Intersection over union of two masks; 0 if both are empty."""
    return int((one & other).sum()) / max(int((one | other).sum()), 1)


def _keep_others(repair: _Repair, fitted: set[int]) -> None:
    """Leave the objects that were not fitted as they are."""
    for z in range(len(repair.values)):
        slab = as_ids(repair.values[z])
        kept = (slab != 0) & ~among(slab, sorted(fitted))
        repair.out[z][kept] = slab[kept]


def _agreement(repair: _Repair, items: Sequence[Fitted]) -> dict[int, float]:
    """IoU of each object before and after."""
    out = {label: 1.0 for label in repair.small}
    for item in items:
        box = item.window.slices
        before = as_ids(repair.values[box]) == item.label
        out[item.label] = _iou(before, repair.out[box] == item.label)
    return dict(sorted(out.items()))


def _warnings(
    repair: _Repair, agreement: Mapping[int, float], *, any_found: bool
) -> tuple[str, ...]:
    """Advice for the user."""
    out = []
    if not any_found:
        out.append("The labels hold no object, so there was nothing to repair.")
    if repair.small:
        out.append(
            f"{_listed(repair.small)} too small for any shape and stayed as before "
            f"(fewer than {_LEAST_VOXELS * repair.values.ndim} voxels)."
        )
    joined = [one.label for one in repair.apart if _joins(repair, one)]
    out += [
        f"Object {label} is in pieces far apart; one mask now joins them. If they are two "
        "objects, give them two ids and repair again."
        for label in joined
    ]
    for label, c in sorted(repair.certificates.items()):
        kept = agreement.get(label, 1.0)
        if not c.components:
            out.append(
                f"Object {label} has no voxels left: no shape of this family fits it, or others "
                "hold them. Repair it alone, or leave it out."
            )
        elif kept < _LEAST_AGREEMENT:
            out.append(
                f"Object {label} agrees with what it was by {kept:.2f} only. If it is several "
                "objects, give each its own id and repair again."
            )
        elif label in repair.traced:
            out.append(
                f"Object {label} is too thin for the shapes that are fitted: its own voxels were "
                "mended."
            )
        if not c.holds and label not in repair.small:
            out.append(f"Object {label} is not {_NAMES[c.kind]}: {c.detail}.")
    return tuple(out)


def _joins(repair: _Repair, one: Found) -> bool:
    """Whether one piece now reaches the ends of an object that was in pieces."""
    box = crop_box(repair.out[one.box] == one.label)
    size = [s.stop - s.start for s in one.box]
    reach = max((b.stop - b.start) / n for b, n in zip(box, size, strict=True))
    return repair.certificates[one.label].components == 1 and reach > _JOINED


def _listed(labels: Sequence[int]) -> str:
    """Name some objects in a sentence."""
    if len(labels) == 1:
        return f"Object {labels[0]} is"
    listed = ", ".join(map(str, labels[:_MOST_LISTED]))
    more = f" and {len(labels) - _MOST_LISTED} more" if len(labels) > _MOST_LISTED else ""
    return f"Objects {listed}{more} are"
