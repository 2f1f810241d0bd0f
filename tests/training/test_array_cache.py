"""Arrays of files: read when looked at, forgotten in time, the same whoever asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from napari_implicitseg.errors import FileError
from napari_implicitseg.training.array_cache import ArrayCache, LoadedArray

from .helpers import Recording


class Files:
    """Counts how often each of some arrays is read."""

    def __init__(self, count: int, cache: ArrayCache) -> None:
        self.data = [np.full((10, 10), i, np.uint8) for i in range(count)]
        self.reads = [0] * count
        self.arrays = [LoadedArray.first_read(self._load(i), cache, f"'{i}'") for i in range(count)]

    def _load(self, number: int):
        def load():
            self.reads[number] += 1
            return self.data[number].copy()

        return load


@pytest.mark.parametrize(("room", "reads"), [(1000, 1), (550, 2), (0, 2)])
def test_what_fits_is_read_once_and_no_more_is_kept_than_there_is_room_for(room, reads):
    cache = ArrayCache(room)
    files = Files(10, cache)
    for array, data in zip(files.arrays, files.data, strict=True):
        np.testing.assert_array_equal(array[2:4, 5], data[2:4, 5])
        assert cache.nbytes <= max(room, 100)
    assert files.reads == [reads] * 10


def test_views_count_as_what_they_are_views_of():
    cache = ArrayCache(1000)
    LoadedArray.first_read(lambda: np.zeros((4, 100), np.uint8)[:1], cache, "'a'")
    assert cache.nbytes == 400


def test_threads_read_the_same():
    cache = ArrayCache(300)
    files = Files(8, cache)
    rng = np.random.default_rng(0)
    asked = rng.integers(8, size=400).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: int(files.arrays[i][3, 3]), asked))
    assert found == asked
    assert cache.nbytes <= 300


def test_a_change_replaces_what_it_was_made_of():
    cache = ArrayCache(1000)
    files = Files(2, cache)
    twice = files.arrays[1].changed(lambda a: a.astype(np.int32) * 2, dtype=np.int32)
    assert (twice.shape, twice.dtype) == ((10, 10), np.int32)
    assert np.asarray(twice).max() == 2
    assert files.reads == [1, 1]
    assert cache.nbytes == 100 + 400


def test_files_that_are_read_by_windows_are_not_all_left_open():
    cache = ArrayCache()
    opened: list[int] = []

    def load(number: int):
        opened.append(number)
        return Recording(np.full((4, 4), number), (2, 2))

    arrays = [LoadedArray.first_read(lambda i=i: load(i), cache, f"'{i}'") for i in range(200)]
    assert arrays[0].chunks == (2, 2)
    assert not arrays[0].is_whole
    assert arrays[199][0, 0] == 199
    assert arrays[0][0, 0] == 0
    assert opened == [*range(200), 0]


def test_a_file_that_has_changed_meanwhile_is_told():
    cache = ArrayCache(0)
    files = Files(2, cache)
    files.data[0] = np.zeros((9, 10), np.uint8)
    with pytest.raises(FileError, match=r"'0' has changed while it was in use.*now it is uint8"):
        files.arrays[0][0]
