"""A held-out image beside its truth and what a model says of it, for *Train U-Net*."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._semantic_reading import taken_down
from napari_implicitseg.widgets._semantic_words import of_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.training.labelled import TrainingVolume
    from napari_implicitseg.widgets._semantic_reading import Source

__all__ = ["LookRequest", "Looked", "is_file", "short_name", "whole_name"]

_PART = re.compile(r" \((?:[zyx] \d+ to \d+(?:, )?)+\)$")
# As much of a large image as a training measures.
_MOST_PIXELS = {2: 1 << 20, 3: 112**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """An image, or the middle of a large one, and its classes.

    Attributes
    ----------
    request : LookRequest
    raw : ndarray, shape (C, *S)
    truth, found : ndarray of uint8, shape (*S)
        Classes from 1; the truth is 0 where nothing is labelled.
    start : tuple of int
        Where the part lies in the image.
    whole : tuple of int
        Shape of the image.
    spacing : tuple of float or None
    iou : float or None
        Mean over the classes of this part; None if nothing is labelled in it.
    """

    request: LookRequest
    raw: NDArray[Any]
    truth: NDArray[np.uint8]
    found: NDArray[np.uint8]
    start: tuple[int, ...]
    whole: tuple[int, ...]
    spacing: tuple[float, ...] | None
    iou: float | None

    @property
    def is_part(self) -> bool:
        """Whether this is not all of the image."""
        return self.truth.shape != self.whole

    def say(self) -> str:
        """Say what is seen."""
        name = short_name(self.request.name)
        wrong = int(np.count_nonzero((self.truth != self.found) & (self.truth > 0)))
        labelled = int(np.count_nonzero(self.truth))
        said = f"'{name}': {wrong:,} of {labelled:,} labelled pixels are wrong (red)"
        if self.iou is not None:
            said += f", mean IoU {self.iou:.3f}"
        if not self.is_part:
            return f"{said}."
        sizes = (" x ".join(map(str, one)) for one in (self.truth.shape, self.whole))
        return f"{said}. It is large: predicted is its middle, {' of '.join(sizes)} pixels."


@dataclass(frozen=True, slots=True, kw_only=True)
class LookRequest:
    """A look at one of the images that a model was measured on.

    Attributes
    ----------
    model : SemanticModel
    name : str
        As the figures call it: of a file in quotes, else of a layer.
    source : Source
        Where it is: of a layer nothing but this; else what it was trained with.
    """

    model: SemanticModel
    name: str
    source: Source

    doing = "Showing an image"

    def run(self, progress: Progress) -> Looked:
        """Read and predict; in the worker thread.

        Raises
        ------
        ImplicitSegError
            If it is not there any more, or does not fit the model.
        """
        from napari_implicitseg.confusion import SemanticEvaluation
        from napari_implicitseg.devices import find_device
        from napari_implicitseg.models.class_values import ClassValues
        from napari_implicitseg.training.validation import middle_window

        model, source = self.model, self.source
        progress(0.0, "Reading the image")
        with of_layers(source.names, source.painted):
            volume = self._open()
            window = middle_window(volume.shape, _MOST_PIXELS[model.ndim], model.ndim)
            part = volume.crop(window)
            raw, mask = np.asarray(part.raw[...]), np.asarray(part.labels[...])
            truth = ClassValues(values=model.values, strict=False)(mask)
            found = model.predict(
                raw,
                channel_axis=0,
                device=find_device("auto", large=True),
                progress=progress,
                name=volume.name,
            )
        known = SemanticEvaluation.of(model.classes, found, truth) if truth.any() else None
        return Looked(
            request=self,
            raw=raw,
            truth=truth,
            found=found,
            start=tuple(one.start for one in window),
            whole=volume.shape,
            spacing=volume.spacing,
            iou=None if known is None else known.iou,
        )

    def _open(self) -> TrainingVolume:
        """Read the image with its mask; nothing else of a folder."""
        from napari_implicitseg.semantic.sources import open_pairs

        images, masks = self.source.images, self.source.masks
        known = dict(self.model.training.get("config") or {})
        with taken_down([]):
            if not self.source.names:
                images, masks = _in_folder(images, masks, short_name(self.name))
            opened = open_pairs(
                images,
                masks,
                colours=bool(known.get("colours")),
                spacing=self.source.spacing,
                channel_axis=self.source.channel_axis,
                channels=self.model.channels,
            )
        return opened.volumes[0]


def is_file(name: str) -> bool:
    """Whether what figures call an image is the name of a file."""
    return name.startswith("'")


def whole_name(name: str) -> str:
    """Return the name of the image of which figures call a part."""
    return _PART.sub("", name)


def short_name(name: str) -> str:
    """Return what figures call an image, without quotes and folders."""
    if not is_file(name):
        return name
    plain = whole_name(name).strip("'")
    return Path(plain).name or plain


def _in_folder(images: str, masks: str, name: str) -> tuple[str, str]:
    """Find an image of a folder, and its mask.

    Raises
    ------
    InputError
        If it is not there.
    """
    from napari_implicitseg.semantic.sources import pair_files
    from napari_implicitseg.volumes.ome_zarr import is_zarr

    folder = Path(images)
    if folder.is_dir() and not is_zarr(folder):
        for image, mask in pair_files(folder, Path(masks)):
            if image.name == name:
                return str(image), str(mask)
    elif folder.name == name:
        return images, masks
    raise InputError(
        f"'{name}' is not in '{images}'. Choose the images and masks that the model was trained "
        "with in Learn from."
    )
