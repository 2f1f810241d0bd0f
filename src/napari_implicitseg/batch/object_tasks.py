"""Objects that are fitted together, what they see of the volume, and which go at the same time."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import replace_file
from napari_implicitseg.batch.ledger import flush

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import BlockGrid, Box
    from napari_implicitseg.batch.jobs import Place

__all__ = ["Round", "TaskTable", "box_of", "colour", "group", "make_tasks", "meeting_pairs"]

_BLOCKS_TOGETHER = 8
"""Blocks that the window of several objects takes at most: larger ones meet too many others."""
_PAIRS = 1 << 22
"""Pairs looked at in one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTable:
    """All objects of a volume, and the tasks they are fitted in.

    Attributes
    ----------
    ids : ndarray of uint64, shape (N,)
        Ascending.
    boxes : ndarray of int64, shape (N, 2, D)
        First voxel and the one after the last.
    counts : ndarray of int64, shape (N,)
        Voxels of each.
    task : ndarray of int64, shape (N,)
        Number of the task of each object, -1 if it is left as it is.
    windows : ndarray of int64, shape (T, 2, D)
        What each task sees.
    rounds : ndarray of int64, shape (T,)
        Tasks of one round see nothing of each other.
    member_starts, members : ndarray of int64, shapes (T + 1,) and (M,)
        Objects of each task.
    earlier_starts, earlier : ndarray of int64, shapes (T + 1,) and (E,)
        Tasks of earlier rounds each one sees something of.
    block_starts, block_tasks : ndarray of int64, shapes (B + 1,) and (K,)
        Tasks that see something of each block, in C order.
    """

    ids: NDArray[np.uint64]
    boxes: NDArray[np.int64]
    counts: NDArray[np.int64]
    task: NDArray[np.int64]
    windows: NDArray[np.int64]
    rounds: NDArray[np.int64]
    member_starts: NDArray[np.int64]
    members: NDArray[np.int64]
    earlier_starts: NDArray[np.int64]
    earlier: NDArray[np.int64]
    block_starts: NDArray[np.int64]
    block_tasks: NDArray[np.int64]

    def save(self, folder: Path) -> None:
        """Write the arrays, each into a file that workers read in parts."""
        folder.mkdir(parents=True, exist_ok=True)
        for part in fields(self):
            path = folder / f"{part.name}.npy"
            with replace_file(path, overwrite=True) as temporary, temporary.open("wb") as file:
                np.save(file, getattr(self, part.name))
            flush([path])

    @classmethod
    def open(cls, folder: Path) -> TaskTable:
        """Open what `save` wrote; only what is looked at is read."""
        found: dict[str, Any] = {
            part.name: np.load(folder / f"{part.name}.npy", mmap_mode="r") for part in fields(cls)
        }
        return cls(**found)

    def window(self, task: int) -> Box:
        """Return the voxels a task sees."""
        return box_of(self.windows[task])

    def own(self, task: int) -> NDArray[np.int64]:
        """Return the objects of a task."""
        return self.members[self.member_starts[task] : self.member_starts[task + 1]]

    def before(self, task: int) -> list[int]:
        """Return the tasks of earlier rounds that a task sees something of."""
        first, last = self.earlier_starts[task : task + 2]
        found: list[int] = self.earlier[first:last].tolist()
        return found

    def seen_in(self, block: int) -> list[int]:
        """Return the tasks that see something of a block, by its number."""
        first, last = self.block_starts[block : block + 2]
        found: list[int] = self.block_tasks[first:last].tolist()
        return found

    def places(self) -> list[Round]:
        """Return the rounds, in their order."""
        count = int(self.rounds.max(initial=-1)) + 1
        return [Round(self, np.flatnonzero(self.rounds == i)) for i in range(count)]


@dataclass(frozen=True, slots=True)
class Round:
    """Tasks that are done at the same time, as the blocks of a stage."""

    table: TaskTable
    tasks: NDArray[np.int64]

    def __len__(self) -> int:
        """Return their number."""
        return len(self.tasks)

    def __iter__(self) -> Iterator[Place]:
        """Yield their places: the number of each."""
        return ((int(task),) for task in self.tasks)

    def core(self, place: Place) -> Box:
        """Return the voxels of one."""
        return self.table.window(place[0])


def box_of(bounds: NDArray[np.int64]) -> Box:
    """Return bounds (2, D) as slices."""
    return tuple(slice(a, b) for a, b in zip(*bounds.tolist(), strict=True))


def make_tasks(
    ids: NDArray[np.uint64],
    boxes: NDArray[np.int64],
    counts: NDArray[np.int64],
    windows: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    grid: BlockGrid,
    *,
    most_voxels: int,
) -> TaskTable:
    """Sort objects into tasks.

    Parameters
    ----------
    ids : ndarray of uint64, shape (N,)
    boxes, windows : ndarray of int64, shape (N, 2, D)
        Where each object lies, and what is to be seen around it.
    counts : ndarray of int64, shape (N,)
        Voxels of each.
    chosen : ndarray of bool, shape (N,)
        Objects that are fitted.
    grid : BlockGrid
    most_voxels : int
        Of the window of a task.
    """
    groups = group(windows, np.flatnonzero(chosen), grid, most_voxels=most_voxels)
    task = np.full(len(ids), -1, np.int64)
    seen = np.zeros((len(groups), 2, len(grid.shape)), np.int64)
    for number, own in enumerate(groups):
        task[own] = number
        seen[number] = windows[own, 0].min(axis=0), windows[own, 1].max(axis=0)
    pairs = meeting_pairs(seen, grid.block_shape)
    rounds = colour(pairs, len(groups))
    order = rounds[pairs[:, 0]] < rounds[pairs[:, 1]]
    first = np.where(order, pairs[:, 0], pairs[:, 1])
    later = np.where(order, pairs[:, 1], pairs[:, 0])
    members = np.concatenate([np.empty(0, np.int64), *groups])
    numbers, cells = _cells(seen, np.asarray(grid.block_shape), np.asarray(grid.counts))
    before = _by_owner(later, first, len(groups))
    seen_in = _by_owner(cells, numbers, len(grid))
    return TaskTable(
        ids=ids,
        boxes=boxes,
        counts=counts,
        task=task,
        windows=seen,
        rounds=rounds,
        member_starts=np.cumsum([0, *map(len, groups)]),
        members=members,
        earlier_starts=before[0],
        earlier=before[1],
        block_starts=seen_in[0],
        block_tasks=seen_in[1],
    )


def group(
    windows: NDArray[np.int64],
    chosen: NDArray[np.int64],
    grid: BlockGrid,
    *,
    most_voxels: int,
) -> list[NDArray[np.int64]]:
    """Put objects together whose windows have their middles in one block, small ones first.

    They are fitted as in the whole then. A window of several is of at most `most_voxels` and
    8 blocks.
    """
    most = min(most_voxels, _BLOCKS_TOGETHER * math.prod(grid.block_shape))
    middles = windows[chosen].sum(axis=1) // 2
    blocks = np.ravel_multi_index(tuple((middles // grid.block_shape).T), grid.counts)
    sizes = np.prod((windows[chosen, 1] - windows[chosen, 0]).astype(float), axis=1)
    groups: list[list[int]] = []
    before, low, high = -1, [0], [0]
    for k in np.lexsort((chosen, sizes, blocks)).tolist():
        number = int(chosen[k])
        start, stop = windows[number].tolist()
        if blocks[k] == before:
            both = list(map(min, low, start)), list(map(max, high, stop))
            if math.prod(b - a for a, b in zip(*both, strict=True)) <= most:
                low, high = both
                groups[-1].append(number)
                continue
        groups.append([number])
        before, low, high = int(blocks[k]), start, stop
    return [np.sort(np.asarray(own, np.int64)) for own in groups]


def meeting_pairs(windows: NDArray[np.int64], side: Sequence[int]) -> NDArray[np.int64]:
    """Find the pairs of windows that share a voxel, (P, 2), each once, the lower number first.

    Windows are listed in the cells of a grid, about as large as most of them, and compared cell by
    cell. A pair counts in the one cell where what they share begins.
    """
    if len(windows) < 2:
        return np.empty((0, 2), np.int64)
    usual = np.median(windows[:, 1] - windows[:, 0], axis=0).astype(np.int64)
    cell = np.maximum(usual, side)
    counts = windows[:, 1].max(axis=0) // cell + 1
    numbers, cells = _cells(windows, cell, counts)
    order = np.argsort(cells, kind="stable")
    numbers, cells = numbers[order], cells[order]
    first = np.searchsorted(cells, cells)
    ranks = np.arange(len(cells)) - first
    ends = np.cumsum(ranks)
    found = [np.empty((0, 2), np.int64)]
    begin = 0
    while begin < len(cells):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        part = slice(begin, end)
        found.append(_meeting(windows, numbers, cells, first, ranks, part, cell, counts))
        begin = end
    return np.sort(np.concatenate(found), axis=1)


def _meeting(
    windows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    cells: NDArray[np.int64],
    first: NDArray[np.int64],
    ranks: NDArray[np.int64],
    part: slice,
    cell: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Compare some entries of the cells with those before them in the same cell."""
    each = ranks[part]
    entry = np.repeat(np.arange(part.start, part.start + len(each)), each)
    within = np.arange(len(entry)) - np.repeat(np.cumsum(each) - each, each)
    one, other = numbers[first[entry] + within], numbers[entry]
    low = np.maximum(windows[one, 0], windows[other, 0])
    high = np.minimum(windows[one, 1], windows[other, 1])
    meet = (low < high).all(axis=1)
    meet[meet] = np.ravel_multi_index(tuple((low[meet] // cell).T), counts) == cells[entry[meet]]
    return np.stack([one[meet], other[meet]], axis=1)


def _cells(
    windows: NDArray[np.int64], cell: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List windows and the cells of a grid they lie in: numbers of windows, and of cells."""
    low, high = windows[:, 0] // cell, (windows[:, 1] - 1) // cell
    spans = high - low + 1
    each = np.prod(spans, axis=1, dtype=np.int64)
    numbers = np.repeat(np.arange(len(windows)), each)
    rest = np.arange(len(numbers)) - np.repeat(np.cumsum(each) - each, each)
    places = []
    for axis in range(windows.shape[2] - 1, -1, -1):
        places.append(low[numbers, axis] + rest % spans[numbers, axis])
        rest //= spans[numbers, axis]
    return numbers, np.ravel_multi_index(tuple(places[::-1]), tuple(counts))


def colour(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Give each of `count` tasks the first round in which it meets none before it."""
    starts, others = _by_owner(pairs[:, 1], pairs[:, 0], count)
    rounds = [0] * count
    near = others.tolist()
    for task, (a, b) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        taken = {rounds[other] for other in near[a:b]}
        while rounds[task] in taken:
            rounds[task] += 1
    return np.asarray(rounds, np.int64)


def _by_owner(
    owners: NDArray[np.int64], items: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort items by owner: where those of each begin, and the items, ascending."""
    order = np.lexsort((items, owners))
    starts = np.searchsorted(owners[order], np.arange(count + 1))
    return starts.astype(np.int64), items[order].astype(np.int64)
