"""Which precision convolutions are quickest in on a device, and how tensors lie in memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

__all__ = ["PRECISIONS", "autocast", "memory_format", "training_format", "training_precision"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of numbers that convolutions may use, by name."""


# On levels with a shorter side, gradients of 3D convolutions in bfloat16 are NaN, or are written
# beyond their arrays (oneDNN in torch 2.13, with AVX512-BF16).
_LEAST_SIDE = 3


def _fast_precision(device: torch.device) -> str:
    """Return "bfloat16" where the device computes with it faster than with float32.

    Parameters
    ----------
    device : torch.device
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    if device.type == "cpu":
        # Elsewhere bfloat16 is emulated. The questions are private to torch, so they may go.
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        has = any(bool(getattr(torch.cpu, name, bool)()) for name in asked)
        return "bfloat16" if has else "float32"
    return "float32"


def training_precision(
    wanted: str, device: torch.device, patch: Sequence[int], stride: Sequence[int]
) -> str:
    """Return the precision in which a network can be trained.

    Parameters
    ----------
    wanted : {"auto", "float32", "bfloat16"}
        "auto" takes the quicker one.
    device : torch.device
    patch, stride : sequence of int
        Voxels of a patch, and of a cell of the lowest level, per axis.
    """
    if device.type == "cpu" and len(patch) == 3:
        thinnest = min(n // s for n, s in zip(patch, stride, strict=True))
        if thinnest < _LEAST_SIDE:
            return "float32"
    return _fast_precision(device) if wanted == "auto" else wanted


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Context in which convolutions use a precision: "float32", "bfloat16" or "float16"."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=PRECISIONS[precision])


def memory_format(ndim: int) -> torch.memory_format:
    """Order of axes in memory in which convolutions are quickest: channels last."""
    return torch.channels_last if ndim == 2 else torch.channels_last_3d


def training_format(ndim: int, device: torch.device, precision: str) -> torch.memory_format:
    """Order of axes in memory for training: as `memory_format`, where torch can do that.

    On one thread of a processor torch convolves a single image in float32 by a routine
    of its own, whose gradient knows no channels last.
    """
    if ndim == 2 and device.type == "cpu" and precision == "float32":
        return torch.contiguous_format
    return memory_format(ndim)
