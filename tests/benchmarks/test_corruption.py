"""Objects and their damage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg import certify

from .helpers import disc, in_one_piece


def test_convex_objects_are_convex_and_some_touch(corruption):
    labels = corruption.convex_objects(256, 16)
    assert np.unique(labels).tolist() == list(range(17))
    for label in range(1, 17):
        assert certify(labels == label, kind="convex").holds
    larger = ndimage.maximum_filter(labels, 3)
    assert ((labels > 0) & (larger != labels)).any()


def test_bent_objects_are_one_piece_and_not_convex(corruption):
    labels = corruption.bent_objects(256, 12)
    assert np.unique(labels).tolist() == list(range(13))
    for label in range(1, 13):
        mask = labels == label
        assert in_one_piece(mask)
        assert not certify(mask, kind="convex").holds


@pytest.mark.parametrize("make", ["convex_objects", "bent_objects"])
def test_damage_depends_on_the_seed_alone_and_keeps_all_ids(corruption, make):
    truth = getattr(corruption, make)(256, 16, seed=2)
    untouched = truth.copy()
    first, again, other = (corruption.corrupt(truth, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(truth, untouched)
    assert (first != other).any()
    assert np.unique(first).tolist() == np.unique(truth).tolist()
    for label in range(1, 17):
        assert ((first == label) != (truth == label)).any()
    # What one object gained belonged to no other, unless that one lost it.
    gained = (first != truth) & (first > 0)
    assert (np.isin(truth[gained], 0) | (first[gained] != truth[gained])).all()


def test_damage_keeps_ids_with_holes(corruption):
    truth = corruption.convex_objects(128, 4)
    truth[truth > 0] = truth[truth > 0] * 7 + 1
    assert np.unique(corruption.corrupt(truth)).tolist() == [0, 8, 15, 22, 29]


def test_each_kind_of_damage_does_what_it_is_called(corruption):
    mask = disc((120, 120), (60, 60), 30)
    for seed in range(5):
        damaged = {
            name: kind(mask, mask, 30.0, np.random.default_rng(seed))
            for name, kind in corruption.KINDS.items()
        }
        assert (damaged["chunk"] < mask).any()
        assert not (damaged["chunk"] & ~mask).any()
        assert (damaged["blob"] > mask).any()
        assert not (mask & ~damaged["blob"]).any()
        assert in_one_piece(damaged["blob"])
        assert not (damaged["cut"] & ~mask).any()
        assert ndimage.label(damaged["cut"])[1] == 2
        assert not (mask & ~damaged["pieces"]).any()
        assert not in_one_piece(damaged["pieces"])
        assert (damaged["rough"] & ~mask).any()
        assert (mask & ~damaged["rough"]).any()


def test_a_volume_has_all_its_objects(corruption):
    labels = corruption.volume(48, 27)
    assert labels.dtype == np.uint16
    assert np.unique(labels).tolist() == list(range(28))
    for label in range(1, 28):
        assert in_one_piece(labels == label)
    np.testing.assert_array_equal(labels, corruption.volume(48, 27))
