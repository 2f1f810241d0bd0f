"""Small volumes for jobs over blocks, and what comes of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_implicitseg import labels_to_affinities
from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.volumes import Grid
from napari_implicitseg.volumes.affinity_files import write_affinities

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
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
    """Affinities of labels as a network might give them: smooth, and unsure at borders."""
    rng = np.random.default_rng(seed)
    exact = labels_to_affinities(labels, offsets, spacing=(8, 4, 4)[-labels.ndim :])
    rough = [ndimage.gaussian_filter(a, 0.7) for a in exact.data]
    data = np.clip(np.stack(rough) + rng.normal(0, 0.05, exact.data.shape), 0, 1)
    return Affinities(data=data.astype(np.float32), offsets=offsets, spacing=exact.spacing)


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
