"""The worst splits and merges, and where they are."""

from __future__ import annotations

import itertools
import math

import h5py
import numpy as np
import pytest
import zarr
from dask import array as da
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_implicitseg import _block_tables
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.metrics import contingency, voi
from napari_implicitseg.mistakes import Mistake, worst_merges, worst_splits
from napari_implicitseg.places import find_places

PAIRS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(0, 7))] * 2)
)
VOLUMES = st.sampled_from([(9,), (6, 7), (3, 4, 5)]).flatmap(
    lambda shape: st.tuples(*[arrays(np.int64, shape, elements=st.integers(-1, 2))] * 2)
)


@settings(deadline=None)
@given(PAIRS)
def test_costs_of_all_objects_add_up_to_the_voi(pair):
    table = contingency(*pair, ignore=None)
    splits, merges = worst_splits(table, 99), worst_merges(table, 99)
    assert sum(one.bits for one in splits) == pytest.approx(voi(table).split)
    assert sum(one.bits for one in merges) == pytest.approx(voi(table).merge)


@settings(deadline=None)
@given(PAIRS)
def test_an_object_costs_the_entropy_of_its_parts(pair):
    labels, truth = pair
    for one in worst_splits(contingency(labels, truth, ignore=None), 99):
        inside = labels[truth == one.id]
        ids, sizes = np.unique(inside, return_counts=True)
        shares = sizes / len(inside)
        assert one.bits == pytest.approx(
            -(shares * np.log2(shares)).sum() * len(inside) / len(truth)
        )
        assert dict(zip(one.parts, one.voxels, strict=True)) == dict(
            zip(ids.tolist(), sizes.tolist(), strict=True)
        )
        assert list(one.voxels) == sorted(one.voxels, reverse=True)


@settings(deadline=None)
@given(PAIRS)
def test_splits_are_the_merges_of_the_other_way_round(pair):
    labels, truth = pair
    splits = worst_splits(contingency(labels, truth, ignore=None), 99)
    merges = worst_merges(contingency(truth, labels, ignore=None), 99)
    assert [(s.id, s.parts, s.voxels) for s in splits] == [
        (m.id, m.parts, m.voxels) for m in merges
    ]
    assert {s.kind for s in splits} <= {"split"}
    assert {m.kind for m in merges} <= {"merge"}


def test_the_worst_come_first_and_only_so_many():
    labels = [1, 1, 1, 2, 3, 3, 4, 4, 9, 9]
    truth = [5, 5, 5, 5, 6, 6, 6, 6, 7, 7]
    found = worst_splits(contingency(labels, truth))
    assert [one.id for one in found] == [6, 5]  # 7 is whole
    assert found[0].bits == pytest.approx(0.4)
    assert found[1].bits == pytest.approx(0.4 * (2 - 0.75 * math.log2(3)))
    assert found[1] == Mistake(kind="split", id=5, parts=(1, 2), voxels=(3, 1), bits=found[1].bits)
    assert worst_splits(contingency(labels, truth), 1) == found[:1]
    assert worst_splits(contingency(labels, truth), 0) == ()
    assert worst_merges(contingency(labels, truth)) == ()


def test_an_empty_table_has_no_mistakes():
    assert worst_splits(contingency([1], [0])) == ()


@pytest.mark.parametrize("number", [-1, 2.5, "10", None])
def test_no_number_is_refused(number):
    with pytest.raises(InputError, match="number is"):
        worst_splits(contingency([1], [1]), number)


# Where they are


def neighbours(place, shape):
    for axis, step in itertools.product(range(len(place)), (-1, 1)):
        other = list(place)
        other[axis] += step
        if 0 <= other[axis] < shape[axis]:
            yield tuple(other)


def nearest(labels, truth, mistake):
    """Voxels of the second part, those at the largest if there are any, and their distances."""
    side, own = (labels, truth) if mistake.kind == "split" else (truth, labels)
    small, large = ((side == mistake.parts[k]) & (own == mistake.id) for k in (1, 0))
    part = [tuple(int(i) for i in p) for p in np.argwhere(small)]
    touching = [p for p in part if any(large[n] for n in neighbours(p, large.shape))]
    voxels = np.array(touching or part)
    return voxels, ((voxels - voxels.mean(0)) ** 2).sum(1)


def assert_places(labels, truth, mistakes, places):
    assert len(places) == len(mistakes)
    for mistake, place in zip(mistakes, places, strict=True):
        voxels, distances = nearest(labels, truth, mistake)
        hit = (voxels == place).all(1)
        assert hit.sum() == 1
        assert distances[hit][0] == pytest.approx(distances.min(), abs=1e-9)


@settings(deadline=None)
@given(VOLUMES)
def test_places_are_where_the_two_largest_parts_meet(pair):
    labels, truth = pair
    table = contingency(labels, truth, ignore=None)
    mistakes = (*worst_splits(table, 99), *worst_merges(table, 99))
    assert_places(labels, truth, mistakes, find_places(labels, truth, mistakes))


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask", "hdf5"])
def test_places_do_not_depend_on_blocks(kind, monkeypatch):
    monkeypatch.setattr(_block_tables, "_BLOCK", 200)
    rng = np.random.default_rng(0)
    labels, truth = (np.kron(rng.integers(0, 5, (4, 5, 6)), np.ones((3, 3, 3), int)) for _ in "ab")
    table = contingency(labels, truth)
    mistakes = (*worst_splits(table, 5), *worst_merges(table, 5))
    lazy = labels
    if kind == "zarr":
        lazy = zarr.array(labels, chunks=(5, 5, 5))
    elif kind == "dask":
        lazy = da.from_array(labels, chunks=(5, 7, 9))
    elif kind == "hdf5":
        lazy = h5py.File.in_memory().create_dataset("x", data=labels, chunks=(2, 4, 8))
    assert_places(labels, truth, mistakes, find_places(lazy, truth, mistakes))


def test_a_part_that_is_not_there_has_no_place():
    gone = Mistake(kind="split", id=5, parts=(1, 2), voxels=(3, 1), bits=0.5)
    assert find_places(np.ones((2, 2), int), np.ones((2, 2), int), [gone]) == [None]
    assert find_places(np.ones((2, 2), int), np.ones((2, 2), int), []) == []


def test_huge_ids_have_places():
    labels = np.array([[2**64 - 1, 2**64 - 1, 2**63]], np.uint64)
    found = worst_splits(contingency(labels, [[1, 1, 1]]))
    assert found[0].parts == (2**64 - 1, 2**63)
    assert find_places(labels, np.ones((1, 3), np.uint8), found) == [(0, 2)]


def test_what_has_no_places_is_refused():
    one = Mistake(kind="merge", id=5, parts=(1,), voxels=(3,), bits=0.0)
    ones = np.ones((2, 2), int)
    with pytest.raises(InputError, match="merge of 5 has 1 parts"):
        find_places(ones, ones, [one])
    with pytest.raises(InputError, match="have 4 axes"):
        find_places(np.ones((1,) * 4, int), np.ones((1,) * 4, int), [])
    with pytest.raises(InputError, match=r"labels have shape \(2, 2\) but the truth has \(2, 3\)"):
        find_places(ones, np.ones((2, 3), int), [])


def test_the_search_can_be_cancelled():
    def stop(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        find_places(np.ones((2, 2), int), np.ones((2, 2), int), [], progress=stop)
