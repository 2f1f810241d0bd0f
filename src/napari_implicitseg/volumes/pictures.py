"""PNG, JPEG and BMP through Pillow."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.volume import Axis, Volume, arrange

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["PNG_MAX", "decode_picture", "read_picture", "write_png"]

PNG_MAX = np.iinfo(np.uint16).max
"""Largest id a PNG can hold."""

# Files often have the wrong one of these extensions, so the content decides.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "AVIF")
_GREY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}


def read_picture(path: Path, *, channel_axis: int | None = None, labels: bool = False) -> Volume:
    """Read a PNG, JPEG or BMP file.

    Colours become channels last, palettes become colours (for `labels` the
    indices stay), transparency is left out. Resolutions in dots per inch are
    no voxel size and are ignored.

    Parameters
    ----------
    path : Path
    channel_axis : int, optional
        Which axis holds channels.
    labels : bool
        Whether the file holds labels: one integer per pixel.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If the file is damaged, cut off or no such picture.
    """
    data, axes = decode_picture(path, labels=labels, formats=_FORMATS)
    return arrange(data, axes, path=path, kind="picture", channel_axis=channel_axis)


def decode_picture(
    path: Path, *, labels: bool, formats: tuple[str, ...]
) -> tuple[NDArray[Any], list[Axis]]:
    """Decode the first frame of a picture of one of Pillow's formats."""
    from PIL import Image

    _expect_large_pictures()
    try:
        with Image.open(path, formats=formats) as picture:
            data = _pixels(picture, labels=labels)
    except Image.DecompressionBombError as error:
        raise FileError(
            f"'{path}' has too many pixels for a picture file. Save it as TIFF or OME-Zarr."
        ) from error
    except DECODE_ERRORS as error:
        raise unreadable(path, error, "a picture") from error
    names = (("y", "space"), ("x", "space"), ("c", "channel"))
    return data, [Axis(name=name, kind=kind) for name, kind in names[: data.ndim]]


def _expect_large_pictures() -> None:
    """Have Pillow not warn of large pictures as if they were attacks.

    For good: `catch_warnings` would change the filters of other threads, too.
    """
    from PIL import Image

    bomb = Image.DecompressionBombWarning
    if not any(kind is bomb for _, _, kind, _, _ in warnings.filters):
        warnings.simplefilter("ignore", bomb)


def _pixels(picture: Image.Image, *, labels: bool) -> NDArray[Any]:
    """Return grey levels (y, x), indices (y, x) or colours (y, x, c)."""
    mode = picture.mode
    if mode in _GREY:
        return np.asarray(picture)
    if mode == "P" and labels:
        return np.asarray(picture)
    if mode in ("LA", "La"):
        return np.asarray(picture)[..., 0]
    return np.asarray(picture if mode == "RGB" else picture.convert("RGB"))


def write_png(target: Path, labels: NDArray[Any]) -> None:
    """Write a 2D label image as a 16-bit grey PNG.

    Parameters
    ----------
    target : Path
        An existing file, overwritten.
    labels : ndarray of unsigned integers, shape (y, x)

    Raises
    ------
    FileError
        If there are more than two axes or ids above `PNG_MAX`.
    """
    from PIL import Image

    if labels.ndim != 2:
        raise FileError(
            f"A PNG holds 2 axes but the labels have {labels.ndim}: {labels.shape}. "
            "Write them to .tif or .zarr."
        )
    largest = int(labels.max(initial=0))
    if largest > PNG_MAX:
        raise FileError(
            f"A PNG holds ids up to {PNG_MAX} but the labels go up to {largest}. "
            "Write them to .tif or .zarr."
        )
    with target.open("wb") as handle:
        Image.fromarray(labels.astype(np.uint16)).save(handle, format="PNG")
