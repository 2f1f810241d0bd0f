"""The table of the report on a U-Net for classes, cross-validated.

References
----------
O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image
segmentation", MICCAI 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.progress import part_of
from napari_implicitseg.reproduction.class_cases import CLASS_SETS
from napari_implicitseg.reproduction.class_scores import cross_validate, image_iou
from napari_implicitseg.reproduction.report import Report, Table, number
from napari_implicitseg.semantic.pictures import draw_confusion, draw_pictures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.confusion import SemanticEvaluation
    from napari_implicitseg.reproduction.class_cases import ClassCase, ClassSet
    from napari_implicitseg.reproduction.class_scores import Validated

__all__ = ["reproduce"]

NAME = "unet"
_PRESETS = ("default", "report-2024")
_REPORT = {"accuracy": 0.81, "iou": 0.627}
_GOALS = {"wbc": {"iou": 0.85, "accuracy": 0.95}, "axons": {"iou": 0.75}}
_MOST_MINUTES = 15.0
_WORST = 3


def reproduce(
    *, limit: int | None, steps: int | None, seed: int, progress: Progress | None
) -> Report:
    """Cross-validate both presets on three sets.

    Parameters
    ----------
    limit : int, optional
        Folds of each set that are measured; all by default.
    steps : int, optional
        Training steps of the default preset in each fold; by default what the set needs. The
        other preset gets its share of them.
    seed : int
    progress : Progress, optional
    """
    sets = {name: (one, one.cases()) for name, one in CLASS_SETS.items()}
    report = Report(
        name=NAME,
        title="U-Net: classes of pixels, cross-validated",
        settings=_settings(sets, seed),
    )
    report.tables.append(_imbalance(sets))
    done = 0
    for name, (one, cases) in sets.items():
        found = {}
        for preset in _PRESETS:
            low, high = done / (len(sets) * 2), (done + 1) / (len(sets) * 2)
            found[preset] = cross_validate(
                one,
                cases,
                preset,
                steps=_steps(one, preset, steps),
                folds=limit,
                seed=seed,
                worst=_WORST,
                mirrored=True,
                progress=part_of(progress, low, high, f"{name}, {preset}"),
            )
            done += 1
        _tell(report, one, found)
        best = found["default"]
        report.plots[f"{NAME}-{name}-confusion"] = draw_confusion(
            best.figures, title=f"{one.title}, held out, default preset"
        )
        report.plots[f"{NAME}-{name}-worst"] = draw_pictures(best.worst)
    return report


def _steps(one: ClassSet, preset: str, steps: int | None) -> int:
    """Return the steps of a preset that take about as long as those of the default one."""
    usual = {"default": one.steps, "report-2024": one.report_steps}[preset]
    return usual if steps is None else max(1, round(steps * usual / one.steps))


def _imbalance(sets: Mapping[str, tuple[ClassSet, Sequence[ClassCase]]]) -> Table:
    """Say how much of the labelled pixels each class has."""
    rows = []
    for name, (one, cases) in sets.items():
        counts = [
            sum(int((case.mask == i).sum()) for case in cases)
            for i in range(1, len(one.classes) + 1)
        ]
        images = [
            sum(bool((case.mask == i).any()) for case in cases)
            for i in range(1, len(one.classes) + 1)
        ]
        told = [
            f"{label} {count / sum(counts):.1%} ({some})"
            for label, count, some in zip(one.classes, counts, images, strict=True)
        ]
        rows.append((name, str(len(cases)), ", ".join(told)))
    head = ("set", "images", "classes: share of the labelled pixels (images that have them)")
    return Table("Class imbalance", head, tuple(rows))


def _tell(report: Report, one: ClassSet, found: Mapping[str, Validated]) -> None:
    """Put the figures of a set into a table and findings."""
    rows = []
    for preset, result in found.items():
        report.figures |= {
            f"{one.name}/{preset}/steps": result.steps,
            f"{one.name}/{preset}/minutes": result.minutes,
        }
        rows.append(_row(report, one, preset, result.figures, result))
        if result.mirrored is not None:
            rows.append(_row(report, one, f"{preset}, mirrored", result.mirrored, result))
    if one.name == "pets":
        given = (number(_REPORT["accuracy"]), number(_REPORT["iou"]))
        rows.append(("the report's (its own images)", "-", "-", *given, "-", *("-" * 3)))
    head = ("preset", "steps a fold", "minutes", "accuracy", "mean IoU", "mean over images")
    names = tuple(f"IoU of {name}" for name in one.classes)
    report.tables.append(Table(f"{one.title}, held out", (*head, *names), tuple(rows)))
    report.tables.append(_worst(one, found["default"]))
    _find(report, one, found)


def _row(
    report: Report, one: ClassSet, name: str, figures: SemanticEvaluation, result: Validated
) -> tuple[str, ...]:
    """Keep figures, and return them as a row."""
    each = figures.iou_per_class
    base = f"{one.name}/{name}"
    report.figures |= {
        f"{base}/accuracy": figures.accuracy,
        f"{base}/iou": figures.iou,
        f"{base}/image iou": image_iou(figures),
        **{f"{base}/iou of {label}": value for label, value in each.items()},
    }
    return (
        name,
        str(result.steps),
        f"{result.minutes:.1f}",
        number(figures.accuracy),
        number(figures.iou),
        number(image_iou(figures)),
        *(number(each.get(label)) for label in one.classes),
    )


def _worst(one: ClassSet, result: Validated) -> Table:
    """List the worst images."""
    rows = tuple(
        (
            image.name,
            number(image.iou),
            ", ".join(f"{name} {value:.2f}" for name, value in image.iou_per_class.items()),
        )
        for image in result.figures.worst(_WORST)
    )
    return Table(f"{one.title}: worst images, default preset", ("image", "IoU", "classes"), rows)


def _find(report: Report, one: ClassSet, found: Mapping[str, Validated]) -> None:
    """Hold the figures of a set against what is wanted and claimed."""
    ours, theirs = found["default"].figures, found["report-2024"].figures
    for figure, least in _GOALS.get(one.name, {}).items():
        value = getattr(ours, figure)
        named = "mean IoU" if figure == "iou" else figure
        report.find(f"{one.name}: {named} is at least {least:g} ({value:.3f})", value >= least)
    gain = ours.iou - theirs.iou
    report.find(
        f"{one.name}: the default preset is above report-2024 in mean IoU, at about the same "
        f"time ({gain:+.3f})",
        gain > 0,
    )
    minutes = found["default"].minutes
    report.find(
        f"{one.name}: the default preset learns all folds in under {_MOST_MINUTES:g} minutes "
        f"({minutes:.1f})",
        minutes < _MOST_MINUTES,
    )
    if one.name == "pets":
        for figure, value in _REPORT.items():
            named = "mean IoU" if figure == "iou" else figure
            reached = getattr(ours, figure)
            report.find(
                f"pets: the report's {named} of {value:g} is reached with {len(ours.images)} "
                f"images ({reached:.3f})",
                reached >= value,
            )


def _settings(
    sets: Mapping[str, tuple[ClassSet, Sequence[ClassCase]]], seed: int
) -> dict[str, str]:
    """Say how everything is measured."""
    folds = "; ".join(f"{one.title}: {one.folds}" for one, _ in sets.values())
    return {
        "folds": f"{folds}. Images are held out by file, each once, and a new network learns "
        "from the others; figures are over the pixels of all images that were held out",
        "mirrored": "the same networks, predicting the mean over mirror images",
        "weights": "those of the last step: nothing is chosen by what is held out",
        "steps": "the report does not say how long it trains; report-2024 gets as many steps as "
        "take about the time of the default preset on two cores",
        "pets": "photographs are reduced to 160 pixels. The report has thousands of them; here "
        "are 13, of six breeds, four of dogs: far too few to learn what a cat is. The figures "
        "say which preset learns more from very little, and nothing on the report's",
        "seed": str(seed),
    }
