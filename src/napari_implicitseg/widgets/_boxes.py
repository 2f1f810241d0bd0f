"""Combo boxes: one that follows the layer list, and those of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import ComboBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy

from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["LayerComboBox", "choice_box"]


class LayerComboBox(QComboBox):
    """Chooses a layer of some types and follows the layer list.

    Parameters
    ----------
    viewer : ViewerModel
    types : tuple of layer classes
    empty : str
        What to show when nothing is chosen.
    optional : bool
        Whether the user may choose nothing; otherwise the last layer that suits
        is chosen while there is none.
    suits : callable, optional
        Whether a layer may be chosen without asking; all by default.
    lists : callable, optional
        Whether a layer is offered at all; all of these types by default.
    """

    layer_changed = Signal()
    _LIST_EVENTS: ClassVar[tuple[str, ...]] = ("inserted", "removed", "reordered", "renamed")

    def __init__(
        self,
        viewer: ViewerModel,
        types: tuple[type[Layer], ...],
        *,
        empty: str,
        optional: bool = False,
        suits: Callable[[Layer], bool] | None = None,
        lists: Callable[[Layer], bool] | None = None,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._types = types
        self._empty = empty
        self._optional = optional
        self._suits = suits or (lambda layer: True)
        self._lists = lists or (lambda layer: True)
        self._layers: list[Layer | None] = []
        self._chosen: Layer | None = None
        _keep_narrow(self)
        self.activated.connect(self._choose)
        for name in self._LIST_EVENTS:
            getattr(viewer.layers.events, name).connect(self.refresh)
        self.refresh()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        return self._chosen

    @layer.setter
    def layer(self, layer: Layer | None) -> None:
        if layer is not self._chosen:
            self._chosen = layer
            self.refresh()
            self.layer_changed.emit()

    def refresh(self, event: object = None) -> None:
        """Read the layer list again, keeping the choice where it still exists."""
        known: list[Layer] = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, self._types)
            and not layer.metadata.get(HIDDEN_FROM_CHOICES)
            and self._lists(layer)
        ]
        chosen = self._chosen if self._chosen in known else None
        if chosen is None and not self._optional:
            chosen = next((layer for layer in reversed(known) if self._suits(layer)), None)
        self._layers = [*([None] if self._optional or chosen is None else []), *known]
        self.blockSignals(True)
        self.clear()
        self.addItems([self._empty if layer is None else layer.name for layer in self._layers])
        self.setCurrentIndex(self._layers.index(chosen))
        self.blockSignals(False)
        if chosen is not self._chosen:
            self._chosen = chosen
            self.layer_changed.emit()

    def reconsider(self) -> None:
        """Give up a visible layer that does not suit any more for one that does, or none."""
        before = self._chosen
        if before is None or (before.visible and not self._suits(before)):
            self._chosen = None
            self.refresh()
            if before is not None and self._chosen is None:
                self.layer_changed.emit()

    def disconnect_layers(self) -> None:
        """Stop following the layer list."""
        for name in self._LIST_EVENTS:
            getattr(self._viewer.layers.events, name).disconnect(self.refresh)
        self._layers, self._chosen = [], None

    def _choose(self, index: int) -> None:
        self.layer = self._layers[index]


def choice_box(choices: Mapping[Any, str], tip: str) -> ComboBox:
    """Make a combo box of `{value: text}`."""
    box = ComboBox(choices=[(text, value) for value, text in choices.items()], tooltip=tip)
    _keep_narrow(box.native)
    return box


def _keep_narrow(box: QComboBox) -> None:
    """Let no long entry, such as a layer's name, widen the dock."""
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(10)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
