"""Writing repaired masks: into a copy of their layer, or into the layer itself.

An object is written where there is nothing, where its own old mask is and where
an object accepted with it was. What belongs to any other object stays, and in
the copy so does what a person has drawn there since.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_implicitseg.errors import InputError
from napari_implicitseg.ids import among
from napari_implicitseg.widgets import _layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._layers import Region

__all__ = ["REPAIRED", "Steps", "repaired_layer", "write_masks"]

REPAIRED = "napari_implicitseg:repaired"
"""Key of `layer.metadata` under which a repaired copy keeps its `Steps`."""


@dataclass(slots=True)
class Steps:
    """Which steps of a layer's undo history were repairs.

    Attributes
    ----------
    source : str
        `unique_id` of the layer whose copy this is.
    layer : str
        `unique_id` of the copy: copies of it made in napari share this object.
    atoms : list of object
        What napari keeps of the repairs.
    """

    source: str
    layer: str = ""
    atoms: list[object] = field(default_factory=list)

    def drawn(self, layer: Labels) -> list[tuple[NDArray[np.intp], ...]]:
        """Return indices of voxels that a person changed, as far as undo reaches."""
        ours = {id(atom) for atom in self.atoms}
        return [atom[0] for item in layer._undo_history for atom in item if id(atom) not in ours]


def repaired_layer(viewer: ViewerModel, source: Image | Labels, region: Region) -> Labels:
    """Find the repaired copy of a layer; else add it in place of the layer, which is hidden."""
    for layer in viewer.layers:
        steps = layer.metadata.get(REPAIRED)
        if (
            isinstance(layer, Labels)
            and isinstance(steps, Steps)
            and (steps.layer, steps.source) == (layer.unique_id, source.unique_id)
            and layer.data.shape == source.data.shape
        ):
            _layers.align(layer, source)
            return layer
    steps = Steps(source.unique_id)
    options: dict[str, Any] = {}
    if isinstance(source, Labels):
        options = {"colormap": source.colormap, "opacity": source.opacity}
    layer = Labels(
        _copy(source, region),
        name=f"{source.name} repaired",
        metadata={REPAIRED: steps},
        **options,
        **_layers.like(source),
    )
    steps.layer = layer.unique_id
    viewer.layers.insert(viewer.layers.index(source) + 1, layer)
    viewer.layers.selection.active = layer  # For Ctrl+Z.
    source.visible = False  # What was cut off would show through.
    return layer


def write_masks(
    layer: Labels,
    region: Region,
    masks: NDArray[np.unsignedinteger[Any]],
    ids: Sequence[int],
    *,
    protect: bool,
) -> int:
    """Replace objects by their repaired masks, as one step of the layer's undo history.

    Parameters
    ----------
    layer : Labels
    region : Region
        The part of the array that was repaired.
    masks : ndarray of unsigned integer
        Repaired masks, like the region.
    ids : sequence of int
        The objects to write.
    protect : bool
        Whether what a person drew in the layer stays, as far as undo reaches.

    Returns
    -------
    int
        Voxels left as they were because a person drew them.

    Raises
    ------
    InputError
        If the layer cannot be written, or cannot hold an id.
    """
    _check_writable(layer, ids)
    now = np.asarray(region.take(layer.data))
    new = np.where(among(masks, ids), masks, 0).astype(now.dtype, copy=False)
    free = (now == 0) | among(now, ids)
    changed = free & (new != now)
    kept = 0
    steps = layer.metadata.get(REPAIRED)
    if protect and isinstance(steps, Steps):
        whole = np.zeros(layer.data.shape, bool)
        for indices in steps.drawn(layer):
            whole[indices] = True
        drawn = region.take(whole)
        kept = int(np.count_nonzero(changed & drawn))
        changed &= ~drawn
    at = np.nonzero(changed)
    place: list[Any] = [np.full(at[0].shape, 0 if i is None else i) for i in region.index]
    for axis, positions in zip(region.axes, at, strict=True):
        place[axis] = positions
    with layer.block_history():
        layer.data_setitem(tuple(place), new[at])
    if isinstance(steps, Steps) and at[0].size:
        steps.atoms += layer._undo_history[-1]
    return kept


def _copy(source: Image | Labels, region: Region) -> NDArray[Any]:
    """Copy the masks of a layer; of one that is not in memory, and of probabilities, the region."""
    data = source.data
    if isinstance(source, Labels) and isinstance(data, np.ndarray):
        return data.copy() if data.dtype.itemsize > 4 else data.astype(np.uint32)
    out = np.zeros(data.shape, np.uint32)
    if isinstance(source, Labels):
        region.take(out)[...] = np.asarray(region.take(data))
    return out


def _check_writable(layer: Labels, ids: Sequence[int]) -> None:
    """Refuse layers napari cannot write to with undo."""
    data = layer.data
    if not isinstance(data, np.ndarray) or not data.flags.writeable:
        raise InputError(
            f"Layer '{layer.name}' cannot be changed: its data are "
            + ("read-only." if isinstance(data, np.ndarray) else "not held in memory.")
            + " Choose a new layer for the result."
        )
    most = 1 if data.dtype == bool else int(np.iinfo(data.dtype).max)
    if max(ids, default=0) > most:
        raise InputError(
            f"Layer '{layer.name}' is of type {data.dtype} and cannot hold {max(ids)}. "
            "Choose a new layer for the result."
        )
