"""How good the masks are: the same strokes for this package and its peers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from common import at_least, timed, worst_decile
from napari_implicitseg import certify, fit_scribbles
from napari_implicitseg.reproduction.cases import SETS
from peers import grab_cut, graph_cut, walker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.reproduction.cases import Case

__all__ = ["Scores", "measure", "report"]

PEERS = ("graph cut", "GrabCut", "random walker")
# No peer can find the levels, as the shape decides them; a graph cut that is told them.
TOLD = "graph cut told the levels"
METHODS = ("this package", *PEERS, TOLD)


@dataclass(slots=True)
class Scores:
    """Figures of one method on one set, one entry per object."""

    iou: list[float] = field(default_factory=list)
    hausdorff: list[float] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    convex: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, labels: NDArray[np.integer], case: Case, seconds: float) -> None:
        """Score the objects of one case."""
        self.seconds.append(seconds)
        for label in np.unique(case.truth)[1:]:
            mask, truth = labels == label, case.truth == label
            self.iou.append(float((mask & truth).sum() / (mask | truth).sum()))
            self.hausdorff.append(_hausdorff(mask, truth))
            self.pieces.append(ndimage.label(mask, np.ones((3, 3)))[1])
            self.convex.append(certify(mask, kind="convex").holds)

    @property
    def worst(self) -> float:
        """Mean of the lowest tenth of the IoUs."""
        return worst_decile(self.iou)


def _hausdorff(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Largest distance from a point of one to the other, in pixels."""
    if not mask.any():
        return float(np.hypot(*mask.shape))
    far = [ndimage.distance_transform_edt(~a)[b].max() for a, b in ((mask, truth), (truth, mask))]
    return float(max(far))


def _fit(case: Case):
    return fit_scribbles(case.image, case.scribbles)


def measure(names: list[str], limit: int | None) -> dict[str, dict[str, Scores]]:
    """Scores of every method on every set."""
    out: dict[str, dict[str, Scores]] = {}
    for name in names:
        scores: dict[str, Scores] = defaultdict(Scores)
        cases = SETS[name].cases()
        # The first call compiles; it is not measured.
        _fit(cases[0])
        for case in cases[:limit]:
            result, seconds = timed(_fit, case)
            scores["this package"].add(result.labels, case, seconds)
            assert all(
                certify(result.labels == k, kind="convex").holds == c.holds
                for k, c in result.certificates.items()
            ), "a certificate does not say what is so"
            labels, cut = timed(graph_cut, case, result.evidence)
            scores["graph cut"].add(labels, case, cut)
            levels = {label: look.level for label, look in result.report.looks.items()}
            told, cut = timed(graph_cut, case, result.evidence, levels)
            scores[TOLD].add(told, case, cut)
            for method, peer in (("GrabCut", grab_cut), ("random walker", walker)):
                labels, seconds = timed(peer, case)
                scores[method].add(labels, case, seconds)
        out[name] = dict(scores)
    return out


def report(scores: dict[str, dict[str, Scores]]) -> list[str]:
    """Markdown lines: a table per set and the goals."""
    lines = []
    for name, by_method in scores.items():
        count = len(by_method["this package"].iou)
        lines += [f"### {name}: {count} objects", ""]
        lines.append(
            "| method | mean IoU | worst decile | Hausdorff px | pieces | convex | CPU ms | ratio |"
        )
        lines.append("|---|---|---|---|---|---|---|---|")
        base = float(np.median(by_method["this package"].seconds))
        for method in METHODS:
            s = by_method[method]
            cpu = float(np.median(s.seconds))
            lines.append(
                f"| {method} | {np.mean(s.iou):.3f} | {s.worst:.3f} | {np.mean(s.hausdorff):.1f} "
                f"| {np.mean(s.pieces):.2f} | {np.mean(s.convex):.0%} | {1000 * cpu:.0f} "
                f"| {cpu / base:.2f} |"
            )
        lines.append("")
    return lines + _goals(scores)


def _goals(scores: dict[str, dict[str, Scores]]) -> list[str]:
    """Goal lines: reached or missed, with the number."""
    lines = ["Goals of quality:", ""]
    for name, by_method in scores.items():
        best = max(PEERS, key=lambda m: np.mean(by_method[m].iou))
        margin = np.mean(by_method["this package"].iou) - np.mean(by_method[best].iou)
        lines.append(at_least(f"{name}: mean IoU above the best peer ({best})", margin, 0.0))
    for what, figure in (
        ("mean IoU", lambda s: float(np.mean(s.iou))),
        ("worst decile", lambda s: s.worst),
    ):
        over = {m: np.mean([figure(by[m]) for by in scores.values()]) for m in METHODS}
        best = max(PEERS, key=lambda m: over[m])
        text = (
            f"{what} over the sets: {over['this package']:.3f}, best peer {best} {over[best]:.3f}"
        )
        lines.append(at_least(text, over["this package"] - over[best], 0.05))
    convex = [c for by in scores.values() for c in by["this package"].convex]
    lines.append(at_least("masks certified convex", float(np.mean(convex)), 1.0))
    return [*lines, ""]
