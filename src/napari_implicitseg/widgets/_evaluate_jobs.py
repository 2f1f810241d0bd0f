"""What the evaluation widget has computed in its thread: figures, curve, mistakes and places.

Nothing here knows Qt or touches a layer: a request holds arrays, an outcome holds what the
widget shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.evaluation import evaluate, evaluate_table
from napari_implicitseg.evaluation_report import report_of
from napari_implicitseg.hierarchy.lookup_curve import hierarchy_curve, score_lookups
from napari_implicitseg.progress import part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._contingency import Contingency
    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.evaluation import Evaluation
    from napari_implicitseg.hierarchy.components import CurvePoint, ThresholdCurve
    from napari_implicitseg.hierarchy.tree import Hierarchy
    from napari_implicitseg.mistakes import Mistake
    from napari_implicitseg.widgets._session import Report

__all__ = ["Cut", "EvaluateOutcome", "EvaluateRequest", "Known", "warm_up"]

MOST_MISTAKES = 100
"""Mistakes of each kind that are listed: more makes no table to read."""
_MOST_AXES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """How the neurons of a layer are made of fragments now.

    Attributes
    ----------
    hierarchy : Hierarchy
    fragments : ndarray of uint32, shape S
        Those of the hierarchy, or finer ones where splits have cut them.
    lookup : ndarray of uint32, shape (N + 1,)
        Neuron of each fragment.
    threshold : float
    edits : int
        Corrections it holds.
    """

    hierarchy: Hierarchy
    fragments: LabelArray
    lookup: NDArray[np.uint32]
    threshold: float
    edits: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What was counted of fragments, and holds for all their cuts.

    Attributes
    ----------
    request : EvaluateRequest
        What it was counted for.
    table : Contingency
        Of the fragments and the truth.
    curve : ThresholdCurve
        Of the hierarchy's cuts, without corrections.
    """

    request: EvaluateRequest
    table: Contingency
    curve: ThresholdCurve

    def fits(self, request: EvaluateRequest) -> bool:
        """Whether it was counted of the same hierarchy, the same truth and in the same way."""
        old = self.request
        return (
            old.cut is not None
            and request.cut is not None
            and old.cut.hierarchy is request.cut.hierarchy
            and old.truth is request.truth
            and (old.ignore, old.border, old.spacing)
            == (request.ignore, request.border, request.spacing)
        )

    def scores(self, cut: Cut) -> CurvePoint | None:
        """Score another cut of the same fragments at once; None of others."""
        old = self.request.cut
        if old is None or cut.hierarchy is not old.hierarchy or cut.fragments is not old.fragments:
            return None
        return score_lookups(self.table, [(cut.threshold, cut.lookup)])[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluateOutcome:
    """What an evaluation came to.

    Attributes
    ----------
    request : EvaluateRequest
    found : Evaluation
    mistakes : tuple of Mistake
        Worst splits, then worst merges.
    places : tuple of (tuple of int or None), or None
        Where to look at each, by index; None as long as they are looked for.
    known : Known or None
        Of layers that are cut live.
    notes : tuple of str
    """

    request: EvaluateRequest
    found: Evaluation
    mistakes: tuple[Mistake, ...]
    places: tuple[tuple[int, ...] | None, ...] | None = None
    known: Known | None = None
    notes: tuple[str, ...] = ()

    def report(self) -> dict[str, Any]:
        """Return it as the command line writes it."""
        request = self.request
        context: dict[str, Any] = {
            "labels": request.names[0],
            "truth": request.names[1],
            "shape": [int(n) for n in request.truth.shape],
            "ignore": request.ignore,
            "border": request.border,
            "spacing": None if request.border is None else list(request.spacing),
        }
        if request.cut is not None:
            context["threshold"] = request.cut.threshold
        places = self.places or (None,) * len(self.mistakes)
        return {**report_of(self.found, self.mistakes, places, **context), "warnings": self.notes}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluateRequest:
    """An evaluation of two arrays.

    Attributes
    ----------
    labels, truth : array of int, shape S
        NumPy, zarr, dask; of the levels compared.
    names : tuple of str
        Of their layers.
    levels : tuple of int
        Of their layers.
    ignore, border : optional
        As `evaluate` takes them.
    spacing : tuple of float
    cut : Cut, optional
        What the labels are made of, if they are cut live: it is compared in their place, as they
        may be painted anew meanwhile.
    known : Known, optional
        What an evaluation before has counted.
    """

    labels: Any
    truth: Any
    names: tuple[str, str]
    levels: tuple[int, int] = (0, 0)
    ignore: int | None = 0
    border: float | None = None
    spacing: tuple[float, ...]
    cut: Cut | None = None
    known: Known | None = None

    def run(self, report: Report) -> EvaluateOutcome:
        """Evaluate; in the thread. Figures are shown before the places of the mistakes.

        Raises
        ------
        InputError
            If the arrays cannot be compared.
        Cancelled
            If nobody wants it any more.
        """
        known = None if self.cut is None else self._count(self.cut, part_of(report, 0, 0.6))
        if self.cut is None or known is None:
            table = self._table(self.labels, part_of(report, 0, 0.6))
        else:
            table = known.table.relabelled(self.cut.lookup[known.table.label_ids])
        report(0.6, "Working out figures")
        found = evaluate_table(table, ignore=self.ignore, border=self.border)
        outcome = EvaluateOutcome(
            request=self,
            found=found,
            mistakes=(*found.worst_splits(MOST_MISTAKES), *found.worst_merges(MOST_MISTAKES)),
            known=known,
            notes=self._notes(found),
        )
        report.show(outcome)
        return replace(outcome, places=self._places(outcome, part_of(report, 0.65, 1)))

    def _count(self, cut: Cut, progress: Progress) -> Known:
        """Count fragments and score cuts, as far as that was not done before."""
        before = self.known if self.known is not None and self.known.fits(self) else None
        if before is not None and before.request.cut is not None:
            if before.request.cut.fragments is cut.fragments:
                return replace(before, request=replace(self, known=None))
            curve = before.curve
            table = self._table(cut.fragments, progress)
        else:
            table = self._table(cut.fragments, part_of(progress, 0, 0.4))
            whole = table
            if cut.fragments is not cut.hierarchy.fragments:
                whole = self._table(cut.hierarchy.fragments, part_of(progress, 0.4, 0.6))
            curve = hierarchy_curve(cut.hierarchy, whole, progress=part_of(progress, 0.6, 1))
        return Known(request=replace(self, known=None), table=table, curve=curve)

    def _table(self, labels: Any, progress: Progress) -> Contingency:
        """Compare an array with the truth."""
        from napari_implicitseg.metrics import contingency_blocks

        table = contingency_blocks(
            labels,
            self.truth,
            ignore=self.ignore,
            border=self.border,
            spacing=self.spacing,
            progress=progress,
        )
        if table.total or not table.ignored:
            return table
        near = "" if self.border is None else f", or are within {self.border:g} of another label"
        raise InputError(
            f"There is no voxel to compare: all {table.ignored:,} have the label {self.ignore} in "
            f"'{self.names[1]}', which is left out{near}. Choose a truth with labels, or leave out "
            "less."
        )

    def _places(
        self, outcome: EvaluateOutcome, progress: Progress
    ) -> tuple[tuple[int, ...] | None, ...]:
        """Find where the mistakes are."""
        from napari_implicitseg.places import find_places

        if not outcome.mistakes or len(self.truth.shape) > _MOST_AXES:
            return (None,) * len(outcome.mistakes)
        labels = self.labels if self.cut is None else _Painted(self.cut)
        return tuple(find_places(labels, self.truth, outcome.mistakes, progress=progress))

    def _notes(self, found: Evaluation) -> tuple[str, ...]:
        """Say what a reader of the figures should know."""
        notes = [
            note.replace("ignore=None counts it.", '"Leave out: nothing" counts it.')
            for note in found.notes
        ]
        if self.cut is not None and self.cut.edits:
            notes.append(
                "The curve is of the cuts without corrections; the figures and the present point "
                "hold them."
            )
        if len(self.truth.shape) > _MOST_AXES:
            notes.append(
                f"The layers have {len(self.truth.shape)} axes: places of mistakes are found along "
                f"up to {_MOST_AXES}."
            )
        return tuple(notes)


class _Painted:
    """The neurons of a cut as an array that is made, block by block, when it is read."""

    dtype = np.dtype(np.uint32)

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self.shape = cut.fragments.shape

    def __getitem__(self, key: Any) -> NDArray[np.uint32]:
        found: NDArray[np.uint32] = self._cut.lookup[self._cut.fragments[key]]
        return found


def warm_up(progress: Progress) -> None:
    """Import what an evaluation and its plot need and compile it, on tiny arrays."""
    from napari_implicitseg.places import find_places
    from napari_implicitseg.widgets._evaluate_drawing import Look, draw_matches

    truth = np.ones((2, 8, 8), np.uint32)
    truth[:, 4:] = 2
    labels = np.ones_like(truth)
    labels[:, :, 4:] = 2
    found = evaluate(labels, truth, border=0, progress=progress)
    find_places(labels, truth, (*found.worst_splits(), *found.worst_merges()))
    draw_matches(found["matches"], Look(size=(300, 200)))
    progress(1.0, "Warmed up")
