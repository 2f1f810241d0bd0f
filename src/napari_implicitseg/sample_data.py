"""Sample images and volumes, as napari layer tuples.

Everything comes from files that scikit-image carries or is generated from a
seed, so the samples open without a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, LabelArray

    LayerTuple: TypeAlias = tuple[NDArray[Any], dict[str, Any], str]

__all__ = [
    "coins",
    "coins_image",
    "coins_scribbles",
    "coins_stack",
    "coins_truth",
    "em_truth_and_image",
    "em_volume",
]

_BACKGROUND = 1
_EM_SPACING = (30.0, 8.0, 8.0)
_STACK_CENTRE = (161.0, 128.0)


def coins() -> list[LayerTuple]:
    """Open the photograph of coins with scribbles on six of them.

    Returns
    -------
    list of layer tuples
        `coins`, uint8 (303, 384), and `coins scribbles`, background 1 and six
        coins from 2.
    """
    truth = coins_truth()
    scribbles = coins_scribbles(truth, chosen=np.arange(2, 8, dtype=np.uint32))
    return [
        (coins_image(), {"name": "coins"}, "image"),
        (scribbles, {"name": "coins scribbles"}, "labels"),
    ]


def coins_image() -> NDArray[np.uint8]:
    """Return the photograph of Greek coins from Pompeii, uint8 (303, 384).

    From scikit-image, after the Brooklyn Museum Collection; no known copyright.
    """
    from skimage import data

    return np.asarray(data.coins(), np.uint8)


def coins_truth() -> LabelArray:
    """Outline the coins of the photograph.

    The outline is approximate: a watershed of the gradient between pixels that
    are surely dark and surely bright, holes filled and bumps opened away. It
    uses neither scribbles nor shape, so it can judge a fit; it is not drawn by
    a person.

    Returns
    -------
    ndarray of uint32, shape (303, 384)
        0 outside, the 24 coins from 2 on, row by row.
    """
    from scipy import ndimage
    from skimage import filters, measure, segmentation
    from skimage.morphology import disk

    image = coins_image()
    sure = np.zeros(image.shape, np.int32)
    sure[image < 30] = 1
    sure[image > 150] = 2
    bright = segmentation.watershed(filters.sobel(image), sure) == 2
    solid = ndimage.binary_opening(ndimage.binary_fill_holes(bright), disk(5))
    regions = [r for r in measure.regionprops(measure.label(solid)) if r.area > 300]
    rows = sorted(regions, key=lambda r: (round(r.centroid[0] / 72), r.centroid[1]))
    truth = np.zeros(image.shape, np.uint32)
    for label, region in enumerate(rows, start=_BACKGROUND + 1):
        truth[tuple(region.coords.T)] = label
    return truth


def coins_scribbles(
    truth: LabelArray, *, chosen: NDArray[np.uint32] | None = None
) -> NDArray[np.uint16]:
    """Scribble on the coins as a person might.

    Each coin gets one level stroke over the middle half of its width; the
    background gets strokes between the coins, as far from them as they can be.

    Parameters
    ----------
    truth : ndarray of uint32, shape (Y, X)
        Outlines, as from `coins_truth`.
    chosen : ndarray of uint32, optional
        Scribble on these coins only; on all by default.

    Returns
    -------
    ndarray of uint16, like `truth`
        0 unlabelled, 1 background, coins from 2.
    """
    drawn = np.zeros(truth.shape, np.uint16)
    drawn[_gaps(truth > 0)] = _BACKGROUND
    labels = np.unique(truth[truth > 0])
    for label in labels if chosen is None else np.intersect1d(labels, chosen):
        drawn[_level_stroke(truth == label)] = label
    return drawn


def coins_stack() -> list[LayerTuple]:
    """Open a stack in which the camera moves away from four of the coins.

    The slices are resampled from the photograph, so each coin is convex in
    every slice and a slanted cone, also convex, through the stack.

    Returns
    -------
    list of layer tuples
        `coins stack`, uint8 (12, 160, 160), and `coins stack scribbles` on the
        first, middle and last slice.
    """
    from scipy import ndimage

    image, truth = coins_image(), coins_truth()
    middle = np.array(_STACK_CENTRE)[:, None, None]
    four = np.unique(truth[110:210, 80:180])
    grid = np.indices((160, 160)) - 79.5
    stack = np.empty((12, 160, 160), np.uint8)
    scribbles = np.zeros(stack.shape, np.uint16)
    for z, zoom in enumerate(np.linspace(1.42, 0.9, len(stack))):
        where = grid / zoom + middle
        stack[z] = ndimage.map_coordinates(image, where, order=1)
        if z in (0, (len(stack) - 1) // 2, len(stack) - 1):
            seen = ndimage.map_coordinates(truth, where, order=0)
            scribbles[z] = coins_scribbles(seen, chosen=four)
    units = {"scale": (4.0, 1.0, 1.0)}
    return [
        (stack, {"name": "coins stack", **units}, "image"),
        (scribbles, {"name": "coins stack scribbles", **units}, "labels"),
    ]


def em_volume(seed: int = 0) -> list[LayerTuple]:
    """Open a synthetic electron-microscopy volume with truth and scribbles.

    Parameters
    ----------
    seed : int
        Makes another volume.

    Returns
    -------
    list of layer tuples
        `EM volume`, uint8 (24, 160, 160), voxels of 30 x 8 x 8 nm; `EM truth`,
        hidden; `EM scribbles`: two cells, on three slices each, and background
        around them.
    """
    truth, image = em_truth_and_image(seed)
    place = {"scale": _EM_SPACING, "units": ("nm",) * 3, "axis_labels": ("z", "y", "x")}
    return [
        (image, {"name": "EM volume", **place}, "image"),
        (truth, {"name": "EM truth", "visible": False, **place}, "labels"),
        (_em_scribbles(truth), {"name": "EM scribbles", **place}, "labels"),
    ]


def em_truth_and_image(
    seed: int = 0, shape: tuple[int, int, int] = (24, 160, 160)
) -> tuple[LabelArray, NDArray[np.uint8]]:
    """Generate cells and how an electron microscope would show them.

    Cells are the regions nearest to random seeds, in physical units, so they
    are convex up to the image border; membranes between them are dark, some
    cells hold darker organelles, and there is texture and noise.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    shape : tuple of int
        Voxels per axis, `(z, y, x)`.

    Returns
    -------
    truth : ndarray of uint32
        Cells from 2 on, 0 is membrane.
    image : ndarray of uint8
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    spacing = np.asarray(_EM_SPACING)
    extent = np.asarray(shape) * spacing
    seeds = _spread_points(rng, extent, distance=300.0)
    nearest, gap = _nearest_and_gap(seeds, shape, spacing)
    truth = np.where(gap > 12.0, nearest + 2, 0).astype(np.uint32)
    grey = 168.0 + 14.0 * rng.standard_normal(len(seeds))[nearest]
    grey += 60.0 * (ndimage.gaussian_filter(rng.standard_normal(shape), (0.6, 2, 2)))
    for centre in rng.uniform(0, extent, (len(seeds), 3)):
        reach = rng.uniform(30, 60, 3)
        away = sum(
            (((np.arange(n) * s - c) / r) ** 2).reshape([-1 if a == i else 1 for a in range(3)])
            for i, (n, s, c, r) in enumerate(zip(shape, spacing, centre, reach, strict=True))
        )
        grey -= 45.0 * ((away < 1) & (gap > 20.0))
    grey -= 105.0 * np.exp(-((gap / 11.0) ** 2))
    grey = ndimage.gaussian_filter(grey, (0, 0.7, 0.7)) + 9.0 * rng.standard_normal(shape)
    return truth, np.clip(grey, 0, 255).astype(np.uint8)


def _spread_points(
    rng: np.random.Generator, extent: NDArray[np.float64], distance: float
) -> NDArray[np.float64]:
    """Draw points at least `distance` apart until no more fit easily."""
    points: list[NDArray[np.float64]] = []
    for _ in range(600):
        point = rng.uniform(0, extent)
        if all(np.linalg.norm(point - p) > distance for p in points):
            points.append(point)
    return np.array(points)


def _nearest_and_gap(
    seeds: NDArray[np.float64], shape: tuple[int, int, int], spacing: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each voxel's nearest seed and its distance to the wall to the next one."""
    from scipy.spatial import cKDTree

    position = np.indices(shape).reshape(3, -1).T * spacing
    distance, index = cKDTree(seeds).query(position, k=2)
    between = np.linalg.norm(seeds[index[:, 0]] - seeds[index[:, 1]], axis=1)
    gap = (distance[:, 1] ** 2 - distance[:, 0] ** 2) / (2 * between)
    return index[:, 0].reshape(shape), gap.reshape(shape)


def _em_scribbles(truth: LabelArray) -> NDArray[np.uint16]:
    """Stroke the two largest cells of the middle slice that stay clear of the border."""
    from scipy import ndimage

    drawn = np.zeros(truth.shape, np.uint16)
    middle = (len(truth) - 1) // 2
    near_border = truth.copy()
    near_border[:, 16:-16, 16:-16] = 0
    whole = np.setdiff1d(np.unique(truth[middle]), np.unique(near_border))
    sizes = ndimage.sum_labels(np.ones_like(truth[middle]), truth[middle], whole)
    ranked = whole[np.argsort(sizes)[::-1]]
    seen = {k: np.flatnonzero((truth == k).sum(axis=(1, 2)) > 150) for k in ranked.tolist()}
    chosen = [k for k, z in seen.items() if len(z) > 4][:2]
    for label in chosen:
        mask, z_seen = truth == label, seen[label]
        # Second and last but one: the strokes leave something to be found.
        for z in (z_seen[1], z_seen[len(z_seen) // 2], z_seen[-2]):
            drawn[z][_level_stroke(mask[z])] = label
            around = ndimage.binary_dilation(mask[z], iterations=9)
            rim = around & ~ndimage.binary_erosion(around) & ~np.isin(truth[z], chosen)
            drawn[z][rim] = _BACKGROUND
    return drawn


def _level_stroke(mask: BoolArray) -> BoolArray:
    """Return a level stroke, 3 pixels high, through the deepest place of a mask."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(mask)
    row, column = np.unravel_index(int(depth.argmax()), mask.shape)
    reach = round(0.8 * float(depth.max()))
    stroke = np.zeros_like(mask)
    stroke[max(0, row - 1) : row + 2, max(0, column - reach) : column + reach + 1] = True
    inside: BoolArray = depth > 1.5
    return stroke & inside


def _gaps(objects: BoolArray) -> BoolArray:
    """Return strokes that cross the image between objects, as far from them as possible."""
    from scipy import ndimage
    from skimage.graph import route_through_array

    room = ndimage.distance_transform_edt(~objects)
    cost = 1.0 / (0.5 + np.minimum(room, 12.0)) ** 3 + 1e3 * objects
    strokes = np.zeros_like(objects)
    height, width = objects.shape
    for share in (0.02, 0.26, 0.5, 0.74, 0.98):
        left = _widest(room[:, 0], round(share * (height - 1)))
        right = _widest(room[:, -1], round(share * (height - 1)))
        path, _ = route_through_array(cost, (left, 0), (right, width - 1))
        strokes[tuple(np.array(path).T)] = True
    return np.asarray(ndimage.binary_dilation(strokes) & (room > 3))


def _widest(room: NDArray[np.float64], near: int) -> int:
    """Return the index with most room within 25 pixels of a place."""
    low = max(0, near - 25)
    window = np.minimum(room[low : near + 26], 10) - 0.1 * np.abs(
        np.arange(low, min(len(room), near + 26)) - near
    )
    return low + int(np.argmax(window))
