"""Affinities, neighbourhoods, labels to affinities, graphs there and back."""

from __future__ import annotations

import tracemalloc

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import (
    Affinities,
    affinities_to_graph,
    checked_offsets,
    edge_slices,
    edges_inside,
    graph_to_affinities,
    labels_to_affinities,
    neighbourhood,
)
from napari_implicitseg.errors import InputError

DIRECT = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


@st.composite
def offset_lists(draw, ndim):
    vectors = draw(
        st.lists(st.tuples(*[st.integers(-4, 4)] * ndim), min_size=1, max_size=5, unique=True)
    )
    kept = []
    for vector in vectors:
        if any(vector) and tuple(-v for v in vector) not in kept:
            kept.append(vector)
    return kept or [(-1, *(0,) * (ndim - 1))]


@st.composite
def labelled_volumes(draw):
    ndim = draw(st.integers(2, 3))
    shape = draw(st.tuples(*[st.integers(1, 5)] * ndim))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["bool", "u1", "i2", "u4", "i8", "u8", ">u4"]))
    labels = rng.integers(0, 2 if kind == "bool" else 4, shape).astype(kind)
    return labels, draw(offset_lists(ndim))


def literal(labels, offsets, unlabelled):
    """Affinities edge by edge."""
    data = np.zeros((len(offsets), *labels.shape), np.float32)
    mask = np.zeros(data.shape, bool)
    for k, offset in enumerate(offsets):
        for p in np.ndindex(*labels.shape):
            q = tuple(np.add(p, offset))
            if all(0 <= a < n for a, n in zip(q, labels.shape, strict=True)):
                ends = [int(labels[p]), int(labels[q])]
                mask[(k, *p)] = unlabelled is None or unlabelled not in ends
                data[(k, *p)] = ends[0] == ends[1] and ends[0] not in (0, unlabelled)
    return data, mask


@settings(deadline=None)
@given(labelled_volumes(), st.sampled_from([0, None, 1, 3]))
def test_labels_ask_for_affinities_as_defined_edge_by_edge(volume, unlabelled):
    labels, offsets = volume
    found = labels_to_affinities(labels, offsets, unlabelled=unlabelled)
    data, mask = literal(labels, offsets, unlabelled)
    np.testing.assert_array_equal(found.data, data)
    np.testing.assert_array_equal(found.mask, mask)
    assert found.data.dtype == np.float32
    assert found.offsets == tuple(offsets)


def test_ids_that_differ_only_far_beyond_float_precision_are_told_apart():
    labels = np.array([[2**64 - 1, 2**64 - 2, 2**64 - 2]], np.uint64)
    assert labels_to_affinities(labels, [(0, -1)]).data.tolist() == [[[0, 0, 1]]]


def test_minus_one_may_mean_unlabelled():
    found = labels_to_affinities(np.array([[5, 5, -1, 0, 0]]), [(0, -1)], unlabelled=-1)
    assert found.data.tolist() == [[[0, 1, 0, 0, 0]]]
    assert found.mask.tolist() == [[[False, True, False, False, True]]]


def test_labels_of_any_memory_order_are_read_as_they_stand():
    labels = np.random.default_rng(0).integers(0, 3, (4, 6, 5))
    turned = np.asfortranarray(labels)[:, ::-1]
    turned.flags.writeable = False
    np.testing.assert_array_equal(
        labels_to_affinities(turned, DIRECT).data,
        labels_to_affinities(np.ascontiguousarray(turned), DIRECT).data,
    )


def test_affinities_of_labels_take_little_more_memory_than_the_result():
    labels = np.random.default_rng(0).integers(0, 9, (60, 60, 60)).astype(np.uint64)
    tracemalloc.start()
    try:
        found = labels_to_affinities(labels, DIRECT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - found.data.nbytes - found.mask.nbytes <= 4 * labels.size


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((3, 3)), "type float64"),
        (np.zeros(3, int), r"shape \(3,\)"),
        (np.zeros((0, 3), int), "no voxel"),
        (np.array([[1, -2]]), "hold -2"),
    ],
)
def test_labels_that_are_none_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        labels_to_affinities(labels, [(0, -1)])


def test_another_negative_label_beside_the_unlabelled_one_is_refused():
    with pytest.raises(InputError, match="hold -1"):
        labels_to_affinities(np.array([[1, -2, -1]]), [(0, -1)], unlabelled=-2)


@settings(deadline=None)
@given(st.integers(2, 3).flatmap(lambda n: st.tuples(st.just(n), offset_lists(n))), st.data())
def test_edges_are_inside_where_both_ends_are(case, data):
    ndim, offsets = case
    shape = data.draw(st.tuples(*[st.integers(1, 5)] * ndim))
    inside = edges_inside(shape, offsets)
    np.testing.assert_array_equal(inside, literal(np.ones(shape, int), offsets, None)[1])
    for channel, offset in zip(inside, offsets, strict=True):
        here, there = edge_slices(shape, offset)
        assert channel.sum() == np.zeros(shape)[here].size == np.zeros(shape)[there].size


def test_direct_neighbourhoods_are_the_negative_unit_vectors():
    assert neighbourhood() == DIRECT
    assert neighbourhood("direct", ndim=2) == ((-1, 0), (0, -1))
    assert neighbourhood(spacing=(2, 1)) == ((-1, 0), (0, -1))


def test_long_range_edges_come_after_the_direct_ones():
    offsets = neighbourhood("direct+long-range")
    assert offsets[:3] == DIRECT
    assert offsets[3:6] == ((-3, 0, 0), (0, -3, 0), (0, 0, -3))
    assert max(max(map(abs, o)) for o in offsets) == 27


@settings(deadline=None)
@given(st.tuples(*[st.floats(0.5, 100)] * 3))
def test_long_range_edges_span_the_same_distance_along_every_axis(spacing):
    offsets = neighbourhood("direct+long-range", spacing=spacing)
    assert checked_offsets(offsets, 3) == offsets
    reaches = [27, 9, 3]
    for offset in offsets[3:]:
        axis = int(np.flatnonzero(offset)[0])
        span = -offset[axis] * spacing[axis]
        assert offset[axis] <= -2
        assert min(abs(span - r * min(spacing)) for r in reaches) <= spacing[axis] / 2 * 1.001


def test_coarse_axes_have_fewer_and_shorter_edges():
    offsets = neighbourhood("direct+long-range", spacing=(10, 1, 1))
    assert [o for o in offsets if o[0]] == [(-1, 0, 0), (-3, 0, 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "far"}, "'far'"),
        ({"ndim": 4}, "not 4"),
        ({"ndim": 3, "spacing": (1, 1)}, "3 positive numbers"),
        ({"spacing": (1, 0, 1)}, "positive"),
        ({"spacing": (1, float("nan"), 1)}, "positive"),
    ],
)
def test_neighbourhoods_that_do_not_exist_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        neighbourhood(**options)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([], "no offsets"),
        (None, "offsets is None"),
        ([(0, -1.5)], "whole numbers"),
        ([(0, -1, 0)], "2 axes"),
        ([(0, 0)], "joins a voxel to itself"),
        ([(0, -1), (0, -1)], "twice"),
        ([(0, -1), (0, 1)], "opposite"),
        ([(0, 10**30)], "longer than any volume"),
    ],
)
def test_offsets_that_are_none_are_refused(offsets, message):
    with pytest.raises(InputError, match=message):
        checked_offsets(offsets, 2)


@pytest.mark.parametrize("unlabelled", ["x", 2.5, True])
def test_a_label_for_unlabelled_is_a_whole_number(unlabelled):
    with pytest.raises(InputError, match="unlabelled is"):
        labels_to_affinities(np.ones((3, 3), int), [(0, -1)], unlabelled=unlabelled)


def test_offsets_of_numpy_become_tuples_of_int():
    assert checked_offsets(np.array([[0, -1], [2, 3]]), 2) == ((0, -1), (2, 3))


def make(**changes):
    given = {
        "data": np.zeros((2, 4, 5), np.float32),
        "offsets": [(-1, 0), (0, -1)],
        "spacing": (1, 2),
    }
    return Affinities(**(given | changes))


def test_affinities_know_their_shape_and_where_they_are_known():
    found = make()
    assert (found.ndim, found.shape, found.spacing) == (2, (4, 5), (1.0, 2.0))
    np.testing.assert_array_equal(found.known, edges_inside((4, 5), found.offsets))
    mask = np.ones((2, 4, 5), bool)
    assert make(mask=mask).known is mask


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((2, 4, 5))}, "float64"),
        ({"data": [[0.0]]}, "list"),
        ({"data": np.zeros((4, 5), np.float32)}, "need"),
        ({"offsets": [(-1, 0)]}, "2 channels of affinities but 1 offsets"),
        ({"offsets": [(-1, 0, 0), (0, -1, 0)]}, "2 axes"),
        ({"spacing": (1, -2)}, "positive"),
        ({"spacing": 1}, "2 positive numbers"),
        ({"mask": np.ones((2, 4, 5))}, "float64"),
        ({"mask": np.ones((4, 5), bool)}, r"bool \(4, 5\)"),
    ],
)
def test_affinities_whose_parts_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        make(**changes)


@settings(deadline=None)
@given(labelled_volumes(), st.integers(0, 2**32))
def test_affinities_survive_the_way_through_a_graph(volume, seed):
    labels, offsets = volume
    truth = labels_to_affinities(labels, offsets)
    values = np.random.default_rng(seed).random(truth.data.shape, np.float32)
    given = Affinities(
        data=values, offsets=truth.offsets, spacing=(2.0,) * labels.ndim, mask=truth.mask
    )
    graph, weights = affinities_to_graph(given)
    back = graph_to_affinities(graph, weights, labels.shape, offsets, spacing=given.spacing)
    np.testing.assert_array_equal(back.mask, truth.mask)
    np.testing.assert_array_equal(back.data, np.where(truth.mask, values, 0))
    assert back.spacing == given.spacing


def test_edges_of_a_graph_are_ordered_by_offset_and_then_by_voxel():
    offsets = ((-1, 0), (0, -2))
    data = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    graph, weights = affinities_to_graph(Affinities(data=data, offsets=offsets, spacing=(1, 1)))
    sources, targets = graph.edge_list()
    assert list(zip(sources, targets, weights, strict=True)) == [
        (0, 3, 3),
        (1, 4, 4),
        (2, 5, 5),
        (0, 2, 8),
        (3, 5, 11),
    ]
    assert tuple(hg.CptGridGraph.get_shape(graph)) == (2, 3)


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 2**32))
def test_regular_graphs_of_higra_are_direct_affinities(shape, seed):
    neighbours = [[a if i == axis else 0 for i in range(3)] for axis in range(3) for a in (-1, 1)]
    graph = hg.get_nd_regular_graph(shape, neighbours)
    weights = np.random.default_rng(seed).random(graph.num_edges())
    found = graph_to_affinities(graph, weights, shape, DIRECT)
    np.testing.assert_array_equal(found.mask, edges_inside(shape, DIRECT))
    own, values = affinities_to_graph(found)
    lists = [
        sorted((*sorted(ends), np.float32(w)) for *ends, w in zip(*g.edge_list(), v, strict=True))
        for g, v in ((graph, weights), (own, values))
    ]
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    ("edges", "weights", "shape", "message"),
    [
        ([(0, 1)], [1.0], (2, 2), "4 voxels"),
        ([(0, 1)], [1.0, 2.0], (1, 3), "1 edges"),
        ([(0, 2)], [1.0], (1, 3), r"along \(0, 2\)"),
        ([(0, 1), (1, 0)], [1.0, 2.0], (1, 3), "several edges"),
    ],
)
def test_graphs_that_are_no_affinities_are_refused(edges, weights, shape, message):
    graph = hg.UndirectedGraph(3)
    graph.add_edges(*np.array(edges).T)
    with pytest.raises(InputError, match=message):
        graph_to_affinities(graph, weights, shape, [(0, -1)])
