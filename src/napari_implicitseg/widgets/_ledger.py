"""What accepting has written into a results layer, and what of it was undone since."""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from napari.layers import Labels
    from numpy.typing import NDArray

__all__ = ["Ledger", "Voxels", "contained"]

Voxels: TypeAlias = "dict[int, NDArray[np.intp]]"
"""Flat, sorted indices of voxels per id in the results layer."""


@dataclass(slots=True)
class _Entry:
    """One accept.

    Attributes
    ----------
    atoms : tuple of object
        What napari keeps of it in its undo or redo history.
    wrote, erased : Voxels
    """

    atoms: tuple[object, ...]
    wrote: Voxels
    erased: Voxels
    undone: bool = False


@dataclass(slots=True)
class Ledger:
    """Remembers which voxels of a results layer hold what an accept wrote.

    Whether an accept was undone cannot be seen from the voxels alone: a person
    may have drawn the same id there since. So each accept remembers its step of
    napari's history, and is looked up there whenever the layer is redrawn.

    Attributes
    ----------
    image : str
        `unique_id` of the image the objects belong to.
    ids : dict of (source, label) to int
        Id in the results layer of each object accepted so far.
    """

    image: str
    ids: dict[tuple[Hashable, int], int] = field(default_factory=dict)
    _settled: Voxels = field(default_factory=dict)
    _entries: list[_Entry] = field(default_factory=list)
    _lengths: tuple[int, int] = (0, 0)
    _layer: weakref.ref[Labels] | None = None

    def belongs_to(self, layer: Labels) -> bool:
        """Whether it is this layer's: copies of the layer in napari share the ledger."""
        return self._layer is not None and self._layer() is layer

    def watch(self, layer: Labels) -> None:
        """Follow the undo history of a layer for as long as that lives."""
        self._layer = weakref.ref(layer)
        layer.events.set_data.connect(lambda event: self.look(event.source))

    def look(self, layer: Labels) -> None:
        """Note which accepts are undone at present; forget how to undo the very old ones."""
        lengths = (len(layer._undo_history), len(layer._redo_history))
        if lengths == self._lengths:
            return
        self._lengths = lengths
        done = {id(atom) for item in layer._undo_history for atom in item}
        taken_back = {id(atom) for item in layer._redo_history for atom in item}
        for entry in self._entries:
            if any(id(atom) in done for atom in entry.atoms):
                entry.undone = False
            elif any(id(atom) in taken_back for atom in entry.atoms):
                entry.undone = True
            else:  # Out of reach of undo and redo.
                entry.atoms = ()
        while self._entries and not self._entries[0].atoms:
            _apply(self._settled, self._entries.pop(0))

    @contextmanager
    def step(self, layer: Labels, wrote: Voxels, erased: Voxels) -> Iterator[None]:
        """Note the accept that is written within, as one step of the layer's history."""
        before = _last_step(layer)
        with layer.block_history():
            yield
        after = _last_step(layer)
        atoms = tuple(after) if after is not None and after is not before else ()
        self._entries.append(_Entry(atoms, wrote, erased))
        self._lengths = (-1, -1)
        self.look(layer)

    def voxels(self) -> Voxels:
        """Return the voxels that hold what was accepted, unless a person changed them."""
        out = dict(self._settled)
        for entry in self._entries:
            _apply(out, entry)
        return out


def _last_step(layer: Labels) -> Sequence[object] | None:
    """Return what undo would take back next."""
    return layer._undo_history[-1] if layer._undo_history else None


def _apply(voxels: Voxels, entry: _Entry) -> None:
    """Bring one accept into a dict of voxels."""
    if entry.undone:
        return
    nothing = np.empty(0, np.intp)
    written = np.sort(np.concatenate([nothing, *entry.wrote.values()]))
    for result in voxels.keys() - entry.wrote.keys():
        # Taken over by another object: not a person's doing.
        voxels[result] = voxels[result][~contained(voxels[result], written)]
    for result in {*entry.wrote, *entry.erased}:
        before = voxels.get(result, nothing)
        rest = before[~contained(before, entry.erased.get(result, nothing))]
        both = np.sort(np.concatenate([rest, entry.wrote.get(result, nothing)]))
        voxels[result] = both[np.diff(both, prepend=-1) > 0]


def contained(values: NDArray[np.intp], among: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether each value is one of the sorted values `among`.

    NumPy's own functions of sets hash what they are given, which takes seconds
    for a million voxels.
    """
    if not among.size:
        return np.zeros(values.shape, bool)
    place = np.minimum(np.searchsorted(among, values), among.size - 1)
    return np.asarray(among[place] == values)
