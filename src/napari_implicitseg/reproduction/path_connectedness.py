"""The table of the paper on path-connectedness, with and without its teacher.

References
----------
Schneider et al. 2024, "Implicit representations for constrained image segmentation".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.api import fit_scribbles
from napari_implicitseg.config import FitConfig
from napari_implicitseg.reproduction import plots
from napari_implicitseg.reproduction.cases import SETS
from napari_implicitseg.reproduction.report import Report, Table, number
from napari_implicitseg.reproduction.scores import ious, pieces, timed

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.reproduction.cases import Case
    from napari_implicitseg.results import FitResult

__all__ = ["reproduce"]

NAME = "path-connectedness"
_LIMIT = 3
# On its set "Mandarins", without and with teacher.
_PAPER = {
    ("convex", False): 0.9152,
    ("convex", True): 0.9345,
    ("connected", False): 0.9422,
    ("connected", True): 0.9592,
}
_ROWS = {"convex": "input-convex network", "connected": "path-connected"}
_LEAST_RATIO = 20.0
# Gradient steps after which ours is looked at; None are all.
_STEPS: dict[str, tuple[int | None, ...]] = {
    "convex": (None,),
    "connected": (30, 60, 120, 240, None),
}


@dataclass(slots=True)
class _Scores:
    """Figures of one method, one entry per image; of ours, after so many steps, too."""

    iou: list[float] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    cut_off: dict[int | None, _Scores] = field(default_factory=dict)

    def add(self, result: FitResult, case: Case, seconds: float) -> None:
        """Score a result."""
        self.iou += ious(result.labels, case)
        self.pieces.append(pieces(result.labels == 2))
        self.seconds.append(seconds)


def reproduce(*, limit: int | None, seed: int, progress: Progress | None) -> Report:
    """Measure the table on photographs with people's strokes.

    Parameters
    ----------
    limit : int, optional
        Photographs; 3 by default.
    seed : int
    progress : Progress, optional
    """
    cases = SETS["grabcut"].cases()[: limit or _LIMIT]
    scores = {(*key, how): _Scores() for key in _PAPER for how in ("schedule", "ours")}
    first: dict[tuple[str, bool], FitResult] = {}
    total = len(cases) * len(_PAPER)
    for shape, teacher in _PAPER:  # The first call compiles; it is not measured.
        _fit(cases[0], shape, teacher, "ours", seed)
    for number_of_case, case in enumerate(cases):
        for k, (shape, teacher) in enumerate(_PAPER):
            if progress is not None:
                done = (number_of_case * len(_PAPER) + k) / total
                progress(done, f"Photograph {number_of_case + 1} of {len(cases)}")
            for how in ("schedule", "ours"):
                result, seconds = timed(_fit, case, shape, teacher, how, seed)
                scores[shape, teacher, how].add(result, case, seconds)
                if how == "ours":
                    for steps in _STEPS[shape]:
                        cut, seconds = timed(_cut_off, case, shape, teacher, seed, steps)
                        so_far = scores[shape, teacher, how].cut_off
                        so_far.setdefault(steps, _Scores()).add(cut, case, seconds)
                if how == "schedule":
                    first.setdefault((shape, teacher), result)
    report = Report(
        name=NAME,
        title="Path-connectedness: IoU with and without teacher",
        settings={
            "data": f"{len(cases)} photographs of the GrabCut set, strokes drawn by people; the "
            "paper's own set, Mandarins, is not to be had",
            "seed": str(seed),
            "paper's schedule": "Adam 1e-4, batches of 1500, 300 epochs, 1200 random pixels more "
            "each; from epoch 30 towards the rounded teacher, from 200 towards the teacher",
            "ours": "default settings; without teacher evidence 'none', with it 'auto'",
        },
    )
    _tell(report, scores)
    report.plots = {
        f"{NAME}-losses": plots.curves(_losses(first), x="epoch", y="loss"),
        f"{NAME}-masks": plots.outlined(
            [
                (f"{_ROWS[shape]}, {_with(teacher)}", cases[0].image, [result.labels == 2])
                for (shape, teacher), result in first.items()
            ],
            ("mask",),
        ),
    }
    return report


def _fit(case: Case, shape: str, teacher: bool, how: str, seed: int) -> FitResult:
    """One fit, by the paper's schedule or by ours."""
    if how == "schedule":
        config = FitConfig(schedule="path-connectedness", teacher=teacher)
        return fit_scribbles(case.image, case.scribbles, shape=shape, seed=seed, config=config)
    evidence = "auto" if teacher else "none"
    return fit_scribbles(case.image, case.scribbles, shape=shape, evidence=evidence, seed=seed)


def _cut_off(case: Case, shape: str, teacher: bool, seed: int, steps: int | None) -> FitResult:
    """Our settings, after so many gradient steps."""
    return fit_scribbles(
        case.image,
        case.scribbles,
        shape=shape,
        evidence="auto" if teacher else "none",
        seed=seed,
        config=FitConfig(steps=steps),
    )


def _time_to(wanted: float, ours: _Scores) -> float:
    """CPU seconds over all images in which our settings reach a mean IoU; or infinity."""
    enough = [
        float(np.sum(cut.seconds))
        for cut in ours.cut_off.values()
        if float(np.mean(cut.iou)) >= wanted
    ]
    return min(enough, default=float("inf"))


def _tell(report: Report, scores: dict[tuple[str, bool, str], _Scores]) -> None:
    """Put the figures into table and findings."""
    rows = []
    for (shape, teacher), paper in _PAPER.items():
        theirs, ours = (scores[shape, teacher, how] for how in ("schedule", "ours"))
        ratio = float(np.sum(theirs.seconds) / np.sum(ours.seconds))
        sooner = float(np.sum(theirs.seconds) / _time_to(float(np.mean(theirs.iou)), ours))
        what = f"{_ROWS[shape]}, {_with(teacher)}"
        rows.append(
            (
                what,
                f"{paper:.4f}",
                number(float(np.mean(theirs.iou))),
                f"{np.mean(theirs.pieces):.1f}",
                f"{np.median(theirs.seconds):.1f}",
                number(float(np.mean(ours.iou))),
                f"{np.mean(ours.pieces):.1f}",
                f"{np.median(ours.seconds):.2f}",
                f"{ratio:.0f}",
                f"{sooner:.0f}",
            )
        )
        report.figures[f"{shape}/{_with(teacher)}/schedule"] = float(np.mean(theirs.iou))
        report.figures[f"{shape}/{_with(teacher)}/ours"] = float(np.mean(ours.iou))
        report.figures[f"{shape}/{_with(teacher)}/ratio"] = ratio
        report.figures[f"{shape}/{_with(teacher)}/sooner"] = sooner
        report.find(
            f"{what}: our default settings reach the schedule's IoU in at most 1/20 of its time "
            f"(1/{sooner:.0f}; run to the end they take 1/{ratio:.0f}, at "
            f"{np.mean(ours.iou) - np.mean(theirs.iou):+.3f})",
            sooner >= _LEAST_RATIO,
        )
    head = (
        *("method", "paper (Mandarins)", "schedule: IoU", "pieces", "CPU s"),
        *("ours: IoU", "pieces", "CPU s", "schedule's CPU over ours", "over ours until its IoU"),
    )
    report.tables.append(Table("IoU, mean over the photographs", head, tuple(rows)))
    for teacher in (False, True):
        convex, connected = (
            float(np.mean(scores[shape, teacher, "schedule"].iou)) for shape in _ROWS
        )
        report.find(
            f"the paper's order, path-connected above input-convex, {_with(teacher)} "
            f"({connected - convex:+.3f} by its schedule here, "
            f"{_PAPER['connected', teacher] - _PAPER['convex', teacher]:+.3f} there)",
            connected > convex,
        )
    for shape, what in _ROWS.items():
        without, guided = (
            float(np.mean(scores[shape, teacher, "schedule"].iou)) for teacher in (False, True)
        )
        report.find(
            f"the paper's gain by the teacher, {what} ({guided - without:+.3f} here, "
            f"{_PAPER[shape, True] - _PAPER[shape, False]:+.3f} there)",
            guided > without,
        )


def _with(teacher: bool) -> str:
    """Name a column."""
    return "with teacher" if teacher else "without teacher"


def _losses(first: dict[tuple[str, bool], FitResult]) -> dict[str, list[float]]:
    """Loss curves of the first photograph."""
    out = {f"{_ROWS[s]}, {_with(t)}": r.history["loss/2"] for (s, t), r in first.items()}
    out["teacher"] = first["connected", True].history["loss/teacher/2"]
    return out
