"""Volumes block by block: two processes against one, overheads, files, daisy, a million blocks."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import batch_jobs
from common import at_least, at_most, table
from probes import probe, python_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from napari_implicitseg.batch.report import BatchReport

__all__ = ["QUICK", "Plan", "report"]

# Of MKL, too, which torch follows; else one process has all cores.
for _library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

_MODULES = {"daisy": "daisy, napari_implicitseg"}
_FIRST = (0, 0, 0)
_CPU_BOUND = ("predict", "fragments", "contacts")
_MODEL = "fibsem-isotropic"
_Times = dict[tuple[str, int], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes
    ----------
    rounds : int
        Of everything whose median is taken.
    side, times : int
        Affinities are so many cubes in a row; a cube is eight blocks.
    grey : tuple of int
        Volume that is predicted.
    block : int
        Side of its blocks.
    blocks, empty : int
        That daisy and this package work on: smoothed, and without work.
    simulated, real, records : int
        Blocks handed out to nobody, and to two processes; records written and read.
    """

    rounds: int = 5
    side: int = 128
    times: int = 4
    grey: tuple[int, int, int] = (64, 64, 512)
    block: int = 64
    blocks: int = 400
    empty: int = 2000
    simulated: int = 1_000_000
    real: int = 5000
    records: int = 100_000


def report(plan: Plan) -> list[str]:
    """Markdown lines of the tables and the goals."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            "Seconds by the clock, medians of interleaved rounds, one thread a process.",
            "",
            *_workers(folder, plan),
            *_files(folder, plan),
            *_daisy(folder, plan),
            *_scheduler(folder, plan),
        ]


def _workers(folder: Path, plan: Plan) -> list[str]:
    """One process and two, and predicting beside the bare network."""
    from napari_implicitseg.batch.engine import local_cluster

    grey, affinities = folder / "grey.zarr", folder / "affinities.zarr"
    batch_jobs.grey_volume(grey, plan.grey)
    batch_jobs.affinity_volume(affinities, plan.side, plan.times)
    times: _Times = {}
    with local_cluster([None]) as (one, _), local_cluster([None] * 2) as (two, _):
        clients = {1: one, 2: two}
        for turn in range(plan.rounds + 1):
            for number, client in clients.items():
                found = _round(folder, plan, client, grey, affinities)
                if number == 1:
                    found["bare"] = one.submit(_bare, grey, plan, pure=False).result()
                for name, seconds in found.items():
                    # In the first one, processes import and compile.
                    if turn:
                        times.setdefault((name, number), []).append(seconds)
    return _workers_lines(times, plan)


def _round(folder: Path, plan: Plan, client: Any, grey: Path, affinities: Path) -> dict[str, float]:
    """Seconds of every stage of both jobs, and of a plain loop."""
    found = {"plain loop": _plain(client)}
    size = {"block_shape": (plan.block,) * 3, "spacing": (10, 10, 10), "unit": "nanometer"}
    found |= _stages(folder, client, grey, {"job": "predict", "model": _MODEL, **size})
    # Objects have borders but no membranes, as in the part neurons.
    half = {"block_shape": (plan.side // 2,) * 3, "halo": (16,), "fragments": "watershed"}
    return found | _stages(folder, client, affinities, half)


def _stages(
    folder: Path, client: Any, source: Path, options: Mapping[str, Any]
) -> dict[str, float]:
    """Seconds of the stages of a job."""
    import shutil

    from napari_implicitseg import BatchConfig, run_batch

    target = folder / "target.zarr"
    shutil.rmtree(target, ignore_errors=True)
    done: BatchReport = run_batch(source, target, config=BatchConfig(**options), client=client)
    if not done.ok:
        raise RuntimeError(str(done.failed[0]))
    found = {stage.name: stage.seconds for stage in done.stages}
    coarse = sum(found.pop(name) for name in list(found) if name.startswith("coarsen"))
    return found | ({"coarsen": coarse} if coarse else {})


def _plain(client: Any) -> float:
    """Seconds of eight turns of a loop that needs nothing but a core."""
    start = time.perf_counter()
    client.gather(client.map(batch_jobs.loop, range(8), pure=False))
    return time.perf_counter() - start


def _bare(grey: Path, plan: Plan) -> float:
    """Seconds of the network alone, over the same windows of numbers in memory."""
    from napari_implicitseg import load_model
    from napari_implicitseg.batch.blocks import BlockGrid
    from napari_implicitseg.models.tiles import predict_tiles

    model = load_model(str(_MODEL))
    values = np.random.default_rng(0).random((1, *plan.grey), np.float32) * 2 - 1
    grid = BlockGrid(shape=plan.grey, block_shape=(plan.block,) * 3, halo=_FIRST)

    def read(window: tuple[slice, ...]) -> NDArray[np.float32]:
        return values[(slice(None), *window)]

    start = time.perf_counter()
    for place in grid:
        predict_tiles(
            model.network,
            read,
            plan.grey,
            grid.core(place),
            channels=len(model.offsets),
            tile_shape=grid.block_shape,
        )
    return time.perf_counter() - start


def _workers_lines(times: _Times, plan: Plan) -> list[str]:
    """Table and goals of processes."""
    middle = {key: float(np.median(found)) for key, found in times.items()}
    names = [name for name, number in middle if number == 2]
    speed = {name: middle[name, 1] / middle[name, 2] for name in names}
    rows = [
        [name, f"{middle[name, 1]:.2f}", f"{middle[name, 2]:.2f}", f"{speed[name]:.2f}"]
        for name in names
    ]
    bare = middle["bare", 1]
    rows.append(["bare network of the same windows", f"{bare:.2f}", "", ""])
    both = [sum(middle[name, n] for name in _CPU_BOUND) for n in (1, 2)]
    voxels = f"{plan.grey} voxels of grey levels, {plan.side}^3 x {plan.times} of affinities"
    return [
        "### Processes",
        "",
        f"{voxels}. The plain loop, convolutions and a sort without any file, is what two",
        "processes can gain on this machine; the step merge is done by one.",
        "",
        *table(["stage", "one process s", "two processes s", "times as fast"], rows),
        at_least(
            "times as fast with two processes, stages that compute", both[0] / both[1], 1.7, 2
        ),
        at_least(
            "the same, of what the plain loop gains",
            both[0] / both[1] / speed["plain loop"],
            0.9,
            2,
        ),
        at_most("predict over the bare network", middle["predict", 1] / bare, 1.15),
        "",
    ]


def _files(folder: Path, plan: Plan) -> list[str]:
    """Write and read blocks, beside zarr-python on the same arrays."""
    import zarr

    from malis import volume
    from napari_implicitseg.batch.block_arrays import open_array, read_block, write_block
    from napari_implicitseg.batch.blocks import BlockGrid, chunks_in
    from napari_implicitseg.batch.ledger import flush_tree

    side, shape = plan.side, (3, plan.side, plan.side, plan.side * plan.times)
    values = np.rint(volume(side)[0] * 255).astype(np.uint8)
    sides = (side,) * 3
    grid = BlockGrid(shape=shape[1:], block_shape=sides, halo=_FIRST)
    layout = {"chunks": (1, *chunks_in(sides)), "shards": (1, *sides)}
    paths = {name: folder / name for name in ("ours", "zarr")}
    for path in paths.values():
        zarr.create_array(path, shape=shape, dtype=np.uint8, **layout)
    boxes = [(slice(0, 3), *grid.core(place)) for place in grid]

    def ours_write() -> None:
        for box in boxes:
            write_block(paths["ours"], box, values)

    def zarr_write() -> None:
        array = open_array(paths["zarr"], write=True)
        for box in boxes:
            array[box] = values

    def zarr_flushed() -> None:
        zarr_write()
        flush_tree(paths["zarr"])

    def ours_read() -> None:
        for box in boxes:
            read_block(paths["ours"], box)

    def zarr_read() -> None:
        array = open_array(paths["zarr"])
        for box in boxes:
            np.asarray(array[box])

    calls = {
        "write, this package": ours_write,
        "write, zarr": zarr_write,
        "write and wait for the disk, zarr": zarr_flushed,
        "read, this package": ours_read,
        "read, zarr": zarr_read,
    }
    seconds = _interleaved(calls, plan.rounds)
    size = float(np.prod(shape)) / 2**20
    rows = [[name, f"{found:.3f}", f"{size / found:.0f}"] for name, found in seconds.items()]
    writing = seconds["write, zarr"] / seconds["write, this package"]
    reading = seconds["read, zarr"] / seconds["read, this package"]
    return [
        "### Files",
        "",
        f"Affinities as bytes, {shape}, in files of {sides} with chunks of {chunks_in(sides)};",
        "zarr's own codec. What this package writes is on the disk when it goes on.",
        "",
        *table(["", "seconds", "MiB/s"], rows),
        at_least("of zarr's speed, writing", writing, 0.6, 2),
        at_least("of zarr's speed, reading", reading, 0.6, 2),
        "",
    ]


def _interleaved(calls: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each call, one after the other in each round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(found)) for name, found in times.items()}


def _daisy(folder: Path, plan: Plan) -> list[str]:
    """Let daisy hand out the same blocks."""
    pythons = {m: python for m in batch_jobs.METHODS if (python := python_with(m, _MODULES))}
    kinds = {"smooth": plan.blocks, "nothing": plan.empty}
    script = str(Path(batch_jobs.__file__))
    seconds: dict[tuple[str, str], list[float]] = {}
    for _ in range(max(1, plan.rounds // 2)):
        for kind, blocks in kinds.items():
            for method, python in pythons.items():
                found = probe(python, script, method, kind, folder, blocks)
                seconds.setdefault((kind, method), []).append(found["seconds"])
    middle = {key: float(np.median(found)) for key, found in seconds.items()}
    said = {"smooth": "read, smooth, write 64^3", "nothing": "do nothing"}
    rows = [
        [
            f"{said[kind]}, {kinds[kind]} blocks",
            method,
            f"{found:.2f}",
            f"{found / kinds[kind] * 1e3:.1f}",
        ]
        for (kind, method), found in middle.items()
    ]
    lines = [
        "### Beside daisy",
        "",
        "The same function over the same blocks, each recorded as done; two processes, and their",
        "start.",
        *(["Not installed: daisy."] if "daisy" not in pythons else []),
        "",
        *table(["blocks", "method", "seconds", "ms a block"], rows),
    ]
    if "daisy" in pythons:
        ratio = middle["smooth", "this package"] / middle["smooth", "daisy"]
        lines.append(at_most("seconds over daisy's, blocks that compute", ratio, 1.2))
    return [*lines, ""]


def _scheduler(folder: Path, plan: Plan) -> list[str]:
    """Measure what handing out many blocks takes."""
    import sys

    script = str(Path(batch_jobs.__file__).with_name("batch_scheduler.py"))
    rows, found = [], {}
    numbers = {"simulated": plan.simulated, "real": plan.real, "records": plan.records}
    for name, number in numbers.items():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            run = found[name] = probe(sys.executable, script, name, place, number)
        spent = run["seconds"][0]
        if name == "records":
            each = run["written"] / number * 1e3
            rows.append(
                ["records written", f"{number:,}", f"{run['written']:.1f}", f"{each:.3f}", ""]
            )
        said = {"simulated": "handed out to 1000 workers that cost nothing"}
        said |= {"real": "handed to two processes, nothing but their records"}
        said |= {"records": "records read again"}
        cells = [f"{spent:.1f}", f"{spent / number * 1e3:.3f}", f"{run['peak'] / 2**20:.0f}"]
        rows.append([said[name], f"{number:,}", *cells])
    again = found["records"]["seconds"][0] / plan.records * 1e6
    return [
        "### Many blocks",
        "",
        *table(["", "blocks", "seconds", "ms a block", "MiB"], rows),
        at_most("blocks ahead of each worker", found["simulated"]["ahead"] / 1000, 3),
        at_most("minutes to read a million records of a stage, by proportion", again / 60, 10),
        "",
    ]


# Too little for the goals, which fixed costs and noise outweigh.
QUICK = replace(
    Plan(),
    rounds=1,
    side=64,
    times=2,
    grey=(32, 32, 128),
    block=32,
    blocks=50,
    empty=100,
    simulated=20_000,
    real=200,
    records=2000,
)


if __name__ == "__main__":
    print("\n".join(report(QUICK)))
