"""Arrays on disk that are written block by block, so that a kill at any moment harms nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box

__all__ = [
    "chunk_files",
    "clear_left",
    "in_memory",
    "load_arrays",
    "open_array",
    "place_files",
    "read_block",
    "save_arrays",
    "write_block",
]


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

    Each file is put in its place in one step: a reader, or another writer of the same block,
    never meets half of it or none.

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
    memory, files = in_memory(target)
    memory[box] = values
    return place_files(path, memory, files, box)


def in_memory(array: zarr.Array[Any]) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """Return an empty array of the same form, and the files that what is written to it becomes."""
    from zarr import Array, AsyncArray
    from zarr.storage import MemoryStore, StorePath

    files: dict[str, Any] = {}
    place = StorePath(MemoryStore(files))
    made: Any = AsyncArray(metadata=array.metadata, store_path=place, config=array.config)
    return Array(made), files


def place_files(path: Path, array: Any, files: Mapping[str, Any], box: Box) -> int:
    """Put the files of a box into the folder of an array, each in one step; their bytes.

    What an interrupted writer left of them is removed.

    Raises
    ------
    FileError
        If the disk is full or cannot be written.
    """
    total = 0
    for file in chunk_files(path, array, box):
        content = files.get(file.relative_to(path).as_posix())
        try:
            clear_left(file)
            if content is None:
                file.unlink(missing_ok=True)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(file, overwrite=True) as temporary:
                temporary.write_bytes(content.as_buffer_like())
        except OSError as error:
            raise explain(error, path, "write") from error
        total += len(content)
    return total


def clear_left(file: Path) -> None:
    """Remove what a killed writer of a file has left beside it; see `replace_file`."""
    for left in file.parent.glob(f".{file.stem}-*.tmp{file.suffix}"):
        left.unlink(missing_ok=True)


def save_arrays(path: Path, **arrays: NDArray[Any]) -> int:
    """Write arrays into a file in one step, and wait until they are on the disk; its bytes."""
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
