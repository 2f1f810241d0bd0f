"""Jobs over blocks that are interrupted, changed, or given what they cannot work with."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import zarr

from napari_implicitseg import BatchConfig, load_model, run_batch
from napari_implicitseg.batch.jobs import run_block
from napari_implicitseg.errors import Cancelled, FileError, InputError, OutputExistsError

from .batch_cases import (
    BLOCKS,
    OFFSETS,
    PREDICTING,
    affinity_file,
    batch_affinities,
    batch_truth,
    batch_volume,
    digest,
    killed_until_done,
    labels_of,
)

truth, affinities, volume = batch_truth, batch_affinities, batch_volume


def test_a_run_that_was_killed_anywhere_goes_on_to_the_same_bytes(
    affinities, tmp_path, monkeypatch
):
    config = BatchConfig(**BLOCKS)
    run_batch(affinities[1], tmp_path / "whole.zarr", config=config)
    expected = digest(tmp_path / "whole.zarr" / "labels")
    target = tmp_path / "killed.zarr"
    report, runs, steps = killed_until_done(monkeypatch, affinities[1], target, config, 3)
    assert runs > 5
    assert report.ok
    assert report.resumed
    assert digest(target / "labels") == expected
    assert len(steps) == len(set(steps)) == 24  # no block twice


def test_records_and_files_torn_by_a_crash_are_made_again(affinities, tmp_path):
    config = BatchConfig(**BLOCKS)
    target = tmp_path / "out.zarr"
    run_batch(affinities[1], target, config=config)
    expected = digest(target / "labels")
    job = target / ".implicitseg" / "segment-neurons"
    for stage in ("fragments", "contacts", "relabel"):
        path = job / "done" / stage / "0-1-1.json"
        path.write_text(path.read_text()[:30])
    for array in (job / "fragments", target / "labels" / "neurons" / "0"):
        (array / "c" / "0" / "1" / "1").write_bytes(b"torn")
    (job / "graph" / "0-1-1.npz").write_bytes(b"torn")
    report = run_batch(affinities[1], target, config=config)
    assert report.ok
    assert {s.name: s.blocks - s.done_before for s in report.stages if s.name != "merge"} == {
        "fragments": 1,
        "contacts": 1,
        "relabel": 1,
    }
    assert digest(target / "labels") == expected


def test_a_finished_job_does_nothing_again(affinities, tmp_path):
    config = BatchConfig(**BLOCKS)
    run_batch(affinities[1], tmp_path / "out.zarr", config=config)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out.zarr" / "labels").rglob("c/*")}
    report = run_batch(affinities[1], tmp_path / "out.zarr", config=config)
    assert sum(s.blocks - s.done_before for s in report.stages if s.name != "merge") == 0
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_another_threshold_is_refused_and_taken_on_restart(affinities, tmp_path):
    target = tmp_path / "out.zarr"
    run_batch(affinities[1], target, config=BatchConfig(**BLOCKS))
    changed = BatchConfig(**BLOCKS, threshold=0.1)
    with pytest.raises(InputError, match="config.threshold was 0.5, now 0.1"):
        run_batch(affinities[1], target, config=changed)
    restarted = BatchConfig(**BLOCKS, threshold=0.1, restart=True)
    report = run_batch(affinities[1], target, config=restarted)
    # The threshold is asked for last.
    early = [stage for stage in report.stages if stage.name in ("fragments", "contacts")]
    assert [stage.done_before for stage in early] == [8, 8]
    run_batch(affinities[1], tmp_path / "new.zarr", config=changed)
    assert digest(target / "labels") == digest(tmp_path / "new.zarr" / "labels")
    same = run_batch(affinities[1], target, config=restarted)
    assert sum(stage.done_before for stage in same.stages) == 0


def test_a_source_that_has_changed_is_refused(affinities, tmp_path):
    source, target = tmp_path / "a.zarr", tmp_path / "out.zarr"
    shutil.copytree(affinities[1], source)
    run_batch(source, target, config=BatchConfig(**BLOCKS))
    zarr.open_array(source / "0", mode="r+")[:, 12, 20, 20] = 0
    with pytest.raises(InputError, match="source.samples was"):
        run_batch(source, target, config=BatchConfig(**BLOCKS))


def test_two_results_lie_beside_each_other(affinities, tmp_path):
    target = tmp_path / "out.zarr"
    for name in ("one", "two"):
        run_batch(affinities[1], target, config=BatchConfig(**BLOCKS, name=name))
    assert zarr.open_group(target / "labels", mode="r").attrs["ome"]["labels"] == ["one", "two"]
    assert (labels_of(target, "one") == labels_of(target, "two")).all()


def test_blocks_that_fail_are_named_and_the_rest_is_done(affinities, tmp_path):
    target, made = tmp_path / "out.zarr", affinities[0]
    data = made.data.copy()
    data[:, 2, 2, 2] = 7.0
    bad = type(made)(data=data, offsets=OFFSETS, spacing=made.spacing)
    source = affinity_file(tmp_path, bad)
    config = BatchConfig(**{**BLOCKS, "halo": (2,)}, fragments="watershed", retries=0)
    report = run_batch(source, target, config=config)
    assert not report.ok
    (failure,) = report.failed
    assert (failure.stage, failure.start, failure.stop) == ("fragments", [0, 0, 0], [12, 20, 20])
    assert "0 to 1" in failure.error
    assert "block 0-0-0 [0:12, 0:20, 0:20], fragments" in str(failure)
    assert len(os.listdir(target / ".implicitseg" / "segment-neurons" / "done" / "fragments")) == 7
    assert not (target / "labels" / "neurons").exists()
    document = json.loads((target / ".implicitseg" / "segment-neurons" / "report.json").read_text())
    assert document["ok"] is False


def test_a_broken_chunk_is_named(affinities, tmp_path):
    source = tmp_path / "a.zarr"
    shutil.copytree(affinities[1], source)
    chunk = next(p for p in (source / "0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(b"broken" * 20)
    with pytest.raises(FileError, match=r"a\.zarr.*chunk 0/c/"):
        run_batch(source, tmp_path / "out.zarr", config=BatchConfig(**BLOCKS))


def test_what_failed_once_is_tried_again(affinities, tmp_path, monkeypatch):
    from napari_implicitseg.batch import engine

    failed = []

    def failing(job, stage, place):
        if (stage, place) not in failed:
            failed.append((stage, place))
            raise OSError(5, "the disk is away")
        return run_block(job, stage, place)

    monkeypatch.setattr(engine, "run_block", failing)
    monkeypatch.setattr(engine, "_PAUSE", 0)
    report = run_batch(affinities[1], tmp_path / "a.zarr", config=BatchConfig(**BLOCKS, retries=1))
    assert report.ok
    failed.clear()
    report = run_batch(affinities[1], tmp_path / "b.zarr", config=BatchConfig(**BLOCKS, retries=0))
    assert len(report.failed) == 8
    assert "the disk is away" in report.failed[0].error


def test_a_job_can_be_cancelled_and_taken_up(affinities, tmp_path):
    def stop(fraction, message):
        if "Contacts" in message:
            raise Cancelled("enough")

    target, config = tmp_path / "out.zarr", BatchConfig(**BLOCKS)
    with pytest.raises(Cancelled):
        run_batch(affinities[1], target, config=config, progress=stop)
    told = []
    run_batch(affinities[1], target, config=config, progress=lambda f, m: told.append((f, m)))
    assert not any("Cutting" in message for _, message in told)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 0.4 < fractions[0] < fractions[-1] <= 1


def test_targets_that_cannot_hold_the_result_are_refused(affinities, tmp_path):
    source, config = affinities[1], BatchConfig(**BLOCKS)
    folder = tmp_path / "full.zarr"
    folder.mkdir()
    (folder / "photo.jpg").write_text("")
    cases = [
        (source, FileError, "lie in each other"),
        (source / "inside.zarr", FileError, "lie in each other"),
        (tmp_path / "out.tif", FileError, "end in .zarr"),
        ("s3://bucket/out.zarr", FileError, "is a URL"),
        (tmp_path / "missing" / "out.zarr", FileError, "does not exist"),
        (folder, OutputExistsError, "is no zarr"),
    ]
    for target, kind, words in cases:
        with pytest.raises(kind, match=words):
            run_batch(source, target, config=config)
    assert sorted(os.listdir(folder)) == ["photo.jpg"]


def test_labels_of_somebody_else_are_not_replaced(affinities, tmp_path):
    target = tmp_path / "out.zarr"
    run_batch(affinities[1], target, config=BatchConfig(**BLOCKS))
    shutil.rmtree(target / ".implicitseg")
    before = digest(target)
    for restart in (False, True):
        with pytest.raises(OutputExistsError, match="labels/neurons.*not of this job"):
            run_batch(affinities[1], target, config=BatchConfig(**BLOCKS, restart=restart))
    assert digest(target) == before


def test_sources_that_do_not_fit_the_job_are_refused(affinities, volume, tmp_path):
    target = tmp_path / "out.zarr"
    with pytest.raises(InputError, match="holds no affinities.*--model"):
        run_batch(volume[0], target, config=BatchConfig(workers=0))
    predicting = BatchConfig(job="predict", model="fibsem-isotropic", workers=0)
    with pytest.raises(InputError, match="holds affinities already"):
        run_batch(affinities[1], target, config=predicting)
    with pytest.raises(FileError, match="does not exist"):
        run_batch(tmp_path / "none.zarr", target, config=predicting)
    with pytest.raises(InputError, match="block_shape is .* the volume has 3 axes"):
        run_batch(affinities[1], target, config=BatchConfig(block_shape=(4, 4), workers=0))
    assert not target.exists()


def test_a_model_that_was_trained_on_is_another_source(volume, tmp_path):
    model = load_model("fibsem-isotropic")
    model.save(tmp_path / "model")
    options = {**PREDICTING, "model": tmp_path / "model"}
    run_batch(volume[0], tmp_path / "a.zarr", config=BatchConfig(job="predict", **options))
    next(iter(model.network.parameters())).data.mul_(1.01)
    model.save(tmp_path / "model")
    with pytest.raises(InputError, match="source.model was"):
        run_batch(volume[0], tmp_path / "a.zarr", config=BatchConfig(job="predict", **options))


def test_a_source_that_grows_while_it_is_read_is_refused(affinities, tmp_path):
    source = tmp_path / "a.zarr"
    shutil.copytree(affinities[1], source)

    def grow(fraction, message):
        array = zarr.open_array(source / "0", mode="r+")
        if array.shape[1] == 24:
            array.resize((3, 30, 40, 40))

    config = BatchConfig(**BLOCKS, fragments="distance", retries=0)
    report = run_batch(source, tmp_path / "out.zarr", config=config, progress=grow)
    assert len(report.failed) == 7
    assert "has become (30, 40, 40) voxels, from (24, 40, 40)" in report.failed[0].error


def test_a_volume_without_voxels_is_refused(tmp_path):
    zarr.create_array(tmp_path / "none.zarr", shape=(0, 8, 8), chunks=(4, 4, 4), dtype="uint8")
    with pytest.raises(FileError, match="holds no image"):
        run_batch(tmp_path / "none.zarr", tmp_path / "out.zarr", config=BatchConfig(**PREDICTING))
