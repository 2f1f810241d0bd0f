"""Devices by name."""

from __future__ import annotations

import torch

from napari_implicitseg.errors import InputError

__all__ = ["find_device", "lacks_compiler", "lacks_memory"]

_SHORTAGE = ("not enough memory", "can't allocate memory", "out of memory")


def find_device(name: str, *, large: bool = False) -> torch.device:
    """Return the torch device a user asked for.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda", "cuda:1", "mps".
    large : bool
        Whether the work is worth a GPU: "auto" takes one then, if there is one.

    Raises
    ------
    InputError
        If torch cannot use it here.
    """
    if name == "auto":
        if large and torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if large and torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device is {name!r}, which torch cannot use here; use 'cpu'.") from error
    return device


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, of Python, torch or a driver, says that memory is used up."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _SHORTAGE)


def lacks_compiler(error: BaseException) -> bool:
    """Whether an error says that `torch.compile` could not compile, for want of a compiler."""
    from torch._dynamo.exc import BackendCompilerFailed

    return isinstance(error, BackendCompilerFailed)
