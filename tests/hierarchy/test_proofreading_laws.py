"""Random edits, thresholds, undo and redo: what holds after each of them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.edits import Merge, Seeds, Split, strokes_of
from napari_implicitseg.hierarchy.proofreading import Proofreading

from .fragment_cases import plain
from .hierarchy_cases import LINKAGES, VOLUMES, bare, hierarchy_of, levels, partition


def blocks(seed, linkage):
    """Random affinities, long-range ones among them, and fragments of six voxels each."""
    index = np.indices((8, 9)) // np.array([2, 3]).reshape(2, 1, 1)
    data = np.random.default_rng(seed).random((4, 8, 9)).astype(np.float32)
    affinities = plain(data, offsets=((-1, 0), (0, -1), (-3, 0), (2, -4)))
    return build_hierarchy(affinities, fragments=1 + 3 * index[0] + index[1], linkage=linkage)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from(["mean", "single", "quantile", "ward"]))
def test_an_edit_changes_only_the_objects_it_names(seed, linkage):
    """Nor what the edits before it did, though it may cut the fragments that they moved."""
    hierarchy = blocks(seed, linkage)
    rng = np.random.default_rng(seed)
    work = Proofreading(hierarchy, 0.5 if hierarchy.by_affinity else np.median(hierarchy.altitudes))
    for _ in range(8):
        before = work.labels()
        a, b, c = (tuple(map(int, rng.integers(0, (8, 9)))) for _ in range(3))
        if rng.random() < 0.5:
            # The next voxel, which often is of the same fragment.
            b = (a[0], min(8, a[1] + 1))
        if before[a] == before[b] and a != b:
            work.split([[a], [b]] if rng.random() < 0.5 else [[b], [a]])
            named = before == before[a]
            assert len(np.unique(work.labels()[named])) == 2
        elif before[a] != before[c]:
            work.merge(a, b, c)
            named = np.isin(before, [before[v] for v in (a, b, c)])
            assert len(np.unique(work.labels()[named])) == 1
        else:
            continue
        now = work.labels()
        np.testing.assert_array_equal(partition(now[~named]), partition(before[~named]))
        assert not np.isin(now[~named], now[named]).any()


class Laws(RuleBasedStateMachine):
    """Random edits at random voxels and thresholds, and what always holds."""

    @initialize(
        case=VOLUMES,
        linkage=st.sampled_from(LINKAGES),
        by_hand=st.booleans(),
        level=st.integers(0, 3),
    )
    def start(self, case, linkage, by_hand, level):
        hierarchy = hierarchy_of(case, linkage)
        self.hierarchy = bare(hierarchy) if by_hand else hierarchy
        self.work = Proofreading(self.hierarchy, levels(hierarchy)[level])
        self.voxels = np.argwhere(hierarchy.fragments > 0).tolist()
        self.history = [self.work.labels()]
        self.frozen = {}

    def voxel(self, number):
        return tuple(self.voxels[number % len(self.voxels)])

    def attempt(self, edit, *arguments, **options):
        """Try an edit; what is refused changes nothing."""
        before, count = self.work.labels(), len(self.work.edits)
        try:
            edit(*arguments, **options)
        except InputError:
            np.testing.assert_array_equal(self.work.labels(), before)
            assert len(self.work.edits) == count
            return False
        assert len(self.work.edits) == count + 1
        return True

    @rule(numbers=st.lists(st.integers(0, 60), min_size=2, max_size=3))
    def merge(self, numbers):
        before = self.work.labels()
        voxels = [self.voxel(n) for n in numbers]
        if self.attempt(self.work.merge, *voxels):
            ids = [before[v] for v in voxels]
            expected = np.where(np.isin(before, ids), min(ids), before)
            np.testing.assert_array_equal(self.work.labels(), expected)

    @rule(numbers=st.lists(st.integers(0, 60), min_size=2, max_size=6), kinds=st.integers(2, 3))
    def split(self, numbers, kinds):
        before = self.work.labels()
        scribbles = np.zeros(before.shape, np.int64)
        for k, number in enumerate(numbers):
            scribbles[self.voxel(number)] = 1 + k % kinds
        if self.attempt(self.work.split, scribbles):
            now = self.work.labels()
            held = {i for i in np.unique(before) if len(set(scribbles[before == i]) - {0}) > 1}
            same = ~np.isin(before, list(held))
            np.testing.assert_array_equal(partition(now[same]), partition(before[same]))
            for i in held:
                # As many parts as scribbles, all of what it was.
                inside = before == i
                kinds_inside = set(scribbles[inside]) - {0}
                assert len(np.unique(now[inside])) == len(kinds_inside)
                assert not np.isin(now[~inside], now[inside]).any()

    @rule(numbers=st.lists(st.integers(0, 60), min_size=1, max_size=6), kinds=st.integers(1, 3))
    def seed(self, numbers, kinds):
        before = self.work.labels()
        seeds = np.zeros(before.shape, np.int64)
        for k, number in enumerate(numbers):
            seeds[self.voxel(number)] = 1 + k % kinds
        if self.attempt(self.work.seed, seeds):
            now = self.work.labels()
            one = {k: set(now[seeds == k]) for k in np.unique(seeds[seeds > 0]).tolist()}
            assert all(len(objects) == 1 for objects in one.values())
            assert len(set.union(*one.values())) == len(one)
            # The rest is as it was, and what is seeded is of nothing else.
            named = np.isin(before, before[seeds > 0])
            np.testing.assert_array_equal(partition(now[~named]), partition(before[~named]))
            assert not np.isin(now[~named], now[named]).any()
            assert set(now[named]) == set.union(*one.values())
            assert self.work.copy().undo() == self.work.edits[-1]

    @rule(number=st.integers(0, 60), frozen=st.booleans())
    def freeze(self, number, frozen):
        before = self.work.labels()
        if self.attempt(self.work.freeze, self.voxel(number), frozen=frozen) and frozen:
            np.testing.assert_array_equal(self.work.labels(), before)

    @rule(level=st.integers(0, 3))
    def slide(self, level):
        kept = [self.work.labels() == i for i in self.work.frozen]
        self.work.threshold = levels(self.hierarchy)[level]
        now = self.work.labels()
        for mask in kept:
            ids = np.unique(now[mask])
            assert len(ids) == 1
            assert ((now == ids[0]) == mask).all()

    @rule(number=st.integers(1, 3))
    def undo_and_redo(self, number):
        now = self.work.labels()
        undone = [self.work.undo() for _ in range(number)]
        for edit in undone:
            if edit is not None:
                assert self.work.redo() is not None
        np.testing.assert_array_equal(self.work.labels(), now)

    @precondition(lambda self: self.work.edits)
    @rule()
    def undo(self):
        edits = self.work.edits
        assert self.work.undo() == edits[-1]
        assert self.work.edits == edits[:-1]

    @invariant()
    def scribbles_of_splits_and_seeds_are_apart(self):
        labels = self.work.labels()
        lifting = [edit for edit in self.work.edits if isinstance(edit, Merge | Seeds)]
        lifted = {k for edit in lifting for k in edit.lifts}
        for k, edit in enumerate(self.work.edits):
            if isinstance(edit, Split | Seeds) and k not in lifted:
                found = [{labels[v] for v in stroke} for stroke in strokes_of(edit)]
                for a, one in enumerate(found):
                    assert all(one.isdisjoint(other) for other in found[a + 1 :])

    @invariant()
    def a_new_start_with_the_same_edits_is_the_same(self):
        again = Proofreading(self.hierarchy, self.work.threshold, self.work.edits)
        np.testing.assert_array_equal(again.labels(), self.work.labels())
        assert again.without_effect == self.work.without_effect
        assert again.frozen.tolist() == self.work.frozen.tolist()
        # Nor does anything come of nothing.
        assert ((self.work.labels() > 0) == (self.hierarchy.fragments > 0)).all()

    @invariant()
    def ids_are_those_of_first_fragments(self):
        lookup = self.work.lookup
        assert lookup[0] == 0
        _, first = np.unique(lookup[1:], return_index=True)
        np.testing.assert_array_equal(lookup[1:][first], first + 1)
        for i in np.unique(lookup[1:]).tolist():
            assert self.work.object_at(self.work.voxel_of(i)) == i

    def teardown(self):
        if hasattr(self, "work"):
            while self.work.undo():
                pass
            cut = self.hierarchy.cut(self.work.threshold)
            np.testing.assert_array_equal(partition(self.work.labels()), partition(cut))


Laws.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=12)
TestLaws = Laws.TestCase
