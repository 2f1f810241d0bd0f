"""How well shapes of one piece are fitted: from full masks, in 2D and 3D, and from strokes.

Full masks go through `project_labels`; strokes on photographs through
`fit_scribbles`, beside the peers in their fair versions.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

import paper_recipe
from common import at_least, at_most, overlap, pieces, table, timed, worst_decile
from forms import FLAT, SOLID, draw
from napari_implicitseg import fit_scribbles, project_labels
from napari_implicitseg.reproduction.cases import SETS
from peers import grab_cut, graph_cut, walker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.reproduction.cases import Case

__all__ = ["Plan", "report"]

_ANGLE = 37.0
_SOLID_GOALS = {"ellipsoid": 0.97, "helix": 0.92, "neurite": 0.90}
PEERS = ("graph cut", "GrabCut", "random walker")
METHODS = ("connected", "convex", *PEERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure.

    Attributes
    ----------
    size, solid_size : int
        Sides of the images and volumes.
    forms : tuple of str
        Shapes in the plane, by their names in `FLAT`.
    paper_minutes : float
        The paper's recipe runs on one shape, and on further ones as long as
        another is likely to end within this time.
    paper_epochs : int
        300 is the paper's schedule.
    photos : tuple of str
        Sets of photographs.
    limit : int, optional
        Photographs of each set.
    """

    size: int = 512
    solid_size: int = 64
    forms: tuple[str, ...] = tuple(FLAT)
    paper_minutes: float = 0.0
    paper_epochs: int = paper_recipe.EPOCHS
    photos: tuple[str, ...] = ("grabcut", "pets")
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Repair:
    """One mask projected onto the shapes of one piece, and how it went."""

    iou: float
    pieces: int
    repaired: int
    seconds: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Repair:
        """Project and score one mask."""
        result, seconds = timed(project_labels, mask.astype(np.uint8), shape="connected")
        fitted = result.labels == 1
        repaired = result.certificates[1].repaired
        return cls(overlap(fitted, mask), pieces(fitted), repaired, seconds)

    @property
    def cells(self) -> list[str]:
        """Figures for a table."""
        return [f"{self.iou:.3f}", str(self.pieces), str(self.repaired), f"{self.seconds:.2f}"]


def report(plan: Plan) -> list[str]:
    """Markdown lines of all tables."""
    # The first call compiles; it is not measured.
    project_labels(draw(FLAT["L"], 64).astype(np.uint8), shape="connected")
    straight = {name: Repair.of(draw(FLAT[name], plan.size)) for name in plan.forms}
    turned = {name: Repair.of(draw(FLAT[name], plan.size, angle=_ANGLE)) for name in plan.forms}
    return [
        f"### From full masks, {plan.size} x {plan.size}",
        "",
        *_flat(straight, turned),
        "### Beside the paper's recipe",
        "",
        *_beside_paper(straight, plan),
        f"### In 3D, {plan.solid_size}^3",
        "",
        *_solid(plan.solid_size),
        "### From strokes on photographs",
        "",
        *photographs(plan),
    ]


def _flat(straight: dict[str, Repair], turned: dict[str, Repair]) -> list[str]:
    """Table and goals of the shapes in the plane."""
    head = ["IoU", "pieces", "repaired px", "CPU s"]
    rows = [[name, *straight[name].cells, *turned[name].cells] for name in straight]
    lines = table(["shape", *head, *(f"turned: {h}" for h in head)], rows)
    for text, fits in (("as drawn", straight), (f"turned by {_ANGLE:g} degrees", turned)):
        ious = [f.iou for f in fits.values()]
        lines += [
            at_least(f"{text}: mean IoU", float(np.mean(ious)), 0.98),
            at_least(f"{text}: worst IoU", min(ious), 0.94),
            at_least(f"{text}: in one piece", _share(f.pieces == 1 for f in fits.values()), 1.0),
            at_most(f"{text}: median CPU s", _median(f.seconds for f in fits.values()), 1.0),
        ]
    return [*lines, ""]


def _beside_paper(ours: dict[str, Repair], plan: Plan) -> list[str]:
    """Table and goals of the paper's recipe: every pixel labelled, and a sample of them."""
    rows, ratios, gains = [], [], []
    longest, begin = 0.0, time.monotonic()
    for name, own in ours.items():
        if rows and time.monotonic() - begin + longest > 60 * plan.paper_minutes:
            break
        start, mask = time.monotonic(), draw(FLAT[name], plan.size)
        for text, labelled in (("all", None), ("1500 and 1200 an epoch", 1500)):
            peer = paper_recipe.fit(mask, labelled=labelled, epochs=plan.paper_epochs)
            iou = overlap(peer.mask, mask)
            ratio = peer.seconds / own.seconds
            theirs = [f"{iou:.3f}", str(pieces(peer.mask)), f"{peer.seconds:.1f}"]
            about = [name, text, str(peer.epochs), str(peer.steps)]
            rows.append([*about, *theirs, f"{own.iou:.3f}", f"{own.seconds:.2f}", f"{ratio:.1f}"])
            if labelled is None:
                ratios.append(ratio)
                gains.append(own.iou - iou)
        longest = max(longest, time.monotonic() - start)
    head = ["shape", "labelled pixels", "epochs", "steps", "IoU", "pieces", "CPU s"]
    lines = table([*head, "our IoU", "our CPU s", "ratio"], rows)
    if plan.paper_epochs < paper_recipe.EPOCHS:
        cut = f"The paper's {paper_recipe.EPOCHS} epochs are cut off after {plan.paper_epochs}"
        return [*lines, f"{cut}: no goal is judged by this.", ""]
    return [
        *lines,
        at_least("CPU time of the paper's recipe on all pixels over ours", min(ratios), 20, 1),
        at_least("our IoU above that of the recipe on all pixels", min(gains), 0.0),
        "",
    ]


def _solid(size: int) -> list[str]:
    """Table and goals of the shapes in space."""
    fits = {name: Repair.of(draw(form, size, ndim=3)) for name, form in SOLID.items()}
    lines = table(
        ["shape", "IoU", "pieces", "repaired voxels", "CPU s"],
        [[name, *fit.cells] for name, fit in fits.items()],
    )
    lines += [at_least(f"{n}: IoU", fits[n].iou, goal) for n, goal in _SOLID_GOALS.items()]
    one = _share(f.pieces == 1 for f in fits.values())
    return [*lines, at_least("in one piece", one, 1.0), ""]


@dataclass(slots=True)
class Scores:
    """Figures of one method on one set, one entry per photograph."""

    iou: list[float] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, labels: NDArray[np.integer], case: Case, seconds: float) -> None:
        """Score a result; every photograph has one object, 2."""
        mask = labels == 2
        self.iou.append(overlap(mask, case.truth == 2, case.ignore))
        self.pieces.append(pieces(mask))
        self.seconds.append(seconds)

    @property
    def cells(self) -> list[str]:
        """Figures for a table."""
        one = _share(n == 1 for n in self.pieces)
        quality = [f"{np.mean(self.iou):.3f}", f"{worst_decile(self.iou):.3f}", f"{one:.0%}"]
        return [*quality, f"{1000 * _median(self.seconds):.0f}"]


def photographs(plan: Plan) -> list[str]:
    """Tables and goals of the strokes on photographs."""
    scores = {name: _photo_scores(SETS[name].cases()[: plan.limit]) for name in plan.photos}
    lines = []
    for name, by_method in scores.items():
        lines += [f"#### {name}: {len(by_method['connected'].iou)} photographs", ""]
        rows = [[method, *by_method[method].cells] for method in METHODS]
        lines += table(["method", "mean IoU", "worst decile", "one piece", "CPU ms"], rows)
    return lines + _photo_goals(scores)


def _photo_scores(cases: list[Case]) -> dict[str, Scores]:
    """Scores of every method on one set."""
    scores: dict[str, Scores] = defaultdict(Scores)
    for shape in ("connected", "convex"):
        # The first call compiles; it is not measured.
        fit_scribbles(cases[0].image, cases[0].scribbles, shape=shape)
    for case in cases:
        evidence = None
        for shape in ("convex", "connected"):
            result, seconds = timed(fit_scribbles, case.image, case.scribbles, shape=shape)
            scores[shape].add(result.labels, case, seconds)
            evidence = result.evidence
        labels, seconds = timed(graph_cut, case, evidence)
        scores["graph cut"].add(labels, case, seconds)
        for method, peer in (("GrabCut", grab_cut), ("random walker", walker)):
            labels, seconds = timed(peer, case)
            scores[method].add(labels, case, seconds)
    return dict(scores)


def _photo_goals(scores: dict[str, dict[str, Scores]]) -> list[str]:
    """Goal lines over the sets."""
    over = {m: float(np.mean([np.mean(by[m].iou) for by in scores.values()])) for m in METHODS}
    best = max(PEERS, key=lambda m: over[m])
    figures = ", ".join(f"{m} {over[m]:.3f}" for m in METHODS)
    one = _share(n == 1 for by in scores.values() for n in by["connected"].pieces)
    return [
        f"Mean IoU over the sets: {figures}.",
        "",
        at_least("connected above convex", over["connected"] - over["convex"], 0.10),
        at_least(f"connected above the best peer ({best})", over["connected"] - over[best], 0.0),
        at_least("connected masks in one piece", one, 1.0),
        "",
    ]


def _share(flags) -> float:
    """Part of the flags that are set."""
    return float(np.mean(list(flags)))


def _median(figures) -> float:
    return float(np.median(list(figures)))
