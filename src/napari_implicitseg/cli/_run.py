"""What all commands share: how errors are told, progress bars, lists of numbers."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from napari_implicitseg.errors import Cancelled, ImplicitSegError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from napari_implicitseg._types import Progress

__all__ = ["one_line_errors", "parse_counts", "parse_ids", "parse_numbers", "progress_bar", "warn"]

_PATIENCE = 0.5
"""Seconds of work before a progress bar appears."""


def warn(message: str) -> None:
    """Print a warning as one line on stderr."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the command with one line on stderr where the user can mend the error."""
    try:
        yield
    except Cancelled as error:
        _fail(str(error), 130)
    except ImplicitSegError as error:
        _fail(str(error), 1)
    except MemoryError:
        _fail("There is not enough memory. Use a coarser --level, or cut the image.", 1)
    except KeyboardInterrupt:
        _fail("Interrupted.", 130)
    except BrokenPipeError:  # The reader of our output has gone; click knows.
        raise
    except OSError as error:
        place = "" if error.filename is None else f" '{error.filename}'"
        _fail(f"{error.strerror or error}{place}. Check the path and the disk.", 1)


def _fail(message: str, status: int) -> None:
    """Print an error as one line on stderr and leave."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(status)


def parse_numbers(text: str) -> tuple[float, ...]:
    """Parse "40,4,4"; for typer, which turns the error into one about usage."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers such as 40,4,4") from None
    if not all(0 < value < float("inf") for value in values):
        raise typer.BadParameter(f"{text!r}: all numbers must be positive")
    return values


def parse_counts(text: str) -> tuple[int, ...]:
    """Parse "64,128,128"; for typer, which turns the error into one about usage."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of whole numbers such as 64,64") from None
    if min(values) < 1:
        raise typer.BadParameter(f"{text!r}: all numbers must be positive")
    return values


def parse_ids(text: str) -> tuple[tuple[int, int], ...]:
    """Parse "3,7-9"; for typer, which turns the error into one about usage."""
    from napari_implicitseg import ids

    try:
        return ids.parse_ids(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """Yield a progress callback that draws a bar on stderr, or None without a terminal.

    The bar appears only when the work takes longer than half a second.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    bar = _LateBar()
    try:
        yield bar
    finally:
        bar.stop()


class _LateBar:
    """A progress bar that does not flash up for short work."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __call__(self, fraction: float, message: str, /) -> None:
        """Show a fraction of the work, 0 to 1, and what is being done."""
        if self._bar is None:
            if time.monotonic() - self._start < _PATIENCE:
                return
            self._open()
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(self._task, completed=fraction, description=message)

    def _open(self) -> None:
        """Draw the empty bar."""
        from rich.console import Console
        from rich.progress import Progress as Bar

        self._bar = Bar(console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=1.0)
        self._bar.start()

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
