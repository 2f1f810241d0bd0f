"""What the panels around a session have in common: advice, progress, notes and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_implicitseg.errors import ImplicitSegError
from napari_implicitseg.widgets._base import DockedWidget, guarded, show_problem
from napari_implicitseg.widgets._controls import (
    advice_label,
    button,
    notes_label,
    progress_bar,
    show_progress,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.viewer import Viewer

    from napari_implicitseg._types import Progress
    from napari_implicitseg.widgets._session import Session

__all__ = ["SessionPanel"]

# What fits under a table.
_MOST_NOTES = 6


class SessionPanel(DockedWidget):
    """The looks of a session.

    Parameters
    ----------
    viewer : napari.Viewer
    session : callable
        Makes the session from viewer, submit, cancel and postpone.
    prelude : callable
        What to run once in the thread before the first job.
    """

    #: What a job does, as the start of a sentence: "Fitting".
    doing: ClassVar[str]
    #: What to say of an error that is none of ours.
    failure: ClassVar[str]
    #: What to say after a job was cancelled.
    cancelled: ClassVar[str]

    session: Session[Any]

    def __init__(
        self,
        viewer: Viewer,
        session: Callable[..., Session[Any]],
        prelude: Callable[[Progress], None],
    ) -> None:
        super().__init__(viewer, prelude=prelude)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self.session = session(viewer, self.jobs.submit, self.jobs.cancel, self._soon.start)
        self.advice = advice_label()
        self.progress = progress_bar()
        self.cancel_button = button("Cancel", f"{self.doing} takes long? This stops it.")
        self.notes = notes_label()
        self.notes.hide()
        self._last_problem = ""

    def scrolled(self) -> QVBoxLayout:
        """Make the layout of the panel; it scrolls where the window is too low for all."""
        area, content = QScrollArea(), QWidget()
        area.setWidgetResizable(True)
        area.setFrameShape(QScrollArea.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        layout = QVBoxLayout(content)
        layout.setContentsMargins(8, 8, 8, 8)
        return layout

    def connect_session(self) -> None:
        """Connect the session and its jobs; when all the parts of the panel are there."""
        self._soon.timeout.connect(guarded("Looking at the layers")(self.session.look))
        self.session.told.connect(self.tell)
        self.session.shown.connect(self._show)
        self.session.refused.connect(self.refuse)
        self.cancel_button.clicked.connect(self.cancel)
        self.jobs.done.connect(self._job_done)
        self.jobs.early.connect(self._job_early)
        self.jobs.failed.connect(self._job_failed)
        self.jobs.progressed.connect(self._show_progress)
        self.jobs.busy.connect(self.show_busy)
        self.show_busy(False)

    @property
    def is_working(self) -> bool:
        """Whether a job runs or waits to be shown, or an edit waits to be looked at."""
        return self._soon.isActive() or self.jobs.is_busy or self.jobs.is_running

    # What subclasses show -----------------------------------------------------

    def show_outcome(self, outcome: Any) -> None:
        """Show an outcome of the session, or None, in the table."""
        raise NotImplementedError

    def show_notes(self, notes: Sequence[str]) -> None:
        """Show what there is to say about an outcome; the tooltip has all of many."""
        more = len(notes) - _MOST_NOTES
        kept = [*notes[:_MOST_NOTES], *([f"... and {more} more notes."] if more > 0 else [])]
        self.notes.setText("\n".join(kept))
        self.notes.setToolTip("\n".join(notes))
        self.notes.setVisible(bool(notes))

    def show_busy(self, busy: bool) -> None:
        """Show whether a job runs."""
        # The row keeps its place: a layout that jumps at every stroke is tiring.
        self.cancel_button.setEnabled(busy)
        if not busy and self.progress.format():
            show_progress(self.progress, 0, "")

    # What the user does -------------------------------------------------------

    @guarded("Cancelling")
    def cancel(self, *_: object) -> None:
        """Stop the job that is running."""
        self.session.stop()
        self.tell(self.cancelled)

    def accept_with(self, write: Callable[[], object]) -> None:
        """Write masks; what cannot be is refused in words."""
        try:
            write()
        except ImplicitSegError as error:
            self.refuse(error)

    # What the session and the jobs say ----------------------------------------

    def tell(self, text: str) -> None:
        """Show what the user can do now."""
        self.advice.setText(text)
        self.advice.setToolTip(text)

    def refuse(self, error: Exception) -> None:
        """Say what is wrong; in napari's notifications once, until a job comes through."""
        known = isinstance(error, ImplicitSegError)
        self.tell(str(error) if known else self.failure)
        if str(error) != self._last_problem:
            self._last_problem = str(error)
            show_problem(error, doing=self.doing)

    def forget_problem(self) -> None:
        """Say it again if it is still there: the user has asked, or a job came through."""
        self._last_problem = ""

    @guarded("Showing a result")
    def _job_done(self, outcome: object) -> None:
        self.forget_problem()
        self.session.receive(outcome)

    @guarded("Showing a result")
    def _job_early(self, outcome: object) -> None:
        self.session.receive_early(outcome)

    @guarded("Showing an error")
    def _job_failed(self, error: Exception) -> None:
        self.session.stop()
        self.refuse(error)

    @guarded("Showing a result")
    def _show(self, outcome: object) -> None:
        self.show_outcome(outcome)

    def _show_progress(self, fraction: float, message: str) -> None:
        show_progress(self.progress, fraction, message)

    # Life cycle ---------------------------------------------------------------

    def on_pause(self) -> None:
        """Take the preview away and stop watching."""
        self._soon.stop()
        self.session.pause()

    def on_resume(self) -> None:
        """Watch again."""
        self.session.resume()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        self.session.close()
