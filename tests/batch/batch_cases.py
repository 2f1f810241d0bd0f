"""Small volumes for jobs over blocks, and what comes of them."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_implicitseg import convert, predict_affinities, run_batch
from napari_implicitseg.affinities.ops import Affinities, edge_slices
from napari_implicitseg.batch import engine
from napari_implicitseg.batch.jobs import run_block
from napari_implicitseg.volumes import Grid, read_labels
from napari_implicitseg.volumes.affinity_files import write_affinities

if TYPE_CHECKING:
    from pathlib import Path

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
BLOCKS = {"block_shape": (12, 20, 20), "halo": (10, 12, 12), "workers": 0}
PREDICTING = {"model": "fibsem-isotropic", "block_shape": (24, 24, 32), "workers": 0}
LONG = (*OFFSETS, (-3, 0, 0), (0, -5, 0), (0, 4, -2))
GRID = Grid(
    axes=("z", "y", "x"),
    scale=(8.0, 4.0, 4.0),
    translate=(0.0, 100.0, 0.0),
    units=("nanometer",) * 3,
)


def cells(shape: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Voxels by the nearest of some points."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, np.int64)
    places = tuple(rng.integers(0, n, count) for n in shape)
    seeds[places] = np.arange(1, count + 1)
    near = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    return seeds[tuple(near)].astype(np.uint32)


def noisy(labels: np.ndarray, offsets=OFFSETS, seed: int = 0) -> Affinities:
    """Affinities as a network gives them, low at membranes some voxels thick, and noisy."""
    rng = np.random.default_rng(seed)
    membrane = ndimage.gaussian_filter(find_boundaries(labels).astype(np.float32), 0.6)
    membrane += ndimage.gaussian_filter(rng.normal(0, 0.4, labels.shape), 1.0)
    data = np.zeros((len(offsets), *labels.shape), np.float32)
    for k, offset in enumerate(offsets):
        begin, end = edge_slices(labels.shape, offset)
        data[k][begin] = 1 - np.maximum(membrane[begin], membrane[end])
        data[k][begin][labels[begin] != labels[end]] *= 0.5
    np.clip(data, 0, 1, out=data)
    return Affinities(data=data, offsets=offsets, spacing=(8, 4, 4)[-labels.ndim :])


def affinity_file(folder: Path, affinities: Affinities) -> Path:
    """Write affinities as predict does."""
    path = folder / "affinities.zarr"
    grid = GRID if affinities.ndim == 3 else Grid.plain(2)
    write_affinities(path, affinities, grid)
    return path


def digest(folder: Path) -> str:
    """Digest of the names and bytes of all files of a result."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def labels_of(target: Path, name: str = "neurons") -> np.ndarray:
    """Labels that a job has written."""
    return np.asarray(read_labels(target / "labels" / name).data)


class Stop(BaseException):
    """Ends a run at once, as a kill does."""


def killed_until_done(monkeypatch, source, target, config, every):
    """Run a job that is stopped again and again: its report, the runs, and what was done."""
    done = []

    def stopping(job, stage, place):
        if done and len(done) % every == 0 and done[-1] is not None:
            done.append(None)
            raise Stop
        done.append((stage, place))
        return run_block(job, stage, place)

    monkeypatch.setattr(engine, "run_block", stopping)
    for runs in range(1, 31):
        with contextlib.suppress(Stop):
            report = run_batch(source, target, config=config)
            return report, runs, [step for step in done if step is not None]
    raise AssertionError("The job never ended.")


@pytest.fixture(scope="module", name="client")
def batch_client():
    """Two processes that wait for blocks."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture(scope="module", name="truth")
def batch_truth() -> np.ndarray:
    """Cells of 24 x 40 x 40 voxels."""
    return cells((24, 40, 40), 25)


@pytest.fixture(scope="module", name="affinities")
def batch_affinities(truth, tmp_path_factory):
    """Affinities of the cells, and a file of them."""
    made = noisy(truth)
    return made, affinity_file(tmp_path_factory.mktemp("affinities"), made)


@pytest.fixture(scope="module", name="volume")
def batch_volume(data_dir, tmp_path_factory):
    """A real volume as OME-Zarr, and its affinities as a whole."""
    raw = tifffile.imread(data_dir / "em" / "fib25" / "raw.tif")[:40, :48, :56]
    folder = tmp_path_factory.mktemp("raw")
    tifffile.imwrite(folder / "raw.tif", raw)
    convert(folder / "raw.tif", folder / "raw.zarr", spacing=(10, 10, 10))
    whole = predict_affinities(raw, "fibsem-isotropic", tile_shape=(40, 48, 56))
    return folder / "raw.zarr", whole
