"""The widget *Repair labels*: the looks of a `RepairSession`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from napari_implicitseg.errors import ImplicitSegError
from napari_implicitseg.widgets._base import DockedWidget, guarded, show_problem
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import (
    advice_label,
    button,
    fold,
    form,
    notes_label,
    progress_bar,
    row,
    show_progress,
)
from napari_implicitseg.widgets._repair_inputs import IDS, TARGETS, can_be_source
from napari_implicitseg.widgets._repair_run import RepairOutcome, warm_up
from napari_implicitseg.widgets._repair_table import RepairTable
from napari_implicitseg.widgets._scribble_fit import SCOPES
from napari_implicitseg.widgets._shape_choices import ShapeChoices
from napari_implicitseg.widgets.repair_session import RepairSession

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["RepairWidget"]


class RepairWidget(DockedWidget):
    """Project masks onto a family of shapes, look at the result, accept it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, prelude=warm_up)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self.session = RepairSession(
            self.viewer, self.jobs.submit, self.jobs.cancel, postpone=self._soon.start
        )
        self._make_inputs()
        self._make_actions()
        self._lay_out()
        self._connect()
        self._inputs_changed()
        self._selection_changed()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.source_box = LayerComboBox(
            self.viewer,
            (Labels, Image),
            empty="open a Labels layer first",
            suits=_suits,
            lists=can_be_source,
        )
        self.source_box.setToolTip(
            "Masks to repair: a Labels layer of any tool, or an image with the probability of one "
            "object, 0 to 1. It is not changed unless you accept into it."
        )
        self.scope_box = choice_box(SCOPES, "The slice shown, each slice by itself, or one body.")
        self.ids_box = choice_box(IDS, "Objects to repair; the others stay as they are.")
        self.listed_edit = QLineEdit()
        self.listed_edit.setPlaceholderText("2, 5-9")
        self.listed_edit.setToolTip("Ids and ranges of ids, with commas between them.")
        self.choices = ShapeChoices()
        self.shape_box = self.choices.shape_box
        self.target_box = choice_box(
            TARGETS,
            "A copy of the layer with the accepted objects repaired, or the layer itself. What you "
            "drew in the copy stays.",
        )

    def _make_actions(self) -> None:
        self.preview_button = button(
            "Preview", "Compute the repaired masks and show them; nothing is changed."
        )
        self.preview_button.setStyleSheet("font-weight: bold; padding: 6px;")
        self.cancel_button = button("Cancel", "Stop the repair that is running.")
        self.selected_button = button(
            "Accept selected", "Write the objects of the lines selected in the table."
        )
        self.accept_button = button(
            "Accept all", "Write all objects of the table; Ctrl+Z in the layer takes them back."
        )
        for control in (self.selected_button, self.accept_button):
            control.setStyleSheet("font-weight: bold; padding: 6px;")
        self.advice = advice_label()
        self.progress = progress_bar()
        self.table = RepairTable()
        self.notes = notes_label()

    def _lay_out(self) -> None:
        top = form()
        top.addRow("Masks", self.source_box)
        top.addRow("Work on", self.scope_box.native)
        top.addRow("Objects", row(self.ids_box.native, self.listed_edit))
        top.addRow("Shape", self.shape_box.native)
        more = QWidget()
        self.choices.add_rows(form(more))
        self.advanced = fold("Advanced", more)
        target = form()
        target.addRow("Accept into", self.target_box.native)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addLayout(top)
        layout.addWidget(self.advanced)
        layout.addWidget(more)
        layout.addWidget(self.preview_button)
        layout.addLayout(row(self.progress, self.cancel_button))
        layout.addWidget(self.advice)
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.notes)
        layout.addLayout(target)
        both = row(self.selected_button, self.accept_button)
        both.setStretch(1, 1)
        layout.addLayout(both)
        self.setMinimumWidth(360)
        self._show_busy(False)
        self.notes.hide()

    def _connect(self) -> None:
        self.source_box.layer_changed.connect(self._inputs_changed)
        for option in (self.scope_box, self.ids_box, self.choices, self.target_box):
            option.changed.connect(self._inputs_changed)
        self.listed_edit.textChanged.connect(self._inputs_changed)
        self.listed_edit.returnPressed.connect(self.preview)
        self.preview_button.clicked.connect(self.preview)
        self.cancel_button.clicked.connect(self.cancel)
        self.selected_button.clicked.connect(self.accept_selected)
        self.accept_button.clicked.connect(self.accept)
        self.table.picked.connect(self._jump)
        self.table.itemSelectionChanged.connect(self._selection_changed)
        self._soon.timeout.connect(guarded("Looking at the masks")(self.session.look))
        self.session.told.connect(self._tell)
        self.session.shown.connect(self._show_outcome)
        self.session.refused.connect(self._refuse)
        self.jobs.done.connect(self._job_done)
        self.jobs.failed.connect(self._job_failed)
        self.jobs.progressed.connect(self._show_progress)
        self.jobs.busy.connect(self._show_busy)

    # What the user does -------------------------------------------------------

    @property
    def is_working(self) -> bool:
        """Whether a repair runs or waits to be shown, or an edit waits to be looked at."""
        return self._soon.isActive() or self.jobs.is_busy or self.jobs.is_running

    @guarded("Repairing")
    def preview(self, *_: object) -> None:
        """Repair now and show the result."""
        self.session.preview()

    @guarded("Cancelling")
    def cancel(self, *_: object) -> None:
        """Stop the repair that is running."""
        self.session.stop()
        self._tell("Cancelled. Press Preview to start again.")

    @guarded("Accepting")
    def accept(self, *_: object) -> None:
        """Write all objects of the preview."""
        self._accept(None)

    @guarded("Accepting")
    def accept_selected(self, *_: object) -> None:
        """Write the objects of the lines selected."""
        self._accept(self.table.selected_labels())

    def _accept(self, labels: list[int] | None) -> None:
        try:
            self.session.accept(labels)
        except ImplicitSegError as error:
            self._refuse(error)

    @guarded("Moving the view")
    def _jump(self, label: int) -> None:
        self.session.jump(label)

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        source = self.source_box.layer
        deep = source is not None and source.ndim > 2
        masks = isinstance(source, Labels)
        self.scope_box.enabled = deep
        self.ids_box.enabled = self.target_box.enabled = masks
        self.listed_edit.setEnabled(masks)
        self.listed_edit.setVisible(self.ids_box.value == "list")
        self.session.use(
            source=source,
            scope=self.scope_box.value if deep else "slice",
            shape=self.choices.shape,
            config=self.choices.config(),
            ids=self.ids_box.value if masks else "all",
            listed=self.listed_edit.text() if self.ids_box.value == "list" else "",
            target=self.target_box.value if masks else "new",
        )

    # What the session and the jobs say ----------------------------------------

    @guarded("Showing a result")
    def _job_done(self, outcome: object) -> None:
        if isinstance(outcome, RepairOutcome):
            self.session.receive(outcome)

    @guarded("Showing an error")
    def _job_failed(self, error: Exception) -> None:
        self.session.stop()
        self._refuse(error)

    def _refuse(self, error: Exception) -> None:
        """Say what is wrong, here and in napari's notifications."""
        known = isinstance(error, ImplicitSegError)
        self._tell(str(error) if known else "The repair failed; see napari's message.")
        show_problem(error, doing="Repairing")

    def _tell(self, text: str) -> None:
        self.advice.setText(text)
        self.advice.setToolTip(text)

    @guarded("Showing a result")
    def _show_outcome(self, outcome: RepairOutcome | None) -> None:
        source = self.session.inputs.source
        notes = () if outcome is None else outcome.notes
        colour_of = source.get_color if isinstance(source, Labels) else None
        self.table.show_rows(() if outcome is None else outcome.rows, colour_of)
        self.notes.setText(_shortened(notes))
        self.notes.setToolTip("\n".join(notes))
        self.notes.setVisible(bool(notes))
        self._selection_changed()

    def _selection_changed(self) -> None:
        """Say how many objects a button would write."""
        selected, total = len(self.table.selected_labels()), self.table.rowCount()
        idle = not self.jobs.is_busy
        self.selected_button.setText(
            f"Accept selected ({selected})" if selected else "Accept selected"
        )
        self.accept_button.setText(f"Accept all ({total})" if total else "Accept all")
        self.selected_button.setEnabled(idle and selected > 0)
        self.accept_button.setEnabled(idle and total > 0)

    def _show_progress(self, fraction: float, message: str) -> None:
        show_progress(self.progress, fraction, message)

    def _show_busy(self, busy: bool) -> None:
        self.cancel_button.setEnabled(busy)
        if not busy:
            show_progress(self.progress, 0, "")
        self._selection_changed()

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
        self.source_box.disconnect_layers()


_MOST_NOTES = 6


def _shortened(notes: tuple[str, ...]) -> str:
    """Keep what fits under the table; the tooltip has all."""
    more = len(notes) - _MOST_NOTES
    kept = [*notes[:_MOST_NOTES], *([f"... and {more} more notes."] if more > 0 else [])]
    return "\n".join(kept)


def _suits(layer: Layer) -> bool:
    """Whether a layer may be taken as masks unasked."""
    return isinstance(layer, Labels) and layer.visible and not layer.multiscale
