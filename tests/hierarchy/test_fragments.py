"""Fragments: watershed cuts against what defines them and against higra, seeds, small ones."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import (
    Affinities,
    labels_to_affinities,
    neighbourhood,
)
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.hierarchy.components import image_affinities, threshold_labels
from napari_implicitseg.hierarchy.fragments import make_fragments
from napari_implicitseg.metrics import contingency, voi

from .fragment_cases import (
    CASES,
    METHODS,
    direct_edges,
    distinct_affinities,
    pieces,
    plain,
    random_affinities,
)


def assert_numbered_by_first_voxels(labels):
    assert labels.dtype == np.uint32
    _, first = np.unique(labels, return_index=True)
    np.testing.assert_array_equal(labels.ravel()[np.sort(first)], 1 + np.arange(len(first)))


# What holds for all


@settings(deadline=None, max_examples=150)
@given(CASES, st.sampled_from(METHODS), st.integers(0, 9))
def test_fragments_are_connected_and_numbered_by_first_voxels(case, method, size):
    affinities = random_affinities(case)
    labels = make_fragments(affinities, method=method, min_size=size)
    assert labels.shape == affinities.shape
    assert_numbered_by_first_voxels(labels)
    _, sources, targets = direct_edges(affinities)
    flat = labels.ravel()
    assert pieces(affinities, flat[sources] == flat[targets])[0] == labels.max()


@settings(deadline=None, max_examples=60)
@given(CASES, st.sampled_from(METHODS), st.integers(2, 9))
def test_small_fragments_are_merged_as_long_as_there_is_a_neighbour(case, method, least):
    affinities = random_affinities(case)
    before = make_fragments(affinities, method=method).ravel()
    after = make_fragments(affinities, method=method, min_size=least).ravel()
    # Nothing is cut.
    assert len(np.unique(np.stack([before, after]), axis=1).T) == before.max()
    _, sources, targets = direct_edges(affinities)
    sizes = np.bincount(after)
    apart = after[sources] != after[targets]
    assert (sizes[after[sources[apart]]] >= least).all()
    assert (sizes[after[targets[apart]]] >= least).all()


@settings(deadline=None, max_examples=60)
@given(CASES, st.integers(2, 9), st.sampled_from([0.0, 0.4, 0.75]))
def test_small_fragments_go_over_their_best_edges_first_as_in_a_slow_reference(case, least, low):
    affinities = random_affinities(case)
    labels = make_fragments(affinities).ravel()
    edges = {}
    for w, p, q in zip(*(column.tolist() for column in direct_edges(affinities)), strict=True):
        pair = tuple(sorted((int(labels[p]), int(labels[q]))))
        if pair[0] != pair[1]:
            edges[pair] = max(w, edges.get(pair, 0.0))
    owner = {a: {a} for a in range(1, labels.max() + 1)}
    sizes = np.bincount(labels)
    for a, b in sorted(edges, key=lambda pair: (-edges[pair], pair)):
        small = min(sizes[list(owner[a])].sum(), sizes[list(owner[b])].sum()) < least
        if owner[a] is not owner[b] and small and edges[a, b] >= np.float32(low):
            owner[a] |= owner[b]
            for member in owner[b]:
                owner[member] = owner[a]
    joined = np.array([0, *(min(owner[a]) for a in sorted(owner))])[labels]
    expected = np.unique(joined, return_inverse=True)[1] + 1
    found = make_fragments(affinities, min_size=least, min_affinity=low)
    np.testing.assert_array_equal(found.ravel(), expected.ravel())


@pytest.mark.parametrize("values", [3, 2**20])
@pytest.mark.parametrize("least", [5, 60])
def test_parts_that_are_gone_through_at_once_make_no_difference(monkeypatch, values, least):
    rng = np.random.default_rng(values)
    data = (rng.integers(0, values + 1, (3, 24, 20, 22)) / values).astype(np.float32)
    affinities = Affinities(data=data, offsets=-np.eye(3, dtype=int), spacing=(1, 1, 1))
    monkeypatch.setattr("napari_implicitseg.hierarchy._small._PART", data.size)
    whole = make_fragments(affinities, min_size=least)
    monkeypatch.setattr("napari_implicitseg.hierarchy._small._PART", 8)
    for parts in (2, 5):
        monkeypatch.setattr("os.cpu_count", lambda parts=parts: parts)
        found = make_fragments(affinities, min_size=least)
        np.testing.assert_array_equal(found, whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_is_the_same_and_inputs_stay(method):
    affinities = random_affinities(((9, 10, 8), 0, 3, True, 1))
    data, mask = affinities.data.copy(), affinities.mask.copy()
    labels = make_fragments(affinities, method=method, min_size=3)
    np.testing.assert_array_equal(labels, make_fragments(affinities, method=method, min_size=3))
    np.testing.assert_array_equal(affinities.data, data)
    np.testing.assert_array_equal(affinities.mask, mask)


@pytest.mark.parametrize("method", METHODS)
def test_views_that_are_not_contiguous_give_the_same(method):
    base = np.random.default_rng(0).random((3, 6, 14, 9)).astype(np.float32)
    view = base[:, :, ::2, ::-1]
    np.testing.assert_array_equal(
        make_fragments(plain(view), method=method),
        make_fragments(plain(view.copy()), method=method),
    )


@pytest.mark.parametrize("method", METHODS)
def test_progress_rises_to_one_and_may_cancel(method):
    heard = []
    affinities = plain(np.random.default_rng(0).random((3, 4, 5, 6)))
    arguments = {"method": method, "min_size": 3, "per_section": True}
    make_fragments(affinities, progress=lambda *said: heard.append(said), **arguments)
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1

    def stop(fraction, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        make_fragments(affinities, progress=stop, **arguments)


# Simple affinities


@pytest.mark.parametrize("value", [1e-45, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(4, 5), (1, 7), (1, 1), (3, 4, 5), (1, 1, 6)])
def test_constant_affinities_make_one_fragment(shape, value):
    affinities = plain(np.full((len(shape), *shape), value))
    for method in METHODS[: 2 if value else 3]:
        assert (make_fragments(affinities, method=method) == 1).all()


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("method", METHODS)
def test_affinities_of_zero_join_nothing(method, zero):
    affinities = plain(np.full((3, 2, 3, 4), zero))
    expected = 1 + np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(make_fragments(affinities, method=method), expected)
    # If all have to be of some size, they join as the last ones.
    labels = make_fragments(affinities, method=method, min_size=5)
    assert np.bincount(labels.ravel())[1:].min() >= 5


@pytest.mark.parametrize("method", METHODS)
def test_unknown_edges_join_nothing(method):
    mask = np.ones((2, 5, 6), bool)
    mask[1, :, 3] = False
    affinities = Affinities(
        data=np.ones((2, 5, 6), np.float32), offsets=((-1, 0), (0, -1)), spacing=(1, 1), mask=mask
    )
    labels = make_fragments(affinities, method=method, min_size=100)
    assert (labels == np.array([1, 1, 1, 2, 2, 2])).all()
    mask[:] = False
    labels = make_fragments(affinities, method=method, min_size=100)
    np.testing.assert_array_equal(labels.ravel(), 1 + np.arange(30))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_perfect_affinities_give_the_connected_objects(seed):
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(1, 5, (3, 3, 4)), np.ones((3, 2, 3), int))
    affinities = labels_to_affinities(truth, neighbourhood())
    expected = threshold_labels(affinities, 0.5)
    for method in ("watershed", "higra"):
        np.testing.assert_array_equal(make_fragments(affinities, method=method), expected)


def test_a_large_plateau_takes_no_stack():
    labels = make_fragments(plain(np.full((3, 60, 60, 60), 0.5)))
    assert (labels == 1).all()


# Section by section


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [0, 4])
def test_sections_are_cut_as_if_alone(method, size):
    affinities = distinct_affinities((4, 9, 10), 0, 3)
    options = {"method": method, "min_size": size}
    labels = make_fragments(affinities, per_section=True, **options)
    assert_numbered_by_first_voxels(labels)
    last = 0
    for z, section in enumerate(labels):
        alone = make_fragments(plain(affinities.data[1:, z]), **options)
        np.testing.assert_array_equal(section, alone + last)
        last += int(alone.max())


@pytest.mark.parametrize("method", METHODS)
def test_long_voxels_are_cut_by_sections(method):
    data = distinct_affinities((3, 12, 12), 0, 3).data
    by_section, whole = (
        make_fragments(plain(data), method=method, per_section=choice) for choice in (True, False)
    )
    assert by_section.max() > whole.max()
    for spacing, expected in (((3, 1, 1), whole), ((3.1, 1, 1), by_section), ((1, 4, 4), whole)):
        if method == "distance" and expected is whole and spacing != (1, 1, 1):
            # Distances are others, too.
            continue
        affinities = plain(data, spacing=spacing)
        np.testing.assert_array_equal(make_fragments(affinities, method=method), expected)
    long = plain(data, spacing=(9, 1, 1))
    if method != "distance":
        found = make_fragments(long, method=method, per_section=False)
        np.testing.assert_array_equal(found, whole)


def test_an_image_is_one_section():
    affinities = distinct_affinities((9, 10), 0, 3)
    for method in METHODS:
        one, other = (
            make_fragments(affinities, method=method, per_section=choice) for choice in (True, None)
        )
        np.testing.assert_array_equal(one, other)


# From seeds


def discs():
    """A membrane image of two large discs that touch by a bridge, and their labels."""
    y, x = np.indices((40, 70))
    left, right = ((y - 20) ** 2 + (x - c) ** 2 < 16**2 for c in (20, 50))
    inside = left | right
    return np.where(inside, 0.9, 0.1).astype(np.float32), left, right


def test_bodies_of_one_piece_are_cut_at_their_neck():
    image, left, right = discs()
    affinities = plain(np.stack([image, image]))
    labels = make_fragments(affinities, method="distance", seed_distance=10, min_size=30)
    assert labels[20, 20] != labels[20, 50]
    assert (labels[left & ~right] == labels[20, 20]).mean() > 0.95
    # One piece above the threshold it is.
    whole = threshold_labels(affinities, 0.5)
    assert whole[20, 20] == whole[20, 50]


def test_more_distant_seeds_make_fewer_fragments():
    rng = np.random.default_rng(0)
    affinities = plain(rng.random((3, 20, 20, 20)))
    numbers = [
        int(make_fragments(affinities, method="distance", seed_distance=d).max())
        for d in (1, 2, 4, 8)
    ]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1] >= 1


def test_distances_count_the_size_of_voxels():
    """Two balls, one above the other, in sections that are four voxels thick."""
    z, y, x = np.indices((16, 40, 40))
    balls = [(4 * z - c) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 16**2 for c in (18, 44)]
    data = np.broadcast_to(np.where(balls[0] | balls[1], 0.9, 0.1), (3, 16, 40, 40))
    arguments = {"method": "distance", "seed_distance": 10, "per_section": False}
    labels = make_fragments(plain(data, spacing=(4, 1, 1)), **arguments)
    lower, upper = labels[4, 20, 20], labels[11, 20, 20]
    assert lower != upper
    assert (labels[:7][balls[0][:7]] == lower).mean() > 0.95
    flat = make_fragments(plain(data), **arguments)
    assert flat[4, 20, 20] == flat[11, 20, 20]


def test_a_threshold_leaves_what_is_inside():
    values = np.full((2, 9, 20), 0.6, np.float32)
    values[1, :, 10] = 0.1
    # With 0.5 two bodies are inside; with 0.3 nothing, and the watershed cuts.
    affinities = plain(values)
    assert make_fragments(affinities, method="distance", threshold=0.5).max() == 2
    np.testing.assert_array_equal(
        make_fragments(affinities, method="distance", threshold=0.3), make_fragments(affinities)
    )


def test_a_section_of_membrane_alone_is_cut_by_the_watershed():
    data = distinct_affinities((3, 9, 10), 0, 3).data
    data[1:, 1] *= 0.3
    labels = make_fragments(plain(data), method="distance", per_section=True)
    alone = make_fragments(plain(data[1:, 1]))
    np.testing.assert_array_equal(labels[1], alone + labels[0].max())


def test_fragments_of_real_affinities_are_pure(data_dir):
    folder = data_dir / "em" / "fib25"
    truth = tifffile.imread(folder / "neurons.tif")[:48, :64, :64]
    raw = tifffile.imread(folder / "raw.tif")[:48, :64, :64]
    affinities = image_affinities(raw, neighbourhood(), limits=(60, 200))
    merge = {}
    for method in METHODS:
        labels = make_fragments(affinities, method=method)
        merge[method] = voi(contingency(labels, truth)).merge
    one_object = voi(contingency(np.ones_like(truth), truth)).merge
    assert max(merge.values()) < one_object / 3
    assert merge["watershed"] == pytest.approx(merge["higra"], abs=0.1)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "slic"}, "method is 'slic'; choose one of watershed, higra, distance"),
        ({"min_size": -1}, "min_size is -1; give a number of voxels from 0"),
        ({"min_size": 2.0}, "min_size is 2.0; give a whole number"),
        ({"min_size": True}, "min_size is True; give a whole number"),
        ({"min_size": "5"}, "min_size is '5'; give a whole number"),
        ({"per_section": 1}, "per_section is 1; give True, False or None"),
        ({"threshold": 1.5}, "threshold is 1.5; it needs to be from 0 to 1"),
        ({"threshold": np.nan}, "threshold is nan"),
        ({"min_affinity": 1.5}, "min_affinity is 1.5; it needs to be from 0 to 1"),
        ({"threshold": "high"}, "threshold is 'high'; give a number"),
        ({"seed_distance": 0}, "seed_distance is 0; give a number of voxels from 1"),
        ({"seed_distance": np.nan}, "seed_distance is nan"),
        ({"seed_distance": np.inf}, "seed_distance is inf"),
        ({"seed_distance": None}, "seed_distance is None; give a number"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_fragments(plain(np.zeros((2, 3, 4))), **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "hold NaN; give numbers from 0 to 1"),
        (-0.1, "range from -0.1 to 0; they need 0 to 1"),
        (7, "range from 0 to 7; they need 0 to 1"),
        (np.inf, "range from 0 to inf"),
    ],
)
def test_affinities_out_of_range_are_refused(method, value, message):
    values = np.zeros((2, 3, 4), np.float32)
    values[1, 1, 1] = value
    with pytest.raises(InputError, match=message):
        make_fragments(plain(values), method=method)


@pytest.mark.parametrize("values", [None, np.zeros((2, 3, 4), np.float32), [[[0.5]]], "file.zarr"])
def test_what_is_no_affinities_is_refused(values):
    with pytest.raises(InputError, match="give Affinities, which know their offsets"):
        make_fragments(values)


def test_without_direct_offsets_there_are_no_fragments():
    values = np.zeros((2, 3, 4), np.float32)
    with pytest.raises(InputError, match="no direct offset among"):
        make_fragments(plain(values, offsets=((-2, 0), (1, 1))))
    along_z = plain(np.zeros((1, 3, 4, 5)), offsets=((-1, 0, 0),))
    with pytest.raises(InputError, match="no direct offset inside a section .*per_section=False"):
        make_fragments(along_z, per_section=True)
    assert make_fragments(along_z, per_section=False).max() == 60


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (2, 0, 4)])
def test_volumes_without_voxels_are_refused(shape):
    with pytest.raises(InputError, match="give a volume of 1 to"):
        make_fragments(plain(np.zeros((len(shape), *shape))))
