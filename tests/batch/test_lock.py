"""One run of a job at a time, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.batch.lock import locked
from napari_implicitseg.errors import FileError, InputError

from .batch_cases import digest
from .object_cases import damaged, label_file

_HOLD = """
import sys, time
from pathlib import Path
from napari_implicitseg.batch.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_and_gone_afterwards(tmp_path):
    path = tmp_path / "new" / "a.lock"
    with locked(path):
        with (
            pytest.raises(InputError, match=rf"at work \(process {os.getpid()} on .*same command"),
            locked(path),
        ):
            pass
        assert path.exists()
    assert not path.exists()
    with locked(path):
        pass


def test_a_process_that_is_killed_leaves_no_lock(tmp_path):
    path = tmp_path / "a.lock"
    words = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=f"process {holder.pid} on"), locked(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert path.exists()
    with locked(path):
        pass
    assert not path.exists()


def test_whoever_waits_has_the_lock_after_the_other(tmp_path):
    path, order = tmp_path / "a.lock", []

    def wait():
        with locked(path, wait=True):
            order.append("second")

    with locked(path):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert not path.exists()


def test_a_folder_that_cannot_be_written_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write"), locked(tmp_path / "file" / "a.lock"):
        pass


def test_a_second_run_of_a_job_is_refused_while_the_first_is_at_work(tmp_path):
    source, target = label_file(tmp_path, damaged((40, 44), 8)), tmp_path / "out.zarr"
    config = {"job": "repair", "block_shape": (20, 22), "workers": 0}
    refused = []

    def again(fraction, message):
        for restart in (False, True):
            with pytest.raises(InputError, match="Another run of this job is at work"):
                run_batch(source, target, config=BatchConfig(**config, restart=restart))
        refused.append(message)

    run_batch(source, target, config=BatchConfig(**config), progress=again)
    assert len(refused) > 4
    # Others in the same target go on.
    assert run_batch(source, target, config=BatchConfig(**config, name="other")).ok
    run_batch(source, tmp_path / "alone.zarr", config=BatchConfig(**config))
    alone = digest(tmp_path / "alone.zarr" / "labels" / "repaired")
    assert digest(target / "labels" / "repaired") == alone
    assert not list((target / ".implicitseg").glob("*.lock"))
