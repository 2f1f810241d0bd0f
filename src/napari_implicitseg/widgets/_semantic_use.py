"""The part of *Train U-Net* that uses a model: predicting, and handing on to other panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSpinBox, QWidget

from napari_implicitseg.widgets._boxes import LayerComboBox
from napari_implicitseg.widgets._controls import button, form, row
from napari_implicitseg.widgets._semantic_layers import is_raw

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["ModelUse", "number_box"]


class ModelUse(QWidget):
    """What can be done with a model.

    Parameters
    ----------
    viewer : ViewerModel
    """

    asked = Signal(str, str)
    """What is to be predicted ("classes", "probability", "objects"), and for which purpose."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.target_box = LayerComboBox(viewer, (Image,), empty="open an image first", suits=is_raw)
        self.target_box.setToolTip("The image to predict.")
        self.predict_button = button("Predict", "Show the class of every pixel as a Labels layer.")
        self.predict_button.setStyleSheet("font-weight: bold; padding: 6px;")
        self.class_box = QComboBox()
        self.class_box.setToolTip("The class that these buttons are about.")
        self.probability_button = button(
            "Probability", "Show how likely each pixel is of this class, 0 to 1."
        )
        self.evidence_button = button(
            "Use as evidence...", "Open Scribble to mask with this probability as evidence."
        )
        self.repair_button = button(
            "Objects to repair...",
            "Open Repair labels on the connected objects of this class, to make each convex or "
            "connected.",
        )
        self.size_box = number_box(1, 10_000_000, 10, "Smaller objects are left out, in pixels.")
        self.size_box.setPrefix("from ")
        self.size_box.setSuffix(" px")
        self._lay_out()
        for control, kind, purpose in (
            (self.predict_button, "classes", "show"),
            (self.probability_button, "probability", "show"),
            (self.evidence_button, "probability", "evidence"),
            (self.repair_button, "objects", "repair"),
        ):
            control.clicked.connect(lambda _=False, k=kind, p=purpose: self.asked.emit(k, p))
        self.hide()

    def _lay_out(self) -> None:
        lines = form(self)
        lines.addRow("Predict on", self.target_box)
        lines.addRow("", self.predict_button)
        lines.addRow("Class", row(self.class_box, self.probability_button))
        lines.addRow("", self.evidence_button)
        lines.addRow("", row(self.repair_button, self.size_box))

    def show_model(self, model: SemanticModel) -> None:
        """Offer the classes of a model."""
        before = self.class_box.currentText()
        self.class_box.clear()
        self.class_box.addItems(list(model.classes))
        self.class_box.setCurrentIndex(max(0, self.class_box.findText(before)))
        self.show()

    @property
    def which(self) -> int:
        """Number of the chosen class, from 1."""
        return int(self.class_box.currentIndex()) + 1


def number_box(low: int, high: int, value: int, tip: str) -> QSpinBox:
    """Make a box for a whole number."""
    made = QSpinBox()
    made.setRange(low, high)
    made.setValue(value)
    made.setToolTip(tip)
    return made
