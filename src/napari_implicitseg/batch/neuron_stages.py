"""From a volume to neurons: what is done to one block in each stage, in any process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jobs are pickled
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.affinity_store import packed
from napari_implicitseg.batch.block_arrays import (
    load_arrays,
    open_array,
    read_block,
    save_arrays,
    write_block,
)
from napari_implicitseg.batch.blocks import block_name, relative, size_of
from napari_implicitseg.batch.label_steps import coarsen_block, is_coarser
from napari_implicitseg.batch.predicting import PredictingJob, predicted
from napari_implicitseg.batch.stitch import (
    block_contacts,
    joined_pieces,
    leaning_pieces,
    split_pieces,
)
from napari_implicitseg.hierarchy.fragments import make_fragments

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_implicitseg.batch.affinity_store import AffinityStore
    from napari_implicitseg.batch.jobs import Needs, Place

__all__ = ["NeuronJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronJob(PredictingJob):
    """Affinities of a volume, and objects made of them.

    Attributes
    ----------
    affinities : AffinityStore
        Where affinities are, or will be.
    method : str
        How fragments are made.
    min_size, min_affinity
        See `make_fragments`.
    """

    affinities: AffinityStore
    method: str = ""
    min_size: int = 0
    min_affinity: float = 0.0

    def work(self, stage: str, place: Place) -> dict[str, Any]:
        """Do a stage of a block."""
        if is_coarser(stage):
            return coarsen_block(self.labels, stage, place)
        return _STAGES[stage](self, place)

    def needs(self) -> Needs:
        """Try a block in the middle, and say what all would need."""
        from napari_implicitseg.batch.neuron_needs import neuron_needs

        return neuron_needs(self)

    @property
    def fragments(self) -> Path:
        """Array of the fragments, each block with its own numbers from 1."""
        return self.folder / "fragments"

    @property
    def firsts(self) -> Path:
        """File of the number of fragments before each block."""
        return self.folder / "firsts.npz"

    @property
    def lookup(self) -> Path:
        """Array of the label of each fragment of the volume."""
        return self.folder / "lookup.npy"

    def faces(self, place: Place) -> Path:
        """File of what a block has seen behind its faces."""
        return self.folder / "faces" / f"{block_name(place)}.npz"

    def graph(self, place: Place) -> Path:
        """File of the contacts a block has found."""
        return self.folder / "graph" / f"{block_name(place)}.npz"


def predict_block(job: NeuronJob, place: Place) -> dict[str, Any]:
    """Predict the affinities of a block from all that they depend on."""
    core = job.grid.core(place)
    start = time.perf_counter()
    found = predicted(job, place)
    spent = time.perf_counter() - start
    values = packed(found, job.config.dtype)
    whole = (slice(0, len(values)), *core)
    size = write_block(job.affinities.path / "0", whole, values)
    return {"voxels": size_of(core), "bytes": size, "compute": round(spent, 4)}


def fragment_block(job: NeuronJob, place: Place) -> dict[str, Any]:
    """Cut a block into fragments, and keep what was seen behind its faces."""
    grid = job.grid
    core, outer = grid.core(place), grid.outer(place)
    inner = relative(core, outer)
    found = make_fragments(
        job.affinities.read(outer),
        method=job.method,  # type: ignore[arg-type]
        min_size=job.min_size,
        min_affinity=job.min_affinity,
    )
    pieces, origins = split_pieces(found, inner)
    whole, own = np.bincount(found.reshape(-1)), np.bincount(pieces.reshape(-1))
    faces = {"origins": origins, "remnants": 2 * own < whole[origins]}
    for axis, part in enumerate(inner):
        # Nothing is there at the end of the volume, nor without a halo.
        for side, at in (("before", part.start - 1), ("after", part.stop)):
            if 0 <= at < found.shape[axis]:
                faces[f"{side}{axis}"] = found[_replaced(inner, axis, slice(at, at + 1))]
    size = save_arrays(job.faces(place), **faces)
    size += write_block(job.fragments, core, pieces)
    return {"voxels": size_of(core), "bytes": size, "fragments": len(origins) - 1}


def contact_block(job: NeuronJob, place: Place) -> dict[str, Any]:
    """Collect the affinities of a block's edges, and what is one fragment across its faces."""
    grid = job.grid
    core = grid.core(place)
    before, after = job.affinities.reach
    window = grid.grown(core, [max(1, n) for n in before], after)
    firsts = load_arrays(job.firsts)["firsts"]
    local = read_block(job.fragments, window)
    labels, names = _window_names(job, window, local, firsts)
    contacts = block_contacts(
        job.affinities.read(window, core), labels, names, bins=job.config.linkage == "quantile"
    )
    frame = relative(core, window)
    joins, leanings = _across_faces(job, place, local, frame, firsts)
    count = firsts[grid.number(place) + 1] - firsts[grid.number(place)]
    pieces = np.bincount(local[frame].reshape(-1), minlength=count + 1)[1:]
    arrays = {**contacts.arrays(), "joins": joins, "leanings": leanings, "sizes": pieces}
    size = save_arrays(job.graph(place), **arrays)
    return {"voxels": size_of(core), "bytes": size, "edges": len(contacts.pairs)}


def _across_faces(
    job: NeuronJob,
    place: Place,
    local: NDArray[np.uint32],
    frame: tuple[slice, ...],
    firsts: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Compare a block with those below it: what is one fragment, and where remnants go on."""
    grid, ours = job.grid, load_arrays(job.faces(place))
    joins, leanings = [np.empty((0, 2), np.int64)], [np.empty((0, 3), np.int64)]
    for axis, other in grid.below(place):
        theirs = load_arrays(job.faces(other))
        start = frame[axis].start
        before = local[_replaced(frame, axis, slice(start - 1, start))]
        after = local[_replaced(frame, axis, slice(start, start + 1))]
        there, here = firsts[grid.number(other)], firsts[grid.number(place)]
        if f"after{axis}" in theirs:
            seen, origins = theirs[f"after{axis}"], theirs["origins"]
            found = joined_pieces(seen, before, after, origins, ours["origins"])
            joins.append(found + np.array([there, here]))
            found = leaning_pieces(seen, before, after, origins, theirs["remnants"])
            leanings.append(found + np.array([there, here, 0]))
        if f"before{axis}" in ours:
            seen, origins = ours[f"before{axis}"], ours["origins"]
            found = leaning_pieces(seen, after, before, origins, ours["remnants"])
            leanings.append(found + np.array([here, there, 0]))
    return np.concatenate(joins), np.concatenate(leanings)


def _window_names(
    job: NeuronJob,
    window: tuple[slice, ...],
    local: NDArray[np.uint32],
    firsts: NDArray[np.int64],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return labels of a window, without gaps, and their ids in the volume."""
    labels = np.zeros(local.shape, np.uint32)
    names: list[NDArray[np.int64]] = []
    count = 0
    for place, part in job.grid.touched(window):
        inside = relative(part, window)
        values = local[inside]
        there = np.zeros(int(values.max(initial=0)) + 1, np.bool_)
        there[values] = True
        there[0] = False
        numbers = np.cumsum(there, dtype=np.int64) + count
        numbers[0] = 0
        labels[inside] = numbers[values]
        found = np.flatnonzero(there)
        names.append(found + firsts[job.grid.number(place)])
        count += len(found)
    return labels, np.concatenate(names)


def relabel_block(job: NeuronJob, place: Place) -> dict[str, Any]:
    """Write the objects of a block."""
    core = job.grid.core(place)
    local = read_block(job.fragments, core)
    firsts = load_arrays(job.firsts)["firsts"]
    number = job.grid.number(place)
    # Read from the disk as far as this block goes: the table of a large volume is large, too.
    table = np.load(job.lookup, mmap_mode="r")
    own = np.concatenate([[0], table[firsts[number] + 1 : firsts[number + 1] + 1]])
    array = open_array(job.labels / "0", write=True)
    size = write_block(job.labels / "0", core, own.astype(array.dtype)[local], array=array)
    return {"voxels": size_of(core), "bytes": size}


def _replaced(box: tuple[slice, ...], axis: int, part: slice) -> tuple[slice, ...]:
    """Return a box with another slice along an axis."""
    return tuple(part if a == axis else own for a, own in enumerate(box))


_STAGES: dict[str, Callable[[NeuronJob, Place], dict[str, Any]]] = {
    "predict": predict_block,
    "fragments": fragment_block,
    "contacts": contact_block,
    "relabel": relabel_block,
}
