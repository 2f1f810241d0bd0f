"""Blocks cover a volume exactly, and know their neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg.batch.blocks import BlockGrid, block_name, chunks_in, relative, size_of
from napari_implicitseg.errors import InputError


@st.composite
def grids(draw) -> BlockGrid:
    ndim = draw(st.integers(1, 3))
    triple = st.tuples(st.integers(1, 17), st.integers(1, 20), st.integers(0, 6))
    axes = [draw(triple) for _ in range(ndim)]
    return BlockGrid(
        shape=tuple(a[0] for a in axes),
        block_shape=tuple(a[1] for a in axes),
        halo=tuple(a[2] for a in axes),
    )


@given(grids())
def test_every_voxel_is_in_the_core_of_one_block(grid):
    seen = np.zeros(grid.shape, int)
    for place in grid:
        seen[grid.core(place)] += 1
    assert (seen == 1).all()
    assert len({block_name(p) for p in grid}) == len(grid) == len(list(grid))


@given(grids())
def test_a_block_sees_its_core_and_the_halo_as_far_as_the_volume_goes(grid):
    distance = np.indices(grid.shape)
    for place in grid:
        core, outer = grid.core(place), grid.outer(place)
        seen = np.zeros(grid.shape, bool)
        seen[outer] = True
        expected = np.ones(grid.shape, bool)
        for axis, (part, halo) in enumerate(zip(core, grid.halo, strict=True)):
            i = distance[axis]
            expected &= (i >= part.start - halo) & (i < part.stop + halo)
        assert (seen == expected).all()
        inner = relative(core, outer)
        assert np.zeros(grid.shape)[outer][inner].size == size_of(core)


@given(grids(), st.data())
def test_the_parts_of_a_box_in_blocks_cover_it_once(grid, data):
    ends = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in grid.shape]
    box = tuple(slice(a, b) for a, b in ends)
    if size_of(box) == 0:
        return
    seen = np.zeros(grid.shape, int)
    numbers = []
    for place, part in grid.touched(box):
        assert size_of(part) > 0
        core = grid.core(place)
        assert all(c.start <= p.start and p.stop <= c.stop for c, p in zip(core, part, strict=True))
        seen[part] += 1
        numbers.append(grid.number(place))
    expected = np.zeros(grid.shape, int)
    expected[box] = 1
    assert (seen == expected).all()
    assert numbers == sorted(numbers)


@given(grids())
def test_blocks_are_numbered_in_the_order_they_come(grid):
    assert [grid.number(place) for place in grid] == list(range(len(grid)))


def test_neighbours_below_share_a_face():
    grid = BlockGrid(shape=(4, 4), block_shape=(2, 3), halo=(1, 1))
    assert list(grid.below((1, 1))) == [(0, (0, 1)), (1, (1, 0))]
    assert list(grid.below((0, 0))) == []


@given(st.lists(st.integers(1, 500), min_size=1, max_size=3))
def test_chunks_make_up_a_block_exactly(block):
    for length, chunk in zip(block, chunks_in(block), strict=True):
        assert length % chunk == 0
        assert chunk == length or 32 <= chunk <= 64


@pytest.mark.parametrize(
    ("shape", "block", "halo"),
    [((4, 4), (2,), (1, 1)), ((4, 0), (2, 2), (0, 0)), ((4,), (0,), (0,)), ((4,), (2,), (-1,))],
)
def test_what_is_no_grid_is_refused(shape, block, halo):
    with pytest.raises(InputError, match="positive whole number per axis"):
        BlockGrid(shape=shape, block_shape=block, halo=halo)
