"""What a job over blocks writes, shown from the disk while it is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.errors import FileError
from napari_implicitseg.napari_files import AFFINITIES_OF
from napari_implicitseg.volumes.lazy import DECODE_ERRORS
from napari_implicitseg.widgets._batch_grid import BLOCKS_OF
from napari_implicitseg.widgets._neurons_parts import with_leading_axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari.components import ViewerModel
    from numpy.typing import NDArray

__all__ = ["LandingArray", "ResultsView"]

_MOST_IN_3D = 1 << 27
"""Voxels that a view in 3D, which loads all, may load before there are coarser levels."""
_REST = 20.0
"""How much longer than drawing it took a layer rests before it is drawn again."""
_LEAST = 0.5
"""Seconds between two drawings."""


class LandingArray:
    """A zarr array whose blocks are still written; nothing of it is kept in memory.

    Parameters
    ----------
    path : Path
        Of the array.
    """

    def __init__(self, path: Path) -> None:
        from napari_implicitseg.batch.block_arrays import open_array

        self._array = open_array(path)
        self.shape = tuple(int(n) for n in self._array.shape)
        self.dtype = np.dtype(self._array.dtype)
        self.chunks = tuple(int(n) for n in self._array.chunks)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a window; 0 where nothing is yet, or cannot be read while it is written."""
        try:
            return np.asarray(self._array[key])
        except DECODE_ERRORS:
            # A block may be half written; the next drawing shows it.
            return np.zeros(_shape_of(self.shape, key), self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        return np.asarray(self[...], dtype)


def _shape_of(shape: tuple[int, ...], key: Any) -> tuple[int, ...]:
    """Return the shape that an index leads to."""
    found: tuple[int, ...] = np.broadcast_to(np.uint8(0), shape)[key].shape
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """What a job writes, and where.

    Attributes
    ----------
    path : Path
        Of the group; full resolution is its array "0".
    place : mapping
        Where the volume lies, as arguments of napari's layers.
    is_image : bool
        Whether it holds affinities and not labels.
    """

    path: Path
    place: Mapping[str, Any]
    is_image: bool


class ResultsView:
    """Shows a result as its blocks land, and all its levels once it is complete.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._result: Result | None = None
        self._layer: Image | Labels | None = None
        self._hidden = False
        self._rests_until = 0.0
        viewer.dims.events.ndisplay.connect(self._spare_memory)

    @property
    def layer(self) -> Image | Labels | None:
        """The layer, if it is in the viewer; users may delete it."""
        return self._layer if self._layer in self._viewer.layers else None

    def follow(self, path: Path | None, place: Mapping[str, Any], *, is_image: bool) -> None:
        """Show from now on what is written to a group; None shows nothing new."""
        same = path is not None and self._result is not None and self._result.path == path
        if not same or self.layer is None:
            # What the user has removed before this job may be shown again by this one.
            self._layer = None
        self._result = None if path is None else Result(path, place, is_image)

    def look(self) -> None:
        """Draw blocks that have landed, unless it was drawn a moment ago."""
        result = self._result
        if result is None or time.monotonic() < self._rests_until:
            return
        start = time.monotonic()
        if self._layer is None:
            if (result.path / "0" / "zarr.json").is_file():
                self._show(result, [LandingArray(result.path / "0")])
        elif self.layer is not None:
            self._draw(self.layer)
        spent = time.monotonic() - start
        self._rests_until = time.monotonic() + max(_LEAST, _REST * spent)

    def finish(self) -> None:
        """Show all levels of what is complete."""
        result = self._result
        if result is None or (self._layer is not None and self.layer is None):
            return
        levels = [LandingArray(path) for path in _levels(result.path)]
        if self.layer is not None and len(levels) == 1:
            self._draw(self.layer)  # It shows all there is.
        elif levels:
            self._show(result, levels)
        self._hidden = False

    def _draw(self, layer: Image | Labels) -> None:
        """Draw what is on the disk now; nothing is kept of what was read before."""
        layer.refresh(thumbnail=False, highlight=False, extent=False)

    def _show(self, result: Result, levels: list[LandingArray]) -> None:
        """Show some levels in a layer, in the place of the one there was."""
        old = self.layer
        options = self._options(result)
        if old is not None:
            for name in ("name", "opacity", "visible", "blending"):
                options[name] = getattr(old, name)
        if self._hidden:
            options["visible"] = True
        data: Any = levels if len(levels) > 1 else levels[0]
        active = self._viewer.layers.selection.active
        kind = Image if result.is_image else Labels
        made = kind(data, multiscale=len(levels) > 1, **options)
        made.editable = False
        if old is None:
            self._viewer.layers.insert(_below_blocks(self._viewer), made)
        else:
            number = self._viewer.layers.index(old)
            name = old.name
            self._viewer.layers.insert(number, made)
            self._viewer.layers.remove(old)
            made.name = name  # The old one had it.
        self._layer = made
        if active is not None and (active is not old) and active in self._viewer.layers:
            self._viewer.layers.selection.active = active
        self._spare_memory()

    def _options(self, result: Result) -> dict[str, Any]:
        """Return name, place and looks of a new layer."""
        if not result.is_image:
            return {"name": result.path.name, **result.place}
        from napari_implicitseg.batch.block_arrays import open_array

        array = open_array(result.path / "0")
        top = 255 if array.dtype == np.uint8 else 1
        options: dict[str, Any] = {"name": result.path.stem, "contrast_limits": (0, top)}
        offsets = _offsets(result.path)
        if offsets is not None:
            options["metadata"] = {AFFINITIES_OF: offsets}
        place = with_leading_axis(result.place, array.ndim - 1, "neighbour")
        return {**options, **place}

    def _spare_memory(self, event: object = None) -> None:
        """Hide in 3D, where all is loaded, what is large and has no coarser levels yet."""
        layer = self.layer
        if layer is None or layer.multiscale or self._result is None:
            return
        large = layer.data.size > _MOST_IN_3D
        if large and self._viewer.dims.ndisplay == 3 and layer.visible:
            layer.visible, self._hidden = False, True
        elif self._hidden and self._viewer.dims.ndisplay == 2:
            layer.visible, self._hidden = True, False

    def close(self) -> None:
        """Let go of the viewer; the layer stays."""
        self._viewer.dims.events.ndisplay.disconnect(self._spare_memory)
        self._result = self._layer = None


def _below_blocks(viewer: ViewerModel) -> int:
    """Return the place in the layer list below that of the blocks, or on top."""
    numbers = [n for n, layer in enumerate(viewer.layers) if BLOCKS_OF in layer.metadata]
    return min(numbers, default=len(viewer.layers))


def _levels(path: Path) -> list[Path]:
    """Return the arrays of the levels of an OME-Zarr image."""
    from napari_implicitseg.volumes.ome_zarr import multiscale_of, open_node

    try:
        group: Any = open_node(path)
        image = multiscale_of(group)
    except (FileError, *DECODE_ERRORS):
        return []
    if image is None:
        return []
    return [path / str(dataset["path"]) for dataset in image["datasets"]]


def _offsets(path: Path) -> tuple[tuple[int, ...], ...] | None:
    """Return of which neighbours affinities are, once that is written."""
    from napari_implicitseg.batch.affinity_store import affinity_store

    store = affinity_store(path)
    return None if store is None else store.offsets
