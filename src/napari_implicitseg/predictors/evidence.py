"""Evidence for a fit: colour, distance or a given map, weighed per image.

What tells objects from background differs between images: on stained cells
colour does, in grey medical images the distance to the strokes does. So parts
of the strokes are left out, each source predicts them from the rest, and the
sources are blended by how well they did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import expit

from napari_implicitseg.config import FEATURES, OUTLINES
from napari_implicitseg.predictors.colours import StrokeColours
from napari_implicitseg.predictors.looks import BACKGROUND, cropped, in_territory, is_own, log_odds
from napari_implicitseg.predictors.networks import KINDS
from napari_implicitseg.predictors.settling import settle
from napari_implicitseg.predictors.stroke_networks import StrokeNetworks
from napari_implicitseg.predictors.views import Views
from napari_implicitseg.predictors.weighing import (
    left_out_gains,
    network_gain,
    weights_from_gains,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.features import Reader, Window
    from napari_implicitseg.predictors.geodesic import TwoNearest
    from napari_implicitseg.predictors.looks import Look
    from napari_implicitseg.predictors.networks import StrokeNetwork
    from napari_implicitseg.scribbles import Samples

__all__ = ["Evidence", "Lesson", "ObjectMaps"]

# The network that corrects other evidence when it learns together with the shapes.
_CORRECTION = "pixel"


@dataclass(frozen=True, slots=True)
class Lesson:
    """An object's surroundings as a network learns from them.

    Attributes
    ----------
    features : ndarray of float32, shape (F, *S)
    odds : ndarray of float32, shape S
        Log odds of object without the network, to be added to its own.
    counts : ndarray of bool, shape S
        Where no other object is nearer.
    is_object, is_other, is_background : ndarray of bool, shape S
        Cells with strokes of the object, of other objects, of background.
    finer : float
        How many times finer the cells are than those the network began on.
    """

    features: NDArray[np.float32]
    odds: NDArray[np.float32]
    counts: BoolArray
    is_object: BoolArray
    is_other: BoolArray
    is_background: BoolArray
    finer: float


class ObjectMaps(Protocol):
    """What tells each object from everything else by itself.

    Attributes
    ----------
    doubts : tuple of str
        What the user had better know, in sentences.
    apart : bool
        Whether it tells objects from each other, too; else the nearest stroke does.
    state : mapping of str to ndarray
        Weights of its network, if it has one.
    losses : list of float
        Of its training.
    """

    doubts: tuple[str, ...]
    apart: bool
    state: Mapping[str, NDArray[np.float32]]
    losses: list[float]

    def probability(self, label: int, window: Window) -> NDArray[np.float32]:
        """Probability of an object over a window, shape window.shape."""


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
    features : sequence of str
        What of `config.FEATURES` networks see.
    maps : ObjectMaps, optional
        What "upsampler" or "labels" says.
    joint : bool
        Whether a network will be trained together with shapes, see `learner`.
    check : callable
        Called before every step of a training; may raise to cancel.

    Attributes
    ----------
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
        features: Sequence[str] = FEATURES,
        maps: ObjectMaps | None = None,
        joint: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._maps = maps
        self._known_maps: dict[tuple[int, Window], NDArray[np.float32]] = {}
        self._ids = samples.objects
        sources = ("histogram", "geodesic") if source == "auto" else (source,)
        if source == "auto" and reader.embedding is not None:
            sources = (*sources, _CORRECTION)
        if weights is not None and set(weights) != set(sources):
            weights = None
        self._views = Views(
            reader,
            samples,
            spacing=spacing,
            along_edges=source != "none",
            warm=weights is not None,
        )
        self._colours: StrokeColours | None = None
        if "histogram" in sources:
            self._colours = StrokeColours(
                self._views.whole.features,
                self._views.whole.seeds,
                self._views.whole.patch.valid,
                has_background=bool(samples.is_background.any()),
            )
        kinds = [name for name in sources if name in KINDS]
        # What is no network is corrected by one; layers and outlines are taken as they are.
        joint = joint and source not in ("given", "labels", OUTLINES)
        self._corrected = joint and not kinds
        self._has_learned = not self._corrected
        self._networks: StrokeNetworks | None = None
        if joint or kinds:
            self._networks = StrokeNetworks(
                self._views.whole,
                kinds or [_CORRECTION],
                features=features,
                sizes=reader.shape,
                spacing=spacing,
                seed=seed,
                # The same strokes have to give the same joint fit, however often.
                states={} if joint else networks or {},
                silent=self._corrected,
                check=check,
            )
        self.weights = dict(weights) if weights is not None else self._weigh(sources, seed)

    @property
    def coarse(self) -> Window:
        """The coarse look at the whole image."""
        return self._views.coarse

    def territory(self, label: int) -> Window:
        """Part of the coarse look outside which another object is nearer, or an object unlikely."""
        return self._views.territory(label)

    def probability(
        self, label: int, window: Window, *, settled: bool = False
    ) -> NDArray[np.float32]:
        """Probability of one object over a window, shape window.shape; see `refined`."""
        look, nearest = self._views.at(window)
        probability = self._blend(label, look, nearest)
        return self._settled(probability, look) if settled else probability

    def _settled(self, probability: NDArray[np.float32], look: Look) -> NDArray[np.float32]:
        """Settle what the image says; a map that was given says what it says."""
        if self._source in ("given", "labels", "none"):
            return probability
        return settle(probability, look.features, self._views.pitch(look.patch.window))

    def refined(
        self, label: int, window: Window, fine: Window, *, settled: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probability of one object over a window, and over the same box in finer cells.

        Distances are smooth: only colours are looked at again in the finer cells. There the
        evidence may be `settled` along what looks alike.
        """
        look, nearest = self._views.at(window)
        coarse = self._blend(label, look, nearest)
        closer, refined = look, coarse
        if fine.step != window.step:
            closer = self._views.finer(fine)
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

    def _weigh(self, sources: Sequence[str], seed: int) -> dict[str, float]:
        """Blend the sources by how well each predicts left-out parts of the strokes."""
        if len(sources) == 1:
            return {sources[0]: 1.0}
        whole = self._views.whole
        gains = left_out_gains(
            whole.features,
            whole.seeds,
            whole.patch.valid,
            pitch=self._views.pitch(self.coarse),
            edge_weight=self._views.edge_weight,
        )
        if self._networks is not None and _CORRECTION in sources:
            described = self._networks.features(whole)
            gains[_CORRECTION] = network_gain(described, whole.seeds, whole.patch.valid, seed=seed)
        return weights_from_gains(gains)

    def _blend(self, label: int, look: Look, nearest: TwoNearest) -> NDArray[np.float32]:
        """Weighted sum of the sources' log odds for one object, as a probability."""
        code = self._ids.index(label) + 1
        total = np.zeros(look.seeds.shape, np.float32)
        for name, weight in self.weights.items():
            total += np.float32(weight) * log_odds(self._by_source(name, code, look, nearest))
        # Until it has learned, what corrects says nothing.
        if self._corrected and self._has_learned and self._networks is not None:
            odds = self._networks.log_odds(_CORRECTION, look)
            total += np.where(is_own(nearest, code), odds, -np.abs(odds))
        return np.asarray(expit(total), np.float32)

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
        if self._maps is not None:
            own = self._map(self._ids[code - 1], look.patch.window)
            return own if self._maps.apart else in_territory(own, nearest, code)
        if self._networks is not None and name in KINDS:
            return in_territory(expit(self._networks.log_odds(name, look)), nearest, code)
        return nearest.evidence(code)

    def _map(self, label: int, window: Window) -> NDArray[np.float32]:
        """Map of an object over a window, remembered: layers may be read from disk."""
        assert self._maps is not None
        if (label, window) not in self._known_maps:
            self._known_maps[label, window] = self._maps.probability(label, window)
        return self._known_maps[label, window]

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the user had better know of the layer or the outlines."""
        return () if self._maps is None else self._maps.doubts

    @property
    def learner(self) -> StrokeNetwork | None:
        """The network that learns together with the shapes."""
        return next(iter(self._trained.values()), None)

    def lesson(self, label: int, window: Window) -> Lesson:
        """Return what the learner is told of an object in a window."""
        assert self._networks is not None
        look, nearest = self._views.at(window)
        code = self._ids.index(label) + 1
        odds = np.zeros(window.shape, np.float32)
        if self._corrected:
            odds = log_odds(self._blend(label, look, nearest))
        return Lesson(
            features=self._networks.features(look),
            odds=odds,
            counts=is_own(nearest, code) & look.patch.valid,
            is_object=look.seeds == code,
            is_other=(look.seeds > BACKGROUND) & (look.seeds != code),
            is_background=look.seeds == BACKGROUND,
            finer=self._networks.finer(window),
        )

    def learned(self) -> None:
        """Look again: the learner has learned."""
        self._has_learned = True
        if self._networks is not None:
            self._networks.forget()

    @property
    def networks(self) -> dict[str, Mapping[str, NDArray[np.float32]]]:
        """Weights of the networks trained, by kind."""
        found: dict[str, Mapping[str, NDArray[np.float32]]] = {
            self._saved_as(kind): network.state
            for kind, network in self._trained.items()
            if self._has_learned
        }
        if self._maps is not None and self._maps.state:
            found[self._source] = self._maps.state
        return found

    @property
    def losses(self) -> dict[str, list[float]]:
        """Losses of the networks trained, by kind."""
        found = {kind: network.losses for kind, network in self._trained.items() if network.losses}
        if self._maps is None or not self._maps.state:
            return found
        return found | {self._source: self._maps.losses}

    def _saved_as(self, kind: str) -> str:
        """Name of a network in a result: one that corrects is not one that predicts."""
        return "correction" if self._corrected else kind

    @property
    def _trained(self) -> dict[str, StrokeNetwork]:
        """The networks trained on strokes."""
        return {} if self._networks is None else self._networks.networks
