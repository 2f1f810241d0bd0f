"""Which files of folders are images, and which mask goes with each, by their names."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from typing import TYPE_CHECKING

from napari_implicitseg.errors import FileError
from napari_implicitseg.training.semantic_split import list_some

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["counted", "image_files", "images_without_masks", "pair_files"]

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".h5", ".hdf5", ".zarr")
_MASK = r"[-_. ](mask|masks|label|labels|truth|gt|seg|segmentation|annotation|annotations|classes)"
_IMAGE = re.compile(r"[-_. ](image|img|raw|em)$", re.IGNORECASE)
_ENDS = re.compile(f"{_MASK}$", re.IGNORECASE)
# Of two files NAME.jpg and NAME.png in one folder the second is the mask, which is stored exactly.
_OF_IMAGES, _OF_MASKS = (".jpg", ".jpeg", ".bmp"), (".png", ".tif", ".tiff")


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
    stems = {_IMAGE.sub("", stem_of(path)) for path in found}
    ends = ((path, stem_of(path)) for path in found)
    masks = [p.name for p, s in ends if _ENDS.search(s) and _ENDS.sub("", s) in stems]
    if masks:
        what = (
            "file is a mask of another by its name"
            if len(masks) == 1
            else ("files are masks of others by their names")
        )
        warnings.warn(f"{len(masks)} {what} and left out: {list_some(masks)}.", stacklevel=2)
    left_out = set(masks)
    return [path for path in found if path.name not in left_out]


def stem_of(path: Path) -> str:
    """Return the name of a file without extension; .ome.tif and .ome.zarr are one."""
    stem = path.stem
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def pair_files(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pair the files of two folders, or of one, by name.

    A mask has the stem of its image, alone or with more after it: NAME_mask, NAME_label,
    NAME_truth and the like first, else any one NAME_.... In one folder NAME.png or NAME.tif is
    the mask of NAME.jpg or NAME.bmp.

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
    by_name = _ByName(second)
    several: dict[Path, list[Path]] = {}
    used: set[Path] = set()
    for path in sorted(first, key=lambda p: (-len(stem_of(p)), stem_of(p) != p.stem)):
        if path in used:
            continue
        found = by_name.masks_of(path, same=same)
        if len(found) == 1:
            by_name.take(found[0])
            pairs.append((path, found[0]))
            used.update(pairs[-1])
        elif found:
            several[path] = found
    pairs.sort()
    if not pairs:
        raise _no_pair(images, masks, first, second, several)
    _tell_of_others(first, second, used, several)
    return pairs


def counted(count: int, what: str) -> str:
    """Say how many there are: "is 1 image", "are 2 images"."""
    return f"is 1 {what}" if count == 1 else f"are {count} {what}s"


def _tell_of_others(
    first: Sequence[Path],
    second: Sequence[Path],
    used: set[Path],
    several: dict[Path, list[Path]],
) -> None:
    """Warn of files that are in no pair."""
    alone = [p.name for p in first if p not in used and p not in several]
    known = {*alone, *(p.name for p in several), *(m.name for ms in several.values() for m in ms)}
    alone = [name for name in alone if name not in {m.name for ms in several.values() for m in ms}]
    spare = [p.name for p in second if p not in used and p.name not in known]
    for names, what in ((alone, ("image", "mask")), (spare, ("mask", "image"))):
        if names:
            one = len(names) == 1
            have, are = (f"{what[0]} has", "is") if one else (f"{what[0]}s have", "are")
            warnings.warn(
                f"{len(names)} {have} no {what[1]} and {are} left out: {list_some(names)}.",
                stacklevel=3,
            )
    if several:
        have, are = ("image has", "is") if len(several) == 1 else ("images have", "are")
        warnings.warn(
            f"{len(several)} {have} several masks and {are} left out: {_told(several)}. Keep one "
            "for each.",
            stacklevel=3,
        )


def _told(several: dict[Path, list[Path]]) -> str:
    """List images with all their masks."""
    return list_some(
        [f"{path.name} ({', '.join(sorted(m.name for m in ms))})" for path, ms in several.items()]
    )


def _no_pair(
    images: Path,
    masks: Path,
    first: Sequence[Path],
    second: Sequence[Path],
    several: dict[Path, list[Path]],
) -> FileError:
    """Return the error for folders without a single pair."""
    advice = "Name masks like their images, such as cell1.png and cell1_mask.png."
    if several:
        return FileError(
            f"No image of '{images}' has just one mask in '{masks}': there are {_told(several)}. "
            "Keep one for each."
        )
    if images.resolve() == masks.resolve():
        names = list_some([path.name for path in first])
        return FileError(f"No image of '{images}' has a mask there: it holds {names}. {advice}")
    theirs = second[0].name if second else "none"
    return FileError(
        f"No image of '{images}' has a mask in '{masks}': there are {first[0].name} and {theirs}. "
        f"{advice}"
    )


class _ByName:
    """Masks by the names their images may have; folders hold thousands of them."""

    def __init__(self, masks: Sequence[Path]) -> None:
        self._left = set(masks)
        self._stems: dict[str, list[Path]] = defaultdict(list)
        self._named: dict[str, list[Path]] = defaultdict(list)
        self._longer: dict[str, list[Path]] = defaultdict(list)
        for mask in masks:
            stem = stem_of(mask)
            for one in {stem, mask.stem}:
                self._stems[one].append(mask)
            if _ENDS.search(stem):
                self._named[_ENDS.sub("", stem).lower()].append(mask)
            for cut in re.finditer(r"[-_. ](?=.)", stem):
                self._longer[stem[: cut.start()]].append(mask)

    def masks_of(self, image: Path, *, same: bool) -> list[Path]:
        """List the masks that an image may have, and no other has; there should be just one."""
        stem = stem_of(image)
        base = _IMAGE.sub("", stem)
        found = self._free(self._named.get(base.lower(), []), image)
        if not found:
            stems = {image.stem, stem, base}
            alike = {m: None for s in stems for m in self._stems.get(s, [])}
            found = self._free([*alike], image)
            if same:
                is_image = image.suffix.lower() in _OF_IMAGES
                found = [m for m in found if is_image and m.suffix.lower() in _OF_MASKS]
        if not found and not _ENDS.search(stem):
            longer = self._free(self._longer.get(base, []), image)
            return longer if len(longer) == 1 else []  # Of several most are none of its masks.
        return found

    def take(self, mask: Path) -> None:
        """Say that a mask is an image's."""
        self._left.discard(mask)

    def _free(self, masks: Sequence[Path], image: Path) -> list[Path]:
        """Return those that are nobody's yet, and not the image itself."""
        return [mask for mask in masks if mask in self._left and mask != image]
