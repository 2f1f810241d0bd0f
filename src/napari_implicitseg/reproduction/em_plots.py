"""Pictures of segmentations: labels in colour on sections, and bars of split and merge."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.metrics import contingency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["coloured", "matched", "split_and_merge"]

_COLUMNS = 4
_DPI = 75
_OPACITY = 0.5
# Far from any id of the truth: what is not the larger part of an object.
_OTHERS = 1 << 40


def coloured(
    image: NDArray[Any],
    truth: NDArray[np.integer[Any]],
    panels: Mapping[str, NDArray[np.integer[Any]]],
) -> Callable[[IO[bytes]], None]:
    """Show an image, its truth and segmentations side by side.

    A segment has the colour of the object it is the largest part of, so that what has the
    same colour in all panels is right; other parts have other colours. 0 is not coloured.

    Parameters
    ----------
    image : ndarray, shape (Y, X)
    truth : ndarray of int, shape (Y, X)
    panels : mapping of str to ndarray of int, shape (Y, X)
        By title.
    """

    def draw(file: IO[bytes]) -> None:
        shown = {"truth": truth.astype(np.int64)}
        shown |= {name: matched(labels, truth) for name, labels in panels.items()}
        rows = -(-(len(shown) + 1) // _COLUMNS)
        figure, places = _figure(rows, _COLUMNS, (3.5 * _COLUMNS, 3.8 * rows))
        for axes, name in zip(places, ("image", *shown), strict=False):
            axes.imshow(image, cmap="gray")
            if name in shown:
                axes.imshow(_colours(shown[name]), interpolation="nearest")
            axes.set_title(name, fontsize=11)
        for axes in places:
            axes.set_axis_off()
        figure.savefig(file, dpi=_DPI, format="png")

    return draw


def split_and_merge(
    groups: Mapping[str, Mapping[str, tuple[float, float]]],
) -> Callable[[IO[bytes]], None]:
    """Stack the split and the merge part of VOI, in bits, for methods of each group.

    Parameters
    ----------
    groups : mapping of str to mapping of str to (float, float)
        Split and merge by method by title of the group.
    """

    def draw(file: IO[bytes]) -> None:
        figure, places = _figure(1, len(groups), (4.6 * len(groups), 4.5))
        for axes, (title, methods) in zip(places, groups.items(), strict=True):
            split, merge = np.array(list(methods.values())).T
            at = np.arange(len(methods))
            axes.bar(at, split, 0.7, label="split")
            axes.bar(at, merge, 0.7, bottom=split, label="merge")
            axes.set_xticks(at, list(methods), rotation=35, ha="right", fontsize=9)
            axes.set(title=title, ylabel="VOI, bits")
            axes.legend()
        figure.savefig(file, dpi=_DPI, format="png")

    return draw


def matched(labels: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Give segments the ids of the objects they are the largest parts of.

    Parameters
    ----------
    labels, truth : ndarray of int, same shape
        0 is nothing in either.

    Returns
    -------
    ndarray of int64
        Ids of the truth, each of one segment at most; other segments have ids far beyond.
    """
    ids, inverse = np.unique(labels, return_inverse=True)
    new = _OTHERS + np.arange(len(ids), dtype=np.int64)
    if truth.any():
        table = contingency(labels, truth)
        seen: set[int] = set()
        # Of a merger its largest object gives the colour.
        for entry in np.argsort(-table.counts, kind="stable"):
            place = int(np.searchsorted(ids, table.label_ids[table.rows[entry]]))
            wanted = int(table.truth_ids[table.columns[entry]])
            if wanted not in seen and new[place] >= _OTHERS and ids[place]:
                new[place] = wanted
            seen.add(wanted)
    new[ids == 0] = 0
    return new[inverse].reshape(labels.shape)


def _colours(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return a colour for each id, transparent where it is 0."""
    from matplotlib.colors import hsv_to_rgb

    values, inverse = np.unique(ids, return_inverse=True)
    draws = np.stack([np.random.default_rng(int(value)).random(3) for value in values])
    table = np.empty((len(values), 4), np.float32)
    table[:, :3] = hsv_to_rgb(draws * (1, 0.5, 0.4) + (0, 0.5, 0.6))
    table[:, 3] = np.where(values == 0, 0, _OPACITY)
    return table[inverse.reshape(ids.shape)]


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Sequence[Any]]:
    """Make a figure that needs no screen, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())
