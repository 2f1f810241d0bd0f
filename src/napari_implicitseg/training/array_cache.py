"""Arrays of files that are read when they are looked at, the last ones kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.models.volume_checks import chunk_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray

    from napari_implicitseg.training.value_counts import BlockCounts

__all__ = ["KEPT_BYTES", "ArrayCache", "LoadedArray"]

KEPT_BYTES = 1 << 30
"""Images and masks of files that fit into this stay in memory once they are read."""

# Of what is read window by window the file is open, and a process may open some hundred.
_MOST_FILES = 64


class ArrayCache:
    """Keeps what was used last, up to so many bytes; may be used from several threads.

    Parameters
    ----------
    most_bytes : int
        Of all that is kept; what was read last is kept however large it is.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self._bytes, self._files = 0, 0
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that are kept now."""
        with self._lock:
            return self._bytes

    def get(self, key: object) -> Any:
        """Return what is kept under a key, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: object, array: Any) -> None:
        """Keep an array, and forget those that were not used for longest."""
        size = _bytes_of(array)
        with self._lock:
            self._forget(key)
            self._kept[key] = (array, size)
            self._bytes += size
            self._files += not size
            while len(self._kept) > 1 and self._is_full():
                self._forget(next(iter(self._kept)))

    def take(self, key: object) -> Any:
        """Return what is kept under a key, or None, and forget it."""
        with self._lock:
            return self._forget(key)

    def _is_full(self) -> bool:
        """Whether something has to go."""
        return self._bytes > self._most or self._files > _MOST_FILES

    def _forget(self, key: object) -> Any:
        """Drop an entry, if there is one, and return it."""
        if key not in self._kept:
            return None
        array, size = self._kept.pop(key)
        self._bytes -= size
        self._files -= not size
        return array


class LoadedArray:
    """Array of a file that is read as a whole, or opened, when a window of it is asked for.

    Parameters
    ----------
    load : callable
        Returns the array: in memory, or one that reads windows. May raise `FileError`.
    cache : ArrayCache
        Keeps it for a while.
    name : str
        For messages.
    shape : tuple of int
    dtype : dtype
    chunks : tuple of int, optional
        What is read at once, of an array that reads windows.
    is_whole : bool
        Whether it is read as a whole.
    counts : BlockCounts, optional
        Pixels of each value, where they were counted.
    """

    def __init__(
        self,
        load: Callable[[], Any],
        cache: ArrayCache,
        name: str,
        *,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        chunks: tuple[int, ...] | None = None,
        is_whole: bool = True,
        counts: BlockCounts | None = None,
    ) -> None:
        self._load, self._cache, self._name = load, cache, name
        # The cache must not refer to this object, which refers to the cache.
        self._key = object()
        self._lock = Lock()
        self.shape, self.ndim = shape, len(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.chunks, self.is_whole, self.counts = chunks, is_whole, counts

    @classmethod
    def first_read(cls, load: Callable[[], Any], cache: ArrayCache, name: str) -> LoadedArray:
        """Read an array for the first time, to know what it is.

        Raises
        ------
        FileError
            If it cannot be read.
        """
        found = load()
        made = cls(
            load,
            cache,
            name,
            shape=tuple(int(n) for n in found.shape),
            dtype=found.dtype,
            chunks=chunk_shape(found),
            is_whole=isinstance(found, np.ndarray),
        )
        cache.put(made._key, found)
        return made

    def opened(self) -> Any:
        """Return the array, from memory if it is still there.

        Raises
        ------
        FileError
            If it cannot be read any more, or is another one by now.
        """
        found = self._cache.get(self._key)
        if found is not None:
            return found
        with self._lock:  # Of two threads one reads, and the other finds it read.
            found = self._cache.get(self._key)
            if found is None:
                found = self._load()
                self._check(found)
                self._cache.put(self._key, found)
        return found

    def changed(
        self,
        change: Callable[[NDArray[Any]], NDArray[Any]],
        *,
        shape: tuple[int, ...] | None = None,
        dtype: DTypeLike | None = None,
        counts: BlockCounts | None = None,
    ) -> LoadedArray:
        """Return what a function makes of this array, which is forgotten in favour of it.

        Parameters
        ----------
        change : callable
            Of the whole array, which is in memory; called whenever it is read again.
        shape, dtype
            Of what it returns; by default those of this array.
        counts : BlockCounts, optional
            Of what it returns.
        """

        def load() -> NDArray[Any]:
            found = self._cache.take(self._key)
            return change(self._load() if found is None else found)

        return LoadedArray(
            load,
            self._cache,
            self._name,
            shape=shape or self.shape,
            dtype=dtype or self.dtype,
            counts=counts,
        )

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a window."""
        return np.asarray(self.opened()[index])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _check(self, found: Any) -> None:
        """Refuse an array that is not the one that was there before."""
        shape = tuple(int(n) for n in found.shape)
        if (shape, found.dtype) != (self.shape, self.dtype):
            raise FileError(
                f"{self._name} has changed while it was in use: it was {self.dtype} of shape "
                f"{self.shape}, now it is {found.dtype} of shape {shape}. Leave files as they are "
                "until this is done, and begin again."
            )


def _bytes_of(array: Any) -> int:
    """Bytes that an array holds in memory, of a view all that it is a view of; 0 of a file."""
    if not isinstance(array, np.ndarray):
        return 0
    while isinstance(array.base, np.ndarray):
        array = array.base
    return 0 if isinstance(array, np.memmap) else int(array.nbytes)
