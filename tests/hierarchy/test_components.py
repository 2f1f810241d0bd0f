from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from skimage.measure import label as label_equal

from napari_implicitseg.affinities.ops import (
    Affinities,
    edge_slices,
    labels_to_affinities,
    neighbourhood,
)
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.components import (
    image_affinities,
    threshold_curve,
    threshold_labels,
)
from napari_implicitseg.metrics import adapted_rand, contingency, rand_index, voi

# Both directions, in another order, and long-range ones among them.
OFFSETS = {
    2: [((-1, 0), (0, -1)), ((0, 1), (-3, 0), (1, 0)), ((0, -1), (2, -2))],
    3: [((-1, 0, 0), (0, -1, 0), (0, 0, -1)), ((0, 0, 1), (-1, 0, 0), (-2, 1, 0), (0, 1, 0))],
}
CASES = st.tuples(
    st.sampled_from([(6, 7), (1, 9), (8, 1), (3, 4, 5), (1, 5, 4), (4, 1, 1)]),
    st.integers(0, 1),
    st.sampled_from([3, 10, 2**20]),
    st.booleans(),
    st.integers(0, 10**6),
)


def random_affinities(case):
    """Random affinities of few or many different values, perhaps with a mask."""
    shape, choice, values, masked, seed = case
    rng = np.random.default_rng(seed)
    offsets = OFFSETS[len(shape)][choice]
    data = (rng.integers(0, values + 1, (len(offsets), *shape)) / values).astype(np.float32)
    mask = rng.random(data.shape) < 0.8 if masked else None
    return Affinities(data=data, offsets=offsets, spacing=(1.0,) * len(shape), mask=mask)


def direct_edges(affinities):
    """The known direct edges as (affinity, voxel, voxel), by channel and then in C order."""
    index = np.arange(np.prod(affinities.shape)).reshape(affinities.shape)
    edges = []
    for k, offset in enumerate(affinities.offsets):
        if sum(map(abs, offset)) == 1:
            here, there = edge_slices(affinities.shape, offset)
            known = affinities.known[k][here]
            ends = (index[here][known].tolist(), index[there][known].tolist())
            edges += zip(affinities.data[k][here][known].tolist(), *ends, strict=True)
    return edges


def partition(labels):
    """Labels numbered from 1 in the order of their first voxels; 0 stays."""
    numbers = {0: 0}
    return np.array([numbers.setdefault(v, len(numbers)) for v in labels.ravel().tolist()])


def reference_labels(affinities, threshold, min_size=0, grow=False):
    """Threshold and grow slowly: sets of voxels, joined one edge after the other."""
    edges = [(w, p, q) for w, p, q in direct_edges(affinities)]
    edges.sort(key=lambda edge: -edge[0])
    tree = {p: {p} for p in range(np.prod(affinities.shape))}

    def join(p, q):
        tree[p] |= tree[q]
        for voxel in tree[q]:
            tree[voxel] = tree[p]

    for w, p, q in edges:
        if w > np.float32(threshold) and tree[p] is not tree[q]:
            join(p, q)
    owner = {p: min(tree[p]) + 1 if len(tree[p]) >= min_size else 0 for p in tree}
    for _, p, q in edges if grow else ():
        if tree[p] is not tree[q] and not (owner[p] and owner[q]):
            join(p, q)
            for voxel in tree[p]:
                owner[voxel] = owner[p] or owner[q]
    return partition(np.array([owner[p] for p in sorted(owner)])).reshape(affinities.shape)


# Labels at a threshold


@settings(deadline=None, max_examples=60)
@given(CASES, st.sampled_from([0.0, 0.3, 1 / 3, 0.5, 0.9, 1.0]))
def test_labels_are_the_components_of_the_graph_above_the_threshold(case, threshold):
    affinities = random_affinities(case)
    kept = [(p, q) for w, p, q in direct_edges(affinities) if w > np.float32(threshold)]
    voxels = int(np.prod(affinities.shape))
    sources, targets = np.array(kept, int).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(kept)), (sources, targets)), shape=(voxels, voxels))
    count, expected = connected_components(graph, directed=False)
    labels = threshold_labels(affinities, threshold)
    assert labels.dtype == np.uint32
    assert labels.max() == count
    np.testing.assert_array_equal(labels.ravel(), partition(expected + 1))


@settings(deadline=None, max_examples=100)
@given(CASES, st.sampled_from([0.3, 0.5, 0.9, 1.0]), st.integers(0, 6), st.booleans())
def test_small_objects_go_or_are_handed_on_as_in_a_slow_reference(case, threshold, size, grow):
    affinities = random_affinities(case)
    labels = threshold_labels(affinities, threshold, min_size=size, grow=grow)
    np.testing.assert_array_equal(labels, reference_labels(affinities, threshold, size, grow))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([0.4, 0.7, 0.9]))
def test_grown_voxels_go_to_an_object_of_the_largest_maximin_affinity(seed, threshold):
    """What a watershed is: no other object can be reached over higher passes."""
    affinities = random_affinities(((5, 6), 0, 2**20, False, seed))
    seeds = threshold_labels(affinities, threshold, min_size=3)
    labels = threshold_labels(affinities, threshold, min_size=3, grow=True)
    if not seeds.any():
        assert not labels.any()
        return
    assert labels.all()
    assert labels.max() == seeds.max()
    passes = np.zeros((seeds.size, seeds.size))
    for w, p, q in direct_edges(affinities):
        passes[p, q] = passes[q, p] = w
    np.fill_diagonal(passes, 1)
    for middle in range(seeds.size):
        way = np.minimum(passes[:, middle, None], passes[None, middle, :])
        passes = np.maximum(passes, way)
    names = dict(zip(seeds[seeds > 0].tolist(), labels[seeds > 0].tolist(), strict=True))
    for p in np.flatnonzero(seeds == 0):
        reached = {names[s]: passes[p, seeds.ravel() == s].max() for s in names}
        assert reached[int(labels.flat[p])] == max(reached.values())


def test_objects_keep_their_voxels_when_they_grow():
    rng = np.random.default_rng(0)
    data = ndimage.gaussian_filter(rng.random((3, 20, 30, 30)), (0, 1, 1, 1))
    data = (data - data.min()) / np.ptp(data)
    before = threshold_labels(data, 0.55, min_size=40)
    after = threshold_labels(data, 0.55, min_size=40, grow=True)
    assert before.max() > 3
    assert after.all()
    table = contingency(after, before)
    assert len(table.counts) == len(table.label_ids) == before.max()
    # Every grown object is in one piece.
    assert label_equal(after, connectivity=1).max() == after.max()


@pytest.mark.parametrize("shape", [(40, 50), (12, 20, 25)])
def test_bright_pieces_of_a_mask_are_those_of_scipy(shape):
    mask = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=shape), 1.2) > 0.05
    affinities = image_affinities(mask, neighbourhood(ndim=len(shape)))
    expected, count = ndimage.label(mask)
    sizes = np.bincount(expected.ravel())
    expected[(sizes < 4)[expected]] = 0
    labels = threshold_labels(affinities, 0.5, min_size=4)
    assert count > 5
    np.testing.assert_array_equal(labels.ravel(), partition(expected))


def test_affinities_of_real_neurons_give_them_back(data_dir):
    truth = tifffile.imread(data_dir / "em" / "fib25" / "neurons.tif")[:60, :60, :60]
    affinities = labels_to_affinities(truth, neighbourhood("direct+long-range"))
    pieces = label_equal(truth, connectivity=1, background=0)
    labels = threshold_labels(affinities, 0.5)
    np.testing.assert_array_equal(
        partition(labels[truth > 0]), partition(pieces[truth > 0].astype(np.int64))
    )
    curve = threshold_curve(affinities, truth, [0.5])
    assert curve.voi_merge[0] == 0
    assert curve.objects[0] == labels.max()


def test_a_channel_of_slices_leaves_sections_apart():
    """Offsets within a section only: 2D segmentation of a stack."""
    data = np.ones((2, 4, 5, 6), np.float32)
    labels = threshold_labels(data, 0.5, offsets=[(0, -1, 0), (0, 0, -1)])
    np.testing.assert_array_equal(labels, np.arange(1, 5)[:, None, None] * np.ones((4, 5, 6)))


def test_equal_affinities_are_taken_by_channel_and_then_in_order():
    seeds = np.zeros((2, 3, 3), np.float32)
    seeds[0, 1, 0] = seeds[0, 1, 2] = 1
    labels = threshold_labels(seeds, 0.5, min_size=2, grow=True)
    # All left is equal: the edges along y come first, then those along x from the left.
    assert labels.tolist() == [[1, 1, 2], [1, 1, 2], [1, 1, 2]]


def test_the_same_input_gives_the_same_labels():
    affinities = random_affinities(((3, 4, 5), 0, 3, False, 0))
    first, again = (threshold_labels(affinities, 0.5, min_size=3, grow=True) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", [np.float16, np.float64, ">f4", bool, np.uint8])
def test_arrays_of_any_type_and_layout_are_taken(kind):
    values = np.random.default_rng(0).integers(0, 2, (2, 8, 9))
    expected = threshold_labels(values.astype(np.float32), 0.5)
    data = np.asfortranarray(values.astype(kind))
    data.flags.writeable = False
    np.testing.assert_array_equal(threshold_labels(data, 0.5), expected)
    np.testing.assert_array_equal(threshold_labels(values.tolist(), 0.5), expected)


def test_what_lies_outside_the_volume_or_the_mask_is_not_looked_at():
    data = np.full((2, 3, 4), 0.9, np.float32)
    data[0, 0] = data[1, :, 0] = np.nan
    assert threshold_labels(data, 0.5).max() == 1
    mask = np.ones(data.shape, bool)
    mask[0, 2], data[0, 2] = False, 7
    affinities = Affinities(data=data, offsets=((-1, 0), (0, -1)), spacing=(1, 1), mask=mask)
    assert threshold_labels(affinities, 0.5).tolist() == [[1] * 4, [1] * 4, [2] * 4]


def test_unknown_edges_do_not_hand_on():
    data = np.array([[[0, 1, 0.2, 0.2]]], np.float32)
    mask = np.array([[[True, True, True, False]]])
    affinities = Affinities(data=data, offsets=((0, -1),), spacing=(1, 1), mask=mask)
    assert threshold_labels(affinities, 0.5, min_size=2, grow=True).tolist() == [[1, 1, 1, 0]]


def test_nothing_large_enough_leaves_no_object():
    data = np.full((2, 3, 4), 0.4)
    for grow in (False, True):
        assert not threshold_labels(data, 0.5, min_size=2, grow=grow).any()
        assert not threshold_labels(data, 0.1, min_size=13, grow=grow).any()


# The curve


@settings(deadline=None, max_examples=60)
@given(
    CASES,
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1 / 3, 0.5, 0.7, 0.9, 1.0]), min_size=1),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from([0, 1, None]),
)
def test_the_curve_has_the_scores_of_each_threshold_alone(case, thresholds, size, grow, ignore):
    affinities = random_affinities(case)
    truth = np.random.default_rng(case[-1]).integers(0, 4, affinities.shape)
    truth.flat[0] = 3
    options = {"min_size": size, "grow": grow}
    curve = threshold_curve(affinities, truth, thresholds, ignore=ignore, **options)
    assert curve.thresholds.tolist() == thresholds
    assert len(curve) == len(thresholds)
    for i, threshold in enumerate(thresholds):
        labels = threshold_labels(affinities, threshold, **options)
        table = contingency(labels, truth, ignore=ignore)
        assert (curve.voi_split[i], curve.voi_merge[i]) == pytest.approx(
            tuple(voi(table)), abs=1e-12
        )
        assert curve.adapted_rand_error[i] == adapted_rand(table).error
        assert curve.rand_index[i] == rand_index(table)
        assert curve.objects[i] == labels.max()


def test_lower_thresholds_split_less_and_merge_more():
    rng = np.random.default_rng(0)
    truth = ndimage.zoom(rng.permutation(27).reshape(3, 3, 3) + 1, 6, order=0)
    clean = labels_to_affinities(truth, neighbourhood())
    data = np.clip(0.15 + 0.7 * clean.data + rng.normal(0, 0.15, clean.data.shape), 0, 1)
    thresholds = np.linspace(0, 1, 21)
    curve = threshold_curve(data, truth, thresholds)
    assert (np.diff(curve.voi_split) >= -1e-12).all()
    assert (np.diff(curve.voi_merge) <= 1e-12).all()
    assert (np.diff(curve.objects) >= 0).all()
    assert curve.objects[0] < 27 < curve.objects[-1] == truth.size
    best = curve.best()
    assert best.voi == curve.voi.min() < curve.voi[[0, -1]].min()
    assert best.adapted_rand_error < 0.2
    # Without holes there is less to lose.
    grown = threshold_curve(data, truth, thresholds, min_size=20, grow=True)
    assert grown.best().voi < best.voi


def test_the_best_point_is_that_of_the_score_asked_for():
    truth = np.array([[1, 1, 1, 2, 2, 2]])
    data = np.array([[[0, 0.9, 0.6, 0.3, 0.6, 0.9]]])
    curve = threshold_curve(data, truth, [0.2, 0.8, 0.4, 0.5], offsets=[(0, -1)])
    assert curve.objects.tolist() == [1, 4, 2, 2]
    for by in ("voi", "adapted_rand_error", "rand_index"):
        # 0.5 is as good as 0.4, which comes first.
        assert curve.best(by) == curve[2] == (0.4, 0, 0, 0, 1, 2)
    assert curve.best("voi_split").threshold == 0.2
    assert curve.best("voi_merge").threshold == 0.8
    with pytest.raises(InputError, match="by is 'iou'; choose one of voi, voi_split"):
        curve.best("iou")


# Affinities from intensities


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.uint64])
def test_an_edge_has_the_intensity_of_its_darker_voxel(kind):
    image = np.random.default_rng(0).integers(3, 90, (4, 5, 6)).astype(kind)
    offsets = ((-1, 0, 0), (0, 0, 1), (0, 3, -2))
    affinities = image_affinities(image, offsets, spacing=[5, 1, 1])
    assert affinities.spacing == (5, 1, 1)
    assert affinities.data.dtype == np.float32
    low, high = image.astype(float).min(), image.astype(float).max()
    for k, p in itertools.product(range(3), np.ndindex(image.shape)):
        q = tuple(np.add(p, offsets[k]))
        expected = 0.0
        if all(0 <= v < n for v, n in zip(q, image.shape, strict=True)):
            expected = (min(float(image[p]), float(image[q])) - low) / (high - low)
        assert affinities.data[k][p] == pytest.approx(expected, abs=1e-7)


def test_limits_make_thresholds_mean_the_same_in_every_image():
    offsets = [(0, -1)]
    one, two = (
        image_affinities(np.array([image]), offsets, limits=(50, 250)).data
        for image in ([50, 150, 200], [100, 150, 255])
    )
    assert one.ravel().tolist() == [0, 0, 0.5]
    assert two.ravel().tolist() == [0, 0.25, 0.5]
    flat = image_affinities(np.full((2, 3), 250), offsets, limits=(50, 250))
    assert flat.data[:, :, 1:].min() == 1


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.full((3, 4), 7), {}, "image is 7 everywhere"),
        (np.array([[1, np.nan]]), {}, "NaN or infinity"),
        (np.array([[1, np.inf]]), {"limits": (0, 1)}, "NaN or infinity"),
        (np.ones((2, 3)), {"limits": (1, 1)}, "the smaller first"),
        (np.ones((2, 3)), {"limits": (0, np.nan)}, "the smaller first"),
        (np.ones(3), {}, r"shape \(3,\); give numbers of shape"),
        (np.ones((2, 3), complex), {}, "type complex128"),
        (np.ones((0, 3)), {}, r"shape \(0, 3\)"),
        (np.eye(3), {"spacing": [1, -1]}, "spacing"),
        (np.zeros((2, 3, 4)), {}, r"offset \(0, -1\) has 2 numbers"),
    ],
)
def test_images_that_have_no_affinities_are_refused(image, options, message):
    with pytest.raises(InputError, match=message):
        image_affinities(image, [(0, -1)], **options)


# Bad input


@pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan, np.inf, None, "high"])
def test_thresholds_outside_0_to_1_are_refused(threshold):
    with pytest.raises(InputError, match="[tT]hreshold is .* from 0 to 1"):
        threshold_labels(np.ones((2, 3, 4)), threshold)
    with pytest.raises(InputError, match="[tT]hreshold is .* from 0 to 1"):
        threshold_curve(np.ones((2, 3, 4)), np.ones((3, 4), int), [0.5, threshold])


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (np.full((2, 3, 4), np.nan), {}, "hold NaN"),
        (np.full((2, 3, 4), 1.5), {}, "range from 1.5 to 1.5; they need 0 to 1"),
        (np.full((2, 3, 4), -1), {}, "range from -1"),
        (np.ones((3, 4, 5)), {}, r"shape \(3, 4, 5\); without offsets they need \(2, y, x\)"),
        (np.ones(5), {}, "without offsets they need"),
        (np.ones((2, 4)), {"offsets": [(-1,), (1,)]}, r"\(2, 4\)"),
        (np.ones((1, 4, 5)), {"offsets": [(0, -2)]}, "no direct offset"),
        (np.ones((1, 4, 5)), {"offsets": [(-1, -1)]}, "no direct offset"),
        (np.ones((2, 4, 5)), {"offsets": [(0, -1)]}, "2 channels of affinities but 1 offsets"),
        (np.ones((2, 4, 5), complex), {}, "type complex128"),
        (np.ones((2, 4, 5)), {"min_size": -1}, "min_size is -1"),
        (np.ones((2, 4, 5)), {"min_size": 2.5}, "min_size is 2.5; give a whole number"),
    ],
)
def test_affinities_and_options_that_do_not_fit_are_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        threshold_labels(data, 0.5, **options)
    with pytest.raises(InputError, match=message):
        threshold_curve(data, np.ones(data.shape[1:], int), [0.5], **options)


def test_offsets_are_given_once():
    affinities = labels_to_affinities(np.ones((3, 4), int), [(0, -1)])
    with pytest.raises(InputError, match="offsets are given twice"):
        threshold_labels(affinities, 0.5, offsets=[(0, -1)])


def test_curves_need_thresholds_and_a_truth():
    data = np.ones((2, 3, 4))
    with pytest.raises(InputError, match="There are no thresholds"):
        threshold_curve(data, np.ones((3, 4), int), [])
    with pytest.raises(InputError, match="all 12 are left out"):
        threshold_curve(data, np.zeros((3, 4), int), [0.5])
    with pytest.raises(InputError, match=r"shape \(3, 4\) but the truth has \(4, 3\)"):
        threshold_curve(data, np.ones((4, 3), int), [0.5])
