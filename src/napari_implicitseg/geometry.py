"""Geometry drawn in a Shapes layer, turned into label arrays.

Rectangles, ellipses and polygons are filled regions; lines and paths are
strokes as wide as their edge. A figure may lie in any plane of a volume; a line
or path may also run freely through it. This module knows nothing of napari: a
figure is its kind, its vertices and an id.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from skimage.draw import polygon2mask

from napari_implicitseg.errors import InputError, ScribbleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["Figure", "FigureKind", "add_figures", "add_voxels", "draw_figures", "voxels_of"]

FigureKind = Literal["rectangle", "ellipse", "polygon", "line", "path"]

_FILLED = ("rectangle", "ellipse", "polygon")
_ELLIPSE_VERTICES = 128
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a Shapes layer, in the array coordinates of an image.

    Attributes
    ----------
    kind : {"rectangle", "ellipse", "polygon", "line", "path"}
        The first three are filled, the others are strokes.
    vertices : ndarray of float, shape (N, D)
        Corners in array coordinates: voxel i has its centre at i. Rectangles
        and ellipses have the four corners of their box.
    label : int
        Id painted; positive.
    width : float
        Width of a stroke, in voxels of the last axis. A stroke is never thinner
        than one voxel.
    name : str
        What to call the figure in messages.
    """

    kind: FigureKind
    vertices: NDArray[np.floating[Any]]
    label: int
    width: float = 1.0
    name: str = "shape"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        if self.kind not in get_args(FigureKind):
            raise InputError(
                f"{self.name} is a {self.kind!r}; only {', '.join(get_args(FigureKind))} "
                "can be scribbles. Draw it as one of these."
            )
        vertices = np.asarray(self.vertices, np.float64)
        if vertices.ndim != 2 or len(vertices) < 1 or not np.isfinite(vertices).all():
            raise InputError(
                f"{self.name} has vertices of shape {vertices.shape}; it needs finite "
                "coordinates, one row per vertex. Delete it and draw it again."
            )
        if self.label < 1:
            raise ScribbleError(
                f"{self.name} has label {self.label}; labels must be 1 or more. "
                "Change it in the layer's features table."
            )


def voxels_of(
    figure: Figure, shape: Sequence[int], *, spacing: Sequence[float] | None = None
) -> NDArray[np.int64]:
    """List the voxels a figure covers.

    Parameters
    ----------
    figure : Figure
    shape : sequence of int
        Shape of the array to draw into; what lies outside is cut off.
    spacing : sequence of float, optional
        Voxel size per axis: strokes that run through a volume are round in
        physical units. 1 by default.

    Returns
    -------
    ndarray of int64, shape (N, D)
        Array indices, each once.

    Raises
    ------
    InputError
        If the figure has another number of axes than the array.
    ScribbleError
        If a filled figure does not lie in a plane.
    """
    size = np.asarray(shape, np.int64)
    vertices = np.asarray(figure.vertices, np.float64)
    if vertices.shape[1] != len(size):
        raise InputError(
            f"{figure.name} has {vertices.shape[1]} axes but the image has {len(size)}. "
            "Draw it in a Shapes layer with as many axes as the image."
        )
    scale = np.ones(len(size)) if spacing is None else np.abs(np.asarray(spacing, np.float64))
    if figure.kind in _FILLED:
        return _filled(_outline(figure, vertices), size, figure.name)
    return _stroke(vertices, figure.width, size, scale / scale[-1])


def draw_figures(
    figures: Iterable[Figure],
    shape: Sequence[int],
    *,
    spacing: Sequence[float] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw figures; each voxel gets one id.

    Parameters
    ----------
    figures : iterable of Figure
    shape : sequence of int
        Shape of the array the coordinates refer to.
    spacing : sequence of float, optional
        Voxel size per axis.

    Returns
    -------
    coords : ndarray of int64, shape (N, D)
        Array indices of the covered voxels, each once.
    ids : ndarray of int64, shape (N,)
        The id at each.

    Raises
    ------
    ScribbleError
        If figures with two ids cover the same voxel.
    """
    size = tuple(int(n) for n in shape)
    covered: dict[int, list[NDArray[np.int64]]] = defaultdict(list)
    for figure in figures:
        coords = voxels_of(figure, size, spacing=spacing)
        covered[figure.label].append(np.ravel_multi_index(tuple(coords.T), size))
    flat = {label: np.unique(np.concatenate(parts)) for label, parts in covered.items()}
    if not flat:
        return np.empty((0, len(size)), np.int64), np.empty(0, np.int64)
    where = np.concatenate(list(flat.values()))
    ids = np.repeat(np.fromiter(flat, np.int64, len(flat)), [len(v) for v in flat.values()])
    order = np.argsort(where, kind="stable")
    where, ids = where[order], ids[order]
    twice = np.flatnonzero(where[1:] == where[:-1])
    if twice.size:
        first = int(twice[0])
        raise _contradiction(
            "Two shapes", ids[first], ids[first + 1], where[first], size, twice.size
        )
    return np.stack(np.unravel_index(where, size), axis=1).astype(np.int64), ids


def add_figures(
    labels: NDArray[np.integer[Any]],
    figures: Iterable[Figure],
    *,
    spacing: Sequence[float] | None = None,
    name: str = "scribbles",
) -> NDArray[np.integer[Any]]:
    """Draw figures into a copy of a label array.

    Parameters
    ----------
    labels : ndarray of integer
        Painted scribbles, 0 where nothing was painted. Not changed.
    figures : iterable of Figure
    spacing : sequence of float, optional
        Voxel size per axis.
    name : str
        What to call the label array in messages.

    Returns
    -------
    ndarray of integer, like `labels`
        In a wider dtype where an id needs it.

    Raises
    ------
    ScribbleError
        If a figure covers a voxel painted with another id, or two figures with
        different ids overlap.
    """
    coords, ids = draw_figures(figures, labels.shape, spacing=spacing)
    return add_voxels(labels, coords, ids, name=name)


def add_voxels(
    labels: NDArray[np.integer[Any]],
    coords: NDArray[np.int64],
    ids: NDArray[np.int64],
    *,
    name: str = "scribbles",
) -> NDArray[np.integer[Any]]:
    """Write drawn voxels into a copy of a label array.

    Parameters
    ----------
    labels : ndarray of integer
        Painted scribbles, 0 where nothing was painted. Not changed.
    coords, ids : ndarray of int64, shapes (N, D) and (N,)
        As from `draw_figures`.
    name : str
        What to call the label array in messages.

    Returns
    -------
    ndarray of integer, like `labels`
        In a wider dtype where an id needs it.

    Raises
    ------
    ScribbleError
        If a voxel is painted with another id already.
    """
    if not len(ids):
        return labels.copy()
    index = tuple(coords.T)
    painted = labels[index].astype(np.int64)
    wrong = np.flatnonzero((painted != 0) & (painted != ids))
    if wrong.size:
        first = int(wrong[0])
        flat = int(np.ravel_multi_index(tuple(coords[first]), labels.shape))
        who = f"A shape and layer '{name}'"
        raise _contradiction(who, ids[first], painted[first], flat, labels.shape, wrong.size)
    wide = np.promote_types(labels.dtype, np.min_scalar_type(int(ids.max())))
    drawn = labels.astype(wide if wide.kind in "iu" else np.int64)
    drawn[index] = ids
    return drawn


def _contradiction(
    who: str, one: int, other: int, flat: int, shape: tuple[int, ...], count: int
) -> ScribbleError:
    """Name two ids that claim one voxel."""
    position = tuple(int(i) for i in np.unravel_index(int(flat), shape))
    low, high = sorted((int(one), int(other)))
    return ScribbleError(
        f"{who} contradict each other: labels {low} and {high} both claim the voxel at "
        f"{position} ({count} voxels in all). Move or delete one of them, or give both the "
        "same label."
    )


def _outline(figure: Figure, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the polygon around a filled figure."""
    if figure.kind != "ellipse":
        return vertices
    if len(vertices) != 4:
        raise InputError(
            f"{figure.name} is an ellipse with {len(vertices)} vertices; it needs the four "
            "corners of its box. Delete it and draw it again."
        )
    centre = vertices.mean(axis=0)
    one, other = (vertices[1] - vertices[0]) / 2, (vertices[3] - vertices[0]) / 2
    angle = np.linspace(0, 2 * math.pi, _ELLIPSE_VERTICES, endpoint=False)[:, None]
    return np.asarray(centre + np.cos(angle) * one + np.sin(angle) * other)


def _filled(outline: NDArray[np.float64], size: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    """List the voxels inside a plane polygon.

    The polygon is seen along the axis its plane is steepest to, filled there in
    2D, and each pixel put back on the plane.
    """
    if len(size) == 1:
        inside = np.arange(size[0])
        covered = (inside >= outline.min()) & (inside <= outline.max())
        return np.asarray(inside[covered][:, None], np.int64)
    plane, offset = _planes(outline, name)
    flat_axes = [a for a in range(len(size)) if a not in plane]
    low = np.maximum(np.floor(outline[:, flat_axes].min(axis=0)).astype(np.int64), 0)
    high = np.minimum(
        np.ceil(outline[:, flat_axes].max(axis=0)).astype(np.int64) + 1, size[flat_axes]
    )
    if (low >= high).any():
        return np.empty((0, len(size)), np.int64)
    mask = polygon2mask(tuple(high - low), outline[:, flat_axes] - low)
    seen = np.argwhere(mask) + low
    if not len(seen):
        # A figure smaller than a pixel still marks the pixel it lies in.
        seen = np.rint(outline[:, flat_axes].mean(axis=0, keepdims=True)).astype(np.int64)
    coords = np.empty((len(seen), len(size)), np.int64)
    coords[:, flat_axes] = seen
    for axis, (slope, shift) in zip(plane, offset, strict=True):
        coords[:, axis] = np.rint(seen @ slope + shift)
    return coords[((coords >= 0) & (coords < size)).all(axis=1)]


def _planes(
    outline: NDArray[np.float64], name: str
) -> tuple[list[int], list[tuple[NDArray[np.float64], float]]]:
    """Choose the axes to look along and express them by the two that remain."""
    ndim = outline.shape[1]
    if ndim == 2:
        return [], []
    centred = outline - outline.mean(axis=0)
    basis = np.linalg.svd(centred, full_matrices=False)[2][:2]
    seen = _best_pair(basis)
    along = [a for a in range(ndim) if a not in seen]
    design = np.column_stack([outline[:, seen], np.ones(len(outline))])
    found: list[tuple[NDArray[np.float64], float]] = []
    for axis in along:
        solution = np.asarray(np.linalg.lstsq(design, outline[:, axis])[0], np.float64)
        off = float(np.abs(design @ solution - outline[:, axis]).max())
        if off > 1.0:
            raise ScribbleError(
                f"{name} is filled but does not lie in a plane: it is off by {off:.1f} voxels "
                f"along axis {axis}. Draw it within one slice, or as a path."
            )
        found.append((solution[:-1], float(solution[-1])))
    return along, found


def _best_pair(basis: NDArray[np.float64]) -> list[int]:
    """Return the two axes on which a plane casts its largest shadow."""
    ndim = basis.shape[1]
    best, pair = -1.0, [ndim - 2, ndim - 1]
    for i in range(ndim - 1, -1, -1):
        for j in range(i - 1, -1, -1):
            area = abs(float(basis[0, i] * basis[1, j] - basis[0, j] * basis[1, i]))
            if area > best + 1e-9:
                best, pair = area, [j, i]
    return pair


def _stroke(
    vertices: NDArray[np.float64],
    width: float,
    size: NDArray[np.int64],
    scale: NDArray[np.float64],
) -> NDArray[np.int64]:
    """List the voxels within half a width of a chain of segments.

    Along axes on which all vertices share a slice the stroke stays in it; where
    that leaves less than a plane, only the leading axes count as slices.
    """
    rounded = np.rint(vertices).astype(np.int64)
    shared = (rounded == rounded[0]).all(axis=0)
    leading = np.arange(len(size)) < len(size) - 2
    flat = shared if shared.sum() <= len(size) - 2 else shared & leading
    radius = np.where(flat, 0.0, max(width, 1.0) / 2 / scale)
    chain = np.where(flat, rounded, vertices)
    ends = chain if len(chain) > 1 else chain.repeat(2, axis=0)
    parts = [_segment(a, b, radius, size) for a, b in itertools.pairwise(ends)]
    return np.unique(np.concatenate(parts), axis=0)


def _segment(
    start: NDArray[np.float64],
    stop: NDArray[np.float64],
    radius: NDArray[np.float64],
    size: NDArray[np.int64],
) -> NDArray[np.int64]:
    """List the voxels within `radius` (an ellipsoid) of a segment, and those on it."""
    steps = int(np.ceil(np.abs(stop - start).max() * 2)) + 1
    spine = start + np.linspace(0, 1, steps)[:, None] * (stop - start)
    reach = np.ceil(radius).astype(np.int64)
    ball = np.indices(tuple(2 * reach + 1)).reshape(len(size), -1).T - reach
    parts = [np.rint(spine).astype(np.int64)]
    rows = max(1, _CHUNK // max(1, len(ball)))
    for first in range(0, steps, rows):
        centre = spine[first : first + rows, None]
        near = np.rint(centre).astype(np.int64) + ball
        distance = (((near - centre) / np.maximum(radius, 0.5)) ** 2).sum(axis=2)
        parts.append(np.unique(near[distance <= 1.0], axis=0))
    coords = np.unique(np.concatenate(parts), axis=0)
    return coords[((coords >= 0) & (coords < size)).all(axis=1)]
