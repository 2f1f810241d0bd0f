"""The table of the paper on implicit convex shapes: predictors, their projections, joint fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.api import embed_image, fit_scribbles
from napari_implicitseg.config import FitConfig
from napari_implicitseg.reproduction import plots
from napari_implicitseg.reproduction.cases import SETS
from napari_implicitseg.reproduction.report import Report, Table, number, signed
from napari_implicitseg.reproduction.scores import ious, timed, under_strokes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_implicitseg._types import Progress
    from napari_implicitseg.reproduction.cases import Case

__all__ = ["reproduce"]

NAME = "implicit-convex"
_LIMITS = {"wbc": 20, "dsb": 10}
_NETWORKS = {"cnn": "CNN", "pixel": "pixel network"}
_COUPLINGS = ("sequential", "joint")
_FEATURES: dict[str, tuple[Any, ...]] = {
    "RGB + semantic": ("colour", "multiscale"),
    "RGB + spatial + semantic": ("colour", "multiscale", "position"),
}
# IoU of predictor and convex shape, of what the paper says.
_PAPER = {("cnn", "RGB + spatial + semantic", "joint"): (0.818, 0.899)}
_MOST_LOST = 0.002

_Setting = tuple[str, str, str, str]


@dataclass(slots=True)
class _Scores:
    """IoUs of one setting, one entry per object, and CPU seconds per image."""

    predictor: list[float] = field(default_factory=list)
    convex: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def reproduce(
    *,
    limit: int | None,
    seed: int,
    progress: Progress | None,
    backbone: str | None = None,
    weights: Path | None = None,
) -> Report:
    """Measure the table on white blood cells and nuclei.

    Parameters
    ----------
    limit : int, optional
        Images per set; 20 and 10 by default.
    seed : int
    progress : Progress, optional
    backbone : str, optional
        Network of `timm` for the semantic features. Without one, edges and textures
        at several scales stand in for them.
    weights : path, optional
        Of the backbone; those timm knows are downloaded if None.
    """
    chosen = {name: SETS[name].cases()[: limit or _LIMITS[name]] for name in _LIMITS}
    scores: dict[_Setting, _Scores] = {}
    total, done = sum(map(len, chosen.values())), 0
    for name, cases in chosen.items():
        for case in cases:
            if progress is not None:
                progress(done / total, f"{SETS[name].title}: {case.name}")
            done += 1
            embedding = _embedding(case, backbone, weights, seed)
            for setting in product([name], _NETWORKS, _FEATURES, _COUPLINGS):
                _measure(case, setting, embedding, seed, scores.setdefault(setting, _Scores()))
    report = Report(
        name=NAME,
        title="Implicit convex: predictor and convex shape",
        settings={
            "data": ", ".join(f"{len(c)} images of {SETS[n].title}" for n, c in chosen.items()),
            "semantic features": f"timm's {backbone}"
            if backbone
            else "edges and textures at several scales stand in: no backbone was named",
            "seed": str(seed),
        },
    )
    _tell(report, scores)
    return report


def _embedding(case: Case, backbone: str | None, weights: Path | None, seed: int) -> Any:
    """Semantic features of an image, if a backbone was named."""
    if backbone is None:
        return None
    axis = 2 if case.image.ndim == 3 else None
    return embed_image(case.image, backbone=backbone, weights=weights, channel_axis=axis, seed=seed)


def _measure(case: Case, setting: _Setting, embedding: Any, seed: int, scores: _Scores) -> None:
    """Score one setting on one image."""
    _, network, features, coupling = setting
    kinds = _FEATURES[features]
    if embedding is not None:
        kinds = tuple(kind for kind in kinds if kind != "multiscale")
    result, seconds = timed(
        fit_scribbles,
        case.image,
        case.scribbles,
        shape="convex",
        evidence=network,
        coupling=coupling,
        embedding=embedding,
        seed=seed,
        config=FitConfig(features=kinds),
    )
    assert result.evidence is not None
    scores.predictor += ious(under_strokes(result.evidence > 0.5, case), case)
    scores.convex += ious(result.labels, case)
    scores.seconds.append(seconds)


def _tell(report: Report, scores: dict[_Setting, _Scores]) -> None:
    """Put the figures into table, findings and picture."""
    rows, groups = [], {}
    for (name, network, features, coupling), found in scores.items():
        predictor, convex = float(np.mean(found.predictor)), float(np.mean(found.convex))
        paper = _PAPER.get((network, features, coupling), (None, None))
        rows.append(
            (
                *(name, _NETWORKS[network], features, coupling),
                f"{number(paper[0])} / {number(paper[1])}",
                f"{number(predictor)} / {number(convex)}",
                signed(convex - predictor),
                f"{np.median(found.seconds):.2f}",
            )
        )
        key = f"{name}/{network}/{features}/{coupling}"
        report.figures |= {f"{key}/predictor": predictor, f"{key}/convex": convex}
        groups[f"{name} {network} {coupling[:3]}{' xy' if 'spatial' in features else ''}"] = {
            "predictor": predictor,
            "convex": convex,
        }
    head = ("set", "network", "features", "fit", "paper", "predictor / convex", "gain", "CPU s")
    report.tables.append(Table("Mean IoU of predictor / convex shape", head, tuple(rows)))
    report.plots = {f"{NAME}-iou": plots.bars(groups, y="mean IoU")}
    gains = [float(np.mean(s.convex) - np.mean(s.predictor)) for s in scores.values()]
    report.find(
        "the convex shape is not worse than its predictor by more than 0.002 in the mean of any "
        f"setting (least {min(gains):+.3f}, mean {np.mean(gains):+.3f})",
        min(gains) >= -_MOST_LOST,
    )
    apart = [
        float(np.mean(s.convex) - np.mean(scores[(*key[:3], "sequential")].convex))
        for key, s in scores.items()
        if key[3] == "joint"
    ]
    won = sum(gap > 0 for gap in apart)
    report.figures["joint above sequential"] = float(np.mean(apart))
    report.find(
        "joint is at least as good as sequential in the mean over settings "
        f"({np.mean(apart):+.3f})",
        float(np.mean(apart)) >= 0,
    )
    report.find(
        f"the paper's claim that joint beats sequential in every setting ({won} of {len(apart)})",
        won == len(apart),
    )
