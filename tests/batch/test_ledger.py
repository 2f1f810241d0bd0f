"""Records of finished blocks: whole or not there, and of one configuration only."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import pytest
import zarr

from napari_implicitseg.batch.block_arrays import (
    chunk_files,
    load_arrays,
    open_array,
    save_arrays,
    write_block,
)
from napari_implicitseg.batch.ledger import Ledger
from napari_implicitseg.errors import FileError, InputError

ABOUT = {"config": {"threshold": 0.5, "blocks": [2, 3]}, "source": {"shape": [4, 4]}}


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    made = Ledger(tmp_path / "job")
    assert made.begin(ABOUT) is False
    return made


def test_what_is_recorded_is_read_again(ledger):
    assert ledger.get("predict", "0-1") is None
    ledger.record("predict", "0-1", {"voxels": 5})
    assert Ledger(ledger.folder).get("predict", "0-1") == {"voxels": 5}
    assert ledger.get("relabel", "0-1") is None
    assert ledger.all("predict", ["0-0", "0-1"]) == {"0-1": {"voxels": 5}}


@pytest.mark.parametrize("keep", [0, 1, 20, -2])
def test_a_torn_record_counts_as_not_done(ledger, keep):
    ledger.record("predict", "0-1", {"voxels": 5})
    path = ledger.folder / "done" / "predict" / "0-1.json"
    text = path.read_text()
    path.write_text(text[:keep])
    assert ledger.get("predict", "0-1") is None
    assert ledger.all("predict", ["0-1"]) == {}


@pytest.mark.parametrize("text", ["[]", "{}", "3", '{"content": {}}', "\x00\x00", "null"])
def test_garbage_counts_as_not_done(ledger, text):
    ledger.record("predict", "0-1", {"voxels": 5})
    (ledger.folder / "done" / "predict" / "0-1.json").write_text(text)
    assert ledger.get("predict", "0-1") is None


def test_a_record_that_was_changed_counts_as_not_done(ledger):
    ledger.record("predict", "0-1", {"voxels": 5})
    path = ledger.folder / "done" / "predict" / "0-1.json"
    path.write_text(path.read_text().replace("5", "6"))
    assert ledger.get("predict", "0-1") is None


def test_the_same_job_goes_on(ledger):
    ledger.record("predict", "0", {})
    again = Ledger(ledger.folder)
    assert again.begin(json.loads(json.dumps(ABOUT))) is True
    assert again.get("predict", "0") == {}


def test_another_configuration_is_refused_and_the_difference_named(ledger):
    changed = {**ABOUT, "config": {"threshold": 0.4, "blocks": [2, 3]}}
    with pytest.raises(InputError, match="config.threshold was 0.5, now 0.4.*--restart"):
        ledger.begin(changed)


def test_restart_forgets_what_was_done(ledger):
    ledger.record("predict", "0", {})
    changed = {**ABOUT, "source": {"shape": [5, 4]}}
    assert ledger.begin(changed, restart=True) is False
    assert ledger.get("predict", "0") is None
    with pytest.raises(InputError, match=r"source.shape was \[5, 4\], now \[4, 4\]"):
        ledger.begin(ABOUT)


def test_restart_keeps_what_does_not_depend_on_the_change(ledger):
    for stage, name in (("predict", "0"), ("relabel", "0"), ("coarsen:1", "0"), ("once", "a")):
        ledger.record(stage, name, {})
    late = {"config.threshold": ("relabel", "coarsen", "once/a")}
    changed = {**ABOUT, "config": {"threshold": 0.4, "blocks": [2, 3]}}
    assert ledger.begin(changed, restart=True, late=late) is True
    assert ledger.get("predict", "0") == {}
    for stage, name in (("relabel", "0"), ("coarsen:1", "0"), ("once", "a")):
        assert ledger.get(stage, name) is None
    both = {"source": {"shape": [5, 4]}, "config": {"threshold": 0.3, "blocks": [2, 3]}}
    assert ledger.begin(both, restart=True, late=late) is False
    assert ledger.get("predict", "0") is None


def test_records_of_nobody_knows_what_are_forgotten(ledger):
    ledger.record("predict", "0", {})
    (ledger.folder / "config.json").write_text("{")
    assert ledger.begin(ABOUT) is False
    assert ledger.get("predict", "0") is None


def test_a_read_only_folder_is_said_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write"):
        Ledger(tmp_path / "file" / "job").begin(ABOUT)


@pytest.fixture
def array(tmp_path):
    path = tmp_path / "a"
    zarr.create_array(path, shape=(10, 10), chunks=(2, 2), shards=(4, 4), dtype="uint16")
    return path


def test_a_block_over_torn_files_is_written_whole(array):
    box = (slice(8, 10), slice(4, 8))
    (file,) = chunk_files(array, open_array(array), box)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"torn")
    values = np.arange(1, 9, dtype=np.uint16).reshape(2, 4)
    size = write_block(array, box, values)
    assert size == file.stat().st_size > 4
    assert (open_array(array)[box] == values).all()
    assert (open_array(array)[:8] == 0).all()


def test_an_empty_block_takes_the_place_of_an_old_one(array):
    box = (slice(0, 4), slice(0, 8))
    write_block(array, box, np.ones((4, 8), np.uint16))
    assert len([f for f in chunk_files(array, open_array(array), box) if f.exists()]) == 2
    assert write_block(array, box, np.zeros((4, 8), np.uint16)) == 0
    assert (open_array(array)[:] == 0).all()


def test_a_damaged_intermediate_result_is_named(tmp_path):
    path = tmp_path / "x" / "a.npz"
    save_arrays(path, a=np.arange(3))
    assert load_arrays(path)["a"].tolist() == [0, 1, 2]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FileError, match="a.npz.*--restart"):
        load_arrays(path)


def test_a_restart_that_is_killed_leaves_no_record_that_counts(ledger, monkeypatch):
    ledger.record("predict", "0", {})

    def killed(folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            ledger.begin(ABOUT, restart=True)
    # What it had made may be half gone; its folder says that there was such a job.
    assert ledger.folder.is_dir()
    assert ledger.begin(ABOUT) is False
    assert ledger.get("predict", "0") is None


def test_records_that_cannot_be_removed_are_not_taken_for_new_ones(ledger, monkeypatch):
    ledger.record("predict", "0", {})

    def refused(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refused)
    with pytest.raises(FileError, match="Cannot write"):
        ledger.begin({**ABOUT, "source": 1}, restart=True)
    with pytest.raises(FileError, match="Cannot write"):
        ledger.begin({**ABOUT, "source": 1})


def test_a_block_written_again_is_never_away(array, monkeypatch):
    from napari_implicitseg.batch import block_arrays

    box = (slice(0, 4), slice(0, 8))
    values = np.arange(1, 33, dtype=np.uint16).reshape(4, 8)
    write_block(array, box, values)
    replace_file, seen = block_arrays.replace_file, []

    @contextlib.contextmanager
    def looking(path, *, overwrite):
        with replace_file(path, overwrite=overwrite) as temporary:
            yield temporary
            seen.append((open_array(array)[box] == values).all())

    monkeypatch.setattr(block_arrays, "replace_file", looking)
    write_block(array, box, values)
    assert seen == [True, True]


def test_what_a_killed_writer_has_left_is_removed(array):
    box = (slice(0, 4), slice(0, 4))
    (file,) = chunk_files(array, open_array(array), box)
    file.parent.mkdir(parents=True)
    left = file.with_name(f".{file.name}-0123abcd.tmp")
    left.write_bytes(b"half")
    write_block(array, box, np.ones((4, 4), np.uint16))
    assert [path.name for path in file.parent.iterdir()] == [file.name]
