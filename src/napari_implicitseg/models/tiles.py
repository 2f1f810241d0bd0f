"""Predicting volumes of any size tile by tile, equal to predicting them whole."""

from __future__ import annotations

import math
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch

from napari_implicitseg.devices import lacks_memory
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.precision import PRECISIONS, memory_format
from napari_implicitseg.models.tile_plan import TileGrid, checked_tile, usual_tile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.tile_plan import Box

__all__ = ["Activation", "TiledNetwork", "predict_tiles"]


Activation: TypeAlias = Literal["sigmoid", "softmax"]
"""From logits to probabilities: each output on its own, or one of all outputs is true."""


class TiledNetwork(Protocol):
    """Network whose halo is known, such as `CNN` and `UNet`."""

    @property
    def config(self) -> Any:
        """With `ndim`, `in_channels`, `out_channels`, `halo`, `stride` and `features_held`."""

    def folded(self) -> nn.Module:
        """Return the same in evaluation mode, called with raw and `keep`."""


def predict_tiles(
    network: TiledNetwork,
    read: Callable[[Box], NDArray[np.float32]],
    shape: Sequence[int],
    box: Box | None = None,
    *,
    channels: int | None = None,
    tile_shape: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    precision: str = "float32",
    activation: Activation = "sigmoid",
    out: Any = None,
    progress: Progress | None = None,
) -> Any:
    """Predict a volume tile by tile.

    Every tile is computed from all that it depends on, so that tiles make no
    difference; what the network sees beyond the volume are zeros. While a tile is
    computed the next is read and the last one written, in threads.

    Parameters
    ----------
    network : CNN or UNet
        It is used in evaluation mode, and left as it is.
    read : callable
        Takes a box of slices and returns what the network sees there, float32 of
        shape (C, *box), scaled as in training. It is called from a thread.
    shape : sequence of int
        Of the volume: the axes of the network, or one more before them, along which
        sections are predicted one by one.
    box : tuple of slice, optional
        The part of the volume to predict, one slice per axis; all by default. What
        lies around it is read as far as the network sees.
    channels : int, optional
        Outputs to keep, the first ones; all by default.
    tile_shape : sequence of int, optional
        Output voxels predicted at a time, rounded up to the stride of the network; by
        default about 128^3 or 1024^2, fewer where memory is short.
    device : torch.device or str
    precision : {"float32", "bfloat16", "float16"}
        Of the convolutions.
    activation : {"sigmoid", "softmax"}
        From the outputs to probabilities: of each, or over all that are kept.
    out : array-like, optional
        Where to write, of shape (channels, *shape), or that of the box: anything with
        assignment of slices, such as a zarr array or a memmap.
    progress : callable, optional
        Called before every tile and at the end; may raise `Cancelled`.

    Returns
    -------
    ndarray of float32, shape (channels, *shape) or that of the box
        Probabilities; or `out`.

    Raises
    ------
    InputError
        If shapes do not fit, the output is not finite, or not even a small tile fits
        into memory.
    """
    config, device = network.config, torch.device(device)
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}.")
    channels = config.out_channels if channels is None else channels
    if not 1 <= channels <= config.out_channels:
        raise InputError(f"channels is {channels}; the network has {config.out_channels} outputs.")
    grid = _grid(config, shape)
    if tile_shape is None:
        size = torch.empty(0, dtype=PRECISIONS[precision]).element_size()
        tile = usual_tile(grid, config.ndim, size * config.features_held, device)
    else:
        tile = checked_tile(tile_shape, grid, config.ndim)
    box = _checked_box(box, grid)
    needed = (channels, *(part.stop - part.start for part in box))
    if out is None:
        out = _result(needed)
    elif tuple(out.shape) != needed:
        raise InputError(f"out has shape {tuple(out.shape)}; needed is {needed}.")
    runner = _Runner(network, read, grid, box, channels, device, PRECISIONS[precision])
    runner.activation = activation
    runner.run(tile, out, progress)
    return out


def _grid(config: Any, shape: Sequence[int]) -> TileGrid:
    """Tiles over a volume; along an axis the network does not have it sees single sections."""
    lead = len(shape) - config.ndim
    if lead not in (0, 1) or min(shape, default=0) < 1:
        raise InputError(
            f"The volume has shape {tuple(shape)}; a network with {config.ndim} axes predicts "
            f"volumes with {config.ndim} or {config.ndim + 1} that are not empty."
        )
    return TileGrid(
        shape=tuple(int(n) for n in shape),
        halo=(*(0,) * lead, *config.halo),
        stride=(*(1,) * lead, *config.stride),
    )


def _checked_box(box: Box | None, grid: TileGrid) -> Box:
    """Box with a start and an end along every axis; by default the volume."""
    if box is None:
        return tuple(slice(0, n) for n in grid.shape)
    if len(box) == len(grid.shape):
        spans = [part.indices(n) for part, n in zip(box, grid.shape, strict=True)]
        if all(start < stop and step == 1 for start, stop, step in spans):
            return tuple(slice(start, stop) for start, stop, _ in spans)
    raise InputError(
        f"box is {box}; needed is one slice of step 1 that is not empty for each axis of the "
        f"volume, which has shape {grid.shape}."
    )


def _result(shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        return np.empty(shape, np.float32)
    except (MemoryError, ValueError):
        raise InputError(
            f"There is no memory for a result of {_times(shape)} numbers, {4 * math.prod(shape):,} "
            "bytes. Predict a smaller box, or give `out`, an array on a disk."
        ) from None


class _Runner:
    """One prediction."""

    def __init__(
        self,
        network: TiledNetwork,
        read: Callable[[Box], NDArray[np.float32]],
        grid: TileGrid,
        box: Box,
        channels: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._read_window, self._grid, self._box = read, grid, box
        self._channels = channels
        self._device, self._dtype = device, dtype
        self._inputs, ndim = int(network.config.in_channels), int(network.config.ndim)
        self._lead, self._format = len(grid.shape) - ndim, memory_format(ndim)
        folded = network.folded().to(device=device, dtype=dtype)
        self._network = folded.to(memory_format=self._format)  # type: ignore[call-overload]
        self.activation: Activation = "sigmoid"

    def run(self, tile: tuple[int, ...], out: Any, progress: Progress | None) -> None:
        """Predict all tiles into `out`."""
        boxes, done = deque(self._grid.split(self._box, tile)), 0
        total = math.prod(part.stop - part.start for part in self._box)
        # Two threads, so that a slow writer does not keep the reader waiting.
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead: Future[Tensor] | None = None
            written: Future[None] | None = None
            while boxes:
                if progress is not None:
                    progress(done / total, "Predicting")
                ahead = ahead or reader.submit(self._read, boxes[0])
                following = reader.submit(self._read, boxes[1]) if len(boxes) > 1 else None
                made = self._predicted(ahead, boxes[0])
                ahead = following
                if made is None:
                    ahead, tile = None, self._smaller(tile)
                    boxes = deque(b for box in boxes for b in self._grid.split(box, tile))
                    continue
                if written is not None:
                    written.result()
                written = writer.submit(self._write, out, boxes[0], made)
                done += math.prod(part.stop - part.start for part in boxes.popleft())
            if written is not None:
                written.result()
        if progress is not None:
            progress(1.0, "Predicting")

    def _read(self, box: Box) -> Tensor:
        """Read what has to be seen to predict a box, (B, C, *S)."""
        window, _ = self._grid.window(box)
        raw = np.asarray(self._read_window(window), np.float32)
        needed = (self._inputs, *(part.stop - part.start for part in window))
        if raw.shape != needed:
            raise InputError(
                f"read gave an array of shape {raw.shape} for {window}; the network needs {needed}."
            )
        batch = np.moveaxis(raw, 1, 0) if self._lead else raw[None]
        made = torch.from_numpy(np.ascontiguousarray(batch))
        return made.pin_memory() if self._device.type == "cuda" else made

    def _predicted(self, raw: Future[Tensor], box: Box) -> _Made | None:
        """Probabilities of a box; None if memory was too short."""
        try:
            return self._compute(raw.result(), self._grid.window(box)[1][self._lead :])
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
        # Not before the error is gone, which holds what was computed so far.
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    @torch.inference_mode()
    def _compute(self, raw: Tensor, keep: Box) -> _Made:
        x = raw.to(device=self._device, dtype=self._dtype, non_blocking=True)
        x = x.contiguous(memory_format=self._format)
        found = self._network(x, keep)[:, : self._channels].float()
        found = found.softmax(dim=1) if self.activation == "softmax" else found.sigmoid_()
        if self._device.type != "cuda":
            return _Made(found.cpu(), None)
        # Queued behind the convolutions, so that the next tile can be queued behind it.
        host = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        host.copy_(found, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(self._device))
        return _Made(host, copied)

    def _write(self, out: Any, box: Box, made: _Made) -> None:
        if made.copied is not None:
            made.copied.synchronize()
        block = made.values.numpy()
        block = np.moveaxis(block, 1, 0) if self._lead else block[0]
        if not np.isfinite(block).all():
            raise InputError(
                f"The network gives NaN in {box}. If its precision is float16, use float32 or "
                "bfloat16; else its weights are damaged or its training failed."
            )
        places = [
            slice(part.start - whole.start, part.stop - whole.start)
            for part, whole in zip(box, self._box, strict=True)
        ]
        out[(slice(None), *places)] = block

    def _smaller(self, tile: tuple[int, ...]) -> tuple[int, ...]:
        """Half a tile, with a warning."""
        half = self._grid.halved(tile)
        if half is None:
            raise InputError(
                f"Predicting ran out of memory, even tile by tile of {_times(tile)} voxels. Close "
                "other programs, choose another device or precision, or use a smaller network."
            )
        warnings.warn(
            f"A tile of {_times(tile)} voxels does not fit into memory; going on with "
            f"{_times(half)}. It takes longer: give a smaller tile_shape (--tile), or free some "
            "memory.",
            stacklevel=4,
        )
        return half


class _Made(NamedTuple):
    """Probabilities (B, K, *S) on the way to their place.

    Attributes
    ----------
    values : Tensor
        In the memory of the CPU.
    copied : torch.cuda.Event, optional
        When they have arrived there.
    """

    values: Tensor
    copied: torch.cuda.Event | None


def _times(sides: Sequence[int]) -> str:
    return " x ".join(str(side) for side in sides)
