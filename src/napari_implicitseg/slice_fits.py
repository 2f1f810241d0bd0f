"""A stack fitted slice by slice: every slice along the first axis on its own, in 2D."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.fit_setup import FitOptions, Start, fit_digest
from napari_implicitseg.fits import fit_image
from napari_implicitseg.results import FitReport, FitResult
from napari_implicitseg.shapes.base import box_extent
from napari_implicitseg.shapes.certificate import Certificate, count_components, crop_box
from napari_implicitseg.shapes.stack import SliceStack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_implicitseg._types import Progress
    from napari_implicitseg.features import Reader
    from napari_implicitseg.scribbles import Samples
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["fit_slices", "gather_slices", "part_of"]


@dataclass(slots=True)
class _Gathered:
    """What the slices fitted so far have brought."""

    shapes: dict[int, dict[int, ImplicitShape]] = field(default_factory=dict)
    certificates: dict[int, dict[int, Certificate]] = field(default_factory=dict)
    reports: dict[int, FitReport] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    slices: dict[int, FitResult] = field(default_factory=dict)


def fit_slices(
    reader: Reader,
    samples: Samples,
    options: FitOptions,
    *,
    warm_start: FitResult | None,
    progress: Progress | None,
) -> FitResult:
    """Fit every slice that has object strokes; the others stay empty.

    The parameters are those of `fit_image`, for a 3D image, and `warm_start`,
    an earlier fit of it that was not saved in between: where neither strokes nor
    options have changed since, its slices are taken. Each slice needs its own
    strokes; a guarantee holds in every slice, not across them.

    Returns
    -------
    FitResult
        Shapes are `SliceStack`s; history keys are ``loss/<id>/<slice>``.

    Raises
    ------
    InputError
        If the image is not 3D.
    """
    if len(reader.shape) != 3:
        raise InputError(
            f"per_slice fits stacks, but the image has spatial shape {reader.shape}. "
            "Give a 3D image, or leave per_slice off."
        )
    begin = time.perf_counter()
    flat = replace(options, spacing=options.spacing[1:])
    results: dict[int, FitResult] = {}
    chosen = np.unique(samples.coords[~samples.is_background, 0]).tolist()
    for done, z in enumerate(chosen):
        strokes = samples.at_slice(z)
        earlier = warm_start.slices.get(z) if warm_start is not None else None
        # Another map or embedding may have been given.
        same = reader.embedding is None and flat.source not in ("given", "labels")
        if earlier is not None and same and _is_current(earlier, strokes, flat):
            results[z] = earlier
            continue
        results[z] = fit_image(
            reader.at_slice(z),
            strokes,
            flat if flat.layer is None else replace(flat, layer=flat.layer[z]),
            start=Start.of(earlier, strokes, flat.source),
            progress=part_of(progress, done, len(chosen)),
        )
    return gather_slices(results, reader.shape, options.spacing, begin)


def gather_slices(
    results: Mapping[int, FitResult],
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    begin: float,
) -> FitResult:
    """Put the results of slices together to that of a stack.

    Parameters
    ----------
    results : mapping of int to FitResult
        By index along the first axis; slices that are missing are empty.
    shape : tuple of int
        That of the stack.
    spacing : tuple of float
    begin : float
        When the work began, by `time.perf_counter`.

    Returns
    -------
    FitResult
        Shapes are `SliceStack`s; history keys are ``loss/<id>/<slice>``.
    """
    labels = np.zeros(shape, np.uint32)
    known = any(result.evidence is not None for result in results.values())
    evidence = np.zeros(shape, np.float32) if known else None
    gathered = _Gathered()
    for z, result in results.items():
        labels[z] = result.labels
        gathered.slices[z] = replace(result, labels=labels[z])
        if evidence is not None and result.evidence is not None:
            evidence[z] = result.evidence
            gathered.slices[z] = replace(gathered.slices[z], evidence=evidence[z])
        gathered.reports[z] = result.report
        for label, certificate in result.certificates.items():
            gathered.certificates.setdefault(label, {})[z] = certificate
        for label, planar in result.shapes.items():
            gathered.shapes.setdefault(label, {})[z] = planar
            gathered.history[f"loss/{label}/{z}"] = result.history[f"loss/{label}"]
    extent = box_extent(shape, spacing)
    return FitResult(
        labels=labels,
        shapes={
            label: SliceStack(shapes, scale=1 / max(extent[1:]), count=shape[0], extent=extent)
            for label, shapes in sorted(gathered.shapes.items())
        },
        certificates={
            label: _joined(parts, labels == label)
            for label, parts in sorted(gathered.certificates.items())
        },
        evidence=evidence,
        history=gathered.history,
        spacing=spacing,
        report=_report(gathered.reports, time.perf_counter() - begin),
        slices=gathered.slices,
    )


def _is_current(result: FitResult, strokes: Samples, options: FitOptions) -> bool:
    """Whether a slice need not be fitted again."""
    return result.report.digest == fit_digest(strokes, options)


def part_of(progress: Progress | None, done: int, total: int) -> Progress | None:
    """Progress of one slice as a share of all."""
    if progress is None:
        return None
    report = progress

    def slice_progress(fraction: float, message: str, /) -> None:
        report((done + fraction) / total, f"Slice {done + 1} of {total}: {message}")

    return slice_progress


def _joined(parts: Mapping[int, Certificate], mask: np.ndarray) -> Certificate:
    """Certificate of an object from those of its slices."""
    broken = {z: c.detail for z, c in parts.items() if not c.holds}
    first = next(iter(parts.values()))
    return Certificate(
        kind=first.kind,
        holds=not broken,
        components=count_components(mask[crop_box(mask)]),
        repaired=sum(c.repaired for c in parts.values()),
        detail="; ".join(f"slice {z}: {text}" for z, text in broken.items()),
    )


def _report(reports: Mapping[int, FitReport], seconds: float) -> FitReport:
    """Report of a stack from those of its slices."""
    names = sorted({name for r in reports.values() for name in r.evidence_weights})
    return FitReport(
        seconds=seconds,
        ignored_voxels=sum(r.ignored_voxels for r in reports.values()),
        evidence_weights={
            name: float(np.mean([r.evidence_weights.get(name, 0.0) for r in reports.values()]))
            for name in names
        },
        unsatisfied=tuple(
            replace(stroke, position=(z, *stroke.position))
            for z, r in reports.items()
            for stroke in r.unsatisfied
        ),
        warnings=_joined_warnings(reports),
        unchanged=tuple(sorted({k for r in reports.values() for k in r.unchanged})),
    )


def _joined_warnings(reports: Mapping[int, FitReport]) -> tuple[str, ...]:
    """Warnings of the slices, each once with the slices it is about."""
    slices: dict[str, list[int]] = {}
    for z, report in reports.items():
        for text in report.warnings:
            slices.setdefault(text, []).append(z)
    return tuple(
        f"Slice{'s' * (len(z) > 1)} {', '.join(map(str, z))}: {text}" for text, z in slices.items()
    )
