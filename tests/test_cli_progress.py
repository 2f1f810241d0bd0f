"""What commands say while they work: a bar in a terminal, a line now and then without one."""

from __future__ import annotations

import io
import itertools
import re
import sys
from types import SimpleNamespace

import pytest

from napari_implicitseg.cli import _run

LINE = "step 480 of 4000, loss 0.312, held out: VOI 1.23, adapted Rand error 0.123, 20 min left"


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Text that was drawn."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(_run, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def _work(clock: Clock, seconds: int, message: str = "", *, start: float = 0.0) -> None:
    """Work for a while, a step a second."""
    with _run.progress_bar("train") as progress:
        assert progress is not None
        for second in range(seconds + 1):
            done = start + (1 - start) * second / seconds
            progress(done, message or f"step {second} of {seconds}")
            clock.now += 1


def test_short_work_says_nothing_without_a_terminal(clock, capsys):
    _work(clock, 29)
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is_at_most_once_a_minute(clock, capsys):
    _work(clock, 3600)
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert len(lines) == 60
    assert lines[0] == "train: 1 %: step 30 of 3600, 60 min left"
    assert lines[30] == "train: 51 %: step 1830 of 3600, 30 min left"
    seconds = [int(re.search(r"step (\d+)", line)[1]) for line in lines]
    assert {b - a for a, b in itertools.pairwise(seconds)} == {60}


def test_the_time_that_is_left_is_said_once(clock, capsys):
    _work(clock, 40, LINE)
    assert capsys.readouterr().err == f"train: 75 %: {LINE}\n"


def test_resumed_work_is_timed_from_where_it_began(clock, capsys):
    """Half of it was done before: 100 s for the other half, of which 70 s are left."""
    _work(clock, 100, "Predicting", start=0.5)
    assert capsys.readouterr().err.splitlines()[0] == "train: 65 %: Predicting, 70 s left"


@pytest.mark.parametrize("message", ["", "two\nlines", "50 % [bold]"])
def test_odd_messages_stay_on_one_line(clock, capsys, message):
    with _run.progress_bar("train") as progress:
        clock.now += 31
        progress(0.25, message)
    assert capsys.readouterr().err == f"train: 25 %: {' '.join(message.split())}\n"


def test_without_stderr_nothing_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with _run.progress_bar() as progress:
        assert progress is None


def _drawn(clock: Clock, monkeypatch, columns: int, message: str, after: float = 10.0) -> str:
    """Return the last line of a bar that was drawn."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    with _run.progress_bar("train") as progress:
        assert progress is not None
        progress(0.0, message)
        clock.now += after
        progress(0.1, message)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    return next((line for line in re.split(r"[\r\n]+", plain)[::-1] if line.strip()), "")


def test_a_bar_has_one_estimate_and_fits_the_terminal(clock, monkeypatch):
    line = _drawn(clock, monkeypatch, 80, LINE)
    assert len(line.rstrip()) <= 80
    assert line.startswith("step 480 of 4000, loss 0.312, held out:")
    assert line.rstrip().endswith("10% 20 min left")
    assert line.count("left") == 1
    wide = _drawn(clock, monkeypatch, 160, LINE)
    assert "adapted Rand error 0.123" in wide


def test_a_bar_estimates_where_the_message_does_not(clock, monkeypatch):
    line = _drawn(clock, monkeypatch, 80, "Predicting [/bold]")
    assert line.startswith("Predicting [/bold]")
    assert line.rstrip().endswith("10% 2 min left")  # A tenth took 10 s.


def test_a_bar_does_not_flash_up_for_short_work(clock, monkeypatch):
    assert _drawn(clock, monkeypatch, 80, "Predicting", after=0.1) == ""
