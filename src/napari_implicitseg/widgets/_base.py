"""What all widgets share: jobs in a thread, errors shown, keys, life cycle.

This is the only module that catches broadly: an error ends up in front of the
user as a napari notification and, if it is none of ours, in the log.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, ParamSpec

from napari.layers import Labels
from napari.utils.key_bindings import coerce_keybinding
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_implicitseg.errors import Cancelled, ImplicitSegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from qtpy.QtGui import QCloseEvent, QHideEvent, QShowEvent

    from napari_implicitseg._types import Progress
    from napari_implicitseg.widgets._session import Report

__all__ = ["DockedWidget", "JobRunner", "KeyBindings", "guarded", "show_problem"]

# Every report redraws the window; a fit shorter than this shows no progress at all.
_PROGRESS_AFTER = 0.2
_PROGRESS_EVERY = 0.1
_log = logging.getLogger("napari_implicitseg")
_P = ParamSpec("_P")


def show_problem(error: BaseException, *, doing: str) -> None:
    """Tell the user about an error, in napari's notifications.

    Parameters
    ----------
    error : BaseException
        An `ImplicitSegError` says itself what to do; anything else is a bug,
        is logged and said to be one.
    doing : str
        What failed, as the start of a sentence: "Fitting".
    """
    if isinstance(error, Cancelled):
        return
    if isinstance(error, ImplicitSegError):
        show_warning(str(error))
        return
    _log.error("%s failed", doing, exc_info=error)
    show_error(
        f"{doing} failed because of an error in napari-implicitseg "
        f"({type(error).__name__}: {error}). Your layers are unchanged. Please report it with "
        "the log; you can go on working."
    )


def guarded(doing: str) -> Callable[[Callable[_P, Any]], Callable[_P, None]]:
    """Make a callback of the interface show its errors instead of raising them."""

    def decorate(function: Callable[_P, Any]) -> Callable[_P, None]:
        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except Exception as error:  # the last line of defence of the interface
                show_problem(error, doing=doing)

        return call

    return decorate


class JobRunner(QObject):
    """Runs one job at a time in a thread; the latest one submitted wins.

    A job is a function of a `Report`, through which it tells how far it is and
    shows outcomes that are not the last. When a newer job comes in, the report of
    the running one raises `Cancelled`, and whatever the older job still returns is
    dropped. The thread ends when there is nothing to do.

    The signals are emitted in the thread the runner lives in.

    Parameters
    ----------
    prelude : callable, optional
        What to run once in the thread before the first job, such as slow
        imports. No newer job stops it, only `close`.
    """

    done = Signal(object)
    early = Signal(object)
    failed = Signal(object)
    progressed = Signal(float, str)
    busy = Signal(bool)
    _posted = Signal(int, str, object)

    def __init__(self, prelude: Callable[[Progress], None] | None = None) -> None:
        super().__init__()
        self._prelude = prelude
        self._lock = threading.Lock()
        self._ticket = 0
        self._waiting: tuple[int, Callable[[Report], Any]] | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._shown_busy = False
        self._posted.connect(self._receive)

    @property
    def is_busy(self) -> bool:
        """Whether a job that was not cancelled is waiting or running."""
        return self._shown_busy

    @property
    def is_running(self) -> bool:
        """Whether the thread is alive, be it only to end a cancelled job."""
        return self._thread is not None

    def submit(self, job: Callable[[Report], Any]) -> None:
        """Run a job after cancelling the one that runs now."""
        with self._lock:
            if self._closed:
                return
            self._ticket += 1
            self._waiting = (self._ticket, job)
            self._start_thread()
        self._set_busy(True)

    def prepare(self) -> None:
        """Run the prelude now instead of before the first job."""
        with self._lock:
            if not self._closed:
                self._start_thread()

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="implicitseg-fit")
            self._thread.start()

    def cancel(self) -> None:
        """Drop the waiting job and ask the running one to stop."""
        with self._lock:
            self._ticket += 1
            self._waiting = None
        self._set_busy(False)

    def close(self) -> None:
        """Cancel and take no more jobs; the thread ends by itself, nobody waits."""
        with self._lock:
            self._closed = True
        self.cancel()

    def _set_busy(self, busy: bool) -> None:
        if busy != self._shown_busy:
            self._shown_busy = busy
            if not self._closed:
                self.busy.emit(busy)

    def _work(self) -> None:
        """Run jobs until none waits; in the thread."""
        prelude, self._prelude = self._prelude, None
        if prelude is not None:
            self._run_prelude(prelude)
        while True:
            with self._lock:
                if self._waiting is None:
                    self._thread = None
                    return
                ticket, job = self._waiting
                self._waiting = None
            try:
                self.post(ticket, "done", job(_Report(self, ticket)))
            except Cancelled as error:
                self.post(ticket, "cancelled", error)
            except Exception as error:  # shown in the main thread
                self.post(ticket, "failed", error)

    def _run_prelude(self, prelude: Callable[[Progress], None]) -> None:
        """Run the prelude; what goes wrong in it will go wrong again in a job, and be shown."""

        def progress(fraction: float, message: str, /) -> None:
            if self._closed:
                raise Cancelled("The widget was closed.")

        try:
            prelude(progress)
        except Cancelled:
            pass
        except Exception as error:  # logged here, shown when a job meets it
            _log.warning("warming up failed", exc_info=error)

    def check(self, ticket: int) -> None:
        """Stop a job that is stale.

        Raises
        ------
        Cancelled
            If a newer job has come in, or the user has cancelled.
        """
        if ticket != self._ticket:
            raise Cancelled("A newer stroke replaced this fit.")

    def post(self, ticket: int, kind: str, value: object) -> None:
        """Hand something to the main thread unless nobody wants it any more."""
        with self._lock:
            if not self._closed and ticket == self._ticket:
                self._posted.emit(ticket, kind, value)

    def _receive(self, ticket: int, kind: str, value: Any) -> None:
        """Take what the thread sent; in the main thread."""
        if ticket != self._ticket or self._closed:
            return
        if kind == "progress":
            self.progressed.emit(*value)
            return
        if kind == "early":
            self.early.emit(value)
            return
        self._set_busy(False)
        if kind == "done":
            self.done.emit(value)
        elif kind == "failed":
            self.failed.emit(value)


class _Report:
    """How the job with this ticket speaks to the main thread; see `Report`."""

    def __init__(self, runner: JobRunner, ticket: int) -> None:
        self._runner = runner
        self._ticket = ticket
        self._last = time.monotonic() + _PROGRESS_AFTER - _PROGRESS_EVERY

    def __call__(self, fraction: float, message: str, /) -> None:
        self._runner.check(self._ticket)
        now = time.monotonic()
        if now - self._last >= _PROGRESS_EVERY:
            self._last = now
            self._runner.post(self._ticket, "progress", (fraction, message))

    def show(self, outcome: object, /) -> None:
        """Hand over an outcome that is not the last."""
        self._runner.check(self._ticket)
        self._runner.post(self._ticket, "early", outcome)


class KeyBindings:
    """Keys on the viewer that are taken only if free and given back."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._bound: dict[str, Callable[[Any], None]] = {}

    def bind(self, key: str, action: Callable[[], None]) -> bool:
        """Bind a key; return False and leave it alone if it is taken."""
        if self.is_taken(key):
            return False

        def call(_viewer: object) -> None:
            action()

        self._viewer.bind_key(key, call)
        self._bound[key] = call
        return True

    def is_taken(self, key: str) -> bool:
        """Whether the viewer or every Labels layer already uses a key."""
        binding = coerce_keybinding(key)
        owners = (*type(self._viewer).__mro__, *Labels.__mro__)
        maps = [vars(owner).get("class_keymap", {}) for owner in owners]
        return any(binding in keymap for keymap in (self._viewer.keymap, *maps))

    def release(self) -> None:
        """Unbind what was bound, unless someone else has bound it since."""
        for key, call in self._bound.items():
            if self._viewer.keymap.get(coerce_keybinding(key)) is call:
                self._viewer.bind_key(key, None)
        self._bound.clear()


class DockedWidget(QWidget):
    """A widget that cleans up after itself however it goes.

    Hiding the panel (napari's menu entry toggles it) pauses: keys are given
    back, the job is cancelled, previews go. Showing it resumes. Removing the
    panel ends it for good; closing the window pauses it, and Qt deletes it with
    the window. Subclasses say what that means in `on_pause`, `on_resume` and
    `on_close`.
    """

    def __init__(
        self, viewer: ViewerModel, prelude: Callable[[Progress], None] | None = None
    ) -> None:
        super().__init__()
        self.viewer = viewer
        self.jobs = JobRunner(prelude)
        self.keys = KeyBindings(viewer)
        self._is_docked = False
        self._is_paused = False
        self._is_closed = False

    def on_pause(self) -> None:
        """Release what should not outlive a visible panel."""

    def on_resume(self) -> None:
        """Take up work again."""

    def on_close(self) -> None:
        """Disconnect from the viewer for good."""

    def pause(self) -> None:
        """Go quiet while the panel is hidden."""
        if not self._is_paused and not self._is_closed:
            self._is_paused = True
            self.jobs.cancel()
            self.keys.release()
            self.on_pause()

    def is_behind_others(self) -> bool:
        """Whether the panel is hidden by others of the window only, as a tab is."""
        window = self.window()
        return self.parent() is not None and window is not None and window.isVisible()

    def resume(self) -> None:
        """Take up work when the panel is shown again."""
        if self._is_paused and not self._is_closed:
            self._is_paused = False
            self.on_resume()

    def shut_down(self) -> None:
        """End for good; may be called more than once."""
        if not self._is_closed:
            self.pause()
            self._is_closed = True
            self.jobs.close()
            self.on_close()
            # Left to the garbage collector, Qt's part might be deleted in a worker's thread.
            self.deleteLater()

    def event(self, event: QEvent | None) -> bool:
        """Notice that napari takes the widget out of its dock."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._is_docked = True
            elif self._is_docked:
                self.shut_down()
        return bool(super().event(event))

    def showEvent(self, event: QShowEvent | None) -> None:
        """Resume, unless the window merely comes back from being minimised."""
        super().showEvent(event)
        if event is not None and not event.spontaneous():
            self.resume()

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Pause, unless the window is merely minimised."""
        super().hideEvent(event)
        if event is not None and not event.spontaneous():
            self.pause()

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """End when closed as a window of its own."""
        self.shut_down()
        super().closeEvent(event)
