"""Volumes that are damaged or written to, disks that are full, processes that die."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from napari_implicitseg import BatchConfig, convert, run_batch
from napari_implicitseg.errors import FileError, InputError

from .batch_cases import BLOCKS, affinity_file, batch_affinities, batch_truth, digest

if TYPE_CHECKING:
    from pathlib import Path

truth, affinities = batch_truth, batch_affinities


@pytest.fixture
def source(affinities, tmp_path) -> Path:
    """Affinities that a test may damage."""
    return affinity_file(tmp_path, affinities[0])


def files_in(array: Path) -> list[Path]:
    return sorted(p for p in array.rglob("*") if p.is_file() and p.name != "zarr.json")


def test_a_damaged_chunk_is_never_taken_for_data(source, tmp_path):
    file = files_in(source / "0")[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 64] = bytes(64)
    file.write_bytes(bytes(content))
    with pytest.raises(FileError, match=r"chunk 0/c/0/0/0/0.*checksum do not match"):
        run_batch(source, tmp_path / "out.zarr", config=BatchConfig(**BLOCKS, retries=0))


def test_a_chunk_that_is_missing_is_its_fill_value(source, tmp_path):
    for file in files_in(source / "0"):
        file.unlink()
    report = run_batch(source, tmp_path / "out.zarr", config=BatchConfig(**BLOCKS))
    # Nothing hangs together.
    assert report.ok
    assert report.facts["objects"] >= report.facts["fragments"] > 0


def test_a_full_disk_leaves_no_half_file(source, tmp_path, monkeypatch):
    from napari_implicitseg.batch import block_arrays

    whole = tmp_path / "whole.zarr"
    run_batch(source, whole, config=BatchConfig(**BLOCKS))
    target, full, replace_file = tmp_path / "out.zarr", [True], block_arrays.replace_file

    @contextlib.contextmanager
    def full_or_not(path, *, overwrite):
        with replace_file(path, overwrite=overwrite) as temporary:
            yield temporary
            if full and "labels" in path.parts:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(block_arrays, "replace_file", full_or_not)
    report = run_batch(source, target, config=BatchConfig(**BLOCKS, retries=0))
    assert {failure.stage for failure in report.failed} == {"relabel"}
    assert "Free some space" in report.failed[0].error
    assert files_in(target / "labels" / "neurons" / "0") == []
    full.clear()
    assert run_batch(source, target, config=BatchConfig(**BLOCKS)).ok
    assert digest(target / "labels") == digest(whole / "labels")


def test_a_report_that_finds_no_room_is_left_out(source, tmp_path, monkeypatch):
    from napari_implicitseg.batch import label_steps

    def full(path, *, overwrite):
        raise FileError("No space left on device.")

    monkeypatch.setattr(label_steps, "replace_file", full)
    config = BatchConfig(job="evaluate", truth=str(tmp_path / "t.zarr"), workers=0)
    for name in ("l.zarr", "t.zarr"):
        zarr.create_array(tmp_path / name, data=np.ones((4, 8, 8), np.uint8))
    assert run_batch(tmp_path / "l.zarr", tmp_path / "f.json", config=config).ok


def test_a_source_that_is_written_to_while_a_job_runs_is_told_of(source, tmp_path):
    array = zarr.open_array(source / "0", mode="r+")

    def write(fraction, message):
        if "block 1 of" in message:
            array[:, :4, :4, :4] = 0

    target = tmp_path / "out.zarr"
    report = run_batch(source, target, config=BatchConfig(**BLOCKS), progress=write)
    assert report.ok
    assert [w for w in report.warnings if "has changed while the job ran" in w]
    with pytest.raises(InputError, match=r"source\.(samples|bytes|written) was"):
        run_batch(source, target, config=BatchConfig(**BLOCKS))
    assert run_batch(source, target, config=BatchConfig(**BLOCKS, restart=True)).warnings == ()


def test_labels_painted_beside_a_volume_do_not_change_it(tmp_path):
    raw = np.random.default_rng(0).integers(0, 255, (24, 32, 32)).astype(np.uint8)
    zarr.create_array(tmp_path / "raw", data=raw)
    convert(tmp_path / "raw", tmp_path / "raw.zarr", spacing=(10, 10, 10))
    config = BatchConfig(job="predict", model="fibsem-isotropic", workers=0)
    run_batch(tmp_path / "raw.zarr", tmp_path / "a.zarr", config=config)
    group = zarr.open_group(tmp_path / "raw.zarr", mode="r+").create_group("labels")
    group.create_array("scribbles", data=raw)
    assert run_batch(tmp_path / "raw.zarr", tmp_path / "a.zarr", config=config).warnings == ()


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"name": "q", "type": "wavelength"}, "axis 'q' of type wavelength"),
        ({"name": "q"}, "axis 'q'"),
    ],
)
def test_axes_that_nobody_knows_are_refused(source, tmp_path, entry, named):
    document = json.loads((source / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0]["axes"][1] = entry
    document["attributes"].pop("napari-implicitseg")
    (source / "zarr.json").write_text(json.dumps(document))
    config = BatchConfig(job="predict", model="fibsem-isotropic", workers=0)
    with pytest.raises(FileError, match=named):
        run_batch(source, tmp_path / "out.zarr", config=config)
    assert not (tmp_path / "out.zarr").exists()


def test_metadata_that_lead_out_of_their_folder_are_refused(source, tmp_path):
    document = json.loads((source / "zarr.json").read_text())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = "../other.zarr/0"
    document["attributes"].pop("napari-implicitseg")
    (source / "zarr.json").write_text(json.dumps(document))
    config = BatchConfig(job="predict", model="fibsem-isotropic", workers=0)
    with pytest.raises(FileError, match=r"'\.\./other\.zarr/0' is invalid"):
        run_batch(source, tmp_path / "out.zarr", config=config)


_CLUSTER = """
import sys
from distributed import LocalCluster
with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_scheduler_that_is_lost_is_said_and_the_job_goes_on_later(source, tmp_path):
    whole, target = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    run_batch(source, whole, config=BatchConfig(**BLOCKS))
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as cluster:
        address = cluster.stdout.readline().strip()

        def kill(fraction, message):
            if "block 2 of" in message and cluster.poll() is None:
                os.killpg(cluster.pid, signal.SIGKILL)
                cluster.wait()

        config = BatchConfig(**{**BLOCKS, "workers": None}, scheduler=address)
        start = time.monotonic()
        with pytest.raises(InputError, match="scheduler is gone"):
            run_batch(source, target, config=config, progress=kill)
        assert time.monotonic() - start < 90
    assert run_batch(source, target, config=BatchConfig(**BLOCKS)).ok
    assert digest(target / "labels") == digest(whole / "labels")


def test_a_disk_that_is_full_where_arrays_are_made_is_said_in_words(source, tmp_path, monkeypatch):
    from zarr.storage import _local

    put, away = _local._put, [""]

    def full(path, *arguments, **options):
        if away[0] in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(path, *arguments, **options)

    whole = tmp_path / "whole.zarr"
    run_batch(source, whole, config=BatchConfig(**BLOCKS))
    for away[0] in (".implicitseg", "labels"):
        with monkeypatch.context() as patch:
            patch.setattr(_local, "_put", full)
            with pytest.raises(FileError, match="Free some space"):
                run_batch(source, tmp_path / "out.zarr", config=BatchConfig(**BLOCKS))
        assert run_batch(source, tmp_path / "out.zarr", config=BatchConfig(**BLOCKS)).ok
        assert digest(tmp_path / "out.zarr" / "labels") == digest(whole / "labels")
        shutil.rmtree(tmp_path / "out.zarr")
