"""The upsampler on single photographs: training, and 20 sloppy outlines of one object each."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.api import fit_scribbles
from napari_implicitseg.config import OUTLINES, FitConfig
from napari_implicitseg.reproduction import plots
from napari_implicitseg.reproduction.cases import SETS, seeded
from napari_implicitseg.reproduction.report import Report, Table, number
from napari_implicitseg.reproduction.scores import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, Progress
    from napari_implicitseg.reproduction.cases import Case

__all__ = ["reproduce", "sloppy_outline"]

NAME = "single-image"
_LIMIT = 3
_OUTLINES = 20
_CORNERS = 14
# How far corners and whole outline are off, in roots of the object's area.
_CORNER, _SHIFT = 0.05, 0.025
_LEAST_AGREEMENT, _LEAST_GAIN = 0.95, 0.05
_METHODS = {
    "original": ("original", "none"),
    "encoder-decoder": ("encoder-decoder", "none"),
    "encoder-decoder, connected": ("encoder-decoder", "connected"),
}


def sloppy_outline(truth: BoolArray, rng: np.random.Generator) -> BoolArray:
    """Draw a polygon of 14 corners about an object, each off by a twentieth of its size."""
    from skimage.draw import polygon2mask
    from skimage.measure import find_contours

    labels, count = ndimage.label(ndimage.binary_fill_holes(truth))
    whole = labels == 1 + int(np.argmax(np.bincount(labels.ravel(), minlength=count + 1)[1:]))
    border = max(find_contours(np.pad(whole, 1).astype(float), 0.5), key=len) - 1
    size = np.sqrt(whole.sum())
    steps = np.linspace(0, len(border) - 1, _CORNERS, endpoint=False)
    steps = steps + rng.uniform(-0.5, 0.5, _CORNERS) * len(border) / _CORNERS
    corners = border[np.sort(steps.astype(int) % len(border))]
    corners = corners + rng.normal(0, _CORNER * size, corners.shape)
    return np.asarray(polygon2mask(truth.shape, corners + rng.normal(0, _SHIFT * size, 2)))


def reproduce(*, limit: int | None, seed: int, progress: Progress | None) -> Report:
    """Measure tolerance on photographs of cats and dogs.

    Parameters
    ----------
    limit : int, optional
        Photographs; 3 by default.
    seed : int
    progress : Progress, optional
    """
    cases = SETS["pets"].cases()[: limit or _LIMIT]
    report = Report(
        name=NAME,
        title="Single image: 20 sloppy outlines made precise",
        settings={
            "data": f"{len(cases)} photographs of cats and dogs",
            "outlines": f"{_OUTLINES} polygons of {_CORNERS} corners, off by 5 % of the object's "
            "size each and by 2.5 % together",
            "seed": str(seed),
        },
    )
    rows: list[tuple[str, ...]] = []
    shown: list[tuple[str, NDArray[Any], Sequence[BoolArray]]] = []
    losses: dict[str, list[float]] = {}
    for k, case in enumerate(cases):
        rng = seeded(f"{case.name}/{seed}")
        drawn = [sloppy_outline(case.truth == 2, rng) for _ in range(_OUTLINES)]
        rows.append(_row(report, case, "outlines", drawn, ()))
        for number_of_method, (name, (network, shape)) in enumerate(_METHODS.items()):
            if progress is not None:
                share = (k + number_of_method / len(_METHODS)) / len(cases)
                progress(share, f"{case.name}: {name}")
            found, curve = _answers(case, drawn, network, shape, seed)
            rows.append(_row(report, case, name, found, drawn))
            if shape == "none":
                losses[f"{case.name}, {network}"] = curve
                shown.append((f"{case.name}: {name}", case.image, found))
        shown.append((f"{case.name}: outlines", case.image, drawn))
    head = ("photograph", "method", "IoU with the truth", "agreement", "gain")
    title = "Mean IoU of the masks with the truth, and with each other"
    report.tables.append(Table(title, head, tuple(rows)))
    report.plots = {
        f"{NAME}-training": plots.curves(losses, x="step", y="loss"),
        f"{NAME}-outlines": plots.outlined(shown),
    }
    return report


def _answers(
    case: Case, drawn: Sequence[BoolArray], network: str, shape: str, seed: int
) -> tuple[list[BoolArray], list[float]]:
    """Masks for all outlines by a network trained once, and its losses."""
    config = FitConfig(upsampler=network)  # type: ignore[arg-type]
    result, found = None, []
    losses: list[float] = []
    for outline in drawn:
        result = fit_scribbles(
            case.image,
            2 * outline.astype(np.uint8),
            shape=shape,
            evidence=OUTLINES,
            warm_start=result,
            seed=seed,
            config=config,
        )
        losses = losses or list(result.history["loss/upsampler"])
        found.append(result.labels == 2)
    return found, losses


def _row(
    report: Report,
    case: Case,
    name: str,
    masks: Sequence[NDArray[np.bool_]],
    drawn: Sequence[NDArray[np.bool_]],
) -> tuple[str, ...]:
    """Score masks against the truth and each other, and against the outlines if they are others."""
    truth = case.truth == 2
    iou = float(np.mean([overlap(mask, truth, case.ignore) for mask in masks]))
    agreement = float(np.mean([overlap(a, b) for a, b in combinations(masks, 2)]))
    report.figures |= {
        f"{case.name}/{name}/iou": iou,
        f"{case.name}/{name}/agreement": agreement,
    }
    if not drawn:
        return case.name, name, number(iou), number(agreement), ""
    gain = iou - report.figures[f"{case.name}/outlines/iou"]
    report.find(
        f"{case.name}, {name}: masks agree by at least 0.95 ({agreement:.3f}) and are nearer to "
        f"the truth than the outlines by at least 0.05 ({gain:+.3f})",
        agreement >= _LEAST_AGREEMENT and gain >= _LEAST_GAIN,
    )
    return case.name, name, number(iou), number(agreement), f"{gain:+.3f}"
