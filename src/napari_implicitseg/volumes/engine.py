"""Where blocks are worked on: in this process, in processes of this machine, or on a cluster."""

from __future__ import annotations

import contextlib
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from napari_implicitseg.errors import Cancelled, ImplicitSegError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS
from napari_implicitseg.volumes.stages import run_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.volumes.stages import BlockJob, Place

__all__ = ["Engine", "Outcome", "open_engine", "usual_workers"]

_WORKER_BYTES = 2 << 30
_PER_THREAD = 3
"""Blocks that are handed to a worker ahead, so that it never waits for the next."""
_PAUSE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a block: its record, or what went wrong."""

    place: tuple[int, ...]
    record: dict[str, Any] | None = None
    error: str = ""


class Engine(Protocol):
    """Works on blocks, in any order."""

    workers: int
    threads: int | None
    dashboard: str

    def run(self, job: BlockJob, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
        """Yield what became of each block, as they are done."""


def usual_workers() -> int:
    """Return how many processes suit this machine: one per core, where memory allows."""
    import torch

    from napari_implicitseg.models.tile_plan import available_memory

    free = available_memory(torch.device("cpu"))
    return max(1, min(_cores(), free // _WORKER_BYTES))


def _cores() -> int:
    """Return how many cores this process may use, which may be fewer than the machine has."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


@contextmanager
def open_engine(config: BatchConfig, client: Any = None) -> Iterator[Engine]:
    """Start workers, or find them, and leave them at the end.

    Parameters
    ----------
    config : BatchConfig
        Its `workers`, `scheduler` and `retries`.
    client : dask.distributed.Client, optional
        To be used as it is.

    Raises
    ------
    InputError
        If no scheduler answers at the address.
    """
    if client is not None:
        yield DaskEngine(client, config.retries)
        return
    if config.scheduler is None and config.workers == 0:
        yield LocalEngine(config.retries)
        return
    from dask.distributed import Client

    if config.scheduler is not None:
        try:
            found = Client(config.scheduler, timeout=20, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"No dask scheduler answers at '{config.scheduler}': {error}. Start one, or leave "
                "--scheduler out."
            ) from error
        with found:
            yield DaskEngine(found, config.retries)
        return
    with _cluster(config.workers or usual_workers()) as (found, threads):
        yield DaskEngine(found, config.retries, threads)


@contextmanager
def _cluster(workers: int) -> Iterator[tuple[Any, int]]:
    """Start processes on this machine, each with its share of the cores."""
    import dask
    from dask.distributed import Client, LocalCluster

    threads = max(1, _cores() // workers)
    # dask lets workers give back memory at once: then torch asks the system for every tensor
    # anew, which takes long.
    environment = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    # Threads that wait must not take the cores of those that work.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client, threads


class LocalEngine:
    """Works in this process, one block after the other."""

    def __init__(self, retries: int) -> None:
        self.workers, self.dashboard = 0, ""
        self.threads: int | None = None
        self._retries = retries

    def run(self, job: BlockJob, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
        """Yield what became of each block."""
        for place in places:
            yield _attempt(job, stage, place, self._retries)


class DaskEngine:
    """Hands blocks to the workers of a dask cluster, few at a time."""

    def __init__(self, client: Any, retries: int, threads: int | None = None) -> None:
        self._client, self._retries, self.threads = client, retries, threads
        slots = client.nthreads()
        self.workers = max(1, len(slots))
        self._ahead = _PER_THREAD * max(1, sum(slots.values()))
        self.dashboard = str(client.dashboard_link or "")

    def run(self, job: BlockJob, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
        """Yield what became of each block, as they are done."""
        from dask.distributed import as_completed

        waiting = iter(places)
        running: dict[Any, Place] = {}
        done = as_completed(loop=self._client.loop)
        try:
            for place in _some(waiting, self._ahead):
                self._submit(job, stage, place, running, done)
            while running:
                future = next(done)
                place = running.pop(future)
                yield self._outcome(future, place)
                for following in _some(waiting, 1):
                    self._submit(job, stage, following, running, done)
        finally:
            with contextlib.suppress(*DECODE_ERRORS):  # The scheduler may be gone.
                self._client.cancel(list(running))

    def _submit(
        self, job: BlockJob, stage: str, place: Place, running: dict[Any, Place], done: Any
    ) -> None:
        """Hand over a block."""
        future = self._client.submit(_attempt, job, stage, place, self._retries, pure=False)
        running[future] = place
        done.add(future)

    def _outcome(self, future: Any, place: Place) -> Outcome:
        """Return what a worker said, or what became of it."""
        if future.status == "finished":
            found: Outcome = future.result()
            return found
        if future.status in ("cancelled", "lost"):
            raise InputError(
                "The dask scheduler is gone. Start it again, and then the same command: what is "
                "done is kept."
            )
        error = future.exception()
        text = " ".join(str(error).split())
        if type(error).__name__ == "KilledWorker":
            text = (
                "its worker died several times, perhaps for lack of memory: use smaller blocks "
                "(--block-shape) or fewer workers"
            )
        return Outcome(place=place, error=text or type(error).__name__)


def _some(items: Iterator[Any], count: int) -> Iterator[Any]:
    """Yield so many of the items that are left."""
    for _, item in zip(range(count), items, strict=False):
        yield item


def _attempt(job: BlockJob, stage: str, place: Place, retries: int) -> Outcome:
    """Work on a block; what may be different next time is tried again."""
    for last in [*[False] * retries, True]:
        try:
            return Outcome(place=place, record=run_block(job, stage, place))
        except Cancelled:
            raise
        except (ImplicitSegError, *DECODE_ERRORS) as error:
            # Bad input is bad the next time, too; a disk may be back.
            if last or isinstance(error, InputError):
                text = " ".join(str(error).split())
                if isinstance(error, MemoryError):
                    text = "there is not enough memory: use smaller blocks (--block-shape)"
                return Outcome(place=place, error=text or type(error).__name__)
        time.sleep(_PAUSE)
    raise AssertionError
