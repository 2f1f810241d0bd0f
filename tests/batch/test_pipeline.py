"""A job over blocks gives what the whole gives, and goes on where it was interrupted."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from napari_ome_zarr import napari_get_reader
from ome_zarr_models import open_ome_zarr
from scipy import ndimage

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.batch.affinity_store import affinity_store
from napari_implicitseg.hierarchy.segmentation import segment_affinities
from napari_implicitseg.metrics import contingency, voi
from napari_implicitseg.volumes import read_labels
from napari_implicitseg.volumes.affinity_files import read_affinities
from napari_implicitseg.volumes.pyramid import coarsen

from .batch_cases import (
    BLOCKS,
    LONG,
    PREDICTING,
    affinity_file,
    batch_affinities,
    batch_truth,
    batch_volume,
    cells,
    labels_of,
    noisy,
)

truth, affinities, volume = batch_truth, batch_affinities, batch_volume


def difference(one: np.ndarray, other: np.ndarray) -> float:
    found = voi(contingency(one.reshape(-1), other.reshape(-1)))
    return float(found[0] + found[1])


@pytest.mark.parametrize("fragments", ["watershed", "distance"])
@pytest.mark.parametrize("linkage", ["mean", "quantile"])
def test_segmenting_in_blocks_is_segmenting_the_whole(affinities, tmp_path, fragments, linkage):
    whole = segment_affinities(affinities[0], linkage=linkage, fragments=fragments, threshold=0.5)
    options = {"linkage": linkage, "fragments": fragments, "threshold": 0.5}
    config = BatchConfig(**BLOCKS, **options)
    report = run_batch(affinities[1], tmp_path / "out.zarr", config=config)
    assert report.ok
    assert report.blocks == 8
    found = labels_of(tmp_path / "out.zarr")
    assert difference(found, whole) < 0.05
    assert found.min() == 1
    assert report.facts["objects"] == found.max() == len(np.unique(found))


@pytest.mark.parametrize("side", [125, 84])
@pytest.mark.slow
def test_a_real_volume_in_blocks_has_no_seam(data_dir, tmp_path, side):
    source = data_dir / "em" / "fib25" / "raw.tif"
    model = {"model": "fibsem-isotropic", "workers": 0}
    config = BatchConfig(block_shape=(side,), dtype="float16", **model)
    report = run_batch(source, tmp_path / "out.zarr", config=config)
    assert report.blocks == (8 if side == 125 else 27)
    store = affinity_store(tmp_path / "out.zarr")
    whole = segment_affinities(store.read(tuple(slice(0, n) for n in store.shape)))
    found = labels_of(tmp_path / "out.zarr")
    assert difference(found, whole) < 0.005
    for axis in range(3):
        ours, theirs = ends_at_faces(found, axis, side), ends_at_faces(whole, axis, side)
        assert abs(ours - theirs) <= max(1, 0.05 * theirs)


def ends_along(labels: np.ndarray, axis: int) -> list[int]:
    """Where objects begin and end along an axis, but for the ends of the volume."""
    boxes = ndimage.find_objects(labels)
    ends = [end for box in boxes if box for end in (box[axis].start, box[axis].stop)]
    return [end for end in ends if 0 < end < labels.shape[axis]]


def ends_at_faces(labels: np.ndarray, axis: int, side: int) -> int:
    """Count the objects that end exactly at a face of blocks."""
    return sum(end % side == 0 for end in ends_along(labels, axis))


def test_without_a_halo_a_face_is_a_seam(affinities, tmp_path):
    # So that the test above can fail.
    whole = segment_affinities(affinities[0], fragments="distance", threshold=0.5)
    options = {"fragments": "distance", "threshold": 0.5}
    for name, halo in (("none", (0,)), ("some", (12,))):
        config = BatchConfig(**{**BLOCKS, "halo": halo}, **options)
        run_batch(affinities[1], tmp_path / f"{name}.zarr", config=config)
    none, some = (labels_of(tmp_path / f"{n}.zarr") for n in ("none", "some"))
    assert difference(some, whole) < 0.05 < difference(none, whole)


def test_no_more_objects_end_at_faces_than_at_other_planes(tmp_path):
    shape, side = (96, 96, 96), 24
    source = affinity_file(tmp_path, noisy(cells(shape, 3000)))
    shares = {}
    for halo in (0, 12):
        target = tmp_path / f"{halo}.zarr"
        config = BatchConfig(block_shape=(side,), halo=(halo,), workers=0)
        run_batch(source, target, config=config)
        found = labels_of(target)
        # Away from the border of the volume, where objects end for another reason.
        ends = [np.bincount(ends_along(found, axis), minlength=96)[8:-8] for axis in range(3)]
        faces = [counts[side - 8 :: side] for counts in ends]
        elsewhere = np.sum(ends) - np.sum(faces)
        planes = np.size(ends) - np.size(faces)
        shares[halo] = np.mean(faces) / (elsewhere / planes)
    assert 0.95 < shares[12] < 1.05
    assert shares[0] > 1.2


def test_edges_of_long_range_count_across_faces(truth, tmp_path):
    made = noisy(truth, LONG)
    whole = segment_affinities(made, fragments="distance", threshold=0.5)
    config = BatchConfig(**BLOCKS, fragments="distance", threshold=0.5)
    report = run_batch(affinity_file(tmp_path, made), tmp_path / "out.zarr", config=config)
    assert report.ok
    assert difference(labels_of(tmp_path / "out.zarr"), whole) < 0.05


def test_images_are_cut_into_blocks_too(tmp_path):
    made = noisy(cells((64, 70), 25), ((-1, 0), (0, -1)))
    whole = segment_affinities(made, threshold=0.5)
    config = BatchConfig(block_shape=(32, 32), halo=(16,), threshold=0.5, workers=0)
    assert run_batch(affinity_file(tmp_path, made), tmp_path / "out.zarr", config=config).ok
    assert difference(labels_of(tmp_path / "out.zarr"), whole) < 0.05


def test_the_result_is_ome_zarr_where_the_volume_lies(affinities, tmp_path):
    target = tmp_path / "out.zarr"
    run_batch(affinities[1], target, config=BatchConfig(**BLOCKS, name="cells"))
    group = target / "labels" / "cells"
    open_ome_zarr(zarr.open_group(group, mode="r"))
    assert zarr.open_group(target / "labels", mode="r").attrs["ome"]["labels"] == ["cells"]
    grid = read_labels(group).grid(None)
    assert grid.scale == (8, 4, 4)
    assert grid.translate == (0, 100, 0)
    assert grid.units == ("nanometer",) * 3
    data, options, kind = napari_get_reader(str(group))(str(group))[0]
    assert kind == "labels"
    assert tuple(options["scale"]) == (8, 4, 4)
    level = data[0] if isinstance(data, list) else data
    assert (np.asarray(level) == labels_of(target, "cells")).all()


def test_coarser_levels_are_those_of_the_whole(tmp_path):
    truth = cells((6, 1100, 40), 30)
    source = affinity_file(tmp_path, noisy(truth))
    config = BatchConfig(block_shape=(6, 300, 40), halo=(4,), workers=0)
    report = run_batch(source, tmp_path / "out.zarr", config=config)
    assert [s.name for s in report.stages if "coarsen" in s.name] == ["coarsen:1", "coarsen:2"]
    group = zarr.open_group(tmp_path / "out.zarr" / "labels" / "neurons", mode="r")
    fine = np.asarray(group["0"])
    for level in ("1", "2"):
        coarse = np.asarray(group[level])
        factors = [round(a / b) for a, b in zip(fine.shape, coarse.shape, strict=True)]
        assert (coarsen(fine, factors, coarse.shape, method="mode") == coarse).all()
        fine = coarse


@pytest.mark.parametrize(("dtype", "most"), [("uint8", 0.5 / 255), ("float16", 5e-4)])
def test_predicting_in_blocks_is_predicting_the_whole(volume, tmp_path, dtype, most):
    target = tmp_path / "a.zarr"
    config = BatchConfig(job="predict", dtype=dtype, **PREDICTING)
    report = run_batch(volume[0], target, config=config)
    assert report.ok
    open_ome_zarr(zarr.open_group(target, mode="r"))
    store = affinity_store(target)
    found = store.read(tuple(slice(0, n) for n in store.shape))
    assert store.offsets == volume[1].offsets
    assert zarr.open_array(target / "0", mode="r").dtype == dtype
    assert np.abs(found.data - volume[1].data).max() <= most + 1e-5
    again = read_affinities(target)
    np.testing.assert_allclose(again.data, found.data, atol=1e-6)
    assert again.offsets == found.offsets


def test_before_it_is_stored_a_prediction_is_that_of_the_whole(volume, tmp_path, monkeypatch):
    from napari_implicitseg.batch import neuron_stages as stages

    kept = {}

    def keep(job, place, predicted=stages.predicted):
        kept[place] = job.grid.core(place), predicted(job, place)
        return kept[place][1]

    monkeypatch.setattr(stages, "predicted", keep)
    run_batch(volume[0], tmp_path / "a.zarr", config=BatchConfig(job="predict", **PREDICTING))
    assert len(kept) == 8
    for core, found in kept.values():
        assert np.abs(found - volume[1].data[(slice(None), *core)]).max() < 1e-5


def test_a_volume_is_predicted_and_segmented_in_one_job(volume, tmp_path):
    target = tmp_path / "n.zarr"
    report = run_batch(volume[0], target, config=BatchConfig(**PREDICTING))
    whole = segment_affinities(volume[1], fragments="distance")
    assert report.ok
    assert difference(labels_of(target), whole) < 0.05
    again = tmp_path / "again.zarr"
    run_batch(target, again, config=BatchConfig(block_shape=(24, 24, 32), workers=0))
    assert (labels_of(again) == labels_of(target)).all()
