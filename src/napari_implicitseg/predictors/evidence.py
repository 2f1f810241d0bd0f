"""Evidence for a fit: colour, distance or a given map, weighed per image.

What tells objects from background differs between images: on stained cells
colour does, in grey medical images the distance to the strokes does. So parts
of the strokes are left out, each source predicts them from the rest, and the
sources are blended by how well they did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.features import Window, smooth
from napari_implicitseg.predictors.colours import StrokeColours
from napari_implicitseg.predictors.geodesic import TwoNearest, two_nearest
from napari_implicitseg.predictors.looks import (
    BACKGROUND,
    Look,
    closest_object,
    coarse_window,
    cropped,
    in_territory,
    log_odds,
)
from napari_implicitseg.predictors.networks import KINDS
from napari_implicitseg.predictors.settling import settle
from napari_implicitseg.predictors.stroke_networks import StrokeNetworks
from napari_implicitseg.predictors.weighing import left_out_gains, weights_from_gains

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.features import Reader
    from napari_implicitseg.predictors.networks import StrokeNetwork
    from napari_implicitseg.predictors.upsampler import Outlines
    from napari_implicitseg.scribbles import Samples

__all__ = ["Evidence"]

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


class Evidence:
    """Probability of each object anywhere in an image.

    Parameters
    ----------
    reader : Reader
        The image, or a probability map if `source` is "given".
    samples : Samples
        The strokes.
    source : str
        One of `config.EVIDENCE`, or "given".
    spacing : tuple of float
        Voxel size per axis.
    weights : mapping of str to float, optional
        Blend of an earlier fit to the same image; saves weighing again.
    networks : mapping of str to mapping, optional
        Weights of networks of an earlier fit, by kind, to go on from.
    seed : int
        Of networks.
    outlines : Outlines, optional
        What "upsampler" says.
    check : callable
        Called before every step of a training; may raise to cancel.

    Attributes
    ----------
    coarse : Window
        The coarse look at the whole image.
    weights : dict of str to float
        Share of each source; they sum to 1.
    """

    def __init__(
        self,
        reader: Reader,
        samples: Samples,
        *,
        source: str,
        spacing: tuple[float, ...],
        weights: Mapping[str, float] | None = None,
        networks: Mapping[str, Mapping[str, NDArray[np.float32]]] | None = None,
        seed: int = 0,
        outlines: Outlines | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader = reader
        self._samples = samples
        self._source = source
        self._spacing = spacing
        self._outlines = outlines
        self._ids = samples.objects
        cells = (_COARSE_CELLS if weights is None else _WARM_CELLS)[len(reader.shape)]
        self.coarse = coarse_window(reader, samples, spacing, cells)
        self._edge_weight = self._edge_length()
        self._whole = self._look(self.coarse)
        self._colours: StrokeColours | None = None
        if source in ("auto", "histogram"):
            self._colours = StrokeColours(
                self._whole.features,
                self._whole.seeds,
                self._whole.patch.valid,
                has_background=bool(samples.is_background.any()),
            )
        self._networks: StrokeNetworks | None = None
        if source in KINDS:
            self._networks = StrokeNetworks(
                self._whole,
                [source],
                sizes=reader.shape,
                spacing=spacing,
                seed=seed,
                states=networks or {},
                check=check,
            )
        self._known_distances: TwoNearest | None = None
        self._known_views: dict[Window, tuple[Look, TwoNearest]] = {}
        self._territories: list[tuple[slice, ...] | None] | None = None
        # An earlier fit knows where to look, so its windows can do without the coarse distances.
        self._look_far = weights is None
        self.weights = dict(weights) if weights is not None else self._weigh()

    @property
    def _nearest(self) -> TwoNearest:
        """Distances over the coarse look, computed when first asked for."""
        if self._known_distances is None:
            self._known_distances = self._distances(self._whole, None)
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

    def probability(
        self, label: int, window: Window, *, settled: bool = False
    ) -> NDArray[np.float32]:
        """Probability of one object over a window, shape window.shape; see `refined`."""
        look, nearest = self._seen(window)
        probability = self._blend(label, look, nearest)
        return self._settled(probability, look) if settled else probability

    def _settled(self, probability: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
        """Settle what the image says; a map that was given says what it says."""
        if self._source in ("given", "none"):
            return probability
        return settle(probability, look.features, self._pitch(look.patch.window))

    def refined(
        self, label: int, window: Window, fine: Window, *, settled: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probability of one object over a window, and over the same box in finer cells.

        Distances are smooth: only colours are looked at again in the finer cells. There the
        evidence may be `settled` along what looks alike.
        """
        look, nearest = self._seen(window)
        coarse = self._blend(label, look, nearest)
        closer, refined = look, coarse
        if fine.step != window.step:
            patch = self._reader.patch(fine)
            closer = Look(patch, smooth(patch.channels, _BLUR), np.empty(fine.shape, np.int32))
            refined = self._blend(label, closer, cropped(nearest, window.cells_of(fine)))
        return coarse, self._settled(refined, closer) if settled else refined

    @property
    def rounds(self) -> int:
        """How often to `learn`; 0 if knowing where the objects seem to be is of no use."""
        return self._colours.rounds if self._colours is not None else 0

    def learn(self, regions: Sequence[tuple[Window, BoolArray]]) -> None:
        """Learn the colours once more, from where the objects seem to be.

        Parameters
        ----------
        regions : sequence of (Window, ndarray of bool)
            Per object a window around it, and which of its cells the object takes.
        """
        if self._colours is None:
            return
        inside, near = (np.zeros(self.coarse.shape, bool) for _ in range(2))
        for window, mask in regions:
            box, cells = self.coarse.common_cells(window)
            near[box] = True
            inside[box] |= mask[cells]
        self._colours.learn(inside, near)

    def _seen(self, window: Window) -> tuple[Look, TwoNearest]:
        """Look at a window and the distances in it, remembered."""
        if window not in self._known_views:
            self._known_views[window] = self._view(window)
        return self._known_views[window]

    def _view(self, window: Window) -> tuple[Look, TwoNearest]:
        """Look at a window and the distances in it."""
        box = self._place_in_coarse(window)
        if box is not None:
            return self._whole.cropped(window, box), cropped(self._nearest, box)
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

    def _edge_length(self) -> float:
        """Length a change of the features across their whole range is worth."""
        if self._source == "none":
            return 0.0
        sides = zip(self.coarse.start, self.coarse.stop, self._spacing, strict=True)
        return _EDGE_FACTOR * max((b - a) * s for a, b, s in sides)

    def _look(self, window: Window) -> Look:
        """Read a window and plant the strokes in it."""
        patch = self._reader.patch(window)
        seeds = np.full(window.shape, -1, np.int32)
        inside = self._samples.inside(window.start, window.stop)
        cells = window.cells(self._samples.coords[inside])
        codes = self._codes(self._samples.ids[inside])
        # Objects are planted last: in a coarse cell they are the rarer ones.
        order = np.argsort(codes > BACKGROUND, kind="stable")
        seeds[tuple(cells[order].T)] = codes[order]
        if not self._samples.is_background.any():
            self._plant_border(seeds, window)
        return Look(patch, smooth(patch.channels, _BLUR), seeds)

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

    def _pitch(self, window: Window) -> tuple[float, ...]:
        """Physical size of a window's cells."""
        return tuple(s * k for s, k in zip(self._spacing, window.step, strict=True))

    def _distances(self, look: Look, initial: TwoNearest | None) -> TwoNearest:
        """Geodesic distances over a look."""
        return two_nearest(
            look.features,
            look.seeds,
            spacing=self._pitch(look.patch.window),
            edge_weight=self._edge_weight,
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

    def _weigh(self) -> dict[str, float]:
        """Blend the sources by how well each predicts left-out parts of the strokes."""
        if self._source != "auto":
            return {self._source: 1.0}
        gains = left_out_gains(
            self._whole.features,
            self._whole.seeds,
            self._whole.patch.valid,
            pitch=self._pitch(self.coarse),
            edge_weight=self._edge_weight,
        )
        return weights_from_gains(gains)

    def _blend(self, label: int, look: Look, nearest: TwoNearest) -> NDArray[np.float32]:
        """Weighted sum of the sources' log odds for one object, as a probability."""
        code = self._ids.index(label) + 1
        total = np.zeros(look.seeds.shape, np.float32)
        for name, weight in self.weights.items():
            total += np.float32(weight) * log_odds(self._by_source(name, code, look, nearest))
        return np.asarray(1 / (1 + np.exp(-total)), np.float32)

    def _by_source(
        self, name: str, code: int, look: Look, nearest: TwoNearest
    ) -> NDArray[np.float32]:
        """Probability of an object by one source."""
        if name == "given":
            # The reader of a probability map takes one half off.
            given = np.clip(look.patch.channels[0] + np.float32(0.5), 0, 1)
            return in_territory(np.where(look.patch.valid, given, 0.5), nearest, code)
        if name == "histogram" and self._colours is not None:
            colour = self._colours.model.predict(look.features)
            colour[~look.patch.valid] = 0.5
            return in_territory(colour, nearest, code)
        if self._outlines is not None:
            traced = self._outlines.probability(self._ids[code - 1], look.patch.window)
            return in_territory(traced, nearest, code)
        if self._networks is not None and name in KINDS:
            return in_territory(self._networks.predict(name, look), nearest, code)
        return nearest.evidence(code)

    @property
    def networks(self) -> dict[str, dict[str, NDArray[np.float32]]]:
        """Weights of the networks trained, by kind."""
        found = {kind: network.state for kind, network in self._trained.items()}
        return found if self._outlines is None else found | {self._source: self._outlines.state}

    @property
    def losses(self) -> dict[str, list[float]]:
        """Losses of the networks trained, by kind."""
        found = {kind: network.losses for kind, network in self._trained.items()}
        return found if self._outlines is None else found | {self._source: self._outlines.losses}

    @property
    def _trained(self) -> dict[str, StrokeNetwork]:
        """The networks trained on strokes."""
        return {} if self._networks is None else self._networks.networks
