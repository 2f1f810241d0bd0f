"""Keys of the neurons widget: on the viewer, and on the layer of the neurons itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils.key_bindings import coerce_keybinding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["NeuronsKeys"]


class NeuronsKeys:
    """Keys that mean the same wherever the user does not paint.

    A layer's keys come before the viewer's: so keys such as M, F and Ctrl+Z keep the meaning
    that napari gives them in all Labels layers, but for the one of the neurons, which is not
    painted in.

    Parameters
    ----------
    viewer : ViewerModel
    actions : mapping of str to callable
        What each key does.
    """

    def __init__(self, viewer: ViewerModel, actions: Mapping[str, Callable[[], None]]) -> None:
        self._viewer = viewer
        self._calls = {key: _call(action) for key, action in actions.items()}
        self._layer: Layer | None = None

    def bind(self) -> tuple[str, ...]:
        """Bind the keys that are free on the viewer; return those that are not."""
        taken = []
        for key, call in self._calls.items():
            if _is_bound(self._viewer, key):
                taken.append(key)
            else:
                self._viewer.bind_key(key, call)
        return tuple(taken)

    def bind_layer(self, layer: Layer | None) -> None:
        """Bind all keys on a layer, and no longer on the one before."""
        if layer is self._layer:
            return
        _unbind(self._layer, self._calls)
        self._layer = layer
        if layer is not None:
            for key, call in self._calls.items():
                layer.bind_key(key, call, overwrite=True)

    def release(self) -> None:
        """Unbind what was bound, unless someone else has bound it since."""
        self.bind_layer(None)
        _unbind(self._viewer, self._calls)


def _call(action: Callable[[], None]) -> Callable[[Any], None]:
    """Make a function that napari can call with a layer or a viewer."""

    def call(_owner: object) -> None:
        action()

    return call


def _is_bound(owner: Any, key: str) -> bool:
    """Whether a viewer uses a key, itself or by its class."""
    binding = coerce_keybinding(key)
    maps = [vars(kind).get("class_keymap", {}) for kind in type(owner).__mro__]
    return any(binding in keymap for keymap in (owner.keymap, *maps))


def _unbind(owner: Any, calls: Mapping[str, Callable[[Any], None]]) -> None:
    """Unbind keys of a viewer or a layer that still mean these calls."""
    for key, call in calls.items() if owner is not None else ():
        if owner.keymap.get(coerce_keybinding(key)) is call:
            owner.bind_key(key, None)
