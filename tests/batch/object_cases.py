"""Small volumes of objects, to be repaired or fitted to scribbles block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
from scipy import ndimage

from napari_implicitseg import convert
from napari_implicitseg.volumes import Grid, write_labels

from .batch_cases import cells

if TYPE_CHECKING:
    from pathlib import Path


BACKGROUND = 1


def damaged(shape: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Cells that touch each other, with pieces missing and others attached."""
    rng = np.random.default_rng(seed)
    labels = cells(shape, count, seed)
    labels[ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.12] = 0
    moved = np.roll(labels, 5, axis=-1)
    swapped = ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0.15
    labels[swapped] = moved[swapped]
    return labels


def blobs(shape: tuple[int, ...], centres, radius: float, sizes=None) -> np.ndarray:
    """Balls, or ellipsoids by voxel size, with ids from 2."""
    grid = np.indices(shape).astype(float)
    sizes = sizes or (1.0,) * len(shape)
    labels = np.zeros(shape, np.uint32)
    for number, centre in enumerate(centres, 2):
        away = sum(((g - c) * s) ** 2 for g, c, s in zip(grid, centre, sizes, strict=True))
        labels[away < radius**2] = number
    return labels


def strokes_of(labels: np.ndarray, *, background: bool = True) -> np.ndarray:
    """A short stroke through the middle of each object, and dots on the background."""
    strokes = np.zeros_like(labels)
    for box, number in zip(ndimage.find_objects(labels), range(1, labels.max() + 1), strict=True):
        if box is None:
            continue
        middle = tuple((part.start + part.stop) // 2 for part in box[:-1])
        quarter = (box[-1].stop - box[-1].start) // 4
        along = slice(box[-1].start + quarter, box[-1].stop - quarter)
        strokes[(*middle, along)] = number
    if background:
        free = np.zeros(labels.shape, bool)
        free[(slice(3, None, 12),) * labels.ndim] = True
        strokes[free & (ndimage.binary_dilation(labels > 0, iterations=3) == 0)] = BACKGROUND
    return strokes


def image_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Grey levels of objects on a darker background, with noise."""
    noise = np.random.default_rng(seed).normal(0, 8, labels.shape)
    blurred = ndimage.gaussian_filter((labels > 0).astype(float), 0.7)
    return np.clip(60 + 120 * blurred + noise, 0, 255).astype(np.uint8)


def label_file(folder: Path, labels: np.ndarray, spacing=None) -> Path:
    """Write labels as OME-Zarr."""
    grid = Grid.plain(labels.ndim)
    if spacing is not None:
        grid = grid.with_spacing(spacing, "nanometer")
    write_labels(folder / "labels.zarr", labels, grid)
    return folder / "labels.zarr"


def scribbled_file(
    folder: Path, image: np.ndarray, strokes: np.ndarray, spacing=None, axes=None
) -> Path:
    """Write an image as OME-Zarr with its scribbles in it."""
    tifffile.imwrite(folder / "image.tif", image)
    convert(folder / "image.tif", folder / "image.zarr", spacing=spacing, axes=axes)
    ndim = strokes.ndim
    grid = Grid.plain(ndim)
    if spacing is not None:
        grid = grid.with_spacing(spacing)
    write_labels(folder / "image.zarr" / "labels" / "scribbles", strokes, grid)
    return folder / "image.zarr"


def agreement(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Intersection over union of each object in two label images."""
    ids = np.union1d(np.unique(one), np.unique(other))
    pairs = ((one == i, other == i) for i in ids[ids != 0])
    return [float((a & b).sum() / (a | b).sum()) for a, b in pairs]
