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
# Strokes that slip over a border do not take what lies beyond: this share of them counts nothing.
_DOUBT = 0.1
# Strokes lie on few labels, and on many grey levels.
_MOST_LABELS, _MOST_SHARE = 16, 0.08


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
        _refuse_grey_levels(self._under)
        held = [set(self._under[samples.ids == label].tolist()) for label in samples.objects]
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
        shares = [
            np.bincount(places[part], minlength=len(known)) / max(int(np.count_nonzero(part)), 1)
            for part in (own, others)
        ]
        likely = (shares[0] + _DOUBT * _UNSEEN) / (shares[0] + shares[1] + _DOUBT)
        return known, np.clip(likely, _LEAST, _MOST).astype(np.float32)

    def _values_under(self, samples: Samples) -> NDArray[Any]:
        """Labels under the strokes, (N,), read box by box from the array."""
        low, high = samples.coords.min(axis=0), samples.coords.max(axis=0) + 1
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        values = np.asarray(self._labels[box])
        return np.asarray(values[tuple((samples.coords - low).T)])


def _refuse_grey_levels(under: NDArray[Any]) -> None:
    """Raise an InputError if strokes lie on nearly as many values as they have voxels."""
    count = len(np.unique(under))
    if count > max(_MOST_LABELS, _MOST_SHARE * len(under)):
        raise InputError(
            f"The layer given as evidence has whole numbers from {under.min()} to {under.max()}, "
            f"{count} of them under the strokes: that looks like grey levels, not like labels. Of "
            "a probability map divide by its largest possible value."
        )
