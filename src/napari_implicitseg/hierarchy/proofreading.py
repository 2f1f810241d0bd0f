"""Proofreading: a hierarchy at a threshold, with corrections that can be undone.

The state is the list of edits; what is shown is replayed from it. A replay looks at
regions only and takes milliseconds, whatever the volume's size.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._decisions import decisions
from napari_implicitseg.hierarchy._lookups import paint
from napari_implicitseg.hierarchy._regions import Regions, checked_voxel, placed
from napari_implicitseg.hierarchy._replay import replay
from napari_implicitseg.hierarchy._strokes import checked_strokes
from napari_implicitseg.hierarchy.edits import EditFile, Freeze, Merge, Seeds, Split, check_lifts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy._decisions import Decision
    from napari_implicitseg.hierarchy._regions import Placed
    from napari_implicitseg.hierarchy.edits import Edit
    from napari_implicitseg.hierarchy.tree import Hierarchy

__all__ = ["Proofreading"]


class Proofreading:
    """A segmentation that is being corrected.

    Ids of objects are those of their first fragments: they stay what they are, as far as
    possible, when the threshold changes or something else is corrected.

    Whatever the threshold, the scribbles of a split are in different objects, until what it has
    cut is merged again; and what is frozen stays as it is, until it no longer is. What is merged
    goes together unless a split says otherwise. Seeds do both.

    Parameters
    ----------
    hierarchy : Hierarchy
    threshold : float
        As of `Hierarchy.cut`.
    edits : iterable of Merge, Split, Freeze or Seeds
        To start with.

    Raises
    ------
    InputError
        If the threshold is out of range or an edit names voxels outside the volume.

    Examples
    --------
    >>> from napari_implicitseg.hierarchy.building import build_hierarchy
    >>> row = [[[0, 0.9, 0.2, 0.8, 0.1, 0.7]], [[0] * 6]]
    >>> work = Proofreading(build_hierarchy(row, offsets=[(0, -1), (-1, 0)]))
    >>> work.labels().tolist()
    [[1, 1, 2, 2, 3, 3]]
    >>> work.merge((0, 0), (0, 5))
    >>> work.labels().tolist()
    [[1, 1, 2, 2, 1, 1]]
    >>> work.undo() is not None, work.labels().tolist()
    (True, [[1, 1, 2, 2, 3, 3]])
    """

    def __init__(
        self,
        hierarchy: Hierarchy,
        threshold: float = 0.5,
        edits: Iterable[Edit] = (),
    ) -> None:
        self._hierarchy = hierarchy
        hierarchy.level_of(threshold)
        self._threshold = threshold
        shape = hierarchy.fragments.shape
        self._done = tuple(placed(edit, shape) for edit in edits)
        check_lifts([step.edit for step in self._done])
        self._undone: tuple[Placed, ...] = ()
        self._whole = Regions.of(hierarchy)
        self._regions = self._whole.cut_by_all(self._done)
        self._state = replay(hierarchy, self._regions, threshold, self._done)

    @property
    def hierarchy(self) -> Hierarchy:
        """What is being corrected."""
        return self._hierarchy

    @property
    def threshold(self) -> float:
        """Where the hierarchy is cut."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._hierarchy.level_of(value)
        self._threshold = value
        self._state = replay(self._hierarchy, self._regions, value, self._done)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The corrections, in order."""
        return tuple(step.edit for step in self._done)

    @property
    def without_effect(self) -> tuple[int, ...]:
        """Places in `edits` of those that change nothing at this threshold."""
        return self._state.without_effect

    @property
    def fragments(self) -> LabelArray:
        """Fragments, those that a split has cut included."""
        return self._regions.fragments

    @property
    def lookup(self) -> NDArray[np.uint32]:
        """Object of each fragment: shape (N + 1,), 0 first."""
        return self._state.lookup

    @property
    def frozen(self) -> NDArray[np.uint32]:
        """Ids of the objects that are frozen."""
        return np.unique(self._state.lookup[1:][self._state.frozen])

    def labels(self, out: LabelArray | None = None) -> LabelArray:
        """Volume of the objects as they are now.

        Parameters
        ----------
        out : ndarray of uint32, shape S, optional
            To write to, in C order.

        Raises
        ------
        InputError
            If `out` does not fit.
        """
        return paint(self._state.lookup, self._regions.fragments, out)

    def object_at(self, voxel: Sequence[int]) -> int:
        """Id of the object at a voxel, 0 for none.

        Raises
        ------
        InputError
            If the voxel is outside the volume.
        """
        return int(self._state.lookup[self._regions.fragment_at(voxel)])

    def voxel_of(self, object_id: int) -> tuple[int, ...]:
        """Return a voxel of an object.

        Raises
        ------
        InputError
            If there is no such object now.
        """
        fragments = np.flatnonzero(self._state.lookup[1:] == object_id) + 1
        if object_id < 1 or not len(fragments):
            raise InputError(
                f"There is no object {object_id} now; ids may change with the threshold and with "
                "edits. Take one that is shown."
            )
        return self._regions.voxel_of(int(fragments[0]))

    def size_of(self, object_id: int) -> int:
        """Voxels of an object; 0 if there is none now."""
        inside = self._state.lookup[1:] == object_id
        return int(self._regions.graph.sizes[inside].sum()) if object_id > 0 else 0

    def merge(self, *voxels: Sequence[int]) -> None:
        """Make the objects at these voxels one.

        Raises
        ------
        InputError
            If there are fewer than two objects, one is frozen, or a voxel belongs to none.

        Notes
        -----
        Objects that a split has cut may be merged again; it then holds no longer.
        """
        points = tuple(map(self._object_voxel, voxels))
        ids = {self.object_at(voxel) for voxel in points}
        if len(ids) < 2:
            raise InputError(
                f"The voxels {points} are of {len(ids)} object; click two different ones."
            )
        self._refuse_frozen(ids)
        self._do(Merge(voxels=points, lifts=self._lifted(ids)))

    def split(self, scribbles: ArrayLike | Sequence[Sequence[Sequence[int]]]) -> None:
        """Cut what several scribbles have in common.

        Each object with scribbles of several ids is cut between them, along the weakest
        contacts of its fragments.

        Parameters
        ----------
        scribbles : ndarray of int, shape S, or sequence of sequences of voxels
            Ids of scribbles and 0 elsewhere; or the voxels of each. Voxels that belong to no
            object are left out.

        Raises
        ------
        InputError
            If no object has two scribbles, one is frozen, or a voxel is in two scribbles or
            outside the volume.
        """
        lists = checked_strokes(scribbles, self.fragments, self.lookup, "scribbles")
        shared = self._shared([self._objects(voxels) for voxels in lists])
        if not shared:
            raise InputError(
                "No object has two scribbles of different ids; paint two, each with an id of its "
                "own, into the object that is to be cut."
            )
        self._refuse_frozen(shared)
        self._do(Split(scribbles=lists))

    def seed(self, seeds: ArrayLike | Mapping[int, Sequence[Sequence[int]]]) -> None:
        """Make of each seed one object, and of no two the same.

        Objects with seeds of several ids are cut between them, as by `split`; then the objects
        that the voxels of an id touch become one, as by `merge`. All others stay as they are.

        Parameters
        ----------
        seeds : ndarray of int, shape S, or mapping of int to sequence of voxels
            Ids of seeds and 0 elsewhere; or the voxels of each id. Voxels that belong to no
            object are left out.

        Raises
        ------
        InputError
            If there are no seeds, none lies in an object, or they are of another shape or no whole
            numbers; if a voxel is in two seeds or outside the volume; or if an object that would
            change is frozen.

        Notes
        -----
        Earlier splits that have cut what is one seed now hold no longer. Seeds that change nothing
        now still hold at other thresholds.
        """
        lists = checked_strokes(seeds, self.fragments, self.lookup, "seeds")
        if not lists:
            raise InputError("No seed lies in an object; paint inside the objects.")
        hit = [self._objects(voxels) for voxels in lists]
        joined = (objects for objects in hit if len(objects) > 1)
        self._refuse_frozen(self._shared(hit).union(*joined))
        edit = Seeds(seeds=lists)
        if len(lists) > 1:
            # What a seed makes one is known once the objects are cut.
            cut = self.copy()
            cut._do(Split(scribbles=lists))
        else:
            cut = self
        lifts = {i for voxels in lists for i in cut._lifted(cut._objects(voxels))}
        self._do(edit.model_copy(update={"lifts": tuple(sorted(lifts))}))

    def freeze(self, voxel: Sequence[int], *, frozen: bool = True) -> None:
        """Keep the object at a voxel as it is, whatever the threshold; or no longer.

        Raises
        ------
        InputError
            If there is none, or it is frozen, or not, already.
        """
        point = self._object_voxel(voxel)
        now = self.object_at(point)
        if (now in self.frozen) == frozen:
            raise InputError(f"Object {now} is {'' if frozen else 'not '}frozen already.")
        found = self._regions.voxels_of(self._state.lookup[1:] == now)
        self._do(Freeze(voxels=tuple(map(tuple, found.tolist())), frozen=frozen))

    @property
    def can_undo(self) -> bool:
        """Whether there is an edit to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is an edit that was taken back."""
        return bool(self._undone)

    def copy(self) -> Proofreading:
        """Return one that goes its own way from here; what both have in common they share."""
        return copy.copy(self)

    def undo(self) -> Edit | None:
        """Take the last edit back and return it; None if there is none."""
        if not self._done:
            return None
        *done, last = self._done
        regions = self._regions
        if (regions.born == len(done)).any():
            regions = self._whole.cut_by_all(done)
        self._set(regions, tuple(done), (*self._undone, last))
        return last.edit

    def redo(self) -> Edit | None:
        """Do the edit again that was taken back last, and return it; None if there is none."""
        if not self._undone:
            return None
        *undone, last = self._undone
        regions = self._regions.cut_by(last, len(self._done))
        self._set(regions, (*self._done, last), tuple(undone))
        return last.edit

    def uncertain(self, limit: int = 100, *, min_size: int = 0) -> list[Decision]:
        """Decisions that were closest: merges done and not done with the smallest margin.

        Parameters
        ----------
        limit : int
            How many at most.
        min_size : int
            Voxels that either side has at least.

        Returns
        -------
        list of Decision
            The closest first; without those that edits have decided.

        Raises
        ------
        InputError
            If a number is negative or none.
        """
        for name, value in (("limit", limit), ("min_size", min_size)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
                raise InputError(f"{name} is {value!r}; give a whole number from 0.")
        return decisions(
            self._hierarchy, self._regions, self._state, self._threshold, int(limit), int(min_size)
        )

    def document(self) -> EditFile:
        """Return the edits as they are saved."""
        return EditFile(
            shape=tuple(self._hierarchy.fragments.shape),
            threshold=min(float(self._threshold), sys.float_info.max),
            edits=self.edits,
        )

    def _do(self, edit: Edit) -> None:
        """Do an edit; what was undone can then no longer be done again."""
        step = placed(edit, self._regions.fragments.shape)
        regions = self._regions.cut_by(step, len(self._done))
        self._set(regions, (*self._done, step), ())

    def _set(self, regions: Regions, done: tuple[Placed, ...], undone: tuple[Placed, ...]) -> None:
        """Take over edits, once all that follows from them has been found."""
        self._state = replay(self._hierarchy, regions, self._threshold, done)
        self._regions, self._done, self._undone = regions, done, undone

    def _object_voxel(self, voxel: Sequence[int]) -> tuple[int, ...]:
        """Return a voxel that belongs to an object, as int."""
        index = checked_voxel(voxel, self._regions.fragments.shape)
        if not self.object_at(index):
            raise InputError(f"There is no object at voxel {index}; click inside one.")
        return index

    def _objects(self, voxels: Iterable[tuple[int, ...]]) -> set[int]:
        """Ids of the objects at some voxels."""
        index = tuple(np.array([*voxels], np.int64).T)
        return {*self._state.lookup[self._regions.fragments[index]].tolist()}

    @staticmethod
    def _shared(hit: list[set[int]]) -> set[int]:
        """Return the ids that are in two sets."""
        numbers = Counter(i for objects in hit for i in objects)
        return {i for i, number in numbers.items() if number > 1}

    def _lifted(self, ids: set[int]) -> tuple[int, ...]:
        """Return the splits that have cut what a merge of some objects makes one."""
        found = []
        for number, strokes in self._state.splits.items():
            objects = self._state.lookup[strokes.nodes + 1]
            if len(np.unique(strokes.numbers[np.isin(objects, [*ids])])) > 1:
                found.append(number)
        return tuple(found)

    def _refuse_frozen(self, ids: set[int]) -> None:
        """Complain if an object is frozen."""
        if shared := ids & set(self.frozen.tolist()):
            raise InputError(f"Object {min(shared)} is frozen; unfreeze it first.")
