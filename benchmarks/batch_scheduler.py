"""What a job of a million blocks costs whoever hands them out: by simulation, and in records.

`python benchmarks/batch_scheduler.py PROBE FOLDER NUMBER` prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import Future
from distributed.utils import LoopRunner

from batch_jobs import make_job
from probes import measured

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_implicitseg.batch.jobs import Job, Place

__all__ = ["PROBES", "FakeClient"]

_WORKERS = 1000
_RECORD = {"voxels": 2097152, "bytes": 1234567, "fragments": 812, "seconds": 12.3456}


class _Ready:
    """The state of a task that is done."""

    status = "finished"

    async def wait(self, timeout: float | None = None) -> None:
        """Come back at once."""


class _Done(Future):  # type: ignore[misc]
    """A task that is done as soon as it is asked for."""

    def __init__(self, outcome: Any) -> None:
        self._outcome, self._state = outcome, _Ready()
        self.key = self._id = id(self)

    status = "finished"

    def __del__(self) -> None:
        """Nothing is to be told to a scheduler."""

    def cancelled(self) -> bool:
        """Return False."""
        return False

    def result(self, timeout: float | None = None) -> Any:
        """Return what was made of the block."""
        return self._outcome


class FakeClient:
    """Takes blocks as a client with many workers does, and keeps none.

    Attributes
    ----------
    given : int
        Blocks so far.
    """

    dashboard_link = ""

    def __init__(self) -> None:
        self._runner = LoopRunner(asynchronous=False)
        self._runner.start()
        self.loop = self._runner.loop
        self.given = 0

    def nthreads(self) -> dict[str, int]:
        """Return the workers there would be."""
        return {f"worker-{number}": 1 for number in range(_WORKERS)}

    def submit(
        self, function: Any, job: Job, stage: str, place: Place, *_: Any, **__: Any
    ) -> _Done:
        """Take a block, which is done."""
        from napari_implicitseg.batch.engine import Outcome

        self.given += 1
        return _Done(Outcome(place=place, record=dict(_RECORD)))

    def cancel(self, futures: Any) -> None:
        """Do nothing: no block is left."""

    def close(self) -> None:
        """Stop the loop."""
        self._runner.stop()


def simulated(folder: Path, number: int) -> dict[str, Any]:
    """Hand out blocks that cost nothing: seconds, bytes, and most that were ahead at a time."""
    from napari_implicitseg.batch.engine import DaskEngine

    job, client = make_job("nothing", folder, 1), FakeClient()
    ahead = 0

    def all_blocks() -> int:
        nonlocal ahead
        places: Iterator[Place] = ((i, 0, 0) for i in range(number))
        count = 0
        for count, _ in enumerate(DaskEngine(client, 0).run(job, "x", places), 1):
            ahead = max(ahead, client.given - count)
        return count

    found, done = measured(all_blocks, 1, time.perf_counter)
    client.close()
    return {**found, "done": done, "ahead": ahead}


def real(folder: Path, number: int) -> dict[str, Any]:
    """Hand blocks that do nothing to two processes, which write their records."""
    from napari_implicitseg.batch.engine import DaskEngine, local_cluster

    job = make_job("nothing", folder, number + 100)
    places = list(job.grid)
    with local_cluster([None, None]) as (client, _):
        engine = DaskEngine(client, 0)
        list(engine.run(job, "x", places[:100]))

        def all_blocks() -> int:
            return sum(o.record is not None for o in engine.run(job, "x", places[100:]))

        found, done = measured(all_blocks, 1, time.perf_counter)
    return {**found, "done": done}


def records(folder: Path, number: int) -> dict[str, Any]:
    """Seconds to write records one by one, as workers do, and to read all of them again."""
    from napari_implicitseg.batch.ledger import Ledger

    ledger = Ledger(folder / "job")
    names = [f"{i // 10000}-{i // 100 % 100}-{i % 100}" for i in range(number)]
    start = time.perf_counter()
    for name in names:
        ledger.record("x", name, _RECORD)
    written = time.perf_counter() - start
    found, kept = measured(lambda: ledger.all("x", names), 1, time.perf_counter)
    return {**found, "written": written, "done": len(kept)}


PROBES = {"simulated": simulated, "real": real, "records": records}

if __name__ == "__main__":
    import batch_scheduler

    probe, folder, number = sys.argv[1:]
    print(json.dumps(batch_scheduler.PROBES[probe](Path(folder), int(number))))
