"""Clicks on a layer of neurons: presses that are no drags, where nobody paints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.widgets._neurons_edits import clicked_voxel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels

__all__ = ["Clicks"]

_TREMBLE = 3
"""Pixels of the screen that a hand moves without meaning to."""


class Clicks:
    """Tells of clicks on a layer.

    Parameters
    ----------
    viewer : ViewerModel
    layer : callable
        Returns the layer, or None.
    clicked : callable
        Called with the voxel.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        layer: Callable[[], Labels | None],
        clicked: Callable[[tuple[int, ...]], None],
    ) -> None:
        self._viewer = viewer
        self._layer = layer
        self._clicked = clicked
        self._watching = False

    def watch(self) -> None:
        """Listen to the mouse."""
        if not self._watching:
            self._viewer.mouse_drag_callbacks.append(self._on_drag)
            self._watching = True

    def unwatch(self) -> None:
        """Listen no longer."""
        if self._watching:
            self._viewer.mouse_drag_callbacks.remove(self._on_drag)
            self._watching = False

    def _on_drag(self, viewer: object, event: Any) -> Iterator[None]:
        """Take a press that is no drag for a click."""
        active = self._viewer.layers.selection.active
        painting = active is not None and str(getattr(active, "mode", "")) != "pan_zoom"
        if event.button != 1 or event.modifiers or painting:
            return
        yield
        while event.type == "mouse_move":
            if event.is_dragging and _moved(event):
                return
            yield
        layer = self._layer()
        if layer is None or not layer.visible:
            return
        voxel = clicked_voxel(layer, event)
        if voxel is not None:
            self._clicked(voxel)


def _moved(event: Any) -> bool:
    """Whether a move is a real one; hands tremble."""
    press = getattr(event, "press_event", None)
    if press is None:
        return True
    return bool(np.linalg.norm(np.subtract(event.pos, press.pos)) > _TREMBLE)
