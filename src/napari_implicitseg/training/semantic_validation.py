"""What of held-out images is measured while a network learns classes."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.training.arrays import Blocks
from napari_implicitseg.training.validation import middle_window
from napari_implicitseg.training.value_counts import BlockCounts, count_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.training.arrays import Window
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = ["ClassValidation", "labelled_window"]

# Pixels of an image, and of all together, by the axes of the network.
_MEASURED = {2: 1 << 20, 3: 112**3}
_ALL = {2: 24 << 20, 3: 16 * 112**3}


class ClassValidation:
    """Windows of held-out images on which models are measured.

    Of a large image it is a window of a million pixels where its classes are, in the middle if
    they are there. Of many images so many are taken, drawn by seed, that all windows have 24
    million pixels (in 3D 22 million voxels); some of every class if they have it. Truth and
    images are read when they are measured, one after the other.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        Held out; labels are classes from 1, 0 unlabelled.
    classes : tuple of str
    ndim : int
        Axes of the network.
    seed : int
    told : callable
        Returns what to call an image.

    Warns
    -----
    UserWarning
        If some images are not measured.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        classes: tuple[str, ...],
        *,
        ndim: int,
        seed: int,
        told: Callable[[str], str],
    ) -> None:
        self._classes, self._told = classes, told
        self._held = tuple(volumes)
        most = _MEASURED[ndim]
        chosen = _chosen(self._held, len(classes), most, _ALL[ndim], seed, told)
        windows = (labelled_window(volumes[i], len(classes), most, ndim) for i in chosen)
        pairs = zip(chosen, windows, strict=True)
        self._cases = [(volumes[i], window) for i, window in pairs if window is not None]
        if len(self._cases) < len(self._held):
            warnings.warn(
                f"Of the {len(self._held)} images that are held out {len(self._cases)} are "
                "measured while training. To measure all, evaluate the model with "
                "held_out=True (--held-out).",
                stacklevel=3,
            )

    def __bool__(self) -> bool:
        return bool(self._cases)

    def __call__(self, model: SemanticModel, device: torch.device) -> dict[str, Any]:
        """Return the figures of a model.

        Returns
        -------
        dict
            What `SemanticEvaluation.as_dict` says; where this is not of all that is held out,
            also "measured": how many "images", "of" how many, and which "share" of the pixels.

        Raises
        ------
        InputError
            If a pixel is NaN or infinite.
        FileError
            If an image cannot be read.
        """
        parts = []
        for volume, window in self._cases:
            raw = volume.read_raw(window)
            truth = volume.read_labels(window)
            found = model.predict(raw, channel_axis=0, device=device, name=volume.name)
            name = self._told(volume.name)
            parts.append(SemanticEvaluation.of(self._classes, found, truth, name))
        figures = SemanticEvaluation.joined(parts).as_dict()
        pixels = sum(_pixels(window) for _, window in self._cases)
        everything = sum(math.prod(volume.shape) for volume in self._held)
        if pixels < everything:
            figures["measured"] = {
                "images": len(self._cases),
                "of": len(self._held),
                "share": pixels / everything,
            }
        return figures


def labelled_window(volume: TrainingVolume, classes: int, most: int, ndim: int) -> Window | None:
    """Choose a window of so many pixels at most, where the classes of an image are.

    Parameters
    ----------
    volume : TrainingVolume
        Labels are classes from 1, 0 unlabelled.
    classes : int
        How many there may be.
    most : int
        Pixels.
    ndim : int
        Axes of the network.

    Returns
    -------
    tuple of slice or None
        All of a small image. The middle of a large one if it has all the classes that are
        anywhere, else the window with the most classes and labels. None if nothing is labelled.
    """
    shape = volume.shape
    if math.prod(shape) <= most:
        return tuple(slice(0, n) for n in shape)
    middle = middle_window(shape, most, ndim)
    counts = _counts(volume, classes)
    total = counts.table.sum(axis=0)
    if not total.any():
        return None
    inside = tuple(
        slice(-(-part.start // b), max(-(-part.start // b), part.stop // b))
        for part, b in zip(middle, counts.block, strict=True)
    )
    if (counts.grid()[inside].reshape(-1, len(total)).any(axis=0) >= (total > 0)).all():
        return middle
    sides = [part.stop - part.start for part in middle]
    if any(side < b for side, b in zip(sides, counts.block, strict=True)):
        return _about_labels(volume, counts, sides)
    return _best(counts, sides)


def _best(counts: BlockCounts, sides: Sequence[int]) -> Window:
    """Return the window along blocks with the most classes, and of these with the most labels."""
    sums = counts.grid()
    for axis, (side, b) in enumerate(zip(sides, counts.block, strict=True)):
        width = side // b
        ends = np.cumsum(sums, axis=axis)
        ends = np.concatenate([np.zeros_like(ends.take([0], axis)), ends], axis=axis)
        last = np.arange(width, ends.shape[axis])
        sums = ends.take(last, axis) - ends.take(last - width, axis)
    there = np.count_nonzero(sums, axis=-1)
    labelled = np.where(there == there.max(), sums.sum(axis=-1), -1)
    places = np.argwhere(labelled == labelled.max())
    centre = (np.array(labelled.shape) - 1) / 2
    place = places[np.abs(places - centre).sum(axis=1).argmin()]
    starts = [
        min(int(i) * b, n - side)
        for i, b, n, side in zip(place, counts.block, counts.shape, sides, strict=True)
    ]
    return tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))


def _about_labels(volume: TrainingVolume, counts: BlockCounts, sides: Sequence[int]) -> Window:
    """Return a window about a label of the block that has most; blocks are longer than it."""
    blocks = Blocks(volume.labels, flat=_is_flat(volume, counts))
    number = int(counts.table.sum(axis=1).argmax())
    found = np.argwhere(blocks.read(number))
    place = found[len(found) // 2] + [part.start for part in blocks.window(number)]
    starts = [
        int(np.clip(at - side // 2, 0, n - side))
        for at, side, n in zip(place, sides, volume.shape, strict=True)
    ]
    return tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))


def _is_flat(volume: TrainingVolume, counts: BlockCounts) -> bool:
    """Whether counts are of blocks that lie in one section."""
    return Blocks(volume.labels).block != counts.block


def _counts(volume: TrainingVolume, classes: int) -> BlockCounts:
    """Pixels of each class in blocks of an image; not counted again if it is known."""
    known: BlockCounts | None = getattr(volume.labels, "counts", None)
    values = range(1, classes + 1)
    counted = known or count_blocks(volume.labels, only=values)
    assert counted is not None
    return counted.of_classes(values)


def _chosen(
    volumes: Sequence[TrainingVolume],
    classes: int,
    most: int,
    together: int,
    seed: int,
    told: Callable[[str], str],
) -> list[int]:
    """Choose images by seed and name, until there are so many pixels: first some of each class."""
    pixels = [min(most, math.prod(volume.shape)) for volume in volumes]
    if sum(pixels) <= together:
        return list(range(len(volumes)))
    by_name = sorted(range(len(volumes)), key=lambda i: told(volumes[i].name))
    order = [
        by_name[i] for i in np.random.default_rng([seed, len(volumes)]).permutation(len(by_name))
    ]
    there = [_counts(v, classes).table.sum(axis=0) > 0 for v in volumes]
    seen = np.zeros(classes, bool)
    first: list[int] = []
    for i in order:
        if (there[i] & ~seen).any():
            first.append(i)
            seen |= there[i]
    left = together
    chosen: list[int] = []
    for i in dict.fromkeys((*first, *order)):
        if pixels[i] <= left or not chosen:
            chosen.append(i)
            left -= pixels[i]
    return sorted(chosen)


def _pixels(window: Window) -> int:
    """How many there are in a window."""
    return math.prod(part.stop - part.start for part in window)
