"""The blocks of a job over the image: a small layer with one voxel per block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_implicitseg.batch.label_steps import COARSEN
from napari_implicitseg.widgets._camera import _canvas_size
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._neurons_parts import shifted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import BlockGrid
    from napari_implicitseg.batch.report import BlockEvent

__all__ = ["BLOCKS_OF", "STATES", "BlocksView", "lies_over"]

BLOCKS_OF = "napari_implicitseg:blocks"
"""Key of `layer.metadata` that says which target a layer of blocks belongs to."""
STATES = {"done": 1, "done before": 2, "failed": 3}
"""What a block is marked with, and 3 more where every other one is; 0 waits."""
_COLOURS: dict[int | None, str] = {
    1: "#4fc26b",
    2: "#4a90d9",
    3: "#e04040",
    # As on a chessboard, so that blocks can be told apart.
    4: "#3aa256",
    5: "#3777bb",
    6: "#bb2f2f",
}
_OPACITY = 0.3
_SHARE = 0.5
"""Share of the canvas that a block fills when the view goes there."""


def lies_over(place: Mapping[str, Any], block: Sequence[int]) -> dict[str, Any]:
    """Return where a layer with one voxel per block lies, given where the volume does.

    A layer's place is that of the middle of its first voxel, so it moves by half of what a block
    is longer than a voxel.

    Parameters
    ----------
    place : mapping
        Of the volume, as arguments of napari's layers.
    block : sequence of int
        Voxels of a block.
    """
    size = np.asarray(block, float)
    found = shifted(place, tuple((size - 1) / 2))
    if "scale" in place:
        return {**found, "scale": np.asarray(place["scale"], float) * size}
    # Turned as a whole: all of its place is in the affine.
    affine = np.array(getattr(place["affine"], "affine_matrix", place["affine"]), float)
    step = affine[:-1, :-1] @ ((size - 1) / 2)
    affine[:-1, :-1] = affine[:-1, :-1] * size
    affine[:-1, -1] += step
    return {**dict(place), "affine": affine}


class BlocksView:
    """Shows what has become of blocks.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        self._blocks: BlockGrid | None = None
        self._target = ""
        self._stage = ""

    @property
    def layer(self) -> Labels | None:
        """The layer, if it is in the viewer; users may delete it."""
        return self._layer if self._layer in self._viewer.layers else None

    def show(self, blocks: BlockGrid, place: Mapping[str, Any], target: str) -> None:
        """Show the blocks of a job, all of them waiting.

        Parameters
        ----------
        blocks : BlockGrid
        place : mapping
            Where the volume lies.
        target : str
            A layer of its blocks that the user has removed is not added again.
        """
        options = lies_over(place, blocks.block_shape)
        if target != self._target or self._blocks != blocks:
            self.remove()
            self._layer = None
        self._blocks, self._target, self._stage = blocks, target, ""
        if self.layer is not None:
            self.layer.visible = True
        if self._layer is None:
            self._add(blocks, options, target)
            return
        # Also if the user has removed it: the list of failures goes by where it lies.
        self._layer.data[...] = 0
        for name, value in options.items():
            setattr(self._layer, name, value)
        self._refresh()

    def _add(self, blocks: BlockGrid, options: Mapping[str, Any], target: str) -> None:
        """Add the layer without taking the selection from the user."""
        active = self._viewer.layers.selection.active
        colours: dict[int | None, str] = {None: "transparent", 0: "transparent", **_COLOURS}
        self._layer = Labels(
            np.zeros(blocks.counts, np.uint8),
            name="blocks",
            opacity=_OPACITY,
            colormap=DirectLabelColormap(color_dict=colours),
            metadata={HIDDEN_FROM_CHOICES: True, BLOCKS_OF: target},
            **options,
        )
        self._layer.editable = False
        self._viewer.add_layer(self._layer)
        if active is not None:
            self._viewer.layers.selection.active = active

    def mark(self, events: Iterable[BlockEvent]) -> None:
        """Mark blocks; a new stage begins with all of them waiting."""
        layer, blocks = self.layer, self._blocks
        if layer is None or blocks is None:
            return
        data = layer.data
        for event in events:
            name, _, number = event.stage.partition(":")
            if name == COARSEN:
                continue  # Coarser levels have other blocks.
            if name != self._stage:
                self._stage = name
                data[...] = 0
            box = _touched(event, blocks) if number else tuple(slice(i, i + 1) for i in event.place)
            data[box] = STATES[event.state] + len(STATES) * _is_odd(box)
        self._refresh()

    def go_to(self, place: Sequence[int]) -> None:
        """Move the view to a block."""
        layer = self._layer
        if layer is None:
            return
        middle = np.asarray(layer.data_to_world(tuple(place)), float)
        corners = [layer.data_to_world(tuple(np.add(place, d))) for d in (-0.5, 0.5)]
        sizes = np.abs(np.subtract(*corners))
        offset = self._viewer.dims.ndim - layer.ndim
        shown = [axis - offset for axis in self._viewer.dims.displayed if axis >= offset]
        for axis in range(layer.ndim):
            if axis not in shown:
                self._viewer.dims.set_point(axis + offset, middle[axis])
        viewer = self._viewer
        camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
        camera.center = tuple(float(middle[axis]) for axis in shown)
        room = sizes[shown][-2:] if len(shown) < 3 else np.full(2, sizes[shown].max())
        camera.zoom = float(np.min(_canvas_size(viewer) * _SHARE / room))

    def hide(self) -> None:
        """Leave the view to the results: all blocks are done."""
        if self.layer is not None:
            self.layer.visible = False

    def remove(self) -> None:
        """Take the layer away."""
        layer = self.layer
        if layer is not None:
            active = self._viewer.layers.selection.active
            self._viewer.layers.remove(layer)
            if active is not layer and active in self._viewer.layers:
                self._viewer.layers.selection.active = active

    def _refresh(self) -> None:
        """Draw what was marked."""
        if self.layer is not None:
            self.layer.refresh(thumbnail=False, highlight=False, extent=False)


def _touched(event: BlockEvent, blocks: BlockGrid) -> tuple[slice, ...]:
    """Return the blocks that what was done, which is no block, lies in."""
    parts = zip(event.start, event.stop, blocks.block_shape, strict=True)
    return tuple(slice(start // size, -(-stop // size)) for start, stop, size in parts)


def _is_odd(box: tuple[slice, ...]) -> NDArray[np.uint8]:
    """Return 1 for every other block of a box, and 0 for the others."""
    total = np.zeros((1,) * len(box), np.int64)
    for places in np.ogrid[box]:
        total = total + places
    return (total % 2).astype(np.uint8)
