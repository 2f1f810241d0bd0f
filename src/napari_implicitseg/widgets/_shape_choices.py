"""The choice of a shape family and of what goes with it, shared by the widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtWidgets import QSpinBox

from napari_implicitseg.config import FitConfig
from napari_implicitseg.widgets._boxes import choice_box
from napari_implicitseg.widgets._controls import show_row
from napari_implicitseg.widgets._scribble_fit import MODELS, SHAPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtWidgets import QFormLayout

__all__ = ["ShapeChoices"]

FLOWS = {"lattice": "Lattice (stays one piece)", "realnvp": "RealNVP (as published)"}
SYMMETRIES = {"mirror": "Mirror", "rotation": "Rotation"}
FAMILIES = {"connected": "Connected", "convex": "Convex", "star": "Star-shaped", "free": "Free"}
_MOST_ORDER = 64


class ShapeChoices:
    """Boxes for the shape family and its options.

    Only what the family knows can be changed, and only that is in the
    `FitConfig`: a choice that does not matter starts no fit.

    Parameters
    ----------
    shapes : mapping of str to str
        The families offered, and what to call them.
    """

    changed = Signal()

    def __init__(self, shapes: Mapping[str, str] = SHAPES) -> None:
        self.shape_box = choice_box(dict(shapes), "What every mask is guaranteed to be.")
        self.model_box = choice_box(
            MODELS, "What represents a convex shape; planes are for live use."
        )
        self.flow_box = choice_box(
            FLOWS,
            "What bends a connected shape. The lattice maps the object's box onto itself, so that "
            "the mask is one piece; RealNVP is slower and may fall into pieces.",
        )
        self.symmetry_box = choice_box(SYMMETRIES, "What a symmetric shape is equal to.")
        self.family_box = choice_box(FAMILIES, "What kind of shape is made symmetric.")
        self.order_box = QSpinBox()
        self.order_box.setRange(1, _MOST_ORDER)
        self.order_box.setToolTip("Number of mirrors, or of equal turns that make a full one.")
        self._form: QFormLayout | None = None
        for box in (
            self.shape_box,
            self.model_box,
            self.flow_box,
            self.symmetry_box,
            self.family_box,
        ):
            box.changed.connect(self._choose)
        self.order_box.valueChanged.connect(self._choose)

    def add_rows(self, form: QFormLayout) -> None:
        """Add all but the family itself to a form."""
        form.addRow("Model", self.model_box.native)
        form.addRow("Flow", self.flow_box.native)
        form.addRow("Symmetry", self.symmetry_box.native)
        form.addRow("Order", self.order_box)
        form.addRow("Of a shape", self.family_box.native)
        self._form = form
        self._allow()

    @property
    def shape(self) -> str:
        """The family chosen."""
        return str(self.shape_box.value)

    def config(self) -> FitConfig:
        """Return the options that matter to the family, the others at their defaults."""
        options: dict[str, Any] = {}
        if self.shape == "convex":
            options["model"] = self.model_box.value
        if self._bends():
            options["flow"] = self.flow_box.value
        if self.shape == "symmetric":
            options["symmetry"] = self.symmetry_box.value
            options["symmetric_family"] = self.family_box.value
            options["order"] = self.order_box.value()
        return FitConfig(**options)

    def _bends(self) -> bool:
        """Whether the family has a flow."""
        made = self.family_box.value if self.shape == "symmetric" else self.shape
        return bool(made == "connected")

    def _choose(self, *_: object) -> None:
        self._allow()
        self.changed.emit()

    def _allow(self) -> None:
        """Let the user change what matters to the family, and hide what only one family has."""
        self.model_box.enabled = self.shape == "convex"
        self.flow_box.enabled = self._bends()
        blocked = self.order_box.blockSignals(True)  # A turn of order 1 would be none.
        self.order_box.setMinimum(1 if self.symmetry_box.value == "mirror" else 2)
        self.order_box.blockSignals(blocked)
        for field in (self.symmetry_box.native, self.order_box, self.family_box.native):
            if self._form is None:
                break  # Shown before they lie in a form they would be windows.
            show_row(self._form, field, self.shape == "symmetric")
