"""Sloppy outlines made precise by a network trained on one image.

An outline is applied to a downscaled grey copy of the image; a network gives
back the masked image and its mask at full resolution. It learns that from
random masks on this image alone, so a little more or less outline changes
nothing: what it answers to is the image.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from scipy.special import expit

from napari_implicitseg.descent_steps import torch_threads
from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Window, window_step
from napari_implicitseg.predictors.outline_looks import OutlineLook
from napari_implicitseg.predictors.outline_networks import EncoderDecoder, TransposedConvolutions
from napari_implicitseg.predictors.outline_training import follow, train

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.features import Reader
    from napari_implicitseg.scribbles import Samples

__all__ = ["Outlines"]

# Cells of the image the network sees; more where its objects would be too small to tell.
_CELLS = 160**2
_MOST_CELLS = 320**2
_LEAST_SIDE = 24.0
# Around the outlines, in the size of their box: the background has to be seen, too.
_MARGIN = 0.75
_AT_ONCE = 8
# Share of the deepest pixels of a mask that are taken for strokes.
_CORE = 0.6
# Area in squares of the depth from which on something is a line; a disc has about 3.
_LONG = 18.0
# Probability of what was drawn, where the network has no say.
_CERTAIN = 0.97


class Outlines:
    """Sloppy outlines of an image's objects, made precise.

    Parameters
    ----------
    reader : Reader
        A plane image.
    samples : Samples
        The pixels in or on each outline, and background strokes if there are any.
    spacing : tuple of float
    config : FitConfig
        Network, scale and steps.
    seed : int
    state : mapping of str to ndarray, optional
        Weights of an earlier training on the same image; saves training.
    check : callable
        Called before every step; may raise to cancel.

    Attributes
    ----------
    state : mapping of str to ndarray
        Weights of the network.
    losses : list of float
        Loss of every training step.
    doubts : tuple of str
        Objects that are no outlines, in words.
    """

    apart = True
    state: Mapping[str, NDArray[np.float32]]

    def __init__(
        self,
        reader: Reader,
        samples: Samples,
        *,
        spacing: tuple[float, ...],
        config: FitConfig,
        seed: int = 0,
        state: Mapping[str, NDArray[np.float32]] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        if len(reader.shape) != 2:
            raise InputError(
                f"The image has {len(reader.shape)} axes; sloppy outlines are made precise in 2D. "
                "Take the image slice by slice."
            )
        self._samples = samples
        self._ids = samples.objects
        self.window = self._look_at(reader.shape, spacing)
        patch = reader.patch(self.window)
        look = OutlineLook.of(patch.channels, config.upsampler_scale, seed=seed)
        network, self.losses = _trained(look, config, seed=seed, state=state, check=check)
        self.state = {k: v.detach().numpy().copy() for k, v in network.state_dict().items()}
        drawn = np.stack([self._drawn(label, look.shape) for label in self._ids])
        self.doubts = tuple(
            f"Object {label} is drawn as a line that encloses nothing. The evidence 'upsampler' "
            "takes outlines around the objects, filled or closed, not scribbles on them."
            for label, outline in zip(self._ids, drawn, strict=True)
            if _is_line(outline)
        )
        self._masks, self._maps = _answers(network, look, drawn, check)
        self._share_out(drawn)

    def probability(self, label: int, window: Window) -> NDArray[np.float32]:
        """Probability of an object over a window, shape window.shape."""
        values = self._maps[self._ids.index(label)]
        at = np.meshgrid(*(self._places(window, a) for a in range(2)), indexing="ij")
        out = ndimage.map_coordinates(values, at, order=1, mode="nearest")
        own = self.window
        inside = [
            (window.centres(a) >= own.start[a]) & (window.centres(a) < own.stop[a])
            for a in range(2)
        ]
        own_map = np.where(np.logical_and.outer(*inside), out, 0)
        return np.asarray(own_map, np.float32)

    @property
    def cores(self) -> Samples:
        """Strokes well inside what was found, and those of the background: for a fit."""
        background = self._samples.is_background
        coords, ids = [self._samples.coords[background]], [self._samples.ids[background]]
        for row, label in enumerate(self._ids):
            found = self._core(self._masks[row])
            coords.append(found)
            ids.append(np.full(len(found), label, np.int64))
        every = np.concatenate(coords)
        order = np.argsort(every[:, 0], kind="stable")
        return replace(self._samples, coords=every[order], ids=np.concatenate(ids)[order])

    def _share_out(self, drawn: BoolArray) -> None:
        """Give each cell to one object at most: where several are, to who drew it, or the likelier.

        Painted background is nobody's.
        """
        owner = (self._maps + drawn).argmax(axis=0)
        free = np.ones(drawn.shape[1:], bool)
        inside = self._samples.inside(self.window.start, self.window.stop)
        painted = inside[self._samples.is_background[inside]]
        free[tuple(self.window.cells(self._samples.coords[painted]).T)] = False
        for row, (mask, values) in enumerate(zip(self._masks, self._maps, strict=True)):
            own = (owner == row) & free
            # Who is left with nothing keeps what nobody else has drawn, or all of the outline.
            if not (mask & own).any():
                alone = drawn[row] & free & (drawn.sum(axis=0) == 1)
                own = alone if alone.any() else drawn[row]
                mask[:] = own
                values[own] = _CERTAIN
            mask &= own
            np.copyto(values, np.minimum(values, 1 - values), where=~own)
            values[~free] = 1 - _CERTAIN

    def _core(self, mask: BoolArray) -> NDArray[np.int64]:
        """Voxels in the middle of the deepest cells of a mask, (N, 2)."""
        depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        rows, columns = self.window.shape
        cells = np.argwhere(depth[:rows, :columns] >= _CORE * depth[:rows, :columns].max())
        own = self.window
        start, stop, step = (np.asarray(v) for v in (own.start, own.stop, own.step))
        return np.asarray(np.minimum(start + cells * step + step // 2, stop - 1), np.int64)

    def _look_at(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Window:
        """Window around all outlines, in cells that show the smallest."""
        own = self._samples.coords[~self._samples.is_background]
        low, high = own.min(axis=0), own.max(axis=0) + 1
        margin = np.ceil(_MARGIN * (high - low)).astype(int) + 8
        low, high = np.maximum(low - margin, 0), np.minimum(high + margin, shape)
        areas = [int((self._samples.ids == label).sum()) for label in self._ids]
        wanted = _LEAST_SIDE**2 / min(areas) * math.prod((high - low).tolist())
        cells = int(np.clip(wanted, _CELLS, _MOST_CELLS))
        size = tuple(int(n) for n in high - low)
        step = window_step(size, spacing, cells)
        return Window(tuple(low.tolist()), tuple(high.tolist()), step)

    def _drawn(self, label: int, shape: tuple[int, int]) -> BoolArray:
        """Cells in an outline, what it encloses filled, on a padded grid."""
        out = np.zeros(shape, bool)
        cells = self.window.cells(self._samples.coords[self._samples.ids == label])
        out[tuple(cells.T)] = True
        return np.asarray(ndimage.binary_fill_holes(out))

    def _places(self, window: Window, axis: int) -> NDArray[np.float64]:
        """Where the cells of a window lie in cells of this look."""
        own = self.window
        return (window.centres(axis) - own.start[axis]) / own.step[axis] - 0.5


def _is_line(outline: BoolArray) -> bool:
    """Whether an outline, filled, is long and thin: a scribble."""
    depth = ndimage.distance_transform_edt(np.pad(outline, 1)).max()
    return bool(outline.sum() > _LONG * depth**2)


def _trained(
    look: OutlineLook,
    config: FitConfig,
    *,
    seed: int,
    state: Mapping[str, NDArray[np.float32]] | None,
    check: Callable[[], None],
) -> tuple[Any, list[float]]:
    """Network that knows the image, and the losses of its training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: EncoderDecoder | TransposedConvolutions = (
            TransposedConvolutions()
            if config.upsampler == "original"
            else EncoderDecoder(config.upsampler_scale)
        )
    own = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    if state is not None and {k: v.shape for k, v in state.items()} == own:
        network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in state.items()})
        return network, []
    steps = config.upsampler_steps or network.steps
    return network, train(network, look, steps=steps, seed=seed, check=check)


def _answers(
    network: Any, look: OutlineLook, drawn: BoolArray, check: Callable[[], None]
) -> tuple[BoolArray, NDArray[np.float32]]:
    """Masks and probabilities for outlines (B, H, W); an outline without an answer stays."""
    masks, maps = [], []
    with torch_threads(0):
        for begin in range(0, len(drawn), _AT_ONCE):
            check()
            part = drawn[begin : begin + _AT_ONCE]
            mask, odds = follow(lambda m: network(look, look.coarse(m))[1], part, network.rounds)
            probability = expit(odds)
            # What does not hang together with the outline is something else of that kind.
            probability = np.where(mask == (odds > 0), probability, 1 - probability)
            lost = ~mask.any(axis=(1, 2))
            probability[lost], mask[lost] = part[lost], part[lost]
            masks.append(mask)
            maps.append(probability.astype(np.float32))
    return np.concatenate(masks), np.concatenate(maps)
