"""The widget *Train U-Net*: the looks of a `SemanticSession`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QWidget

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._batch_parts import PathRow, ask_new
from napari_implicitseg.widgets._boxes import choice_box
from napari_implicitseg.widgets._controls import button, fold, form, row, show_progress
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._semantic_figures import FiguresView
from napari_implicitseg.widgets._semantic_inputs import (
    AXES,
    PRESET_NAMES,
    has_checkpoint,
    suggested_folder,
)
from napari_implicitseg.widgets._semantic_jobs import warm_up
from napari_implicitseg.widgets._semantic_layers import is_raw
from napari_implicitseg.widgets._semantic_parts import ClassTable, say_classes
from napari_implicitseg.widgets._semantic_reading import Counted, Problem
from napari_implicitseg.widgets._semantic_session import CANCELLED, SemanticSession
from napari_implicitseg.widgets._semantic_source import SourceView
from napari_implicitseg.widgets._semantic_use import ModelUse, number_box
from napari_implicitseg.widgets._semantic_words import in_panel, said_in_panel

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_implicitseg.widgets._semantic_jobs import Opened
    from napari_implicitseg.widgets._semantic_layers import Handed

__all__ = ["SemanticWidget"]

_PLUGIN = "napari-implicitseg"
_LOOKS_AFTER = 400
"""Milliseconds after which somebody who paints or types is taken to rest."""
_BOLD = "font-weight: bold; padding: 6px;"


class SemanticWidget(SessionPanel):
    """Train a U-Net from painted classes, see how good it is, and predict with it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "This"
    failure = "This failed; see napari's message."
    cancelled = CANCELLED

    session: SemanticSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, SemanticSession, warm_up)
        self._soon.setInterval(_LOOKS_AFTER)
        self._suggested = ""
        self._names: dict[int, str] = {}
        self.source = SourceView(napari_viewer)
        self.class_label = _text()
        self.class_table = ClassTable()
        self._make_training()
        self._make_use()
        self._lay_out()
        self._connect()
        self._inputs_changed()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _make_training(self) -> None:
        self.folder_row = PathRow(
            "Folder for the model. Nothing is written before you press Train.",
            "folder for the model",
            {"Folder...": ask_new("Folder for the model", "")},
        )
        self.steps_box = number_box(1, 1_000_000, 1200, "Each step learns from a few patches.")
        self.resume_check = QCheckBox("Go on with the training that is there")
        self.resume_check.setToolTip("With the same images, classes and options as before.")
        self.preset_box = choice_box(
            PRESET_NAMES, "Network and way of training; report-2024 is the plain one as published."
        )
        self.axes_box = choice_box(AXES, "Axes of the network.")
        self.held_box = number_box(
            0, 90, 20, "Share of the images that is not learned from but measured on."
        )
        self.held_box.setSuffix(" %")
        self.seed_box = number_box(
            0, 2**31 - 1, 0, "Makes the training, and what is held out, repeatable."
        )
        self.train_button = button("Train", "Learn the classes, or go on with it.")
        self.train_button.setStyleSheet(_BOLD)
        self.message_label = _text()

    def _make_use(self) -> None:
        self.model_label = _text()
        self.open_button = button("Open model...", "Use a model that was trained before.")
        self.use = ModelUse(self.viewer)
        self.figures = FiguresView()

    def _lay_out(self) -> None:
        model = form()
        model.addRow("Model", self.folder_row)
        model.addRow("Steps", self.steps_box)
        more = QWidget()
        rest = form(more)
        rest.addRow("Preset", self.preset_box.native)
        rest.addRow("Network", self.axes_box.native)
        rest.addRow("Held out", self.held_box)
        rest.addRow("Seed", self.seed_box)
        self.advanced = fold("Advanced", more)
        layout = self.scrolled()
        for part in (self.source, self.class_label, self.class_table):
            layout.addWidget(part)
        layout.addLayout(model)
        for part in (self.advanced, more, self.resume_check, self.train_button, self.advice):
            layout.addWidget(part)
        layout.addLayout(row(self.progress, self.cancel_button))
        for part in (self.message_label, self.notes, self.open_button, self.model_label):
            layout.addWidget(part)
        for part in (self.use, self.figures):
            layout.addWidget(part)
        layout.addStretch(1)
        self.setMinimumWidth(335)

    def _connect(self) -> None:
        self.source.changed.connect(self._inputs_changed)
        self.source.jumped.connect(self.session.worst.hide)
        for option in (self.preset_box, self.axes_box):
            option.changed.connect(self._inputs_changed)
        self.folder_row.changed.connect(self._inputs_changed)
        for number in (self.steps_box, self.held_box, self.seed_box):
            number.valueChanged.connect(self._inputs_changed)
        self.resume_check.toggled.connect(self._inputs_changed)
        self.class_table.renamed.connect(self._renamed)
        self.source.paint_button.clicked.connect(self.paint)
        self.source.add_button.clicked.connect(self.add_image)
        self.source.remove_button.clicked.connect(self.remove_image)
        self.source.count_button.clicked.connect(self.count)
        self.train_button.clicked.connect(self.train)
        self.open_button.clicked.connect(self.open_model)
        self.use.asked.connect(self.predict)
        self.figures.save_button.clicked.connect(self.save_pictures)
        self.figures.asked.connect(self.look_at)
        self.session.counted.connect(self._show_counted)
        self.session.handed.connect(self._hand_over)
        self.session.left.connect(self._training_left)
        self.connect_session()
        # Deleted with the window while it is hidden, the panel hears of nothing else.
        self.destroyed.connect(self.jobs.close)

    # What the user does -------------------------------------------------------

    @guarded("Making a layer to paint on")
    def paint(self, *_: object) -> None:
        """Add a layer to paint classes in."""
        self.forget_problem()
        self.accept_with(self._paint)

    def _paint(self) -> None:
        self.source.labels_box.layer = self.session.paint()

    @guarded("Adding an image")
    def add_image(self, *_: object) -> None:
        """Learn from one more image of the viewer, or from those that are selected."""
        self.forget_problem()
        self.accept_with(self.source.add)

    @guarded("Removing an image")
    def remove_image(self, *_: object) -> None:
        """Learn no more from the chosen image."""
        self.forget_problem()
        self.source.remove()

    @guarded("Showing an image")
    def look_at(self, name: str) -> None:
        """Show an image that was held out, and where the model is wrong."""
        self.forget_problem()
        self.accept_with(lambda: self._look_at(name))

    def _look_at(self, name: str) -> None:
        pair = self.session.look_at(name)
        if pair is not None:
            self.source.choose_image(pair.image)

    @guarded("Looking at the masks")
    def count(self, *_: object) -> None:
        """List the classes of the masks."""
        self.forget_problem()
        self.session.count()

    @guarded("Training")
    def train(self, *_: object) -> None:
        """Learn, or go on with it."""
        self.forget_problem()
        self._inputs_changed()
        self.session.train()

    @guarded("Opening a model")
    def open_model(self, *_: object) -> None:
        """Use a model in a folder."""
        self.forget_problem()
        if folder := self.ask_folder("Folder of a model"):
            self.session.open(folder)

    def ask_folder(self, title: str) -> str:
        """Ask for a folder; empty if the user thinks better of it."""
        return str(QFileDialog.getExistingDirectory(self, title, self.session.folder))

    @guarded("Saving pictures")
    def save_pictures(self, *_: object) -> None:
        """Write pictures of what was held out where the user says."""
        self.forget_problem()
        if folder := self.ask_folder("Folder for pictures"):
            self.accept_with(lambda: self.session.save_pictures(folder))

    @guarded("Predicting")
    def predict(self, kind: str, purpose: Any) -> None:
        """Ask what the model says of the image."""
        self.forget_problem()
        self.session.predict(
            self.use.target_box.layer,
            kind,
            which=self.use.which,
            min_size=self.use.size_box.value(),
            purpose=purpose,
        )

    def _renamed(self, value: int, name: str) -> None:
        self._names[value] = name
        self._inputs_changed()

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        source = self.source
        self.session.use(
            origin=source.origin,
            pairs=source.pairs,
            image=source.chosen.image,
            images=source.images_row.path,
            masks=source.masks_row.path,
            zero_is_class=source.zero_check.isChecked(),
            names=dict(self._names),
            steps=self.steps_box.value(),
            preset=str(self.preset_box.value),
            ndim=self.axes_box.value,
            held_out=self.held_box.value() / 100,
            seed=self.seed_box.value(),
            resume=self.resume_check.isChecked(),
        )
        self._suggest_folder()
        self.session.use(out=self.folder_row.path)
        self.resume_check.setVisible(has_checkpoint(self.folder_row.path))

    def _suggest_folder(self) -> None:
        """Fill in a folder as long as the user has chosen none."""
        if self.folder_row.path not in ("", self._suggested) or self.session.is_running:
            return
        if has_checkpoint(self._suggested):
            return  # A training there was cancelled, and may go on.
        suggested = suggested_folder(self.session.inputs)
        if suggested != self._suggested:
            self._suggested = suggested
            self.folder_row.path = suggested

    # What the session and the jobs say ----------------------------------------

    @guarded("Showing the classes")
    def _show_counted(self, found: Counted | Problem | None) -> None:
        """Show the classes, or why there are none."""
        shares = found.shares if isinstance(found, Counted) else ()
        self.source.pair_table.show_shares(self.source.pairs, shares)
        if isinstance(found, Counted):
            _say(self.class_label, say_classes(found))
            self.class_table.show_classes(found, self._names, self._colour_of)
            return
        _say(self.class_label, "" if found is None else in_panel(str(found.error)))
        if found is not None:
            self.class_table.show_classes(None, {}, self._colour_of)

    def _colour_of(self, value: int) -> Any:
        """Colour of a class in the layer it was painted in."""
        painted = [p.labels for p in (self.source.chosen, *self.source.pairs) if p.labels]
        files = self.source.origin == "files"
        return None if files or not painted else painted[0].get_color(value)

    def refuse(self, error: Exception) -> None:
        """Say what is wrong, until the user does something else."""
        super().refuse(said_in_panel(error))
        self.session.keep_saying(self.advice.text())

    def show_outcome(self, outcome: Opened) -> None:
        """Show a model and its figures."""
        model = outcome.model
        self.show_notes([in_panel(note) for note in outcome.notes])
        _say(self.model_label, f"Model in use: {outcome.folder}")
        self.use.show_model(model)
        self.figures.show_model(model, self.session.palette())
        if outcome.source is not None:
            self.resume_check.setChecked(False)
            if self.source.origin == "layers" and self.source.chosen.image is not None:
                self.use.target_box.layer = self.source.chosen.image
            self._suggested = suggested_folder(self.session.inputs)
            self.folder_row.path = self._suggested  # This one is taken.

    @guarded("Looking for a checkpoint")
    def _training_left(self, folder: str) -> None:
        """Offer to go on, if there is a checkpoint."""
        self._inputs_changed()
        if has_checkpoint(folder) and self.resume_check.isVisibleTo(self):
            self.resume_check.setChecked(True)

    @guarded("Opening another panel")
    def _hand_over(self, handed: Handed) -> None:
        """Open the panel that a layer is for, in front of this one."""
        name = "Scribble to mask" if handed.purpose == "evidence" else "Repair labels"
        dock, panel = self.viewer.window.add_plugin_dock_widget(_PLUGIN, name, tabify=True)
        dock.show()
        dock.raise_()
        painted = [pair.labels for pair in self.source.pairs]
        for labels in painted:
            if labels is not None:
                labels.visible = False  # Classes are no strokes of objects.
        if handed.purpose == "repair":
            panel.source_box.layer = handed.layer
            return
        if handed.image.ndim != handed.layer.ndim:  # An image with channels before all.
            panel.image_box.layer = handed.layer
            return
        panel.image_box.layer = handed.image
        panel.evidence_box.value = handed.layer
        handed.layer.visible = False  # One scribbles on the image.
        strokes = panel.scribbles_box.layer
        if strokes is None or strokes in painted or not is_raw(strokes):
            panel.new_scribbles()

    def show_busy(self, busy: bool) -> None:
        """Show whether a job runs."""
        super().show_busy(busy)
        self.train_button.setEnabled(not (busy and self.session.is_running))
        self.use.setEnabled(not (busy and self.session.is_running))
        if not busy:
            _say(self.message_label, "")

    def _show_progress(self, fraction: float, message: str) -> None:
        show_progress(self.progress, fraction, f"{100 * fraction:.0f} %")
        if self.session.is_running:
            _say(self.message_label, message)

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Go quiet while the panel is hidden; but a training goes on behind other panels."""
        if not (self.session.is_running and self.is_behind_others()):
            super().pause()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        self.source.disconnect_layers()
        self.use.target_box.disconnect_layers()


def _text() -> QLabel:
    """Make a text that is hidden while it is empty."""
    made = QLabel()
    made.setWordWrap(True)
    made.hide()
    return made


def _say(label: QLabel, text: str) -> None:
    """Show a text, or hide it."""
    label.setText(text)
    label.setToolTip(text)
    label.setVisible(bool(text))
