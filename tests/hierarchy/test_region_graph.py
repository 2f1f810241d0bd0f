"""The region graph against dictionaries of all edges, and against plain NumPy."""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import Affinities, edge_slices, neighbourhood
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.hierarchy.fragments import make_fragments
from napari_implicitseg.hierarchy.region_graph import RegionGraph, region_graph

OFFSETS = {
    2: [((-1, 0), (0, -1)), ((0, 1), (-3, 0), (2, -1), (1, 0)), ((0, -1), (1, 1))],
    3: [
        ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
        ((0, 0, 1), (-1, 0, 0), (-2, 1, 0), (0, 1, 0), (0, 0, 3), (9, 0, 0)),
        ((0, 1, 0), (2, -1, -1)),
    ],
}
CASES = st.tuples(
    st.sampled_from([(6, 7), (1, 9), (8, 1), (1, 1), (3, 4, 5), (1, 5, 4), (4, 1, 1)]),
    st.integers(0, 2),
    st.sampled_from([1, 4, 30]),
    st.sampled_from([2, 2**20]),
    st.booleans(),
    st.integers(0, 10**6),
)


def random_case(case):
    """Random affinities, perhaps with a mask, and ids without gaps, some of them 0."""
    shape, choice, most, values, masked, seed = case
    rng = np.random.default_rng(seed)
    offsets = OFFSETS[len(shape)][choice]
    data = (rng.integers(0, values + 1, (len(offsets), *shape)) / values).astype(np.float32)
    mask = rng.random(data.shape) < 0.8 if masked else None
    affinities = Affinities(data=data, offsets=offsets, spacing=(1.0,) * len(shape), mask=mask)
    data[~affinities.known] = np.nan
    ids = rng.integers(0, most + 1, shape)
    fragments = np.searchsorted(np.unique(ids[ids > 0]), ids) + 1
    return affinities, np.where(ids > 0, fragments, 0).astype(np.uint32)


def reference(affinities, fragments):
    """Affinities between fragments, direct and far ones, with the earlier voxel of each edge."""
    direct, far = defaultdict(list), defaultdict(list)
    index = np.arange(fragments.size).reshape(fragments.shape)
    for k, offset in enumerate(affinities.offsets):
        here, there = edge_slices(fragments.shape, offset)
        known = affinities.known[k][here]
        columns = (
            affinities.data[k][here],
            fragments[here],
            fragments[there],
            np.minimum(index[here], index[there]),
        )
        for value, a, b, place in zip(*(c[known].tolist() for c in columns), strict=True):
            if a and b and a != b:
                kind = direct if sum(map(abs, offset)) == 1 else far
                kind[min(a, b) - 1, max(a, b) - 1].append((value, place))
    return direct, far


def graph_of(row, fragments, **options):
    """Graph of one row of voxels."""
    data = np.asarray([[row]], np.float32)
    affinities = Affinities(data=data, offsets=((0, -1),), spacing=(1, 1))
    return region_graph(affinities, np.array([fragments], np.uint32), **options)


def volume(shape=(12, 13, 14), seed=0):
    """Affinities with long-range ones, and their fragments."""
    offsets = neighbourhood("direct+long-range", spacing=(3, 1, 1))
    data = np.random.default_rng(seed).random((len(offsets), *shape)).astype(np.float32)
    affinities = Affinities(data=data, offsets=offsets, spacing=(3, 1, 1))
    return affinities, make_fragments(affinities, min_size=10)


# What it holds


@settings(deadline=None, max_examples=150)
@given(CASES)
def test_edges_hold_what_a_dictionary_of_all_edges_holds(case):
    affinities, fragments = random_case(case)
    graph = region_graph(affinities, fragments, bins=5)
    direct, far = reference(affinities, fragments)
    assert graph.nodes == fragments.max()
    np.testing.assert_array_equal(graph.sizes, np.bincount(fragments.ravel())[1:])
    assert [tuple(edge) for edge in graph.edges.tolist()] == sorted(direct)
    has_far = any(sum(map(abs, offset)) > 1 for offset in affinities.offsets)
    assert (graph.far_counts is None) == (graph.far_sums is None) == (not has_far)
    for e, pair in enumerate(sorted(direct)):
        values = [value for value, _ in direct[pair]]
        assert graph.counts[e] == len(values)
        assert graph.sums[e] == sum(values)
        assert graph.means[e] == sum(values) / len(values)
        assert graph.maxima[e] == max(values)
        # Edges are listed by channel, and then in C order.
        assert graph.places[e] == next(p for value, p in direct[pair] if value == max(values))
        bins = np.minimum((np.array(values) * 5).astype(int), 4)
        np.testing.assert_array_equal(graph.histograms[e], np.bincount(bins, minlength=5))
        if has_far:
            assert graph.far_counts[e] == len(far[pair])
            assert graph.far_sums[e] == sum(value for value, _ in far[pair])


def test_means_are_those_of_numpy():
    affinities, fragments = volume()
    graph = region_graph(affinities, fragments)
    keys, values = [], []
    for k, offset in enumerate(affinities.offsets[:3]):
        here, there = edge_slices(fragments.shape, offset)
        ends = np.sort(np.stack([fragments[here].ravel(), fragments[there].ravel()]), axis=0)
        apart = ends[0] != ends[1]
        keys.append(ends[:, apart].astype(np.int64) - 1)
        values.append(affinities.data[k][here].ravel()[apart].astype(np.float64))
    edges, places = np.unique(np.concatenate(keys, axis=1).T, axis=0, return_inverse=True)
    sums = np.bincount(places.ravel(), np.concatenate(values))
    np.testing.assert_array_equal(graph.edges, edges)
    np.testing.assert_allclose(graph.means, sums / np.bincount(places.ravel()), rtol=1e-14)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 7, 256]),
    st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 1]),
)
def test_quantiles_are_in_the_bin_of_the_value(seed, bins, q):
    affinities, fragments = random_case(((6, 7), 0, 4, 2**20, False, seed))
    graph = region_graph(affinities, fragments, bins=bins)
    direct, _ = reference(affinities, fragments)
    found = graph.quantiles(q)
    assert found.shape == (len(graph.edges),)
    for e, pair in enumerate(sorted(direct)):
        exact = np.quantile([value for value, _ in direct[pair]], q, method="inverted_cdf")
        low = min(int(exact * bins), bins - 1) / bins
        assert low <= found[e] <= low + 1 / bins + 1e-12


def test_quantiles_are_linear_inside_a_bin_and_never_fall():
    graph = graph_of([0, 0.1, 0.1, 0.1, 0.1, 0.9], [1, 2, 1, 2, 1, 2], bins=2)
    assert graph.histograms.tolist() == [[4, 1]]
    assert graph.quantiles(0.4).tolist() == [0.25]
    assert graph.quantiles(0.8).tolist() == [0.5]
    assert graph.quantiles(0.9).tolist() == [0.75]
    ranks = [graph.quantiles(q)[0] for q in np.linspace(0, 1, 21)]
    assert ranks == sorted(ranks)
    assert (ranks[0], ranks[-1]) == (0, 1)


def test_far_edges_count_only_between_fragments_that_touch():
    data = np.zeros((2, 1, 6), np.float32)
    data[0], data[1] = 0.5, 0.25
    affinities = Affinities(data=data, offsets=((0, -1), (0, 3)), spacing=(1, 1))
    graph = region_graph(affinities, np.array([[1, 1, 2, 2, 3, 3]], np.uint32))
    # Voxels 0, 1 and 2 reach 3, 4 and 5: fragments 1-2, 1-3 and 2-3.
    assert graph.edges.tolist() == [[0, 1], [1, 2]]
    assert graph.far_counts.tolist() == [1, 1]
    assert graph.far_sums.tolist() == [0.25, 0.25]
    without = region_graph(affinities, np.array([[1, 1, 2, 2, 3, 3]]), long_range=False)
    assert without.far_counts is None
    assert without.far_sums is None


def test_voxels_outside_everything_have_no_edges():
    graph = graph_of([0, 0.5, 0.5, 0.25], [1, 0, 2, 3])
    assert graph.edges.tolist() == [[1, 2]]
    assert graph.sizes.tolist() == [1, 1, 1]
    empty = graph_of([0, 0.5], [0, 0], bins=3)
    assert (empty.nodes, empty.edges.shape, empty.histograms.shape) == (0, (0, 2), (0, 3))
    assert empty.means.shape == empty.quantiles(0.5).shape == (0,)


def test_many_more_pairs_than_the_first_table_holds():
    shape = (20, 21, 22)
    affinities, _ = volume(shape)
    fragments = np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape) + 1
    graph = region_graph(affinities, fragments, long_range=False)
    assert len(graph.edges) == 19 * 21 * 22 + 20 * 20 * 22 + 20 * 21 * 21
    assert (graph.counts == 1).all()
    assert (graph.sums == graph.maxima).all()
    order = np.lexsort(graph.edges.T[::-1])
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()


def test_types_are_as_promised_and_a_second_run_is_the_same():
    affinities, fragments = volume()
    graph, again = (region_graph(affinities, fragments, bins=4) for _ in range(2))
    kinds = {
        "sizes": np.int64,
        "edges": np.int32,
        "counts": np.int64,
        "sums": np.float64,
        "maxima": np.float32,
        "places": np.int64,
        "histograms": np.uint32,
        "far_counts": np.int64,
        "far_sums": np.float64,
    }
    assert isinstance(graph, RegionGraph)
    for name, kind in kinds.items():
        assert getattr(graph, name).dtype == kind
        np.testing.assert_array_equal(getattr(graph, name), getattr(again, name))
    assert repr(graph) == f"RegionGraph({graph.nodes} nodes, {len(graph.edges)} edges, 4 bins)"


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint32, np.int64, ">i4"])
def test_fragments_of_any_integers_and_layout_are_taken(kind):
    affinities, fragments = volume((4, 5, 6))
    expected = region_graph(affinities, fragments)
    found = region_graph(affinities, np.asfortranarray(fragments.astype(kind)))
    for name in ("sizes", "edges", "counts", "sums", "far_sums"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_several_threads_give_the_same():
    affinities, fragments = volume()
    expected = region_graph(affinities, fragments).sums
    found = {}

    def work(name):
        found[name] = region_graph(affinities, make_fragments(affinities, min_size=10)).sums

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sums in found.values():
        np.testing.assert_array_equal(sums, expected)
    assert len(found) == 4


def test_progress_rises_to_one_and_may_cancel():
    affinities, fragments = volume((4, 5, 6))
    heard = []
    region_graph(affinities, fragments, bins=3, progress=lambda *said: heard.append(said))
    shares = [share for share, _ in heard]
    assert shares == [0, 0.25, 0.5, 0.75, 1]

    def stop(fraction, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        region_graph(affinities, fragments, progress=stop)


# What is refused


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        ([[1.0, 2.0]], "type float64; give integers from 1"),
        ([[True, False]], "type bool; give integers"),
        ([["a", "b"]], "give integers"),
        ([1, 2], r"have shape \(2,\), but the affinities are of a volume of shape \(1, 2\)"),
        ([[1], [2]], r"have shape \(2, 1\), but"),
        ([[-1, 2]], "hold -1; ids have to be positive"),
        ([[1, 3]], "largest id of the fragments is 3, of 2 voxels.*relabel_sequential"),
        ([[0, 2]], "ids up to 2, but none is 1.*without gaps"),
        ([[1, 2**40]], "largest id of the fragments is 1099511627776"),
    ],
)
def test_fragments_that_do_not_fit_are_refused(fragments, message):
    data = np.zeros((1, 1, 2), np.float32)
    affinities = Affinities(data=data, offsets=((0, -1),), spacing=(1, 1))
    with pytest.raises(InputError, match=message):
        region_graph(affinities, np.array(fragments))


@pytest.mark.parametrize("bins", [-1, 1.5, True, "many", 2**16 + 1, None])
def test_bins_out_of_range_are_refused(bins):
    with pytest.raises(InputError, match="give a whole number from 0 to 65536"):
        graph_of([0, 0.5], [1, 2], bins=bins)


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, "half", None])
def test_quantiles_out_of_range_are_refused(q):
    with pytest.raises(InputError, match="give a number from 0 to 1"):
        graph_of([0, 0.5], [1, 2], bins=2).quantiles(q)


def test_quantiles_need_histograms():
    with pytest.raises(InputError, match="no histograms; make it with bins"):
        graph_of([0, 0.5], [1, 2]).quantiles(0.5)


@pytest.mark.parametrize("value", [np.nan, -0.5, 1.5])
@pytest.mark.parametrize("channel", [0, 1])
def test_affinities_out_of_range_are_refused(value, channel):
    data = np.zeros((2, 1, 4), np.float32)
    data[channel, 0, 2] = value
    affinities = Affinities(data=data, offsets=((0, -1), (0, -2)), spacing=(1, 1))
    with pytest.raises(InputError, match="NaN|0 to 1"):
        region_graph(affinities, np.array([[1, 1, 2, 2]]))


def test_far_edges_that_are_not_known_may_be_anything():
    data = np.full((2, 1, 4), np.nan, np.float32)
    data[0] = 0.5
    affinities = Affinities(
        data=data, offsets=((0, -1), (0, -2)), spacing=(1, 1), mask=np.isfinite(data)
    )
    assert region_graph(affinities, np.array([[1, 1, 2, 2]])).far_counts.tolist() == [0]


def test_what_is_no_affinities_is_refused():
    with pytest.raises(InputError, match="type ndarray; give Affinities"):
        region_graph(np.zeros((1, 1, 2), np.float32), np.array([[1, 2]]))
    far = Affinities(data=np.zeros((1, 1, 2), np.float32), offsets=((0, -2),), spacing=(1, 1))
    with pytest.raises(InputError, match="no direct offset"):
        region_graph(far, np.array([[1, 2]]))


def test_threads_make_no_difference(monkeypatch):
    rng = np.random.default_rng(4)
    data = (rng.integers(0, 5, (3, 12, 14, 13)) / 4).astype(np.float32)
    affinities = Affinities(data=data, offsets=-np.eye(3, dtype=int), spacing=(1, 1, 1))
    fragments = make_fragments(affinities, min_size=20)
    found = []
    for voxels in (0, 10**9):
        monkeypatch.setattr("napari_implicitseg.hierarchy.region_graph._VOXELS", voxels)
        found.append(region_graph(affinities, fragments, bins=4))
    for name in ("edges", "counts", "sums", "maxima", "places", "histograms"):
        np.testing.assert_array_equal(*(getattr(graph, name) for graph in found))
