"""The methods we compare with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg.reproduction.cases import Case

from .helpers import disc


@pytest.fixture
def case(scene):
    """The scene with a second object, as the peers get it."""
    pytest.importorskip("cv2", reason="the peers need the dependency group bench")
    return Case(name="scene", image=scene.image, scribbles=scene.scribbles, truth=scene.truth * 2)


# The walker is run as fast as it goes, which costs it some precision.


def test_fair_keeps_the_touched_components_and_fills_holes(peers):
    mask = disc((80, 160), (40, 40), 30) & ~disc((80, 160), (40, 40), 8)
    mask |= disc((80, 160), (40, 120), 20)
    strokes = np.zeros_like(mask)
    strokes[20, 35:45] = True
    np.testing.assert_array_equal(peers.fair(mask, strokes), disc((80, 160), (40, 40), 30))


def test_fair_keeps_the_strokes_and_is_empty_without_them(peers):
    mask = disc((60, 60), (30, 30), 10)
    strokes = np.zeros_like(mask)
    assert not peers.fair(mask, strokes).any()
    strokes[2, 2:6] = True
    np.testing.assert_array_equal(peers.fair(mask, strokes), strokes)


@pytest.mark.filterwarnings("ignore:The probability range is outside:UserWarning")
def test_peers_find_an_easy_object_in_one_piece(peers, case):
    evidence = 1 / (1 + np.exp(-20 * (case.image - 0.25)))
    found = [
        peers.walker(case),
        peers.grab_cut(case),
        peers.graph_cut(case, evidence.astype(np.float32)),
    ]
    truth = case.truth == 2
    for labels in found:
        mask = labels == 2
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85
        assert mask[case.scribbles == 2].all()
        assert not mask[case.scribbles == 1].any()
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)


def test_the_largest_piece_is_kept_and_filled(peers, load):
    repair = load("repair")
    mask = disc((60, 90), (30, 30), 20) & ~disc((60, 90), (30, 30), 6)
    mask |= disc((60, 90), (30, 75), 8)
    np.testing.assert_array_equal(repair.largest_filled(mask), disc((60, 90), (30, 30), 20))
