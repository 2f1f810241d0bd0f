"""Tests of what all widgets share: jobs, keys, errors."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from napari.components import ViewerModel

from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.widgets import _base
from napari_implicitseg.widgets._base import JobRunner, KeyBindings, guarded, show_problem

from .helpers import WAIT, fit_threads

SECONDS = WAIT / 1000


@pytest.fixture
def runner(qtbot):
    runner = JobRunner()
    runner.results, runner.errors = [], []
    runner.done.connect(runner.results.append)
    runner.failed.connect(runner.errors.append)
    yield runner
    runner.close()


def test_a_job_runs_in_another_thread_and_is_received_in_this_one(runner, qtbot):
    received_in = []
    runner.done.connect(lambda _: received_in.append(threading.current_thread()))
    runner.submit(lambda progress: threading.current_thread())
    qtbot.waitUntil(lambda: bool(received_in), timeout=WAIT)
    assert received_in == [threading.current_thread()]
    assert runner.results[0] is not threading.current_thread()
    assert not runner.is_busy
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)


def test_a_newer_job_stops_the_one_that_runs(runner, qtbot):
    started = threading.Event()
    seen = []

    def endless(progress):
        started.set()
        while True:
            seen.append(1)
            progress(0.1, "waiting")

    runner.submit(endless)
    assert started.wait(SECONDS)
    runner.submit(lambda progress: "second")
    qtbot.waitUntil(lambda: runner.results == ["second"], timeout=WAIT)
    count = len(seen)
    qtbot.wait(30)
    assert len(seen) == count
    assert not runner.errors


def test_jobs_that_never_started_are_skipped(runner, qtbot):
    started, gate = threading.Event(), threading.Event()
    ran = []
    runner.submit(lambda progress: (started.set(), gate.wait(SECONDS)))
    assert started.wait(SECONDS)
    for number in range(5):
        runner.submit(lambda progress, n=number: ran.append(n))
    gate.set()
    qtbot.waitUntil(lambda: not runner.is_running and not runner.is_busy, timeout=WAIT)
    assert ran == [4]


def test_cancel_drops_what_still_comes(runner, qtbot):
    gate = threading.Event()
    runner.submit(lambda progress: gate.wait(SECONDS))
    runner.cancel()
    assert not runner.is_busy
    gate.set()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    qtbot.wait(20)
    assert not runner.results


def test_errors_of_a_job_are_handed_over(runner, qtbot):
    def bad(progress):
        raise InputError("no image")

    runner.submit(bad)
    qtbot.waitUntil(lambda: bool(runner.errors), timeout=WAIT)
    assert str(runner.errors[0]) == "no image"
    assert not runner.is_busy


def test_progress_of_long_jobs_arrives(runner, qtbot, monkeypatch):
    now = [10.0]
    monkeypatch.setattr(_base, "time", SimpleNamespace(monotonic=lambda: now[0]))
    heard = []
    runner.progressed.connect(lambda *args: heard.append(args))

    def long(progress):
        for _ in range(5):
            progress(0.1, "start")
        now[0] += 0.3
        progress(0.5, "half")
        progress(0.6, "more")
        return True

    runner.submit(long)
    qtbot.waitUntil(lambda: bool(runner.results), timeout=WAIT)
    assert heard == [(0.5, "half")]


def test_early_outcomes_arrive_in_order_and_before_the_last(runner, qtbot):
    heard = []
    runner.early.connect(heard.append)
    runner.done.connect(heard.append)

    def job(report):
        report.show("first")
        report.show("second")
        return "last"

    runner.submit(job)
    qtbot.waitUntil(lambda: bool(runner.results), timeout=WAIT)
    assert heard == ["first", "second", "last"]


def test_early_outcomes_that_are_stale_are_dropped(runner, qtbot):
    heard = []
    shown, cancelled, stopped = threading.Event(), threading.Event(), []
    runner.early.connect(heard.append)

    def job(report):
        report.show("stale")
        shown.set()
        assert cancelled.wait(SECONDS)
        try:
            report.show("later still")
        except Cancelled:
            stopped.append(True)
            raise

    runner.submit(job)
    assert shown.wait(SECONDS)  # It waits in the event loop, which does not run here.
    runner.cancel()
    cancelled.set()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    qtbot.wait(20)
    assert not heard
    assert stopped


def test_the_prelude_runs_once_before_the_jobs(qtbot):
    order = []
    runner = JobRunner(lambda progress: order.append("prelude"))
    runner.submit(lambda progress: order.append("job"))
    qtbot.waitUntil(lambda: not runner.is_running, timeout=WAIT)
    runner.submit(lambda progress: order.append("job"))
    qtbot.waitUntil(lambda: not runner.is_running, timeout=WAIT)
    assert order == ["prelude", "job", "job"]
    runner.close()


def test_a_closed_runner_takes_no_jobs(qtbot):
    runner = JobRunner()
    runner.close()
    runner.submit(lambda progress: 1)
    assert not fit_threads()
    assert not runner.is_busy


def test_known_errors_are_shown_as_they_are(notes, caplog):
    show_problem(InputError("Layer 'a' is empty. Paint it."), doing="Fitting")
    assert notes == ["Layer 'a' is empty. Paint it."]
    assert not caplog.records


def test_bugs_are_shown_and_logged(notes, caplog):
    @guarded("Fitting")
    def broken():
        raise ZeroDivisionError("oops")

    broken()
    assert notes[0].startswith("Fitting failed because of an error in napari-implicitseg")
    assert "Traceback" not in notes[0]
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_keys_are_given_back():
    viewer = ViewerModel()
    keys = KeyBindings(viewer)
    pressed = []
    assert keys.bind("N", lambda: pressed.append(1))
    assert not keys.bind("N", lambda: None)
    keys.release()
    assert not viewer.keymap
    assert keys.bind("N", lambda: None)


def test_keys_bound_by_others_since_are_left(qtbot):
    viewer = ViewerModel()
    keys = KeyBindings(viewer)
    keys.bind("N", lambda: None)
    viewer.bind_key("N", print, overwrite=True)
    keys.release()
    assert list(viewer.keymap.values()) == [print]
