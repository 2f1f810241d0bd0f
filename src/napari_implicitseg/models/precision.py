"""Which precision convolutions are quickest in on a device, and how tensors lie in memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["PRECISIONS", "autocast", "fast_precision", "memory_format", "training_format"]

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types of numbers that convolutions may use, by name."""


def fast_precision(device: torch.device) -> str:
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
