"""Fragments of a hierarchy as splits have cut them, and edits as places among them."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._lookups import first_places
from napari_implicitseg.hierarchy.edits import Edit, Freeze, Merge, Seeds, Split, strokes_of
from napari_implicitseg.hierarchy.refine import (
    fragment_boxes,
    split_fragments,
    stacked,
    taken,
    touching,
)
from napari_implicitseg.hierarchy.seeded import contact_graph, places_by_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.hierarchy.region_graph import RegionGraph
    from napari_implicitseg.hierarchy.tree import Hierarchy

__all__ = ["Past", "Placed", "Regions", "Strokes", "checked_voxel", "placed"]


class Placed(NamedTuple):
    """An edit and where its voxels are.

    Attributes
    ----------
    edit : Merge, Split, Freeze or Seeds
    places : ndarray of int64, shape (M,)
        Its voxels, in C order of the volume.
    numbers : ndarray of int64, shape (M,)
        Scribble or seed of each, from 1; 1 for edits that have none.
    """

    edit: Edit
    places: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @property
    def cuts(self) -> bool:
        """Whether its strokes are to be in different objects."""
        return isinstance(self.edit, Split | Seeds)

    def of_stroke(self, number: int) -> Placed:
        """Return the same with the voxels of one scribble or seed."""
        places = self.places[self.numbers == number]
        return Placed(self.edit, places, np.ones(len(places), np.int64))


class Strokes(NamedTuple):
    """Nodes that scribbles touch, and the numbers of these: both of shape (M,)."""

    nodes: NDArray[np.int64]
    numbers: NDArray[np.int64]


class Past(NamedTuple):
    """Edges of the graph that an edit has cut.

    Attributes
    ----------
    graph : RegionGraph
    made : ndarray of int64, shape (E,)
        Number of the edit that each was there from.
    gone : int
        Number of the edit that cut them.
    """

    graph: RegionGraph
    made: NDArray[np.int64]
    gone: int


def placed(edit: Any, shape: tuple[int, ...]) -> Placed:
    """Find the voxels of an edit in a volume.

    Raises
    ------
    InputError
        If it is no edit, or names voxels outside the volume.
    """
    if not isinstance(edit, Merge | Split | Freeze | Seeds):
        raise InputError(f"An edit is {edit!r}; give Merge, Split, Freeze or Seeds.")
    lists = strokes_of(edit)
    places = [_places(voxels, shape) for voxels in lists]
    numbers = np.repeat(np.arange(1, len(lists) + 1), [len(p) for p in places])
    return Placed(edit, np.concatenate(places), numbers)


def _places(voxels: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Places of voxels in C order."""
    for voxel in voxels:
        if len(voxel) != len(shape) or not all(
            0 <= v < n for v, n in zip(voxel, shape, strict=True)
        ):
            raise InputError(f"Voxel {voxel} is outside the volume of {shape}.")
    index = np.array(voxels, np.int64).T
    places: NDArray[np.int64] = np.ravel_multi_index(tuple(index), shape)
    return places


def checked_voxel(voxel: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of a voxel.

    Raises
    ------
    InputError
        If it is none of the volume.
    """
    try:
        index = tuple(map(operator.index, voxel))
    except TypeError as error:
        raise InputError(
            f"The voxel is {voxel!r}; give a whole number for each of {len(shape)} axes."
        ) from error
    _places([index], shape)
    return index


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """Fragments of a hierarchy, some of which splits have cut.

    Attributes
    ----------
    fragments : ndarray of uint32, shape S
        C order.
    graph : RegionGraph
    affinities : Affinities or None
    boxes : ndarray of int64, shape (N, 2, D)
        Of `fragment_boxes`.
    source : ndarray of int64, shape (N,)
        Node that each was cut from; itself, if it was there from the start.
    born : ndarray of int64, shape (N,)
        Number of the edit that cut it off; -1, if it was there from the start.
    made : ndarray of int64, shape (E,)
        Number of the edit that each edge of the graph is there from.
    past : tuple of Past
        Edges that are no longer there.
    parts : dict of bytes to ndarray of int64
        Objects that have been cut, for the next replay; see `_replay`.
    """

    fragments: LabelArray
    graph: RegionGraph
    affinities: Affinities | None
    boxes: NDArray[np.int64]
    source: NDArray[np.int64]
    born: NDArray[np.int64]
    made: NDArray[np.int64]
    past: tuple[Past, ...] = ()
    parts: dict[bytes, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def of(cls, hierarchy: Hierarchy) -> Regions:
        """Regions before any edit."""
        graph = contact_graph(hierarchy)
        return cls(
            fragments=hierarchy.fragments,
            graph=graph,
            affinities=hierarchy.affinities,
            boxes=fragment_boxes(hierarchy.fragments, hierarchy.size),
            source=np.arange(hierarchy.size),
            born=np.full(hierarchy.size, -1),
            made=np.full(len(graph.edges), -1),
        )

    def cut_by_all(self, steps: Sequence[Placed]) -> Regions:
        """Cut the fragments that hold several strokes of an edit, by the first edits of all."""
        regions = self
        for number, step in enumerate(steps):
            # The first cut makes a copy, which the others change.
            owned = regions.fragments is not self.fragments
            regions = regions.cut_by(step, number, owned=owned)
        return regions

    def cut_by(self, step: Placed, number: int, *, owned: bool = False) -> Regions:
        """Cut the fragments that hold several strokes of an edit, if it cuts.

        Parameters
        ----------
        step : Placed
        number : int
            Of the edit.
        owned : bool
            Whether the array of the fragments may be changed.
        """
        if not step.cuts:
            return self
        names, seeds = np.unique(self.raw_nodes(step).nodes + 1, return_counts=True)
        if not (seeds > 1).any():
            return self
        hit = self.fragments.reshape(-1)[step.places].astype(np.int64)
        own = places_by_seed(step.places, hit, step.numbers, names[seeds > 1])
        fragments = self.fragments if owned else self.fragments.copy()
        graph, boxes, parts = split_fragments(
            fragments, self.graph, self.affinities, self.boxes, own
        )
        cut_from = [np.full(len(p) - 1, fragment - 1) for fragment, p in parts.items()]
        source = np.concatenate([self.source, *cut_from])
        born = np.append(self.born, np.full(len(source) - len(self.source), number))
        gone = touching(self.graph, np.array([*parts]) - 1)
        new = touching(graph, np.array([i for p in parts.values() for i in p.values()]) - 1)
        made = np.full(len(new), number)
        # Both are in the order of the nodes, or all are there from the start.
        made[~new] = self.made[~gone]
        past = Past(taken(self.graph, gone), self.made[gone], number)
        return Regions(
            fragments=fragments,
            graph=graph,
            affinities=self.affinities,
            boxes=boxes,
            source=source,
            born=born,
            made=made,
            past=(*self.past, past),
        )

    def graph_at(self, number: int, place: NDArray[np.int64]) -> RegionGraph:
        """Return the graph of some nodes, as it was once an edit has cut what it cuts.

        Parameters
        ----------
        number : int
            Of the edit.
        place : ndarray of int64, shape (N,)
            Place of each node among the wanted ones, -1 for others.
        """
        kinds = [(self.graph, self.made)]
        kinds += [(past.graph, past.made) for past in self.past if past.gone > number]
        found = []
        for graph, made in kinds:
            first, second = (place[graph.edges[:, side]] for side in (0, 1))
            rows = np.flatnonzero((first >= 0) & (second >= 0) & (made <= number))
            edges = np.stack([first[rows], second[rows]], axis=1).astype(np.int32)
            found.append(replace(taken(graph, rows), edges=edges))
        return stacked(np.ones(int(place.max()) + 1, np.int64), found)

    def units_at(self, number: int) -> NDArray[np.int64]:
        """Node that each is a part of once an edit has cut what it cuts: shape (N,).

        With -1 these are the nodes of the hierarchy.
        """
        units = np.arange(len(self.source))
        # What is cut off comes after what it was cut from.
        for node in np.flatnonzero(self.born > number).tolist():
            units[node] = units[self.source[node]]
        return units

    def raw_nodes(self, step: Placed) -> Strokes:
        """Nodes at the voxels of an edit."""
        hit = self.fragments.reshape(-1)[step.places].astype(np.int64)
        span = len(step.places) + 1
        keys = np.unique((hit * span + step.numbers)[hit > 0])
        return Strokes(keys // span - 1, keys % span)

    def nodes_at(self, step: Placed, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Nodes that the fragments at the voxels of an edit consisted of."""
        hit = np.unique(units[self.raw_nodes(step).nodes])
        cut_off = np.flatnonzero(units != np.arange(len(units)))
        return np.concatenate([hit, cut_off[np.isin(units[cut_off], hit)]])

    def fragment_at(self, voxel: Sequence[int]) -> int:
        """Fragment at a voxel, 0 for none.

        Raises
        ------
        InputError
            If it is outside the volume.
        """
        return int(self.fragments[checked_voxel(voxel, self.fragments.shape)])

    def voxel_of(self, fragment: int) -> tuple[int, ...]:
        """Return the first voxel of a fragment, in C order."""
        low, high = self.boxes[fragment - 1]
        window = self.fragments[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        place = int(np.argmax(window.reshape(-1) == fragment))
        return tuple(int(v) for v in np.array(np.unravel_index(place, window.shape)) + low)

    def voxels_of(self, nodes: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the first voxel of each of some nodes, in their order: shape (M, D)."""
        places = np.full(len(nodes) + 1, -1)
        first_places(self.fragments.reshape(-1), np.append(False, nodes), places)
        found = np.unravel_index(places[1:][nodes], self.fragments.shape)
        return np.stack(found, axis=1).astype(np.int64)
