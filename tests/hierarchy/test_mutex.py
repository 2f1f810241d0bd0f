"""The mutex watershed, as bioimage-cpp does it, on our affinities."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_implicitseg import Affinities, evaluate, labels_to_affinities, segment_affinities
from napari_implicitseg.affinities.ops import edge_slices
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.mutex import mutex_watershed

pytest.importorskip("bioimage_cpp")

OFFSETS = ((-1, 0), (0, -1), (-3, 0), (0, -3), (-2, -2))


def _brute(affinities: Affinities) -> list[int]:
    """Take edges one by one; clusters keep the clusters they exclude."""
    shape = affinities.shape
    index = np.arange(np.prod(shape)).reshape(shape)
    edges = []
    for k, offset in enumerate(affinities.offsets):
        here, there = edge_slices(shape, offset)
        far = sum(map(abs, offset)) > 1
        values = affinities.data[k][here].ravel()
        for value, a, b in zip(values, index[here].ravel(), index[there].ravel(), strict=True):
            edges.append((1 - value if far else value, far, int(a), int(b)))
    cluster, apart = list(range(index.size)), set()
    for strength, far, a, b in sorted(edges, key=lambda e: -e[0]):
        assert 0 < strength < 1
        one, two = cluster[a], cluster[b]
        if one == two or (not far and frozenset((one, two)) in apart):
            continue
        if far:
            apart.add(frozenset((one, two)))
            continue
        cluster = [one if c == two else c for c in cluster]
        apart = {frozenset(one if c == two else c for c in pair) for pair in apart}
    return cluster


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_mutex_watershed(seed):
    rng = np.random.default_rng(seed)
    data = rng.uniform(0.01, 0.99, (len(OFFSETS), 6, 7)).astype(np.float32)
    affinities = Affinities(data=data, offsets=OFFSETS, spacing=(1, 1))
    found = mutex_watershed(affinities)
    assert found.dtype == np.uint32
    assert evaluate(found, np.array(_brute(affinities)).reshape(6, 7) + 1)["voi"] < 1e-9


def test_objects_of_the_truth_come_back():
    truth = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((8, 9))).astype(np.uint32)
    affinities = labels_to_affinities(truth, OFFSETS)
    assert evaluate(segment_affinities(affinities, linkage="mutex"), truth)["voi"] == 0
    assert evaluate(mutex_watershed(affinities, strides=(2, 2)), truth)["voi"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": OFFSETS[:2], "channels": 2}, "direct ones and long-range ones"),
        ({"offsets": OFFSETS[2:], "channels": 3}, "direct ones and long-range ones"),
        ({"value": np.nan}, "NaN"),
        ({"value": 2.0}, "0 to 1"),
        ({"strides": (0, 1)}, "strides is"),
        ({"strides": 3}, "strides is"),
    ],
)
def test_what_cannot_be_segmented_is_refused(changes, message):
    offsets = changes.get("offsets", OFFSETS)
    data = np.full((changes.get("channels", 5), 8, 8), changes.get("value", 0.5), np.float32)
    with pytest.raises(InputError, match=message):
        mutex_watershed(data, offsets=offsets, strides=changes.get("strides"))


def test_other_choices_do_not_go_with_it():
    data = np.full((5, 8, 8), 0.5, np.float32)
    with pytest.raises(InputError, match="mutex"):
        segment_affinities(data, offsets=OFFSETS, linkage="mutex", objects=3)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bioimage_cpp", None)
    with pytest.raises(InputError, match=r"napari-implicitseg\[mutex\]"):
        mutex_watershed(np.full((5, 8, 8), 0.5, np.float32), offsets=OFFSETS)
