"""From affinities to a hierarchy: which fragments, which linkage, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.measure import label

from napari_implicitseg.affinities.ops import Affinities, labels_to_affinities, neighbourhood
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.hierarchy.building import build_hierarchy, has_membranes
from napari_implicitseg.hierarchy.fragments import make_fragments
from napari_implicitseg.hierarchy.linkages import agglomerate
from napari_implicitseg.hierarchy.region_graph import region_graph

from .fragment_cases import METHODS, plain
from .hierarchy_cases import LINKAGES


def smooth(shape=(8, 20, 22), seed=0, width=2.0):
    """Affinities of a smooth random volume, 0 to 1."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), width)
    values = (field - field.min()) / np.ptp(field)
    return plain(np.stack([values] * len(shape)))


def cells(thick):
    """Two cells with a membrane of some voxels, or with none, between them."""
    data = np.ones((2, 20, 21), np.float32)
    if thick:
        data[:, :, 8:13] = 0
    else:
        data[1, :, 10] = 0
    return plain(data)


@pytest.mark.parametrize("method", METHODS)
def test_fragments_are_those_of_the_method(method):
    affinities = smooth()
    hierarchy = build_hierarchy(affinities, fragments=method, min_size=5)
    expected = make_fragments(affinities, method=method, min_size=5)
    np.testing.assert_array_equal(hierarchy.fragments, expected)
    assert hierarchy.affinities is affinities
    assert hierarchy.graph.nodes == hierarchy.size == expected.max()


def test_small_basins_of_volumes_are_merged_unless_nothing_joins_them():
    rng = np.random.default_rng(0)
    data = rng.uniform(0.5, 1, (3, 33, 33, 33)).astype(np.float32)
    # A voxel that nothing joins to others.
    data[:, 5, 6, 7] = data[0, 6, 6, 7] = data[1, 5, 7, 7] = data[2, 5, 6, 8] = 0
    found = build_hierarchy(plain(data), fragments="watershed").fragments
    sizes = np.bincount(found.ravel())[1:]
    assert sorted(sizes)[:2] == [1, sizes[sizes > 1].min()]
    assert sizes[sizes > 1].min() >= 25
    assert (found == found[5, 6, 7]).sum() == 1
    every = build_hierarchy(plain(data), fragments="watershed", min_size=0)
    assert every.size > 5 * len(sizes)
    few = build_hierarchy(plain(data[:, :30, :30, :30]), fragments="watershed")
    assert np.bincount(few.fragments.ravel())[1:].min() < 25


def test_auto_looks_for_membranes():
    assert has_membranes(cells(thick=True))
    assert not has_membranes(cells(thick=False))
    for thick, method in ((True, "distance"), (False, "watershed")):
        found = build_hierarchy(cells(thick=thick)).fragments
        np.testing.assert_array_equal(found, make_fragments(cells(thick=thick), method=method))
    assert not has_membranes(plain(np.ones((2, 4, 5))))


def test_what_no_edge_knows_shows_no_membrane():
    data = np.ones((2, 20, 21), np.float32)
    data[:, :, 8:13] = np.nan
    masked = Affinities(
        data=data, offsets=((-1, 0), (0, -1)), spacing=(1, 1), mask=np.isfinite(data)
    )
    assert not has_membranes(masked)
    assert build_hierarchy(masked, linkage="ward").size >= 1


def test_arrays_are_affinities_of_direct_offsets():
    affinities = smooth()
    expected = build_hierarchy(affinities).cut(0.5)
    np.testing.assert_array_equal(build_hierarchy(affinities.data).cut(0.5), expected)
    np.testing.assert_array_equal(
        build_hierarchy(affinities.data, offsets=affinities.offsets).cut(0.5), expected
    )


@pytest.mark.parametrize("linkage", LINKAGES)
def test_every_linkage_makes_the_same_each_time(linkage):
    affinities = smooth()
    one, two = (build_hierarchy(affinities, linkage=linkage, fragments="watershed") for _ in "ab")
    assert one.size > 10
    np.testing.assert_array_equal(one.parents, two.parents)
    np.testing.assert_array_equal(one.altitudes, two.altitudes)
    assert one.linkage == linkage
    assert one.by_affinity == (linkage in ("single", "mean", "quantile"))
    assert 1 < one.cut_into(5).max() <= 5


def test_the_quantile_is_passed_on():
    affinities = smooth()
    hierarchy = build_hierarchy(affinities, linkage="quantile", quantile=0.2, fragments="watershed")
    graph = region_graph(affinities, hierarchy.fragments, bins=256)
    _, altitudes = agglomerate(graph, "quantile", quantile=0.2)
    np.testing.assert_array_equal(hierarchy.altitudes, altitudes)


@pytest.mark.parametrize(
    "kind", [np.uint8, np.int32, np.uint64, ">i2", np.bool_], ids=lambda k: np.dtype(k).name
)
def test_fragments_of_ones_own_are_numbered(kind):
    own = np.array([[0, 1, 1], [1, 0, 0]]) if kind == np.bool_ else [[7, 7, 3], [0, 9, 3]]
    hierarchy = build_hierarchy(plain(np.ones((2, 2, 3))), fragments=np.array(own, kind))
    expected = [[0, 1, 1], [1, 0, 0]] if kind == np.bool_ else [[2, 2, 1], [0, 3, 1]]
    assert hierarchy.fragments.tolist() == expected


def test_fragments_of_ones_own_may_have_any_ids():
    own = np.array([[2**63 + 5, 2**40], [5, 5]], np.uint64)
    affinities = plain(np.ones((2, 2, 2)))
    assert build_hierarchy(affinities, fragments=own).fragments.tolist() == [[3, 2], [1, 1]]
    own[0, 0] = 0
    assert build_hierarchy(affinities, fragments=own).fragments.tolist() == [[0, 2], [1, 1]]


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        ("voxel", "fragments is 'voxel'; choose one of auto, watershed"),
        (np.zeros((2, 3), int), "0 everywhere; give at least one"),
        (np.ones((2, 2), int), r"int64 of shape \(2, 2\); give whole numbers of shape \(2, 3\)"),
        (np.ones((2, 3)), "float64 of shape"),
        (np.full((2, 3), -1), "hold -1; ids are not negative"),
        (None, "object of shape"),
    ],
)
def test_fragments_that_do_not_fit_are_refused(fragments, message):
    with pytest.raises(InputError, match=message):
        build_hierarchy(plain(np.ones((2, 2, 3))), fragments=fragments)


@pytest.mark.parametrize("fragments", ["voxels", np.ones((2, 3), int)])
def test_fragments_that_are_given_are_not_merged(fragments):
    with pytest.raises(InputError, match="min_size is 3, but the fragments are given"):
        build_hierarchy(plain(np.ones((2, 2, 3))), fragments=fragments, min_size=3)


def test_voxels_are_for_small_volumes():
    large = Affinities(
        data=np.broadcast_to(np.float32(1), (1, 161, 160, 160)),
        offsets=((0, 0, -1),),
        spacing=(1, 1, 1),
    )
    with pytest.raises(InputError, match="4121600 voxels.*takes 1 to 4096000"):
        build_hierarchy(large, fragments="voxels")


def test_a_volume_without_voxels_is_refused():
    for fragments in ("auto", "voxels", "watershed", np.zeros((0, 3), int)):
        with pytest.raises(InputError):
            build_hierarchy(plain(np.ones((2, 0, 3))), fragments=fragments)


@pytest.mark.parametrize("linkage", ["mean", "single", "quantile"])
def test_affinities_of_real_neurons_give_them_back(data_dir, linkage):
    truth = tifffile.imread(data_dir / "em" / "fib25" / "neurons.tif")[:50, :50, :50]
    affinities = labels_to_affinities(truth, neighbourhood(ndim=3))
    labels = build_hierarchy(affinities, linkage=linkage).cut(0.5)
    known = truth > 0
    expected = label(truth, connectivity=1, background=0)[known]
    pairs = np.unique(np.stack([labels[known], expected]), axis=1)
    assert pairs.shape[1] == expected.max() == len(np.unique(labels[known]))


# Ward's linkage


def test_ward_goes_by_the_image():
    image = np.array([[0.0, 0.1, 9.0, 5.0, 5.1]])
    affinities = plain(np.full((2, 1, 5), 0.5))
    for given in (image, image[None], np.stack([image, image])):
        hierarchy = build_hierarchy(affinities, linkage="ward", fragments="voxels", image=given)
        assert hierarchy.cut_into(3).tolist() == [[1, 1, 2, 3, 3]]


def test_ward_goes_by_the_known_affinities_without_an_image():
    affinities = smooth((10, 11), width=1.0)
    data = affinities.data.copy()
    data[~affinities.known] = np.nan
    rubbish = plain(data)
    first, second = (
        build_hierarchy(a, linkage="ward", fragments="watershed") for a in (affinities, rubbish)
    )
    np.testing.assert_array_equal(first.altitudes, second.altitudes)
    assert np.isfinite(first.altitudes).all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2)), r"float64 of shape \(2, 2\); give numbers of shape \(1, 3\)"),
        (np.zeros((0, 1, 3)), r"shape \(0, 1, 3\)"),
        (np.array([["a", "b", "c"]]), "give numbers"),
        (np.zeros((1, 3), complex), "complex128"),
        (np.array([[0, np.nan, 1]]), "NaN or infinity; replace them"),
        (np.array([[0, np.inf, 1]]), "NaN or infinity"),
        (5.0, "give numbers of shape"),
    ],
)
def test_images_that_do_not_fit_are_refused(image, message):
    with pytest.raises(InputError, match=message):
        build_hierarchy(plain(np.ones((2, 1, 3))), linkage="ward", fragments="voxels", image=image)


# What is refused, and progress


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"linkage": "median"}, "linkage is 'median'; choose one of single, mean"),
        ({"linkage": None}, "linkage is None"),
        ({"quantile": 2}, "quantile is 2; give a number from 0 to 1"),
        ({"quantile": "half"}, "quantile is 'half'"),
        ({"quantile": np.nan}, "quantile is nan"),
        ({"min_size": -1}, "min_size is -1"),
        ({"min_size": 1.5}, "min_size is 1.5"),
        ({"per_section": "yes"}, "per_section is 'yes'"),
        ({"offsets": [(0, -1), (-1, 0)]}, "offsets are given twice"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        build_hierarchy(plain(np.ones((2, 4, 5))), **options)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((2, 4, 5), np.nan), "NaN"),
        (np.full((2, 4, 5), 3.0), "0 to 1"),
        (np.zeros((4, 5)), "shape"),
        (np.zeros((3, 4, 5)), "without offsets"),
        ("affinities", "type"),
    ],
)
@pytest.mark.parametrize("fragments", ["auto", "voxels"])
def test_affinities_that_are_none_are_refused(data, message, fragments):
    with pytest.raises(InputError, match=message):
        build_hierarchy(data, fragments=fragments)


def test_progress_rises_to_one_and_may_cancel():
    heard = []
    build_hierarchy(smooth(), progress=lambda *said: heard.append(said))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)

    def stop(fraction, message):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        build_hierarchy(smooth(), progress=stop)
