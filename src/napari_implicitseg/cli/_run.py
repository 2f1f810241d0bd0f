"""What all commands share: how errors are told, progress bars, lists of numbers."""

from __future__ import annotations

import signal
import sys
import threading
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

__all__ = [
    "Stopper",
    "one_line_errors",
    "parse_counts",
    "parse_ids",
    "parse_label",
    "parse_numbers",
    "progress_bar",
    "stoppable",
    "warn",
]

_PATIENCE = 0.5
"""Seconds of work before a progress bar appears."""
_FIRST_LINE, _BETWEEN_LINES = 30.0, 60.0
"""Seconds before the first line of progress without a terminal, and between lines."""
_NARROW = 100
"""Columns of a terminal up to which the bar is short."""


def warn(message: str) -> None:
    """Print a warning as one line on stderr."""
    print(f"warning: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def one_line_errors(interrupted: str = "") -> Iterator[None]:
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
        _fail(f"Interrupted. {interrupted}".strip(), 130)
    except SystemError as error:
        # Compiled functions end like this if Ctrl-C came while they ran.
        if not isinstance(error.__cause__ or error.__context__, KeyboardInterrupt):
            raise
        _fail(f"Interrupted. {interrupted}".strip(), 130)
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


def parse_label(text: str) -> int | str:
    """Read a label, or none."""
    if text == "none":
        return text
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor none") from None


def parse_ids(text: str) -> tuple[tuple[int, int], ...]:
    """Parse "3,7-9"; for typer, which turns the error into one about usage."""
    from napari_implicitseg import ids

    try:
        return ids.parse_ids(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def progress_bar(command: str = "napari-implicitseg") -> Iterator[Progress | None]:
    """Yield a progress callback that draws a bar on stderr, or prints lines if that is no terminal.

    The bar appears only when the work takes longer than half a second, the first line
    after half a minute.

    Parameters
    ----------
    command : str
        What the lines begin with.
    """
    if sys.stderr is None:
        yield None
        return
    if not sys.stderr.isatty():
        yield _Lines(command)
        return
    bar = _LateBar()
    try:
        yield bar
    finally:
        bar.stop()


class _Lines:
    """Progress as a line now and then, for logs of jobs that run without a terminal."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._due = time.monotonic() + _FIRST_LINE
        self._left = _TimeLeft()

    def __call__(self, fraction: float, message: str, /) -> None:
        """Print a line if it is time for one."""
        text, left = self._left(fraction, message)
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _BETWEEN_LINES
        parts = ", ".join(part for part in (" ".join(text.split()), left) if part)
        share = f"{100 * min(max(fraction, 0.0), 1.0):.0f} %"
        print(f"{self._command}: {share}: {parts}", file=sys.stderr, flush=True)


class _TimeLeft:
    """Says how long the work will take, unless the message does."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def __call__(self, fraction: float, message: str) -> tuple[str, str]:
        """Return the message without the time that is left, and that time."""
        if message.endswith(" left"):
            text, _, left = message.rpartition(", ")
            return text, left
        now = time.monotonic()
        if self._first is None:
            self._first = now, fraction  # Work that is resumed does not begin at 0.
        begin, start = self._first
        if fraction <= start or now - begin < _PATIENCE:
            return message, ""
        return message, f"{_duration((now - begin) * (1 - fraction) / (fraction - start))} left"


def _duration(seconds: float) -> str:
    """Time for people."""
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _LateBar:
    """A progress bar that does not flash up for short work."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._left = _TimeLeft()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __call__(self, fraction: float, message: str, /) -> None:
        """Show a fraction of the work, 0 to 1, and what is being done."""
        text, left = self._left(fraction, message)
        if self._bar is None:
            if time.monotonic() - self._start < _PATIENCE:
                return
            self._open()
        assert self._bar is not None
        assert self._task is not None
        self._bar.update(self._task, completed=fraction, description=text, left=left)

    def _open(self) -> None:
        """Draw the empty bar; what is being done has the room that is left."""
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        console = Console(stderr=True)
        self._bar = Bar(
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=30 if console.width > _NARROW else 10),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=1.0, left="")
        self._bar.start()

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a wish to stop; the second interrupts."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def wish(number: int, frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        warn("stopping after this step, with a checkpoint; Ctrl-C again stops at once.")

    signal.signal(signal.SIGINT, wish)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


class Stopper:
    """Progress that asks to stop when the user does."""

    def __init__(self, stop: threading.Event, bar: Progress | None) -> None:
        self._stop, self._bar = stop, bar

    def __call__(self, fraction: float, message: str, /) -> None:
        """Draw the bar; raises Cancelled after Ctrl-C."""
        if self._bar is not None:
            self._bar(fraction, message)
        if self._stop.is_set():
            raise Cancelled(f"Stopped: {message}. --resume goes on from there.")
