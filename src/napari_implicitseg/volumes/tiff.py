"""TIFF: plain, ImageJ and OME, read lazily; labels written with their voxel size."""

from __future__ import annotations

import math
import re
import struct
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.volume import Axis, Volume, arrange, unit_name, unit_symbol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tifffile
    from numpy.typing import NDArray

    from napari_implicitseg._types import TimeChoice
    from napari_implicitseg.volumes.volume import Grid

__all__ = ["read_tiff", "write_tiff"]

_KIND = "TIFF"
_AXES = {
    "X": ("x", "space"),
    "Y": ("y", "space"),
    "Z": ("z", "space"),
    "C": ("c", "channel"),
    "S": ("c", "channel"),
    "T": ("t", "time"),
}
_BIG = 1 << 32
_MAX_TAGS = 4096
_MAX_OME = 2**32 - 1
_COLOURED = (2, 6)  # photometric interpretations RGB and YCbCr


class _NeedsCodec(Exception):
    """The file is packed in a way only an optional package can unpack."""


def read_tiff(
    path: Path,
    *,
    level: int = 0,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    labels: bool = False,
) -> Volume:
    """Read the first series of a TIFF file.

    Uncompressed data is mapped into memory, tiles, strips and pages are
    decoded when asked for. RGB samples are channels, transparency is left
    out, palettes become colours (for `labels` the indices stay).

    Parameters
    ----------
    path : Path
    level : int
        Level of a pyramid, 0 is full resolution.
    channel_axis : int, optional
    time : int or "all", optional
        See `napari_implicitseg.volumes.read_image`.
    labels : bool
        Whether the file holds labels.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If the file is damaged, cut off or packed with an unknown codec.
    """
    import tifffile

    try:
        file = tifffile.TiffFile(path)
    except DECODE_ERRORS as error:
        raise unreadable(path, error, _KIND) from error
    try:
        return _read(file, path, level, channel_axis, time, labels)
    except _NeedsCodec as error:
        file.close()
        return _read_with_pillow(path, str(error), channel_axis, labels)
    except (FileError, InputError):
        file.close()
        raise
    except DECODE_ERRORS as error:
        file.close()
        raise unreadable(path, error, _KIND) from error


def _read(
    file: tifffile.TiffFile,
    path: Path,
    level: int,
    channel_axis: int | None,
    time: TimeChoice,
    labels: bool,
) -> Volume:
    """Find the array, its axes and its scale in an open file."""
    _check_directories(file, path)
    if not file.series or math.prod(file.series[0].shape) == 0:
        raise FileError(f"'{path}' holds no image. Save it again, with at least one pixel.")
    series = file.series[0]
    if not 0 <= level < len(series.levels):
        count = len(series.levels)
        choice = "1 level only: choose 0" if count == 1 else f"{count}: choose 0 to {count - 1}"
        raise InputError(f"level is {level} but '{path}' has {choice}.")
    chosen = series.levels[level]
    page = chosen.keyframe
    _check_codec(page)
    _check_length(file, chosen, path)
    axes = _axes(file, chosen.axes, series.shape, chosen.shape)
    palette = page.colormap
    if palette is not None and not labels and not file.is_imagej:
        with file:
            colours = _apply_palette(chosen.asarray(), palette)
        axes = [*axes, Axis(name="c", kind="channel")]
        return arrange(colours, axes, path=path, kind=_KIND, channel_axis=channel_axis, time=time)
    source, keep_open = _source(file, chosen, path)
    volume = arrange(
        source,
        axes,
        path=path,
        kind=_KIND,
        channel_axis=channel_axis,
        time=time,
        channels=_opaque_samples(page, chosen.axes, chosen.shape),
        close=file.close if keep_open else None,
    )
    if not keep_open or isinstance(volume.data, np.ndarray):
        file.close()
    return volume


def _source(file: tifffile.TiffFile, chosen: Any, path: Path) -> tuple[Any, bool]:
    """Return an array read on demand, and whether it needs the file to stay open."""
    if chosen.dataoffset is not None:
        offset = int(chosen.dataoffset)
        dtype = np.dtype(file.byteorder + chosen.dtype.char)
        return np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=chosen.shape), False
    import zarr

    return zarr.open_array(chosen.aszarr(level=0), mode="r"), True


def _check_codec(page: Any) -> None:
    """Raise _NeedsCodec if tifffile alone cannot decode a page."""
    import tifffile

    try:
        if page.compression != 1:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        if page.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except (KeyError, ImportError) as error:
        name = getattr(page.compression, "name", str(page.compression))
        raise _NeedsCodec(name) from error


def _check_directories(file: tifffile.TiffFile, path: Path) -> None:
    """Raise a FileError if the chain of page directories leads out of the file.

    tifffile stops silently where the chain breaks and would return fewer pages.
    """
    if file.is_ndpi:
        return  # Its offsets have 64 bits in a 32-bit format.
    layout, handle = file.tiff, file.filehandle
    offset, seen = int(file.pages.first.offset), set[int]()
    while offset and offset not in seen:
        seen.add(offset)
        handle.seek(offset)
        head = handle.read(layout.tagnosize)
        count = struct.unpack(layout.tagnoformat, head)[0] if len(head) == layout.tagnosize else 0
        handle.seek(offset + layout.tagnosize + count * layout.tagsize)
        tail = handle.read(layout.offsetsize)
        if not 0 < count <= _MAX_TAGS or len(tail) < layout.offsetsize:
            raise FileError(
                f"'{path}' is cut off or damaged: it has {handle.size} bytes, page {len(seen)} "
                f"should be at byte {offset}. Copy or save it again."
            )
        offset = struct.unpack(layout.offsetformat, tail)[0]


def _check_length(file: tifffile.TiffFile, series: Any, path: Path) -> None:
    """Raise a FileError if the file ends before its data does."""
    size = file.filehandle.size
    if series.dataoffset is not None:
        ends = [series.dataoffset + series.nbytes]
    else:
        pages = [page for page in series.pages if page is not None]
        # Data lies in order in nearly every file: a missing end shows on the last page.
        ends = [
            offset + count
            for page in (pages[0], pages[-1])
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
        ]
    if ends and max(ends) > size:
        raise FileError(
            f"'{path}' is cut off: it has {size} bytes but its data goes up to {max(ends)}. "
            "Copy or save it again."
        )


def _opaque_samples(page: Any, axes: str, shape: tuple[int, ...]) -> int | None:
    """Return how many samples per pixel are colour, or None if all are."""
    if "S" not in axes:
        return None
    samples = int(shape[axes.index("S")])
    extra = tuple(getattr(page, "extrasamples", ()))
    colours = 3 if int(page.photometric) in _COLOURED else 1
    # Extra samples 1 and 2 are transparency; 0 is unspecified, but on RGB it is that too.
    is_alpha = len(extra) == 1 and (int(extra[0]) in (1, 2) or colours == 3)
    return samples - 1 if is_alpha and samples == colours + 1 else None


def _apply_palette(indices: NDArray[Any], colormap: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return RGB, channels last, of palette indices."""
    table = (colormap >> 8).astype(np.uint8)
    return np.stack([row[indices] for row in table], axis=-1)


def _axes(
    file: tifffile.TiffFile, letters: str, full: Sequence[int], shape: Sequence[int]
) -> list[Axis]:
    """Describe the axes of a series, with the voxel size where the file has one."""
    axes = [Axis(name=name, kind=kind) for name, kind in (_AXES.get(k, ("", "")) for k in letters)]
    sizes = _ome_scale(file) if file.is_ome else _imagej_scale(file) if file.is_imagej else {}
    for i, axis in enumerate(axes):
        if axis.name in sizes:
            scale, unit = sizes[axis.name]
            axes[i] = replace(axis, scale=scale * full[i] / shape[i], unit=unit)
    return axes


def _imagej_scale(file: tifffile.TiffFile) -> dict[str, tuple[float, str]]:
    """Return scale and unit per axis of an ImageJ file; empty if it is not calibrated."""
    info = file.imagej_metadata or {}
    unit = unit_name(_unescape(str(info.get("unit", ""))))
    if not unit:
        return {}
    sizes: dict[str, tuple[float, str]] = {}
    tags = file.pages.first.tags
    for name, tag in (("x", "XResolution"), ("y", "YResolution")):
        top, bottom = tags[tag].value if tag in tags else (0, 0)
        if top > 0 and bottom > 0:
            sizes[name] = (bottom / top, unit)
    spacing = info.get("spacing")
    if isinstance(spacing, int | float) and math.isfinite(spacing) and spacing != 0:
        sizes["z"] = (abs(float(spacing)), unit)
    return sizes


def _unescape(text: str) -> str:
    """Turn ImageJ's way of writing signs such as the micro sign into the signs."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)


def _escape(text: str) -> str:
    """Write signs that TIFF strings cannot hold as ImageJ does."""
    return "".join(sign if sign.isascii() else f"\\u{ord(sign):04X}" for sign in text)


def _ome_scale(file: tifffile.TiffFile) -> dict[str, tuple[float, str]]:
    """Return scale and unit per axis of an OME file."""
    try:
        root = ElementTree.fromstring(file.ome_metadata or "")
    except ElementTree.ParseError:
        return {}
    pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
    if pixels is None:
        return {}
    sizes: dict[str, tuple[float, str]] = {}
    for letter in "XYZ":
        try:
            size = float(pixels.get(f"PhysicalSize{letter}", "nan"))
        except ValueError:
            continue
        if math.isfinite(size) and size > 0:
            # The schema's default unit is the micrometre.
            sizes[letter.lower()] = (size, unit_name(pixels.get(f"PhysicalSize{letter}Unit", "µm")))
    return sizes


def _read_with_pillow(path: Path, codec: str, channel_axis: int | None, labels: bool) -> Volume:
    """Read a file tifffile has no codec for; libtiff has some, for single pages."""
    from napari_implicitseg.volumes.pictures import decode_picture

    try:
        data, axes = decode_picture(path, labels=labels, formats=("TIFF",))
    except FileError as error:
        raise FileError(
            f"'{path}' is packed with {codec}, which cannot be unpacked here. "
            "Install imagecodecs (pip install imagecodecs), or save it uncompressed."
        ) from error
    return arrange(data, axes, path=path, kind=_KIND, channel_axis=channel_axis)


def write_tiff(target: Path, labels: NDArray[Any], grid: Grid, *, ome: bool) -> None:
    """Write labels to a zlib-compressed TIFF file.

    Parameters
    ----------
    target : Path
        An existing file, overwritten.
    labels : ndarray of unsigned integers
    grid : Grid
        Voxel size and units go into the file, the position does not.
    ome : bool
        Write OME metadata; otherwise ImageJ's, which Fiji, ImageJ and
        tifffile understand.

    Raises
    ------
    FileError
        If OME metadata is wanted and an id does not fit into 32 bits.
    """
    import tifffile

    if ome and labels.dtype.itemsize > 4:  # OME knows no 64-bit integers.
        largest = int(labels.max(initial=0))
        if largest > _MAX_OME:
            raise FileError(
                f"OME-TIFF holds ids up to {_MAX_OME} but the labels go up to {largest}. "
                "Write them to .tif or .zarr."
            )
        labels = labels.astype(np.uint32)

    axes = "".join(name.upper() for name in grid.axes)
    if set(axes) - set("TZYX") or len(axes) != labels.ndim:
        axes = "TZYX"[-labels.ndim :]
    options = _ome_options(axes, grid) if ome else _imagej_options(axes, labels.shape, grid)
    tifffile.imwrite(
        target,
        labels,
        bigtiff=labels.nbytes >= _BIG,
        photometric="minisblack",
        compression="zlib",
        **options,
    )


def _ome_options(axes: str, grid: Grid) -> dict[str, Any]:
    """Return the arguments of imwrite that carry OME metadata."""
    metadata: dict[str, Any] = {"axes": axes}
    for letter, scale, unit in zip(axes, grid.scale, grid.units, strict=True):
        if unit and letter in "XYZ":
            metadata[f"PhysicalSize{letter}"] = scale
            metadata[f"PhysicalSize{letter}Unit"] = unit_symbol(unit)
    return {"ome": True, "metadata": metadata}


def _imagej_options(axes: str, shape: tuple[int, ...], grid: Grid) -> dict[str, Any]:
    """Return the arguments of imwrite that carry ImageJ metadata.

    tifffile's own ImageJ mode has no 32-bit integers, so the description is
    made here; ImageJ and tifffile read it for any type of pixel.
    """
    import tifffile

    spacing = grid.spacing or (1.0,) * grid.ndim
    info: dict[str, Any] = {"unit": _escape(unit_symbol(grid.unit)) or "pixel"}
    if "Z" in axes:
        info["spacing"] = spacing[axes.index("Z")]
    description = tifffile.imagej_description(shape, axes=axes, **info)
    return {
        "metadata": None,
        "description": description,
        "resolution": (1 / spacing[-1], 1 / spacing[-2]),
        "resolutionunit": "NONE",
    }
