"""Arrays on disk that are written block by block, so that a kill at any moment harms nothing."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain
from napari_implicitseg.batch.ledger import flush
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box

__all__ = ["chunk_files", "load_arrays", "open_array", "read_block", "save_arrays", "write_block"]


def open_array(path: Path, *, write: bool = False) -> zarr.Array[Any]:
    """Open a zarr array in a folder."""
    import zarr

    return zarr.open_array(path, mode="r+" if write else "r", config={"write_empty_chunks": False})


def read_block(path: Path, box: Box) -> NDArray[Any]:
    """Read a box of an array."""
    return np.asarray(open_array(path)[box])


def chunk_files(path: Path, array: Any, box: Box) -> Iterator[Path]:
    """Yield the files that the voxels of a box lie in, whether there or not."""
    sizes = array.shards or array.chunks
    ranges = [range(p.start // n, -(-p.stop // n)) for p, n in zip(box, sizes, strict=True)]
    for place in itertools.product(*ranges):
        yield path / array.metadata.encode_chunk_key(place)


def write_block(path: Path, box: Box, values: NDArray[Any], *, array: Any = None) -> int:
    """Write whole files of an array and wait until they are on the disk.

    What an interrupted writer left in their place is removed first: it might be torn.

    Parameters
    ----------
    path : Path
        Folder of the array.
    box : tuple of slice
        Aligned to the array's files.
    values : ndarray
    array : zarr array, optional
        The same, if it is open.

    Returns
    -------
    int
        Bytes on the disk.

    Raises
    ------
    FileError
        If the disk is full or cannot be written.
    """
    target = open_array(path, write=True) if array is None else array
    files = list(chunk_files(path, target, box))
    try:
        for file in files:
            file.unlink(missing_ok=True)
        target[box] = values
        flush(files)
        return sum(file.stat().st_size for file in files if file.exists())
    except OSError as error:
        # Half a file is worse than none: its space is free again, too.
        for file in files:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
        raise explain(error, path, "write") from error


def save_arrays(path: Path, **arrays: NDArray[Any]) -> int:
    """Write arrays into a file in one step, and wait until they are on the disk; its bytes."""
    from napari_implicitseg.atomic import replace_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path, overwrite=True) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return path.stat().st_size


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read what `save_arrays` wrote.

    Raises
    ------
    FileError
        If it is missing or damaged.
    """
    import zipfile

    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f"'{path}', an intermediate result, cannot be read: {error}. Begin anew with restart "
            "(--restart)."
        ) from error
