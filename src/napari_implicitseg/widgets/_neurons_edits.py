"""Corrections of neurons: merge, split, freeze, undo, and the way to uncertain decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    import os

    from napari.layers import Labels

    from napari_implicitseg.hierarchy._decisions import Decision
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.widgets._neurons_view import NeuronsView

__all__ = ["Corrections", "clicked_voxel", "describe"]

_NAMES = {"merge": "Merging", "split": "Splitting", "freeze": "Freezing", "seeds": "Seeding"}
_STEPS = 3
"""Voxels between the ends of an edge of long reach, at most."""
_LISTED = 200
"""Uncertain decisions looked up at a time."""


class Corrections:
    """Corrects a proofreading and keeps its layer and the current object up to date.

    The current object is known by a voxel: ids change with the threshold and with edits.

    Parameters
    ----------
    view : NeuronsView

    Attributes
    ----------
    work : Proofreading or None
    current : int
        Id of the current object, 0 for none.
    size : int
        Its voxels.
    merging : bool
        Whether clicks choose what is merged.
    """

    def __init__(self, view: NeuronsView) -> None:
        self._view = view
        self.work: Proofreading | None = None
        self.current = self.size = 0
        self.merging = False
        self._voxel: tuple[int, ...] | None = None
        self._first: tuple[int, ...] | None = None
        # Two voxels whose objects a decision leaves apart: M merges them.
        self._apart: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        # Decisions of the present state, looked up when asked for, and where some were shown.
        self._open: list[Decision] = []
        self._seen: set[tuple[tuple[int, ...], float]] = set()

    # What there is ------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of objects now."""
        if self.work is None:
            return 0
        return int(np.count_nonzero(np.bincount(self.work.lookup)[1:]))

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return self.work is not None and self.work.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether an edit was taken back last."""
        return self.work is not None and self.work.can_redo

    @property
    def is_frozen(self) -> bool:
        """Whether the current object is frozen."""
        return self.work is not None and self.current in self.work.frozen.tolist()

    def start(self, work: Proofreading | None) -> None:
        """Begin with a proofreading; what was current stays so where there is an object."""
        self.work = work
        self._open = []
        self._seen.clear()
        self.stop_merging()
        if work is None or len(self._voxel or ()) != work.fragments.ndim:
            self._voxel = None
        elif self._voxel is not None:
            inside = zip(self._voxel, work.fragments.shape, strict=True)
            self._voxel = self._voxel if all(v < n for v, n in inside) else None
        self._find_current()

    def cut(self, threshold: float) -> None:
        """Cut at another threshold.

        Raises
        ------
        InputError
            If it is out of range.
        """
        if self.work is not None and threshold != self.work.threshold:
            self.work.threshold = threshold
            self._seen.clear()
            self._repaint()

    # The current object -------------------------------------------------------

    def select(self, voxel: tuple[int, ...]) -> None:
        """Make the object at a voxel the current one; none where there is none."""
        self._voxel, self._apart = voxel, None
        self._find_current()

    def _find_current(self) -> None:
        self.current = self.size = 0
        if self.work is not None and self._voxel is not None:
            self.current = self.work.object_at(self._voxel)
            self.size = self.work.size_of(self.current)
        self._view.mark(self.current)

    def _repaint(self) -> None:
        self._open, self._apart = [], None
        if self.work is not None:
            self._view.repaint(self.work)
            self._find_current()

    # Merging ------------------------------------------------------------------

    def start_merging(self) -> str:
        """Merge what an uncertain decision names, or let two clicks merge; say which."""
        self.needed()
        if self._apart is not None:
            return f"{self._merge(*self._apart)} N goes to the next."
        self.merging, self._first = True, None
        return "Click the first of two neurons to merge. Press M again to leave it."

    def stop_merging(self) -> None:
        """Let clicks choose the current object again."""
        self.merging, self._first = False, None

    def click(self, voxel: tuple[int, ...]) -> str:
        """Choose the object at a voxel, as the current one or to merge; say what was done.

        Raises
        ------
        InputError
            If these cannot be merged. The first object stays chosen.
        """
        work = self.needed()
        if not self.merging:
            self.select(voxel)
            return ""
        if not work.object_at(voxel):
            raise InputError("There is no neuron where you clicked; click inside one.")
        if self._first is None:
            self._first = voxel
            self.select(voxel)
            return f"Click what to merge with neuron {self.current}."
        return self._merge(self._first, voxel)

    def _merge(self, first: tuple[int, ...], second: tuple[int, ...]) -> str:
        """Merge the objects at two voxels; say so."""
        work = self.needed()
        before = work.object_at(first), work.object_at(second)
        work.merge(first, second)
        self.stop_merging()
        self._voxel = second
        self._repaint()
        return f"Merged neurons {before[0]} and {before[1]}; they are {self.current} now."

    # Other corrections --------------------------------------------------------

    def take_split(self, work: Proofreading, voxel: tuple[int, ...]) -> str:
        """Go on with a copy of the proofreading in which objects were split; say what was done."""
        return self._take(work, voxel, "Split")

    def take_seeds(self, work: Proofreading, voxel: tuple[int, ...]) -> str:
        """Go on with a copy of the proofreading that was seeded; say what was done."""
        return self._take(work, voxel, "Seeds")

    def _take(self, work: Proofreading, voxel: tuple[int, ...], what: str) -> str:
        before = self.count
        self.work, self._voxel = work, voxel
        self._repaint()
        return f"{what}: {before} neurons became {self.count}."

    def toggle_freeze(self) -> str:
        """Freeze the current object, or no longer; say what was done.

        Raises
        ------
        InputError
            If there is no current object.
        """
        work = self.needed()
        if not self.current or self._voxel is None:
            raise InputError("There is no current neuron. Click the one to freeze, then press F.")
        frozen = not self.is_frozen
        work.freeze(self._voxel, frozen=frozen)
        self._repaint()
        if frozen:
            return f"Neuron {self.current} is frozen: the slider leaves it as it is."
        return f"Neuron {self.current} is no longer frozen."

    def undo(self) -> str:
        """Take the last edit back; say which it was."""
        return self._step(back=True)

    def redo(self) -> str:
        """Do the edit again that was taken back last; say which it was."""
        return self._step(back=False)

    def _step(self, *, back: bool) -> str:
        work = self.needed()
        edit = work.undo() if back else work.redo()
        if edit is None:
            return f"There is nothing to {'undo' if back else 'redo'}."
        self._repaint()
        name = _NAMES[edit.kind]
        if edit.kind == "freeze" and not edit.frozen:
            name = "Unfreezing"
        return f"{name} was {'taken back' if back else 'done again'}."

    # Files --------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> str:
        """Save the edits as JSON, in place of a file that is there; say what was done."""
        from napari_implicitseg.hierarchy.edits import write_edits

        document = self.needed().document()
        write_edits(path, document, overwrite=True)
        count = len(document.edits)
        return f"Saved {count} edit{'s' * (count != 1)} to '{path}'."

    def load(self, path: str | os.PathLike[str]) -> str:
        """Replay saved edits in place of those there are, at the present threshold; say so."""
        from napari_implicitseg.hierarchy.edits import read_edits
        from napari_implicitseg.hierarchy.proofreading import Proofreading

        work = self.needed()
        document = read_edits(path, shape=work.fragments.shape)
        again = Proofreading(work.hierarchy, work.threshold, document.edits)
        self.start(again)
        self._repaint()
        count, without = len(document.edits), len(again.without_effect)
        return f"Replayed {count} edit{'s' * (count != 1)}" + (
            f"; {without} of them change nothing at this threshold." if without else "."
        )

    # Uncertain decisions ------------------------------------------------------

    @property
    def limit(self) -> int:
        """How many uncertain decisions to look up, so that one is among them not seen yet."""
        return _LISTED + 2 * len(self._seen)

    def next_uncertain(self) -> Decision | None:
        """Return the closest decision not seen yet and make its first object the current one.

        None if decisions have to be looked up first; see `offer`.
        """
        self.needed()
        fresh = [decision for decision in self._open if _key(decision) not in self._seen]
        if not fresh:
            return None
        self._seen.add(_key(fresh[0]))
        self.select(fresh[0].voxel)
        self._show_beside(fresh[0])
        return fresh[0]

    def _show_beside(self, decision: Decision) -> None:
        """Mark what a decision leaves apart from the current object, too."""
        work, other = self.needed(), decision.objects[1]
        if decision.joined:
            return
        if other == self.current:
            other = decision.objects[0]
        voxel = _nearest(work, decision.voxel, other)
        if voxel is not None:
            self._apart = decision.voxel, voxel
            self._view.mark(self.current, other)

    def offer(self, decisions: list[Decision]) -> None:
        """Take decisions that were looked up; if all have been seen, from the beginning.

        Raises
        ------
        InputError
            If there are none.
        """
        if not decisions:
            raise InputError(
                "No decision is open: edits have made all of them, or there is one fragment."
            )
        self._open = decisions
        if all(_key(decision) in self._seen for decision in decisions):
            self._seen.clear()

    def needed(self) -> Proofreading:
        """Return the proofreading.

        Raises
        ------
        InputError
            If there is none, or its layer was deleted.
        """
        if self.work is None:
            raise InputError("There are no neurons yet. Press Segment first.")
        if self._view.layer is None:
            raise InputError(
                "The layer of the neurons is gone. Press Segment; corrections made so far are kept."
            )
        return self.work


def _nearest(work: Proofreading, voxel: tuple[int, ...], wanted: int) -> tuple[int, ...] | None:
    """Return a voxel of an object some steps from another voxel at most, if there is one."""
    box = tuple(
        slice(max(0, v - _STEPS), min(n, v + _STEPS + 1))
        for v, n in zip(voxel, work.fragments.shape, strict=True)
    )
    there = np.argwhere(work.lookup[work.fragments[box]] == wanted)
    if not len(there):
        return None
    places = there + [part.start for part in box]
    nearest = places[np.argmin(np.abs(places - voxel).sum(axis=1))]
    return tuple(nearest.tolist())


def _key(decision: Decision) -> tuple[tuple[int, ...], float]:
    """Return what tells a decision from others, also at the same voxel."""
    return decision.voxel, decision.score


def describe(decision: Decision) -> str:
    """Say what a decision is and what to do about it."""
    one, two = decision.objects
    score = f"score {decision.score:.3g}, {decision.margin:.2g} from the threshold"
    if decision.joined:
        return f"Neuron {one} is one by a narrow margin here ({score}). Split it by S, or go on: N."
    return f"Neurons {one} and {two} touch here ({score}). Merge them by M, or go on: N."


def clicked_voxel(layer: Labels, event: Any) -> tuple[int, ...] | None:
    """Return the voxel of a layer under the mouse; in 3D the first of an object behind it.

    Parameters
    ----------
    layer : Labels
    event : napari mouse event

    Returns
    -------
    tuple of int or None
        None outside the layer.
    """
    shape = np.array(layer.data.shape)
    first = len(event.position) - layer.ndim  # The viewer may have axes more.
    displayed = [axis - first for axis in event.dims_displayed]
    position = np.asarray(event.position)[first:]
    if len(displayed) < 3:
        voxel = np.round(layer.world_to_data(position)).astype(int)
        inside = ((voxel >= 0) & (voxel < shape)).all()
        return tuple(voxel.tolist()) if inside else None
    direction = np.asarray(event.view_direction)[first:]
    start, end = layer.get_ray_intersections(position, direction, displayed)
    if start is None or end is None:
        return None
    steps = 2 * int(np.ceil(np.linalg.norm(end - start))) + 2
    ray = np.round(np.linspace(start, end, steps)).astype(int)
    ray = np.clip(ray, 0, shape - 1)
    hits = np.flatnonzero(layer.data[tuple(ray.T)])
    return tuple(ray[hits[0]].tolist()) if len(hits) else None
