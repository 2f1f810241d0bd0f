"""The part of an image that is held out where no whole image can be."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.training.arrays import HiddenWindow
from napari_implicitseg.training.membranes import is_anisotropic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.training.arrays import Window
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = ["HeldPart", "hold_part", "part_name", "part_of", "split_name"]

# Of a class that has twice so many pixels a part should have some; of larger ones so many.
_ENOUGH = 16
# Axes at least so long are cut on both sides where no end of an axis has all classes,
_LONG = 48
# at so many places.
_PLACES = 5
# Masks in files up to so many pixels are looked at whole.
_WHOLE = 1 << 24
_NAMED = re.compile(r"(.*) \(((?:[zyx] \d+ to \d+(?:, )?)+)\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPart:
    """An image in two parts.

    Attributes
    ----------
    taught, held : TrainingVolume
        What is learned from, and what is measured on.
    place : str
        Where `held` lies, such as "y 72 to 95"; pixels are counted from 0.
    unlearned, unmeasured : tuple of int
        Classes, from 1, that the image has but one of its parts has not.
    """

    taught: TrainingVolume
    held: TrainingVolume
    place: str
    unlearned: tuple[int, ...]
    unmeasured: tuple[int, ...]


def hold_part(volume: TrainingVolume, share: float, classes: int) -> HeldPart | None:
    """Hold a part of an image out, where both parts have every class if there is such a place.

    Tried are both ends of every axis, then, of images that are long enough, boxes spread over
    them. The first of those with most classes is taken: that they can be learned counts before
    that they can be measured. Of large masks in files parts are made of whole blocks.

    Parameters
    ----------
    volume : TrainingVolume
        Labels are classes from 1, 0 unlabelled.
    share : float
        Share of the image, between 0 and 1.
    classes : int
        How many there are.

    Returns
    -------
    HeldPart or None
        None if there are too few labels: two classes to learn from, and a pixel to measure.
    """
    cells = _Cells.of(volume, share, classes)
    total = cells.counts.reshape(-1, classes).sum(axis=0)
    count = int(np.count_nonzero(total))
    best: tuple[tuple[int, int], Window, NDArray[np.int64]] | None = None
    for window in _places(volume, share, cells):
        inside = cells.within(window)
        left = total - inside
        if not inside.any() or np.count_nonzero(left) < 2:
            continue
        score = _score(inside, left, total, share)
        if best is None or score > best[0]:
            best = score, window, inside
        if score == (count, count):
            break
    if best is None:
        return None
    _, window, inside = best
    held = part_of(volume, window)
    there = total > 0
    return HeldPart(
        taught=_rest_of(volume, window),
        held=held,
        place=_place_of(window, volume.shape),
        unlearned=_numbers(there & (inside == total)),
        unmeasured=_numbers(there & (inside == 0)),
    )


def part_of(volume: TrainingVolume, window: Window) -> TrainingVolume:
    """Return a part of an image under the name that `split_name` understands.

    Raises
    ------
    InputError
        If it lies outside the image.
    """
    if any(part.stop > n for part, n in zip(window, volume.shape, strict=True)):
        raise InputError(
            f"{volume.name[:1].upper()}{volume.name[1:]} has shape {volume.shape}, and the part "
            f"{_place_of(window, ())} of it was held out. Give the image the model was trained "
            "with, or measure all of it."
        )
    return replace(volume.crop(window), name=part_name(volume.name, window, volume.shape))


def part_name(name: str, window: Window, shape: Sequence[int]) -> str:
    """Name a part of an image, such as "'cell.png' (y 72 to 95)"."""
    return f"{name} ({_place_of(window, shape)})"


def split_name(name: str) -> tuple[str, dict[str, tuple[int, int]]]:
    """Return the name of an image, and where a part of it lies: first pixel and last, by axis.

    Parameters
    ----------
    name : str
        Of an image, or what `part_name` has made of it.
    """
    found = _NAMED.fullmatch(name)
    if found is None:
        return name, {}
    cuts = (cut.split() for cut in found[2].split(", "))
    return found[1], {axis: (int(first), int(last)) for axis, first, _, last in cuts}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cells:
    """Pixels of each class in the cells of a grid, along which an image can be cut.

    Attributes
    ----------
    edges : tuple of ndarray of int
        Where it can be cut, per axis, from 0 to its length.
    counts : ndarray of int64, shape (*cells per axis, classes)
    """

    edges: tuple[NDArray[np.int64], ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, volume: TrainingVolume, share: float, classes: int) -> _Cells:
        """Look at the mask of an image; not again at one that is counted."""
        labels, shape = volume.labels, volume.shape
        counted = getattr(labels, "counts", None)
        if counted is not None and np.prod(shape, dtype=float) > _WHOLE:
            starts = (np.arange(0, n, b) for n, b in zip(shape, counted.block, strict=True))
            edges = tuple(np.append(first, n) for first, n in zip(starts, shape, strict=True))
            return cls(edges=edges, counts=counted.grid())
        cuts: list[set[int]] = [{0, n} for n in shape]
        for window in (*_ends(shape, share, range(len(shape))), *_boxes(shape, share)):
            for known, part in zip(cuts, window, strict=True):
                known.update((part.start, part.stop))
        edges = tuple(np.array(sorted(known)) for known in cuts)
        return cls(edges=edges, counts=_cell_counts(np.asarray(labels[...]), edges, classes))

    def fitting(self, window: Window) -> Window | None:
        """Return the window along edges that is next to one, or None if it is none or all."""
        parts = []
        for part, edges in zip(window, self.edges, strict=True):
            near = [int(edges[np.abs(edges - at).argmin()]) for at in (part.start, part.stop)]
            parts.append(slice(*near))
        lengths = [part.stop - part.start for part in parts]
        whole = all(n == edges[-1] for n, edges in zip(lengths, self.edges, strict=True))
        return None if whole or not all(lengths) else tuple(parts)

    def within(self, window: Window) -> NDArray[np.int64]:
        """Pixels of each class in a window along edges."""
        cells = tuple(
            slice(*np.searchsorted(edges, (part.start, part.stop)).tolist())
            for part, edges in zip(window, self.edges, strict=True)
        )
        found: NDArray[np.int64] = self.counts[cells].reshape(-1, self.counts.shape[-1]).sum(axis=0)
        return found


def _cell_counts(
    labels: NDArray[Any], edges: Sequence[NDArray[np.int64]], classes: int
) -> NDArray[np.int64]:
    """Count the pixels of each class in each cell."""
    sides = [len(e) - 1 for e in edges[1:]]
    cells = np.zeros(labels.shape[1:], np.int64)
    for axis, (at, length) in enumerate(zip(edges[1:], labels.shape[1:], strict=True)):
        number = np.searchsorted(at, np.arange(length), side="right") - 1
        rest = [1] * cells.ndim
        rest[axis] = length
        cells = cells * sides[axis] + number.reshape(rest)
    rows = []
    for first, last in itertools.pairwise(edges[0]):
        found = np.zeros(int(np.prod(sides)) * (classes + 1), np.int64)
        for section in labels[first:last]:
            found += np.bincount((cells * (classes + 1) + section).ravel(), minlength=len(found))
        rows.append(found.reshape(*sides, classes + 1)[..., 1:])
    return np.stack(rows)


def _places(volume: TrainingVolume, share: float, cells: _Cells) -> Iterator[Window]:
    """Go through the places that may be held out, the usual ones first."""
    shape = volume.shape
    axes = sorted(range(len(shape)), key=lambda axis: -shape[axis])
    if is_anisotropic(volume.voxel_size):
        axes.sort(key=bool)
    for window in (*_ends(shape, share, axes), *_boxes(shape, share)):
        fitting = cells.fitting(window)
        if fitting is not None:
            yield fitting


def _ends(shape: Sequence[int], share: float, axes: Sequence[int]) -> Iterator[Window]:
    """Go through the ends of axes: the far ones, then the near ones."""
    for far in (True, False):
        for axis in axes:
            n = shape[axis]
            length = max(1, round(n * share))
            if length < n:
                window = [slice(0, side) for side in shape]
                window[axis] = slice(n - length, n) if far else slice(0, length)
                yield tuple(window)


def _boxes(shape: Sequence[int], share: float) -> Iterator[Window]:
    """Go through boxes spread over an image that is long along two axes at least."""
    long = [axis for axis, n in enumerate(shape) if n >= _LONG]
    if len(long) < 2:
        return
    spans: list[list[slice]] = [[slice(0, n)] for n in shape]
    for axis in long:
        n = shape[axis]
        side = max(1, round(n * share ** (1 / len(long))))
        starts = sorted({round(i * (n - side) / (_PLACES - 1)) for i in range(_PLACES)})
        spans[axis] = [slice(start, start + side) for start in starts]
    yield from itertools.product(*spans)


def _score(
    inside: NDArray[np.int64], left: NDArray[np.int64], total: NDArray[np.int64], share: float
) -> tuple[int, int]:
    """How many classes can be learned, and how many are shared well by both parts."""
    wanted = np.minimum(_ENOUGH, total // (2 * _ENOUGH))
    well = (inside >= wanted) & (left >= (1 - share) / 2 * total) & (total > 0)
    return int(np.count_nonzero(left)), int(np.count_nonzero(well))


def _rest_of(volume: TrainingVolume, window: Window) -> TrainingVolume:
    """Return an image without a part: cut off, or without labels there."""
    cut = [a for a, (p, n) in enumerate(zip(window, volume.shape, strict=True)) if p != slice(0, n)]
    part, n = window[cut[0]], volume.shape[cut[0]]
    if len(cut) == 1 and (part.start == 0 or part.stop == n):
        rest = [slice(0, side) for side in volume.shape]
        rest[cut[0]] = slice(0, part.start) if part.start else slice(part.stop, n)
        return volume.crop(tuple(rest))
    if isinstance(volume.labels, np.ndarray):
        labels: Any = volume.labels.copy()
        labels[window] = 0
    else:
        labels = HiddenWindow(volume.labels, window)
    return replace(volume, labels=labels)


def _place_of(window: Window, shape: Sequence[int]) -> str:
    """Write where a part lies, along the axes it is cut."""
    lengths = shape or (0,) * len(window)
    return ", ".join(
        f"{name} {part.start} to {part.stop - 1}"
        for name, part, n in zip("zyx"[-len(window) :], window, lengths, strict=True)
        if part != slice(0, n)
    )


def _numbers(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
    """Numbers of classes, from 1."""
    return tuple(int(i) + 1 for i in np.flatnonzero(chosen))
