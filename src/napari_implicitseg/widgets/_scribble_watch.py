"""Noticing what the user changes in the layers that a fit reads."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels

from napari_implicitseg.widgets._asked import Asked
from napari_implicitseg.widgets._figure_numbers import FigureNumbers
from napari_implicitseg.widgets._preview import Preview
from napari_implicitseg.widgets._scribble_inputs import Inputs, region_shown
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_implicitseg.widgets._scribble_fit import Outcome

__all__ = ["ScribbleWatch"]

_SHAPE_ACTIONS = ("added", "removed", "changed")


class ScribbleWatch(Session["Outcome"]):
    """The part of a `ScribbleSession` that watches layers.

    The parameters are those of `Session`.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Outcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = Inputs()
        self.preview = Preview(viewer)
        self._version = 0
        self._is_due = False
        self._asked = Asked()
        self._numbers = FigureNumbers()

    @abstractmethod
    def strokes_changed(self, event: object = None) -> None:
        """Note that the strokes or the inputs are not those fitted last."""

    @abstractmethod
    def drop_preview(self) -> None:
        """Forget all fits and remove the preview layer."""

    def look(self) -> None:
        """Take up what was painted, unless something has read it since."""
        if self._is_due:
            self.strokes_changed()

    def _watch(self) -> None:
        for layer, name, callback in self._connections():
            getattr(layer.events, name).connect(callback)

    def _unwatch(self) -> None:
        for layer, name, callback in self._connections():
            getattr(layer.events, name).disconnect(callback)

    def _connections(self) -> list[tuple[Layer, str, Callable[[Any], None]]]:
        inputs = self.inputs
        found: list[tuple[Any, str, Callable[[Any], None]]] = []
        if inputs.scribbles is not None:
            found += [
                (inputs.scribbles, "paint", self._change_soon),
                (inputs.scribbles, "set_data", self._on_refresh),
                (inputs.scribbles, "selected_label", self.tell),
                (inputs.scribbles, "scale", self.strokes_changed),
            ]
        if inputs.shapes is not None:
            found += [
                (inputs.shapes, "data", self._on_shapes),
                (inputs.shapes, "features", self._change_soon),
                (inputs.shapes, "edge_width", self._change_soon),
            ]
        if inputs.image is not None:
            found.append((inputs.image, "data", self._on_image))
        if isinstance(inputs.evidence, Image | Labels):
            found.append((inputs.evidence, "data", self._on_image))
        if isinstance(inputs.evidence, Labels):
            found.append((inputs.evidence, "paint", self._on_evidence_painted))
        if inputs.embedding is not None:
            found.append((inputs.embedding, "data", self._on_image))
        return found

    def _change_soon(self, event: object = None) -> None:
        """Read the strokes on the next turn: polygons are told of before they are written."""
        self._version += 1
        self._is_due = True
        self._postpone()

    def _on_image(self, event: object) -> None:
        self.drop_preview()
        self.strokes_changed()

    def _on_evidence_painted(self, event: object) -> None:
        self.drop_preview()
        self._change_soon()

    def _on_shapes(self, event: Any) -> None:
        action = str(getattr(event, "action", ""))
        if action == "removed":
            self._numbers.take_back(event.data_indices)
        if action in _SHAPE_ACTIONS:
            self._change_soon()

    def _on_refresh(self, event: object) -> None:
        """Notice undo, redo and writing to the array: napari only says 'redrawn'."""
        scribbles = self.inputs.scribbles
        if scribbles is None:
            return
        preview = self.preview.layer
        if preview is not None and preview.data.shape != scribbles.data.shape:
            self.drop_preview()  # Its boxes speak of an array of another shape.
        region = region_shown(self.viewer, scribbles, self.inputs.scope)
        if self._asked.differ(region, scribbles):
            self.strokes_changed()
        else:
            self.tell()
