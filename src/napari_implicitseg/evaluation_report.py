"""An evaluation as it is shown and written: figures with what they mean, a report as JSON or CSV.

The command line and the widget write the same.

>>> from napari_implicitseg.evaluation import evaluate
>>> rows = figure_rows(evaluate([1, 1, 2, 2], [7, 7, 7, 7], metrics=["voi_split", "iou_per_class"]))
>>> [(row.name, row.value) for row in rows]
[('voi_split', 1.0), ('iou_per_class/7', 0.0)]
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_implicitseg.evaluation import Evaluation
    from napari_implicitseg.mistakes import Mistake

__all__ = ["MEANINGS", "FigureRow", "Meaning", "figure_rows", "report_of", "write"]


class Meaning(NamedTuple):
    """What a figure says.

    Attributes
    ----------
    title : str
    better : {"lower", "higher", ""}
        Which values are better; nothing for counts.
    text : str
        The rest, for a person to read.
    """

    title: str
    better: Literal["lower", "higher", ""]
    text: str


MEANINGS: dict[str, Meaning] = {
    "voi_split": Meaning("VOI split", "lower", "bits; objects cut into pieces; 0 is perfect"),
    "voi_merge": Meaning("VOI merge", "lower", "bits; objects joined; 0 is perfect"),
    "voi": Meaning("VOI", "lower", "bits; both together"),
    "rand": Meaning("Rand index", "higher", "share of pairs of voxels treated alike"),
    "adapted_rand_error": Meaning("Adapted Rand error", "lower", "0 is perfect"),
    "adapted_rand_precision": Meaning("Rand precision", "higher", "merges lower it"),
    "adapted_rand_recall": Meaning("Rand recall", "higher", "splits lower it"),
    "cremi": Meaning(
        "CREMI score", "lower", "geometric mean of voi and adapted_rand_error; 0 is perfect"
    ),
    "ap": Meaning("AP", "higher", "mean over IoU 0.5 to 0.95; 1 is perfect"),
    "ap_50": Meaning("AP at IoU 0.5", "higher", "objects matched with IoU 0.5 and more"),
    "ap_75": Meaning("AP at IoU 0.75", "higher", "objects matched with IoU 0.75 and more"),
    "matches": Meaning("Matches", "", "objects matched one to one from an IoU on"),
    "iou": Meaning(
        "Class IoU, mean",
        "higher",
        "if ids are classes: mean over those of the truth; 1 is perfect",
    ),
    "iou_per_class": Meaning("IoU", "higher", "if ids are classes: of one class"),
    "accuracy": Meaning(
        "Class accuracy", "higher", "if ids are classes: share of voxels with that of the truth"
    ),
    "objects": Meaning("Objects", "", "in the labels, where compared"),
    "truth_objects": Meaning("Objects of truth", "", "in the truth"),
    "voxels": Meaning("Voxels", "", "compared"),
    "ignored": Meaning("Left out", "", "voxels left out"),
}
"""What each of `evaluation.METRICS` says."""


class FigureRow(NamedTuple):
    """One number of an evaluation.

    Attributes
    ----------
    name : str
        As in `Evaluation`; of figures with parts, such as "matches/0.5/tp", with their keys.
    value : float or int
    meaning : Meaning
    """

    name: str
    value: float | int
    meaning: Meaning


def figure_rows(found: Evaluation) -> list[FigureRow]:
    """List all numbers of an evaluation, those with parts one by one."""
    rows: list[FigureRow] = []
    for name, value in found.as_dict().items():
        rows += (FigureRow(key, one, MEANINGS[name]) for key, one in _numbers(name, value))
    return rows


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float | int]]:
    """Go through a figure and its parts."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _numbers(f"{name}/{key}", part)
    else:
        yield name, value if isinstance(value, int) else float(value)


def report_of(
    found: Evaluation,
    mistakes: Sequence[Mistake] = (),
    places: Sequence[tuple[int, ...] | None] = (),
    *,
    listed: bool = True,
    **context: Any,
) -> dict[str, Any]:
    """Return an evaluation as JSON can hold it.

    Parameters
    ----------
    found : Evaluation
    mistakes : sequence of Mistake
    places : sequence of tuple of int or None
        Where each mistake is to be looked at, as `find_places` says it.
    listed : bool
        Whether mistakes were asked for: else there are no lists of them.
    **context
        What was compared and how, in the order it is written before the figures.
    """
    report = {**context, "figures": found.as_dict()}
    return {**report, **_listed(mistakes, places)} if listed else report


def _listed(
    mistakes: Sequence[Mistake], places: Sequence[tuple[int, ...] | None]
) -> dict[str, list[dict[str, Any]]]:
    """Return mistakes as JSON can hold them, splits and merges apart."""
    found: dict[str, list[dict[str, Any]]] = {"worst_splits": [], "worst_merges": []}
    for one, place in zip(mistakes, places, strict=True):
        entry = {
            "id": one.id,
            "parts": list(one.parts),
            "voxels": list(one.voxels),
            "bits": one.bits,
            "place": None if place is None else list(place),
        }
        found[f"worst_{one.kind}s"].append(entry)
    return found


def write(
    path: Path, report: Mapping[str, Any], rows: Sequence[FigureRow], *, overwrite: bool = False
) -> None:
    """Write a report as JSON, or its figures as CSV where the file is named .csv.

    Parameters
    ----------
    path : Path
    report : mapping
        As `report_of` makes it.
    rows : sequence of FigureRow
        As `figure_rows` lists them; for CSV.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    OutputExistsError
        If the file is there.
    FileError
        If it cannot be written.
    """
    from napari_implicitseg.atomic import replace_file

    as_csv = path.suffix.lower() == ".csv"
    text = _csv(rows) if as_csv else json.dumps(report, ensure_ascii=False, indent=1)
    with replace_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _csv(rows: Sequence[FigureRow]) -> str:
    """Return figures as a table of name, value, which is better, and meaning."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("figure", "value", "better", "meaning"))
    for row in rows:
        lines.writerow((row.name, repr(row.value), row.meaning.better, row.meaning.text))
    return text.getvalue()
