"""Objects of sections, joined across them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_implicitseg import Affinities, evaluate, segment_affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.stitching import stitch_sections


def _by_overlap(labels: np.ndarray, threshold: float) -> np.ndarray:
    """Join all pairs of objects of neighbouring sections that overlap enough, literally."""
    objects = [(z, i) for z, s in enumerate(labels) for i in np.unique(s[s > 0])]
    place = {o: n for n, o in enumerate(objects)}
    pairs = []
    for z in range(len(labels) - 1):
        for i in np.unique(labels[z][labels[z] > 0]):
            for j in np.unique(labels[z + 1][labels[z + 1] > 0]):
                a, b = labels[z] == i, labels[z + 1] == j
                if (a & b).any() and np.float32((a & b).sum() / (a | b).sum()) > np.float32(
                    threshold
                ):
                    pairs.append((place[z, i], place[z + 1, j]))
    ends = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), (len(objects),) * 2)
    _, part = connected_components(graph, directed=False)
    out = np.zeros(labels.shape, int)
    for (z, i), n in place.items():
        out[z][labels[z] == i] = part[n] + 1
    return out


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))
def test_objects_that_overlap_enough_are_one(seed, threshold):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 4, (rng.integers(1, 5), 3, 3))
    labels = np.kron(blocks, np.ones((1, 2, 2), int))
    found = stitch_sections(labels, threshold=threshold)
    wanted = _by_overlap(labels, threshold)
    assert ((found > 0) == (wanted > 0)).all()
    if wanted.any():
        assert evaluate(found, wanted)["voi"] < 1e-9


def test_affinities_across_sections_decide_where_there_are_some():
    labels = np.ones((3, 4, 4), int)
    data = np.zeros((1, 3, 4, 4), np.float32)
    data[0, 1], data[0, 2] = 0.9, 0.2
    across = Affinities(data=data, offsets=((-1, 0, 0),), spacing=(40, 4, 4))
    found = stitch_sections(labels, affinities=across, threshold=0.5)
    assert found[:, 0, 0].tolist() == [1, 1, 2]
    inside = Affinities(data=np.ones_like(data), offsets=((0, -1, 0),), spacing=(40, 4, 4))
    assert stitch_sections(labels, affinities=inside)[:, 0, 0].tolist() == [1, 1, 1]


def test_a_network_of_sections_gives_objects_of_the_stack():
    data = np.ones((2, 4, 6, 6), np.float32)
    data[1, :, :, 3] = 0
    sections = Affinities(data=data, offsets=((0, -1, 0), (0, 0, -1)), spacing=(50, 4, 4))
    assert len(np.unique(segment_affinities(sections))) == 8
    found = segment_affinities(sections, stitch=0.3)
    assert np.unique(found).tolist() == [1, 2]
    assert (found == found[:1]).all()


def test_nothing_stays_nothing():
    assert not stitch_sections(np.zeros((2, 3, 3), int)).any()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (np.ones((2, 3, 3)), {}, "whole numbers"),
        (np.ones((3, 3), int), {}, "stack"),
        (np.ones((2, 3, 3), int), {"threshold": 2}, "from 0 to 1"),
        (
            np.ones((2, 3, 3), int),
            {
                "affinities": Affinities(
                    data=np.ones((1, 1, 3, 3), np.float32),
                    offsets=((-1, 0, 0),),
                    spacing=(1, 1, 1),
                )
            },
            "one stack",
        ),
    ],
)
def test_what_is_no_stack_is_refused(labels, options, message):
    with pytest.raises(InputError, match=message):
        stitch_sections(labels, **options)
