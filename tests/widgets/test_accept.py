"""Tests of writing accepted objects into a results layer."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels

from napari_implicitseg.widgets._accept import RESULTS, write_objects
from napari_implicitseg.widgets._ledger import Ledger

SHAPE = (40, 60)
EVERYWHERE = [(slice(None), slice(None))]


@pytest.fixture
def layer():
    return results(SHAPE)


def results(shape):
    """Make an empty results layer."""
    ledger = Ledger("image")
    layer = Labels(np.zeros(shape, np.uint32), metadata={RESULTS: ledger})
    ledger.watch(layer)
    return layer


def write(layer, objects, source="one", covers=EVERYWHERE):
    """Accept objects given as {id: (slice, slice)}."""
    masks = np.zeros(SHAPE, np.uint16)
    for label, box in objects.items():
        masks[box] = label
    coords = np.nonzero(masks)
    return write_objects(layer, coords, masks[coords], source, covers)


def test_objects_keep_their_ids(layer):
    accepted = write(layer, {2: np.s_[2:8, 2:8], 5: np.s_[20:30, 20:30]})
    assert accepted.ids == {2: 2, 5: 5}
    assert accepted.kept == 0
    assert (layer.data == 2).sum() == 36
    assert (layer.data == 5).sum() == 100


def test_one_accept_is_one_step_of_undo(layer):
    write(layer, {2: np.s_[2:8, 2:8], 3: np.s_[20:30, 20:30]})
    write(layer, {2: np.s_[4:10, 4:10]})
    after = layer.data.copy()
    layer.undo()
    assert (layer.data[2:8, 2:8] == 2).all()
    layer.undo()
    assert not layer.data.any()
    layer.redo()
    layer.redo()
    assert np.array_equal(layer.data, after)


def test_accepting_again_replaces_the_old_mask(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    write(layer, {2: np.s_[4:10, 4:10]})
    expected = np.zeros(SHAPE, bool)
    expected[4:10, 4:10] = True
    assert np.array_equal(layer.data == 2, expected)


def test_old_masks_outside_the_fitted_part_stay(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    write(layer, {2: np.s_[2:8, 30:36]}, covers=[np.s_[0:40, 25:60]])
    assert (layer.data[2:8, 2:8] == 2).all()
    assert (layer.data[2:8, 30:36] == 2).all()


def test_what_was_drawn_by_hand_is_kept_and_counted(layer):
    layer.data[5, 5] = 9
    accepted = write(layer, {2: np.s_[2:8, 2:8]})
    assert layer.data[5, 5] == 9
    assert accepted.kept == 1
    layer.data[3, 3] = 7
    accepted = write(layer, {2: np.s_[2:9, 2:9]})
    assert layer.data[3, 3] == 7
    assert accepted.kept == 2


def test_a_newer_object_takes_voxels_of_an_accepted_one(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    write(layer, {3: np.s_[5:12, 5:12]})
    assert (layer.data[5:12, 5:12] == 3).all()
    assert (layer.data[2:5, 2:8] == 2).all()


def test_an_id_in_use_is_not_taken_over(layer):
    layer.data[30:35, 50:55] = 2
    accepted = write(layer, {2: np.s_[2:8, 2:8], 3: np.s_[20:25, 2:8]})
    assert accepted.ids == {2: 4, 3: 3}
    assert (layer.data == 2).sum() == 25
    again = write(layer, {2: np.s_[2:9, 2:9]})
    assert again.ids[2] == accepted.ids[2]


def test_other_scribbles_give_other_objects(layer):
    write(layer, {2: np.s_[2:8, 2:8]}, source="one")
    accepted = write(layer, {2: np.s_[20:28, 2:8]}, source="other")
    assert accepted.ids == {2: 3}
    assert (layer.data == 2).sum() == 36


def test_ids_do_not_run_over(layer):
    layer.data[0, 0] = np.iinfo(np.uint32).max
    layer.data[0, 1] = 2
    assert write(layer, {2: np.s_[2:8, 2:8]}).ids == {2: 3}


def test_erased_objects_can_be_accepted_again(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    layer.undo()
    accepted = write(layer, {2: np.s_[2:8, 2:8]})
    assert accepted.ids == {2: 2}
    assert (layer.data == 2).sum() == 36


def test_what_was_drawn_after_an_undo_stays(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    layer.undo()
    layer.data_setitem((np.array([3, 4]), np.array([3, 4])), 2)
    accepted = write(layer, {2: np.s_[20:28, 20:28]})
    assert (layer.data[[3, 4], [3, 4]] == 2).all()
    assert (layer.data == 2).sum() == 2 + 64
    assert accepted.kept == 0


def test_an_accept_undone_and_redone_can_be_replaced(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    write(layer, {2: np.s_[4:10, 4:10]})
    layer.undo()
    # The first accept stands again, and gives way.
    write(layer, {2: np.s_[20:26, 20:26]})
    assert not layer.data[2:10, 2:10].any()
    layer.undo()
    layer.redo()
    write(layer, {2: np.s_[30:36, 30:36]})
    assert (layer.data == 2).sum() == 36
    assert (layer.data[30:36, 30:36] == 2).all()


def test_accepting_the_same_again_is_no_step_of_its_own(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    layer.data_setitem((np.array([30]), np.array([30])), 9)
    write(layer, {2: np.s_[2:8, 2:8]})
    layer.undo()  # What was drawn; the mask stays ours.
    assert layer.data[30, 30] == 0
    write(layer, {2: np.s_[4:10, 4:10]})
    assert (layer.data == 2).sum() == 36


def test_accepts_beyond_the_undo_history_are_still_replaced(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    for i in range(layer._history_limit + 5):
        layer.data_setitem((np.array([39]), np.array([0])), i % 2 + 5)
    write(layer, {2: np.s_[4:10, 4:10]})
    assert (layer.data == 2).sum() == 36


def test_a_copy_of_the_layer_has_no_say(layer):
    ledger = layer.metadata[RESULTS]
    assert ledger.belongs_to(layer)
    double = Labels(layer.data.copy(), metadata=layer.metadata)
    assert not double.metadata[RESULTS].belongs_to(double)


def test_a_narrower_layer_gets_ids_it_can_hold(layer):
    write(layer, {2: np.s_[2:8, 2:8]})
    layer.data = layer.data.astype(np.uint8)
    accepted = write(layer, {300: np.s_[20:28, 20:28]})
    assert accepted.ids == {300: 3}
    assert (layer.data == 3).sum() == 64


def test_volumes_are_written_too():
    layer = results((4, 10, 12))
    coords = tuple(np.indices((2, 3, 4)).reshape(3, -1) + 1)
    write_objects(layer, coords, np.full(24, 6), "one", [(slice(None),) * 3])
    assert (layer.data[1:3, 1:4, 1:5] == 6).all()
    assert layer.data.astype(bool).sum() == 24


def test_what_was_erased_from_an_object_stays_so(layer):
    write(layer, {2: np.s_[2:12, 2:12]})
    layer.data_setitem(tuple(np.indices((2, 10)).reshape(2, -1) + 2), 0)
    accepted = write(layer, {2: np.s_[2:14, 2:12]})
    assert not layer.data[2:4].any()
    assert (layer.data[4:14, 2:12] == 2).all()
    assert accepted.kept == 20
    assert "20 voxels you drew or erased there were kept" in accepted.sentence("masks")
    # Another object may go there.
    write(layer, {3: np.s_[2:4, 2:12]})
    assert (layer.data[2:4, 2:12] == 3).all()


def test_what_another_object_took_and_left_is_not_erased_by_hand(layer):
    write(layer, {2: np.s_[2:12, 2:12]})
    write(layer, {3: np.s_[8:20, 2:12]})
    write(layer, {3: np.s_[12:20, 2:12]})
    accepted = write(layer, {2: np.s_[2:12, 2:12]})
    assert (layer.data[2:12, 2:12] == 2).all()
    assert accepted.kept == 0


def test_a_new_number_is_told(layer):
    layer.data[30:35, 50:55] = 2
    accepted = write(layer, {2: np.s_[2:8, 2:8]})
    assert "2 became 3" in accepted.sentence("masks")
