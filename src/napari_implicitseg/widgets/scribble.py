"""The widget *Scribble to mask*: the looks of a `ScribbleSession`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Shapes
from qtpy.QtWidgets import QCheckBox, QLabel, QWidget

from napari_implicitseg.config import OUTLINES
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._accept import RESULTS
from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import button, fold, form, row, swatch
from napari_implicitseg.widgets._drawing_layers import OUTLINES_OF, draw_outlines
from napari_implicitseg.widgets._evidence_choices import EvidenceChoices
from napari_implicitseg.widgets._panel import SessionPanel
from napari_implicitseg.widgets._repair_accept import REPAIRED
from napari_implicitseg.widgets._save_recipe import RecipeButton, scribble_settings
from napari_implicitseg.widgets._scribble_fit import (
    SCOPES,
    SCRIBBLE_SHAPES,
    Outcome,
    warm_up,
)
from napari_implicitseg.widgets._scribble_table import ObjectTable
from napari_implicitseg.widgets._semantic_layers import PREDICTED
from napari_implicitseg.widgets._shape_choices import ShapeChoices
from napari_implicitseg.widgets.scribble_session import ScribbleSession

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

__all__ = ["KEYS", "ScribbleWidget"]

_SLOW = 3.0
"""Seconds of a fit after which nobody wants to wait for one at every stroke."""
KEYS = {"next": "N", "accept": "K", "live": "U"}
"""Keys bound on the viewer while the widget is open."""
_MADE = {RESULTS, REPAIRED, PREDICTED}
"""Layers that a job has made, and nobody painted."""


class ScribbleWidget(SessionPanel):
    """Paint strokes, see masks of a guaranteed shape, accept them.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    doing = "Fitting"
    failure = "The fit failed; see napari's message."
    cancelled = "Cancelled. Paint on, or press Fit."

    session: ScribbleSession

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer, ScribbleSession, warm_up)
        self._make_inputs()
        self._make_actions()
        self._lay_out()
        self._connect()
        self._bind_keys()
        self._inputs_changed()
        self.session.tell()
        self.jobs.prepare()

    # Building -----------------------------------------------------------------

    def _make_inputs(self) -> None:
        self.image_box = LayerComboBox(self.viewer, (Image,), empty="open an image first")
        self.image_box.setToolTip("The image to segment. Multiscale: the level the scribbles fit.")
        self.scribbles_box = LayerComboBox(
            self.viewer, (Labels,), empty="none yet", suits=self._suits_as_scribbles
        )
        self.scribbles_box.setToolTip(
            "The Labels layer with the strokes: 1 is background, every other label one object."
        )
        self.shapes_box = LayerComboBox(self.viewer, (Shapes,), empty="none", optional=True)
        self.shapes_box.setToolTip(
            "More strokes from a Shapes layer: rectangles, ellipses and polygons are filled, lines "
            "and paths are as wide as their edge. A feature column 'label' names the ids."
        )
        self.scope_box = choice_box(SCOPES, "The slice shown, each slice by itself, or one body.")
        self.choices = ShapeChoices(SCRIBBLE_SHAPES)
        self.shape_box, self.model_box = self.choices.shape_box, self.choices.model_box
        self.evidence = EvidenceChoices(self.viewer)
        self.evidence_box = self.evidence.evidence_box

    def _make_actions(self) -> None:
        self.new_button = button(
            "New scribbles", "Add a Labels layer that fits the image and start painting on it."
        )
        self.outline_button = button(
            "Sloppy outline",
            "Add a Shapes layer and draw roughly around each object. A network trained on this "
            "image, once, makes the outlines precise.",
        )
        self.next_button = button("Next label", "Paint or outline the next object.")
        self.fit_button = button("Fit", "Fit the strokes as they are now.")
        self.accept_button = button(
            "Accept",
            "Write the masks to a results layer. What you drew there stays; Ctrl+Z in that layer "
            "takes it back.",
        )
        self.accept_button.setStyleSheet("font-weight: bold; padding: 6px;")
        self.live_box = QCheckBox("Live")
        self.live_box.setChecked(True)
        self.live_box.setToolTip("Fit again after every stroke.")
        self.brush = QLabel()
        self.recipe_button = RecipeButton(self, lambda: scribble_settings(self.session.inputs))
        self.table = ObjectTable()

    def _lay_out(self) -> None:
        top = form()
        top.addRow("Image", self.image_box)
        top.addRow("Scribbles", self.scribbles_box)
        top.addRow("", row(self.new_button, self.outline_button))
        top.addRow("Work on", self.scope_box.native)
        top.addRow("Shape", self.shape_box.native)
        more = QWidget()
        rest = form(more)
        self.evidence.add_rows(rest)
        rest.addRow("Shapes layer", self.shapes_box)
        self.choices.add_rows(rest)
        self.advanced = fold("Advanced", more)
        layout = self.scrolled()
        layout.addLayout(top)
        layout.addWidget(self.advanced)
        layout.addWidget(more)
        layout.addWidget(self.advice)
        layout.addLayout(row(self.brush, self.next_button))
        layout.addLayout(row(self.live_box, self.fit_button))
        layout.addLayout(row(self.progress, self.cancel_button))
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.notes)
        layout.addWidget(self.accept_button)
        layout.addWidget(self.recipe_button)
        self.setMinimumWidth(335)

    def _connect(self) -> None:
        self.image_box.layer_changed.connect(self.scribbles_box.reconsider)
        for box in (self.image_box, self.scribbles_box, self.shapes_box):
            box.layer_changed.connect(self._inputs_changed)
        for option in (self.scope_box, self.choices, self.evidence):
            option.changed.connect(self._inputs_changed)
        self.new_button.clicked.connect(self.new_scribbles)
        self.outline_button.clicked.connect(self.sloppy_outline)
        self.next_button.clicked.connect(self.next_label)
        self.fit_button.clicked.connect(self.fit)
        self.accept_button.clicked.connect(self.accept)
        self.live_box.toggled.connect(self._live_toggled)
        self.connect_session()

    def _bind_keys(self) -> None:
        """Bind the keys that are free and show them on what they press."""
        actions: dict[str, tuple[Any, Any, str]] = {
            "next": (self.next_label, self.next_button, "Next label"),
            "accept": (self.accept, self.accept_button, "Accept"),
            "live": (self.live_box.toggle, self.live_box, "Live"),
        }
        for name, (action, control, text) in actions.items():
            free = self.keys.bind(KEYS[name], action)
            hint = f"Key: {KEYS[name]}" if free else f"Key {KEYS[name]} is taken by something else."
            control.setText(f"{text} ({KEYS[name]})" if free else text)
            control.setToolTip(f"{control.toolTip().split(' Key')[0]} {hint}")

    # What the user does -------------------------------------------------------

    @guarded("Making a scribble layer")
    def new_scribbles(self, *_: object) -> None:
        """Add a Labels layer to paint on; what is painted are strokes, no outlines."""
        layer = self.session.new_scribbles()
        self.scribbles_box.layer = layer
        if self.evidence.has_outlines:
            self.evidence_box.value = "auto"
        shapes = self.shapes_box.layer
        if shapes is not None and OUTLINES_OF in shapes.metadata:
            self.shapes_box.layer = None  # Filled, they would be strokes.

    @guarded("Making a layer for outlines")
    def sloppy_outline(self, *_: object) -> None:
        """Add a Shapes layer to draw rough outlines in, and let a network make them precise."""
        if not self.session.suits_outlines:
            self.scribbles_box.layer = self.session.new_scribbles()
        layer = self.session.new_outlines()
        self.evidence_box.value = OUTLINES
        self.shapes_box.layer = layer
        draw_outlines(self.viewer, layer)
        self.session.tell()

    @guarded("Choosing the next label")
    def next_label(self, *_: object) -> None:
        """Paint the next object."""
        self.session.next_label()

    @guarded("Fitting")
    def fit(self, *_: object) -> None:
        """Fit now."""
        self.forget_problem()
        self.session.fit()

    @guarded("Accepting")
    def accept(self, *_: object) -> None:
        """Write the masks to the results layer."""
        self.accept_with(self.session.accept)

    @guarded("Switching live fits")
    def _live_toggled(self, on: bool) -> None:
        self.session.live = on
        if on and self.session.is_behind:
            self.session.fit()

    @guarded("Reading the choices")
    def _inputs_changed(self, *_: object) -> None:
        image = self.image_box.layer
        deep = isinstance(image, Image) and image.ndim > 2
        self.scope_box.enabled = deep
        shape, scribbles = self.choices.shape, self.scribbles_box.layer
        with self.evidence.changed.blocked():
            self.evidence.follow(image=image, scribbles=scribbles, shape=shape)
        self.session.use(
            image=image,
            scribbles=scribbles,
            shapes=self.shapes_box.layer,
            scope=self.scope_box.value if deep else "slice",
            shape=shape,
            config=replace(self.choices.config(), **self.evidence.options()),
            **self.evidence.inputs(shape=shape),
        )
        self._show_brush()

    # What the session and the jobs say ----------------------------------------

    def tell(self, text: str) -> None:
        """Show what the user can do now, and with which label."""
        super().tell(text)
        self._show_brush()

    def _show_brush(self) -> None:
        """Show which label the brush paints, in its colour."""
        layer = self.scribbles_box.layer
        self.next_button.setEnabled(layer is not None)
        if not isinstance(layer, Labels):
            self.brush.setText("")
            return
        if self.session.inputs.has_outlines and self.session.inputs.shapes is not None:
            label = self.session.next_id
            self.brush.setText(f"{swatch(layer.get_color(label))} Outline {label}: object")
            return
        label = int(layer.selected_label)
        meaning = {0: "eraser", 1: "1: background"}.get(label, f"{label}: object")
        self.brush.setText(f"{swatch(layer.get_color(label))} Brush {meaning}")

    def show_outcome(self, outcome: Outcome | None) -> None:
        """Show an outcome, or None, in the table."""
        scribbles = self.session.inputs.scribbles
        if outcome is None or scribbles is None or outcome.labels is None:
            self.table.show_rows((), "", None)
            self.show_notes(())
            return
        unit = _layers.size_unit(scribbles, outcome.request.region.axes)
        self.table.show_rows(outcome.rows, unit, scribbles.get_color)
        self.show_notes([*outcome.notes, *self._patience(outcome)])

    def _patience(self, outcome: Outcome) -> list[str]:
        """Suggest not to wait after every stroke where fits are slow."""
        seconds = outcome.rows[0].seconds if outcome.rows else 0.0
        if not self.session.live or seconds < _SLOW or not outcome.is_final:
            return []
        if outcome.has_trained:
            return [
                f"This fit took {seconds:.0f} s, as the network had to learn the image first. "
                "Further outlines are quicker."
            ]
        return [f"This fit took {seconds:.0f} s. With Live off, strokes wait until you press Fit."]

    def _suits_as_scribbles(self, layer: Layer) -> bool:
        """Whether a Labels layer may be taken as scribbles unasked."""
        image = self.image_box.layer
        if not isinstance(image, Image) or not isinstance(layer, Labels):
            return False
        fits = not layer.multiscale and tuple(layer.data.shape) in _layers.level_shapes(image)
        return fits and layer.visible and not _MADE & layer.metadata.keys()

    # Life cycle ---------------------------------------------------------------

    def on_resume(self) -> None:
        """Bind the keys and fit again."""
        self._bind_keys()
        super().on_resume()

    def on_close(self) -> None:
        """Disconnect from the viewer."""
        super().on_close()
        for box in (self.image_box, self.scribbles_box, self.shapes_box, self.evidence):
            box.disconnect_layers()
