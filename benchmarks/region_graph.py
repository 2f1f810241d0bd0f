"""How fast volumes become fragments and their graph: beside bioimage-cpp, waterz and higra.

Every figure comes from a process of its own: `python benchmarks/region_graph.py METHOD
FOLDER ROUNDS` prints one as JSON. Peers are measured by the Python that `PEERS_PYTHON` names,
if it can import them; by default by this one.
"""

from __future__ import annotations

import json
import os
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
_MIN_SIZE = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sides of the synthetic volumes, each with rounds; whether to add a real volume of 128^3."""

    sides: tuple[tuple[int, int], ...] = ((64, 5), (128, 5), (256, 3))
    real: bool = True


def _affinities(values: NDArray[np.float32]) -> Any:
    from napari_implicitseg.affinities.ops import Affinities

    return Affinities(data=values, offsets=OFFSETS, spacing=(1, 1, 1))


def _made(values: NDArray[np.float32], **options: Any) -> dict[str, Any]:
    from napari_implicitseg.hierarchy.fragments import make_fragments

    labels = make_fragments(_affinities(values), **options)
    return {"regions": int(labels.max())}


def ours_watershed(values: NDArray[np.float32], _: NDArray[np.uint32]) -> dict[str, Any]:
    """Watershed on edges."""
    return _made(values)


def ours_merged(values: NDArray[np.float32], _: NDArray[np.uint32]) -> dict[str, Any]:
    """Watershed on edges, small fragments merged."""
    return _made(values, min_size=_MIN_SIZE)


def ours_distance(values: NDArray[np.float32], _: NDArray[np.uint32]) -> dict[str, Any]:
    """Watershed from the points farthest from membranes."""
    return _made(values, method="distance")


def higra_watershed(values: NDArray[np.float32], _: NDArray[np.uint32]) -> dict[str, Any]:
    """Watershed on edges of higra, its graph included."""
    return _made(values, method="higra")


def bioimage_watershed(
    values: NDArray[np.float32], fragments: NDArray[np.uint32]
) -> dict[str, Any]:
    """Watershed on edges from one seed in each of our fragments; it has none without seeds."""
    import bioimage_cpp

    seeds = np.zeros_like(fragments)
    ids, first = np.unique(fragments, return_index=True)
    seeds.reshape(-1)[first] = ids
    begin = time.process_time()
    labels = bioimage_cpp.segmentation.watershed_from_affinities(values, OFFSETS, seeds)
    return {"regions": int(labels.max()), "seconds": time.process_time() - begin}


def waterz_watershed(values: NDArray[np.float32], _: NDArray[np.uint32]) -> dict[str, Any]:
    """Watershed on edges of waterz, the region graph and its scores included: it has no other."""
    import waterz

    found = waterz.agglomerate(values, [0.0], aff_threshold_low=0.0, aff_threshold_high=1.1)
    return {"regions": int(next(iter(found)).max())}


def ours_graph(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> dict[str, Any]:
    """Graph with counts, sums, maxima and their places."""
    from napari_implicitseg.hierarchy.region_graph import region_graph

    graph = region_graph(_affinities(values), fragments)
    return {"edges": len(graph.edges), "mean": float(graph.means.mean())}


def ours_histograms(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> dict[str, Any]:
    """Graph as before, with histograms of 32 bins."""
    from napari_implicitseg.hierarchy.region_graph import region_graph

    graph = region_graph(_affinities(values), fragments, bins=32)
    return {"edges": len(graph.edges), "mean": float(graph.means.mean())}


def bioimage_graph(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> dict[str, Any]:
    """Graph with means and counts."""
    return _bioimage(values, fragments, "affinity_features")


def bioimage_complex(values: NDArray[np.float32], fragments: NDArray[np.uint32]) -> dict[str, Any]:
    """Graph with means, counts, extremes, deviations and quantiles."""
    return _bioimage(values, fragments, "affinity_features_complex")


def _bioimage(
    values: NDArray[np.float32], fragments: NDArray[np.uint32], name: str
) -> dict[str, Any]:
    import bioimage_cpp

    graph = bioimage_cpp.graph.region_adjacency_graph(fragments, number_of_threads=1)
    function = getattr(bioimage_cpp.graph.features, name)
    features = function(graph, fragments, values, OFFSETS, number_of_threads=1)
    return {"edges": int(graph.number_of_edges), "mean": float(features[:, 0].mean())}


METHODS: dict[str, Callable[..., dict[str, Any]]] = {
    "watershed": ours_watershed,
    "watershed, merged": ours_merged,
    "distance": ours_distance,
    "watershed of higra": higra_watershed,
    "watershed of bioimage-cpp": bioimage_watershed,
    "watershed of waterz": waterz_watershed,
    "graph": ours_graph,
    "graph, histograms": ours_histograms,
    "graph of bioimage-cpp": bioimage_graph,
    "graph of bioimage-cpp, all": bioimage_complex,
}
_MODULES = {"bioimage-cpp": "bioimage_cpp", "waterz": "waterz"}
# Those take minutes, or much memory, for more voxels.
_LARGEST = {"watershed of higra": 128, "distance": 128}
_WATERSHED_GOAL = 4e6


def measure(method: str, folder: Path, rounds: int) -> dict[str, Any]:
    """CPU seconds of some runs, bytes over those of the inputs in the first, what was found."""
    function = METHODS[method]
    values, fragments = (np.load(folder / f"{n}.npy") for n in ("affinities", "fragments"))
    # Imports and compiled code are no part of it.
    small = np.ascontiguousarray(fragments[:9, :9, :9])
    numbers = np.unique(small, return_inverse=True)[1].reshape(small.shape) + 1
    function(np.ascontiguousarray(values[:, :9, :9, :9]), numbers.astype(np.uint32))
    times, found = measured(lambda: function(values, fragments), rounds)
    return {**times, "found": found}


def _real() -> NDArray[np.float32] | None:
    """Affinities that the shipped model predicts for a part of FIB-25; None without its data."""
    import tifffile

    from napari_implicitseg import predict_affinities

    home = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("IMPLICITSEG_DATA", home)) / "em" / "fib25" / "raw.tif"
    if not path.exists():
        return None
    raw = tifffile.imread(path)[60:188, 60:188, 60:188]
    return predict_affinities(raw, "fibsem-isotropic", spacing=(10, 10, 10)).data


def report(plan: Plan) -> list[str]:
    """Markdown lines of the table and the goals."""
    # Here, so that it is no part of what the probes measure.
    from common import at_most, table
    from malis import volume
    from napari_implicitseg.hierarchy.fragments import make_fragments

    cases = [(f"{side}^3", side, rounds) for side, rounds in plan.sides]
    pythons = {method: python for method in METHODS if (python := python_with(method, _MODULES))}
    found: dict[tuple[str, str], dict[str, Any]] = {}
    sides: dict[str, int] = {}
    for title, side, rounds in [*cases, *([("FIB-25, 128^3", 128, 3)] if plan.real else [])]:
        values = _real() if title.startswith("FIB") else volume(side)[0]
        if values is None:
            continue
        sides[title] = side
        with tempfile.TemporaryDirectory() as name:
            np.save(Path(name) / "affinities.npy", values)
            labels = make_fragments(_affinities(values), min_size=_MIN_SIZE)
            np.save(Path(name) / "fragments.npy", labels)
            for method, python in pythons.items():
                if side <= _LARGEST.get(method, side):
                    turns = rounds if " of " not in method else 1
                    found[title, method] = probe(python, __file__, method, name, turns)
        _check(found, title)
    rows = []
    for (title, method), run in found.items():
        seconds, voxels = float(np.median(run["seconds"])), sides[title] ** 3
        cells = f"{seconds:.3f} {voxels / seconds / 1e6:.2f} {run['peak'] / voxels:.0f}"
        number = run["found"].get("regions") or run["found"]["edges"]
        rows.append([title, method, *cells.split(), str(number)])
    largest = cases[-1][0]
    goals = []
    seconds = {m: float(np.median(r["seconds"])) for (t, m), r in found.items() if t == largest}
    voxels = sides[largest] ** 3
    rate = voxels / seconds["watershed"]
    mark = "reached" if rate >= _WATERSHED_GOAL else "MISSED"
    goals.append(f"- {mark}: voxels/s of the watershed: {rate / 1e6:.1f} million (goal 4)")
    if "graph of bioimage-cpp" in seconds:
        ratio = seconds["graph"] / seconds["graph of bioimage-cpp"]
        goals.append(at_most("time of the graph over that of bioimage-cpp", ratio, 2))
    both = max(found[largest, m]["peak"] / voxels for m in ("watershed, merged", "graph"))
    goals.append(at_most("bytes per voxel of fragments and graph, the larger one", both, 60))
    absent = sorted({n for n in _MODULES if not any(n in method for method in pythons)})
    return [
        "Synthetic affinities as for MALIS, and those of the shipped model; three per voxel.",
        f"Graphs are those of the fragments merged up to {_MIN_SIZE} voxels. CPU seconds of one",
        "thread, medians; bytes beyond the inputs, with the results.",
        *([f"Not installed: {', '.join(absent)}."] if absent else []),
        "",
        *table(
            [
                "volume",
                "method",
                "CPU s",
                "million voxels/s",
                "bytes per voxel",
                "regions or edges",
            ],
            rows,
        ),
        *goals,
        "",
    ]


def _check(found: dict[tuple[str, str], dict[str, Any]], title: str) -> None:
    """See that all methods found as many fragments, and the same graph."""
    runs = {method: run["found"] for (t, method), run in found.items() if t == title}
    exact = ("watershed", "watershed of higra", "watershed of waterz")
    regions = {runs[m]["regions"] for m in exact if m in runs}
    graphs = [run for run in runs.values() if "edges" in run]
    edges = {run["edges"] for run in graphs}
    means = [run["mean"] for run in graphs]
    if len(regions) > 1 or len(edges) > 1 or not np.allclose(means, means[0], rtol=1e-5):
        raise AssertionError(f"The methods disagree about {title}: {runs}")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
