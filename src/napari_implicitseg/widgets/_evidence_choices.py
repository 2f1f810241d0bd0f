"""The choice of evidence and of how it is fitted, in the scribble widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from psygnal import Signal

from napari_implicitseg.config import OUTLINES
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._accept import RESULTS
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import show_row
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._repair_accept import REPAIRED
from napari_implicitseg.widgets._scribble_fit import COUPLINGS, EVIDENCE

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer
    from qtpy.QtWidgets import QFormLayout

__all__ = ["EvidenceChoices"]

_NETWORKS = {"encoder-decoder": "Encoder-decoder", "original": "As first published"}
_SCALES = {8: "8 pixels", 4: "4 pixels (fine)", 16: "16 pixels (rough)"}
_LIST_EVENTS = ("inserted", "removed", "renamed")


class EvidenceChoices:
    """Boxes for the evidence and what goes with it; offers layers of the viewer, too.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._image: Image | None = None
        self._scribbles: Layer | None = None
        self._form: QFormLayout | None = None
        self.evidence_box = choice_box(
            EVIDENCE,
            "How the image tells object from background. Automatic weighs the methods by how well "
            "they predict strokes left out. An image layer is read as probability of object; of a "
            "Labels layer (of SAM, ilastik, ...) an object takes the labels its strokes lie on.",
        )
        self.coupling_box = choice_box(
            COUPLINGS,
            "Evidence first, then the shape; or a network and the shape together, each learning "
            "from the other. That takes longer; the masks improve while you watch.",
        )
        self.embedding_box = LayerComboBox(
            viewer, (Image,), empty="none", optional=True, lists=self._suits_as_embedding
        )
        self.embedding_box.setToolTip(
            "Features of every pixel, for Automatic and the networks: an image layer with one more "
            "axis than the image, before all others."
        )
        self.network_box = choice_box(
            _NETWORKS,
            "What makes outlines precise: a network that follows the edges of the image, or the "
            "one first published.",
        )
        self.scale_box = choice_box(
            _SCALES, "How rough outlines are: pixels per side of a cell they are downscaled to."
        )
        for box in (self.evidence_box, self.coupling_box, self.network_box, self.scale_box):
            box.changed.connect(self._choose)
        self.embedding_box.layer_changed.connect(self._choose)
        for name in _LIST_EVENTS:
            getattr(viewer.layers.events, name).connect(self._list_layers)
        self._list_layers()

    def add_rows(self, form: QFormLayout) -> None:
        """Add the boxes to a form."""
        form.addRow("Evidence", self.evidence_box.native)
        form.addRow("Network", self.network_box.native)
        form.addRow("Cells of", self.scale_box.native)
        form.addRow("Fit", self.coupling_box.native)
        form.addRow("Embedding", self.embedding_box)
        self._form = form
        self._allow()

    # What is chosen -----------------------------------------------------------

    @property
    def has_outlines(self) -> bool:
        """Whether what is drawn are sloppy outlines."""
        return bool(self.evidence_box.value == OUTLINES)

    def inputs(self, *, shape: str) -> dict[str, Any]:
        """Return the `Inputs` chosen, for a family of shapes; only what matters to it."""
        return {
            "evidence": self.evidence_box.value,
            "coupling": self.coupling_box.value if shape != "none" else "sequential",
            "embedding": self.embedding_box.layer,
        }

    def options(self) -> dict[str, Any]:
        """Return the fields of a `FitConfig` chosen; only those that matter."""
        if not self.has_outlines:
            return {}
        return {"upsampler": self.network_box.value, "upsampler_scale": self.scale_box.value}

    # What is offered ----------------------------------------------------------

    def follow(self, *, image: Layer | None, scribbles: Layer | None, shape: str) -> None:
        """Offer what goes with an image, scribbles and a family of shapes."""
        self.coupling_box.enabled = shape != "none"
        if image is self._image and scribbles is self._scribbles:
            return
        self._image = image if isinstance(image, Image) else None
        self._scribbles = scribbles
        self.embedding_box.refresh()
        self._list_layers()

    def disconnect_layers(self) -> None:
        """Stop following the layer list."""
        self.embedding_box.disconnect_layers()
        for name in _LIST_EVENTS:
            getattr(self._viewer.layers.events, name).disconnect(self._list_layers)

    def _list_layers(self, *_: object) -> None:
        """Offer methods, images as probability maps and layers of labels."""
        choices: list[tuple[str, object]] = [(text, name) for name, text in EVIDENCE.items()]
        choices += [(f"{_kind(x)}: {x.name}", x) for x in self._viewer.layers if self._offers(x)]
        chosen = self.evidence_box.value
        with self.evidence_box.changed.blocked():
            self.evidence_box.choices = choices
            # magicgui keeps a choice by its text, but a layer may have been renamed.
            if any(value is chosen for _, value in choices):
                self.evidence_box.value = chosen
        self._choose()

    def _offers(self, layer: Layer) -> bool:
        """Whether a layer may be evidence; what the widgets have made is none."""
        if HIDDEN_FROM_CHOICES in layer.metadata or layer in (self._image, self._scribbles):
            return False
        if isinstance(layer, Labels):
            return not {RESULTS, REPAIRED} & layer.metadata.keys()
        return isinstance(layer, Image) and not layer.rgb

    def _suits_as_embedding(self, layer: Layer) -> bool:
        """Whether a layer has features of every voxel of the image."""
        if self._image is None or layer.rgb or layer.multiscale:
            return False
        return tuple(layer.data.shape[1:]) in _layers.level_shapes(self._image)

    def _choose(self, *_: object) -> None:
        self._allow()
        self.changed.emit()

    def _allow(self) -> None:
        """Show what only outlines have."""
        if self._form is None:
            return  # Shown before they lie in a form they would be windows.
        for box in (self.network_box, self.scale_box):
            show_row(self._form, box.native, self.has_outlines)


def _kind(layer: Layer) -> str:
    """Return what a layer is as evidence."""
    return "Labels" if isinstance(layer, Labels) else "Probability"
