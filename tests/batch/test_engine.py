"""Which processes are started, and what each of them sees."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest

from napari_implicitseg import BatchConfig
from napari_implicitseg.batch import engine
from napari_implicitseg.batch.blocks import BlockGrid
from napari_implicitseg.batch.engine import DaskEngine, local_cluster, worker_devices
from napari_implicitseg.batch.jobs import Job, Needs

MODEL = {"model": "fibsem-isotropic"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling(Job):
    """Says which device the process has that works on a block."""

    def work(self, stage: str, place: tuple[int, ...]) -> dict[str, Any]:
        return {"sees": os.getenv("CUDA_VISIBLE_DEVICES"), "process": os.getpid()}

    def needs(self) -> Needs:
        raise NotImplementedError


@pytest.fixture(name="cards")
def two_cards(monkeypatch):
    """A machine with four cores and two CUDA devices."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(engine, "usual_workers", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_job_that_predicts_has_a_process_for_each_device(cards, device):
    config = BatchConfig(job="predict", **MODEL, device=device)
    assert worker_devices(config) == ["0", "1"]


def test_stages_without_a_network_have_the_other_cores(cards):
    assert worker_devices(BatchConfig(**MODEL)) == ["0", "1", "", ""]


def test_as_many_processes_as_are_asked_for_share_the_devices(cards):
    config = BatchConfig(job="predict", **MODEL, workers=3)
    assert worker_devices(config) == ["0", "1", "0"]


def test_devices_that_are_visible_keep_their_names(cards, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-dae7")
    config = BatchConfig(job="predict", **MODEL)
    assert worker_devices(config) == ["3", "GPU-dae7"]


def test_a_device_with_a_number_is_held_by_one_process_that_sees_all(cards):
    assert worker_devices(BatchConfig(job="predict", **MODEL, device="cuda:1")) == [None]
    assert worker_devices(BatchConfig(**MODEL, device="cuda:1")) == [None, "", "", ""]


@pytest.mark.parametrize("options", [{}, {**MODEL, "device": "cpu"}, {"workers": 4}])
def test_without_devices_all_processes_are_the_same(cards, options):
    assert worker_devices(BatchConfig(**options)) == [None] * 4


def told(job: Telling, client: Any, stage: str) -> list[dict[str, Any]]:
    """What each of some blocks says."""
    places = [(i,) for i in range(12)]
    found = [o.record for o in DaskEngine(client, 0, apart=True).run(job, stage, places)]
    assert None not in found
    return [record for record in found if record is not None]


def test_each_process_sees_its_device_and_only_those_that_have_one_predict(tmp_path):
    grid = BlockGrid(shape=(12,), block_shape=(1,), halo=(0,))
    job = Telling(folder=tmp_path / "job", config=BatchConfig(), grid=grid, labels=tmp_path)
    with local_cluster(["0", "1", ""]) as (client, _):
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["", "0", "1"]
        assert {record["sees"] for record in told(job, client, "predict")} <= {"0", "1"}
        assert len({record["process"] for record in told(job, client, "fragments")}) > 1


def test_workers_that_come_later_are_counted(monkeypatch):
    class Cluster:
        slots = 0
        dashboard_link = None

        def nthreads(self):
            return {f"worker-{i}": 1 for i in range(self.slots)}

    monkeypatch.setattr(engine, "_LOOK", 0.0)
    cluster = Cluster()
    made = DaskEngine(cluster, 0)
    assert made.workers == 1
    cluster.slots = 5
    made._count()
    assert made.workers == 5


@pytest.mark.parametrize(
    ("stage", "words"), [("fit:2", "--most-voxels"), ("fragments", "--block-shape")]
)
def test_what_needs_less_memory_is_said_by_stage(monkeypatch, stage, words):
    def short(job, stage, place):
        raise MemoryError

    monkeypatch.setattr(engine, "run_block", short)
    (outcome,) = engine.LocalEngine(0).run(None, stage, [(0,)])
    assert "not enough memory" in outcome.error
    assert words in outcome.error
