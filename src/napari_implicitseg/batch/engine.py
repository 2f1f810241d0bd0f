"""Where blocks are worked on: in this process, in processes of this machine, or on a cluster."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Protocol

from napari_implicitseg.batch.jobs import run_block
from napari_implicitseg.errors import Cancelled, ImplicitSegError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.jobs import Job, Place

__all__ = ["Engine", "Outcome", "local_cluster", "open_engine", "usual_workers", "worker_devices"]

_ADDRESS = re.compile(r"[a-z]+://\S+|[^\s/:]+:\d+")
_WORKER_BYTES = 2 << 30
_PER_THREAD = 3
"""Blocks that are handed to a worker ahead, so that it never waits for the next."""
_PAUSE = 0.2
_LOOK = 5.0
"""Seconds after which workers are counted again."""
_HERE = "127.0.0.1"
_DEVICE = "GPU"
"""What dask calls the device that a worker holds."""
_ON_DEVICES = ("predict",)
"""Stages that only workers with a device take, if others have none."""
_BY_OBJECTS = "fit"
"""Stages whose tasks are as large as objects are, and not as blocks."""


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

    def run(self, job: Job, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
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
        if not _ADDRESS.fullmatch(config.scheduler):
            raise InputError(
                f"The scheduler is {config.scheduler!r}; give its address with the port, such as "
                "tcp://node:8786."
            )
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
    devices = worker_devices(config)
    with local_cluster(devices) as (found, threads):
        yield DaskEngine(found, config.retries, threads, apart="" in devices)


def worker_devices(config: BatchConfig) -> list[str | None]:
    """Choose the processes of this machine, by what each sees of the CUDA devices.

    Parameters
    ----------
    config : BatchConfig
        Its `job`, `model`, `device` and `workers`.

    Returns
    -------
    list of str or None
        For each process the one device it sees; "" for none, so that it works on the stages that
        need none; or None where all see the same. A job that predicts has one process per
        device, and besides, unless it only predicts, the usual ones; or as many as are asked for,
        which then share the devices.
    """
    devices = _devices(config)
    if not devices:
        return [None] * (config.workers or usual_workers())
    if config.workers:
        return [devices[i % len(devices)] for i in range(config.workers)]
    others = 0 if config.job == "predict" else usual_workers() - len(devices)
    return [*devices, *[""] * others]


def _devices(config: BatchConfig) -> list[str | None]:
    """Name the CUDA devices that a job predicts with, as the system does."""
    if config.model is None:
        return []
    if config.device not in ("auto", "cuda"):
        # One that has a number keeps it only where all are seen.
        return [None] if config.device.startswith("cuda") else []
    import torch

    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else list(map(str, range(count)))
    return [*(name.strip() for name in names[:count])]


@contextmanager
def local_cluster(devices: Sequence[str | None]) -> Iterator[tuple[Any, int]]:
    """Start processes on this machine, each with its share of the cores and of the memory.

    Parameters
    ----------
    devices : sequence of str or None
        One per process; see `worker_devices`.

    Yields
    ------
    client : dask.distributed.Client
    threads : int
        For the computations of each process.
    """
    import dask
    from dask.distributed import Client, Nanny, Scheduler, SpecCluster
    from distributed.system import MEMORY_LIMIT

    threads = max(1, _cores() // len(devices))
    # dask lets workers give back memory at once: then torch asks the system for every tensor
    # anew, which takes long.
    environment = {f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")}
    # Threads that wait must not take the cores of those that work.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    share = {"host": _HERE, "nthreads": 1, "memory_limit": MEMORY_LIMIT // len(devices)}
    workers = {
        number: {"cls": Nanny, "options": {**share, "silence_logs": 50, **_held(device)}}
        for number, device in enumerate(devices)
    }
    address = {"host": _HERE, "port": 0, "dashboard": True, "dashboard_address": f"{_HERE}:0"}
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environment}):
        with _deaf_children():
            made = SpecCluster(workers, {"cls": Scheduler, "options": address}, silence_logs=50)
        with made as cluster, Client(cluster, set_as_default=False) as client:
            yield client, threads


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let threads that are started now, and their processes, not hear of Ctrl-C.

    A terminal sends it to all processes. The one that asked for the work stops the others; on
    their own they would end with a traceback each.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # When it starts the tracker, multiprocessing lets the signal through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _held(device: str | None) -> dict[str, Any]:
    """Return what tells a worker, before it imports torch, which device it has."""
    if device is None:
        return {"resources": {_DEVICE: 1}}
    found: dict[str, Any] = {"env": {"CUDA_VISIBLE_DEVICES": device}}
    return {**found, "resources": {_DEVICE: 1}} if device else found


class LocalEngine:
    """Works in this process, one block after the other."""

    def __init__(self, retries: int) -> None:
        self.workers, self.dashboard = 0, ""
        self.threads: int | None = None
        self._retries = retries

    def run(self, job: Job, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
        """Yield what became of each block."""
        for place in places:
            yield _attempt(job, stage, place, self._retries)


class DaskEngine:
    """Hands blocks to the workers of a dask cluster, few at a time.

    Parameters
    ----------
    client : dask.distributed.Client
    retries : int
    threads : int, optional
        Of torch, for each process.
    apart : bool
        Whether some workers hold a device and others do not.
    """

    def __init__(
        self, client: Any, retries: int, threads: int | None = None, *, apart: bool = False
    ) -> None:
        self._client, self._retries, self.threads = client, retries, threads
        self._apart, self._looked = apart, 0.0
        self._count()
        self.dashboard = str(client.dashboard_link or "")

    def _count(self) -> None:
        """Count the workers, now and then: those of a cluster come and go."""
        if self._looked and time.monotonic() - self._looked < _LOOK:
            return
        slots = self._client.nthreads()
        self.workers = max(1, len(slots))
        self._ahead = _PER_THREAD * max(1, sum(slots.values()))
        self._looked = time.monotonic()

    def run(self, job: Job, stage: str, places: Iterable[Place]) -> Iterator[Outcome]:
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
                yield self._outcome(future, stage, place)
                self._count()
                for following in _some(waiting, self._ahead - len(running)):
                    self._submit(job, stage, following, running, done)
        finally:
            with contextlib.suppress(*DECODE_ERRORS):  # The scheduler may be gone.
                self._client.cancel(list(running))

    def _submit(
        self, job: Job, stage: str, place: Place, running: dict[Any, Place], done: Any
    ) -> None:
        """Hand over a block."""
        needed = {_DEVICE: 1} if self._apart and stage in _ON_DEVICES else None
        future = self._client.submit(
            _attempt, job, stage, place, self._retries, pure=False, resources=needed
        )
        running[future] = place
        done.add(future)

    def _outcome(self, future: Any, stage: str, place: Place) -> Outcome:
        """Return what a worker said, or what became of it."""
        from dask.distributed import KilledWorker

        if future.status == "finished":
            # The worker may die before it has told; then another does the block again.
            with contextlib.suppress(KilledWorker):
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
                f"its worker died several times, perhaps for lack of memory: use {_less(stage)} or "
                "fewer workers"
            )
        return Outcome(place=place, error=text or type(error).__name__)


def _less(stage: str) -> str:
    """Return what makes a stage take less memory."""
    if stage.startswith(f"{_BY_OBJECTS}:"):
        return "fewer voxels around an object (--most-voxels)"
    return "smaller blocks (--block-shape)"


def _some(items: Iterator[Any], count: int) -> Iterator[Any]:
    """Yield so many of the items that are left."""
    for _, item in zip(range(count), items, strict=False):
        yield item


def _attempt(job: Job, stage: str, place: Place, retries: int) -> Outcome:
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
                    text = f"there is not enough memory: use {_less(stage)}"
                return Outcome(place=place, error=text or type(error).__name__)
        time.sleep(_PAUSE)
    raise AssertionError
