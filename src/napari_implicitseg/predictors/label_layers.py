"""A layer of labels as evidence: classes or instances of any tool.

What the strokes of an object lie on is the object, what other strokes lie on
is not; both may be several labels, as of a watershed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.block_means import sampled_mean
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_implicitseg.features import Window
    from napari_implicitseg.scribbles import Samples

__all__ = ["LabelLayer"]

# How likely a label is that no stroke lies on, and the bounds of what strokes can say.
_UNSEEN = 0.1
_LEAST, _MOST = 0.03, 0.97
_DOUBT = 0.03
# Strokes that slip over a border do not take what lies beyond: fewer voxels count nothing, unless
# they are a fair share of those on the object's main label.
_LEAST_VOXELS, _FAIR = 3, 0.25
# Neighbours have the same label as a rule; of many grey levels they rarely have the same.
_MOST_LABELS, _LEAST_SAME = 16, 0.4


class LabelLayer:
    """Probability of each object by the labels its strokes lie on.

    Parameters
    ----------
    labels : array of integer
        NumPy, dask or zarr, of the image's spatial shape.
    samples : Samples
        The strokes.

    Attributes
    ----------
    doubts : tuple of str
        What the user had better know.
    apart : bool
        Whether no label has strokes of two objects, as of instances; of classes the
        nearest stroke has to tell them apart.

    Raises
    ------
    InputError
        If the strokes lie on so many labels that they must be grey levels.
    """

    def __init__(self, labels: Any, samples: Samples) -> None:
        self._labels = labels
        self._samples = samples
        self.state: Mapping[str, NDArray[np.float32]] = {}
        self.losses: list[float] = []
        self._under = self._values_under(samples)
        _refuse_grey_levels(self._under, samples.coords)
        held = [set(self._under[samples.ids == label].tolist()) for label in samples.objects]
        self.doubts = tuple(
            f"The strokes of object {label} lie on 0 of the label layer, mostly. Labels count "
            "whatever their number; if 0 means that nothing was found, paint elsewhere, or choose "
            "other evidence."
            for label in samples.objects
            if (self._under[samples.ids == label] == 0).mean() > 0.5
        )
        self.apart = sum(map(len, held)) == len(set().union(*held))

    def probability(self, label: int, window: Window) -> NDArray[np.float32]:
        """Probability of an object over a window, shape window.shape."""
        known, likely = self._table(label)
        values = np.asarray(self._labels[window.slices])
        place = np.searchsorted(known, values).clip(max=len(known) - 1)
        table = np.where(known[place] == values, likely[place], np.float32(_UNSEEN))
        return np.asarray(sampled_mean(table[None], window.step)[0], np.float32)

    def _table(self, label: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Labels under strokes, ascending, and how likely each is the object."""
        known, places = np.unique(self._under, return_inverse=True)
        own = self._samples.ids == label
        others = ~own if self.apart else self._samples.is_background
        counts = [np.bincount(places[part], minlength=len(known)) for part in (own, others)]
        slipped = (counts[0] < _LEAST_VOXELS) & (counts[0] < _FAIR * counts[0].max())
        counts[0] = np.where(slipped, 0, counts[0])
        shares = [count / max(int(count.sum()), 1) for count in counts]
        likely = (shares[0] + _DOUBT * _UNSEEN) / (shares[0] + shares[1] + _DOUBT)
        return known, np.clip(likely, _LEAST, _MOST).astype(np.float32)

    def _values_under(self, samples: Samples) -> NDArray[Any]:
        """Labels under the strokes, (N,), read box by box from the array."""
        low, high = samples.coords.min(axis=0), samples.coords.max(axis=0) + 1
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        values = np.asarray(self._labels[box])
        return np.asarray(values[tuple((samples.coords - low).T)])


def _refuse_grey_levels(under: NDArray[Any], coords: NDArray[np.int64]) -> None:
    """Raise an InputError if neighbours under the strokes hardly ever have the same value."""
    neighbours = (np.diff(coords, axis=0) == np.eye(coords.shape[1], dtype=int)[-1]).all(axis=1)
    same = (np.diff(under.astype(np.float64)) == 0)[neighbours]
    count = len(np.unique(under))
    if count > _MOST_LABELS and same.size and same.mean() < _LEAST_SAME:
        raise InputError(
            f"The layer given as evidence has whole numbers from {under.min()} to {under.max()}, "
            f"{count} of them under the strokes: that looks like grey levels, not like labels. Of "
            "a probability map divide by its largest possible value."
        )
