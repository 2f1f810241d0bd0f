"""Blocks in other processes: the same bytes, whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.errors import InputError

from .batch_cases import affinity_file, batch_client, cells, digest, noisy

client = batch_client

BLOCKS = {"block_shape": (8, 16, 16), "halo": (8,), "fragments": "distance"}
RECORDS = Path(".implicitseg", "segment-neurons", "done")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    made = noisy(cells((24, 48, 48), 40))
    return affinity_file(tmp_path_factory.mktemp("affinities"), made)


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory) -> str:
    target = tmp_path_factory.mktemp("whole") / "out.zarr"
    assert run_batch(source, target, config=BatchConfig(**BLOCKS, workers=0)).ok
    return digest(target / "labels")


def test_workers_give_the_same_bytes(source, expected, client, tmp_path):
    told = []
    target = tmp_path / "out.zarr"
    config = BatchConfig(**BLOCKS)
    report = run_batch(
        source, target, config=config, client=client, progress=lambda f, m: told.append(f)
    )
    assert report.ok
    assert report.workers == 2
    assert digest(target / "labels") == expected
    assert told == sorted(told)


def test_a_worker_that_is_killed_costs_its_blocks_in_flight_only(
    source, expected, client, tmp_path
):
    target, killed = tmp_path / "out.zarr", []

    def kill(fraction, message):
        if not killed and "block 5" in message:
            pid = next(iter(client.run(os.getpid).values()))
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    report = run_batch(source, target, config=BatchConfig(**BLOCKS), client=client, progress=kill)
    assert killed
    assert report.ok
    assert digest(target / "labels") == expected


def test_an_address_where_nobody_answers_is_said(source, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def away(*arguments, **options):
        raise OSError("Timed out trying to connect")

    monkeypatch.setattr(distributed, "Client", away)
    monkeypatch.setattr("dask.distributed.Client", away)
    config = BatchConfig(**BLOCKS, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="No dask scheduler answers at 'tcp://127.0.0.1:1'"):
        run_batch(source, tmp_path / "out.zarr", config=config)


def command(
    source: Path, target: Path, workers: int, block: str = "8,16,16", **options: Any
) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, so that all of it can be killed."""
    words = [sys.executable, "-m", "napari_implicitseg.cli", "batch", "--source", source]
    words += ["--target", target, "--block-shape", block, "--halo", "8,8,8"]
    words += ["--fragments", "distance", "--workers", workers]
    return subprocess.Popen(list(map(str, words)), start_new_session=True, **options)


def records(target: Path) -> int:
    """How many blocks are recorded as done."""
    return len(list((target / RECORDS).rglob("*.json")))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_all_killed_at_any_moment_goes_on_to_the_same_bytes(source, expected, tmp_path, workers):
    target, chance = tmp_path / "out.zarr", random.Random(workers)
    for _ in range(4):
        before = records(target)
        process = command(source, target, workers)
        wanted = before + chance.randint(1, 20)
        while process.poll() is None and records(target) < wanted:
            time.sleep(chance.uniform(0, 0.01))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert records(target) >= before
    process = command(source, target, workers)
    assert process.wait(200) == 0
    assert digest(target / "labels") == expected


def test_a_process_killed_goes_on_in_another(source, expected, tmp_path):
    target = tmp_path / "out.zarr"
    process = command(source, target, 0)
    while process.poll() is None and records(target) < 20:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = records(target)
    report = run_batch(source, target, config=BatchConfig(**BLOCKS, workers=0))
    assert report.resumed
    assert sum(s.done_before for s in report.stages) >= min(done, 20) - 4
    assert digest(target / "labels") == expected


@pytest.mark.skipif(os.name != "posix", reason="terminals send Ctrl-C to groups of processes")
def test_ctrl_c_ends_all_processes_without_a_traceback(source, tmp_path):
    target = tmp_path / "out.zarr"
    # So many blocks that the signal comes before they are done.
    process = command(
        source,
        target,
        2,
        block="4,8,8",
        stderr=subprocess.PIPE,
        # Shells let what they start in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and records(target) < 4:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.decode().splitlines()[-1].startswith("error: Interrupted. What is done is kept")
    assert b"Traceback" not in said
    assert b"KeyboardInterrupt" not in said
    config = BatchConfig(**{**BLOCKS, "block_shape": (4, 8, 8)}, workers=0)
    assert run_batch(source, target, config=config).resumed
    run_batch(source, tmp_path / "whole.zarr", config=config)
    assert digest(target / "labels") == digest(tmp_path / "whole.zarr" / "labels")
