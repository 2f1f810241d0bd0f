"""Images and masks of classes: paired by name in folders, read, and made alike in channels."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.channels import channels_before, with_channels
from napari_implicitseg.models.class_values import packed_colours
from napari_implicitseg.training.arrays import as_array
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_examples import list_some
from napari_implicitseg.volumes.files import open_volume, place_of, read_image, read_labels
from napari_implicitseg.volumes.ome_zarr import is_zarr
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Opened", "image_files", "images_without_masks", "open_pairs", "pair_files"]

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".h5", ".hdf5", ".zarr")
_MASK = r"[-_. ](mask|masks|label|labels|truth|gt|seg|segmentation|annotation|annotations|classes)"
_IMAGE = r"[-_. ](image|img|raw|em)"
_ALPHA, _COLOURS = 4, 3


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
    """

    volumes: tuple[TrainingVolume, ...]
    colours: bool
    skipped: tuple[str, ...]
    unit: str


def open_pairs(
    images: Any,
    masks: Any,
    *,
    colours: bool = False,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    channels: int | None = None,
) -> Opened:
    """Read images and masks, wherever they are.

    Parameters
    ----------
    images, masks : array, path, or a sequence of these
        Two folders, or one given twice, hold pairs by name.
    colours : bool
        Read masks as colours where they are palettes.
    spacing : sequence of float, optional
        Pixel size; by default what the files say.
    channel_axis : int, optional
        Of arrays; by default the axis that the mask does not have.
    channels : int, optional
        That images must have; by default what most have.

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
    listed = _as_pairs(images, masks)
    read: list[TrainingVolume] = []
    units: list[str] = []
    failed: list[tuple[str, FileError]] = []
    coloured = False
    for number, (image, mask) in enumerate(listed, start=1):
        name = f"'{image}'" if _is_path(image) else _numbered(number, len(listed))
        try:
            labels, packed = _mask(mask, name, colours=colours)
            volume, unit = _pair(image, labels, name, spacing, channel_axis)
        except FileError as error:
            failed.append((name, error))
            continue
        read.append(volume)
        units.append(unit)
        coloured = coloured or packed
    if failed:
        if not read:
            raise failed[0][1]
        told = list_some([" ".join(str(error).split()) for _, error in failed])
        warnings.warn(
            f"{len(failed)} of {len(listed)} images are skipped, as they or their masks cannot be "
            f"read: {told}",
            stacklevel=3,
        )
    wanted = channels or _usual_channels(read)
    alike = tuple(replace(v, raw=with_channels(v.raw, wanted, f"image {v.name}")) for v in read)
    return Opened(
        volumes=alike,
        colours=coloured,
        skipped=tuple(name for name, _ in failed),
        unit=next((unit for unit in units if unit), ""),
    )


def image_files(folder: Path) -> list[Path]:
    """List the images of a folder, and the OME-Zarrs, by name.

    Raises
    ------
    FileError
        If there is none.
    """
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _EXTENSIONS and not path.name.startswith(".")
    )
    if not found:
        raise FileError(
            f"The folder '{folder}' holds no images; needed are files that end in "
            f"{', '.join(_EXTENSIONS)}. Check the path."
        )
    return found


def images_without_masks(folder: Path) -> list[Path]:
    """List the images of a folder, but not masks that lie beside their images.

    Warns
    -----
    UserWarning
        If there are such masks.

    Raises
    ------
    FileError
        If there is no image.
    """
    found = image_files(folder)
    stems = {re.sub(f"{_IMAGE}$", "", path.stem, flags=re.IGNORECASE) for path in found}
    ends = re.compile(f"{_MASK}$", re.IGNORECASE)
    masks = [p.name for p in found if ends.search(p.stem) and ends.sub("", p.stem) in stems]
    if masks:
        warnings.warn(
            f"{len(masks)} files are masks of others by their names and left out: "
            f"{list_some(masks)}.",
            stacklevel=2,
        )
    return [path for path in found if path.name not in masks]


def pair_files(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pair the files of two folders, or of one, by name.

    A mask has the stem of its image, alone or with more after it: NAME_mask, NAME_label,
    NAME_truth and the like first, else any one NAME_....

    Warns
    -----
    UserWarning
        If files are left over.

    Raises
    ------
    FileError
        If there is no pair.
    """
    first, second = image_files(images), image_files(masks)
    same = images.resolve() == masks.resolve()
    if same:
        second = [path for path in second if not path.stem.endswith(("_image", "_img", "_raw"))]
    pairs: list[tuple[Path, Path]] = []
    left = set(second)
    for path in sorted(first, key=lambda p: -len(p.stem)):
        mask = _mask_of(path, left - {path}, same=same)
        if mask is not None:
            pairs.append((path, mask))
            left -= {mask}
    pairs.sort()
    if not pairs:
        raise FileError(
            f"No image of '{images}' has a mask in '{masks}': there are {first[0].name} and "
            f"{second[0].name if second else 'none'}. Name masks like their images, such as "
            "cell1.png and cell1_mask.png."
        )
    used = {path for pair in pairs for path in pair}
    alone = [path.name for path in first if path not in used]
    spare = [path.name for path in second if path not in used and path.name not in alone]
    for names, what in ((alone, "images have no mask"), (spare, "masks have no image")):
        if names:
            warnings.warn(
                f"{len(names)} {what} and are left out: {list_some(names)}.", stacklevel=2
            )
    return pairs


def _mask_of(image: Path, masks: set[Path], *, same: bool) -> Path | None:
    """Find the mask of an image by its name."""
    base = re.sub(f"{_IMAGE}$", "", image.stem, flags=re.IGNORECASE)
    named = re.compile(f"{re.escape(base)}({_MASK})", re.IGNORECASE)
    exact = [m for m in masks if named.fullmatch(m.stem)]
    if not exact and not same:
        exact = [m for m in masks if m.stem in (image.stem, base)]
    if not exact and not re.search(f"{_MASK}$", image.stem, re.IGNORECASE):
        longer = re.compile(f"{re.escape(base)}[-_. ].+")
        exact = [m for m in masks if longer.fullmatch(m.stem)]
    return exact[0] if len(exact) == 1 else None


def _as_pairs(images: Any, masks: Any) -> list[tuple[Any, Any]]:
    """List images with their masks."""
    if _is_folder(images) and _is_folder(masks):
        return list(pair_files(Path(images), Path(masks)))
    if _is_folder(images) != _is_folder(masks) and (_is_path(images) and _is_path(masks)):
        raise InputError(
            f"'{images}' and '{masks}' are a folder and a file. Give two folders, or two files."
        )
    ours, theirs = _listed(images), _listed(masks)
    if len(ours) != len(theirs):
        raise InputError(
            f"There are {len(ours)} images but {len(theirs)} masks. Give one mask for each image."
        )
    if not ours:
        raise InputError("There are no images. Give at least one with its mask.")
    return list(zip(ours, theirs, strict=True))


def _listed(value: Any) -> list[Any]:
    """Return one image, or several, as a list."""
    if _is_path(value) or hasattr(value, "shape"):
        return [value]
    if not isinstance(value, list | tuple):
        raise InputError(
            f"Images or masks are {type(value).__name__}; give an array, a path, or a list of "
            "these."
        )
    return list(value)


def _is_path(value: Any) -> bool:
    """Whether this is the name of a file."""
    return isinstance(value, str | os.PathLike)


def _is_folder(value: Any) -> bool:
    """Whether this is a folder of files, and no image itself."""
    if not _is_path(value) or is_url(value):
        return False
    return Path(value).is_dir() and not is_zarr(Path(value))


def _numbered(number: int, count: int) -> str:
    """Name an array in messages."""
    return "the image" if count == 1 else f"image {number}"


def _mask(mask: Any, name: str, *, colours: bool) -> tuple[Any, bool]:
    """Read a mask: one number per pixel; also say whether it is a packed colour."""
    if not _is_path(mask):
        values = as_array(mask, f"mask of {name}")
        is_coloured = len(values.shape) == 3 and int(values.shape[-1]) in (_COLOURS, _ALPHA)
        return (_packed(values, -1), True) if colours and is_coloured else (values, False)
    volume = open_volume(place_of(mask), name="mask", labels=not colours)
    axis = volume.channel_axis
    if axis is None or volume.shape[axis] not in (_COLOURS, _ALPHA):
        return _plain(mask, colours)
    data = np.asarray(volume.data)
    first = np.take(data, [0], axis)
    if not colours and all(
        np.array_equal(first, np.take(data, [i], axis)) for i in range(1, _COLOURS)
    ):
        return np.squeeze(first, axis), False
    return _packed(data, axis), True


def _plain(mask: Any, colours: bool) -> tuple[Any, bool]:
    """Read a mask without colours; grey levels as packed colours where those are wanted."""
    data = read_labels(mask, name="mask").data
    if not colours:
        return data, False
    grey = np.asarray(data)
    return packed_colours(np.stack([grey] * _COLOURS, axis=-1)), True


def _packed(data: Any, axis: int) -> Any:
    """Return colours as one number per pixel."""
    return packed_colours(np.moveaxis(np.asarray(data), axis, -1)[..., :_COLOURS])


def _pair(
    image: Any,
    labels: Any,
    name: str,
    spacing: Sequence[float] | None,
    channel_axis: int | None,
) -> tuple[TrainingVolume, str]:
    """Read an image whose mask is known; also return the unit of its pixels."""
    size, unit = None, ""
    if _is_path(image):
        volume = read_image(image)
        raw = volume.data
        axis = volume.channel_axis if channel_axis is None else channel_axis
        grid = volume.grid(volume.channel_axis)
        unit = grid.units[-1] if grid.units else ""
        size = grid.spacing
    else:
        raw, axis = as_array(image, name), channel_axis
    shape = tuple(int(n) for n in labels.shape)
    axis = _channel_axis(tuple(int(n) for n in raw.shape), shape, axis, name)
    last = axis is not None and axis % len(raw.shape) == len(raw.shape) - 1
    raw = channels_before(raw, axis)
    if last and int(raw.shape[0]) == _ALPHA and raw.dtype == np.uint8:
        raw = raw[:_COLOURS]  # Transparency.
    if 0 in raw.shape:
        raise InputError(f"{name} is empty: its shape is {tuple(raw.shape)}.")
    if spacing is not None:
        size = tuple(float(s) for s in spacing)
    if size is not None and len(size) != len(shape):
        size = size[-len(shape) :] if len(size) > len(shape) else None
    return TrainingVolume(raw=raw, labels=labels, spacing=size, name=name), unit


def _channel_axis(
    image: tuple[int, ...], mask: tuple[int, ...], axis: int | None, name: str
) -> int | None:
    """Find which axis of an image its mask does not have."""
    if len(mask) not in (2, 3):
        raise InputError(
            f"The mask of {name} has {len(mask)} axes, shape {mask}; needed are 2 or 3. Give one "
            "image or one volume at a time."
        )
    if image == mask:
        return None
    tried = range(len(image) - 1, -1, -1) if axis is None else [axis % len(image)]
    for one in tried:
        if image[:one] + image[one + 1 :] == mask:
            return one
    raise InputError(
        f"The mask of {name} has shape {mask} but the image {image}. Both need the same size; "
        "crop or resample one of them."
    )


def _usual_channels(volumes: Sequence[TrainingVolume]) -> int:
    """How many channels most images have; grey among colours become colours."""
    counts = [volume.channels for volume in volumes]
    if _COLOURS in counts:
        return _COLOURS
    return max(counts, key=counts.count)
