"""All figures of a segmentation against the truth: arrays or files in, a mapping out.

>>> found = evaluate([[1, 1, 2, 2]], [[7, 7, 7, 7]])
>>> found["voi_split"], found["voi_merge"], round(found["adapted_rand_recall"], 3)
(1.0, 0.0, 0.333)
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg import metrics as scores
from napari_implicitseg._contingency import compared_voxels
from napari_implicitseg.class_scores import class_accuracy, class_ious
from napari_implicitseg.errors import InputError
from napari_implicitseg.matching import Matches, match_objects, mean_average_precision
from napari_implicitseg.mistakes import worst_merges, worst_splits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.metrics import Contingency
    from napari_implicitseg.mistakes import Mistake

__all__ = ["METRICS", "Evaluation", "evaluate", "evaluate_table"]

# A table in the terminal is not the place for the classes of a thousand neurons.
_MOST_CLASSES = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Evaluation(Mapping[str, Any]):
    """Figures by name, in the order they were asked for.

    Attributes
    ----------
    table : Contingency
        What they were made of: how many voxels each object shares with each of the truth.
    figures : mapping of str to float, int or mapping
        The figures; `evaluate` says what they mean.
    notes : tuple of str
        What a reader of the figures should know.
    """

    table: Contingency
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.figures)

    def __len__(self) -> int:
        return len(self.figures)

    def __repr__(self) -> str:
        """Return a line per figure; of many classes none."""
        lines = [line for name, value in self.figures.items() for line in _lines(name, value)]
        return "\n".join(["Evaluation", *lines, *(f"  note: {note}" for note in self.notes)])

    def worst_splits(self, number: int = 10) -> tuple[Mistake, ...]:
        """Objects of the truth that were cut into pieces; see `mistakes.worst_splits`."""
        return worst_splits(self.table, number)

    def worst_merges(self, number: int = 10) -> tuple[Mistake, ...]:
        """Segments that join several objects of the truth; see `mistakes.worst_merges`."""
        return worst_merges(self.table, number)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them: ids and thresholds become text."""
        return {name: _plain(value) for name, value in self.figures.items()}


def evaluate(
    labels: Any,
    truth: Any,
    *,
    metrics: str | Iterable[str] = "all",
    ignore: int | None = 0,
    border: float | None = None,
    spacing: Sequence[float] | None = None,
    background: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a segmentation with the truth.

    All figures come from one contingency table, which is made block by block: volumes in zarr,
    dask or HDF5 are never in memory as a whole.

    Parameters
    ----------
    labels, truth : array of int or bool, shape S; or path
        NumPy, zarr, dask, HDF5; or files, as `volumes.read_labels` takes them. Ids are 0 and up.
    metrics : "all", or one or several of these names
        Of semantic label images, whose ids mean the same on both sides (0 to 1, 1 is perfect):

        - "iou": mean over the classes of the truth of "iou_per_class", a mapping of their ids;
        - "accuracy": share of the voxels that have the label of the truth.

        Of segmentations into objects, whose ids may differ:

        - "voi_split", "voi_merge", "voi" (their sum): variation of information in bits, 0 is
          perfect; what objects cut into pieces, and objects joined, cost;
        - "rand": Rand index, 0 to 1, 1 is perfect;
        - "adapted_rand_error" (0 is perfect), "adapted_rand_precision" (lowered by merges) and
          "adapted_rand_recall" (by splits), 0 to 1;
        - "cremi": geometric mean of "voi" and "adapted_rand_error", 0 is perfect;
        - "ap_50", "ap_75": TP / (TP + FP + FN) of objects matched with an IoU of 0.5 and 0.75 at
          least, 0 to 1, 1 is perfect; "ap": their mean at 0.5, 0.55 ... 0.95; "matches": a
          mapping of these IoUs to `Matches`, with precision, recall, F1 and panoptic quality.

        Counts: "objects" and "truth_objects" (the background not counted), "voxels" that were
        compared, and "ignored" ones.
    ignore : int, optional
        Label of the truth whose voxels are left out of all figures; None leaves out none.
        With 0, for truth that is not labelled everywhere, nothing is said of what the labels
        claim outside the objects of the truth. Where 0 means that there is no object, as in
        images of cells, None counts that, too.
    border : float, optional
        Voxels up to this distance from a border of the truth are left out, too, section by
        section, as in the CREMI challenge; see `metrics.contingency_blocks`.
    spacing : sequence of float, optional
        Size of a voxel along each axis, in the unit of `border`; by default that of the truth's
        file, else 1.
    background : int, optional
        Label whose voxels are objects of one voxel each for the adapted Rand error and the CREMI
        score, on the side of the labels. By default there is none, as in scikit-image; the
        challenges take 0. Matches know no object of this label on either side, by default of 0.
    progress : Progress, optional
        Hears of each block, and may cancel.

    Returns
    -------
    Evaluation
        A mapping from names to figures.

    Raises
    ------
    InputError
        If the volumes differ in shape, hold no integers or negative ones, there is no voxel to
        compare, a name is unknown, or an option is out of range.
    FileError
        If a file cannot be read.
    Cancelled
        If `progress` asked to stop.

    References
    ----------
    See `metrics.voi`, `metrics.rand_index`, `metrics.adapted_rand` and `matching.match_objects`.
    """
    names, single = _checked_names(metrics), _checked_background(background)
    segments, _ = _opened(labels, "labels")
    objects, own = _opened(truth, "truth")
    table = scores.contingency_blocks(
        segments,
        objects,
        ignore=ignore,
        border=border,
        spacing=own if spacing is None else spacing,
        progress=progress,
    )
    return evaluate_table(table, metrics=names, ignore=ignore, border=border, background=single)


def evaluate_table(
    table: Contingency,
    *,
    metrics: str | Iterable[str] = "all",
    ignore: int | None = 0,
    border: float | None = None,
    background: int | None = None,
) -> Evaluation:
    """Work out the figures of a contingency table, for instance of a cut of a hierarchy.

    Parameters
    ----------
    table : Contingency
    metrics, background : optional
        As `evaluate` takes them.
    ignore, border : optional
        What the table was made with. Only notes and errors depend on them.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If no voxel was compared, ids are negative, a name is unknown or an option out of range.
    """
    names, single = _checked_names(metrics), _checked_background(background)
    _check_table(table, border)
    figures = _Figures(table, single)
    return Evaluation(
        table=table,
        figures={name: _FIGURES[name](figures) for name in names},
        notes=_notes(table, ignore),
    )


class _Figures:
    """What several figures share, worked out once and only if it is asked for."""

    def __init__(self, table: Contingency, background: int | None) -> None:
        self.table = table
        self.background = background

    @cached_property
    def voi(self) -> scores.VariationOfInformation:
        return scores.voi(self.table)

    @cached_property
    def rand(self) -> scores.AdaptedRand:
        return scores.adapted_rand(self.table, background=self.background)

    @cached_property
    def ious(self) -> dict[int, float]:
        return class_ious(self.table)

    @cached_property
    def matches(self) -> dict[float, Matches]:
        return match_objects(self.table, background=self.background or 0)

    def objects(self, ids: NDArray[Any]) -> int:
        """Count ids that are not the background."""
        return int(np.count_nonzero(ids != (self.background or 0)))


_FIGURES: dict[str, Callable[[_Figures], Any]] = {
    "voi_split": lambda f: f.voi.split,
    "voi_merge": lambda f: f.voi.merge,
    "voi": lambda f: f.voi.total,
    "rand": lambda f: scores.rand_index(f.table),
    "adapted_rand_error": lambda f: f.rand.error,
    "adapted_rand_precision": lambda f: f.rand.precision,
    "adapted_rand_recall": lambda f: f.rand.recall,
    "cremi": lambda f: scores.cremi_score(f.table, background=f.background),
    "ap": lambda f: mean_average_precision(f.matches),
    "ap_50": lambda f: f.matches[0.5].average_precision,
    "ap_75": lambda f: f.matches[0.75].average_precision,
    "matches": lambda f: f.matches,
    "iou": lambda f: float(np.mean(list(f.ious.values()))),
    "iou_per_class": lambda f: f.ious,
    "accuracy": lambda f: class_accuracy(f.table),
    "objects": lambda f: f.objects(f.table.label_ids),
    "truth_objects": lambda f: f.objects(f.table.truth_ids),
    "voxels": lambda f: f.table.total,
    "ignored": lambda f: f.table.ignored,
}

METRICS = tuple(_FIGURES)
"""Names of all figures, in the order of `metrics="all"`."""


def _checked_names(metrics: Any) -> tuple[str, ...]:
    """Return the names that were asked for, each once."""
    if isinstance(metrics, str):
        metrics = METRICS if metrics == "all" else (metrics,)
    known = ", ".join(METRICS)
    names = list(metrics) if isinstance(metrics, Iterable) else []
    if not names:
        raise InputError(f"metrics is {metrics!r}; give 'all', or some of {known}.")
    if unknown := [n for n in names if not isinstance(n, str) or n not in _FIGURES]:
        raise InputError(f"There is no figure {unknown[0]!r}; known are {known}.")
    return tuple(dict.fromkeys(names))


def _checked_background(background: Any) -> int | None:
    """Return a label, or None."""
    if background is None:
        return None
    try:
        return operator.index(background)
    except TypeError as error:
        raise InputError(
            f"background is {background!r}; give a label of the segmentation, or None."
        ) from error


def _opened(volume: Any, name: str) -> tuple[Any, tuple[float, ...] | None]:
    """Return an array, and the size of a voxel if its file says it."""
    if isinstance(volume, str | os.PathLike):
        from napari_implicitseg.volumes import read_labels

        opened = read_labels(volume, name=name)
        return opened.data, opened.grid().spacing
    if hasattr(volume, "shape") and hasattr(volume, "dtype") and hasattr(volume, "__getitem__"):
        return volume, None
    try:
        return np.asarray(volume), None
    except ValueError as error:
        raise InputError(
            f"The {name} are lists of different lengths; give an array of integers."
        ) from error


def _check_table(table: Contingency, border: float | None) -> None:
    """Refuse tables of no voxel, and of ids that no object has."""
    if not table.total and border is not None and table.ignored:
        raise InputError(
            f"There is no voxel to compare: all {table.ignored} are left out, as they have the "
            f"label of the truth that is ignored or are within border={border:g} of another. Give "
            "a smaller border, in the unit of spacing."
        )
    compared_voxels(table)
    for ids, name, mend in (
        (table.label_ids, "labels", "set what is no segment to 0"),
        (table.truth_ids, "truth", "relabel it, or leave that label out by ignore"),
    ):
        if ids.size and ids[0] < 0:
            raise InputError(f"The {name} hold {ids[0]}; ids are 0 and up: {mend}.")


def _notes(table: Contingency, ignore: int | None) -> tuple[str, ...]:
    """Say where the figures may be taken for something else."""
    notes = []
    if len(table.truth_ids) == 1 and table.ignored:
        notes.append(
            f"The truth has only the label {table.truth_ids[0]} where it is compared; "
            f"{table.ignored} voxels are left out, and what the labels claim there is not seen. "
            "ignore=None counts it."
        )
    if table.label_ids.tolist() == [0] and table.truth_ids.tolist() != [0]:
        notes.append("The labels are 0 wherever they are compared: there is no segment.")
    return tuple(notes)


def _lines(name: str, value: Any) -> list[str]:
    """Return a figure as lines of text."""
    if not isinstance(value, Mapping):
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        return [f"  {name:<23} {text}"]
    if name == "matches":
        return [f"  {one!r}" for one in value.values() if one.threshold in (0.5, 0.75)]
    if len(value) > _MOST_CLASSES:
        return []
    return [f"  {f'iou of {key}':<23} {share:.6g}" for key, share in value.items()]


def _plain(value: Any) -> Any:
    """Return a figure as JSON can hold it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return value.as_dict() if isinstance(value, Matches) else value
