"""The steps of the neurons widget, each a part of the panel: looks without doings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Points
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import button, fold, form, row, show_row
from napari_implicitseg.widgets._neurons_affinities import neighbour_choices
from napari_implicitseg.widgets._neurons_inputs import AUTOMATIC, FRAGMENTS, LINKAGES
from napari_implicitseg.widgets._neurons_models import ModelBox, free_folder
from napari_implicitseg.widgets._neurons_parts import AREAS
from napari_implicitseg.widgets._neurons_view import NEURONS_OF

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["KEYS", "CorrectStep", "CutStep", "EvaluateStep", "PredictStep", "SeedStep", "TrainStep"]

KEYS = {
    "merge": "M",
    "split": "S",
    "freeze": "F",
    "next": "N",
    "undo": "Control-Z",
    "redo": "Control-Shift-Z",
}
"""Keys bound while the widget is open."""

_TICKS = 1000
_TITLE = "font-weight: bold; color: #8aa6c8;"
_BOLD = "font-weight: bold; padding: 6px;"


class PredictStep(QWidget):
    """Image, model, what of it, *Predict*."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.image_box = LayerComboBox(viewer, (Image,), empty="open an image first")
        self.image_box.setToolTip(
            "The image to segment, 2D or 3D; multiscale: the level shown. Or affinities of shape "
            "(3, z, y, x), 0 to 1 or uint8, of the neighbours before along z, y and x; or 2, y "
            "and x."
        )
        self._neighbours: dict[str, str] = {}
        self.neighbours_box = choice_box(
            {}, "What the affinities along the first axis of this layer are of."
        )
        self.model_box = ModelBox()
        self.area_box = choice_box(
            AREAS, "All of the image, or what the canvas shows of it and some sections about that."
        )
        self.sections_box = QSpinBox()
        self.sections_box.setRange(1, 100_000)
        self.sections_box.setValue(32)
        self.sections_box.setToolTip("How many sections, the one shown in their middle.")
        self.predict_button = button("Predict", "Let the model predict affinities of the image.")
        self.predict_button.setStyleSheet(_BOLD)
        self.show_button = button(
            "Show affinities",
            "Add what was predicted as a layer; its first axis is that of the neighbours. It can "
            "be saved, and segmented again.",
        )
        layout = _titled(self, "1  From the image to affinities")
        self._lines = form()
        self._lines.addRow("Image", self.image_box)
        self._lines.addRow("Neighbours", self.neighbours_box.native)
        self._lines.addRow("Model", self.model_box)
        self._lines.addRow("Predict", self.area_box.native)
        self._lines.addRow("Sections", self.sections_box)
        layout.addLayout(self._lines)
        layout.addLayout(row(self.predict_button, self.show_button))
        self.follow()

    @property
    def neighbours(self) -> str:
        """What affinities are chosen to be of; empty if there is no choice."""
        return str(self.neighbours_box.value or "")

    def follow(self) -> None:
        """Show what there is to choose for the image."""
        image = self.image_box.layer
        choices = {text: value for value, text in neighbour_choices(image).items()}
        if choices != self._neighbours:
            self._neighbours = choices
            with self.neighbours_box.changed.blocked():
                self.neighbours_box.choices = [*choices.items()]
        deep = isinstance(image, Image) and image.ndim == 3
        show_row(self._lines, self.neighbours_box.native, bool(choices))
        show_row(self._lines, self.sections_box, deep and self.area_box.value == "view")


class CutStep(QWidget):
    """Linkage, *Segment*, slider."""

    def __init__(self) -> None:
        super().__init__()
        self.linkage_box = choice_box(
            LINKAGES,
            "What two regions are merged by. The median affinity of their contact was best in our "
            "measurements; the mean takes less memory.",
        )
        self.segment_button = button(
            "Segment", "Make neurons of the affinities. Corrections made so far are kept."
        )
        self.segment_button.setStyleSheet(_BOLD)
        self.fragments_box = choice_box(
            FRAGMENTS,
            "What is merged: basins about the points far from membranes, basins of the affinities, "
            "or single voxels, of images up to 160^3.",
        )
        self.size_box = QSpinBox()
        self.size_box.setRange(AUTOMATIC, 1_000_000)
        self.size_box.setValue(AUTOMATIC)
        self.size_box.setSpecialValueText("automatic")
        self.size_box.setToolTip("Voxels: smaller fragments are merged to a neighbour first.")
        self.saliency_button = button(
            "Show saliency", "Add an image of how long each border stays as neurons merge."
        )
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _TICKS)
        self.slider.setValue(_TICKS // 2)
        self.slider.setToolTip("To the left neurons merge, to the right they come apart.")
        self.count = QLabel()
        self.alone_box = QCheckBox("Show only the current neuron")
        layout = _titled(self, "2  From affinities to neurons")
        lines = form()
        lines.addRow("Merge by", self.linkage_box.native)
        layout.addLayout(lines)
        advanced = QWidget()
        more = form(advanced)
        more.addRow("Fragments", self.fragments_box.native)
        more.addRow("Smallest", self.size_box)
        more.addRow(self.saliency_button)
        layout.addWidget(fold("Advanced", advanced))
        layout.addWidget(advanced)
        layout.addWidget(self.segment_button)
        layout.addWidget(self.slider)
        layout.addWidget(self.count)
        layout.addWidget(self.alone_box)

    @property
    def share(self) -> float:
        """Where the slider is, 0 to 1."""
        return int(self.slider.value()) / _TICKS

    def show_share(self, share: float) -> None:
        """Move the slider without telling anybody."""
        self.slider.blockSignals(True)
        self.slider.setValue(round(share * _TICKS))
        self.slider.blockSignals(False)

    def show_count(self, threshold: float | None, count: int) -> None:
        """Show threshold and number of neurons, or that there are none."""
        text = "" if threshold is None else f"Threshold {threshold:.3g}: {count:,} neurons"
        self.count.setText(text)
        self.slider.setEnabled(threshold is not None)
        self.alone_box.setEnabled(threshold is not None)
        self.saliency_button.setEnabled(threshold is not None)


class CorrectStep(QWidget):
    """Buttons of the corrections, and the current object."""

    def __init__(self) -> None:
        super().__init__()
        self.current = QLabel()
        self.current.setWordWrap(True)
        self.merge_button = button("Merge", "Click two neurons that are one.")
        self.merge_button.setCheckable(True)
        self.split_button = button(
            "Split", "Cut a neuron between two strokes of different labels, painted in 'scribbles'."
        )
        self.scribbles_button = button("New scribbles", "Add the layer for the strokes and paint.")
        self.freeze_button = button(
            "Freeze", "Keep the current neuron as it is wherever the slider goes; or no longer."
        )
        self.next_button = button("Next uncertain", "Go to the decision that was closest.")
        self.undo_button = button("Undo", "Take the last correction back.")
        self.redo_button = button("Redo", "Do again what was taken back.")
        self.save_button = button("Save edits", "Save the corrections beside the labels, as JSON.")
        self.load_button = button("Load edits", "Replay saved corrections in place of these.")
        self.scribble_button = button(
            "Scribble neuron...",
            "Hand the current neuron to 'Scribble to mask': an image of it with strokes to go on "
            "with.",
        )
        self.repair_button = button(
            "Repair neuron...", "Hand the current neuron to 'Repair labels': a layer with its mask."
        )
        self.back_button = button(
            "Take neuron back",
            "Make the neuron what was accepted in the other panel, as a correction.",
        )
        layout = _titled(self, "3  Correct")
        layout.addWidget(self.current)
        grid = QGridLayout()
        first, *others = self.buttons
        grid.addWidget(first, 0, 0, 1, 2)
        *others, last = others
        for place, control in enumerate(others, start=2):
            grid.addWidget(control, place // 2, place % 2)
        grid.addWidget(last, grid.rowCount(), 0, 1, 2)
        layout.addLayout(grid)

    @property
    def buttons(self) -> tuple[QPushButton, ...]:
        """All buttons, in order."""
        return (
            self.next_button,
            self.merge_button,
            self.freeze_button,
            self.scribbles_button,
            self.split_button,
            self.undo_button,
            self.redo_button,
            self.save_button,
            self.load_button,
            self.scribble_button,
            self.repair_button,
            self.back_button,
        )

    def show_keys(self, taken: tuple[str, ...]) -> None:
        """Show the keys on the buttons; those that are taken work in the neurons' layer only."""
        controls = {
            "merge": (self.merge_button, "Merge"),
            "split": (self.split_button, "Split"),
            "freeze": (self.freeze_button, "Freeze"),
            "next": (self.next_button, "Next uncertain"),
            "undo": (self.undo_button, "Undo"),
            "redo": (self.redo_button, "Redo"),
        }
        for name, (control, text) in controls.items():
            key = KEYS[name]
            shown = key.replace("Control", "Ctrl").replace("-", "+")
            hint = f"Key: {shown}"
            if key in taken:
                hint += ", while the neurons' layer is chosen: else something else has it."
            control.setText(f"{text} ({shown})")
            control.setToolTip(f"{control.toolTip().split(' Key: ')[0]} {hint}")


class SeedStep(QWidget):
    """Layer of seeds and a button, folded."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.seeds_box = LayerComboBox(
            viewer, (Labels, Points), empty="none", optional=True, lists=_is_free
        )
        self.seeds_box.setToolTip(
            "Labels: each id is the seed of one neuron. Points: each is one, or those of one "
            "number in the feature column 'label' are."
        )
        self.apart_box = QCheckBox("In a layer of their own")
        self.apart_box.setToolTip(
            "Leave the neurons as they are and add a layer in which every seed has grown to one of "
            "its id. Else the seeds are a correction: they cut and merge neurons, with undo."
        )
        self.seed_button = button(
            "Cut by seeds",
            "Make of every seed one neuron: what has several is cut between them, what one seed "
            "touches is merged.",
        )
        content = QWidget()
        lines = form(content)
        lines.addRow("Seeds", self.seeds_box)
        lines.addRow("", self.apart_box)
        lines.addRow("", self.seed_button)
        _folded(self, "4  Neurons from seeds", content)


class EvaluateStep(QWidget):
    """A button that opens another panel."""

    def __init__(self) -> None:
        super().__init__()
        self.evaluate_button = button(
            "Evaluate...", "Compare the neurons with a layer of truth, in 'Evaluate labels'."
        )
        layout = _titled(self, "6  Evaluate")
        layout.addWidget(self.evaluate_button)


class TrainStep(QWidget):
    """Painted sections, steps, folder and *Train from these labels*, folded."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.labels_box = LayerComboBox(
            viewer, (Labels,), empty="none", optional=True, lists=_is_free
        )
        self.labels_box.setToolTip(
            "Sections in which every neuron has an id of its own; 0 is not painted, and teaches "
            "nothing."
        )
        self.steps_box = QSpinBox()
        self.steps_box.setRange(1, 1_000_000)
        self.steps_box.setValue(1000)
        self.steps_box.setToolTip("Training steps. A thousand take minutes on a graphics card.")
        self.folder_edit = QLineEdit(free_folder("neurons"))
        self.folder_edit.setToolTip("Folder of the new model; one that is not there yet.")
        self.folder_button = button("...", "Choose a folder in which to put the model.")
        self.train_button = button(
            "Train from these labels", "Go on training the model of step 1 with these sections."
        )
        content = QWidget()
        lines = form(content)
        lines.addRow("Sections", self.labels_box)
        lines.addRow("Steps", self.steps_box)
        lines.addRow("New model", row(self.folder_edit, self.folder_button))
        lines.addRow("", self.train_button)
        self.folder_button.clicked.connect(self._choose_folder)
        _folded(self, "5  Train from painted sections", content)

    def ask_folder(self) -> str:
        """Ask for a folder; empty if the user thinks better of it."""
        return str(QFileDialog.getExistingDirectory(self, "Folder of the new model"))

    def _choose_folder(self) -> None:
        if folder := self.ask_folder():
            self.folder_edit.setText(folder)


def _titled(widget: QWidget, title: str) -> QVBoxLayout:
    """Lay a part of the panel out under its title."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 4, 0, 0)
    label = QLabel(title)
    label.setStyleSheet(_TITLE)
    layout.addWidget(label)
    return layout


def _folded(widget: QWidget, title: str, content: QWidget) -> None:
    """Lay a part of the panel out that is hidden at first."""
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    opener = fold(title, content)
    opener.setStyleSheet(_TITLE)
    layout.addWidget(opener)
    layout.addWidget(content)


def _is_free(layer: Layer) -> bool:
    """Whether a layer may hold what a person has drawn: the neurons are made."""
    return NEURONS_OF not in layer.metadata
