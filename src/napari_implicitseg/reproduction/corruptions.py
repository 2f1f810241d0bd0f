"""A predictor on corrupted images, and the convex shapes nearest to what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.api import project_labels
from napari_implicitseg.predictors.describing import Describer
from napari_implicitseg.predictors.networks import StrokeNetwork
from napari_implicitseg.reproduction import plots
from napari_implicitseg.reproduction.cases import SETS, seeded
from napari_implicitseg.reproduction.damage import DAMAGES
from napari_implicitseg.reproduction.report import Report, Table, number, signed
from napari_implicitseg.reproduction.scores import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.reproduction.cases import Case

__all__ = ["reproduce"]

NAME = "corruptions"
_LIMIT = 30
_TRAINED = 16
_CLEAN = "clean"
_PAPER = "+0.007 to +0.019"
_MOST_LOST = 0.002


def reproduce(*, limit: int | None, seed: int, progress: Progress | None) -> Report:
    """Measure the table on white blood cells.

    Parameters
    ----------
    limit : int, optional
        Images to test on; 30 by default.
    seed : int
    progress : Progress, optional
    """
    cases = SETS["wbc"].cases()
    # Every other one, so that both dyes of the set are in both parts.
    taught, tested = cases[::2][:_TRAINED], cases[1::2][: limit or _LIMIT]
    predictor = _Predictor(taught, seed)
    scores: dict[str, list[tuple[float, float]]] = {}
    shown = []
    for number_of_kind, kind in enumerate((_CLEAN, *DAMAGES)):
        for k, case in enumerate(tested):
            if progress is not None:
                share = (number_of_kind + k / len(tested)) / (1 + len(DAMAGES))
                progress(share, f"{kind}: image {k + 1} of {len(tested)}")
            image = _damaged(case, kind)
            probability = predictor(image)
            mask, truth = probability > 0.5, case.truth == 2
            convex = project_labels(probability, shape="convex", seed=seed).labels == 1
            scores.setdefault(kind, []).append((overlap(mask, truth), overlap(convex, truth)))
            if k == 0:
                shown.append((kind, image, [mask, convex, truth]))
    report = Report(
        name=NAME,
        title="Corruptions: a predictor and its convex projection",
        settings={
            "data": f"{len(tested)} white blood cells; the predictor, a convolutional network of "
            f"4 layers of 16, has learned {len(taught)} others, clean and whole",
            "corruptions": "severity 5 of Hendrycks and Dietterich, lengths scaled to the images",
            "seed": str(seed),
        },
    )
    _tell(report, {kind: np.mean(found, axis=0) for kind, found in scores.items()})
    report.plots[f"{NAME}-masks"] = plots.outlined(shown, ("predictor", "convex", "truth"))
    return report


class _Predictor:
    """A network trained on whole images side by side."""

    def __init__(self, cases: Sequence[Case], seed: int) -> None:
        size = np.min([case.truth.shape for case in cases], axis=0)
        box = tuple(slice(0, int(n)) for n in size)
        channels = np.concatenate([_channels(_scaled(case))[:, *box] for case in cases], axis=1)
        truth = np.concatenate([case.truth[box] == 2 for case in cases])
        self._describe = Describer(channels, _places(channels), ("colour", "multiscale"))
        self._network = StrokeNetwork("cnn", seed=seed)
        self._network.train(self._describe(channels, _places(channels)), truth, ~truth)

    def __call__(self, image: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probability of cell for an image (Y, X, 3)."""
        channels = _channels(image)
        return self._network.predict(self._describe(channels, _places(channels)))


def _places(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stand in for coordinates: where a pixel lies is not described."""
    return np.zeros((2, *channels.shape[1:]), np.float32)


def _scaled(case: Case) -> NDArray[np.float64]:
    """Return the image of a case from 0 to 1."""
    return np.asarray(case.image, float) / 255


def _channels(image: NDArray[np.float64]) -> NDArray[np.float32]:
    """Colours first."""
    return np.ascontiguousarray(np.moveaxis(image, -1, 0), np.float32)


def _damaged(case: Case, kind: str) -> NDArray[np.float64]:
    """Return the image of a case, corrupted or not."""
    image = _scaled(case)
    if kind == _CLEAN:
        return image
    return np.clip(DAMAGES[kind](image, seeded(f"{kind}/{case.name}")), 0, 1)


def _tell(report: Report, means: dict[str, NDArray[np.float64]]) -> None:
    """Put the figures into table, findings and picture."""
    rows = [
        (kind, _PAPER if kind != _CLEAN else "-", number(a), number(b), signed(b - a))
        for kind, (a, b) in means.items()
    ]
    head = ("corruption", "paper: gain", "predictor", "convex", "gain")
    report.tables.append(Table("Mean IoU at severity 5", head, tuple(rows)))
    gains = {kind: float(b - a) for kind, (a, b) in means.items()}
    report.figures |= {f"{kind}/gain": gain for kind, gain in gains.items()}
    report.plots[f"{NAME}-iou"] = plots.bars(
        {kind: {"predictor": float(a), "convex": float(b)} for kind, (a, b) in means.items()},
        y="mean IoU",
    )
    better = sum(gain > 0 for gain in gains.values())
    report.find(
        f"the projection is better in all columns ({better} of {len(gains)})", better == len(gains)
    )
    report.find(
        f"it is never worse by more than 0.002 in the mean (least {min(gains.values()):+.3f})",
        min(gains.values()) >= -_MOST_LOST,
    )
