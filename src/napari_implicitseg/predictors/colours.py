"""The colours of objects and background, learnt from strokes and then from what they reach.

Strokes show few of an object's colours. What a first look takes for the objects
and for their surroundings shows more, so the colours are learnt once more from
both (self-training; GrabCut, Rother et al. 2004, alternates the same two steps).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.predictors.histogram import ColourModel
from napari_implicitseg.predictors.weighing import novelty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["StrokeColours"]

# Colours that strokes have not seen are a little more often the objects' than the
# background's, which people paint more freely; novelty adds to both.
_OBJECT_FLOOR, _BACKGROUND_FLOOR, _NOVELTY_SHARE, _MOST_FLOOR = 0.03, 0.02, 0.5, 0.5
# After the first look neither has the advantage.
_LATER_FLOOR = 0.03
# What is learnt from the first look counts as much as the strokes ...
_LIKELY_SHARE = 0.5
# ... but where an object's strokes foretell its colours badly, the rest of it may lie
# outside the first look: then its surroundings teach nothing about the background.
_PATCHY = 0.2
_LEAST_CELLS = 5


class StrokeColours:
    """Colour model of the strokes on one look at an image.

    Parameters
    ----------
    features : ndarray of float32, shape (C, *S)
    seeds : ndarray of int32, shape S
        0 background, positive objects, -1 unlabelled.
    valid : ndarray of bool, shape S
        Cells whose colour is known.
    has_background : bool
        Whether the seeds of value 0 are strokes; if not, objects are told from
        the whole image and there is nothing more to learn.

    Attributes
    ----------
    model : ColourModel
    rounds : int
        How often to learn once more: 0 without background strokes, twice where
        objects are patchy, as the first time finds only part of the rest.
    """

    def __init__(
        self,
        features: NDArray[np.float32],
        seeds: NDArray[np.int32],
        valid: BoolArray,
        *,
        has_background: bool,
    ) -> None:
        self._features = features
        self._seeds = seeds
        self._valid = valid
        self.rounds = 0
        is_object, is_background = valid & (seeds > 0), valid & (seeds == 0)
        self._objects = features[:, is_object]
        if not has_background:
            self.model = ColourModel.fit(self._objects, features[:, valid])
            return
        self._background = features[:, is_background]
        self._patchiness = novelty(self._objects, np.argwhere(is_object))
        self._background_share = _LIKELY_SHARE * max(0.0, 1 - self._patchiness / _PATCHY)
        self.rounds = 1 if self._background_share else 2
        floors = (
            _OBJECT_FLOOR + _NOVELTY_SHARE * self._patchiness,
            _BACKGROUND_FLOOR
            + _NOVELTY_SHARE * novelty(self._background, np.argwhere(is_background)),
        )
        self.model = ColourModel.fit(
            self._objects,
            self._background,
            floors=(min(floors[0], _MOST_FLOOR), min(floors[1], _MOST_FLOOR)),
        )

    def learn(self, inside: BoolArray, near: BoolArray) -> None:
        """Learn the colours once more, from the strokes and from where the objects seem to be.

        Parameters
        ----------
        inside : ndarray of bool, shape S
            Cells taken for an object.
        near : ndarray of bool, shape S
            Cells to look for background in: those around the objects.
        """
        if not self.rounds:
            return
        around = near & ~ndimage.binary_dilation(inside)
        # The rim is a mix of both, but where more of the object may follow it shows the way.
        patchy = self._background_share == 0
        core = inside if patchy else ndimage.binary_erosion(inside, border_value=1)
        if np.count_nonzero(core) >= _LEAST_CELLS:
            inside = core
        taken = self._valid & inside & (self._seeds != 0), self._valid & around & (self._seeds <= 0)
        if min(np.count_nonzero(part) for part in taken) < _LEAST_CELLS:
            return
        self.model = ColourModel.fit(
            self._objects,
            self._background,
            floors=(_LATER_FLOOR, _LATER_FLOOR),
            likely=(self._features[:, taken[0]], self._features[:, taken[1]]),
            shares=(_LIKELY_SHARE, self._background_share),
        )
