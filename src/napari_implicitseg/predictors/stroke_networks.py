"""Networks trained on the strokes of one image, and what they say of any look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.predictors.describing import Describer, cell_places
from napari_implicitseg.predictors.looks import BACKGROUND
from napari_implicitseg.predictors.networks import StrokeNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.features import Window
    from napari_implicitseg.predictors.looks import Look

__all__ = ["StrokeNetworks"]

_WILD = 8.0
_ROUNDING = 1e-6


class StrokeNetworks:
    """Networks by kind, trained on the first look at an image.

    Parameters
    ----------
    look : Look
        The whole image, with the strokes as seeds.
    kinds : sequence of str
        See `networks.KINDS`.
    features : sequence of str
        What of `config.FEATURES` they see.
    sizes : sequence of float
        Voxels of the image per axis.
    spacing : sequence of float
        Voxel size per axis.
    seed : int
    states : mapping of str to mapping
        Weights of an earlier fit to go on from, by kind.
    silent : bool
        Whether the networks are not trained here, and say nothing at first: they
        will correct other evidence.
    check : callable
        Called before every step; may raise to cancel.

    Attributes
    ----------
    networks : dict of str to StrokeNetwork
        None where the strokes show only one of object and background.
    """

    def __init__(
        self,
        look: Look,
        kinds: Sequence[str],
        *,
        features: Sequence[str],
        sizes: Sequence[int],
        spacing: Sequence[float],
        seed: int,
        states: Mapping[str, Mapping[str, NDArray[np.float32]]],
        silent: bool = False,
        check: Callable[[], None],
    ) -> None:
        self._spacing = spacing
        self._sides = [n * s for n, s in zip(sizes, spacing, strict=True)]
        self._pitch = self._finest(look.patch.window)
        self._describe = Describer(look.patch.channels, self._places(look.patch.window), features)
        self._set_embedded_scale(look)
        self._known: dict[tuple[str, Window], NDArray[np.float32]] = {}
        described = self.features(look)
        valid = look.patch.valid
        strokes = valid & (look.seeds > BACKGROUND), valid & (look.seeds == BACKGROUND)
        self.networks: dict[str, StrokeNetwork] = {}
        if not all(part.any() for part in strokes):
            return  # Nothing to learn from: every cell is undecided.
        for kind in kinds:
            network = StrokeNetwork(kind, seed=seed, state=states.get(kind), silent=silent)
            if silent:
                network.start(len(described), described.ndim - 1)
            else:
                network.train(described, *strokes, check=check)
            self.networks[kind] = network

    def log_odds(self, kind: str, look: Look) -> NDArray[np.float32]:
        """Log odds of object over a look, remembered."""
        window = look.patch.window
        if kind not in self.networks:
            return np.zeros(window.shape, np.float32)
        if (kind, window) not in self._known:
            odds = self.networks[kind].log_odds(self.features(look), finer=self.finer(window))
            odds[~look.patch.valid] = 0
            self._known[kind, window] = odds
        return self._known[kind, window]

    def finer(self, window: Window) -> float:
        """How many times finer a window's cells are than those of the first look."""
        return self._pitch / self._finest(window)

    def forget(self) -> None:
        """Predict anew: the networks have learned more."""
        self._known.clear()

    def features(self, look: Look) -> NDArray[np.float32]:
        """Features of a look, on the scales of the first, (F, *S)."""
        window = look.patch.window
        finer = self.finer(window)
        made = self._describe(look.patch.channels, self._places(window), finer=finer)
        if look.embedded is None:
            return made
        centred = (look.embedded - self._embedded_mean) * self._embedded_scale
        return np.concatenate([made, np.clip(centred, -_WILD, _WILD)]).astype(np.float32)

    def _set_embedded_scale(self, look: Look) -> None:
        """Learn mean and largest deviation: what varies less than the main feature counts less."""
        self._embedded_mean, self._embedded_scale = np.zeros(1), 0.0
        if look.embedded is None:
            return
        axes = tuple(range(1, look.embedded.ndim))
        values = look.embedded.astype(np.float64)
        self._embedded_mean = values.mean(axis=axes, keepdims=True)
        spread = float(values.std(axis=axes).max())
        if spread > _ROUNDING * float(np.abs(values).max()):
            self._embedded_scale = 1 / spread

    def _finest(self, window: Window) -> float:
        """Smallest side of a window's cells."""
        return min(s * k for s, k in zip(self._spacing, window.step, strict=True))

    def _places(self, window: Window) -> NDArray[np.float32]:
        """Coordinates of a window's cells."""
        centres = [window.centres(a) * s for a, s in enumerate(self._spacing)]
        return cell_places(centres, self._sides)
