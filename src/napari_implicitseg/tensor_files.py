"""Arrays with a description in one safetensors file; nothing is pickled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_tensors", "write_tensors"]


def write_tensors(
    path: Path, tensors: Mapping[str, NDArray[Any]], *, metadata: Mapping[str, str]
) -> None:
    """Write arrays in one step; an older file stays whole until then.

    Parameters
    ----------
    path : Path
    tensors : mapping of str to ndarray
        In C order.
    metadata : mapping of str to str

    Raises
    ------
    FileError
        If the disk is full or the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    with replace_file(path, overwrite=True) as temporary:
        mode = temporary.stat().st_mode
        try:
            save_file(dict(tensors), temporary, metadata=dict(metadata))
            temporary.chmod(mode)  # safetensors makes a file of its own, for its owner only.
        except SafetensorError as error:  # What a full disk becomes.
            raise FileError(
                f"Cannot write '{path}': {error}. Free some space, or write to another disk. "
                "Nothing was changed."
            ) from error


def read_tensors(path: Path, *, wanted: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Read arrays and description.

    Parameters
    ----------
    path : Path
    wanted : str
        What the file should be, for messages: "a fit result".

    Raises
    ------
    FileError
        If it cannot be read, or is no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except OSError as error:
        raise explain(error, path, "read") from error
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:  # odd types too
        raise FileError(
            f"'{path}' cannot be read as {wanted}: {error}. It is damaged, cut off or no "
            "safetensors file; make it anew."
        ) from error
