"""The façade: every figure against its definition, any kind of array, and what is refused."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from dask import array as da
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_implicitseg.errors import Cancelled, FileError, InputError
from napari_implicitseg.evaluation import METRICS, Evaluation, evaluate
from napari_implicitseg.matching import IOU_THRESHOLDS
from napari_implicitseg.metrics import contingency, contingency_blocks, cremi_score, rand_index

PAIRS = array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(*[arrays(np.int64, shape, elements=st.integers(0, 5))] * 2)
)


def boxes(seed, shape=(12, 20, 22)):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 9, [-(-n // 4) for n in shape])
    return np.kron(coarse, np.ones((4,) * len(shape), int))[tuple(map(slice, shape))].astype("u2")


@pytest.fixture(scope="module")
def pair():
    truth = boxes(0)
    labels = np.roll(truth, 1, 2)
    labels[6:, :, :9] = boxes(1)[6:, :, :9]
    return labels, truth


# The figures


@settings(deadline=None)
@given(PAIRS, st.sampled_from([None, 0, 2]))
def test_figures_are_what_their_definitions_say(pair, ignore):
    labels, truth = pair
    truth[..., 0] = 1
    found = evaluate(labels, truth, ignore=ignore)
    left_out = () if ignore is None else (ignore,)
    split, merge = variation_of_information(truth, labels, ignore_labels=left_out)
    assert found["voi_split"] == pytest.approx(split, abs=1e-9)
    assert found["voi_merge"] == pytest.approx(merge, abs=1e-9)
    assert found["voi"] == pytest.approx(split + merge, abs=1e-9)
    kept = truth != ignore
    a, b = labels[kept], truth[kept]
    table = contingency(a, b, ignore=None)
    assert found["rand"] == rand_index(table)
    assert found["cremi"] == cremi_score(table)
    assert found["cremi"] == pytest.approx((found["voi"] * found["adapted_rand_error"]) ** 0.5)
    if len(set(a.tolist())) < a.size and len(set(b.tolist())) < b.size:
        error, recall, precision = adapted_rand_error(truth, labels, ignore_labels=left_out)
        assert found["adapted_rand_error"] == pytest.approx(error)
        assert found["adapted_rand_precision"] == pytest.approx(precision)
        assert found["adapted_rand_recall"] == pytest.approx(recall)
    assert found["accuracy"] == pytest.approx((a == b).mean())
    assert found["iou"] == pytest.approx(np.mean(list(found["iou_per_class"].values())))
    assert list(found["matches"]) == list(IOU_THRESHOLDS)
    precisions = [found["matches"][t].average_precision for t in IOU_THRESHOLDS]
    assert found["ap"] == pytest.approx(np.mean(precisions))
    assert (found["ap_50"], found["ap_75"]) == (precisions[0], precisions[5])
    assert found["objects"] == len(set(a.tolist()) - {0})
    assert found["truth_objects"] == len(set(b.tolist()) - {0})
    assert found["voxels"] == kept.sum()
    assert found["ignored"] == truth.size - kept.sum()


def test_figures_equal_those_of_funlib(pair):
    funlib = pytest.importorskip("funlib.evaluate")
    labels, truth = (side.astype(np.uint64) for side in pair)
    peer = funlib.rand_voi(truth, labels)
    found = evaluate(labels, truth)
    assert found["voi_split"] == pytest.approx(peer["voi_split"])
    assert found["voi_merge"] == pytest.approx(peer["voi_merge"])


def test_a_perfect_segmentation_is_perfect_in_every_figure(pair):
    found = evaluate(pair[1], pair[1], ignore=None)
    for name in ("iou", "accuracy", "rand", "ap", "ap_50", "ap_75"):
        assert found[name] == 1
    for name in ("voi", "voi_split", "voi_merge", "adapted_rand_error", "cremi"):
        assert found[name] == 0
    assert found.worst_splits() == found.worst_merges() == ()


def test_only_the_figures_asked_for_are_there_in_that_order(pair):
    found = evaluate(*pair, metrics=["voi", "iou", "voi"])
    assert list(found) == ["voi", "iou"]
    assert len(found) == 2
    assert evaluate(*pair, metrics="rand").keys() == {"rand"}
    assert tuple(evaluate(*pair)) == METRICS
    assert found["voi"] == evaluate(*pair)["voi"]
    with pytest.raises(KeyError):
        found["rand"]


def test_label_0_may_stand_for_single_voxels(pair):
    labels, truth = pair
    single = labels.astype(np.int64)
    single[labels == 0] = 100 + np.arange((labels == 0).sum())
    found = evaluate(labels, truth, background=0)
    expected = evaluate(single, truth)
    for name in ("adapted_rand_error", "adapted_rand_precision", "adapted_rand_recall"):
        assert found[name] == pytest.approx(expected[name])
        assert found[name] != evaluate(labels, truth)[name]


def test_a_border_is_left_out_of_every_figure(pair):
    labels, truth = pair
    found = evaluate(labels, truth, border=1, spacing=(5, 1, 1))
    table = contingency_blocks(labels, truth, border=1, spacing=(5, 1, 1))
    assert found["voxels"] == table.total < evaluate(labels, truth)["voxels"]
    assert found["ignored"] == table.ignored
    assert found["rand"] == rand_index(table)
    # The segmentation is one voxel off.
    assert found["voi"] < evaluate(labels, truth)["voi"]


def test_mistakes_come_from_the_same_table(pair):
    found = evaluate(*pair)
    assert sum(one.bits for one in found.worst_splits(999)) == pytest.approx(found["voi_split"])
    assert sum(one.bits for one in found.worst_merges(999)) == pytest.approx(found["voi_merge"])
    assert len(found.worst_splits(3)) == 3


# As a result


def test_results_are_read_by_people_and_by_json(pair):
    found = evaluate(*pair)
    text = repr(found)
    assert f"voi_split               {found['voi_split']:.6g}" in text
    assert "Matches(threshold=0.5" in text
    assert "iou of 3" in text
    assert len(text.splitlines()) < 40
    read = json.loads(json.dumps(found.as_dict()))
    assert read["voi"] == found["voi"]
    assert read["matches"]["0.5"]["tp"] == found["matches"][0.5].tp
    assert read["iou_per_class"]["3"] == found["iou_per_class"][3]
    many = np.arange(1, 1001).reshape(10, 100)
    assert len(repr(evaluate(many, many)).splitlines()) < 40


def test_results_go_to_other_processes(pair):
    found = evaluate(*pair)
    copy = pickle.loads(pickle.dumps(found))
    assert isinstance(copy, Evaluation)
    assert copy.as_dict() == found.as_dict()


def test_what_may_be_misread_is_noted():
    lone = evaluate([[1, 1, 1]], [[1, 0, 0]])
    assert lone["iou"] == 1
    assert len(lone.notes) == 1
    assert "only the label 1" in lone.notes[0]
    assert "2 voxels are left out" in repr(lone)
    assert evaluate([[1, 1, 1]], [[1, 0, 0]], ignore=None).notes == ()
    assert "no segment" in evaluate([[0, 0]], [[1, 2]]).notes[0]
    assert evaluate([[1, 2]], [[1, 2]]).notes == ()


# What is taken


@pytest.mark.parametrize("kind", ["zarr", "dask", "hdf5", "list", "tif", "h5 file", "zarr file"])
@pytest.mark.parametrize("options", [{}, {"border": 1.5, "ignore": None}])
def test_any_kind_of_volume_gives_the_same_figures(pair, tmp_path, kind, options):
    expected = evaluate(*pair, **options)
    labels, truth = pair
    if kind == "zarr":
        labels = zarr.array(labels, chunks=(5, 7, 9))
    elif kind == "dask":
        truth = da.from_array(truth, chunks=(4, 9, 22))
    elif kind == "hdf5":
        labels = h5py.File.in_memory().create_dataset("x", data=labels, chunks=(2, 4, 8))
    elif kind == "list":
        labels = labels.tolist()
    elif kind == "tif":
        labels = tmp_path / "labels.tif"
        tifffile.imwrite(labels, pair[0], photometric="minisblack")
    elif kind == "h5 file":
        truth = str(tmp_path / "truth.h5")
        with h5py.File(truth, "w") as file:
            file["neurons"] = pair[1]
    else:
        labels = tmp_path / "labels.zarr"
        zarr.save_array(labels, pair[0])
    assert evaluate(labels, truth, **options).as_dict() == expected.as_dict()


def test_the_border_is_in_the_unit_of_the_file(pair, tmp_path):
    path = tmp_path / "truth.h5"
    with h5py.File(path, "w") as file:
        file["neurons"] = pair[1]
        file["neurons"].attrs["resolution"] = (40.0, 4.0, 4.0)
    found = evaluate(pair[0], path, border=6)
    assert found["voxels"] == evaluate(*pair, border=1.5)["voxels"]
    given = evaluate(pair[0], path, border=1, spacing=(1, 1, 1))
    assert 0 < given["ignored"] < found["ignored"]


def test_progress_is_heard_and_may_cancel(pair):
    heard = []
    evaluate(*pair, progress=lambda f, m: heard.append((f, m)))
    assert heard == [(0.0, "Comparing block 1 of 1")]

    def stop(fraction, message):
        raise Cancelled

    with pytest.raises(Cancelled):
        evaluate(*pair, progress=stop)


@pytest.mark.parametrize("border", [None, 2])
def test_memory_does_not_grow_with_the_volume(border):
    """Volumes of many blocks that take no memory themselves: every section is the same."""
    section = boxes(0, (256, 512))
    peaks = []
    for depth in (64, 512):
        volume = np.broadcast_to(section, (depth, 256, 512))
        tracemalloc.start()
        found = evaluate(np.flip(volume, 2), volume, border=border)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found["voxels"] + found["ignored"] == volume.size
    assert peaks[1] < 1.1 * peaks[0]


# What is refused


def test_unknown_figures_are_refused_with_the_known_ones(pair):
    for wrong in ("jaccard", ["voi", "jaccard"]):
        with pytest.raises(InputError, match="no figure 'jaccard'; known are voi_split, .*ignored"):
            evaluate(*pair, metrics=wrong)
    for wrong in ([], None, 3):
        with pytest.raises(InputError, match="give 'all', or some of voi_split"):
            evaluate(*pair, metrics=wrong)
    with pytest.raises(InputError, match="no figure 3"):
        evaluate(*pair, metrics=[3])


def test_volumes_that_do_not_fit_are_refused(pair):
    labels, truth = pair
    with pytest.raises(InputError, match=r"labels have shape .* but the truth has"):
        evaluate(labels[1:], truth)
    with pytest.raises(InputError, match="labels are of type float64; give integers"):
        evaluate(labels * np.nan, truth)
    with pytest.raises(InputError, match="truth are of type float32"):
        evaluate(labels, truth.astype(np.float32))
    with pytest.raises(InputError, match="truth are a masked array; fill it"):
        evaluate(labels, np.ma.masked_equal(truth, 3))
    with pytest.raises(InputError, match="labels are of type object"):
        evaluate(None, truth)
    with pytest.raises(InputError, match="labels are lists of different lengths"):
        evaluate([[1, 2], [3]], truth)


def test_arrays_of_other_libraries_are_refused(pair):
    import torch

    with pytest.raises(InputError, match="labels are of type torch.int64; give integers of NumPy"):
        evaluate(torch.ones(3, dtype=torch.int64), [1, 1, 1])


def test_masks_are_one_object():
    found = evaluate(np.array([True, False, True]), np.array([True, True, False]), ignore=None)
    assert found["iou_per_class"] == {0: 0, 1: pytest.approx(1 / 3)}


def test_negative_ids_are_refused_unless_they_are_ignored():
    with pytest.raises(InputError, match="labels hold -2; ids are 0 and up: set what is no"):
        evaluate([[1, -2]], [[1, 1]])
    with pytest.raises(InputError, match="truth hold -1; .* leave that label out by ignore"):
        evaluate([[1, 2]], [[1, -1]])
    assert evaluate([[1, 2]], [[1, -1]], ignore=-1)["voxels"] == 1


def test_a_truth_without_labels_is_refused(pair):
    labels, truth = pair
    with pytest.raises(InputError, match="all 5280 are left out.*Give a truth with labels"):
        evaluate(labels, truth * 0)
    with pytest.raises(InputError, match="within border=99 of another. Give a smaller border"):
        evaluate(labels, truth, border=99)
    with pytest.raises(InputError, match="arrays that are not empty"):
        evaluate(np.ones((0, 3), int), np.ones((0, 3), int))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore": "0"}, "ignore is '0'"),
        ({"ignore": 0.5}, "ignore is 0.5"),
        ({"background": "0"}, "background is '0'; give a label"),
        ({"border": -1}, "border is -1"),
        ({"spacing": (1, 1)}, "give 3 positive numbers"),
        ({"border": 1, "spacing": (1, 1, 0)}, "give 3 positive numbers"),
    ],
)
def test_options_out_of_range_are_refused(pair, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(*pair, **options)


def test_files_that_cannot_be_read_are_named(pair, tmp_path):
    with pytest.raises(FileError, match=r"truth file .*nothing.tif' does not exist"):
        evaluate(pair[0], tmp_path / "nothing.tif")
    tifffile.imwrite(tmp_path / "grey.tif", np.ones((12, 20, 22), np.float32) / 3)
    with pytest.raises(FileError, match="grey.tif"):
        evaluate(tmp_path / "grey.tif", pair[1])
