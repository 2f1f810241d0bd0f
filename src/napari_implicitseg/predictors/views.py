"""Windows of an image with the strokes in them, and how far every cell is from these."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.features import Window, smooth
from napari_implicitseg.predictors.geodesic import TwoNearest, two_nearest
from napari_implicitseg.predictors.looks import (
    BACKGROUND,
    Look,
    closest_object,
    coarse_window,
    cropped,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.features import Reader
    from napari_implicitseg.scribbles import Samples

__all__ = ["Views"]

# Cells of the coarse look at the whole image, by number of axes.
_COARSE_CELLS = {2: 208**2, 3: 48**3}
# An earlier fit already knows where the objects are.
_WARM_CELLS = {2: 128**2, 3: 40**3}
# Length along the image's longest side that a change across the whole range of colours is worth.
_EDGE_FACTOR = 12.0
_BLUR = 0.6
# Background strokes rarely show all of the background: the border of the image stands for the
# rest, as if it lay this share of the image's longest side further away.
_BORDER_SHARE = 0.1


class Views:
    """Looks at windows of an image, and distances to the strokes in them.

    Parameters
    ----------
    reader : Reader
    samples : Samples
        The strokes.
    spacing : tuple of float
        Voxel size per axis.
    along_edges : bool
        Whether changes of the image are far to walk across.
    warm : bool
        Whether an earlier fit knows where to look: then windows can do without the
        coarse distances.

    Attributes
    ----------
    coarse : Window
        The coarse look at the whole image.
    whole : Look
        That look.
    edge_weight : float
        Length that a change of the features across their whole range is worth.
    """

    def __init__(
        self,
        reader: Reader,
        samples: Samples,
        *,
        spacing: tuple[float, ...],
        along_edges: bool,
        warm: bool,
    ) -> None:
        self._reader = reader
        self._samples = samples
        self._spacing = spacing
        self._ids = samples.objects
        self._look_far = not warm
        cells = (_WARM_CELLS if warm else _COARSE_CELLS)[len(reader.shape)]
        self.coarse = coarse_window(reader, samples, spacing, cells)
        sides = zip(self.coarse.start, self.coarse.stop, spacing, strict=True)
        longest = max((b - a) * s for a, b, s in sides)
        self.edge_weight = _EDGE_FACTOR * longest if along_edges else 0.0
        self.whole = self._look(self.coarse)
        self._known_distances: TwoNearest | None = None
        self._known: dict[Window, tuple[Look, TwoNearest]] = {}
        self._territories: list[tuple[slice, ...] | None] | None = None

    @property
    def _nearest(self) -> TwoNearest:
        """Distances over the coarse look, computed when first asked for."""
        if self._known_distances is None:
            self._known_distances = self._distances(self.whole, None)
        return self._known_distances

    def territory(self, label: int) -> Window:
        """Part of the coarse look outside which another object is nearer, or an object unlikely."""
        if self._territories is None:
            closest = closest_object(self._nearest)
            self._territories = ndimage.find_objects(np.maximum(closest, 0), len(self._ids))
        coarse = self.coarse
        cells = coarse.cells(self._samples.coords[self._samples.ids == label])
        inside = ((cells >= 0) & (cells < coarse.shape)).all(axis=1)
        low, high = cells[inside].min(axis=0), cells[inside].max(axis=0) + 1
        box = self._territories[self._ids.index(label)]
        if box is not None:
            low = np.minimum(low, [b.start for b in box])
            high = np.maximum(high, [b.stop for b in box])
        start, step = np.asarray(coarse.start), np.asarray(coarse.step)
        stop = np.minimum(start + high * step, coarse.stop)
        return Window(tuple((start + low * step).tolist()), tuple(stop.tolist()), coarse.step)

    def at(self, window: Window) -> tuple[Look, TwoNearest]:
        """Look at a window and the distances in it, remembered."""
        if window not in self._known:
            self._known[window] = self._view(window)
        return self._known[window]

    def finer(self, window: Window) -> Look:
        """Look at a window closely, without strokes and distances."""
        return self._with_seeds(window, np.empty(window.shape, np.int32))

    def pitch(self, window: Window) -> tuple[float, ...]:
        """Physical size of a window's cells."""
        return tuple(s * k for s, k in zip(self._spacing, window.step, strict=True))

    def _view(self, window: Window) -> tuple[Look, TwoNearest]:
        """Look at a window and the distances in it."""
        box = self._place_in_coarse(window)
        if box is not None:
            return self.whole.cropped(window, box), cropped(self._nearest, box)
        look = self._look(window)
        alone = self._look_far or not (look.seeds == BACKGROUND).any()
        return look, self._distances(look, self._rim(window) if alone else None)

    def _place_in_coarse(self, window: Window) -> tuple[slice, ...] | None:
        """Cells of the coarse look that a window consists of, None if it is finer."""
        coarse = self.coarse
        box = []
        for a, b, s, c, d, t in zip(
            window.start,
            window.stop,
            window.step,
            coarse.start,
            coarse.stop,
            coarse.step,
            strict=True,
        ):
            aligned = (a - c) % t == 0 and (b == d or (b - c) % t == 0)
            if s != t or a < c or b > d or not aligned:
                return None
            box.append(slice((a - c) // t, -(-(b - c) // t)))
        return tuple(box)

    def _look(self, window: Window) -> Look:
        """Read a window and plant the strokes in it."""
        seeds = np.full(window.shape, -1, np.int32)
        inside = self._samples.inside(window.start, window.stop)
        cells = window.cells(self._samples.coords[inside])
        codes = self._codes(self._samples.ids[inside])
        # Objects are planted last: in a coarse cell they are the rarer ones.
        order = np.argsort(codes > BACKGROUND, kind="stable")
        seeds[tuple(cells[order].T)] = codes[order]
        if not self._samples.is_background.any():
            self._plant_border(seeds, window)
        return self._with_seeds(window, seeds)

    def _with_seeds(self, window: Window, seeds: NDArray[np.int32]) -> Look:
        """Read a window."""
        patch = self._reader.patch(window)
        embedding = self._reader.embedding
        embedded = None if embedding is None else embedding.patch(window).channels
        return Look(patch, smooth(patch.channels, _BLUR), seeds, embedded)

    def _codes(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """0 for background, 1, 2, ... for the objects in ascending order of id."""
        codes = np.searchsorted(np.asarray(self._ids), ids) + 1
        return np.where(ids == self._samples.background, BACKGROUND, codes).astype(np.int32)

    def _plant_border(self, seeds: NDArray[np.int32], window: Window) -> None:
        """Without background strokes the border of the image stands for the background."""
        for axis, size in enumerate(self._reader.shape):
            for at, is_border in ((0, window.start[axis] == 0), (-1, window.stop[axis] == size)):
                if is_border and size > 1:
                    side = seeds[(slice(None),) * axis + (at,)]
                    side[side < 0] = BACKGROUND

    def _distances(self, look: Look, initial: TwoNearest | None) -> TwoNearest:
        """Geodesic distances over a look."""
        return two_nearest(
            look.features,
            look.seeds,
            spacing=self.pitch(look.patch.window),
            edge_weight=self.edge_weight,
            valid=None if look.patch.valid.all() else look.patch.valid,
            initial=self._border(look.patch.window) if initial is None else initial,
        )

    def _border(self, window: Window) -> TwoNearest:
        """Distances that hold at the image's border, where it is far: background, a way off."""
        first = np.full(window.shape, -1, np.int32)
        self._plant_border(first, window)
        sides = zip(self._reader.shape, self._spacing, strict=True)
        off = np.float32(_BORDER_SHARE * max(n * s for n, s in sides))
        near = np.where(first == BACKGROUND, off, np.float32(np.inf))
        unknown = np.full(window.shape, np.inf, np.float32)
        return TwoNearest(first, np.full(window.shape, -1, np.int32), near, unknown)

    def _rim(self, window: Window) -> TwoNearest:
        """Distances known from the coarse look, at the rim of a window only."""
        coarse = self.coarse
        cells = [
            np.clip(
                (window.centres(a).astype(np.int64) - coarse.start[a]) // coarse.step[a],
                0,
                coarse.shape[a] - 1,
            )
            for a in range(len(window.start))
        ]
        taken = cropped(self._nearest, np.ix_(*cells))
        inner = (slice(1, -1),) * len(cells)
        taken.first[inner], taken.second[inner] = -1, -1
        taken.near[inner], taken.far[inner] = np.inf, np.inf
        return taken
