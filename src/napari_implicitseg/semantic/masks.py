"""Masks of classes in files and arrays: numbers, palettes and colours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.class_values import TRANSPARENT, check_whole, packed_colours
from napari_implicitseg.models.volume_checks import colours_last
from napari_implicitseg.training.arrays import as_array
from napari_implicitseg.volumes.files import open_volume, place_of, read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MaskFile", "check_no_colours", "decoded", "mask_array"]

_ALPHA, _COLOURS = 4, 3
_LOSSY = (".jpg", ".jpeg")
# Files of these are decoded as a whole, however large they are.
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_WHITE = 255


@dataclass(slots=True)
class MaskFile:
    """A mask in a file.

    Attributes
    ----------
    path : path
    colours : bool
        Whether all masks of its set are colours: grey and palettes are read as such, then.
    is_packed : bool
        Whether its values are packed colours, once it was read.
    """

    path: Any
    colours: bool
    is_packed: bool = False

    def read(self) -> Any:
        """Read or open it: one number per pixel."""
        place = place_of(self.path)
        volume = open_volume(place, name="mask", labels=not self.colours)
        axis = volume.channel_axis
        if axis is not None and volume.shape[axis] in (_COLOURS, _ALPHA):
            data = np.asarray(volume.data)
            first, *others = (np.take(data, i, axis) for i in range(_COLOURS))
            if not self.colours and all(np.array_equal(first, other) for other in others):
                return first
            self.is_packed = True
            packed = packed_array(data, axis, f"mask '{place}'")
            transparent = _transparent(place)
            if transparent is not None and transparent.shape == packed.shape:
                packed[transparent] = TRANSPARENT
            return packed
        is_read = axis is None and not self.colours and volume.data.dtype.kind in "iub"
        if not is_read or Path(place).suffix.lower() in _LOSSY:
            volume = read_labels(self.path, name="mask")
        if not self.colours:
            return decoded(volume.data, self.path)
        self.is_packed = True
        if volume.data.dtype.kind != "b" and volume.data.dtype.itemsize > 1:
            return decoded(volume.data, self.path)  # Packed already, as predictions are written.
        grey = np.asarray(volume.data)
        grey = grey * np.uint8(_WHITE) if grey.dtype.kind == "b" else grey
        return packed_colours(np.stack([grey] * _COLOURS, axis=-1))


def mask_array(mask: Any, name: str, *, colours: bool) -> tuple[Any, bool]:
    """Return a mask in an array, one number per pixel, and whether that is a packed colour."""
    values = as_array(mask, f"mask of {name}")
    is_coloured = len(values.shape) == 3 and int(values.shape[-1]) in (_COLOURS, _ALPHA)
    if colours and is_coloured:
        return packed_array(values, -1, f"mask of {name}"), True
    return values, False


def check_no_colours(image: Sequence[int], mask: Sequence[int], name: str) -> None:
    """Refuse a mask that looks like colours, by its shape and that of its image.

    Raises
    ------
    InputError
        If it has an axis of 3 or 4 after much longer ones.
    """
    if colours_last(mask) and len(mask) == _COLOURS and tuple(mask[:2]) in (image[:2], image[1:]):
        raise InputError(
            f"The mask of {name} has shape {tuple(mask)}, which looks like {mask[-1]} colours "
            "along the last axis. If they are colours, say colours=True in the SemanticConfig; "
            f"otherwise give one number per pixel, shape {tuple(mask[:2])}. Of a volume give "
            "image[None]."
        )


def decoded(data: Any, path: Any) -> Any:
    """Return the array of a picture, which is in memory, also of a large one."""
    is_picture = Path(place_of(path)).suffix.lower() in _PICTURES
    return np.asarray(data) if is_picture else data


def packed_array(data: Any, axis: int, name: str) -> NDArray[np.int64]:
    """Return colours as one number per pixel."""
    check_whole(data, name)
    return packed_colours(np.moveaxis(np.asarray(data), axis, -1))


def _transparent(path: Path | str) -> NDArray[np.bool_] | None:
    """Where a picture is transparent, or None if it cannot be."""
    if isinstance(path, str) or path.suffix.lower() not in _PICTURES:
        return None
    from PIL import Image

    with Image.open(path) as picture:
        if not picture.has_transparency_data:
            return None
        opacity = np.asarray(picture.convert("RGBA"))[..., -1]
    empty: NDArray[np.bool_] = opacity == 0
    return empty
