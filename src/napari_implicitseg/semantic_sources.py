"""Images and masks of classes: paired by name in folders, read, and made alike in channels."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.semantic_reading import (
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
    from collections.abc import Callable, Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = [
    "Opened",
    "image_files",
    "images_without_masks",
    "open_pairs",
    "pair_files",
    "told_name",
]

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".h5", ".hdf5", ".zarr")
_MASK = r"[-_. ](mask|masks|label|labels|truth|gt|seg|segmentation|annotation|annotations|classes)"
_IMAGE = r"[-_. ](image|img|raw|em)"
_ENDS = re.compile(f"{_MASK}$", re.IGNORECASE)
_COLOURS = 3
_QUOTE = "'"


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
    listed : int
        How many images there are, with those that were skipped or not chosen.
    """

    volumes: tuple[TrainingVolume, ...]
    colours: bool
    skipped: tuple[str, ...]
    unit: str
    listed: int


def open_pairs(
    images: Any,
    masks: Any,
    *,
    colours: bool = False,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    channels: int | None = None,
    keep: int = KEPT_BYTES,
    chosen: Callable[[str], bool] | None = None,
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
        Read masks as colours where they are palettes.
    spacing : sequence of float, optional
        Pixel size; by default what the files say.
    channel_axis : int, optional
        Of arrays; by default the axis that the mask does not have.
    channels : int, optional
        That images must have; by default what most have.
    keep : int
        Bytes of images and masks of files that stay in memory.
    chosen : callable, optional
        Whether to read an image, by its name in descriptions of models; by default all are.
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
    wanted = [
        (name, *pair)
        for name, pair in zip(names, pairs, strict=True)
        if chosen is None or chosen(told_name(name))
    ]
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
            )
        except FileError as error:
            failed.append((name, error))
            continue
        read.append(pair)
    if failed:
        _tell_of_skipped(failed, len(wanted))
    volumes = [pair.volume for pair in read]
    if channels is None and volumes:
        usual = _usual_channels(volumes)
        volumes = [volume_with_channels(volume, usual) for volume in volumes]
    return Opened(
        volumes=tuple(volumes),
        colours=any(pair.colours for pair in read),
        skipped=tuple(name for name, _ in failed),
        unit=next((pair.unit for pair in read if pair.unit), ""),
        listed=len(pairs),
    )


def told_name(name: str) -> str:
    """Return the name of an image as descriptions of models have it: a file without folders."""
    return f"'{Path(name.strip(_QUOTE)).name}'" if name.startswith(_QUOTE) else name


def _tell_of_skipped(failed: Sequence[tuple[str, FileError]], count: int) -> None:
    """Name files that cannot be read, or raise if there is no other."""
    if len(failed) == count:
        raise failed[0][1]
    told = list_some([" ".join(str(error).split()) for _, error in failed])
    warnings.warn(
        f"{len(failed)} of {count} images are skipped, as they or their masks cannot be read: "
        f"{told}",
        stacklevel=4,
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
    masks = [p.name for p in found if _ENDS.search(p.stem) and _ENDS.sub("", p.stem) in stems]
    if masks:
        warnings.warn(
            f"{len(masks)} files are masks of others by their names and left out: "
            f"{list_some(masks)}.",
            stacklevel=2,
        )
    left_out = set(masks)
    return [path for path in found if path.name not in left_out]


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
    masks_by_name = _ByName(second)
    for path in sorted(first, key=lambda p: -len(p.stem)):
        mask = masks_by_name.taken(path, same=same)
        if mask is not None:
            pairs.append((path, mask))
    pairs.sort()
    if not pairs:
        raise FileError(
            f"No image of '{images}' has a mask in '{masks}': there are {first[0].name} and "
            f"{second[0].name if second else 'none'}. Name masks like their images, such as "
            "cell1.png and cell1_mask.png."
        )
    used = {path for pair in pairs for path in pair}
    alone = [path.name for path in first if path not in used]
    told = set(alone)
    spare = [path.name for path in second if path not in used and path.name not in told]
    for names, what in ((alone, "images have no mask"), (spare, "masks have no image")):
        if names:
            warnings.warn(
                f"{len(names)} {what} and are left out: {list_some(names)}.", stacklevel=2
            )
    return pairs


class _ByName:
    """Masks by the names their images may have; folders hold thousands of them."""

    def __init__(self, masks: Sequence[Path]) -> None:
        self._left = set(masks)
        self._stems: dict[str, list[Path]] = defaultdict(list)
        self._named: dict[str, list[Path]] = defaultdict(list)
        self._longer: dict[str, list[Path]] = defaultdict(list)
        for mask in masks:
            stem = mask.stem
            self._stems[stem].append(mask)
            if _ENDS.search(stem):
                self._named[_ENDS.sub("", stem).lower()].append(mask)
            for cut in re.finditer(r"[-_. ](?=.)", stem):
                self._longer[stem[: cut.start()]].append(mask)

    def taken(self, image: Path, *, same: bool) -> Path | None:
        """Return the mask of an image, which is no other's then, if there is just one."""
        base = re.sub(f"{_IMAGE}$", "", image.stem, flags=re.IGNORECASE)
        found = self._free(self._named.get(base.lower(), []), image)
        if not found and not same:
            stems = {image.stem, base}
            found = self._free([m for s in stems for m in self._stems.get(s, [])], image)
        if not found and not _ENDS.search(image.stem):
            found = self._free(self._longer.get(base, []), image)
        if len(found) != 1:
            return None
        self._left.discard(found[0])
        return found[0]

    def _free(self, masks: Sequence[Path], image: Path) -> list[Path]:
        """Return those that are nobody's yet, and not the image itself."""
        return [mask for mask in masks if mask in self._left and mask != image]


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
            f"There are {len(ours)} images but {len(theirs)} masks. Give one mask for each image."
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
