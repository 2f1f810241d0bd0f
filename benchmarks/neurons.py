"""From affinities to labels, end to end: beside waterz, mwatershed and bioimage-cpp.

Every figure comes from a process of its own: `python benchmarks/neurons.py METHOD FOLDER
ROUNDS` prints one as JSON. Peers are measured by the Python that `PEERS_PYTHON` names, if
it can import them; by default by this one.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probes import measured, probe, python_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["METHODS", "Plan", "report"]

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
_THRESHOLD = 0.5
_MEAN = "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sides of the synthetic volumes, each with rounds; the largest for peers that take long.

    `quality` says whether to score the held-out part of FIB-25.
    """

    sides: tuple[tuple[int, int], ...] = ((64, 5), (128, 5), (256, 3))
    slow: int = 128
    quality: bool = True


def _affinities(values: NDArray[np.float32]) -> Any:
    from napari_implicitseg.affinities.ops import Affinities

    return Affinities(data=values, offsets=OFFSETS, spacing=(1, 1, 1))


def _ours(values: NDArray[np.float32], **options: Any) -> NDArray[Any]:
    from napari_implicitseg import segment_affinities

    return segment_affinities(_affinities(values), threshold=_THRESHOLD, **options)


def ours_watershed(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Our watershed, mean linkage."""
    return _ours(values, fragments="watershed")


def ours_higra(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Watershed of higra, mean linkage."""
    return _ours(values, fragments="higra")


def ours_distance(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Fragments about the points farthest from membranes, mean linkage."""
    return _ours(values, fragments="distance")


def ours_single(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Thresholding."""
    return _ours(values, linkage="single")


def ours_given(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> NDArray[Any]:
    """Mean linkage of fragments that are given."""
    return _ours(values, fragments=fragments)


def waterz_whole(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Watershed and mean agglomeration of waterz."""
    import waterz

    found = waterz.agglomerate(
        values, [1 - _THRESHOLD], scoring_function=_MEAN, aff_threshold_low=0.0
    )
    return next(iter(found))


def waterz_given(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> NDArray[Any]:
    """Mean agglomeration of waterz of fragments that are given."""
    import waterz

    given = fragments.astype(np.uint64)
    return next(
        iter(waterz.agglomerate(values, [1 - _THRESHOLD], fragments=given, scoring_function=_MEAN))
    )


def mwatershed_whole(values: NDArray[np.float32], _: NDArray[np.uint32]) -> NDArray[Any]:
    """Mutex watershed of mwatershed; edges below the threshold exclude."""
    import mwatershed

    signed = values.astype(np.float64) - _THRESHOLD
    return mwatershed.agglom(signed, [list(offset) for offset in OFFSETS])


def bioimage_given(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> NDArray[Any]:
    """Region graph and signed mean agglomeration (GASP) of bioimage-cpp of given fragments."""
    import bioimage_cpp

    graphs = bioimage_cpp.graph
    graph = graphs.region_adjacency_graph(fragments, number_of_threads=1)
    features = graphs.features.affinity_features(
        graph, fragments, values, OFFSETS, number_of_threads=1
    )
    nodes = graphs.agglomeration.GaspClusterPolicy(linkage="mean").optimize(
        graph, features[:, 0] - _THRESHOLD, edge_sizes=features[:, 1]
    )
    return graphs.project_node_labels_to_pixels(graph, fragments, nodes, number_of_threads=1)


METHODS: dict[str, Callable[..., NDArray[Any]]] = {
    "watershed, mean": ours_watershed,
    "higra, mean": ours_higra,
    "distance, mean": ours_distance,
    "thresholding": ours_single,
    "waterz": waterz_whole,
    "mwatershed": mwatershed_whole,
    "given fragments, mean": ours_given,
    "given fragments, waterz": waterz_given,
    "given fragments, bioimage-cpp": bioimage_given,
}
_MODULES = {"waterz": "waterz", "mwatershed": "mwatershed", "bioimage-cpp": "bioimage_cpp"}
# These take minutes beyond `Plan.slow`.
_SLOW = ("waterz", "mwatershed")
_SAME = ("given fragments, mean", "given fragments, waterz")


def measure(method: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds of some runs, bytes over those of the inputs in the first, objects found."""
    function = METHODS[method]
    values, fragments = (np.load(folder / f"{n}.npy") for n in ("affinities", "fragments"))
    # Imports and compiled code are no part of it.
    small = np.ascontiguousarray(fragments[:9, :9, :9])
    numbers = np.unique(small, return_inverse=True)[1].reshape(small.shape) + 1
    function(np.ascontiguousarray(values[:, :9, :9, :9]), numbers.astype(np.uint32))
    times, labels = measured(lambda: function(values, fragments), rounds, time.perf_counter)
    if method in _SAME:
        np.save(folder / f"{method}.npy", np.asarray(labels))
    return {**times, "objects": len(np.unique(labels))}


def report(plan: Plan) -> list[str]:
    """Markdown lines of the tables and the goals."""
    from common import at_least, at_most, table

    pythons = {m: python for m in METHODS if (python := python_with(m, _MODULES))}
    found: dict[tuple[int, str], dict[str, Any]] = {}
    same = [_speeds(side, rounds, plan.slow, pythons, found) for side, rounds in plan.sides]
    rows = []
    for (side, method), run in found.items():
        seconds = float(np.median(run["seconds"]))
        cells = f"{seconds:.3f} {side**3 / seconds / 1e6:.2f} {run['peak'] / side**3:.0f}"
        rows.append([f"{side}^3", method, *cells.split(), str(run["objects"])])
    first, last = plan.sides[0][0], plan.sides[-1][0]
    rates = {
        k: side**3 / float(np.median(found[side, k]["seconds"])) / 1e6
        for side, k in ((last, "watershed, mean"), (last, "higra, mean"))
    }
    absent = sorted({n for n in _MODULES if not any(n in method for method in pythons)})
    growth = max(
        np.median(found[last, k]["seconds"])
        / np.median(found[first, k]["seconds"])
        * (first / last) ** 3
        for k in ("watershed, mean", "higra, mean")
    )
    goals = [
        at_least("million voxels/s, our watershed", rates["watershed, mean"], 4, 2),
        at_least("million voxels/s, watershed of higra", rates["higra, mean"], 1.5, 2),
        at_most(
            "bytes per voxel, our watershed", found[last, "watershed, mean"]["peak"] / last**3, 60
        ),
        at_most(
            "bytes per voxel, watershed of higra", found[last, "higra, mean"]["peak"] / last**3, 220
        ),
        at_most(f"time per voxel, {last}^3 over {first}^3, the larger one", growth, 1.5),
    ]
    if any(number is not None for number in same):
        different = sum(number or 0 for number in same)
        goals.append(
            at_most("objects that waterz makes otherwise of the same fragments", different, 0)
        )
    lines = [
        f"Synthetic affinities as for MALIS, three per voxel, cut at {_THRESHOLD}. Seconds by",
        "the clock, on two cores, medians; bytes beyond the inputs, with the results. Given",
        "fragments are those of our watershed, merged up to 25 voxels.",
        *([f"Not installed: {', '.join(absent)}."] if absent else []),
        "",
        *table(
            ["volume", "method", "seconds", "million voxels/s", "bytes per voxel", "objects"], rows
        ),
        *goals,
        "",
    ]
    if plan.quality:
        from neurons_quality import report as quality

        lines += quality()
    return lines


def _speeds(
    side: int,
    rounds: int,
    slow: int,
    pythons: dict[str, str],
    found: dict[tuple[int, str], dict[str, Any]],
) -> int | None:
    """Measure all methods on one volume; how many objects differ between ours and waterz's."""
    from malis import volume
    from napari_implicitseg.hierarchy.fragments import make_fragments

    values = volume(side)[0]
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "affinities.npy", values)
        fragments = make_fragments(_affinities(values), min_size=25)
        np.save(Path(name) / "fragments.npy", fragments)
        for method, python in pythons.items():
            if side <= slow or method not in _SLOW:
                turns = 1 if any(peer in method for peer in _MODULES) else rounds
                found[side, method] = probe(python, __file__, method, name, turns)
        if not all(method in pythons for method in _SAME):
            return None
        return different(*(np.load(Path(name) / f"{method}.npy") for method in _SAME))


def different(one: NDArray[Any], two: NDArray[Any]) -> int:
    """Count the objects of the first that are none of the second, whatever their ids."""
    from napari_implicitseg.metrics import contingency

    table = contingency(one.reshape(-1), two.reshape(-1), ignore=None)
    shared = [np.bincount(side)[side] > 1 for side in (table.rows, table.columns)]
    return len(np.unique(table.rows[shared[0] | shared[1]]))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
