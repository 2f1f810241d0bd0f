"""How good neurons are: the held-out part of FIB-25, for this package and its peers.

All cut the same affinities, those of the shipped model. The threshold is chosen on one half of
the part and scored on the other, and the other way round. `python benchmarks/neurons_quality.py
METHOD FOLDER` writes the labels at all thresholds.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probes import probe, python_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["METHODS", "report"]

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
_MODULES = {"waterz": "waterz", "mwatershed": "mwatershed", "bioimage-cpp": "bioimage_cpp"}
_HELD_OUT = 188
"""The first section that the model has not learned from."""
_QUANTILES = (25, 50, 75)


def _hierarchy(values: NDArray[np.float32], **options: Any) -> Iterator[NDArray[Any]]:
    from napari_implicitseg import build_hierarchy
    from napari_implicitseg.affinities.ops import Affinities

    edges = Affinities(data=values, offsets=OFFSETS, spacing=(10, 10, 10))
    tree = build_hierarchy(edges, **options)
    return (tree.cut(t) for t in THRESHOLDS)


def _thresholding(values: NDArray[np.float32]) -> Iterator[NDArray[Any]]:
    from napari_implicitseg import segment_affinities

    return (segment_affinities(values, linkage="single", threshold=t) for t in THRESHOLDS)


def _waterz(values: NDArray[np.float32], scoring: str) -> Iterator[NDArray[Any]]:
    import waterz

    # It merges on from threshold to threshold, in the array it has returned.
    ascending = sorted(1 - t for t in THRESHOLDS)
    found = waterz.agglomerate(values, ascending, scoring_function=scoring)
    return iter([labels.copy() for labels in found][::-1])


def _mwatershed(values: NDArray[np.float32]) -> Iterator[NDArray[Any]]:
    import mwatershed

    offsets = [list(offset) for offset in OFFSETS]
    return (mwatershed.agglom(values.astype(np.float64) - t, offsets) for t in THRESHOLDS)


def _bioimage(values: NDArray[np.float32]) -> Iterator[NDArray[Any]]:
    """Fragments about the points far from membranes, then signed mean agglomeration."""
    import bioimage_cpp
    from scipy import ndimage

    boundary = 1 - values.mean(axis=0)
    distance = bioimage_cpp.distance.distance_transform(boundary < 0.5)
    distance = bioimage_cpp.filters.gaussian_smoothing(distance.astype(np.float32), 1.0)
    highest = (ndimage.maximum_filter(distance, 7) == distance) & (boundary < 0.5)
    seeds = ndimage.label(highest)[0].astype(np.uint32)
    fragments = bioimage_cpp.segmentation.watershed(boundary, seeds)
    graphs = bioimage_cpp.graph
    graph = graphs.region_adjacency_graph(fragments)
    features = graphs.features.affinity_features(graph, fragments, values, OFFSETS)
    for threshold in THRESHOLDS:
        nodes = graphs.agglomeration.GaspClusterPolicy(linkage="mean").optimize(
            graph, features[:, 0] - threshold, edge_sizes=features[:, 1]
        )
        yield graphs.project_node_labels_to_pixels(graph, fragments, nodes)


def _quantile_of_waterz(share: int) -> str:
    inner = f"HistogramQuantileAffinity<RegionGraphType, {share}, ScoreValue, 256>"
    return f"OneMinus<{inner}>"


METHODS: dict[str, Callable[[NDArray[np.float32]], Iterator[NDArray[Any]]]] = {
    "mean": lambda values: _hierarchy(values),
    **{
        f"quantile {q}": lambda values, q=q: _hierarchy(
            values, linkage="quantile", quantile=q / 100
        )
        for q in _QUANTILES
    },
    "mean, watershed": lambda values: _hierarchy(values, fragments="watershed"),
    "thresholding": _thresholding,
    "mean of waterz": lambda values: _waterz(
        values, "OneMinus<MeanAffinity<RegionGraphType, ScoreValue>>"
    ),
    **{
        f"quantile {q} of waterz": lambda values, q=q: _waterz(values, _quantile_of_waterz(q))
        for q in _QUANTILES
    },
    "mwatershed": _mwatershed,
    "mean (GASP) of bioimage-cpp": _bioimage,
}


def _write(method: str, folder: Path) -> None:
    """Write the labels of a method at each threshold."""
    values = np.load(folder / "affinities.npy")
    for threshold, labels in zip(THRESHOLDS, METHODS[method](values), strict=True):
        _, numbers = np.unique(labels, return_inverse=True)
        np.save(folder / f"{threshold}.npy", numbers.reshape(values.shape[1:]).astype(np.uint32))


def report() -> list[str]:
    """Markdown lines of the table and the goal."""
    import tifffile

    from common import at_most, table
    from napari_implicitseg import predict_affinities

    home = Path(__file__).parents[2] / "shared" / "data"
    data = Path(os.environ.get("IMPLICITSEG_DATA", home)) / "em" / "fib25"
    if not data.exists():
        return ["Quality: left out, the data are not there.", ""]
    raw, truth = (tifffile.imread(data / f"{n}.tif")[_HELD_OUT:] for n in ("raw", "neurons"))
    values = predict_affinities(raw, "fibsem-isotropic", spacing=(10, 10, 10)).data
    rows, scores = [], {}
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "affinities.npy", values)
        for method in METHODS:
            if (python := python_with(method, _MODULES)) is not None:
                probe(python, __file__, method, name)
                figures, thresholds = _scored(Path(name), truth)
                scores[method] = float(np.mean(figures))
                rows.append(
                    [
                        method,
                        f"{scores[method]:.3f}",
                        *(f"{f:.3f} ({t:g})" for f, t in zip(figures, thresholds, strict=True)),
                    ]
                )
    ours = {m: s for m, s in scores.items() if not any(peer in m for peer in _MODULES)}
    peers = {m: s for m, s in scores.items() if m not in ours}
    best = min(ours, key=ours.__getitem__)
    goals = [
        at_most(f"VOI of {best} less that of the best peer ({peer})", ours[best] - peers[peer], 0)
        for peer in ([min(peers, key=peers.__getitem__)] if peers else [])
    ]
    return [
        "### Quality on FIB-25",
        "",
        "Affinities of the shipped model for the held-out sections. VOI in bits, its threshold",
        "chosen on the other half (left and right in x), and that threshold.",
        "",
        *table(["method", "mean", "right", "left"], rows),
        *goals,
        "",
    ]


def _scored(folder: Path, truth: NDArray[Any]) -> tuple[list[float], list[float]]:
    """VOI of each half at the threshold best on the other one, and these thresholds."""
    from napari_implicitseg.metrics import contingency, voi

    middle = truth.shape[-1] // 2
    halves = (np.s_[..., :middle], np.s_[..., middle:])
    sums = np.empty((len(THRESHOLDS), 2))
    for k, threshold in enumerate(THRESHOLDS):
        labels = np.load(folder / f"{threshold}.npy")
        for side, half in enumerate(halves):
            found = voi(contingency(labels[half], truth[half]))
            sums[k, side] = found.split + found.merge
    best = sums.argmin(axis=0)
    return [sums[best[0], 1], sums[best[1], 0]], [THRESHOLDS[best[0]], THRESHOLDS[best[1]]]


if __name__ == "__main__":
    _write(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps({}))
