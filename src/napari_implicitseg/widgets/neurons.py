"""The widget *Volume to neurons*: the looks of a `NeuronsSession`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._controls import row
from napari_implicitseg.widgets._neurons_jobs import warm_up
from napari_implicitseg.widgets._neurons_keys import NeuronsKeys
from napari_implicitseg.widgets._neurons_models import free_folder
from napari_implicitseg.widgets._neurons_session import NeuronsSession
from napari_implicitseg.widgets._neurons_steps import (
    KEYS,
    CorrectStep,
    CutStep,
    PredictStep,
    SeedStep,
    TrainStep,
)
from napari_implicitseg.widgets._panel import SessionPanel

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

__all__ = ["NeuronsWidget"]

_RESTS_AFTER = 300
"""Milliseconds after which the slider is taken to rest."""


class NeuronsWidget(SessionPanel):
    """Predict affinities, cut them into neurons, correct these, train from painted sections.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "The work on neurons"
    failure = "That failed; see napari's message."
    cancelled = "Cancelled. What there was is unchanged."

    session: NeuronsSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, NeuronsSession, warm_up)
        self.inputs = PredictStep(self.viewer)
        self.cutting = CutStep()
        self.correcting = CorrectStep()
        self.seeding = SeedStep(self.viewer)
        self.training = TrainStep(self.viewer)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_RESTS_AFTER)
        self._lay_out()
        self._connect()
        self._connect_corrections()
        self.shared_keys = NeuronsKeys(self.viewer, self._keyed())
        self.correcting.show_keys(self.shared_keys.bind())
        self._inputs_changed()
        self._show_state()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _lay_out(self) -> None:
        layout = self.scrolled()
        layout.addWidget(self.advice)
        layout.addLayout(row(self.progress, self.cancel_button))
        for step in (self.inputs, self.cutting, self.correcting, self.seeding, self.training):
            layout.addWidget(step)
        layout.addWidget(self.notes)
        layout.addStretch(1)
        self.setMinimumWidth(335)

    def _connect(self) -> None:
        self.inputs.image_box.layer_changed.connect(self._inputs_changed)
        self.inputs.model_box.model_changed.connect(self._inputs_changed)
        self.inputs.predict_button.clicked.connect(self.predict)
        self.cutting.linkage_box.changed.connect(self._inputs_changed)
        self.cutting.segment_button.clicked.connect(self.segment)
        self.cutting.slider.valueChanged.connect(self._slid)
        self.cutting.alone_box.toggled.connect(self._show_alone)
        self.seeding.seed_button.clicked.connect(self.cut_by_seeds)
        self.training.train_button.clicked.connect(self.train)
        self._rest.timeout.connect(guarded("Drawing")(self.session.view.finish))
        self.session.trained.connect(self._trained)
        self.connect_session()

    def _connect_corrections(self) -> None:
        step = self.correcting
        step.merge_button.clicked.connect(self.merge)
        step.split_button.clicked.connect(self.split)
        step.scribbles_button.clicked.connect(self.new_scribbles)
        step.freeze_button.clicked.connect(self.freeze)
        step.undo_button.clicked.connect(self.undo)
        step.redo_button.clicked.connect(self.redo)
        step.next_button.clicked.connect(self.next_uncertain)
        step.save_button.clicked.connect(self.save_edits)
        step.load_button.clicked.connect(self.load_edits)

    def _keyed(self) -> dict[str, Callable[[], None]]:
        """Return what each key does."""
        actions: dict[str, Callable[[], None]] = {
            "merge": self.merge,
            "split": self.split,
            "freeze": self.freeze,
            "next": self.next_uncertain,
            "undo": self.undo,
            "redo": self.redo,
        }
        return {KEYS[name]: action for name, action in actions.items()}

    # What the user does: jobs -------------------------------------------------

    @guarded("Predicting")
    def predict(self, *_: object) -> None:
        """Predict affinities."""
        self.forget_problem()
        self.session.predict()

    @guarded("Segmenting")
    def segment(self, *_: object) -> None:
        """Make neurons."""
        self.forget_problem()
        self.session.segment()

    @guarded("Cutting by seeds")
    def cut_by_seeds(self, *_: object) -> None:
        """Grow seeds to neurons, in a layer of their own."""
        self.forget_problem()
        self.session.cut_by_seeds(self.seeding.seeds_box.layer)

    @guarded("Training")
    def train(self, *_: object) -> None:
        """Go on training the model from painted sections."""
        self.forget_problem()
        step = self.training
        self.session.train(step.labels_box.layer, step.steps_box.value(), step.folder_edit.text())

    # What the user does: corrections ------------------------------------------

    @guarded("Moving the threshold")
    def _slid(self, *_: object) -> None:
        self.session.cut(self.cutting.share)
        self._rest.start()

    @guarded("Showing a neuron")
    def _show_alone(self, on: bool) -> None:
        self.session.view.alone(on)

    def _correct(self, action: Callable[[], str]) -> None:
        """Do something to the neurons; the same problem is told of again."""
        self.forget_problem()
        self.session.correct(action)
        self._rest.start()

    @guarded("Merging")
    def merge(self, *_: object) -> None:
        """Let the next two clicks merge."""
        self._correct(self.session.merge)

    @guarded("Splitting")
    def split(self, *_: object) -> None:
        """Cut between strokes."""
        self.forget_problem()
        self.session.split()

    @guarded("Making a scribble layer")
    def new_scribbles(self, *_: object) -> None:
        """Add a layer of strokes and paint."""
        self._correct(self.session.new_scribbles)

    @guarded("Freezing")
    def freeze(self, *_: object) -> None:
        """Freeze the current neuron, or no longer."""
        self._correct(self.session.corrections.toggle_freeze)

    @guarded("Undoing")
    def undo(self, *_: object) -> None:
        """Take the last correction back."""
        self._correct(self.session.corrections.undo)

    @guarded("Redoing")
    def redo(self, *_: object) -> None:
        """Do again what was taken back."""
        self._correct(self.session.corrections.redo)

    @guarded("Looking for uncertain decisions")
    def next_uncertain(self, *_: object) -> None:
        """Go to the closest decision."""
        self.forget_problem()
        self.session.next_uncertain()

    # What the user does: files ------------------------------------------------

    @guarded("Saving edits")
    def save_edits(self, *_: object) -> None:
        """Save the corrections where the user says."""
        if path := self.ask_where_to_save():
            self._correct(lambda: self.session.corrections.save(path))

    @guarded("Loading edits")
    def load_edits(self, *_: object) -> None:
        """Replay the corrections of a file the user names."""
        if path := self.ask_what_to_load():
            self._correct(lambda: self.session.corrections.load(path))

    def ask_where_to_save(self) -> str:
        """Ask for a file to write; empty if the user thinks better of it."""
        return str(QFileDialog.getSaveFileName(self, "Save edits", self._beside(), "*.json")[0])

    def ask_what_to_load(self) -> str:
        """Ask for a file to read; empty if the user thinks better of it."""
        folder = str(Path(self._beside()).parent)
        return str(QFileDialog.getOpenFileName(self, "Load edits", folder, "*.json")[0])

    def _beside(self) -> str:
        """Name of a file of edits beside that of the image."""
        image = self.inputs.image_box.layer
        source = None if image is None else image.source.path
        folder = Path.home() if source is None else Path(source).parent
        return str(folder / f"{'neurons' if image is None else image.name} edits.json")

    # What the session says ----------------------------------------------------

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        image = self.inputs.image_box.layer
        self.session.use(
            image=image if isinstance(image, Image) else None,
            model=self.inputs.model_box.model,
            linkage=self.cutting.linkage_box.value,
        )

    @guarded("Showing a model")
    def _trained(self, folder: str) -> None:
        self.inputs.model_box.add(folder)
        self.training.folder_edit.setText(free_folder("neurons"))

    def show_outcome(self, outcome: Any) -> None:
        """Show what there is now, whatever it came from."""
        self.shared_keys.bind_layer(self.session.view.layer)
        self._show_state()

    def _show_state(self) -> None:
        """Show the number of neurons, the current one, and what can be done."""
        corrections, step = self.session.corrections, self.correcting
        work = corrections.work
        self.cutting.show_count(None if work is None else work.threshold, corrections.count)
        step.merge_button.setChecked(corrections.merging)
        for control in step.buttons:
            control.setEnabled(work is not None)
        step.undo_button.setEnabled(corrections.can_undo)
        step.redo_button.setEnabled(corrections.can_redo)
        text = "No current neuron: click one."
        if corrections.current:
            frozen = ", frozen" if corrections.is_frozen else ""
            text = f"Neuron {corrections.current}: {corrections.size:,} voxels{frozen}"
        step.current.setText(text if work is not None else "")

    # Life cycle ---------------------------------------------------------------

    def on_pause(self) -> None:
        """Give the keys back and stop watching."""
        self.shared_keys.release()
        self._rest.stop()
        super().on_pause()

    def on_resume(self) -> None:
        """Bind the keys and watch again."""
        self.correcting.show_keys(self.shared_keys.bind())
        self.shared_keys.bind_layer(self.session.view.layer)
        super().on_resume()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        for box in (
            self.inputs.image_box,
            self.seeding.seeds_box,
            self.training.labels_box,
        ):
            box.disconnect_layers()
