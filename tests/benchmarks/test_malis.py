"""What the measurements of MALIS compare does the same."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage


@pytest.fixture
def malis(load):
    return load("malis")


def test_the_recipe_counts_what_the_package_counts(malis):
    affinities, labels = malis.volume(32)
    for own, recipe in zip(
        malis.ours(affinities, labels), malis.higra_recipe(affinities, labels), strict=True
    ):
        np.testing.assert_array_equal(own, recipe)
        assert own.any()


def test_objects_of_the_volume_are_connected_and_some_affinities_wrong(malis):
    affinities, labels = malis.volume(32)
    assert affinities.dtype == np.float32
    assert ((affinities >= 0) & (affinities <= 1)).all()
    assert labels.min() == 1
    for box, label in zip(ndimage.find_objects(labels), range(1, labels.max() + 1), strict=True):
        assert ndimage.label(labels[box] == label)[1] == 1
    same = labels[:, :, 1:] == labels[:, :, :-1]
    assert 0.02 < ((affinities[2][:, :, 1:] > 0.5) != same).mean() < 0.1


def test_the_peer_of_the_same_name_is_found_beside_the_script(malis, monkeypatch, tmp_path):
    (tmp_path / "malis.py").write_text("IS_PEER = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    # As for a script, whose folder comes first.
    monkeypatch.syspath_prepend(str(malis.Path(malis.__file__).parent))
    assert malis._package().IS_PEER
    assert sys.modules["malis"] is malis


def test_the_peer_is_asked_for_both_passes_with_edges_set_to_their_truth(malis, monkeypatch):
    affinities, labels = malis.volume(16)
    seen = []

    def counts(ids, first, second, weights, positive):
        seen.append((positive, weights))
        return np.ones(weights.size, np.uint64)

    peer = SimpleNamespace(
        nodelist_like=lambda shape, _: (np.zeros((3, *shape), np.uint64),) * 2,
        malis_loss_weights=counts,
    )
    monkeypatch.setattr(malis, "_package", lambda: peer)
    positive, negative = malis.malis_package(affinities, labels)
    inside = np.stack([labels == np.roll(labels, 1, axis) for axis in range(3)])
    assert [p for p, _ in seen] == [1, 0]
    np.testing.assert_array_equal(seen[0][1], np.where(inside, affinities, 0).ravel())
    np.testing.assert_array_equal(seen[1][1], np.where(inside, 1, affinities).ravel())
    np.testing.assert_array_equal(positive, inside)
    np.testing.assert_array_equal(negative, ~inside)
