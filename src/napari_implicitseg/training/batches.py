"""Batches of patches, prepared ahead in threads."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    import torch
    from torch import Tensor

    from napari_implicitseg.training.patches import Patch

__all__ = ["Batch", "Prefetcher", "Sampler"]

# Batches prepared ahead of the one that is worked on.
_AHEAD = 2


class Sampler(Protocol):
    """Makes patches, such as `PatchSampler` and `ClassSampler`; called from several threads."""

    def sample(self, step: int, item: int = 0) -> Patch:
        """Return the patch of a step and a place in its batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Patches of one step.

    Attributes
    ----------
    step : int
    raw : Tensor of float32, shape (B, C, *P)
    labels : Tensor of int32, shape (B, *P)
    known : Tensor of bool, shape (B, *P)
    """

    step: int
    raw: Tensor
    labels: Tensor
    known: Tensor

    def to(self, device: torch.device | str) -> Batch:
        """Move it to a device; to a GPU while the caller goes on."""
        return Batch(
            step=self.step,
            raw=_sent(self.raw, device),
            labels=_sent(self.labels, device),
            known=_sent(self.known, device),
        )


class Prefetcher:
    """Batches of some steps, in order, prepared ahead in threads.

    A context manager to iterate over. The batches do not depend on the number of threads;
    an error in one reaches whoever iterates.

    Parameters
    ----------
    sampler : PatchSampler or ClassSampler
    steps : iterable of int
        Which steps, in this order.
    batch_size : int
        Patches per step.
    workers : int
        Threads; 0 prepares each batch when it is asked for.
    """

    def __init__(
        self, sampler: Sampler, steps: Iterable[int], *, batch_size: int, workers: int = 2
    ) -> None:
        if batch_size < 1 or workers < 0:
            raise InputError(
                f"batch_size is {batch_size} and workers {workers}; give at least 1 and 0."
            )
        self._sampler = sampler
        self._steps = iter(steps)
        self._size = batch_size
        self._pool = ThreadPoolExecutor(workers, "patches") if workers else None

    def __enter__(self) -> Prefetcher:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop preparing; patches that are being made are finished first."""
        self.close()

    def close(self) -> None:
        """Stop preparing batches."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        """Go through the steps that are left."""
        if self._pool is None:
            for step in self._steps:
                patches = [self._sampler.sample(step, item) for item in range(self._size)]
                yield _stacked(step, patches)
            return
        waiting: deque[tuple[int, list[Future[Patch]]]] = deque()
        self._submit(waiting)
        while waiting:
            step, futures = waiting.popleft()
            patches = [future.result() for future in futures]
            self._submit(waiting)
            yield _stacked(step, patches)

    def _submit(self, waiting: deque[tuple[int, list[Future[Patch]]]]) -> None:
        """Keep enough batches in the making."""
        assert self._pool is not None
        while len(waiting) < _AHEAD:
            step = next(self._steps, None)
            if step is None:
                return
            items = range(self._size)
            waiting.append(
                (step, [self._pool.submit(self._sampler.sample, step, i) for i in items])
            )


def _stacked(step: int, patches: Sequence[Patch]) -> Batch:
    """Make one array of those of each patch."""
    import torch

    return Batch(
        step=step,
        raw=torch.from_numpy(np.stack([patch.raw for patch in patches])),
        labels=torch.from_numpy(np.stack([patch.labels for patch in patches])),
        known=torch.from_numpy(np.stack([patch.known for patch in patches])),
    )


def _sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy to a device; from pinned memory a GPU fetches it by itself."""
    import torch

    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
