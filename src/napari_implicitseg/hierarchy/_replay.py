"""What edits make of a cut: computed on regions, from the first edit to the last.

An edit does what it did when it was made, whatever came later: fragments that a later
split has cut are still one for it. Only what the threshold has changed since is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_implicitseg.hierarchy.edits import Freeze, Merge, Seeds
from napari_implicitseg.hierarchy.refine import contracted
from napari_implicitseg.hierarchy.seeded import seeded_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy._regions import Placed, Regions, Strokes
    from napari_implicitseg.hierarchy.region_graph import RegionGraph
    from napari_implicitseg.hierarchy.tree import Hierarchy, Linkage

__all__ = ["State", "replay"]

# Objects cut that are kept in mind.
_MOST_PARTS = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class State:
    """Objects after all edits.

    Attributes
    ----------
    lookup : ndarray of uint32, shape (N + 1,)
        Object of each fragment; its id is that of its first fragment.
    frozen : ndarray of bool, shape (N,)
    splits : dict of int to Strokes
        Splits and seeds that hold, by their place among the edits.
    without_effect : tuple of int
        Edits that changed nothing.
    """

    lookup: NDArray[np.uint32]
    frozen: NDArray[np.bool_]
    splits: dict[int, Strokes]
    without_effect: tuple[int, ...]


class _Work(NamedTuple):
    """What the edits change, one after the other.

    `groups` is the first node of the object of each node; `frozen` are those that stay so to the
    end; `links` are nodes that merges have joined, and that stay together when their object is
    cut; `splits` are those that hold.
    """

    groups: NDArray[np.int64]
    frozen: NDArray[np.bool_]
    links: list[NDArray[np.int64]]
    splits: dict[int, Strokes]


class _At(NamedTuple):
    """How fragments are cut for the time being.

    `number` is that of the last edit that has cut any, `units` the node that each is a part of.
    """

    number: int
    units: NDArray[np.int64]


def replay(
    hierarchy: Hierarchy, regions: Regions, threshold: float, steps: Sequence[Placed]
) -> State:
    """Cut a hierarchy and do the edits, one after the other."""
    labels = hierarchy.fragment_labels(threshold)[1:]
    _, first = np.unique(labels, return_index=True)
    groups = first[labels - 1][regions.units_at(-1)]
    work = _Work(groups, np.zeros(len(groups), np.bool_), [], {})
    lasting = _lasting(regions, steps)
    flags = work.frozen.copy()
    idle = []
    cuts = set(regions.born.tolist())
    at = _At(-1, regions.units_at(-1))
    for number, step in enumerate(steps):
        if number in cuts:
            at = _At(number, regions.units_at(number))
        groups_before, flags_before = work.groups.copy(), flags.copy()
        if isinstance(step.edit, Merge):
            _merge(work, regions, at, step, step.edit.lifts, hierarchy.linkage)
        elif isinstance(step.edit, Seeds):
            _seed(work, regions, at, number, step, hierarchy.linkage)
        elif isinstance(step.edit, Freeze):
            flags[regions.nodes_at(step, at.units)] = step.edit.frozen
            _freeze(work, lasting.get(number, at.units[:0]))
        else:
            work.splits[number] = regions.raw_nodes(step)
            _split(work, regions, at, work.splits[number], hierarchy.linkage)
        same = np.array_equal(groups_before, work.groups)
        if same and np.array_equal(flags_before, flags):
            idle.append(number)
    lookup = np.concatenate([[0], work.groups + 1]).astype(np.uint32)
    return State(lookup=lookup, frozen=flags, splits=work.splits, without_effect=tuple(idle))


def _lasting(regions: Regions, steps: Sequence[Placed]) -> dict[int, NDArray[np.int64]]:
    """Nodes that each freezing keeps: those that no later edit sets free again."""
    free = np.zeros(len(regions.born), np.bool_)
    out: dict[int, NDArray[np.int64]] = {}
    for number in range(len(steps) - 1, -1, -1):
        edit = steps[number].edit
        if isinstance(edit, Freeze):
            nodes = regions.nodes_at(steps[number], regions.units_at(number))
            if edit.frozen:
                out[number] = nodes[~free[nodes]]
            else:
                free[nodes] = True
    return out


def _freeze(work: _Work, nodes: NDArray[np.int64]) -> None:
    """Make some nodes a group of their own; what was with them keeps together."""
    work.frozen[nodes] = True
    for group in np.unique(work.groups[nodes]).tolist():
        rest = np.flatnonzero((work.groups == group) & ~work.frozen)
        if len(rest):
            work.groups[rest] = rest[0]
    if len(nodes):
        work.groups[nodes] = nodes.min()


def _merge(
    work: _Work,
    regions: Regions,
    at: _At,
    step: Placed,
    lifts: Sequence[int],
    linkage: Linkage,
) -> None:
    """Make the groups at the voxels of an edit one, but for what earlier splits keep apart.

    If frozen ones are among them, nothing happens.
    """
    nodes = regions.nodes_at(step, at.units)
    if not len(nodes) or work.frozen[nodes].any():
        return
    for number in lifts:
        work.splits.pop(number, None)
    work.links.append(regions.raw_nodes(step).nodes)
    group, *others = np.unique(work.groups[nodes]).tolist()
    for other in others:
        work.groups[work.groups == other] = group
    # One split may cut what another one has to cut, too.
    union = work.groups == group
    for strokes in work.splits.values() if others else ():
        inside = strokes.numbers[union[strokes.nodes]]
        if (inside[:1] != inside[1:]).any():
            _split(work, regions, at, strokes, linkage)


def _seed(
    work: _Work, regions: Regions, at: _At, number: int, step: Placed, linkage: Linkage
) -> None:
    """Cut the groups that hold several seeds, then make those that a seed touches one."""
    lifts = step.edit.lifts if isinstance(step.edit, Seeds) else ()
    for lifted in lifts:
        work.splits.pop(lifted, None)
    work.splits[number] = regions.raw_nodes(step)
    _split(work, regions, at, work.splits[number], linkage)
    for seed in np.unique(step.numbers).tolist():
        _merge(work, regions, at, step.of_stroke(seed), (), linkage)


def _split(work: _Work, regions: Regions, at: _At, strokes: Strokes, linkage: Linkage) -> None:
    """Cut the groups that hold several scribbles, but for frozen ones."""
    pairs = np.unique(np.stack([work.groups[strokes.nodes], strokes.numbers], axis=1), axis=0)
    shared, number = np.unique(pairs[:, 0], return_counts=True)
    seeds = np.zeros(len(work.groups), np.int64)
    seeds[strokes.nodes] = strokes.numbers
    for group in shared[number > 1].tolist():
        nodes = np.flatnonzero(work.groups == group)
        if work.frozen[nodes].any():
            continue
        parts = _parts(regions, at, nodes, seeds, work.links, linkage)
        for part in np.unique(parts).tolist():
            own = nodes[parts == part]
            work.groups[own] = own[0]


def _parts(
    regions: Regions,
    at: _At,
    nodes: NDArray[np.int64],
    seeds: NDArray[np.int64],
    links: list[NDArray[np.int64]],
    linkage: Linkage,
) -> NDArray[np.int64]:
    """Seed that each of some nodes goes to; what a replay has found the next one knows."""
    wholes, unit_of = np.unique(at.units[nodes], return_inverse=True)
    own: NDArray[np.int64] = np.zeros(len(wholes), np.int64)
    np.maximum.at(own, unit_of, seeds[nodes])
    place = np.full(len(at.units), -1)
    place[nodes] = unit_of
    names = _linked(own, [place[link] for link in links])
    key = blake2b(b"".join(a.tobytes() for a in (np.array(at.number), wholes, own, names))).digest()
    known = regions.parts.get(key)
    if known is None:
        place[nodes] = -1
        place[wholes] = np.arange(len(wholes))
        known = _agglomerated(regions.graph_at(at.number, place), own, names, linkage)
        if len(regions.parts) >= _MOST_PARTS:
            regions.parts.clear()
        regions.parts[key] = known
    return known[unit_of]


def _agglomerated(
    graph: RegionGraph, seeds: NDArray[np.int64], names: NDArray[np.int64], linkage: Linkage
) -> NDArray[np.int64]:
    """Seed that each node of a graph goes to; those of one name go together."""
    own: NDArray[np.int64] = np.zeros(int(names.max()) + 1, np.int64)
    np.maximum.at(own, names, seeds)
    if len(own) < len(names):
        graph = contracted(graph, names)
    found = seeded_labels(graph, own, linkage)
    # What no contact leads to stays with the first scribble.
    found[found == 0] = own[own > 0].min()
    return found[names]


def _linked(seeds: NDArray[np.int64], links: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Names of nodes, from 0, those being one that merges have joined, unless they have two seeds.

    Parameters
    ----------
    seeds : ndarray of int64, shape (N,)
    links : list of ndarray of int64
        Nodes that belong together, -1 for none.
    """
    parent, owner = np.arange(len(seeds)), seeds.copy()

    def root(name: int) -> int:
        while parent[name] != name:
            name = int(parent[name])
        return name

    for link in links:
        # In the order of the nodes, whatever later cuts have made of their ids.
        for a, b in pairwise(np.unique(link[link >= 0]).tolist()):
            low, high = sorted((root(a), root(b)))
            if low != high and not (owner[low] and owner[high] and owner[low] != owner[high]):
                parent[high] = low
                owner[low] = max(owner[low], owner[high])
    if (parent == np.arange(len(parent))).all():
        return parent
    roots = np.array([root(name) for name in range(len(parent))])
    return np.unique(roots, return_inverse=True)[1]
