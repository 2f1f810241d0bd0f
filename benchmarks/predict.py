"""How fast volumes are predicted tile by tile, beside the bare network.

The bare network is one pass over a block of the output's size, without any halo, by
the same code in the same run. A tile sees a halo around its block and computes of
it what the block depends on; reading, scaling and writing are part of its time.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from common import at_most, table
from napari_implicitseg.models.precision import memory_format
from napari_implicitseg.models.tiles import predict_tiles
from napari_implicitseg.predictors.unet import UNet, UNetConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CASES", "report"]


@dataclass(frozen=True)
class Case:
    """A network, the block it predicts at a time and a volume of several blocks."""

    name: str
    config: UNetConfig
    block: tuple[int, ...]
    volume: tuple[int, ...]


def _case(
    name: str, ndim: int, widths: tuple[int, ...], down: tuple[int, ...], up: tuple[int, ...]
):
    config = UNetConfig(
        ndim=ndim,
        in_channels=1,
        out_channels=ndim,
        widths=widths,
        convolutions=down,
        decoder_convolutions=up,
    )
    block, side = (128, 250) if ndim == 3 else (1024, 2000)
    return Case(name, config, (block,) * ndim, (side,) * ndim)


CASES = (
    _case("3D as fibsem-isotropic", 3, (16, 32, 64, 96), (1, 1, 1, 1), (2, 2, 2)),
    _case("3D, two convolutions down", 3, (16, 32, 64, 96), (2, 2, 2, 2), (2, 2, 2)),
    _case("2D as sstem-2d", 2, (16, 32, 64, 128), (2, 2, 2, 2), (2, 2, 2)),
)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Grey:
    """Grey levels as read from a file: bytes, scaled when a window is read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._data = np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)

    def __call__(self, box: tuple[slice, ...]) -> np.ndarray:
        # A volume larger than what is kept repeats itself.
        index = [
            np.arange(part.start, part.stop) % n
            for part, n in zip(box, self._data.shape[1:], strict=True)
        ]
        window = self._data[0][np.ix_(*index)] if self._wraps(box) else self._data[0][box]
        return window[None].astype(np.float32) / 127.5 - 1

    def _wraps(self, box: tuple[slice, ...]) -> bool:
        return any(p.stop > n for p, n in zip(box, self._data.shape[1:], strict=True))


def _textbook(network: UNet, x: torch.Tensor) -> torch.Tensor:
    """Apply the network as it is usually written: enlarge, join, convolve."""
    convolve = functional.conv2d if x.ndim == 4 else functional.conv3d
    pool = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d

    def stage(part, x):
        for conv in part.convs:
            x = torch.relu(convolve(x, conv.weight, conv.bias, padding=conv.padding))
        return x

    skips = []
    for level, part in enumerate(network.encoder):
        x = stage(part, pool(x, network.config.poolings[level - 1]) if level else x)
        skips.append(x)
    for level in reversed(range(len(network.decoder))):
        scale = [float(p) for p in network.config.poolings[level]]
        x = torch.cat([functional.interpolate(x, scale_factor=scale), skips[level]], dim=1)
        x = stage(network.decoder[level], x)
    return convolve(x, network.classifier.weight, network.classifier.bias)


class _Runs:
    """What is timed for one case and precision."""

    def __init__(self, case: Case, precision: str) -> None:
        self._case, self._precision = case, precision
        self._network = UNet(case.config)
        dtype = getattr(torch, precision)
        self._plain = self._network.folded().to(dtype)
        layout = memory_format(case.config.ndim)
        self._last = self._network.folded().to(dtype).to(memory_format=layout)
        self._read = _Grey(case.volume)
        halves = tuple(slice(0, side) for side in case.block)
        self._x = torch.from_numpy(self._read(halves))[None].to(dtype)

    @torch.inference_mode()
    def textbook(self) -> None:
        _textbook(self._plain, self._x)

    @torch.inference_mode()
    def contiguous(self) -> None:
        self._plain(self._x)

    @torch.inference_mode()
    def bare(self) -> None:
        self._last(self._x)

    def block(self) -> None:
        """One block with all its surroundings, the dearest there is."""
        box = tuple(slice(4 * side, 5 * side) for side in self._case.block)
        shape = tuple(9 * side for side in self._case.block)
        self._predict(shape, box)

    def volume(self) -> None:
        self._predict(self._case.volume, None)

    def _predict(self, shape: tuple[int, ...], box: tuple[slice, ...] | None) -> None:
        predict_tiles(
            self._network,
            self._read,
            shape,
            box,
            tile_shape=self._case.block,
            precision=self._precision,
        )


def _median_times(runs: _Runs, rounds: int) -> dict[str, float]:
    """Seconds of every run: CPU seconds in one thread, others on the clock."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    names = ("textbook", "contiguous", "bare", "block", "volume")
    times: dict[str, list[float]] = {name: [] for name in names}
    for again in range(rounds + 1):
        for name in names if again else names[:-1]:
            start = clock()
            getattr(runs, name)()
            if again:
                times[name].append(clock() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def report(rounds: int = 3, cases: tuple[Case, ...] = CASES) -> list[str]:
    """Markdown lines: seconds of a block bare and as a tile, and of a volume of tiles."""
    rows, goals = [], []
    for case in cases:
        blocks = np.prod(case.volume) / np.prod(case.block)
        for precision in ("float32", "bfloat16"):
            for threads in sorted({1, min(2, os.cpu_count() or 1)}):
                with _threads(threads):
                    t = _median_times(_Runs(case, precision), rounds)
                ratio, whole = t["block"] / t["bare"], t["volume"] / t["bare"] / blocks
                seconds = [f"{t[n]:.2f}" for n in ("textbook", "contiguous", "bare", "block")]
                ratios = [f"{t['volume']:.2f}", f"{whole:.2f}"]
                rows.append([case.name, precision, str(threads), *seconds, f"{ratio:.2f}", *ratios])
                # On the clock the figure is as good as the machine is idle.
                if threads == 1:
                    text = f"{case.name}, {precision}: "
                    goals.append(at_most(text + "a volume over its blocks bare", whole, 1.5))
                    goals.append(at_most(text + "an inner tile over its block bare", ratio, 1.5))
    head = ["network", "precision", "threads", "textbook s", "contiguous s", "bare s", "tile s"]
    sizes = ", ".join(
        f"{case.name}: {case.config.parameter_count:,} parameters, sees "
        f"{case.config.receptive_field[0]}, blocks of {case.block[0]}, volume of {case.volume[0]}"
        for case in cases
    )
    return [
        f"Seconds of one block and of a volume. {sizes}.",
        "",
        *table([*head, "tile / bare", "volume s", "volume / bare blocks"], rows),
        *goals,
        "",
    ]


if __name__ == "__main__":
    print("\n".join(report()))
