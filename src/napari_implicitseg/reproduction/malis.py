"""The table of the report on MALIS: thresholding, its network, and networks of today.

References
----------
S. C. Turaga, K. L. Briggman, M. Helmstaedter, W. Denk and H. S. Seung, "Maximin affinity
learning of image segmentation", NeurIPS 2009.
J. Funke et al., "Large scale image segmentation with structured loss based deep learning for
connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.api import predict_affinities, train_affinities
from napari_implicitseg.config import TrainConfig
from napari_implicitseg.hierarchy.components import image_affinities
from napari_implicitseg.models.folder import load_model, shipped_models
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.progress import part_of
from napari_implicitseg.reproduction import em_plots
from napari_implicitseg.reproduction.em_cases import EM_SETS, noise
from napari_implicitseg.reproduction.em_scores import (
    Choice,
    Rule,
    Scores,
    choose,
    mean_scores,
    segmented_section,
)
from napari_implicitseg.reproduction.malis_claims import REPORT, TITLES, VIEWS, find_claims
from napari_implicitseg.reproduction.report import Report, Table, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_implicitseg._types import Progress
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import ForeignModel
    from napari_implicitseg.reproduction.em_cases import EmSet

__all__ = ["reproduce"]

NAME = "malis"
_STEPS = 3000
_SECTIONS = 16
_NETWORKS: dict[str, dict[str, Any]] = {
    "cnn": {"network": "cnn", "loss": "pairwise-malis", "ndim": 2},
    "unet-cross-entropy": {"loss": "cross-entropy"},
    "unet-malis": {"loss": "malis"},
}
_SHIPPED = {"isbi2012": "sstem-2d", "fib25": "fibsem-isotropic"}
# By the number of axes in which objects hang together.
_SIZES = {2: (30, 100, 300), 3: (100,)}
_TRAINING = 0.8
_PLAIN = "thresholding"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Scores of a method.

    Attributes
    ----------
    choice : Choice
        With the scores on the part that was learned from.
    held : Scores
        On the held-out part, at what was chosen.
    bound : Scores
        The smallest adapted Rand error there, over all thresholds.
    """

    choice: Choice
    held: Scores
    bound: Scores


def reproduce(
    *, limit: int | None, steps: int | None, seed: int, progress: Progress | None
) -> Report:
    """Train the networks and measure the table on two sets.

    Parameters
    ----------
    limit : int, optional
        Sections of a part that are scored at most, where they are scored one by one;
        16 by default.
    steps : int, optional
        Training steps of each of the six networks; 3000 by default.
    seed : int
    progress : Progress, optional
    """
    sets = [read() for read in EM_SETS.values()]
    report = Report(
        name=NAME,
        title="MALIS: thresholding, the report's network and U-Nets",
        settings=_settings(sets, steps or _STEPS, limit or _SECTIONS, seed),
    )
    trained: list[tuple[str, ...]] = []
    bars: dict[str, dict[str, tuple[float, float]]] = {}
    with TemporaryDirectory() as folder:
        for k, em in enumerate(sets):
            part = part_of(progress, k / len(sets), (k + 1) / len(sets), em.name)
            source = _Source(em, Path(folder), report, trained)
            affinities = source.all(steps or _STEPS, seed, part_of(part, 0, _TRAINING))
            for number_of_view, ndim in enumerate(em.truths):
                begin, end = _view_share(number_of_view, len(em.truths))
                outcomes = _measure(
                    em, ndim, affinities, limit or _SECTIONS, part_of(part, begin, end)
                )
                _tell(report, em, ndim, outcomes)
                report.plots[f"{NAME}-{em.name}-{VIEWS[ndim]}"] = _picture(
                    em, ndim, affinities, outcomes
                )
                bars[f"{_where(em, ndim)}, held out"] = {
                    TITLES[key]: (o.held.voi_split, o.held.voi_merge)
                    for key, o in outcomes.items()
                    # Its specks would make the axis too long for the others to be seen.
                    if key != _PLAIN
                }
    head = ("set", "network", "steps", "minutes", "weights")
    report.tables.append(Table("Training", head, tuple(trained)))
    report.plots[f"{NAME}-voi"] = em_plots.split_and_merge(bars)
    return report


class _Source:
    """Affinities of the scored parts of a set, from the image and from networks."""

    def __init__(
        self, em: EmSet, folder: Path, report: Report, trained: list[tuple[str, ...]]
    ) -> None:
        self._em, self._folder, self._report, self._trained = em, folder, report, trained
        self._parts = [np.asarray(part.raw) for part in em.scored(min(em.truths))]

    def all(
        self, steps: int, seed: int, progress: Progress | None
    ) -> dict[str, tuple[Affinities, Affinities]]:
        """Train the networks; returns affinities of both parts by method."""
        out = {_PLAIN: self._both(self._of_image)}
        out["thresholding-grown"] = out[_PLAIN]
        for k, key in enumerate(_NETWORKS):
            share = (k / len(_NETWORKS), (k + 1) / len(_NETWORKS))
            model = self._train(key, steps, seed, part_of(progress, *share, TITLES[key]))
            out[key] = self._both(lambda raw, m=model: self._predicted(raw, m))
        name = _SHIPPED[self._em.name]
        if name in shipped_models():
            shipped = load_model(name)
            out["shipped"] = self._both(lambda raw: self._predicted(raw, shipped))
        return out

    def _both(self, predict: Any) -> tuple[Affinities, Affinities]:
        """Affinities of the part that was learned from, and of the one that was not."""
        taught, held = map(predict, self._parts)
        return taught, held

    def _of_image(self, raw: Any) -> Affinities:
        """Affinities straight from the grey levels, scaled as networks see them."""
        scaling = Normalisation().scaling(raw[None])
        return image_affinities(
            raw,
            neighbourhood("direct", ndim=3),
            spacing=self._em.spacing,
            limits=(scaling.low[0], scaling.high[0]),
        )

    def _predicted(self, raw: Any, model: AffinityModel | ForeignModel) -> Affinities:
        """Affinities by a network."""
        return predict_affinities(raw, model, spacing=self._em.spacing)

    def _train(self, key: str, steps: int, seed: int, progress: Progress | None) -> AffinityModel:
        """Train a network on all that is not held out; its last weights are taken."""
        em = self._em
        options = {"ndim": max(em.truths)} | _NETWORKS[key]
        config = TrainConfig(
            **options,
            steps=steps,
            checkpoint_every=steps,
            seed=seed,
            # The part held out is not even there: nothing is chosen by it.
            held_out=0.0,
            unit="nanometer",
        )
        begin = time.perf_counter()
        model = train_affinities(
            [em.parts(config.ndim or 3)[0]],
            config=config,
            out=self._folder / f"{em.name}-{key}",
            progress=progress,
        )
        minutes = (time.perf_counter() - begin) / 60
        weights = sum(p.numel() for p in model.network.parameters())
        self._trained.append((em.name, TITLES[key], str(steps), f"{minutes:.1f}", str(weights)))
        self._report.figures[f"{em.name}/{key}/steps"] = steps
        self._report.figures[f"{em.name}/{key}/minutes"] = minutes
        return model


def _measure(
    em: EmSet,
    ndim: int,
    affinities: Mapping[str, tuple[Affinities, Affinities]],
    sections: int,
    progress: Progress | None,
) -> dict[str, _Outcome]:
    """Score all methods that give objects of so many axes."""
    taught, held = (np.asarray(part.labels) for part in em.scored(ndim))
    out = {}
    fitting = list(_fitting(affinities, ndim))
    for k, key in enumerate(fitting):
        if progress is not None:
            progress(k / len(fitting), f"scores of {TITLES[key]}")
        first, second = affinities[key]
        rule = Rule((0,), False) if key == _PLAIN else Rule(_SIZES[ndim], True)
        choice = choose(first, taught, rule, ndim=ndim, sections=sections)
        every = mean_scores(second, held, choice.size, choice.grow, ndim=ndim, sections=sections)
        best = min(every.values(), key=lambda scores: scores.adapted_rand_error)
        out[key] = _Outcome(choice, every[choice.threshold], best)
    return out


def _fitting(affinities: Mapping[str, tuple[Affinities, Affinities]], ndim: int) -> Iterator[str]:
    """Go through the methods; those without edges across sections give no volume."""
    for key, (some, _) in affinities.items():
        if ndim == 2 or any(offset[0] for offset in some.offsets):
            yield key


def _tell(report: Report, em: EmSet, ndim: int, outcomes: Mapping[str, _Outcome]) -> None:
    """Put the figures of a set into a table and findings."""
    rows = []
    for key, outcome in outcomes.items():
        _keep_figures(report, f"{em.name}/{VIEWS[ndim]}/{key}", outcome)
        choice, held, bound = outcome.choice, outcome.held, outcome.bound
        pairs = [
            f"{number(getattr(choice.scores, score))} / {number(getattr(held, score))}"
            for score in (*Scores._fields, "voi")
        ]
        rows.append(
            (
                TITLES[key],
                f"{choice.threshold:g}, {choice.size}",
                *pairs,
                f"{number(bound.adapted_rand_error)}, {number(bound.voi)}",
                REPORT.get((em.name, ndim, key), "-"),
            )
        )
    head = (
        *("method", "threshold, least size", "Rand index", "adapted Rand error", "VOI split"),
        *("VOI merge", "VOI", "held-out at its best threshold: error, VOI"),
        "report: 1 - score",
    )
    report.tables.append(Table(f"{_where(em, ndim)}: train / held-out", head, tuple(rows)))
    find_claims(
        report,
        em.name,
        ndim,
        _where(em, ndim),
        {key: outcome.held for key, outcome in outcomes.items()},
        {key: outcome.bound for key, outcome in outcomes.items()},
    )


def _keep_figures(report: Report, base: str, outcome: _Outcome) -> None:
    """Keep the scores of a method by their names."""
    parts = {
        "train": outcome.choice.scores,
        "held-out": outcome.held,
        "held-out at best": outcome.bound,
    }
    report.figures[f"{base}/threshold"] = outcome.choice.threshold
    report.figures[f"{base}/least size"] = outcome.choice.size
    for part, scores in parts.items():
        for name, value in {**scores._asdict(), "voi": scores.voi}.items():
            report.figures[f"{base}/{part}/{name}"] = value


def _picture(
    em: EmSet,
    ndim: int,
    affinities: Mapping[str, tuple[Affinities, Affinities]],
    outcomes: Mapping[str, _Outcome],
) -> Any:
    """Show the section in the middle of the held-out part."""
    _, held = em.scored(ndim)
    place = len(held.labels) // 2
    panels = {
        TITLES[key]: segmented_section(affinities[key][1], outcome.choice, place, ndim=ndim)
        for key, outcome in outcomes.items()
    }
    return em_plots.coloured(held.raw[place], held.labels[place], panels)


def _view_share(number_of_view: int, count: int) -> tuple[float, float]:
    """Return where in the work on a set the scores of a view begin and end."""
    step = (1 - _TRAINING) / count
    return _TRAINING + number_of_view * step, _TRAINING + (number_of_view + 1) * step


def _where(em: EmSet, ndim: int) -> str:
    """Name a set and what of it is scored."""
    return f"{em.name}, {VIEWS[ndim]}"


def _settings(sets: list[EmSet], steps: int, sections: int, seed: int) -> dict[str, str]:
    """Say how everything is measured."""
    data = []
    for em in sets:
        taught, held = em.parts(min(em.truths))
        data.append(
            f"{em.title}: learned from {len(taught.labels)} sections of "
            f"{' x '.join(map(str, em.raw.shape[1:]))}, the last {len(held.labels)} are held out "
            f"(noise {noise(taught.raw):.1f} and {noise(held.raw):.1f} grey levels)"
        )
    shipped = [name for name in _SHIPPED.values() if name in shipped_models()]
    return {
        "data": "; ".join(data),
        "noise": "standard deviation of what a Gaussian of one pixel takes from a section. Where "
        "the held-out part is noisier, a threshold chosen on the other does not suit it",
        "sections": "each section is an image with a truth of its own, scores are means over "
        f"sections, {sections} of a part at most; of U-Nets in 3D the edges within it are taken",
        "volume": "objects in 3D; of the train part as many sections as are held out, next to them",
        "networks": f"{steps} steps each, on all that is not held out; the last weights, averaged "
        "over steps, are taken. MALIS takes over from cross-entropy after half of the steps. The "
        "CNN sees sections, U-Nets sections of isbi2012 and fib25 in 3D",
        "objects": "components above a threshold, which grow over those that are smaller than a "
        "least size; plain thresholding has no least size and does not grow. Threshold and size "
        "are those of the smallest adapted Rand error on the train part; the best threshold of "
        "the held-out part is given as an upper bound",
        "scores": "voxels of truth 0 (membranes of isbi2012) are left out",
        "report": "its scores are like a Rand index or, of CREMI, 1 - adapted Rand error; 1 - "
        "score stands beside our adapted Rand error. For thresholding its text has 0.72, its "
        "authors' later table 0.752. Its volumes of CREMI are others than ours",
        "shipped models": (
            f"{' and '.join(shipped)}: their weights were chosen on the held-out part"
            if shipped
            else "none"
        ),
        "seed": str(seed),
    }
