"""Ways round what is slow in torch on a CPU: the same results, by other operations.

Graphs that are traced, exported or compiled keep the plain operations, which other
programs know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["convolve", "is_cpu_inference", "is_traced", "max_pool"]

# One sample of at most so many numbers, not counting the last axis, is convolved by slow code,
# which takes 3 to 10 times as long; of two samples none is.
_SMALL = 20480


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
    """Convolve (B, C, *S) by a weight (O, C, *K), in two or three dimensions.

    Parameters
    ----------
    x, weight : Tensor
    bias : Tensor, shape (O,), optional
    padding : tuple of int
        Zeros at both ends of every axis.
    """
    apply = functional.conv2d if x.ndim == 4 else functional.conv3d
    if not _is_eager_cpu(x):
        return apply(x, weight, bias, padding=padding)
    if x.shape[1] == 1 and weight.shape[-1] > 1:
        x, weight, padding = _taps_as_channels(x, weight, padding)
    elif x.ndim == 5 and max(weight.shape[2:]) == 1 and max(padding) == 0:
        # In one thread torch takes a kernel of 1 for a case too small for its fast code.
        return functional.linear(x.movedim(1, -1), weight.flatten(1), bias).movedim(-1, 1)
    if x.shape[:4].numel() <= _SMALL and x.shape[0] == 1 and x.dtype == torch.float32:
        axis = max(range(x.ndim - 2), key=lambda axis: x.shape[axis + 2])
        x, length = _in_two(x, axis, weight.shape[axis + 2], padding[axis])
        made = apply(x, weight, bias, padding=(*padding[:axis], 0, *padding[axis + 1 :]))
        return torch.cat([made[:1], made[1:]], dim=axis + 2).narrow(axis + 2, 0, length)
    return apply(x, weight, bias, padding=padding)


def max_pool(x: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Largest of every cell of (B, C, *S); sides are multiples of the factors.

    For inference it is made of largest of two, which is 2 to 6 times as fast. Its
    gradient would be slower.
    """
    if not is_cpu_inference(x):
        pool = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d
        return pool(x, factors)
    for axis, factor in enumerate(factors, start=2):
        before = (slice(None),) * axis
        parts = [x[(*before, slice(start, None, factor))] for start in range(factor)]
        x = parts[0]
        for part in parts[1:]:
            x = torch.maximum(x, part)
    return x


def _is_eager_cpu(x: Tensor) -> bool:
    return not torch.compiler.is_compiling() and not is_traced() and x.device.type == "cpu"


def is_cpu_inference(x: Tensor) -> bool:
    """Whether `x` is in the memory of the CPU and computed in `torch.inference_mode`."""
    return _is_eager_cpu(x) and x.is_inference()


def is_traced() -> bool:
    """Whether `torch.jit.trace` records what is done: sizes are no plain numbers then."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def _taps_as_channels(
    x: Tensor, weight: Tensor, padding: tuple[int, ...]
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Turn one channel into as many as the kernel has taps along the last axis.

    There is fast code for several channels only.
    """
    last, taps = x.ndim - 1, weight.shape[-1]
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    shifted = functional.pad(x, (padding[-1],) * 2).unfold(last, taps, 1)
    x = shifted[:, 0].movedim(-1, 1).contiguous(memory_format=layout)
    weight = weight[:, 0].movedim(-1, 1).unsqueeze(-1).contiguous(memory_format=layout)
    return x, weight, (*padding[:-1], 0)


def _in_two(x: Tensor, axis: int, side: int, padding: int) -> tuple[Tensor, int]:
    """Turn one sample into two, its halves along an axis with what the kernel sees.

    Returns
    -------
    x : Tensor, shape (2, C, *S)
        Padded along the axis.
    length : int
        Of the two results together; what is beyond is to be cut off.
    """
    length = x.shape[axis + 2] + 2 * padding - side + 1
    half = -(-length // 2)
    after = x.ndim - 3 - axis
    x = functional.pad(x, (*(0, 0) * after, padding, padding + 2 * half - length))
    parts = [x.narrow(axis + 2, start, half + side - 1) for start in (0, half)]
    return torch.cat(parts), length
