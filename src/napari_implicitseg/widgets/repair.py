"""The widget *Repair labels*: the looks of a `RepairSession`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtWidgets import QLineEdit, QWidget

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import button, fold, form, row
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._repair_inputs import IDS, TARGETS, can_be_source
from napari_implicitseg.widgets._repair_run import RepairOutcome, warm_up
from napari_implicitseg.widgets._repair_table import RepairTable
from napari_implicitseg.widgets._save_recipe import RecipeButton, repair_settings
from napari_implicitseg.widgets._scribble_fit import SCOPES
from napari_implicitseg.widgets._shape_choices import ShapeChoices
from napari_implicitseg.widgets.repair_session import RepairSession

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["RepairWidget"]


class RepairWidget(SessionPanel):
    """Project masks onto a family of shapes, look at the result, accept it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "Repairing"
    failure = "The repair failed; see napari's message."
    cancelled = "Cancelled. Press Preview to start again."

    session: RepairSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, RepairSession, warm_up)
        self._make_inputs()
        self._make_actions()
        self._lay_out()
        self._connect()
        self._inputs_changed()
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
        self.selected_button = button(
            "Accept selected", "Write the objects of the lines selected in the table."
        )
        self.accept_button = button(
            "Accept all", "Write all objects of the table; Ctrl+Z in the layer takes them back."
        )
        for control in (self.selected_button, self.accept_button):
            control.setStyleSheet("font-weight: bold; padding: 6px;")
        self.recipe_button = RecipeButton(self, lambda: repair_settings(self.session.inputs))
        self.table = RepairTable()

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
        layout = self.scrolled()
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
        layout.addWidget(self.recipe_button)
        self.setMinimumWidth(360)

    def _connect(self) -> None:
        self.source_box.layer_changed.connect(self._inputs_changed)
        for option in (self.scope_box, self.ids_box, self.choices, self.target_box):
            option.changed.connect(self._inputs_changed)
        self.listed_edit.textChanged.connect(self._inputs_changed)
        self.listed_edit.returnPressed.connect(self.preview)
        self.preview_button.clicked.connect(self.preview)
        self.selected_button.clicked.connect(self.accept_selected)
        self.accept_button.clicked.connect(self.accept)
        self.table.picked.connect(self._jump)
        self.table.itemSelectionChanged.connect(self._selection_changed)
        self.connect_session()

    # What the user does -------------------------------------------------------

    @guarded("Repairing")
    def preview(self, *_: object) -> None:
        """Repair now and show the result."""
        self.forget_problem()
        self.session.preview()

    @guarded("Accepting")
    def accept(self, *_: object) -> None:
        """Write all objects of the preview."""
        self.accept_with(self.session.accept)

    @guarded("Accepting")
    def accept_selected(self, *_: object) -> None:
        """Write the objects of the lines selected."""
        self.accept_with(lambda: self.session.accept(self.table.selected_labels()))

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

    # What the session says ----------------------------------------------------

    def show_outcome(self, outcome: RepairOutcome | None) -> None:
        """Show an outcome, or None, in the table."""
        source = self.session.inputs.source
        colour_of = source.get_color if isinstance(source, Labels) else None
        self.table.show_rows(() if outcome is None else outcome.rows, colour_of)
        self.show_notes(() if outcome is None else outcome.notes)
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

    def show_busy(self, busy: bool) -> None:
        """Show whether a repair runs."""
        super().show_busy(busy)
        self._selection_changed()

    # Life cycle ---------------------------------------------------------------

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        self.source_box.disconnect_layers()


def _suits(layer: Layer) -> bool:
    """Whether a layer may be taken as masks unasked."""
    named = "scribbles" not in layer.name.lower()  # Strokes are no masks.
    return isinstance(layer, Labels) and layer.visible and not layer.multiscale and named
