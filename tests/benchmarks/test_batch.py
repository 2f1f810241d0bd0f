"""The benchmark of jobs over blocks: its tables, and that it measures what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest


def goals(lines):
    return [line for line in lines if line.startswith(("- reached", "- MISSED"))]


def rows(lines):
    return [line.split("|")[1].strip() for line in lines if line.startswith("| ")]


def test_figures_of_processes_are_medians_and_goals(load):
    batch = load("batch")
    names = ("plain loop", "predict", "fragments", "contacts", "merge")
    times = {(name, n): [9.0, 2.0 / n, 0.0] for name in names for n in (1, 2)}
    times["bare", 1] = [1.6]
    lines = batch._workers_lines(times, batch.Plan())
    assert rows(lines) == ["stage", *names, "bare network of the same windows"]
    assert [line.partition(":")[0] for line in goals(lines)] == [
        "- reached",
        "- reached",
        "- MISSED",
    ]
    assert "+2.00" in goals(lines)[0]
    assert "1.25" in goals(lines)[2]


def test_files_are_measured_beside_zarr(load, tmp_path):
    batch = load("batch")
    lines = batch._files(tmp_path, replace(batch.QUICK, side=32))
    assert len(goals(lines)) == 2
    assert (tmp_path / "ours" / "c").is_dir()
    assert (tmp_path / "zarr" / "c").is_dir()


def test_blocks_are_worked_on_and_recorded(load, tmp_path):
    jobs = load("batch_jobs")
    assert jobs.seconds_of("this package", "smooth", tmp_path, 3)["seconds"] > 0
    assert len(list((tmp_path / "job" / "done" / "x").rglob("*.json"))) == 3
    job = jobs.make_job("smooth", tmp_path, 3)
    with pytest.raises(RuntimeError, match="2 of 3 blocks were done"):
        jobs._check(2, job)


def test_many_blocks_are_never_far_ahead(load, tmp_path):
    found = load("batch_scheduler").simulated(tmp_path, 7000)
    assert found["done"] == 7000
    assert found["ahead"] <= 3000


def test_records_are_read_as_they_were_written(load, tmp_path):
    found = load("batch_scheduler").records(tmp_path, 50)
    assert found["done"] == 50
    assert found["written"] > 0
