"""What workers need of memory does not grow with the volume."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.batch.engine import local_cluster

from .batch_cases import affinity_file, cells, noisy

TIMES = (1, 2, 4, 8)
SEGMENTING = {"block_shape": (32, 64, 32), "halo": (8,), "fragments": "distance"}
PREDICTING = {"job": "predict", "model": "fibsem-isotropic", "block_shape": (32, 32, 32)}


def peak() -> float:
    """Most bytes this process has had, its parent's not counted."""
    return float(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def repeated(path: Path, times: int) -> None:
    """Make an array as many times as long, one copy after the other."""
    array = zarr.open_array(path, mode="r+")
    first, length = array[:], array.shape[-1]
    array.resize((*array.shape[:-1], times * length))
    for number in range(times):
        array[..., number * length : (number + 1) * length] = first


def worst_of(source: Path, target: Path, options: dict) -> float:
    """Peak of the larger one of two fresh workers, in bytes."""
    with local_cluster([None, None]) as (client, _):
        report = run_batch(source, target, config=BatchConfig(**options), client=client)
        assert report.ok
        return max(client.run(peak).values())


def peaks(make, folder: Path, options: dict) -> list[float]:
    """Peaks for volumes of one, two, four and eight times the size."""
    warm = make(folder / "warm", 1)
    # Compiling takes memory, too: once for all that follow.
    worst_of(warm, folder / "warm" / "out.zarr", options)
    found = []
    for number, times in enumerate(TIMES):
        source = make(folder / str(number), times)
        found.append(worst_of(source, folder / str(number) / "out.zarr", options))
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_memory_of_workers_that_segment_is_that_of_a_block(tmp_path):
    # Three blocks, so that one of them has both its margins.
    tile = noisy(cells((64, 64, 96), 200))

    def make(folder, times):
        folder.mkdir()
        path = affinity_file(folder, tile)
        repeated(path / "0", times)
        return path

    found = peaks(make, tmp_path, SEGMENTING)
    assert max(found) <= 1.1 * min(found), [round(f / 2**20) for f in found]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_memory_of_workers_that_predict_is_that_of_a_block(tmp_path):
    # Longer than what the network sees.
    tile = np.random.default_rng(0).integers(0, 256, (32, 32, 160), np.uint8)

    def make(folder, times):
        folder.mkdir()
        zarr.create_array(folder / "raw.zarr", data=tile, chunks=(32, 32, 32))
        repeated(folder / "raw.zarr", times)
        return folder / "raw.zarr"

    found = peaks(make, tmp_path, {**PREDICTING, "spacing": (10, 10, 10), "unit": "nanometer"})
    assert max(found) <= 1.1 * min(found), [round(f / 2**20) for f in found]
