from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import h5py
import numpy as np
import pytest
import zarr
from dask import array as da
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, contingency_table, variation_of_information

from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.metrics import (
    Contingency,
    adapted_rand,
    contingency,
    contingency_blocks,
    cremi_score,
    rand_index,
    voi,
)

SMALL = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(0, 5))] * 3)
)


def entries(table):
    """A table as a mapping from two ids to voxels."""
    return {
        (int(table.label_ids[r]), int(table.truth_ids[c])): int(n)
        for r, c, n in zip(table.rows, table.columns, table.counts, strict=True)
    }


def counted(labels, truth, ignore):
    """The same by brute force."""
    pairs = zip(np.ravel(labels).tolist(), np.ravel(truth).tolist(), strict=True)
    return Counter(pair for pair in pairs if pair[1] != ignore)


def assert_same(table, other):
    """Equal in every array, and so in every score."""
    for name in Contingency.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(table, name), getattr(other, name), err_msg=name)


def blobs(seed, shape=(20, 30, 40), objects=60):
    """Compact random objects, 0 to objects - 1, one in each cell of a Voronoi diagram."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 1, 3)
    seeds = rng.random((objects, 3)) * shape
    return ((places - seeds) ** 2).sum(-1).argmin(1).reshape(shape)


@pytest.fixture(scope="module")
def pair():
    return blobs(0), blobs(1)


# The table


@pytest.mark.parametrize("kind", [bool, "u1", "i2", ">u2", "<u4", "i8", "u8", ">i8"])
@pytest.mark.parametrize("other", ["u1", "i4", ">u8"])
@pytest.mark.parametrize("ignore", [0, 1, None])
def test_table_counts_every_pair_whatever_the_type(kind, other, ignore):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (5, 6, 7)).astype(kind)
    truth = rng.integers(0, 3, (5, 6, 7)).astype(other)
    table = contingency(labels, truth, ignore=ignore)
    expected = counted(labels, truth, ignore)
    assert entries(table) == expected
    assert table.total == sum(expected.values()) == truth.size - table.ignored
    assert table.label_ids.dtype == table.truth_ids.dtype == np.int64


def test_sizes_and_ids_are_those_of_the_voxels_compared(pair):
    labels, truth = pair
    table = contingency(labels, truth, ignore=7)
    kept = truth != 7
    for ids, sizes, values in (
        (table.label_ids, table.label_sizes, labels),
        (table.truth_ids, table.truth_sizes, truth),
    ):
        expected, counts = np.unique(values[kept], return_counts=True)
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(sizes, counts)
    places = table.rows * len(table.truth_ids) + table.columns
    assert (np.diff(places) > 0).all()
    assert table.ignored == (truth == 7).sum()


def test_huge_sparse_ids_are_kept_apart():
    """Ids that differ only beyond the precision of floats, and more pairs than the first table."""
    high = np.array([2**64 - 1, 2**64 - 2, 2**63, 2**53, 2**53 + 1, 0], np.uint64)
    rng = np.random.default_rng(0)
    labels = high[rng.integers(0, 6, 90_000)]
    truth = rng.integers(-(2**63), 2**63 - 1, 90_000, dtype=np.int64)
    truth[:1000] = -1
    table = contingency(labels, truth)
    assert entries(table) == counted(labels, truth, 0)
    assert table.label_ids.dtype == np.uint64
    assert table.truth_ids.dtype == np.int64


@pytest.mark.parametrize(
    ("ignore", "kind", "dropped"),
    [
        (-1, "i8", 2),
        (-1, "u8", 0),
        (2**64 - 1, "u8", 2),
        (2**64 - 1, "i8", 0),
        (255, "u1", 2),
        (-1, "u1", 0),
        (np.uint64(5), "u1", 1),
        (2**70, "u8", 0),
    ],
)
def test_only_the_very_label_is_ignored(ignore, kind, dropped):
    """-1 and 2**64 - 1 have the same bits."""
    truth = np.array([-1, -1, 5]).astype(kind)
    assert contingency([1, 1, 1], truth, ignore=ignore).ignored == dropped


@pytest.mark.parametrize(
    "view", [lambda a: a.T, lambda a: a[::-1, :, ::3], lambda a: np.asfortranarray(a)]
)
@pytest.mark.parametrize("kind", [np.uint64, np.uint16])
def test_views_count_as_their_copies(pair, view, kind):
    labels, truth = (view(a.astype(kind)) for a in pair)
    labels.flags.writeable = False
    table = contingency(labels, truth)
    assert_same(table, contingency(labels.copy(order="C"), truth.copy(order="C")))
    assert entries(table) == counted(labels, truth, 0)


def test_lists_are_taken():
    table = contingency([[1, 2], [2, 2]], [[True, True], [False, True]])
    assert entries(table) == {(1, 1): 1, (2, 1): 2}


@settings(deadline=None)
@given(SMALL, st.integers(1, 39))
def test_tables_of_parts_add_up(three, cut):
    labels, truth, _ = three
    whole = contingency(labels, truth)
    parts = [contingency(labels[s], truth[s]) for s in (slice(cut), slice(cut, None))]
    assert_same(parts[0].merged(parts[1]), whole)
    assert_same(parts[1].merged(parts[0]), whole)
    assert_same(whole.merged(), whole)


def test_parts_with_small_and_huge_ids_add_up():
    parts = [contingency([3], [5]), contingency(np.array([2**63 + 1], "u8"), [5])]
    table = parts[0].merged(parts[1], parts[0])
    assert entries(table) == {(3, 5): 2, (2**63 + 1, 5): 1}
    with pytest.raises(InputError, match="labels are negative and others over 92233720368547"):
        contingency([-3], [5]).merged(parts[1])


def test_entries_may_come_in_any_order_and_twice():
    table = Contingency.from_entries([9, 4, 9, 9], [1, 1, 0, 1], [2, 3, 4, 5], ignored=6)
    assert entries(table) == {(4, 1): 3, (9, 0): 4, (9, 1): 7}
    assert table.label_sizes.tolist() == [3, 11]
    assert table.truth_sizes.tolist() == [4, 10]
    assert "2 labels, 2 in the truth, 3 overlaps, 14 voxels, 6 ignored" in repr(table)


def test_entries_of_one_object_with_many_are_sorted():
    rng = np.random.default_rng(0)
    labels, truth, counts = rng.integers((0, 0, 1), (3, 900, 50), (20_000, 3)).T
    table = Contingency.from_entries(labels, truth, counts)
    expected = Counter()
    for a, b, n in zip(labels.tolist(), truth.tolist(), counts.tolist(), strict=True):
        expected[a, b] += n
    assert list(entries(table)) == sorted(expected)
    assert entries(table) == expected


@settings(deadline=None)
@given(SMALL, arrays(np.int64, 6, elements=st.sampled_from([-4, 0, 1, 10**12])))
def test_relabelled_table_is_that_of_relabelled_voxels(three, ids):
    labels, truth, _ = three
    table = contingency(labels, truth, ignore=None)
    joined = table.relabelled(ids[table.label_ids])
    assert_same(joined, contingency(ids[labels], truth, ignore=None))


def test_relabelling_needs_one_id_for_each_label():
    with pytest.raises(InputError, match=r"\(3,\); give 2 integers"):
        contingency([1, 2], [1, 1]).relabelled([1, 2, 3])
    with pytest.raises(InputError, match="float64"):
        contingency([1, 2], [1, 1]).relabelled([1.0, 2.0])


# Block by block


class Watched:
    """An array on disk that says how much of it was read at one time."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype, self.read = array.shape, array.dtype, []

    def __getitem__(self, key):
        part = self._array[key]
        self.read.append(part.size)
        return part


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask", "hdf5"])
def test_blocks_of_lazy_arrays_give_the_table_of_the_whole(pair, kind):
    labels, truth = (a.astype(np.uint32) for a in pair)
    whole = contingency(labels, truth)
    if kind == "zarr":
        labels = zarr.array(labels, chunks=(7, 11, 13))
    elif kind == "dask":
        labels = da.from_array(labels, chunks=((7, 13), (30,), (1, 39)))
    elif kind == "hdf5":
        file = h5py.File.in_memory()
        assert_same(contingency_blocks(file.create_dataset("whole", data=labels), truth), whole)
        labels = file.create_dataset("chunked", data=labels, chunks=(5, 5, 5))
    assert_same(contingency_blocks(labels, truth), whole)
    assert_same(contingency_blocks(labels, truth, block_shape=(6, 30, 7)), whole)


def test_no_more_is_read_at_one_time_than_a_block():
    lazy = [Watched(np.zeros((40, 40, 40), np.uint8)), Watched(np.ones((40, 40, 40), np.uint8))]
    table = contingency_blocks(*lazy, block_shape=(16, 16, 16))
    assert table.total == 40**3
    for array in lazy:
        assert max(array.read) == 16**3
        assert sum(array.read) == 40**3


def test_large_volumes_are_not_read_whole_by_default():
    lazy = [Watched(np.broadcast_to(np.uint8(k), (300, 300, 300))) for k in (1, 2)]
    assert entries(contingency_blocks(*lazy)) == {(1, 2): 300**3}
    assert max(lazy[0].read) < 300**3 / 4
    assert len(lazy[0].read) < 40


def test_blocks_report_progress_and_can_be_cancelled(pair):
    heard = []
    contingency_blocks(*pair, block_shape=(10, 30, 40), progress=lambda f, m: heard.append((f, m)))
    assert heard == [(0.0, "Comparing block 1 of 2"), (0.5, "Comparing block 2 of 2")]

    def stop(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        contingency_blocks(*pair, progress=stop)


# The scores


@pytest.mark.parametrize("ignore", [(), (0,), (3,)])
def test_scores_equal_those_of_scikit_image(pair, ignore):
    labels, truth = pair
    labels = labels // 3
    table = contingency(labels, truth, ignore=ignore[0] if ignore else None)
    expected = variation_of_information(truth, labels, ignore_labels=ignore)
    np.testing.assert_allclose(voi(table), expected, rtol=1e-12)
    assert voi(table).split < voi(table).merge
    # It returns precision where its documentation, and SNEMI3D, have recall.
    error, recall, precision = adapted_rand_error(truth, labels, ignore_labels=ignore)
    expected = (error, precision, recall)
    np.testing.assert_allclose(adapted_rand(table), expected, rtol=1e-12)
    assert precision < recall
    full = contingency_table(truth, labels, ignore_labels=ignore).toarray()
    for (a, b), n in entries(table).items():
        assert full[b, a] == n
    assert full.sum() == table.total


def test_scores_of_real_neurons_equal_those_of_scikit_image(data_dir):
    with h5py.File(data_dir / "em" / "gala" / "train-gt.lzf.h5") as file:
        truth = next(iter(file.values()))[...]
    labels = np.roll(truth, (1, 5, 9), (0, 1, 2))
    table = contingency(labels, truth)
    assert table.ignored == (truth == 0).sum() > 0
    np.testing.assert_allclose(
        voi(table), variation_of_information(truth, labels, ignore_labels=(0,)), rtol=1e-10
    )
    assert adapted_rand(table).error == pytest.approx(adapted_rand_error(truth, labels)[0])


@settings(deadline=None)
@given(SMALL)
def test_rand_scores_are_those_of_all_pairs_of_voxels(three):
    labels, truth, _ = three
    pairs = list(itertools.combinations(range(len(labels)), 2))
    together = [(labels[i] == labels[j], truth[i] == truth[j]) for i, j in pairs]
    table = contingency(labels, truth, ignore=None)
    both = sum(a and b for a, b in together)
    claimed, true = (sum(side) for side in zip(*together, strict=True)) if pairs else (0, 0)
    alike = sum(a == b for a, b in together)
    assert rand_index(table) == pytest.approx(alike / len(pairs) if pairs else 1)
    error, precision, recall = adapted_rand(table)
    assert precision == pytest.approx(both / claimed if claimed else 1)
    assert recall == pytest.approx(both / true if true else 1)
    if both:
        assert error == pytest.approx(1 - 2 / (1 / precision + 1 / recall))
    else:
        assert error == (1 if claimed or true else 0)


@settings(deadline=None)
@given(SMALL, st.integers(0, 5))
def test_background_counts_as_objects_of_one_voxel(three, background):
    labels, truth, _ = three
    single = labels.copy()
    outside = labels == background
    single[outside] = 100 + np.arange(outside.sum())
    expected = adapted_rand(contingency(single, truth, ignore=None))
    found = adapted_rand(contingency(labels, truth, ignore=None), background=background)
    assert tuple(found) == pytest.approx(tuple(expected))


@settings(deadline=None)
@given(SMALL)
def test_comparing_the_other_way_round_swaps_splits_and_merges(three):
    there, back = (contingency(a, b, ignore=None) for a, b in (three[:2], three[1::-1]))
    assert tuple(voi(there)) == pytest.approx(tuple(voi(back)[::-1]), abs=1e-12)
    assert rand_index(there) == rand_index(back)
    assert adapted_rand(there).error == pytest.approx(adapted_rand(back).error)
    assert adapted_rand(there).precision == adapted_rand(back).recall


@settings(deadline=None)
@given(SMALL, st.permutations(range(6)))
def test_a_truth_with_other_ids_is_matched_perfectly(three, ids):
    truth = three[0]
    table = contingency(np.array(ids)[truth] * 10**15, truth, ignore=None)
    assert voi(table) == (0, 0)
    assert adapted_rand(table) == (0, 1, 1)
    assert rand_index(table) == 1
    assert cremi_score(table) == 0


@settings(deadline=None)
@given(SMALL, st.permutations(range(6)), st.permutations(range(6)))
def test_scores_do_not_depend_on_the_ids(three, ids, true_ids):
    labels, truth, _ = three
    table = contingency(labels, truth, ignore=None)
    renamed = contingency(np.array(ids)[labels], np.array(true_ids)[truth] - 3, ignore=None)
    assert tuple(voi(renamed)) == pytest.approx(tuple(voi(table)), abs=1e-12)
    assert adapted_rand(renamed) == adapted_rand(table)
    assert rand_index(renamed) == rand_index(table)
    assert cremi_score(renamed) == pytest.approx(cremi_score(table), abs=1e-7)


@settings(deadline=None)
@given(SMALL)
def test_variation_of_information_is_a_metric(three):
    one, two, three_ = (
        voi(contingency(a, b, ignore=None)).total for a, b in itertools.combinations(three, 2)
    )
    assert min(one, two, three_) >= 0
    assert one + two >= three_ - 1e-12
    assert one + three_ >= two - 1e-12
    assert two + three_ >= one - 1e-12


def test_splits_and_merges_are_told_apart():
    """An object halved costs one bit of split, two equal ones joined one bit of merge."""
    halved = contingency([1, 1, 2, 2], [5, 5, 5, 5])
    assert voi(halved) == (1, 0)
    assert adapted_rand(halved).precision == 1
    assert adapted_rand(halved).recall == pytest.approx(4 / 12)
    joined = contingency([5, 5, 5, 5], [1, 1, 2, 2])
    assert voi(joined) == (0, 1)
    assert adapted_rand(joined).recall == 1
    assert cremi_score(joined) == pytest.approx(math.sqrt(adapted_rand(joined).error))


@pytest.mark.parametrize("side", [512, 4096])
def test_pairs_of_the_largest_volumes_are_counted_exactly(side):
    """At 512^3 pairs exceed what floats hold exactly, at 4096^3 what 64 bits hold."""
    total = side**3
    sizes = {(1, 1): total - 3 * side - 1, (1, 2): side, (2, 1): 1, (2, 2): 2 * side}
    table = Contingency.from_entries(*np.array(list(sizes)).T, list(sizes.values()))

    def together(counts):
        return sum(n * (n - 1) for n in counts)

    both = together(sizes.values())
    claimed = together([total - 2 * side - 1, 2 * side + 1])
    true = together([total - 3 * side, 3 * side])
    assert table.total == total
    assert rand_index(table) == float(1 - Fraction(claimed + true - 2 * both, total * (total - 1)))
    assert adapted_rand(table).error == float(Fraction(claimed + true - 2 * both, claimed + true))
    assert adapted_rand(table).precision == float(Fraction(both, claimed))
    assert adapted_rand(table).recall == float(Fraction(both, true))


def test_a_tiny_error_in_a_huge_object_does_not_vanish():
    table = Contingency.from_entries([1, 2], [1, 1], [2**40, 1])
    split = voi(table).split
    share = 2.0**-40
    assert split == pytest.approx(share * (40 + 1 / math.log(2)), rel=1e-6)
    assert 0 < adapted_rand(table).error < 1e-11


# What cannot be compared


@pytest.mark.parametrize("score", [voi, rand_index, adapted_rand, cremi_score])
def test_nothing_to_compare_is_an_error_that_says_why(score):
    with pytest.raises(InputError, match="all 6 are left out.*ignore=None"):
        score(contingency(np.ones((2, 3), int), np.zeros((2, 3), int)))
    with pytest.raises(InputError, match="arrays that are not empty"):
        score(contingency(np.ones((0, 3), int), np.zeros((0, 3), int)))


@pytest.mark.parametrize("compare", [contingency, contingency_blocks])
def test_arrays_that_do_not_fit_are_refused(compare):
    ones = np.ones((4, 5), np.uint8)
    with pytest.raises(InputError, match=r"labels have shape \(4, 5\) but the truth has \(5, 4\)"):
        compare(ones, ones.T)
    with pytest.raises(InputError, match="labels are of type float64; give integers"):
        compare(ones * 0.5, ones)
    with pytest.raises(InputError, match="truth are of type complex128"):
        compare(ones, ones * 1j)
    for ignore in ("0", 1.0, [0, 1]):
        with pytest.raises(InputError, match="give a label of the truth, or None"):
            compare(ones, ones, ignore=ignore)


def test_masked_arrays_are_not_taken_for_their_data():
    masked = np.ma.masked_array([1, 2], [True, False])
    with pytest.raises(InputError, match="truth are a masked array"):
        contingency([1, 2], masked)


@pytest.mark.parametrize("block_shape", [(0, 2), (3,), (-1, 4)])
def test_blocks_have_to_fit(block_shape):
    ones = np.ones((4, 5), np.uint8)
    with pytest.raises(InputError, match="give 2 positive numbers of voxels"):
        contingency_blocks(ones, ones, block_shape=block_shape)


def test_blocks_need_arrays():
    with pytest.raises(InputError, match="labels are of type list; give an array"):
        contingency_blocks([1], np.ones(1, int))
