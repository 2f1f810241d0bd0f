"""The widget *Train U-Net*: the looks of a `SemanticSession`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from qtpy.QtWidgets import QCheckBox, QFileDialog, QLabel, QWidget

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._batch_parts import PathRow, ask_folder, ask_new, ask_old
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import button, fold, form, row, show_progress, show_row
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._semantic_figures import FiguresView
from napari_implicitseg.widgets._semantic_inputs import (
    AXES,
    ORIGINS,
    PRESET_NAMES,
    has_checkpoint,
    suggested_folder,
)
from napari_implicitseg.widgets._semantic_jobs import Counted, Problem, warm_up
from napari_implicitseg.widgets._semantic_layers import is_raw, labels_for
from napari_implicitseg.widgets._semantic_parts import ClassTable, say_classes
from napari_implicitseg.widgets._semantic_session import CANCELLED, SemanticSession
from napari_implicitseg.widgets._semantic_use import ModelUse, number_box

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_implicitseg.widgets._semantic_jobs import Opened
    from napari_implicitseg.widgets._semantic_session import Handed

__all__ = ["SemanticWidget"]

_PLUGIN = "napari-implicitseg"
_LOOKS_AFTER = 400
"""Milliseconds after which somebody who paints or types is taken to rest."""
_BOLD = "font-weight: bold; padding: 6px;"
_FILES = "Images (*.png *.jpg *.bmp *.tif *.tiff *.h5 *.hdf5);;All files (*)"


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
        self._make_source()
        self._make_training()
        self._make_use()
        self._lay_out()
        self._connect()
        self._inputs_changed()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _make_source(self) -> None:
        self.origin_box = choice_box(ORIGINS, "Where images and masks of classes come from.")
        self.image_box = LayerComboBox(
            self.viewer, (Image,), empty="open an image first", suits=is_raw
        )
        # Not chosen unasked later: other panels, too, add layers to paint in.
        self.labels_box = LayerComboBox(self.viewer, (Labels,), empty="none yet", optional=True)
        self.labels_box.layer = labels_for(self.viewer, self.image_box.layer)
        self.labels_box.setToolTip(
            "A label for each class, in strokes or all over; what is not painted teaches nothing."
        )
        self.paint_button = button(
            "Paint classes", "Add a Labels layer that fits the image and start painting on it."
        )
        dialogs = {"Folder...": ask_folder("Folder"), "File...": ask_old("Image", _FILES)}
        self.images_row = PathRow(
            "A folder of images, an image or an OME-Zarr.", "folder of images", dialogs
        )
        self.masks_row = PathRow(
            "A folder of masks named like their images (cell1.png, cell1_mask.png), a mask or an "
            "OME-Zarr of labels. Empty: they lie beside the images.",
            "folder of masks",
            dialogs,
        )
        self.count_button = button("Find classes", "Read the masks and list their classes.")
        self.zero_check = QCheckBox("0 is a class, too (background)")
        self.zero_check.setToolTip("Otherwise 0 is what nobody has labelled.")
        self.class_label = _text()
        self.class_table = ClassTable()

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
        self._source_form = form()
        self._source_form.addRow("Learn from", self.origin_box.native)
        self._source_form.addRow("Image", self.image_box)
        self._source_form.addRow("Classes", self.labels_box)
        self._source_form.addRow("", self.paint_button)
        self._source_form.addRow("Images", self.images_row)
        self._source_form.addRow("Masks", self.masks_row)
        self._source_form.addRow("", self.count_button)
        self._source_form.addRow("", self.zero_check)
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
        layout.addLayout(self._source_form)
        for part in (self.class_label, self.class_table):
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
        for box in (self.image_box, self.labels_box):
            box.layer_changed.connect(self._inputs_changed)
        for option in (self.origin_box, self.preset_box, self.axes_box):
            option.changed.connect(self._inputs_changed)
        for line in (self.images_row, self.masks_row, self.folder_row):
            line.changed.connect(self._inputs_changed)
        for number in (self.steps_box, self.held_box, self.seed_box):
            number.valueChanged.connect(self._inputs_changed)
        for check in (self.zero_check, self.resume_check):
            check.toggled.connect(self._inputs_changed)
        self.class_table.renamed.connect(self._renamed)
        self.paint_button.clicked.connect(self.paint)
        self.count_button.clicked.connect(self.count)
        self.train_button.clicked.connect(self.train)
        self.open_button.clicked.connect(self.open_model)
        self.use.asked.connect(self.predict)
        self.figures.save_button.clicked.connect(self.save_pictures)
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
        self.accept_with(lambda: setattr(self.labels_box, "layer", self.session.paint()))

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
        origin = str(self.origin_box.value)
        files = origin == "files"
        lines = self._source_form
        for field in (self.image_box, self.labels_box, self.paint_button):
            show_row(lines, field, not files)
        for field in (self.images_row, self.masks_row, self.count_button):
            show_row(lines, field, files)
        self.session.use(
            origin=origin,
            image=self.image_box.layer,
            labels=self.labels_box.layer,
            images=self.images_row.path,
            masks=self.masks_row.path,
            zero_is_class=self.zero_check.isChecked(),
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
        if isinstance(found, Counted):
            _say(self.class_label, say_classes(found))
            self.class_table.show_classes(found, self._names, self._colour_of)
            return
        _say(self.class_label, "" if found is None else str(found.error))
        if found is not None:
            self.class_table.show_classes(None, {}, self._colour_of)

    def _colour_of(self, value: int) -> Any:
        """Colour of a class in the layer it was painted in."""
        labels = self.labels_box.layer
        files = self.session.inputs.origin == "files"
        return labels.get_color(value) if isinstance(labels, Labels) and not files else None

    def refuse(self, error: Exception) -> None:
        """Say what is wrong, until the user does something else."""
        super().refuse(error)
        self.session.keep_saying(self.advice.text())

    def show_outcome(self, outcome: Opened) -> None:
        """Show a model and its figures."""
        model = outcome.model
        self.show_notes(outcome.notes)
        _say(self.model_label, f"Model in use: {outcome.folder}")
        self.use.show_model(model)
        self.figures.show_model(model)
        if outcome.trained:
            self.resume_check.setChecked(False)
            if self.session.inputs.origin == "layers" and self.image_box.layer is not None:
                self.use.target_box.layer = self.image_box.layer
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
        if self.labels_box.layer is not None:
            self.labels_box.layer.visible = False  # Classes are no strokes of objects.
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
        if strokes is None or strokes is self.labels_box.layer or not is_raw(strokes):
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
        for box in (self.image_box, self.labels_box, self.use.target_box):
            box.disconnect_layers()


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
