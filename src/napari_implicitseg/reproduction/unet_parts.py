"""What each part of the default preset of `SemanticConfig` is worth: it is left out, one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_implicitseg.progress import part_of
from napari_implicitseg.reproduction.class_cases import CLASS_SETS
from napari_implicitseg.reproduction.class_scores import cross_validate
from napari_implicitseg.reproduction.report import Report, Table, number, signed

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.reproduction.class_cases import ClassSet

__all__ = ["reproduce"]

NAME = "unet-parts"
_DEFAULT = "default"
_VARIANTS: dict[str, dict[str, Any]] = {
    _DEFAULT: {},
    "no residual sums": {"residual": False},
    "no Dice": {"loss": "cross-entropy"},
    "no average of weights": {"average": 0.0},
    "no augmentation": {"augment": False},
    "constant rate 1e-3, no warm-up": {"schedule": "constant", "learning_rate": 1e-3},
    "patches about any pixel": {"balanced_share": 0.0},
    "4 levels instead of 5": {"depth": 4},
    "3 levels": {"depth": 3},
}
# Of white blood cells so few are learned from that there is something to lose.
_FEW = 10


def reproduce(
    *, limit: int | None, steps: int | None, seed: int, progress: Progress | None
) -> Report:
    """Cross-validate the default preset without each of its parts on three sets.

    Parameters
    ----------
    limit : int, optional
        Folds of each set that are measured; two by default.
    steps : int, optional
        Training steps in each fold; by default a fifth of those of `reproduce unet`, so
        that all takes a quarter of an hour.
    seed : int
    progress : Progress, optional
    """
    sets = [_swapped(one) if one.name == "wbc" else one for one in CLASS_SETS.values()]
    folds = limit or 2
    report = Report(
        name=NAME,
        title="U-Net: the default preset without each of its parts",
        settings={
            "sets": "; ".join(_said(one) for one in sets),
            "folds": f"the first {folds} of each set, as in unet; one seed: differences below "
            "0.02 may be chance",
            "steps": f"{_told_steps(sets, steps)}, for all variants, so that those which are "
            "quicker have less time; the last weights",
            "seed": str(seed),
        },
    )
    scores: dict[str, dict[str, float]] = {name: {} for name in _VARIANTS}
    minutes = dict.fromkeys(_VARIANTS, 0.0)
    done, count = 0, len(sets) * len(_VARIANTS)
    for one in sets:
        cases = one.cases()
        for name, options in _VARIANTS.items():
            found = cross_validate(
                one,
                cases,
                _DEFAULT,
                steps=_steps(one, steps),
                folds=folds,
                seed=seed,
                progress=part_of(progress, done / count, (done + 1) / count, f"{one.name}, {name}"),
                **options,
            )
            scores[name][one.name] = found.figures.iou
            minutes[name] += found.minutes
            report.figures[f"{one.name}/{name}/iou"] = found.figures.iou
            done += 1
    report.figures |= {f"{name}/minutes": value for name, value in minutes.items()}
    _tell(report, sets, scores, minutes)
    return report


def _swapped(one: ClassSet) -> ClassSet:
    """Learn from few images and measure on many."""
    return replace(one, folds=_FEW, few=True)


def _steps(one: ClassSet, steps: int | None) -> int:
    """Return the steps of each training."""
    return steps or one.steps // 5


def _told_steps(sets: list[ClassSet], steps: int | None) -> str:
    """Say how many steps there are."""
    return ", ".join(f"{one.name} {_steps(one, steps)}" for one in sets)


def _said(one: ClassSet) -> str:
    """Say what is learned from."""
    return f"{one.title}, learned from one tenth" if one.few else one.title


def _tell(
    report: Report,
    sets: list[ClassSet],
    scores: dict[str, dict[str, float]],
    minutes: dict[str, float],
) -> None:
    """Put the figures into a table and findings."""
    full = scores[_DEFAULT]
    rows = []
    for name, found in scores.items():
        changes = [found[one.name] - full[one.name] for one in sets]
        mean = sum(changes) / len(changes)
        rows.append(
            (
                name,
                *(
                    number(found[one.name])
                    if name == _DEFAULT
                    else f"{number(found[one.name])} ({signed(change)})"
                    for one, change in zip(sets, changes, strict=True)
                ),
                "-" if name == _DEFAULT else signed(mean),
                f"{minutes[name]:.1f}",
            )
        )
        if name != _DEFAULT:
            report.figures[f"{name}/mean change"] = mean
            report.find(f"{name}: worse in the mean of the sets ({mean:+.3f})", mean < 0)
    head = ("variant", *(one.name for one in sets), "mean change", "minutes")
    report.tables.append(Table("Mean IoU, held out", head, tuple(rows)))
