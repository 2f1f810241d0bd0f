"""How good the masks are with everything at default, and how fast, on real and simulated strokes.

The graph cut comes twice: with a colour model of its own from the strokes
(Boykov and Jolly 2001), as people run it; and on this package's evidence,
which tells what of our lead the shapes bring.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import skimage.data
from skimage.transform import resize

from common import at_least, at_most, overlap, table, timed, worst_decile
from napari_implicitseg import fit_scribbles
from napari_implicitseg.reproduction.cases import SETS, Case
from peers import colour_evidence, grab_cut, graph_cut, walker

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NAMES", "PEERS", "report"]

NAMES = ("btcv", "medical-wbc", "grabcut", "wbc", "pets")
PEERS = ("graph cut", "GrabCut", "random walker")
ON_OURS = "graph cut on our evidence"
OURS = "this package"
ALONE = "our evidence alone"
METHODS = (OURS, *PEERS, ON_OURS, ALONE)
_SIDE = 512


@dataclass(slots=True)
class Scores:
    """Figures of one method on one set, one entry per object."""

    iou: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, labels: np.ndarray, case: Case, seconds: float) -> None:
        """Score a result."""
        self.seconds.append(seconds)
        for k in np.unique(case.truth)[1:]:
            self.iou.append(overlap(labels == k, case.truth == k, case.ignore))


def report(limit: int | None = None, repeats: int = 5) -> list[str]:
    """Tables and goals; `limit` cases of each set."""
    scores = {name: _measure(name, limit) for name in NAMES}
    lines = []
    for name, by_method in scores.items():
        count = len(by_method[OURS].iou)
        lines += [f"### {name}: {SETS[name].title}, {count} objects, {SETS[name].shape}", ""]
        rows = [
            (
                method,
                f"{np.mean(s.iou):.3f}",
                f"{worst_decile(s.iou):.3f}",
                f"{1000 * np.median(s.seconds):.0f}",
            )
            for method, s in ((m, by_method[m]) for m in METHODS)
        ]
        lines += table(("method", "mean IoU", "worst decile", "CPU ms"), rows)
    return [*lines, *_goals(scores), *_speed(repeats)]


def _measure(name: str, limit: int | None) -> dict[str, Scores]:
    """Scores of every method on one set."""
    scores: dict[str, Scores] = defaultdict(Scores)
    shape = SETS[name].shape
    for case in SETS[name].cases()[:limit]:
        result, seconds = timed(fit_scribbles, case.image, case.scribbles, shape=shape)
        scores[OURS].add(result.labels, case, seconds)
        alone, seconds = timed(fit_scribbles, case.image, case.scribbles, shape="none")
        scores[ALONE].add(alone.labels, case, seconds)
        labels, seconds = timed(graph_cut, case, result.evidence)
        scores[ON_OURS].add(labels, case, seconds)
        labels, seconds = timed(lambda c: graph_cut(c, colour_evidence(c)), case)
        scores["graph cut"].add(labels, case, seconds)
        for method, peer in (("GrabCut", grab_cut), ("random walker", walker)):
            labels, seconds = timed(peer, case)
            scores[method].add(labels, case, seconds)
    return scores


def _goals(scores: dict[str, dict[str, Scores]]) -> list[str]:
    """Goal lines of quality."""
    lines = ["Goals of quality:", ""]
    for name, by_method in scores.items():
        best = max(PEERS, key=lambda m: np.mean(by_method[m].iou))
        gap = np.mean(by_method[OURS].iou) - np.mean(by_method[best].iou)
        lines.append(at_least(f"{name}: mean IoU above the best peer ({best})", gap, 0.0))
    means = {m: np.mean([np.mean(by[m].iou) for by in scores.values()]) for m in METHODS}
    best = max(PEERS, key=lambda m: means[m])
    text = f"mean over the sets {means[OURS]:.3f}, best single peer {best} {means[best]:.3f}"
    lines.append(at_least(text, means[OURS] - means[best], 0.08))
    gap = means[OURS] - means[ON_OURS]
    lines += [f"- beside: a graph cut on our evidence {means[ON_OURS]:.3f} ({gap:+.3f})", ""]
    return lines


def _images() -> Sequence[Case]:
    """Images of 512 x 512: the coins, and photographs with people's strokes."""
    coins = resize(skimage.data.coins()[:303, :303], (_SIDE, _SIDE), preserve_range=True)
    strokes = np.zeros((_SIDE, _SIDE), np.int32)
    strokes[70:78, 50:80], strokes[16:20, 118:490] = 2, 1
    cases = [Case("coins", coins.astype(np.uint8), strokes, strokes)]
    for case in SETS["grabcut"].cases()[:3]:
        size = (_SIDE, _SIDE)
        image = resize(case.image, size, preserve_range=True).astype(np.uint8)
        drawn = resize(case.scribbles, size, order=0, preserve_range=True, anti_aliasing=False)
        cases.append(Case(case.name, image, drawn.astype(np.int32), drawn.astype(np.int32)))
    return cases


def _speed(repeats: int) -> list[str]:
    """Table and goals of speed."""
    rows, ratios = [], defaultdict(list)
    for case in _images():
        for shape in ("convex", "connected"):
            fit_scribbles(case.image, case.scribbles, shape=shape)
            times = defaultdict(list)
            for _ in range(repeats):
                cold, seconds = timed(fit_scribbles, case.image, case.scribbles, shape=shape)
                times["cold"].append(seconds)
                options = {"shape": shape, "warm_start": cold}
                times["warm"].append(timed(fit_scribbles, case.image, case.scribbles, **options)[1])
                times["walker"].append(timed(walker, case)[1])
            cold, warm, peer = (float(np.median(times[k])) for k in ("cold", "warm", "walker"))
            ratios[shape, "cold"].append(cold / peer)
            ratios[shape, "warm"].append(warm / peer)
            rows.append(
                (
                    *(case.name, shape),
                    *(f"{1000 * t:.0f}" for t in (cold, warm, peer)),
                    f"{cold / peer:.2f}",
                    f"{warm / peer:.2f}",
                )
            )
    head = ("512 x 512", "shape", "cold ms", "warm ms", "random walker ms", "cold over it", "warm")
    lines = ["### Beside the random walker (`cg_j`)", "", *table(head, rows)]
    for (shape, kind), found in ratios.items():
        text = f"{shape}: {kind} fit over the random walker (median of the images)"
        lines.append(at_most(text, float(np.median(found)), 1 if kind == "cold" else 1 / 3))
    return [*lines, ""]
