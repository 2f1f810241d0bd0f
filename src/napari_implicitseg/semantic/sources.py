"""Images and masks of classes: paired by name in folders, read, and made alike in channels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.semantic.pairing import (
    counted,
    image_files,
    images_without_masks,
    pair_files,
)
from napari_implicitseg.semantic.reading import (
    ReadPair,
    is_path,
    name_of,
    read_pair,
    volume_with_channels,
)
from napari_implicitseg.training.array_cache import KEPT_BYTES, ArrayCache
from napari_implicitseg.training.semantic_split import list_some
from napari_implicitseg.volumes.ome_zarr import is_zarr
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = [
    "Opened",
    "image_files",
    "images_without_masks",
    "open_pairs",
    "pair_files",
]

_COLOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Images with their masks.

    Attributes
    ----------
    volumes : tuple of TrainingVolume
        Raw (C, *S), masks (*S) with the values of their files.
    colours : bool
        Whether values are packed colours.
    skipped : tuple of str
        Files that could not be read.
    unit : str
        Of the pixel size; "" if unknown.
    names : tuple of str
        Of all images there are, with those that were skipped or not chosen.
    """

    volumes: tuple[TrainingVolume, ...]
    colours: bool
    skipped: tuple[str, ...]
    unit: str
    names: tuple[str, ...]


def open_pairs(
    images: Any,
    masks: Any,
    *,
    colours: bool = False,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    channels: int | None = None,
    keep: int = KEPT_BYTES,
    chosen: Callable[[Sequence[str]], Collection[str]] | None = None,
    values: Collection[int] | None = None,
    progress: Progress | None = None,
) -> Opened:
    """Read images and masks, wherever they are.

    All files are read once, to see which cannot be, and to count the values of masks. They stay
    in memory as far as there is room; others are read again when they are asked for.

    Parameters
    ----------
    images, masks : array, path, or a sequence of these
        Two folders, or one given twice, hold pairs by name.
    colours : bool
        Read masks as colours where they are palettes or grey, as all are where one is coloured.
    spacing : sequence of float, optional
        Pixel size; by default what the files say.
    channel_axis : int, optional
        Of arrays; by default the axis that the mask does not have.
    channels : int, optional
        That images must have; by default what most have.
    keep : int
        Bytes of images and masks of files that stay in memory.
    chosen : callable, optional
        Called with the names of all images, says which are read; by default all are.
    values : collection of int, optional
        What is counted of the values of masks; by default all, of up to 258.
    progress : callable, optional
        Called as ``progress(0.0, message)`` for each image; may raise `Cancelled`.

    Warns
    -----
    UserWarning
        If files cannot be read, with their count and names, or have no partner.

    Raises
    ------
    InputError
        If an image and its mask differ in shape, or channels do not fit.
    FileError
        If no file can be read.
    """
    pairs = _as_pairs(images, masks)
    names = [name_of(image, number, len(pairs)) for number, (image, _) in enumerate(pairs, 1)]
    to_read = set(names if chosen is None else chosen(names))
    wanted = [(name, *pair) for name, pair in zip(names, pairs, strict=True) if name in to_read]
    cache = ArrayCache(keep)
    read: list[ReadPair] = []
    failed: list[tuple[str, FileError]] = []
    for number, (name, image, mask) in enumerate(wanted, start=1):
        if progress is not None:
            progress(0.0, f"Looking at image {number} of {len(wanted)}")
        try:
            pair = read_pair(
                image,
                mask,
                name,
                cache,
                colours=colours,
                spacing=spacing,
                channel_axis=channel_axis,
                channels=channels,
                values=values,
            )
        except FileError as error:
            failed.append((name, error))
            continue
        read.append(pair)
    if failed:
        _tell_of_skipped(failed, len(wanted))
    if in_colours := any(pair.colours for pair in read):
        read = [pair.in_colours(cache, values) for pair in read]
    volumes = [pair.volume for pair in read]
    if channels is None and volumes:
        usual = _usual_channels(volumes)
        volumes = [volume_with_channels(volume, usual) for volume in volumes]
    return Opened(
        volumes=tuple(volumes),
        colours=in_colours,
        skipped=tuple(name for name, _ in failed),
        unit=next((pair.unit for pair in read if pair.unit), ""),
        names=tuple(names),
    )


def _tell_of_skipped(failed: Sequence[tuple[str, FileError]], count: int) -> None:
    """Name files that cannot be read, or raise if there is no other."""
    if len(failed) == count:
        raise failed[0][1]
    told = list_some([" ".join(str(error).split()) for _, error in failed])
    are, theirs = ("is", "it or its mask") if len(failed) == 1 else ("are", "they or their masks")
    warnings.warn(
        f"{len(failed)} of {count} images {are} skipped, as {theirs} cannot be read: {told}",
        stacklevel=4,
    )


def _as_pairs(images: Any, masks: Any) -> list[tuple[Any, Any]]:
    """List images with their masks."""
    if _is_folder(images) and _is_folder(masks):
        return list(pair_files(Path(images), Path(masks)))
    if _is_folder(images) != _is_folder(masks) and (is_path(images) and is_path(masks)):
        raise InputError(
            f"'{images}' and '{masks}' are a folder and a file. Give two folders, or two files."
        )
    ours, theirs = _listed(images), _listed(masks)
    if len(ours) != len(theirs):
        raise InputError(
            f"There {counted(len(ours), 'image')} but {len(theirs)} "
            f"mask{'' if len(theirs) == 1 else 's'}. Give one mask for each image."
        )
    if not ours:
        raise InputError("There are no images. Give at least one with its mask.")
    return list(zip(ours, theirs, strict=True))


def _listed(value: Any) -> list[Any]:
    """Return one image, or several, as a list."""
    if is_path(value) or hasattr(value, "shape"):
        return [value]
    if not isinstance(value, list | tuple):
        raise InputError(
            f"Images or masks are {type(value).__name__}; give an array, a path, or a list of "
            "these."
        )
    return list(value)


def _is_folder(value: Any) -> bool:
    """Whether this is a folder of files, and no image itself."""
    if not is_path(value) or is_url(value):
        return False
    return Path(value).is_dir() and not is_zarr(Path(value))


def _usual_channels(volumes: Sequence[TrainingVolume]) -> int:
    """How many channels most images have; grey among colours become colours."""
    counts = [volume.channels for volume in volumes]
    if _COLOURS in counts:
        return _COLOURS
    return max(counts, key=counts.count)
