"""An image as a network sees it: tile by tile, reduced to principal components."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Reader

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import Progress
    from napari_implicitseg.predictors.pyramid import Network

__all__ = ["Source", "Tiles"]

# Windows that tell the intensities, and their side.
_WINDOWS, _WINDOW_SIDE = 16, 512
# Cells and tiles that components are learnt from; directions to spare and rounds of the search.
_CELLS, _TILES, _SPARE, _ROUNDS = 10_000, 8, 8, 6
# A deviation below this share of the values, or of the first component, is rounding.
_ROUNDING = 1e-5


class Source:
    """An image as slices of three channels from 0 to 1.

    Attributes
    ----------
    shape : tuple of int
        Spatial shape.
    sides : tuple of int
        The same with three axes.
    constant : bool
    """

    def __init__(self, image: Any, channel_axis: int | None) -> None:
        self.image = image if hasattr(image, "dtype") else np.asarray(image)
        ndim = len(self.image.shape)
        if channel_axis is not None and not -ndim <= channel_axis < ndim:
            raise InputError(f"channel_axis is {channel_axis} but the image has {ndim} axes.")
        self.axis = None if channel_axis is None else channel_axis % ndim
        self.shape = Reader(self.image, self.axis).shape
        if not 2 <= len(self.shape) <= 3:
            raise InputError(
                f"The image has shape {tuple(self.image.shape)} with channel_axis={channel_axis}; "
                "needed is (Y, X) or (Z, Y, X), and channels. Give their axis, or one time point."
            )
        self.sides = (1, *self.shape)[-3:]
        self._range = self._measured()
        self.constant = bool((self._range[0] == self._range[2]).all())

    def read(self, z: int, y: slice, x: slice) -> NDArray[np.float32]:
        """Read a box of a slice, (3, H, W)."""
        # Halved, because the widest range there is has no number.
        low, middle, high = self._range[:, :, None, None] / 2
        raw = self._raw(z, y, x) / 2
        raw = np.where(np.isfinite(raw), raw, middle) - low
        out = np.where(high > low, np.clip(raw / np.where(high > low, high - low, 1), 0, 1), 0.5)
        extra = {1: [out, out], 2: [out.mean(axis=0, keepdims=True)]}.get(len(out), [])
        return np.concatenate([out, *extra]).astype(np.float32)

    def _raw(self, z: int, y: slice, x: slice) -> NDArray[np.float64]:
        """Read up to three channels as they are, (C, H, W)."""
        box = [slice(z, z + 1), y, x][-len(self.shape) :]
        if self.axis is not None:
            box.insert(self.axis, slice(0, 3))
        data = np.asarray(self.image[tuple(box)]).astype(np.float64)
        data = data[None] if self.axis is None else np.moveaxis(data, self.axis, 0)
        return data.reshape(len(data), *data.shape[-2:])

    def _measured(self) -> NDArray[np.float64]:
        """Low, middle and high of every channel, (3, C), in windows spread over the image."""
        depth, *sides = self.sides
        cuts = [[slice(a, a + _WINDOW_SIDE) for a in range(0, n, _WINDOW_SIDE)] for n in sides]
        windows = [(z, y, x) for z in range(depth) for y in cuts[0] for x in cuts[1]]
        picks = np.unique(np.linspace(0, len(windows) - 1, _WINDOWS).astype(int))
        raw = [self._raw(*windows[i]) for i in picks]
        found = []
        for values in (np.concatenate([r[c].ravel() for r in raw]) for c in range(len(raw[0]))):
            known = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
            low, middle, high = np.percentile(known, (0.5, 50, 99.5), method="nearest")
            # A few pixels may be all there is to see.
            found.append((low, middle, high) if high > low else (known.min(), middle, known.max()))
        return np.array(found).T


class _Span(NamedTuple):
    """A tile along an axis: its first pixel, and what it counts at its cells."""

    start: int
    weight: NDArray[np.float32]


class Tiles:
    """What a network says of an image, tile by tile.

    Parameters
    ----------
    source : Source
    network : Network
    side : int
        Of the tiles, in pixels; rounded up to what the network takes.
    progress : callable or None
        Called before every tile.
    """

    def __init__(
        self, source: Source, network: Network, side: int, progress: Progress | None
    ) -> None:
        self._source, self._network, self._progress = source, network, progress
        step, stride = network.step, network.stride
        side = (network.side or max(4 * step, -(-side // step) * step)) // step * step
        halo = step * min(max(1, side // (8 * step)), (side // step - 1) // 2)
        least = side if network.side else step
        lengths = [max(-(-n // step) * step, least) for n in source.sides[1:]]
        rows, columns = (_spans(n, min(n, side), halo, stride) for n in lengths)
        self._tiles = [(z, y, x) for z in range(source.sides[0]) for y in rows for x in columns]
        self._cells = [n // stride for n in lengths]
        self._done = 0

    def components(self, count: int, seed: int) -> NDArray[np.float32]:
        """Principal components on the grid, (count, Z, H, W)."""
        grid = np.zeros((count, self._source.sides[0], *self._cells), np.float32)
        if self._source.constant:  # The network would see the border.
            return grid
        rng = np.random.default_rng(seed)
        chosen = sorted(rng.permutation(len(self._tiles))[:_TILES].tolist())
        known = {k: self._levels(k) for k in chosen}
        samples = [self._sampled(k, known[k], _CELLS // len(chosen), rng) for k in chosen]
        joined = [np.concatenate(level) for level in zip(*samples, strict=True)]
        matrices, offset = _reduction(joined, count, rng)
        for k, (z, *spans) in enumerate(self._tiles):
            levels = known.pop(k, None) or self._levels(k)
            down, across = (span.weight for span in spans)
            made = self._reduced(levels, matrices, (len(down), len(across))) - offset
            y, x = (span.start // self._network.stride for span in spans)
            grid[:, z, y : y + len(down), x : x + len(across)] += down[:, None] * across * made
        return grid

    def _levels(self, k: int) -> list[Tensor]:
        """Levels of a tile."""
        if self._progress is not None:
            self._progress(self._done / len(self._tiles), "Embedding the image")
        self._done += 1
        z, *spans = self._tiles[k]
        taken = [self._network.side or len(s.weight) * self._network.stride for s in spans]
        y, x = (slice(s.start, s.start + n) for s, n in zip(spans, taken, strict=True))
        pixels = self._source.read(z, y, x)
        lacking = [(0, n - m) for n, m in zip(taken, pixels.shape[1:], strict=True)]
        return self._network.levels(np.pad(pixels, ((0, 0), *lacking), mode="symmetric"))

    def _sampled(
        self, k: int, levels: list[Tensor], count: int, rng: np.random.Generator
    ) -> list[NDArray[np.float32]]:
        """Levels (count, C) of a tile, at some of the cells where it counts most."""
        stride = self._network.stride
        inside = [
            np.flatnonzero((s.weight >= 0.5) & (s.start + stride * np.arange(len(s.weight)) < n))
            for s, n in zip(self._tiles[k][1:], self._source.sides[1:], strict=True)
        ]
        picks = rng.permutation(len(inside[0]) * len(inside[1]))[:count]
        mesh = np.stack(np.meshgrid(*inside, indexing="ij")).reshape(2, 1, -1)[:, :, np.sort(picks)]
        y, x = torch.from_numpy((mesh + 0.5) * stride).float()
        seen = (self._network.seen(i, level, y, x) for i, level in enumerate(levels))
        return [values[:, 0].T.cpu().numpy() for values in seen]

    def _reduced(
        self, levels: list[Tensor], matrices: list[NDArray[np.float32]], shape: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Components of a tile, (count, H, W): reduced first, there is less to interpolate."""
        at = [(torch.arange(n) + 0.5) * self._network.stride for n in shape]
        y, x = torch.meshgrid(*at, indexing="ij")
        out = np.zeros((len(matrices[0]), *shape), np.float32)
        for i, (level, matrix) in enumerate(zip(levels, matrices, strict=True)):
            few = torch.einsum("kc,chw->khw", torch.from_numpy(matrix).to(level), level)
            out += self._network.seen(i, few, y, x).cpu().numpy()
        return out


def _spans(length: int, side: int, halo: int, stride: int) -> list[_Span]:
    """Place tiles along an axis, so that they count 1 together; they overlap by two halos."""
    starts = range(0, max(1, length - 2 * halo), max(1, side - 2 * halo))
    at = (np.arange(side // stride) + 0.5) * stride
    total, weights = np.zeros(length // stride), {}
    for start in (min(a, length - side) for a in starts):
        ends = at if start > 0 else np.inf, side - at if start + side < length else np.inf
        # Nothing is taken from the outer half of a halo, where the border is seen.
        weight = np.clip((np.minimum(*ends) - halo / 2) / max(halo, 1), 0, 1) * np.ones(len(at))
        total[start // stride :][: len(at)] += weight
        weights[start] = weight
    return [
        _Span(start, (weight / total[start // stride :][: len(at)]).astype(np.float32))
        for start, weight in weights.items()
    ]


def _reduction(
    samples: list[NDArray[np.float32]], count: int, rng: np.random.Generator
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """Learn principal components of levels (N, C).

    Returns
    -------
    matrices : list of ndarray, shape (count, C)
        Their sum over levels, less the offset, makes the components.
    offset : ndarray, shape (count, 1, 1)
    """
    means = [s.mean(axis=0) for s in samples]
    sizes = [math.sqrt(s.var(axis=0).sum()) for s in samples]
    scales = [
        1 / d if d > _ROUNDING * np.linalg.norm(m) else 0.0
        for d, m in zip(sizes, means, strict=True)
    ]
    parts = zip(samples, means, scales, strict=True)
    values = np.hstack([(s - m) * np.float32(c) for s, m, c in parts])
    axes = np.zeros((values.shape[1], count), np.float32)
    found = _main_axes(values, count, rng)
    axes[:, : found.shape[1]] = found
    split = np.split(axes, np.cumsum([len(m) for m in means])[:-1])
    matrices = [(a * np.float32(c)).T for a, c in zip(split, scales, strict=True)]
    offset = np.sum([w @ m for w, m in zip(matrices, means, strict=True)], axis=0)
    return matrices, offset[:, None, None]


def _main_axes(
    values: NDArray[np.float32], count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Axes (F, up to count) of most variance of (N, F), by a randomised decomposition.

    Along the first the deviation is 1; along what is only rounding it is 0. The
    largest number of an axis is positive.
    """
    width = min(count + _SPARE, *values.shape)
    basis = rng.standard_normal((values.shape[1], width), dtype=np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(values.T @ (values @ basis))[0]
    _, spread, turn = np.linalg.svd(values @ basis, full_matrices=False)
    axes = (basis @ turn.T)[:, :count]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    real = spread[: axes.shape[1]] > _ROUNDING * spread[0]
    return np.asarray(axes * real * math.sqrt(len(values)) / (spread[0] or 1), np.float32)
