"""Seeds as an edit: what they cut and what they join, at every threshold, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.edits import Merge, Seeds, Split, read_edits, write_edits
from napari_implicitseg.hierarchy.proofreading import Proofreading

from .hierarchy_cases import partition, row_of


def parts_of(work):
    """Objects of one row, from 1."""
    return partition(work.labels()).tolist()


def test_seeds_cut_what_is_shared_and_join_what_one_touches():
    work = Proofreading(row_of([0.9, 0.6, 0.9, 0.1, 0.9, 0.1, 0.9]), 0.5)
    assert parts_of(work) == [1, 1, 1, 1, 2, 2, 3, 3]
    # Seed 7 lies in the first two objects, 3 in the first; nothing is in the third.
    work.seed(np.array([[3, 0, 0, 7, 0, 7, 0, 0]]))
    assert parts_of(work) == [1, 1, 2, 2, 2, 2, 3, 3]
    assert work.edits == (Seeds(seeds=(((0, 0),), ((0, 3), (0, 5)))),)
    work.threshold = 0.0
    assert parts_of(work) == [1, 1, 2, 2, 2, 2, 2, 2]
    work.threshold = 1.0
    assert parts_of(work) == [1, 2, 3, 4, 5, 4, 6, 7]


def test_seeds_may_be_given_as_voxels_of_each_id():
    row = row_of([0.9, 0.6, 0.9, 0.1])
    painted, named = Proofreading(row), Proofreading(row)
    painted.seed(np.array([[9, 9, 0, 2, 2]]))
    named.seed({9: np.array([[0, 1], [0, 0], [0, 1]]), 2: [(0, 3), (0, 4)]})
    np.testing.assert_array_equal(painted.labels(), named.labels())
    assert painted.edits == (Seeds(seeds=(((0, 3), (0, 4)), ((0, 0), (0, 1)))),)
    assert named.edits == (Seeds(seeds=(((0, 3), (0, 4)), ((0, 1), (0, 0)))),)


def test_one_seed_is_a_merge():
    work = Proofreading(row_of([0.1, 0.1, 0.9]), 0.5)
    work.seed(np.array([[1, 0, 1, 0]]))
    assert parts_of(work) == [1, 2, 1, 1]
    assert work.undo() == work.copy().redo()
    assert parts_of(work) == [1, 2, 3, 3]


def test_seeds_cut_a_fragment_that_holds_two():
    work = Proofreading(row_of([0.9, 0.3, 0.9, 0.1, 0.9], [1, 1, 1, 1, 2, 2]), 0.5)
    work.seed({1: [(0, 0)], 2: [(0, 3), (0, 5)]})
    assert parts_of(work) == [1, 1, 2, 2, 2, 2]
    assert work.fragments.tolist() == [[1, 1, 3, 3, 2, 2]]
    work.undo()
    assert work.fragments.tolist() == [[1, 1, 1, 1, 2, 2]]
    work.redo()
    assert parts_of(work) == [1, 1, 2, 2, 2, 2]


def test_a_seed_lifts_the_splits_that_it_contradicts_and_no_other():
    work = Proofreading(row_of([0.9] * 5), 0.5)
    work.split([[(0, 0)], [(0, 1)]])
    work.split([[(0, 4)], [(0, 5)]])
    work.seed({1: [(0, 0), (0, 1)], 2: [(0, 5)]})
    assert work.edits[2].lifts == (0,)
    assert work.object_at((0, 0)) == work.object_at((0, 1)) == work.object_at((0, 4))
    assert work.object_at((0, 0)) != work.object_at((0, 5))
    # The second object of the first split goes to seed 2, so that it still holds.
    work = Proofreading(row_of([0.9, 0.9, 0.6, 0.9]), 0.5)
    work.split([[(0, 1)], [(0, 4)]])
    work.seed({1: [(0, 0), (0, 1)], 2: [(0, 3)]})
    assert work.edits[1].lifts == ()


def test_seeds_hold_when_objects_are_joined_later():
    """Until what they have cut is merged itself."""
    work = Proofreading(row_of([0.9, 0.2, 0.9, 0.1, 0.9]), 0.5)
    work.seed({1: [(0, 0)], 2: [(0, 3)]})
    assert work.without_effect == (0,)
    work.merge((0, 4), (0, 1))
    work.threshold = 0.15
    assert work.without_effect == ()
    assert work.object_at((0, 0)) != work.object_at((0, 3))
    work.threshold = 0.5
    work.merge((0, 0), (0, 3))
    assert work.edits[2] == Merge(voxels=((0, 0), (0, 3)), lifts=(0,))
    work.threshold = 0.15
    assert work.object_at((0, 0)) == work.object_at((0, 3))


def test_seeds_outside_objects_are_left_out():
    work = Proofreading(row_of([0.1, 0.1, 0.9], [1, 0, 2, 3]), 0.5)
    work.seed(np.array([[5, 5, 5, 0]]))
    assert work.edits == (Seeds(seeds=(((0, 0), (0, 2)),)),)
    for seeds in (np.array([[0, 5, 0, 0]]), {1: [(0, 1)]}, {1: []}, {}):
        with pytest.raises(InputError, match="No seed lies in an object; paint inside"):
            work.seed(seeds)
    assert len(work.edits) == 1


def test_frozen_objects_that_would_change_are_refused():
    work = Proofreading(row_of([0.9, 0.1, 0.9]), 0.5)
    work.freeze((0, 0))
    for seeds in ({1: [(0, 0), (0, 2)]}, {1: [(0, 0)], 2: [(0, 1)]}):
        with pytest.raises(InputError, match="Object 1 is frozen; unfreeze it first"):
            work.seed(seeds)
    # One seed of its own changes nothing.
    work.seed({1: [(0, 0), (0, 1)], 2: [(0, 2)], 3: [(0, 3)]})
    assert parts_of(work) == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (np.zeros((1, 4), int), "seeds are 0 everywhere; paint at least one"),
        (np.ones((4,), int), r"seeds are int64 of shape \(4,\); give whole .* shape \(1, 4\)"),
        (np.ones((1, 4)), "seeds are float64"),
        (np.array([[-1, 2, 0, 0]]), "range from -1 to 2"),
        (np.array([[2**32, 2, 0, 0]]), "use ids from 1"),
        ([[1, 2], [3]], "seeds are no array"),
        ("ab", "seeds are <U2"),
        (None, "seeds are object"),
        ({0: [(0, 0)]}, "id 0; use ids from 1"),
        ({1.5: [(0, 0)]}, "id 1.5; use ids"),
        ({1: 3}, "seeds is 3; give the voxels"),
        ({1: [(0, 4)]}, r"\(0, 4\) is outside the volume of \(1, 4\)"),
        ({1: [(0, 0.5)]}, "give a whole number"),
        ({1: [(0, 0)], 2: [(0, 1), (0, 0)]}, r"Voxel \(0, 0\) is in two seeds; leave it out"),
    ],
)
def test_what_is_no_seed_is_refused_in_words(seeds, message):
    work = Proofreading(row_of([0.9, 0.1, 0.9]), 0.5)
    with pytest.raises(InputError, match=message):
        work.seed(seeds)
    assert work.edits == ()
    assert not work.can_undo


def test_seeds_replay_from_a_file(tmp_path):
    work = Proofreading(row_of([0.9, 0.3, 0.9, 0.1, 0.9], [1, 1, 1, 1, 2, 2]), 0.5)
    work.split([[(0, 0)], [(0, 1)]])
    work.seed({1: [(0, 0), (0, 1)], 2: [(0, 3), (0, 5)]})
    write_edits(tmp_path / "edits.json", work.document())
    document = read_edits(tmp_path / "edits.json")
    assert document.edits == work.edits
    again = Proofreading(work.hierarchy, document.threshold, document.edits)
    np.testing.assert_array_equal(again.labels(), work.labels())


def test_a_copy_goes_its_own_way():
    work = Proofreading(row_of([0.9, 0.1, 0.9], [1, 1, 2, 2]), 0.5)
    work.merge((0, 0), (0, 2))
    other = work.copy()
    other.split([[(0, 0)], [(0, 1)]])
    assert parts_of(work) == [1, 1, 1, 1]
    assert work.fragments.tolist() == [[1, 1, 2, 2]]
    assert isinstance(other.edits[1], Split)
    assert (work.can_undo, work.can_redo) == (True, False)
    work.undo()
    assert (work.can_undo, work.can_redo) == (False, True)
    assert (other.can_undo, other.can_redo) == (True, False)
    work.seed({1: [(0, 0)]})
    assert not work.can_redo


def test_sizes_are_counts_of_voxels():
    work = Proofreading(row_of([0.9, 0.3, 0.9, 0.1, 0.9], [1, 1, 1, 1, 2, 2]), 0.5)
    assert [work.size_of(i) for i in (1, 2, 3, 0, -1)] == [4, 2, 0, 0, 0]
    work.seed({1: [(0, 0)], 2: [(0, 3), (0, 5)]})
    labels = work.labels()
    for i in np.unique(labels).tolist():
        assert work.size_of(i) == np.count_nonzero(labels == i)
