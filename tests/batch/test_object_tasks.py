"""Tasks of objects: windows that meet are never seen at the same time, and planes part masks."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.batch.blocks import BlockGrid
from napari_implicitseg.batch.object_masks import (
    Mask,
    cut_off,
    load_masks,
    paint_masks,
    part_convex,
    save_masks,
)
from napari_implicitseg.batch.object_tasks import (
    TaskTable,
    colour,
    group,
    make_tasks,
    meeting_pairs,
)
from napari_implicitseg.shapes.certificate import certify


def windows(count: int, shape: tuple[int, ...], longest: int, seed: int = 0) -> np.ndarray:
    """Random boxes in a volume."""
    rng = np.random.default_rng(seed)
    low = np.stack([rng.integers(0, n, count) for n in shape], axis=1)
    high = np.minimum(low + rng.integers(1, longest, low.shape), shape)
    return np.stack([low, high], axis=1)


def meets(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.maximum(one[0], other[0]) < np.minimum(one[1], other[1])).all())


@pytest.mark.parametrize("shape", [(300, 200), (60, 80, 70)])
def test_pairs_that_meet_are_those_of_all_pairs(shape):
    boxes = windows(150, shape, 40)
    found = meeting_pairs(boxes, (16,) * len(shape))
    expected = {(i, j) for j in range(150) for i in range(j) if meets(boxes[i], boxes[j])}
    assert len(found) == len(expected) > 50
    assert set(map(tuple, found.tolist())) == expected


def test_pairs_are_found_in_parts_as_at_once(monkeypatch):
    from napari_implicitseg.batch import object_tasks

    boxes = windows(200, (100, 100), 30)
    whole = meeting_pairs(boxes, (16, 16))
    monkeypatch.setattr(object_tasks, "_PAIRS", 50)
    assert (meeting_pairs(boxes, (16, 16)) == whole).all()


def test_tasks_of_a_round_do_not_meet_and_all_objects_are_in_one():
    grid = BlockGrid(shape=(200, 200), block_shape=(40, 40), halo=(0, 0))
    seen = windows(120, grid.shape, 50)
    chosen = np.arange(120) % 7 != 0
    ids = np.arange(1, 121, dtype=np.uint64)
    table = make_tasks(ids, seen, ids, seen, chosen, grid, most_voxels=5000)
    assert sorted(table.members.tolist()) == np.flatnonzero(chosen).tolist()
    for number, own in enumerate(np.split(table.members, table.member_starts[1:-1])):
        assert (table.task[own] == number).all()
        assert (table.windows[number, 0] <= seen[own, 0].min(axis=0)).all()
        size = np.prod(table.windows[number, 1] - table.windows[number, 0])
        assert len(own) == 1 or size <= 5000
    count = len(table.windows)
    for i in range(count):
        near = {j for j in range(count) if i != j and meets(table.windows[i], table.windows[j])}
        assert all(table.rounds[i] != table.rounds[j] for j in near)
        assert set(table.before(i)) == {j for j in near if table.rounds[j] < table.rounds[i]}
    for number, place in enumerate(grid):
        core = np.array([(p.start, p.stop) for p in grid.core(place)]).T
        expected = [i for i in range(count) if meets(table.windows[i], core)]
        assert table.seen_in(number) == expected
    assert sum(len(part) for part in table.places()) == count


def test_a_table_comes_back_from_its_files_even_if_empty(tmp_path):
    grid = BlockGrid(shape=(50, 50), block_shape=(20, 20), halo=(0, 0))
    for count in (0, 9):
        boxes = windows(count, grid.shape, 20)
        ids = np.arange(count, dtype=np.uint64)
        made = make_tasks(ids, boxes, ids, boxes, np.ones(count, bool), grid, most_voxels=400)
        made.save(tmp_path / str(count))
        back = TaskTable.open(tmp_path / str(count))
        for name in ("ids", "boxes", "rounds", "earlier", "block_tasks"):
            assert np.array_equal(getattr(made, name), getattr(back, name))
        assert len(back.places()) == (made.rounds.max() + 1 if count else 0)


def test_small_objects_are_not_put_with_a_large_one():
    grid = BlockGrid(shape=(100, 100), block_shape=(20, 20), halo=(0, 0))
    small = [[[44, 44], [50, 50]], [[50, 50], [56, 56]]]
    seen = np.array([[[2, 2], [99, 99]], *small])
    groups = group(seen, np.arange(3), grid, most_voxels=1 << 20)
    assert [own.tolist() for own in groups] == [[1, 2], [0]]


def test_colours_are_few_along_a_line():
    boxes = np.stack([np.stack([np.arange(50) * 8, np.zeros(50, int)], 1)] * 2, axis=1)
    boxes[:, 1] += (12, 10)
    rounds = colour(meeting_pairs(boxes, (8, 10)), 50)
    assert rounds.max() == 1


def ball(shape, centre, radius) -> np.ndarray:
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_mask_parted_from_others_is_convex_and_shares_nothing(ndim, seed):
    rng = np.random.default_rng(seed)
    shape = (30,) * ndim
    mask = ball(shape, (15,) * ndim, 9)
    others = np.zeros(shape, np.uint32)
    for number in (1, 2):
        away = rng.normal(size=ndim)
        centre = 15 + (15.5 - number) * away / np.linalg.norm(away)
        others[ball(shape, centre, 8) & (others == 0)] = number
    part = part_convex(mask, others, np.array([1, 2], np.uint32))
    assert certify(part, kind="convex").holds
    assert not (part & (others > 0)).any()
    # A plane costs little more than what the others hold.
    assert part.sum() > 0.75 * (mask & (others == 0)).sum()


def test_the_plane_between_two_balls_is_found():
    mask, other = ball((40, 60), (20, 22), 14), ball((40, 60), (20, 44), 14)
    part = cut_off(mask, mask & other)
    assert not (part & other).any()
    assert part.sum() > 0.9 * (mask & ~other).sum()


def test_an_object_within_another_leaves_a_dent_and_not_half():
    mask = ball((40, 40), (20, 20), 15)
    others = ball((40, 40), (20, 22), 4).astype(np.uint32)
    part = part_convex(mask, others, np.array([1], np.uint32))
    assert (part == (mask & (others == 0))).all()


def test_voxels_of_what_no_plane_may_part_stay_with_it():
    mask = ball((40, 40), (20, 20), 15)
    others = np.zeros((40, 40), np.uint32)
    others[:, 30:] = 5
    part = part_convex(mask, others, np.array([1], np.uint32))
    assert (part == (mask & (others == 0))).all()


def test_masks_come_back_from_their_file_where_they_are_looked_for(tmp_path):
    rng = np.random.default_rng(0)
    window = (slice(10, 40), slice(5, 30))
    masks = [Mask.of(2**40 + k, rng.random((30, 25)) > 0.7, window) for k in range(3)]
    corner = Mask.of(7, ball((30, 25), (2, 2), 2), window)
    save_masks(tmp_path / "m.npz", [*masks, corner])
    save_masks(tmp_path / "none.npz", [])
    files = [tmp_path / "m.npz", tmp_path / "none.npz"]
    back = list(load_masks(files, window))
    for one, other in zip([*masks, corner], back, strict=True):
        assert (one.id, one.box) == (other.id, other.box)
        assert (one.inside == other.inside).all()
    part = (slice(30, 60), slice(0, 60))
    assert [m.id for m in load_masks(files, part)] == [m.id for m in masks]
    painted = np.zeros((30, 60), np.uint64)
    paint_masks(painted, part, [back[0]], lambda mask: mask.id)
    full = np.zeros((60, 60), bool)
    full[back[0].box] = back[0].inside
    assert ((painted == 2**40) == full[30:60]).all()
