"""The link from a layer of neurons to the panel that cuts and corrects it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_implicitseg.hierarchy.proofreading import Proofreading

__all__ = ["NeuronsLink", "link_of"]

_KEY = "napari-implicitseg neurons link"


class NeuronsLink:
    """Lets another panel read what a layer of neurons is cut from, and move it.

    Parameters
    ----------
    work : callable
        Returns the proofreading as it is now, or None.
    move : callable
        Cuts at another threshold and moves the slider there.
    select : callable
        Makes the neuron at a voxel the current one.
    """

    def __init__(
        self,
        work: Callable[[], Proofreading | None],
        move: Callable[[float], None],
        select: Callable[[tuple[int, ...]], None],
    ) -> None:
        self.work = work
        self.move = move
        self.select = select

    def attach(self, layer: Layer) -> None:
        """Be the link of a layer."""
        layer.metadata[_KEY] = self

    def detach(self, layer: Layer) -> None:
        """Be it no longer."""
        if layer.metadata.get(_KEY) is self:
            del layer.metadata[_KEY]

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Give a duplicate of the layer no link: the panel does not cut it."""


def link_of(layer: Layer | None) -> NeuronsLink | None:
    """Return the link of a layer; None if no panel cuts it."""
    link = None if layer is None else layer.metadata.get(_KEY)
    return link if isinstance(link, NeuronsLink) else None
