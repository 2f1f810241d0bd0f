"""Repairs and scribbles block by block: what the whole gives, and every promise is kept."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile
import zarr

from napari_implicitseg import (
    BatchConfig,
    FitConfig,
    certify,
    fit_scribbles,
    project_labels,
    run_batch,
)
from napari_implicitseg.batch.estimate import estimate
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import read_labels

from .batch_cases import batch_client, digest, killed_until_done, labels_of
from .object_cases import (
    agreement,
    blobs,
    damaged,
    image_of,
    label_file,
    scribbled_file,
    strokes_of,
)

BLOCKS = {"block_shape": (40, 44), "workers": 0}
CENTRES = [(y, x) for y in (20, 40, 60) for x in (18, 44, 70)]

client = batch_client


def repaired(source, target, **options) -> np.ndarray:
    """Repair labels in blocks."""
    report = run_batch(source, target, config=BatchConfig(job="repair", **options))
    assert report.ok, report.failed
    return labels_of(target, "repaired")


def scribbled(source, target, **options) -> np.ndarray:
    """Fit objects to scribbles in blocks."""
    report = run_batch(source, target, config=BatchConfig(job="scribble", **options))
    assert report.ok, report.failed
    return labels_of(target, "objects")


def broken(labels: np.ndarray, kind: str) -> list[int]:
    """Objects that break their promise."""
    ids = np.unique(labels)
    return [int(i) for i in ids[ids != 0] if not certify(labels == i, kind=kind).holds]


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """Cells that touch each other, across all faces of blocks."""
    labels = damaged((90, 100), 20)
    return labels, label_file(tmp_path_factory.mktemp("dense"), labels)


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """Balls at the faces and corners of blocks, with strokes; and the image of them."""
    truth = blobs((80, 88), CENTRES, 9)
    image, strokes = image_of(truth), strokes_of(truth)
    source = scribbled_file(tmp_path_factory.mktemp("balls"), image, strokes)
    return truth, image, strokes, source


@pytest.mark.parametrize(
    ("shape", "least", "usual"),
    [("convex", 0.85, 0.98), ("connected", 0.7, 0.93), ("star", 0.8, 0.93)],
)
def test_repairing_in_blocks_is_repairing_the_whole(dense, tmp_path, shape, least, usual):
    labels, source = dense
    # Gradient steps take long: fewer will do to compare.
    fit = None if shape == "convex" else FitConfig(steps=80)
    found = repaired(source, tmp_path / "out.zarr", shape=shape, fit=fit, **BLOCKS)
    whole = project_labels(labels, shape=shape, config=fit)
    same = agreement(found, whole.labels)
    assert min(same) > least
    assert np.mean(same) > usual
    kept = [c.holds for c in whole.certificates.values()]
    assert len(broken(found, shape)) <= kept.count(False)
    # Nor is what was there forgotten in blocks more than in the whole.
    assert np.mean(agreement(found, labels)) > np.mean(agreement(whole.labels, labels)) - 0.01


def test_an_object_alone_is_repaired_exactly_as_its_surroundings_are(tmp_path):
    labels = blobs((96, 96), [(48, 50), (20, 20)], 12)
    labels[40:48, 50:56] = 0
    source = label_file(tmp_path, labels)
    found = repaired(source, tmp_path / "out.zarr", block_shape=(48, 48), workers=0)
    # Its box and 8 voxels around it.
    where = np.argwhere(labels == 2)
    box = tuple(
        slice(a - 8, b + 9) for a, b in zip(where.min(axis=0), where.max(axis=0), strict=True)
    )
    alone = project_labels(np.where(labels == 2, labels, 0)[box])
    assert ((found[box] == 2) == (alone.labels == 2)).all()
    assert (found == 2).sum() == (alone.labels == 2).sum()


@pytest.mark.parametrize("seed", range(4))
def test_every_convex_promise_holds_however_objects_touch(tmp_path, seed):
    labels = damaged((72, 80), 24, seed=seed + 10)
    source = label_file(tmp_path, labels)
    config = BatchConfig(job="repair", block_shape=(24, 20), workers=0)
    report = run_batch(source, tmp_path / "out.zarr", config=config)
    found = labels_of(tmp_path / "out.zarr", "repaired")
    assert report.ok
    assert broken(found, "convex") == []
    assert report.facts["objects"] == report.facts["certificates"] == 24
    assert report.facts["rounds"] > 1
    assert len(np.unique(found)) == 25


def test_objects_in_three_dimensions_keep_ids_size_and_promise(tmp_path):
    labels = damaged((12, 30, 30), 6).astype(np.uint64) << np.uint64(33)
    source = label_file(tmp_path, labels, (8, 4, 4))
    found = repaired(source, tmp_path / "out.zarr", block_shape=(6, 15, 15), workers=0)
    whole = project_labels((labels >> np.uint64(33)).astype(np.uint32), spacing=(8, 4, 4))
    assert found.dtype == np.uint64
    assert (np.unique(found) == np.unique(labels)).all()
    small = (found >> np.uint64(33)).astype(np.uint32)
    assert np.mean(agreement(small, whole.labels)) > 0.95
    assert broken(small, "convex") == []
    volume = read_labels(tmp_path / "out.zarr" / "labels" / "repaired")
    assert [axis.scale for axis in volume.axes] == [8, 4, 4]
    assert {axis.unit for axis in volume.axes} == {"nanometer"}
    group = zarr.open_group(tmp_path / "out.zarr" / "labels" / "repaired", mode="r")
    assert "image-label" in group.attrs["ome"]


def test_a_stack_is_repaired_slice_by_slice(tmp_path):
    labels = damaged((4, 60, 60), 10)
    source = label_file(tmp_path, labels)
    options = {"block_shape": (2, 30, 30), "workers": 0}
    found = repaired(source, tmp_path / "out.zarr", fit={"per_slice": True}, **options)
    whole = project_labels(labels, config=FitConfig(per_slice=True))
    assert np.mean(agreement(found, whole.labels)) > 0.96
    for part in found:
        assert broken(part, "convex") == []


def test_only_some_objects_are_repaired(dense, tmp_path):
    labels, source = dense
    found = repaired(source, tmp_path / "out.zarr", ids=(3, 7), **BLOCKS)
    whole = project_labels(labels, ids=(3, 7))
    others = ~np.isin(labels, (0, 3, 7))
    assert (found[others] == labels[others]).all()
    assert min(agreement(found, whole.labels)) > 0.95
    with pytest.raises(InputError, match=r"no object 98, 99 in .*labels.zarr.* 20 objects, 1 to"):
        repaired(source, tmp_path / "none.zarr", ids=(3, 98, 99), **BLOCKS)


def test_objects_too_large_are_left_and_named(tmp_path):
    labels = blobs((90, 90), [(30, 30), (75, 75)], 9)
    labels[labels == 2] = 0
    labels[5:60, 5:60] = 2
    labels[20:30, 5:20] = 0
    source = label_file(tmp_path, labels)
    config = BatchConfig(job="repair", most_voxels=3000, block_shape=(45, 45), workers=0)
    report = run_batch(source, tmp_path / "out.zarr", config=config)
    found = labels_of(tmp_path / "out.zarr", "repaired")
    assert ((found == 2) == (labels == 2)).all()
    assert (report.facts["objects"], report.facts["left"]) == (2, 1)
    (warning,) = report.warnings
    assert "1 of 2 objects are too large and left as they are" in warning
    assert "over 3,000: 2 (5,476)" in warning
    assert "--most-voxels" in warning


def test_labels_without_an_object_give_labels_without_one(tmp_path):
    source = label_file(tmp_path, np.zeros((40, 50), np.uint16))
    report = run_batch(source, tmp_path / "out.zarr", config=BatchConfig(job="repair", **BLOCKS))
    assert report.ok
    assert not labels_of(tmp_path / "out.zarr", "repaired").any()
    assert report.facts["objects"] == report.facts["tasks"] == 0


def test_labels_that_are_none_are_refused(tmp_path):
    config = BatchConfig(job="repair", retries=0, **BLOCKS)
    negative = np.zeros((40, 50), np.int32)
    negative[30:34, 10:20] = -3
    tifffile.imwrite(tmp_path / "negative.tif", negative)
    report = run_batch(tmp_path / "negative.tif", tmp_path / "a.zarr", config=config)
    (failure,) = report.failed
    assert (failure.stage, failure.start) == ("scan", [0, 0])
    assert "negative.tif' holds the id -3; ids have to be positive" in failure.error
    assert not (tmp_path / "a.zarr" / "labels" / "repaired").exists()
    tifffile.imwrite(tmp_path / "grey.tif", np.random.default_rng(0).random((40, 50), np.float32))
    with pytest.raises(FileError, match="labels are whole numbers"):
        run_batch(tmp_path / "grey.tif", tmp_path / "b.zarr", config=config)
    per_slice = BatchConfig(job="repair", fit={"per_slice": True}, **BLOCKS)
    with pytest.raises(InputError, match="per_slice .* has shape"):
        run_batch(tmp_path / "negative.tif", tmp_path / "c.zarr", config=per_slice)


def test_scribbles_in_blocks_give_what_the_whole_gives(balls, tmp_path):
    truth, image, strokes, source = balls
    found = scribbled(source, tmp_path / "out.zarr", **BLOCKS)
    whole = fit_scribbles(image, strokes)
    assert set(np.unique(found)) == set(np.unique(truth))
    assert np.mean(agreement(found, whole.labels)) > 0.93
    assert np.mean(agreement(found, truth)) > np.mean(agreement(whole.labels, truth)) - 0.05
    assert broken(found, "convex") == []


def test_scribbles_seen_with_the_whole_volume_give_the_same(balls, tmp_path):
    _, image, strokes, source = balls
    options = {"block_shape": (80, 88), "halo": (88,), "workers": 0}
    found = scribbled(source, tmp_path / "out.zarr", **options)
    assert (found == fit_scribbles(image, strokes).labels).all()


def test_scribbles_of_other_shapes_keep_their_promise(tmp_path):
    truth = blobs((80, 88), CENTRES, 13.2)
    source = scribbled_file(tmp_path, image_of(truth), strokes_of(truth))
    options = {"halo": (20,), "fit": FitConfig(steps=100), **BLOCKS}
    found = scribbled(source, tmp_path / "out.zarr", shape="connected", **options)
    assert len(np.unique(found)) == 10
    assert broken(found, "connected") == []


def test_scribbles_in_three_dimensions_with_channels_and_named_elsewhere(tmp_path):
    centres = [(z, y, x) for z in (6, 14) for y in (12, 32) for x in (12, 32)]
    truth = blobs((20, 44, 44), centres, 8, (2, 1, 1))
    image, strokes = image_of(truth), strokes_of(truth)
    strokes[strokes == 1] = 9999
    source = scribbled_file(tmp_path, np.stack([image, 255 - image]), strokes, (2, 1, 1), "czyx")
    shutil.move(source / "labels" / "scribbles", tmp_path / "drawn.zarr")
    options = {"block_shape": (10, 22, 22), "workers": 0, "background": 9999}
    drawn = {**options, "scribbles": tmp_path / "drawn.zarr"}
    with pytest.raises(InputError, match=r"holds no labels/scribbles.*--scribbles"):
        scribbled(source, tmp_path / "a.zarr", **options)
    found = scribbled(source, tmp_path / "a.zarr", **drawn)
    one = scribbled(source, tmp_path / "b.zarr", channel=0, **drawn)
    for labels in (found, one):
        assert np.mean(agreement(labels, truth)) > 0.7
        assert broken(labels, "convex") == []
    with pytest.raises(InputError, match="channel is 2, but .* has 2"):
        scribbled(source, tmp_path / "c.zarr", channel=2, **drawn)


def test_an_object_much_larger_than_its_stroke_is_seen_whole(tmp_path):
    truth = blobs((220, 220), [(110, 110)], 62)
    source = scribbled_file(tmp_path, image_of(truth), strokes_of(truth))
    config = BatchConfig(job="scribble", block_shape=(64, 64), workers=0)
    report = run_batch(source, tmp_path / "out.zarr", config=config)
    assert report.warnings == ()
    assert agreement(labels_of(tmp_path / "out.zarr", "objects"), truth)[0] > 0.97
    small = BatchConfig(job="scribble", block_shape=(64, 64), most_voxels=10000, workers=0)
    report = run_batch(source, tmp_path / "small.zarr", config=small)
    # Of a long stroke less is seen across it, rather than nothing.
    assert report.facts["left"] == 0
    tiny = BatchConfig(job="scribble", block_shape=(64, 64), most_voxels=5000, workers=0)
    report = run_batch(source, tmp_path / "tiny.zarr", config=tiny)
    assert report.facts["left"] == 1
    assert "1 of 1 objects are too large and left out" in report.warnings[0]
    assert not labels_of(tmp_path / "tiny.zarr", "objects").any()


def test_scribbles_that_cannot_be_fitted_are_refused(balls, tmp_path):
    truth, image, strokes, _ = balls
    only = np.where(strokes == 1, 1, 0).astype(np.uint8)
    source = scribbled_file(tmp_path, image, only)
    with pytest.raises(InputError, match="no stroke of an object"):
        scribbled(source, tmp_path / "out.zarr", **BLOCKS)
    (source / "labels" / "scribbles").rename(source / "labels" / "mine")
    with pytest.raises(InputError, match=r"there are the labels mine\. Name"):
        scribbled(source, tmp_path / "out.zarr", **BLOCKS)
    small = label_file(tmp_path, strokes[:40, :40])
    with pytest.raises(FileError, match=r"have shape \(40, 40\) but the image .* \(80, 88\)"):
        scribbled(source, tmp_path / "out.zarr", scribbles=small, **BLOCKS)
    assert truth.any()


def test_a_repair_killed_anywhere_goes_on_to_the_same_bytes(dense, tmp_path, monkeypatch):
    config = BatchConfig(job="repair", **BLOCKS)
    run_batch(dense[1], tmp_path / "whole.zarr", config=config)
    expected = digest(tmp_path / "whole.zarr" / "labels")
    target = tmp_path / "killed.zarr"
    report, runs, steps = killed_until_done(monkeypatch, dense[1], target, config, 5)
    assert runs > 4
    assert report.resumed
    assert digest(target / "labels") == expected
    assert len(steps) == len(set(steps))
    again = run_batch(dense[1], target, config=config)
    assert all(s.blocks == s.done_before for s in again.stages if s.name != "tasks")
    assert again.facts == report.facts
    assert again.warnings == report.warnings


def test_another_fit_is_taken_on_restart_without_searching_anew(dense, tmp_path):
    target = tmp_path / "out.zarr"
    run_batch(dense[1], target, config=BatchConfig(job="repair", **BLOCKS))
    other = {"job": "repair", "fit": {"planes": 8}, **BLOCKS}
    with pytest.raises(InputError, match="config.fit.planes was"):
        run_batch(dense[1], target, config=BatchConfig(**other))
    report = run_batch(dense[1], target, config=BatchConfig(**other, restart=True))
    scan = next(stage for stage in report.stages if stage.name == "scan")
    assert scan.done_before == scan.blocks
    run_batch(dense[1], tmp_path / "new.zarr", config=BatchConfig(**other))
    assert digest(target / "labels") == digest(tmp_path / "new.zarr" / "labels")


def test_changed_labels_are_refused(dense, tmp_path):
    source = tmp_path / "labels.zarr"
    shutil.copytree(dense[1], source)
    run_batch(source, tmp_path / "out.zarr", config=BatchConfig(job="repair", **BLOCKS))
    zarr.open_array(source / "0", mode="r+")[45, 50] = 77
    with pytest.raises(InputError, match=r"source\.(samples|written|bytes) was"):
        run_batch(source, tmp_path / "out.zarr", config=BatchConfig(job="repair", **BLOCKS))


def test_workers_give_the_same_bytes(dense, balls, client, tmp_path):
    for job, source in (("repair", dense[1]), ("scribble", balls[3])):
        config = BatchConfig(job=job, block_shape=(40, 44), workers=0)
        run_batch(source, tmp_path / f"{job}-one.zarr", config=config)
        told = []
        report = run_batch(
            source,
            tmp_path / f"{job}-two.zarr",
            config=config,
            client=client,
            progress=lambda f, m, told=told: told.append(f),
        )
        assert report.ok
        one, two = (tmp_path / f"{job}-{n}.zarr" / "labels" for n in ("one", "two"))
        assert digest(one) == digest(two)
        assert told == sorted(told)
        assert 0.9 < told[-1] <= 1


def test_what_a_job_needs_is_said_without_writing(dense, balls, tmp_path):
    for job, source in (("repair", dense[1]), ("scribble", balls[3])):
        config = BatchConfig(job=job, most_voxels=5000, **BLOCKS)
        found = estimate(str(source), str(tmp_path / "out.zarr"), config)
        assert found.worker_bytes > 5000
        assert found.seconds > 0
        assert json.dumps(found.document())
    assert not (tmp_path / "out.zarr").exists()
