"""Figures of a training as it goes: for the progress line, the checkpoint and TensorBoard."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Journal", "voi", "voi_in_words"]

_EVERY = 25
_MEMORY = 0.98
# The first steps compile and allocate: they say nothing of how long the others take.
_WARM = 3


def voi(row: Mapping[str, Any]) -> float:
    """Rank a validation of affinities: the lowest VOI is best."""
    return float(row["voi"])


def voi_in_words(row: Mapping[str, Any]) -> str:
    """Say how good a validation of affinities was."""
    return f"VOI {row['voi']:.2f}, adapted Rand error {row['adapted_rand_error']:.3f}"


class Journal:
    """What has been measured.

    Parameters
    ----------
    folder : Path
        Where TensorBoard's log goes, if TensorBoard is installed.
    steps : int
        Of the whole training.
    figure : str
        What only validations have.
    rank, told : callable
        Of a validation: its place, of which the lowest is best, and how good it was in words.

    Attributes
    ----------
    history : list of dict
        Figures by step: "loss" and "rate", or those of a validation.
    """

    def __init__(
        self,
        folder: Path,
        steps: int,
        *,
        figure: str = "voi",
        rank: Callable[[Mapping[str, Any]], float] = voi,
        told: Callable[[Mapping[str, Any]], str] = voi_in_words,
    ) -> None:
        self.history: list[dict[str, Any]] = []
        self._figure, self._rank, self._told = figure, rank, told
        self._steps = steps
        self._step = self._taken = 0
        self._loss: float | None = None
        self._seconds: float | None = None
        self._writer = _writer(folder / "tensorboard")

    @property
    def best(self) -> dict[str, Any] | None:
        """Figures of the best validation."""
        found = [row for row in self.history if self._figure in row]
        return min(found, key=self._rank, default=None)

    def step(self, step: int, loss: float, rate: float, seconds: float) -> None:
        """Note a step."""
        self._step = step
        self._loss = _blend(self._loss, loss)
        if self._taken >= _WARM:
            self._seconds = _blend(self._seconds, seconds)
        self._taken += 1
        if step % _EVERY == 0 or step == self._steps:
            self._note(step, {"loss": self._loss, "rate": rate})

    def validation(self, step: int, figures: Mapping[str, Any]) -> None:
        """Note a validation."""
        self._note(step, figures)

    def _note(self, step: int, figures: Mapping[str, Any]) -> None:
        """Keep figures, and log those that are numbers."""
        self.history.append({"step": step, **figures})
        if self._writer is not None:
            for name, value in figures.items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, step)

    def restore(self, history: list[dict[str, Any]]) -> None:
        """Go on from the figures of a checkpoint."""
        self.history = list(history)
        losses = [row["loss"] for row in history if "loss" in row]
        self._loss = losses[-1] if losses else None

    def line(self) -> str:
        """Say in one line how far the training is."""
        parts = [f"step {self._step} of {self._steps}"]
        if self._loss is not None:
            parts.append(f"loss {self._loss:.3f}")
        last = next((row for row in reversed(self.history) if self._figure in row), None)
        if last is not None:
            parts.append(f"held out: {self._told(last)}")
        if self._seconds is not None:
            parts.append(f"{_duration(self._seconds * (self._steps - self._step))} left")
        return ", ".join(parts)

    def close(self) -> None:
        """Finish the log."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


def _blend(mean: float | None, value: float) -> float:
    """Move a running mean by a new value."""
    return value if mean is None else _MEMORY * mean + (1 - _MEMORY) * value


def _duration(seconds: float) -> str:
    """Time for people."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _writer(folder: Path) -> Any:
    """TensorBoard's writer, or None if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    try:
        return SummaryWriter(str(folder))
    except OSError:  # A full disk: the checkpoint tells of it, the log is not worth an error.
        return None
