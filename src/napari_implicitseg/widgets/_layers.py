"""Reading napari layers and making layers that lie where another one lies."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms.transform_utils import compose_linear_matrix

from napari_implicitseg.errors import InputError, ScribbleError
from napari_implicitseg.geometry import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Labels, Layer, Shapes
    from numpy.typing import NDArray

__all__ = [
    "HIDDEN_FROM_CHOICES",
    "Region",
    "as_lazy",
    "figures_of",
    "finished_figures",
    "level_data",
    "level_matching",
    "level_shapes",
    "level_shown",
    "like",
    "region_of",
    "size_unit",
    "spacing_of",
]

HIDDEN_FROM_CHOICES = "napari_implicitseg:preview"
"""Key of `layer.metadata` that keeps a layer out of the combo boxes."""

_LABEL_COLUMN = "label"


@dataclass(frozen=True, slots=True)
class Region:
    """The part of an array a fit works on: some axes whole, the others at one index.

    Attributes
    ----------
    axes : tuple of int
        The axes kept, in the order the fit sees them.
    index : tuple of int or None
        Position along each axis of the array; None along those kept.
    """

    axes: tuple[int, ...]
    index: tuple[int | None, ...]

    def take(self, array: Any) -> Any:
        """Cut the region out of an array whose leading axes are the spatial ones.

        NumPy arrays give a view; other arrays are cut lazily, through dask if
        need be, because indexing a zarr array reads all of it at once.
        """
        extra = array.ndim - len(self.index)
        order = [sorted(self.axes).index(a) for a in self.axes]
        order += range(len(order), len(order) + extra)
        cut = tuple(slice(None) if i is None else i for i in self.index)
        if cut == (slice(None),) * len(cut) and order == sorted(order):
            return array
        if not isinstance(array, np.ndarray):
            array = as_lazy(array)
        return array[cut].transpose(order)

    def with_leading(self) -> Region:
        """Return the same region of an array with one more axis before all, which is kept."""
        return Region((0, *(axis + 1 for axis in self.axes)), (None, *self.index))

    def of(self, values: Sequence[float]) -> tuple[float, ...]:
        """Pick the values of the kept axes."""
        return tuple(float(values[a]) for a in self.axes)

    def shape(self, whole: Sequence[int]) -> tuple[int, ...]:
        """Shape of the region in an array of this shape."""
        return tuple(int(whole[a]) for a in self.axes)

    def place(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        """Turn a box of the region into a box of the array."""
        found = [slice(i, i + 1) if i is not None else slice(None) for i in self.index]
        for axis, part in zip(self.axes, box, strict=True):
            found[axis] = part
        return tuple(found)


def as_lazy(array: Any) -> Any:
    """Return an array as a dask array, for work on it that is done piece by piece."""
    if hasattr(array, "dask"):
        return array
    import dask.array

    chunks = getattr(array, "chunks", None) or "auto"
    name = False if isinstance(array, np.ndarray) else None  # Its name would be a hash of it.
    return dask.array.from_array(array, chunks=chunks, name=name)


def region_of(
    scope: str, shape: Sequence[int], order: Sequence[int], point: Sequence[float]
) -> Region:
    """Find the region a scope means in the viewer's present view.

    Parameters
    ----------
    scope : {"slice", "slices", "volume"}
        The plane shown; all planes parallel to it, one by one; the volume.
    shape : sequence of int
        Spatial shape of the array.
    order : sequence of int
        The viewer's axis order, restricted to the array's axes.
    point : sequence of float
        Position shown, in array coordinates.
    """
    ndim = len(shape)
    if scope == "slice" or ndim < 3:
        kept = tuple(sorted(order[-2:]))
    elif scope == "slices":
        kept = (order[-3], *sorted(order[-2:]))
    else:
        kept = tuple(sorted(order[-3:]))
    index = tuple(
        None if a in kept else min(max(round(float(point[a])), 0), int(shape[a]) - 1)
        for a in range(ndim)
    )
    return Region(kept, index)


def level_shapes(image: Image | Labels) -> list[tuple[int, ...]]:
    """Return the spatial shape of each level; one for single-scale images."""
    levels = image.data if image.multiscale else [image.data]
    return [tuple(int(n) for n in level.shape[: image.ndim]) for level in levels]


def level_shown(image: Image) -> int:
    """Return the level of a multiscale image the viewer shows now, 0 for others."""
    return int(image.data_level) if image.multiscale else 0


def level_matching(image: Image, labels: Labels) -> int:
    """Find the level of an image that a Labels layer was made for.

    Raises
    ------
    InputError
        If there is none, or the Labels layer is multiscale.
    """
    if labels.multiscale:
        raise InputError(
            f"Layer '{labels.name}' is multiscale; napari cannot paint those. "
            'Make a layer to paint on with "New scribbles".'
        )
    shape = tuple(int(n) for n in labels.data.shape)
    shapes = level_shapes(image)
    if shape not in shapes:
        has = " or ".join(str(s) for s in shapes)
        raise InputError(
            f"Layer '{labels.name}' has shape {shape} but image '{image.name}' has {has}. "
            'Make a matching one with "New scribbles".'
        )
    return shapes.index(shape)


def level_data(image: Image, level: int) -> Any:
    """Return the array of a level, as the layer holds it."""
    return image.data[level] if image.multiscale else image.data


def like(image: Image | Labels, level: int = 0) -> dict[str, Any]:
    """Return what a new layer needs to lie on a level of an image.

    napari draws voxel 0 of a level with its corner, not its centre, on that of
    the full image, so coarser levels are shifted by half the difference.
    """
    shapes = np.array(level_shapes(image), float)
    factor = shapes[0] / shapes[level]
    linear = compose_linear_matrix(image.rotate, image.scale, image.shear)
    return {
        "scale": np.asarray(image.scale) * factor,
        "translate": np.asarray(image.translate) + linear @ ((factor - 1) / 2),
        "rotate": image.rotate,
        "shear": image.shear,
        "affine": image.affine,
        "units": image.units,
        "axis_labels": image.axis_labels,
    }


def align(layer: Layer, image: Image | Labels, level: int = 0) -> None:
    """Move a layer to where a level of an image lies now, if that was moved or calibrated."""
    for name, value in like(image, level).items():
        if not np.array_equal(getattr(layer, name), value):
            setattr(layer, name, value)


def spacing_of(layer: Layer) -> tuple[float, ...]:
    """Voxel size of a layer per axis; a step in time counts as one in space."""
    sizes = [abs(float(s)) for s in layer.scale]
    for axis, (label, unit) in enumerate(zip(layer.axis_labels, layer.units, strict=True)):
        if str(label).lower() in ("t", "time") or unit.is_compatible_with("second"):
            sizes[axis] = sizes[-1]
    return tuple(sizes)


def size_unit(layer: Layer, axes: Sequence[int]) -> str:
    """Return the unit of an area or volume in a layer, for a person to read."""
    units = {f"{layer.units[a]:~P}" for a in axes}
    unit = units.pop() if len(units) == 1 else "px"
    flat = len(axes) == 2
    if unit in ("px", "pixel"):
        if all(abs(layer.scale[a]) == 1 for a in axes):
            return "px" if flat else "voxels"
        unit = "px"
    return unit + ("²" if flat else "³")


def finished_figures(shapes: Shapes) -> int:
    """Count the figures of a Shapes layer, less the last one while it is being drawn."""
    return len(shapes.data) - bool(shapes._is_creating)


def figures_of(
    shapes: Shapes, labels: Labels, region: Region, numbers: Sequence[int]
) -> list[Figure]:
    """Read the finished figures of a Shapes layer in the coordinates of a Labels layer.

    Parameters
    ----------
    shapes : Shapes
        A feature column `label` names the ids.
    labels : Labels
        The layer whose array coordinates to use.
    region : Region
        Where figures with fewer axes than the array lie.
    numbers : sequence of int
        Ids of the figures where there is no `label` column: each is an object of
        its own then.

    Raises
    ------
    ScribbleError
        If an id is missing or no positive integer, or a figure with too few
        axes would lie in no particular slice.
    """
    ids = _figure_ids(shapes, numbers)
    scale = abs(float(shapes.scale[-1]) / float(labels.scale[-1]))
    found = []
    rows = zip(shapes.data, shapes.shape_type, shapes.edge_width, ids, strict=False)
    count = finished_figures(shapes)
    for number, (vertices, kind, width, label) in enumerate(itertools.islice(rows, count)):
        found.append(
            Figure(
                kind=str(kind),  # type: ignore[arg-type]  # Figure refuses other kinds
                vertices=_to_array_coordinates(vertices, shapes, labels, region),
                label=label,
                width=float(width) * scale,
                name=f"Shape {number} of layer '{shapes.name}'",
            )
        )
    return found


def _figure_ids(shapes: Shapes, numbers: Sequence[int]) -> Sequence[int]:
    """Read the ids of the figures, or take those given."""
    if _LABEL_COLUMN not in shapes.features:
        return numbers
    found = []
    for number, value in enumerate(shapes.features[_LABEL_COLUMN]):
        try:
            number_value = float(value)
        except (TypeError, ValueError):
            number_value = math.nan
        if not number_value.is_integer() or number_value < 1:
            raise ScribbleError(
                f"Shape {number} of layer '{shapes.name}' has label {value!r} in its features "
                "table; it must be a whole number, 1 for background, objects from 2."
            )
        found.append(int(number_value))
    return found


def _to_array_coordinates(
    vertices: NDArray[Any], shapes: Shapes, labels: Labels, region: Region
) -> NDArray[np.float64]:
    """Map vertices of a Shapes layer into the array of a Labels layer."""
    world = np.array([shapes.data_to_world(v) for v in np.asarray(vertices, float)])
    missing = labels.ndim - world.shape[1]
    if missing < 0:
        raise ScribbleError(
            f"Layer '{shapes.name}' has {world.shape[1]} axes but '{labels.name}' only "
            f"{labels.ndim}. Draw in a Shapes layer with {labels.ndim} axes."
        )
    if missing and any(i is None for i in region.index[:missing]):
        raise ScribbleError(
            f"Layer '{shapes.name}' has {world.shape[1]} axes but '{labels.name}' has "
            f"{labels.ndim}: in which slice do its shapes lie? Work on the current slice, or "
            f"draw in a Shapes layer with {labels.ndim} axes."
        )
    padded = np.concatenate([np.zeros((len(world), missing)), world], axis=1)
    found = np.array([labels.world_to_data(v) for v in padded], float)
    for axis in range(missing):
        found[:, axis] = region.index[axis]
    return found
