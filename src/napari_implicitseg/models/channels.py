"""Images with grey levels or colours, as a network with some channels takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import channel_first, colours_last, with_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["channels_before", "find_channels", "in_sentence", "with_channels"]

_COLOURS, _WITH_ALPHA = 3, 4


def find_channels(shape: Sequence[int], channels: int, ndim: int) -> int | None:
    """Guess which axis of an image holds channels.

    Parameters
    ----------
    shape : sequence of int
    channels : int
        What the network takes.
    ndim : {2, 3}
        Axes of space of the network; one of 2 takes stacks as well.

    Returns
    -------
    int or None
        None if all axes are of space.
    """
    axes = len(shape)
    if axes == ndim or (channels == 1 and axes == 3 and int(shape[-1]) not in (_COLOURS, 4)):
        return None
    fitting = {channels, _WITH_ALPHA} if channels == _COLOURS else {channels}
    for axis in (axes - 1, 0):
        if int(shape[axis]) in fitting:
            return axis
    if channels == 1 and int(shape[-1]) in (_COLOURS, _WITH_ALPHA) and axes == ndim + 1:
        return axes - 1
    if colours_last(shape) or int(shape[-1]) == 1:
        return axes - 1
    # A stack of grey sections, for a network of two axes that takes colours.
    if axes == 3 and ndim == 2 and min(shape) > _WITH_ALPHA:
        return None
    return 0 if int(shape[0]) <= int(shape[-1]) else axes - 1


def channels_before(image: Any, axis: int | None) -> Any:
    """Return an image as (C, *S); a lazy one stays lazy."""
    return with_channel(image) if axis is None else channel_first(image, axis)


def with_channels(raw: Any, wanted: int, name: str) -> Any:
    """Return an image (C, *S) with the channels that are wanted.

    Transparency is dropped, grey repeated to be a colour, colours that are grey taken for it.

    Raises
    ------
    InputError
        If the channels do not fit.
    """
    count = int(raw.shape[0])
    if count == wanted:
        return raw
    if count == _WITH_ALPHA and wanted == _COLOURS:
        return np.asarray(raw[:wanted])
    if wanted == _COLOURS and count == 1:
        return np.repeat(np.asarray(raw[:1]), _COLOURS, axis=0)
    if wanted == 1 and count in (_COLOURS, _WITH_ALPHA):
        first, *others = np.asarray(raw[:_COLOURS])
        if all(np.array_equal(first, other) for other in others):
            return first[None]
    has, needed = f"{count} channel{'' if count == 1 else 's'}", "is" if wanted == 1 else "are"
    raise InputError(
        f"The {name} has {has}; needed {needed} {wanted}. Give all images the same channels, or "
        "use a model that was trained on such images."
    )


def in_sentence(name: str) -> str:
    """Return what to write for an image after "The": a file is an image, too."""
    return f"image {name}" if name.startswith("'") else name.removeprefix("the ")
