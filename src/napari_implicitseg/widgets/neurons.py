"""The widget *Volume to neurons*: the looks of a `NeuronsSession`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._controls import row
from napari_implicitseg.widgets._neurons_dialogs import EditDialogs
from napari_implicitseg.widgets._neurons_jobs import warm_up
from napari_implicitseg.widgets._neurons_keys import NeuronsKeys
from napari_implicitseg.widgets._neurons_models import free_folder
from napari_implicitseg.widgets._neurons_session import NeuronsSession
from napari_implicitseg.widgets._neurons_steps import (
    KEYS,
    CorrectStep,
    CutStep,
    EvaluateStep,
    PredictStep,
    SeedStep,
    TrainStep,
)
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._save_recipe import RecipeButton, neurons_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_implicitseg.widgets._neurons_handing import HandedOver

__all__ = ["NeuronsWidget"]

_PLUGIN = "napari-implicitseg"
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
        self.evaluating = EvaluateStep()
        self.dialogs = EditDialogs(self, lambda: self.inputs.image_box.layer)
        self.recipe_button = RecipeButton(self, lambda: neurons_settings(*self.session.settings))
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_RESTS_AFTER)
        self._lay_out()
        self._connect()
        self._connect_corrections()
        self.shared_keys = NeuronsKeys(self.viewer, self._keyed())
        self._bind_keys()
        self._inputs_changed()
        self._show_state()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _lay_out(self) -> None:
        layout = self.scrolled()
        layout.addWidget(self.advice)
        layout.addLayout(row(self.progress, self.cancel_button))
        for step in (
            self.inputs,
            self.cutting,
            self.correcting,
            self.seeding,
            self.training,
            self.evaluating,
        ):
            layout.addWidget(step)
        layout.addWidget(self.recipe_button)
        layout.addWidget(self.notes)
        layout.addStretch(1)
        self.setMinimumWidth(335)

    def _connect(self) -> None:
        self.inputs.image_box.layer_changed.connect(self._inputs_changed)
        self.inputs.model_box.model_changed.connect(self._inputs_changed)
        self.inputs.sections_box.valueChanged.connect(self._inputs_changed)
        for box in (self.inputs.neighbours_box, self.inputs.area_box):
            box.changed.connect(self._inputs_changed)
        self.inputs.predict_button.clicked.connect(self.predict)
        self.inputs.show_button.clicked.connect(self.show_affinities)
        self.cutting.linkage_box.changed.connect(self._inputs_changed)
        self.cutting.fragments_box.changed.connect(self._inputs_changed)
        self.cutting.size_box.valueChanged.connect(self._inputs_changed)
        self.cutting.saliency_button.clicked.connect(self.show_saliency)
        self.cutting.segment_button.clicked.connect(self.segment)
        self.cutting.slider.valueChanged.connect(self._slid)
        self.cutting.alone_box.toggled.connect(self._show_alone)
        self.seeding.seed_button.clicked.connect(self.cut_by_seeds)
        self.training.train_button.clicked.connect(self.train)
        self.evaluating.evaluate_button.clicked.connect(self.evaluate)
        self._rest.timeout.connect(guarded("Drawing")(self.session.view.finish))
        self.session.trained.connect(self._trained)
        self.session.moved.connect(self._moved)
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
        step.scribble_button.clicked.connect(self.scribble_neuron)
        step.repair_button.clicked.connect(self.repair_neuron)
        step.back_button.clicked.connect(self.take_back)

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
        """Make neurons; of something else only if nobody minds that corrections are lost."""
        self.forget_problem()
        part = self.session.part_to_segment()
        if part in (None, self.session.part) or self._may_replace("Segment"):
            self.session.segment()

    @guarded("Showing affinities")
    def show_affinities(self, *_: object) -> None:
        """Show what was predicted in a layer."""
        self.forget_problem()
        self.accept_with(self.session.show_affinities)

    @guarded("Drawing the borders")
    def show_saliency(self, *_: object) -> None:
        """Show how salient borders are, in a layer."""
        self.forget_problem()
        self.session.show_saliency()

    @guarded("Cutting by seeds")
    def cut_by_seeds(self, *_: object) -> None:
        """Make a neuron of each seed."""
        self.forget_problem()
        step = self.seeding
        self.session.cut_by_seeds(step.seeds_box.layer, apart=step.apart_box.isChecked())

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
        self._correct(self.session.strokes.paint)

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

    # What the user does: other panels -----------------------------------------

    @guarded("Handing a neuron over")
    def scribble_neuron(self, *_: object) -> None:
        """Hand the current neuron to *Scribble to mask*."""
        handed = self._hand_over("scribble")
        if handed is not None:
            panel = self._open("Scribble to mask")
            panel.image_box.layer = handed.image
            panel.scribbles_box.layer = handed.labels

    @guarded("Handing a neuron over")
    def repair_neuron(self, *_: object) -> None:
        """Hand the current neuron to *Repair labels*."""
        handed = self._hand_over("repair")
        if handed is not None:
            self._open("Repair labels").source_box.layer = handed.labels

    @guarded("Taking a neuron back")
    def take_back(self, *_: object) -> None:
        """Make the neuron what was accepted in the other panel."""
        self.forget_problem()
        self.session.take_back()

    @guarded("Opening another panel")
    def evaluate(self, *_: object) -> None:
        """Open *Evaluate labels* for the neurons."""
        self._open("Evaluate labels").choose(labels=self.session.view.layer)

    def _hand_over(self, kind: str) -> HandedOver | None:
        """Put the current neuron into layers of its own; None if that is refused."""
        self.forget_problem()
        before = self.session.handed
        self.accept_with(lambda: self.session.hand_over(kind))
        handed = self.session.handed
        if handed is None or handed is before:
            return None
        self._show_state()
        self.tell(
            "The neuron is in the other panel. Accept a mask there, then come back and press Take "
            "neuron back."
        )
        return handed

    def _open(self, name: str) -> Any:
        """Open another panel of the plugin, in front of this one: two do not fit on a screen."""
        self.shared_keys.release()  # The other panel comes first: it is where one works next.
        dock, panel = self.viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)
        dock.show()
        dock.raise_()
        self._bind_keys()
        return panel

    def _bind_keys(self) -> None:
        """Bind the keys that are free, and all on the layer of the neurons."""
        self.correcting.show_keys(self.shared_keys.bind())
        self.shared_keys.bind_layer(self.session.view.layer)

    # What the user does: files ------------------------------------------------

    @guarded("Saving edits")
    def save_edits(self, *_: object) -> None:
        """Save the corrections where the user says."""
        if path := self.dialogs.ask_where_to_save():
            self._correct(lambda: self.session.save(path))

    @guarded("Loading edits")
    def load_edits(self, *_: object) -> None:
        """Replay the corrections of a file the user names."""
        if self._may_replace("Load edits") and (path := self.dialogs.ask_what_to_load()):
            self._correct(lambda: self.session.load(path))

    def _may_replace(self, action: str) -> bool:
        """Whether corrections that are not saved may be lost; asks only if there are some."""
        count = self.session.unsaved
        return count == 0 or self.dialogs.ask_to_replace(action, count)

    # What the session says ----------------------------------------------------

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        step = self.inputs
        step.follow()
        image = step.image_box.layer
        self.session.use(
            image=image if isinstance(image, Image) else None,
            model=step.model_box.model,
            linkage=self.cutting.linkage_box.value,
            fragments=self.cutting.fragments_box.value,
            min_size=self.cutting.size_box.value(),
            neighbours=step.neighbours,
            area=step.area_box.value,
            sections=step.sections_box.value(),
        )

    @guarded("Moving the slider")
    def _moved(self, share: float) -> None:
        """Show where another panel has cut."""
        self.cutting.show_share(share)
        self._rest.start()

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
        for control in (step.scribble_button, step.repair_button):
            control.setEnabled(corrections.current > 0)
        step.back_button.setEnabled(self.session.handed is not None)
        self.inputs.show_button.setEnabled(self.session.has_predicted)
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
        self._bind_keys()
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
