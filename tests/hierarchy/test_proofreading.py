"""Corrections: laws of edits, at every threshold, done, undone and done again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.edits import Freeze, Merge, Split, read_edits, write_edits
from napari_implicitseg.hierarchy.proofreading import Proofreading

from .hierarchy_cases import (
    LINKAGES,
    THRESHOLDS,
    VOLUMES,
    hierarchy_of,
    levels,
    partition,
    row_of,
)


def parts_of(work):
    """Objects of one row, from 1."""
    return partition(work.labels()).tolist()


# One kind of edit after the other


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_without_edits_it_is_the_cut(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    for threshold in levels(hierarchy):
        work = Proofreading(hierarchy, threshold)
        cut = hierarchy.cut(threshold)
        np.testing.assert_array_equal(partition(work.labels()), partition(cut))
        # An id is that of the first fragment.
        for i in np.unique(work.labels())[1:] if not cut.all() else np.unique(work.labels()):
            assert hierarchy.fragments[work.labels() == i].min() == i
        again = Proofreading(hierarchy, levels(hierarchy)[0])
        again.threshold = threshold
        np.testing.assert_array_equal(again.labels(), work.labels())


def test_a_merge_joins_two_objects_and_no_other():
    work = Proofreading(row_of([0.9, 0.1, 0.9, 0.1, 0.9]), 0.5)
    assert work.labels().tolist() == [[1, 1, 3, 3, 5, 5]]
    work.merge((0, 3), (0, 5))
    assert work.labels().tolist() == [[1, 1, 3, 3, 3, 3]]
    assert work.object_at((0, 4)) == 3
    assert work.voxel_of(3) == (0, 2)
    # At every threshold the two voxels are one object.
    for threshold in (1.0, 0.0):
        work.threshold = threshold
        assert work.object_at((0, 3)) == work.object_at((0, 5))
    work.threshold = 1.0
    assert work.labels().tolist() == [[1, 2, 3, 4, 5, 4]]


def test_several_objects_merge_at_once():
    work = Proofreading(row_of([0.1] * 4), 0.5)
    work.merge((0, 4), (0, 0), (0, 2))
    assert work.labels().tolist() == [[1, 2, 1, 4, 1]]


def test_a_split_follows_the_weakest_contact():
    work = Proofreading(row_of([0.9, 0.6, 0.7, 0.9]), 0.5)
    assert parts_of(work) == [1] * 5
    work.split([[(0, 0)], [(0, 4)]])
    assert work.labels().tolist() == [[1, 1, 3, 3, 3]]
    work.threshold = 0.0
    assert work.labels().tolist() == [[1, 1, 3, 3, 3]]
    work.threshold = 0.8
    assert parts_of(work) == [1, 1, 2, 3, 3]
    assert work.without_effect == (0,)


def test_a_split_cuts_a_fragment_that_holds_both_scribbles():
    hierarchy = row_of([0.9, 0.3, 0.9, 0.1, 0.9], [1, 1, 1, 1, 2, 2])
    work = Proofreading(hierarchy, 0.5)
    scribbles = np.array([[5, 0, 0, 9, 0, 0]])
    work.split(scribbles)
    assert work.labels().tolist() == [[1, 1, 3, 3, 2, 2]]
    assert work.fragments.tolist() == [[1, 1, 3, 3, 2, 2]]
    assert hierarchy.fragments.tolist() == [[1, 1, 1, 1, 2, 2]]
    work.threshold = 0.0
    assert work.labels().tolist() == [[1, 1, 2, 2, 2, 2]]
    work.undo()
    assert work.fragments is hierarchy.fragments
    work.redo()
    assert work.fragments.tolist() == [[1, 1, 3, 3, 2, 2]]


def test_what_is_merged_goes_together_when_its_object_is_split():
    """Voxel 9 touches nothing that it is merged with; it goes with voxel 4, not with 0."""
    work = Proofreading(row_of([0.9, 0.9, 0.6, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]), 0.5)
    work.merge((0, 4), (0, 9))
    work.split([[(0, 0)], [(0, 3)]])
    assert work.labels().tolist() == [[1, 1, 1, 4, 4, 6, 7, 8, 9, 4]]


def test_a_merge_does_not_bring_together_what_a_split_has_cut():
    """At a low threshold voxel 3 is one with 2: merging it with 0 would join 0 and 2."""
    work = Proofreading(row_of([0.6, 0.9, 0.4, 0.9]), 0.5)
    work.split([[(0, 0)], [(0, 2)]])
    work.merge((0, 0), (0, 3))
    assert work.labels().tolist() == [[1, 2, 2, 1, 1]]
    work.threshold = 0.0
    assert work.object_at((0, 0)) == work.object_at((0, 3)) != work.object_at((0, 2))
    assert work.edits[1].lifts == ()


def test_a_merge_brings_together_nothing_of_several_splits():
    """The merge contradicts the first split; the second one cuts what that leaves."""
    edits = [
        Split(scribbles=(((0, 0),), ((0, 4),))),
        Split(scribbles=(((0, 5),), ((0, 7),))),
        Merge(voxels=((0, 0), (0, 4), (0, 6))),
    ]
    work = Proofreading(row_of([0.9, 0.9, 0.9, 0.6, 0.9, 0.6, 0.9]), 0.5, edits)
    for threshold in THRESHOLDS:
        work.threshold = threshold
        assert work.object_at((0, 0)) != work.object_at((0, 4)) == work.object_at((0, 6))
        assert work.object_at((0, 5)) != work.object_at((0, 7))


def test_merging_what_a_split_has_cut_lifts_it():
    work = Proofreading(row_of([0.9, 0.6, 0.9]), 0.5)
    work.split([[(0, 0)], [(0, 3)]])
    assert work.labels().tolist() == [[1, 1, 3, 3]]
    work.merge((0, 1), (0, 2))
    assert work.edits[1].lifts == (0,)
    for threshold in THRESHOLDS:
        work.threshold = threshold
        assert work.object_at((0, 1)) == work.object_at((0, 2))
    work.threshold = 0.5
    assert work.labels().tolist() == [[1] * 4]
    work.undo()
    assert work.labels().tolist() == [[1, 1, 3, 3]]


@pytest.mark.parametrize("order", [1, -1])
def test_a_later_cut_changes_nothing_of_what_an_earlier_split_did(order):
    """Fragment 2, of voxels 1 to 4, goes to the scribble at 0; cutting it then leaves it there.

    Its far end is nearer to what the first split has cut off.
    """
    hierarchy = row_of([0.7, 0.9, 0.6, 0.9, 0.65, 0.9], [1, 2, 2, 2, 2, 3, 4])
    work = Proofreading(hierarchy, 0.5)
    work.split([[(0, 0)], [(0, 6)]][::order])
    assert work.labels().tolist() == [[1, 1, 1, 1, 1, 3, 3]]
    work.split([[(0, 1)], [(0, 4)]])
    assert work.labels().tolist() == [[1, 1, 1, 5, 5, 3, 3]]


def test_a_frozen_object_stays_whatever_the_threshold():
    work = Proofreading(row_of([0.9, 0.6, 0.4, 0.9]), 0.5)
    assert work.labels().tolist() == [[1, 1, 1, 4, 4]]
    work.freeze((0, 1))
    assert work.frozen.tolist() == [1]
    for threshold in THRESHOLDS:
        work.threshold = threshold
        assert work.labels()[0, :3].tolist() == [1, 1, 1]
        assert work.object_at((0, 3)) != 1
    work.threshold = 1.0
    assert work.labels().tolist() == [[1, 1, 1, 4, 5]]
    # Set free it follows the threshold again.
    work.freeze((0, 2), frozen=False)
    assert work.frozen.tolist() == []
    assert work.labels().tolist() == [[1, 2, 3, 4, 5]]
    work.undo()
    assert work.labels().tolist() == [[1, 1, 1, 4, 5]]


def test_freezing_a_part_of_what_a_lower_threshold_joins_leaves_the_rest_together():
    work = Proofreading(row_of([0.4, 0.4, 0.9]), 0.5)
    work.freeze((0, 1))
    work.threshold = 0.0
    assert parts_of(work) == [1, 2, 1, 1]


def test_frozen_objects_cannot_be_edited():
    work = Proofreading(row_of([0.9, 0.1, 0.9]), 0.5)
    work.freeze((0, 0))
    with pytest.raises(InputError, match="Object 1 is frozen; unfreeze it first"):
        work.merge((0, 0), (0, 2))
    with pytest.raises(InputError, match="Object 1 is frozen; unfreeze"):
        work.split([[(0, 0)], [(0, 1)]])
    with pytest.raises(InputError, match="Object 1 is frozen already"):
        work.freeze((0, 1))
    with pytest.raises(InputError, match="Object 3 is not frozen already"):
        work.freeze((0, 2), frozen=False)
    assert len(work.edits) == 1
    # A split elsewhere, whose scribbles only touch it, is possible.
    work.split([[(0, 0), (0, 2)], [(0, 3)]])
    assert work.labels().tolist() == [[1, 1, 3, 4]]
    work.merge((0, 2), (0, 3))
    # A list from elsewhere does not move what is frozen either.
    again = Proofreading(
        work.hierarchy,
        0.5,
        [
            Freeze(voxels=((0, 0), (0, 1))),
            Merge(voxels=((0, 0), (0, 2))),
            Split(scribbles=(((0, 0),), ((0, 1),))),
        ],
    )
    assert again.labels().tolist() == [[1, 1, 3, 3]]
    assert again.without_effect == (1, 2)


def test_edits_without_effect_are_told():
    work = Proofreading(row_of([0.9, 0.4, 0.9]), 0.5)
    work.merge((0, 1), (0, 2))
    assert work.without_effect == ()
    work.threshold = 0.3
    assert work.without_effect == (0,)
    work.split([[(0, 0)], [(0, 3)]])
    work.threshold = 0.95
    assert work.without_effect == (1,)


# Undo, redo, files


def test_undo_and_redo_end_where_there_is_nothing():
    work = Proofreading(row_of([0.1, 0.1]), 0.5)
    assert work.undo() is None
    assert work.redo() is None
    work.merge((0, 0), (0, 1))
    work.merge((0, 0), (0, 2))
    last = work.edits[1]
    assert work.undo() is last
    work.merge((0, 1), (0, 2))
    # What was undone is forgotten once something else is done.
    assert work.redo() is None
    assert len(work.edits) == 2


@pytest.mark.parametrize("linkage", ["mean", "area"])
def test_files_replay_to_the_same(tmp_path, linkage):
    hierarchy = hierarchy_of(((3, 4, 4), 0, 8, 0.2, 7), linkage)
    work = Proofreading(hierarchy, 0.0 if linkage == "mean" else np.inf)
    everything = np.argwhere(hierarchy.fragments > 0)
    work.split([everything[:1].tolist(), everything[-1:].tolist()])
    path = tmp_path / "edits.json"
    write_edits(path, work.document())
    document = read_edits(path, shape=hierarchy.fragments.shape)
    again = Proofreading(hierarchy, document.threshold, document.edits)
    np.testing.assert_array_equal(again.labels(), work.labels())
    assert again.edits == work.edits
    assert again.without_effect == work.without_effect


# What is refused


@pytest.mark.parametrize("voxel", [(0, 4), (0, -1), (0,), (0, 0, 0), (0, 1.5), "ab", 3, None])
def test_voxels_outside_are_refused(voxel):
    work = Proofreading(row_of([0.1] * 3), 0.5)
    for edit in (work.object_at, work.freeze, lambda v: work.merge((0, 0), v)):
        with pytest.raises(InputError, match="outside the volume|give a whole number"):
            edit(voxel)
    with pytest.raises(InputError, match="outside the volume|give a whole number"):
        work.split([[(0, 0)], [voxel]])
    assert work.edits == ()


def test_voxels_of_numpy_are_taken_and_saved(tmp_path):
    work = Proofreading(row_of([0.1] * 3), 0.5)
    work.merge(np.array([0, 0]), np.array([0, 2], np.uint16))
    assert work.edits == (Merge(voxels=((0, 0), (0, 2))),)
    write_edits(tmp_path / "edits.json", work.document())


def test_clicks_beside_objects_are_refused():
    work = Proofreading(row_of([0.1, 0.1, 0.9], [1, 0, 2, 3]), 0.5)
    for edit in (work.freeze, lambda v: work.merge((0, 0), v)):
        with pytest.raises(InputError, match=r"no object at voxel \(0, 1\); click inside one"):
            edit((0, 1))
    # Strokes may leave the objects.
    work.split([[(0, 1), (0, 2)], [(0, 1 + 2)]])
    assert work.labels().tolist() == [[1, 0, 2, 3]]
    assert work.edits[0].scribbles == (((0, 2),), ((0, 3),))


@pytest.mark.parametrize("voxels", [[], [(0, 0)], [(0, 0), (0, 1)]])
def test_a_merge_needs_two_objects(voxels):
    work = Proofreading(row_of([0.9, 0.1]), 0.5)
    with pytest.raises(InputError, match="object; click two different ones"):
        work.merge(*voxels)
    work.merge((0, 0), (0, 2))
    with pytest.raises(InputError, match="of 1 object"):
        work.merge((0, 0), (0, 2))


@pytest.mark.parametrize(
    ("scribbles", "message"),
    [
        ([], "No object has two scribbles"),
        ([[(0, 0)]], "No object has two scribbles"),
        ([[(0, 0)], [(0, 3)]], "No object has two scribbles"),
        ([[(0, 0), (0, 1)], []], "No object has two scribbles"),
        ([[(0, 0), (0, 1)], [(0, 1)]], r"Voxel \(0, 1\) is in two scribbles"),
        (np.array([[1, 1, 0, 2]]), "No object has two scribbles"),
        (np.zeros((1, 4), int), "0 everywhere"),
        (np.zeros((2, 2), int), r"shape \(2, 2\)"),
        (np.full((1, 4), 0.5), "float64"),
        (np.array([[-1, 2, 0, 0]]), "range from -1"),
    ],
)
def test_scribbles_that_cut_nothing_are_refused(scribbles, message):
    work = Proofreading(row_of([0.9, 0.1, 0.9]), 0.5)
    with pytest.raises(InputError, match=message):
        work.split(scribbles)
    assert work.edits == ()


@pytest.mark.parametrize("i", [0, -1, 2, 99])
def test_ids_that_are_no_longer_there_are_refused(i):
    work = Proofreading(row_of([0.9, 0.1]), 0.5)
    with pytest.raises(InputError, match=f"no object {i} now; ids may change"):
        work.voxel_of(i)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "half", None])
def test_thresholds_out_of_range_change_nothing(threshold):
    work = Proofreading(row_of([0.9, 0.1]), 0.5)
    with pytest.raises(InputError, match="threshold is"):
        work.threshold = threshold
    assert work.threshold == 0.5
    with pytest.raises(InputError, match="threshold is"):
        Proofreading(work.hierarchy, threshold)


def test_edits_from_elsewhere_are_checked():
    hierarchy = row_of([0.9, 0.1])
    with pytest.raises(InputError, match="An edit is 'merge'; give Merge, Split, Freeze or Seeds"):
        Proofreading(hierarchy, 0.5, ["merge"])
    for edit in (
        Merge(voxels=((0, 0), (0, 3))),
        Split(scribbles=(((0, 0),), ((1, 0),))),
        Freeze(voxels=((0, 0, 0),)),
    ):
        with pytest.raises(InputError, match=r"outside the volume of \(1, 3\)"):
            Proofreading(hierarchy, 0.5, [edit])
    with pytest.raises(InputError, match="lifts edit 0"):
        Proofreading(hierarchy, 0.5, [Merge(voxels=((0, 0), (0, 2)), lifts=(0,))])


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((1, 2), np.uint32),
        np.zeros((1, 3), np.int32),
        np.zeros((1, 6), np.uint32)[:, ::2],
        [[0, 0, 0]],
    ],
)
def test_labels_are_written_only_to_what_fits(out):
    work = Proofreading(row_of([0.9, 0.1]), 0.5)
    with pytest.raises(InputError, match=r"uint32 in C order, of shape \(1, 3\)"):
        work.labels(out)
    own = np.zeros((1, 3), np.uint32)
    assert work.labels(own) is own
    assert own.tolist() == [[1, 1, 3]]
    own.flags.writeable = False
    with pytest.raises(InputError, match="writable"):
        work.labels(own)
