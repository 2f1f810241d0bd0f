"""One fit from checked inputs to a result: evidence, shapes, claims, certificates."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.evidence_masks import label_by_evidence
from napari_implicitseg.fitting.claims import part_overlaps
from napari_implicitseg.fitting.gradient import GradientSolver
from napari_implicitseg.fitting.keeping import keep_promise
from napari_implicitseg.fitting.network import NetworkSolver
from napari_implicitseg.fitting.painting import paint
from napari_implicitseg.fitting.polytope import PolytopeSolver
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.fitting.sequential import Earlier, Fitter
from napari_implicitseg.predictors.evidence import Evidence
from napari_implicitseg.predictors.upsampler import Outlines
from napari_implicitseg.results import FitReport, FitResult, UnsatisfiedStroke
from napari_implicitseg.scribbles import stroke_numbers
from napari_implicitseg.shapes.certificate import certify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.features import Reader
    from napari_implicitseg.fitting.sequential import Fitted, Solver
    from napari_implicitseg.scribbles import Samples
    from napari_implicitseg.shapes.certificate import Certificate

__all__ = ["FitOptions", "Start", "Ticker", "fit_digest", "fit_image", "make_solver"]

_MOST_REPORTED = 20
_OUTLINES = "upsampler"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What a fit needs besides the image and the strokes.

    Attributes
    ----------
    shape : str
        Family of shapes.
    source : str
        Evidence source, or "given" for a probability map.
    spacing : tuple of float
    config : FitConfig
    seed : int
    device : torch.device
    """

    shape: str
    source: str
    spacing: tuple[float, ...]
    config: FitConfig
    seed: int
    device: torch.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a fit takes over from an earlier one.

    Attributes
    ----------
    objects : mapping of int to Earlier
    weights : mapping of str to float or None
        Blend of the evidence; found anew if None.
    networks : mapping of str to mapping
        Weights of the networks by kind.
    """

    objects: Mapping[int, Earlier] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None
    networks: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)

    @classmethod
    def of(cls, earlier: FitResult | None, samples: Samples, source: str) -> Start:
        """Start from an earlier fit of the same image, unless it would lead astray.

        A fit that could not satisfy its strokes, or one with strokes that were
        erased since, has learned from what was wrong.
        """
        if earlier is None or earlier.report.unsatisfied:
            return cls()
        now = _count_strokes(samples)
        if any(now.get(label, 0) < n for label, n in earlier.report.strokes.items()):
            # What outlines are answered by knows the image, and nothing of the strokes.
            known = earlier.networks.get(_OUTLINES)
            return cls(networks={_OUTLINES: known} if known else {})
        weights = dict(earlier.report.evidence_weights)
        weighed = source == "auto" and set(weights) == {"histogram", "geodesic"}
        looks = earlier.report.looks
        objects = {k: Earlier(s, looks[k]) for k, s in earlier.shapes.items() if k in looks}
        return cls(objects=objects, weights=weights if weighed else None, networks=earlier.networks)


class Ticker:
    """Reports progress towards an end whose distance is only guessed."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._ticks = 0

    def __call__(self, message: str = "Fitting shapes") -> None:
        """Report one more step; the callback may raise to cancel."""
        self._ticks += 1
        self._report(message)

    def stay(self) -> None:
        """Report that one of many small steps is done; the callback may raise to cancel."""
        self._report("Looking at the objects")

    def _report(self, message: str) -> None:
        """Tell the callback how far the fit has come."""
        if self._progress is not None:
            self._progress(1 - 1 / (1 + self._ticks / 20), message)


def fit_image(
    reader: Reader,
    samples: Samples,
    options: FitOptions,
    *,
    start: Start,
    progress: Progress | None,
) -> FitResult:
    """Fit all objects of one image.

    Parameters
    ----------
    reader : Reader
        The image, or the probability map if `options.source` is "given".
    samples : Samples
        At least one object stroke.
    options : FitOptions
    start : Start
    progress : Progress, optional

    Returns
    -------
    FitResult
    """
    begin = time.perf_counter()
    tick = Ticker(progress)
    tick("Reading the image")
    effort = Effort.for_objects(len(samples.objects), len(reader.shape))
    grid = Geometry(reader.shape, options.spacing, effort)
    drawn = samples
    evidence, samples = _look(reader, drawn, options, start, tick)
    tick("Weighing the evidence")
    if options.shape == "none":
        found = _by_evidence(evidence, samples, grid, tick)
    else:
        found = _by_shapes(evidence, samples, options, grid, start, tick)
    items = found.items
    unsatisfied = tuple(_unsatisfied(found.labels, samples))
    return FitResult(
        labels=found.labels,
        shapes={item.label: item.shape for item in items},
        certificates=found.certificates,
        evidence=found.probability,
        history={
            **{f"loss/{kind}": losses for kind, losses in evidence.losses.items()},
            **{f"loss/{item.label}": item.losses for item in items},
        },
        spacing=options.spacing,
        networks=evidence.networks,
        report=FitReport(
            seconds=time.perf_counter() - begin,
            ignored_voxels=reader.ignored,
            evidence_weights=evidence.weights,
            unsatisfied=unsatisfied,
            warnings=_warnings(drawn, reader, options, found.certificates, unsatisfied),
            digest=fit_digest(drawn, options),
            strokes=_count_strokes(drawn),
            looks={item.label: item.problem.look for item in items},
        ),
    )


def _look(
    reader: Reader, samples: Samples, options: FitOptions, start: Start, tick: Ticker
) -> tuple[Evidence, Samples]:
    """Evidence, and the strokes a fit has to satisfy: of outlines only their middles."""
    outlines = None
    if options.source == _OUTLINES:
        outlines = Outlines(
            reader,
            samples,
            spacing=options.spacing,
            config=options.config,
            seed=options.seed,
            state=start.networks.get(_OUTLINES),
            check=lambda: tick("Learning the image"),
        )
        samples = outlines.cores
    evidence = Evidence(
        reader,
        samples,
        source=options.source,
        spacing=options.spacing,
        weights=start.weights,
        networks=start.networks,
        outlines=outlines,
        seed=options.seed,
        check=lambda: tick("Training"),
    )
    return evidence, samples


@dataclass(frozen=True, slots=True)
class _Found:
    """The masks of a fit, and the shapes behind them if there are any."""

    labels: LabelArray
    certificates: Mapping[int, Certificate]
    probability: NDArray[np.float32]
    items: Sequence[Fitted]


def _by_shapes(
    evidence: Evidence,
    samples: Samples,
    options: FitOptions,
    grid: Geometry,
    start: Start,
    tick: Ticker,
) -> _Found:
    """Fit a shape to the evidence of every object."""
    solver = make_solver(options, grid, tick)
    fitter = Fitter(
        evidence, samples, grid=grid, solver=solver, previous=start.objects, check=tick.stay
    )
    items = fitter.run()
    tick("Checking the masks")
    if solver.is_convex:
        part_overlaps(items, grid)
    labels = np.zeros(grid.shape, np.uint32)
    paint(labels, items, grid)
    certificates = {item.label: keep_promise(labels, item, options.shape, grid) for item in items}
    return _Found(labels, certificates, _evidence_map(items, grid.shape), items)


def _by_evidence(evidence: Evidence, samples: Samples, grid: Geometry, tick: Ticker) -> _Found:
    """Take the evidence as it is, without any shape."""
    labels, probability = label_by_evidence(
        evidence, samples, shape=grid.shape, spacing=grid.spacing, check=tick.stay
    )
    certificates = {
        label: certify(labels[evidence.territory(label).slices] == label, kind="none")
        for label in samples.objects
    }
    return _Found(labels, certificates, probability, ())


def _count_strokes(samples: Samples) -> dict[int, int]:
    """Count the voxels painted with each label."""
    labels, counts = np.unique(samples.ids, return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def fit_digest(samples: Samples, options: FitOptions) -> str:
    """Tell the strokes and options of one fit from those of another."""
    parts = samples.coords.tobytes(), samples.ids.tobytes(), repr(options).encode()
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()


def make_solver(options: FitOptions, grid: Geometry, check: Callable[[], None]) -> Solver:
    """Build the solver the config asks for."""
    config = options.config
    if options.shape != "convex":
        return GradientSolver(
            options.shape,
            config,
            seed=options.seed,
            grid=grid,
            device=options.device,
            check=check,
        )
    if config.model == "icnn":
        return NetworkSolver(
            config, seed=options.seed, grid=grid, device=options.device, check=check
        )
    return PolytopeSolver(config.planes, grid=grid, device=options.device, check=check)


def _evidence_map(items: Sequence[Fitted], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Probability of any object, at full resolution; 0 where no fit looked."""
    out = np.zeros(shape, np.float32)
    for item in items:
        _raise_to(out[item.window.slices], item.problem.probability, item.problem.fine.window.step)
    return out


def _raise_to(out: NDArray[np.float32], values: NDArray[np.float32], step: Sequence[int]) -> None:
    """Take the maximum of `out` and of block values, writing every voxel once."""
    for axis in range(1, values.ndim):
        values = np.repeat(values, step[axis], axis=axis)
    values = values[(slice(None), *(slice(0, n) for n in out.shape[1:]))]
    for offset in range(step[0]):
        rows = out[offset :: step[0]]
        np.maximum(rows, values[: len(rows)], out=rows)


def _unsatisfied(labels: LabelArray, samples: Samples) -> list[UnsatisfiedStroke]:
    """Strokes the labels contradict, the largest first."""
    got = labels[tuple(samples.coords.T)].astype(np.int64)
    wrong = got != np.where(samples.is_background, 0, samples.ids)
    out = []
    for label in np.unique(samples.ids[wrong]).tolist():
        mine = samples.ids == label
        strokes = stroke_numbers(samples.coords[mine])
        coords, values = samples.coords[mine][wrong[mine]], got[mine][wrong[mine]]
        numbers = strokes[wrong[mine]]
        # One pass over the voxels sorted by stroke: there may be very many strokes.
        order = np.argsort(numbers, kind="stable")
        for here in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            main = int(Counter(values[here].tolist()).most_common(1)[0][0])
            position = tuple(int(i) for i in coords[here[0]])
            out.append(
                UnsatisfiedStroke(label=label, got=main, voxels=len(here), position=position)
            )
    return sorted(out, key=lambda stroke: -stroke.voxels)


def _warnings(
    samples: Samples,
    reader: Reader,
    options: FitOptions,
    certificates: Mapping[int, Certificate],
    unsatisfied: Sequence[UnsatisfiedStroke],
) -> tuple[str, ...]:
    """Advice for the user."""
    out = []
    if options.source != _OUTLINES and not samples.is_background.any():
        out.append(
            "There are no background strokes, so the border of the image stands for the "
            f"background. A stroke of label {samples.background} near the objects helps."
        )
    if reader.ignored:
        out.append(f"{reader.ignored} voxels are NaN or infinite and were not used as evidence.")
    if reader.constant:
        out.append("The image is constant, so only the positions of the strokes were used.")
    out += [
        f"Object {label} is not {c.kind}: {c.detail}."
        for label, c in certificates.items()
        if not c.holds
    ]
    out += [f"{stroke}." for stroke in unsatisfied[:_MOST_REPORTED]]
    if len(unsatisfied) > _MOST_REPORTED:
        out.append(f"{len(unsatisfied) - _MOST_REPORTED} more strokes are not satisfied.")
    if unsatisfied:
        out.append(
            "No mask of this shape agrees with these strokes and the evidence: erase those that "
            "are wrong, or paint more where it matters."
        )
    return tuple(out)
