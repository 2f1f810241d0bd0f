"""Targets that lead elsewhere, that others write to, or whose source has become another."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import zarr

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.errors import FileError, InputError, OutputExistsError

from .batch_cases import digest
from .object_cases import damaged, image_of, label_file, scribbled_file, strokes_of

LABELS = damaged((40, 44), 8)
OPTIONS = {"block_shape": (20, 22), "workers": 0}


class _Stop(BaseException):
    """Ends a run at once, as a kill does."""


@pytest.fixture
def source(tmp_path):
    return label_file(tmp_path, LABELS, (2.0, 3.0))


def repair(source, target, **options):
    return run_batch(source, target, config=BatchConfig(job="repair", **OPTIONS, **options))


@pytest.mark.parametrize("part", ["labels", "labels/repaired", ".implicitseg"])
def test_links_out_of_the_target_are_not_followed(source, tmp_path, part):
    target, elsewhere = tmp_path / "out.zarr", tmp_path / "elsewhere"
    zarr.create_group(target)
    elsewhere.mkdir()
    (target / part).parent.mkdir(exist_ok=True)
    (target / part).symlink_to(elsewhere)
    with pytest.raises(FileError, match="a link leads from there"):
        repair(source, target)
    assert os.listdir(elsewhere) == []


def test_the_source_by_another_name_is_no_target(source, tmp_path, monkeypatch):
    (tmp_path / "link.zarr").symlink_to(source)
    before = digest(source)
    monkeypatch.chdir(tmp_path)
    for target in ("link.zarr", "labels.zarr", "./x/../labels.zarr", "labels.zarr/in.zarr"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(FileError, match="lie in each other"):
            repair(source, target)
    assert digest(source) == before


def test_what_is_read_beside_the_source_is_no_target_either(source, tmp_path):
    truth = tmp_path / "truth.zarr"
    zarr.create_group(truth).create_array("0", data=LABELS)
    config = BatchConfig(job="evaluate", truth=str(truth / "0"), workers=0)
    with pytest.raises(FileError, match="lies in the truth"):
        run_batch(source, truth / "0" / "figures.json", config=config)
    image = scribbled_file(tmp_path, image_of(LABELS), strokes_of(LABELS))
    strokes = shutil.copytree(image / "labels" / "scribbles", tmp_path / "strokes.zarr")
    config = BatchConfig(job="scribble", scribbles=str(strokes), **OPTIONS)
    with pytest.raises(FileError, match="lies in the scribbles"):
        run_batch(tmp_path / "image.tif", strokes, config=config)


def test_an_array_holds_no_labels(source, tmp_path):
    zarr.create_array(tmp_path / "array.zarr", data=LABELS)
    with pytest.raises(OutputExistsError, match="is no group of zarr"):
        repair(source, tmp_path / "array.zarr")


def test_two_jobs_do_not_make_the_same_labels(source, tmp_path):
    def stop(fraction, message):
        raise _Stop

    target = tmp_path / "out.zarr"
    config = BatchConfig(job="repair", name="mine", **OPTIONS)
    with pytest.raises(_Stop):
        run_batch(source, target, config=config, progress=stop)
    image = scribbled_file(tmp_path, image_of(LABELS), strokes_of(LABELS))
    other = BatchConfig(job="scribble", name="mine", **OPTIONS)
    with pytest.raises(OutputExistsError, match="what the job 'repair-mine' makes there.*--name"):
        run_batch(image, target, config=other)
    assert run_batch(image, target, config=BatchConfig(job="scribble", **OPTIONS)).ok
    assert run_batch(source, target, config=config).ok
    listed = zarr.open_group(target / "labels", mode="r").attrs["ome"]["labels"]
    assert sorted(listed) == ["mine", "objects"]


def test_labels_that_were_removed_are_made_again(source, tmp_path):
    target = tmp_path / "out.zarr"
    repair(source, target)
    before = digest(target / "labels")
    shutil.rmtree(target / "labels")
    report = repair(source, target)
    assert digest(target / "labels") == before
    fits = next(stage for stage in report.stages if stage.name == "fit:0")
    assert fits.done_before == fits.blocks


def test_another_voxel_size_is_another_source(source, tmp_path):
    repair(source, tmp_path / "out.zarr")
    path = source / "zarr.json"
    document = json.loads(path.read_text())
    dataset = document["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    dataset["coordinateTransformations"][0]["scale"] = [9.0, 9.0]
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"voxels.scale was \[2.0, 3.0\], now \[9.0, 9.0\]"):
        repair(source, tmp_path / "out.zarr")
    assert repair(source, tmp_path / "out.zarr", restart=True).ok


def test_ids_of_64_bits_are_repaired_by_name(tmp_path):
    most = 2**64 - 1
    labels = np.where(LABELS == 3, np.uint64(most), LABELS.astype(np.uint64))
    zarr.create_array(tmp_path / "labels.zarr", data=labels)
    assert repair(tmp_path / "labels.zarr", tmp_path / "out.zarr", ids=(most,)).ok
    found = zarr.open_array(tmp_path / "out.zarr" / "labels" / "repaired" / "0", mode="r")[:]
    others = (labels != most) & (labels != 0)
    assert (found[others] == labels[others]).all()
    assert (found == most).any()
