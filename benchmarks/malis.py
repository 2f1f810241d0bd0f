"""How fast MALIS counts pairs: against higra, in memory, with size, in threads, at the start.

Every figure comes from a process of its own: `python benchmarks/malis.py PROBE FOLDER ROUNDS`
prints one as JSON. The `malis` package is measured where it can be imported.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["PROBES", "Plan", "report"]

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
_OURS, _HIGRA, _PACKAGE = "this package", "recipe on higra", "malis package"
_Counts = tuple["NDArray[Any]", "NDArray[Any]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sides of the volumes, each with how many processes of each method to take."""

    sides: tuple[tuple[int, int], ...] = ((64, 5), (128, 5), (256, 3))


def volume(side: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Affinities and labels much like those of neurites a network has seen.

    Objects are the basins of smoothed noise, of 4,000 voxels at the median and 26,000 at most.
    Affinities are 0 or 1 under smoothed noise in log odds, with 1 in 20 on the
    wrong side of a half. Objects are connected, since only then is the recipe exact.
    """
    from scipy import ndimage
    from skimage.measure import label
    from skimage.segmentation import watershed

    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal((side,) * 3, np.float32), 4)
    seeds = ndimage.label(ndimage.minimum_filter(field, 9) == field)[0]
    labels = label(watershed(field, seeds), connectivity=1).astype(np.uint32)
    affinities = np.empty((3, side, side, side), np.float32)
    for values, axis in zip(affinities, range(3), strict=True):
        noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape, np.float32), 1)
        same = labels == np.roll(labels, 1, axis)
        values[...] = 1 / (1 + np.exp(2.5 - 5 * same - 1.5 / noise.std() * noise))
    return affinities, labels


def ours(affinities: NDArray[np.float32], labels: NDArray[np.uint32]) -> _Counts:
    """Two constrained passes."""
    from napari_implicitseg.affinities.malis import malis_pair_counts

    return (
        malis_pair_counts(affinities, labels, OFFSETS, constrained="positive").positive,
        malis_pair_counts(affinities, labels, OFFSETS, constrained="negative").negative,
    )


def higra_recipe(affinities: NDArray[np.float32], labels: NDArray[np.uint32]) -> _Counts:
    """Two constrained passes by higra's binary partition tree, for connected objects.

    Edges are set to their truth. Labelled voxels are counted from the leaves up, and those of the
    two children of a node multiplied: pairs of one label where the edge of the node is inside an
    object, else of two.
    """
    import higra as hg

    size = labels.size
    index, ids = np.arange(size).reshape(labels.shape), labels.ravel()
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for axis in range(3):
        # The later end is where the offset starts.
        later, earlier = (
            tuple(s if a == axis else slice(None) for a in range(3))
            for s in (slice(1, None), slice(None, -1))
        )
        parts.append((index[later].ravel(), index[earlier].ravel()))
    sources, targets = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    names = np.concatenate([k * size + s for k, (s, _) in enumerate(parts)])
    inside = (ids[sources] == ids[targets]) & (ids[sources] != 0)
    values = affinities.ravel()[names]
    found = []
    for truth in (0, 1):
        weights = -np.where(inside == truth, np.float32(truth), values)
        tree, _ = hg.bpt_canonical((sources, targets, size), weights)
        voxels = hg.accumulate_sequential(tree, (ids != 0).astype(float), hg.Accumulators.sum)
        pairs = hg.accumulate_parallel(tree, voxels, hg.Accumulators.prod)[size:]
        edges = hg.get_attribute(tree, "mst_edge_map")
        counts = np.zeros(affinities.size, np.int64)
        counts[names[edges]] = np.where(inside[edges] != truth, pairs, 0)
        found.append(counts.reshape(affinities.shape))
    return found[0], found[1]


def malis_package(affinities: NDArray[np.float32], labels: NDArray[np.uint32]) -> _Counts:
    """Two constrained passes by the package of Turaga and Funke."""
    package = _package()
    first, second = package.nodelist_like(labels.shape, np.array(OFFSETS, np.int32))
    ids = labels.ravel().astype(np.uint64)
    inside = np.stack([labels == np.roll(labels, 1, axis) for axis in range(3)]) & (labels != 0)
    found = []
    for truth in (0, 1):
        weights = np.where(inside == truth, np.float32(truth), affinities).ravel()
        counts = package.malis_loss_weights(ids, first.ravel(), second.ravel(), weights, 1 - truth)
        found.append(np.where(inside != truth, counts.reshape(affinities.shape), 0))
    return found[0], found[1]


def _package() -> Any:
    """Import the package, which has the name of this file."""
    own = str(Path(__file__).parent)
    path, module = sys.path[:], sys.modules.pop("malis", None)
    try:
        sys.path = [p for p in path if str(Path(p or ".").resolve()) != own]
        return importlib.import_module("malis")
    finally:
        sys.path = path
        sys.modules.pop("malis", None)
        if module is not None:
            sys.modules["malis"] = module


METHODS: dict[str, Callable[..., _Counts]] = {
    _OURS: ours,
    _HIGRA: higra_recipe,
    _PACKAGE: malis_package,
}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(method: str, folder: Path, rounds: int) -> dict[str, Any]:
    """CPU seconds of some runs, bytes over those of the inputs in the first, sums of pairs."""
    function = METHODS[method]
    affinities, labels = (np.load(folder / f"{n}.npy") for n in ("affinities", "labels"))
    # Imports and compiled code are no part of it.
    function(affinities[:, :9, :9, :9].copy(), labels[:9, :9, :9].copy())
    resident = _resident()
    Path("/proc/self/clear_refs").write_text("5")
    seconds = []
    for turn in range(rounds):
        counts = None
        begin = time.process_time()
        counts = function(affinities, labels)
        seconds.append(time.process_time() - begin)
        if turn == 0:
            status = Path("/proc/self/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 - resident
    return {"seconds": seconds, "peak": peak, "sums": [int(c.sum()) for c in counts]}


def _by_the_clock(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds a piece of work takes this thread, and those of them it waits for a processor."""
    waits = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    waited, begin = int(waits.read_text().split()[1]), time.perf_counter()
    work()
    seconds = time.perf_counter() - begin
    return seconds, (int(waits.read_text().split()[1]) - waited) / 1e9


def two_threads(folder: Path, rounds: int) -> dict[str, Any]:
    """Time of two samples in two threads over one after the other.

    By the clock, and less what threads waited for a processor that other processes had: on a
    machine with nothing else to do both are the same.
    """
    affinities, labels = (np.load(folder / f"{n}.npy") for n in ("affinities", "labels"))
    copies = affinities.copy(), labels.copy()
    works = [lambda: ours(affinities, labels), lambda: ours(*copies)]
    works[0]()
    ratios = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            serial = np.array([_by_the_clock(work) for work in works])
            threads = np.array(list(pool.map(_by_the_clock, works)))
            busy = (threads[:, 0] - threads[:, 1]).max() / (serial[:, 0] - serial[:, 1]).sum()
            ratios.append((threads[:, 0].max() / serial[:, 0].sum(), busy))
    clock, busy = np.median(ratios, axis=0)
    return {"clock": float(clock), "busy": float(busy)}


def start(folder: Path, rounds: int) -> dict[str, Any]:
    """CPU seconds of this process, from its start to its first counts."""
    rng = np.random.default_rng(0)
    ours(rng.random((3, 9, 9, 9), np.float32), rng.integers(0, 3, (9, 9, 9)).astype(np.uint32))
    return {"seconds": time.process_time()}


PROBES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "threads": two_threads,
    "start": start,
    **{name: lambda folder, rounds, name=name: measure(name, folder, rounds) for name in METHODS},
}


def _probe(name: str, folder: Path, rounds: int = 1, **environment: str) -> dict[str, Any]:
    """Run a probe in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, name, str(folder), str(rounds)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return json.loads(done.stdout)


def _has_package() -> bool:
    try:
        _package()
    except ImportError:
        return False
    return True


def report(plan: Plan) -> list[str]:
    """Markdown lines of all tables."""
    # Here, so that it is no part of what the probes measure.
    from common import at_most, table

    methods = [m for m in METHODS if m != _PACKAGE or _has_package()]
    found: dict[tuple[int, str], dict[str, float]] = {}
    goals = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, processes in plan.sides:
            for part, array in zip(("affinities", "labels"), volume(side), strict=True):
                np.save(folder / f"{part}.npy", array)
            found |= {(side, m): f for m, f in _compare(methods, folder, processes, side).items()}
            if side == 128:
                two = _probe("threads", folder, 9)
        first, second = _starts(folder)
    wanted = {128: 6, 256: 12}
    ratios = {s: found[s, _HIGRA]["fresh"] / found[s, _OURS]["fresh"] for s, _ in plan.sides}
    for side, least in wanted.items():
        if side in ratios:
            mark = "reached" if ratios[side] >= least else "MISSED"
            text = f"recipe over this package at {side}^3"
            goals.append(f"- {mark}: {text}: {ratios[side]:.1f} (goal at least {least})")
    sides = [side for side, _ in plan.sides]
    most = max(found[s, _OURS]["bytes"] for s in sides)
    goals.append(at_most("bytes per voxel beyond the inputs", most, 80))
    per_voxel = {s: found[s, _OURS]["fresh"] / s**3 for s in sides}
    growth = per_voxel[sides[-1]] / per_voxel[sides[0]]
    goals.append(at_most(f"time per voxel, {sides[-1]}^3 over {sides[0]}^3", growth, 1.5))
    text = "two samples in two threads, over one after the other, less waiting for a processor"
    goals.append(at_most(text, two["busy"], 0.75))
    goals.append(at_most("CPU s of a process up to its first counts, compiled before", second, 5))
    rows = []
    for (side, method), f in found.items():
        ratio = f["fresh"] / found[side, _OURS]["fresh"]
        cells = f"{f['fresh']:.3f} {ratio:.1f} {f['again']:.3f} {1e9 * f['fresh'] / side**3:.0f}"
        rows.append([f"{side}^3", method, *cells.split(), f"{f['bytes']:.0f}"])
    return [
        "Two constrained passes over volumes with three affinities per voxel; medians over",
        "processes, of the first run after compiling, and of later ones in the same process.",
        *([] if _PACKAGE in methods else ["The `malis` package is not installed."]),
        "",
        *table(
            [
                "volume",
                "method",
                "CPU s",
                "ratio",
                "CPU s again",
                "ns per voxel",
                "bytes per voxel",
            ],
            rows,
        ),
        *goals,
        f"- Two threads by the clock, on a machine with other work to do: {two['clock']:.2f}",
        f"- The first process of all, which compiles: {first:.1f} CPU s",
        "",
    ]


def _compare(
    methods: list[str], folder: Path, processes: int, side: int
) -> dict[str, dict[str, float]]:
    """Measure methods in turns, and see that they agree."""
    runs: dict[str, list[dict[str, Any]]] = {m: [] for m in methods}
    for turn in range(processes):
        for method in methods:
            # Peers take a minute at 256^3: again only once.
            rounds = 3 if method == _OURS else 1 + (turn == 0)
            runs[method].append(_probe(method, folder, rounds))
    sums = {tuple(run["sums"]) for turns in runs.values() for run in turns}
    if len(sums) > 1:
        raise AssertionError(f"The methods disagree about the pairs at {side}^3: {sums}")
    return {
        method: {
            "fresh": float(np.median([run["seconds"][0] for run in turns])),
            "again": float(np.median([s for run in turns for s in run["seconds"][1:]])),
            "bytes": max(run["peak"] for run in turns) / side**3,
        }
        for method, turns in runs.items()
    }


def _starts(folder: Path) -> tuple[float, float]:
    """CPU seconds of the first process ever, and of the next ones."""
    with tempfile.TemporaryDirectory() as cache:
        times = [_probe("start", folder, NUMBA_CACHE_DIR=cache)["seconds"] for _ in range(4)]
    return times[0], float(np.median(times[1:]))


if __name__ == "__main__":
    print(json.dumps(PROBES[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
