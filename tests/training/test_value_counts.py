"""Pixels of each value, in all and by block."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.training.arrays import Blocks, HiddenWindow, crop
from napari_implicitseg.training.value_counts import count_blocks

from .helpers import Recording


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint16, np.int64])
@pytest.mark.parametrize(("shape", "flat"), [((300, 7), False), ((3, 140, 150), True)])
def test_values_are_counted_like_numpy_counts_them(dtype, shape, flat):
    mask = np.random.default_rng(0).integers(0, 4, shape).astype(dtype)
    mask.flat[5:40] = 1
    counts = count_blocks(mask, flat=flat)
    values, pixels = np.unique(mask, return_counts=True)
    assert counts.totals() == dict(zip(values.tolist(), pixels.tolist(), strict=True))
    blocks = Blocks(mask, flat=flat)
    for row, number in zip(counts.table, range(len(blocks)), strict=True):
        assert row.tolist() == [(blocks.read(number) == v).sum() for v in counts.values]


def test_too_many_values_are_none():
    assert count_blocks(np.arange(65).reshape(5, 13)) is None
    assert count_blocks(np.arange(64).reshape(4, 16)) is not None


def test_of_many_values_those_that_are_wanted_are_counted():
    mask = np.arange(90_000, dtype=np.uint64).reshape(300, 300) + np.uint64(2**63)
    mask[:2, :5] = 7
    counts = count_blocks(mask, only=(7, 9))
    assert counts.totals() == {7: 10}
    assert count_blocks(mask, only=(9,)).totals() == {}


def test_counts_of_classes_are_those_of_their_values():
    counts = count_blocks(np.array([[9, 9, 5, 0]])).of_classes((5, 7, 9))
    assert counts.table.tolist() == [[1, 0, 2]]
    assert counts.values == (1, 2, 3)


@pytest.mark.parametrize("window", [(128, 300, 0, 256), (0, 128, 128, 300)])
def test_a_window_along_blocks_and_what_is_left_need_no_new_count(window):
    mask = Recording(
        np.random.default_rng(1).integers(0, 3, (300, 300)).astype(np.uint8), (128, 128)
    )
    mask.counts = count_blocks(mask).of_classes((1, 2))
    part = (slice(*window[:2]), slice(*window[2:]))
    for view in (crop(mask, part), HiddenWindow(mask, part)):
        fresh = count_blocks(view[:, :]).of_classes((1, 2))
        assert view.counts.totals() == fresh.totals()
    off = (slice(1, 128), slice(0, 300))
    assert crop(mask, off).counts is None
    assert HiddenWindow(mask, off).counts is None


def test_a_hidden_window_is_zero_in_every_window_and_nothing_else_is():
    data = np.arange(1, 145).reshape(12, 12)
    hidden = HiddenWindow(Recording(data, (4, 4)), (slice(3, 7), slice(0, 5)))
    wanted = data.copy()
    wanted[3:7, :5] = 0
    for rows in (slice(0, 12), slice(4, 6), slice(7, 12), slice(0, 4)):
        for columns in (slice(0, 12), slice(4, 9), slice(6, 8)):
            np.testing.assert_array_equal(hidden[rows, columns], wanted[rows, columns])
    assert data.all()
