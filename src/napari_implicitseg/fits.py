"""One fit from checked inputs to a result: evidence, shapes, claims, certificates."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.config import OUTLINES
from napari_implicitseg.evidence_masks import label_by_evidence
from napari_implicitseg.fit_setup import Ticker, count_strokes, fit_digest
from napari_implicitseg.fitting.claims import part_overlaps
from napari_implicitseg.fitting.gradient import GradientSolver
from napari_implicitseg.fitting.joint import JointDescent
from napari_implicitseg.fitting.keeping import keep_promise
from napari_implicitseg.fitting.network import NetworkSolver
from napari_implicitseg.fitting.painting import paint
from napari_implicitseg.fitting.polytope import PolytopeSolver
from napari_implicitseg.fitting.problem import Effort, Geometry
from napari_implicitseg.fitting.sequential import Earlier, Fitter
from napari_implicitseg.predictors.evidence import Evidence
from napari_implicitseg.predictors.label_layers import LabelLayer
from napari_implicitseg.predictors.upsampler import Outlines
from napari_implicitseg.results import FitReport, FitResult, UnsatisfiedStroke
from napari_implicitseg.scribbles import stroke_numbers
from napari_implicitseg.shapes.certificate import certify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.features import Reader
    from napari_implicitseg.fit_setup import FitOptions, Start
    from napari_implicitseg.fitting.sequential import Fitted, Solver
    from napari_implicitseg.predictors.evidence import ObjectMaps
    from napari_implicitseg.results import Preview
    from napari_implicitseg.scribbles import Samples
    from napari_implicitseg.shapes.certificate import Certificate

__all__ = ["fit_image", "make_solver"]

_MOST_REPORTED = 20


def fit_image(
    reader: Reader,
    samples: Samples,
    options: FitOptions,
    *,
    start: Start,
    progress: Progress | None,
    preview: Preview | None = None,
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
    preview : Preview, optional
        Hears results that are not yet the last.

    Returns
    -------
    FitResult
    """
    tick = Ticker(progress)
    tick("Reading the image")
    effort = Effort.for_objects(len(samples.objects), len(reader.shape))
    fit = _Fit(
        reader=reader,
        drawn=samples,
        options=options,
        grid=Geometry(reader.shape, options.spacing, effort),
        start=start,
        tick=tick,
        preview=preview,
    )
    return fit.run()


@dataclass(frozen=True, slots=True)
class _Found:
    """The masks of a fit, and the shapes behind them if there are any."""

    labels: LabelArray
    certificates: Mapping[int, Certificate]
    probability: NDArray[np.float32]
    items: Sequence[Fitted]


@dataclass(slots=True, kw_only=True)
class _Fit:
    """One fit while it goes on; see `fit_image`."""

    reader: Reader
    drawn: Samples
    options: FitOptions
    grid: Geometry
    start: Start
    tick: Ticker
    preview: Preview | None
    samples: Samples = field(init=False)
    evidence: Evidence = field(init=False)
    solver: Solver = field(init=False)
    begin: float = field(default_factory=time.perf_counter)

    def run(self) -> FitResult:
        """Fit all objects."""
        self._look()
        self.tick("Weighing the evidence")
        if self.options.shape == "none":
            return self._result(self._by_evidence())
        self.solver = make_solver(self.options, self.grid, self.tick)
        items = self._fitted(self.start.objects)
        losses: list[float] = []
        if self.options.coupling == "joint" and self.evidence.learner is not None:
            items, losses = self._fitted_jointly(items)
        return self._result(self._checked(items), losses)

    def _look(self) -> None:
        """Look at the image; of outlines only the middles are strokes to satisfy."""
        options, self.samples = self.options, self.drawn
        maps: ObjectMaps | None = None
        if options.source == "labels":
            maps = LabelLayer(options.layer, self.drawn)
        if options.source == OUTLINES:
            outlines = maps = Outlines(
                self.reader,
                self.drawn,
                spacing=options.spacing,
                config=options.config,
                seed=options.seed,
                state=self.start.networks.get(OUTLINES),
                check=lambda: self.tick("Learning the image"),
            )
            self.samples = outlines.cores
        self.evidence = Evidence(
            self.reader,
            self.samples,
            source=options.source,
            spacing=options.spacing,
            weights=self.start.weights,
            networks=self.start.networks,
            features=options.config.features,
            maps=maps,
            joint=options.coupling == "joint",
            seed=options.seed,
            check=lambda: self.tick("Training"),
        )

    def _fitted(self, previous: Mapping[int, Earlier]) -> list[Fitted]:
        """Fit shapes to the evidence, from earlier ones where there are any."""
        fitter = Fitter(
            self.evidence,
            self.samples,
            grid=self.grid,
            solver=self.solver,
            previous=previous,
            check=self.tick.stay,
        )
        return fitter.run()

    def _fitted_jointly(self, items: list[Fitted]) -> tuple[list[Fitted], list[float]]:
        """Let network and shapes learn from each other, then fit the shapes once more."""
        self._show(items)
        joint = JointDescent(
            self.evidence,
            items,
            family=self.options.shape,
            config=self.options.config,
            seed=self.options.seed,
            check=lambda: self.tick("Fitting jointly"),
        )
        for shapes in joint.rounds():
            self._show([i.with_shape(s) for i, s in zip(items, shapes, strict=True)])
        self.evidence.learned()
        if self.solver.is_convex:
            return self._fitted({}), joint.losses  # It is quick, and clumps are searched anew.
        moved = {
            item.label: Earlier(shape, item.problem.look)
            for item, shape in zip(items, shapes, strict=True)
        }
        return self._fitted(moved), joint.losses

    def _show(self, items: Sequence[Fitted]) -> None:
        """Tell of what is found so far; nothing is promised of it."""
        if self.preview is None:
            return
        self.preview(self._result(self._painted(items)))

    def _checked(self, items: Sequence[Fitted]) -> _Found:
        """Paint the masks, see that each keeps its promise, and certify it."""
        self.tick("Checking the masks")
        if self.solver.is_convex:
            part_overlaps(items, self.grid)
        found = self._painted(items)
        certificates = {
            i.label: keep_promise(found.labels, i, self.options.shape, self.grid) for i in items
        }
        return replace(found, certificates=certificates)

    def _painted(self, items: Sequence[Fitted]) -> _Found:
        """Paint the masks, uncertified."""
        labels = np.zeros(self.grid.shape, np.uint32)
        paint(labels, items, self.grid)
        return _Found(labels, {}, _evidence_map(items, self.grid.shape), items)

    def _by_evidence(self) -> _Found:
        """Take the evidence as it is, without any shape."""
        grid, evidence = self.grid, self.evidence
        labels, probability = label_by_evidence(
            evidence, self.samples, shape=grid.shape, spacing=grid.spacing, check=self.tick.stay
        )
        certificates = {
            label: certify(labels[evidence.territory(label).slices] == label, kind="none")
            for label in self.samples.objects
        }
        return _Found(labels, certificates, probability, ())

    def _result(self, found: _Found, joint: Sequence[float] = ()) -> FitResult:
        """Put together what is returned."""
        items, evidence = found.items, self.evidence
        unsatisfied = tuple(_unsatisfied(found.labels, self.samples))
        history = {f"loss/{kind}": losses for kind, losses in evidence.losses.items()}
        history |= {f"loss/{item.label}": item.losses for item in items}
        return FitResult(
            labels=found.labels,
            shapes={item.label: item.shape for item in items},
            certificates=found.certificates,
            evidence=found.probability,
            history=history | ({"loss/joint": list(joint)} if joint else {}),
            spacing=self.options.spacing,
            networks=evidence.networks,
            report=FitReport(
                seconds=time.perf_counter() - self.begin,
                ignored_voxels=self.reader.ignored,
                evidence_weights=evidence.weights,
                unsatisfied=unsatisfied,
                warnings=evidence.doubts
                + _warnings(self.drawn, self.reader, self.options, found.certificates, unsatisfied),
                digest=fit_digest(self.drawn, self.options),
                strokes=count_strokes(self.drawn),
                looks={item.label: item.problem.look for item in items},
            ),
        )


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
    if options.source != OUTLINES and not samples.is_background.any():
        out.append(
            "There are no background strokes, so the border of the image stands for the "
            f"background. A stroke of label {samples.background} near the objects helps."
        )
    if reader.ignored:
        out.append(f"{reader.ignored} voxels are NaN or infinite and were not used as evidence.")
    if reader.constant and options.source != "labels":
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
