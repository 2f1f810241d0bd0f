"""A network that tells the class of every pixel, with all that is needed to apply it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.devices import find_device
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.channels import (
    channels_before,
    find_channels,
    in_sentence,
    with_channels,
)
from napari_implicitseg.models.class_outputs import OneClass, Winners, class_objects
from napari_implicitseg.models.class_values import ClassValues, shown_value
from napari_implicitseg.models.mirrored import Mirrored
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.models.tiles import predict_tiles
from napari_implicitseg.models.volume_checks import checked_volume

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.predictors.architectures import Network

__all__ = ["SemanticModel", "class_objects"]

_MOST_CLASSES = 255
# Three of space, and one of channels.
_MOST_AXES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SemanticModel:
    """A trained network and how it is applied.

    Attributes
    ----------
    network : CNN or UNet
        From grey levels (B, C, *S) to logits (B, K, *S), one for each class.
    classes : tuple of str
        Their names; class 1 is the first.
    values : tuple of int
        What stood for each class in the masks it has learned from.
    spacing : tuple of float
        Pixel size it has learned from, per axis of the network.
    unit : str
        Of `spacing`; "" if unknown.
    normalisation : Normalisation
        How grey levels are scaled first.
    name : str
    training : mapping
        What it learned from: data, licence, options.
    metrics : mapping
        How good it was on what it had not seen: "iou", "accuracy", "iou_per_class",
        "confusion", "images" and more.
    """

    network: Network
    classes: tuple[str, ...]
    spacing: tuple[float, ...]
    values: tuple[int, ...] = ()
    unit: str = ""
    normalisation: Normalisation = field(default_factory=Normalisation)
    name: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        count, outputs = len(self.classes), int(self.network.config.out_channels)
        if not 2 <= count <= _MOST_CLASSES or count != outputs or len(self.spacing) != self.ndim:
            raise InputError(
                f"A network with {self.ndim} axes and {outputs} outputs does not predict the "
                f"{count} classes {self.classes} at spacing {self.spacing}; there are 2 to "
                f"{_MOST_CLASSES}."
            )
        if len(set(self.classes)) != count:
            raise InputError(f"The classes are {self.classes}; give each a name of its own.")
        values = self.values or tuple(range(1, count + 1))
        if len(values) != count:
            raise InputError(f"There are {count} classes, but {len(values)} values: {values}.")
        object.__setattr__(self, "values", tuple(ClassValues(values=values).values))

    @property
    def ndim(self) -> int:
        """Spatial axes of the network."""
        return int(self.network.config.ndim)

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return int(self.network.config.in_channels)

    @property
    def shown_values(self) -> tuple[str, ...]:
        """`values` as people write them: colours as #rrggbb."""
        config = self.training.get("config")
        colours = isinstance(config, Mapping) and config.get("colours") is True
        return tuple(shown_value(value, colours=colours) for value in self.values)

    def number_of(self, name: str | int) -> int:
        """Return the number of a class, from 1, by its name or number.

        Raises
        ------
        InputError
            If there is none.
        """
        which: Any = name
        which = int(which) if isinstance(which, np.integer) else which
        if type(which) is int and 1 <= which <= len(self.classes):
            return which
        if which in self.classes:
            return self.classes.index(str(which)) + 1
        raise InputError(
            f"The model '{self.name}' has no class {which!r}; its classes are "
            f"{', '.join(f'{i} {c}' for i, c in enumerate(self.classes, start=1))}."
        )

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write the model into a folder; see `load_model`.

        Parameters
        ----------
        path : path
        half : bool
            Store the weights with half the digits.

        Raises
        ------
        FileError
            If it cannot be written.
        """
        from napari_implicitseg.models.folder import save_model

        save_model(self, path, half=half)

    def predict(self, image: Any, **options: Any) -> NDArray[np.uint8]:
        """Predict the class of every pixel, tile by tile.

        Parameters
        ----------
        image : array-like
        **options
            See `predict_proba`; `out` is an array of integers, shape (*S).

        Returns
        -------
        ndarray of uint8, shape (*S)
            Classes from 1.
        """
        winners = Winners(options.pop("out", None))
        self._predicted(image, winners, **options)
        found: NDArray[np.uint8] = winners.classes
        return found

    def predict_proba(self, image: Any, **options: Any) -> NDArray[np.float32]:
        """Predict the probability of every class, tile by tile.

        Parameters
        ----------
        image : array-like, shape (*S) or with one channel axis
            NumPy, zarr or dask; of a lazy one tiles are read. A network with two axes
            takes a stack section by section. Transparency is left out.
        spacing : sequence of float, optional
            Pixel size, in the unit of the model; warns if it differs much.
        channel_axis : int, optional
            Axis that holds channels; by default the last or the first, whichever is of
            the length the model needs.
        tile_shape : sequence of int, optional
            Pixels predicted at a time; the memory decides if None.
        mirrored : bool
            Take the mean over all mirror images: four times the time in 2D, eight in 3D, and
            a little fewer mistakes.
        precision : {"float32", "bfloat16", "float16"}
            Of the convolutions.
        device : {"auto", "cpu", "cuda", "mps"}, str or torch.device
            "auto" takes a GPU if there is one.
        out : array-like, optional
            Where to write, shape (C, *S): anything with assignment of slices.
        progress : Progress, optional
        name : str
            What to call the image in messages.

        Returns
        -------
        ndarray of float32, shape (C, *S)
            0 to 1; they add up to 1. Or `out`.

        Raises
        ------
        InputError
            If this is no image, axes or channels do not fit, or a pixel is NaN or infinite.
        Cancelled
            If `progress` asked to stop.
        """
        out = options.pop("out", None)
        found: NDArray[np.float32] = self._predicted(image, out, **options)
        return found

    def evidence(self, image: Any, which: str | int, **options: Any) -> NDArray[np.float32]:
        """Return the probability of one class, as `fit_scribbles` takes evidence.

        Parameters
        ----------
        image : array-like
        which : str or int
            Name or number of the class.
        **options
            See `predict_proba`.

        Returns
        -------
        ndarray of float32, shape (*S)
        """
        chosen = self.number_of(which) - 1
        one = OneClass(chosen)
        self._predicted(image, one, **options)
        return one.values

    def objects(
        self, image: Any, which: str | int, *, min_size: int = 1, **options: Any
    ) -> NDArray[np.uint32]:
        """Return the connected pieces of one class, as `project_labels` takes labels.

        Parameters
        ----------
        image : array-like
        which : str or int
            Name or number of the class.
        min_size : int
            Smaller pieces are left out, in pixels.
        **options
            See `predict_proba`.

        Returns
        -------
        ndarray of uint32, shape (*S)
            Ids from 1 in raster order, 0 for all other classes.
        """
        number = self.number_of(which)
        return class_objects(self.predict(image, **options), number, min_size=min_size)

    def evaluate(
        self, images: Iterable[Any], masks: Iterable[Any], **options: Any
    ) -> SemanticEvaluation:
        """Predict images and compare with their masks; see `evaluate_semantic` for files.

        Parameters
        ----------
        images, masks : iterable of array-like
            As many masks as images. Masks hold the values the model was trained with, whole
            numbers; others count for nothing.
        **options
            See `predict_proba`.

        Raises
        ------
        InputError
            If a mask has another shape than its image, there are more of one than of the
            other, or nothing is labelled.
        """
        meaning = ClassValues(values=self.values, strict=False)
        parts = []
        lacking = object()
        pairs = itertools.zip_longest(images, masks, fillvalue=lacking)
        for number, (image, mask) in enumerate(pairs, start=1):
            if image is lacking or mask is lacking:
                more, fewer = ("masks", "images") if image is lacking else ("images", "masks")
                raise InputError(
                    f"There are {number - 1} {fewer} but more {more}. Give one mask for each image."
                )
            name = f"image {number}"
            found = self.predict(image, name=name, **options)
            truth = meaning(np.asarray(mask), f"mask of {name}")
            if truth.shape != found.shape:
                raise InputError(
                    f"The mask of {name} has shape {truth.shape} but the image {found.shape}. "
                    "Crop or resample one of them."
                )
            parts.append(SemanticEvaluation.of(self.classes, found, truth, name))
        return SemanticEvaluation.joined(parts)

    def _predicted(
        self,
        image: Any,
        out: Any,
        *,
        spacing: Sequence[float] | None = None,
        channel_axis: int | None = None,
        tile_shape: Sequence[int] | None = None,
        mirrored: bool = False,
        precision: str = "float32",
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        name: str = "image",
    ) -> Any:
        """Predict into `out`, which may be waiting for its shape."""
        name = in_sentence(name)
        image = _as_image(image, name)
        if channel_axis is None:
            self.check_axes(image.shape, name)
            channel_axis = find_channels(image.shape, self.channels, self.ndim)
        elif not isinstance(channel_axis, int | np.integer):
            raise InputError(f"channel_axis is {channel_axis!r}; give the number of an axis.")
        fitting = with_channels(channels_before(image, channel_axis), self.channels, name)
        raw, _ = checked_volume(fitting, self, spacing=spacing, channel_axis=0, name=name)
        shape = tuple(int(n) for n in raw.shape[1:])
        if isinstance(out, Winners | OneClass):
            out.start((len(self.classes), *shape))
        scaling = self.normalisation.scaling(raw, name)
        return predict_tiles(
            Mirrored(self.network) if mirrored else self.network,
            scaling.reader(raw),
            shape,
            tile_shape=tile_shape,
            device=find_device(device, large=True) if isinstance(device, str) else device,
            precision=precision,
            activation="softmax",
            out=out,
            progress=progress,
        )

    def check_axes(self, shape: Sequence[int], name: str = "image") -> None:
        """Refuse an image with too few or too many axes, of which one may hold channels.

        Raises
        ------
        InputError
        """
        if not self.ndim <= len(shape) <= _MOST_AXES:
            images = "2D images (y, x) or stacks of them" if self.ndim == 2 else "volumes (z, y, x)"
            raise InputError(
                f"The {in_sentence(name)} has {len(shape)} {'axis' if len(shape) == 1 else 'axes'},"
                f" shape {tuple(int(n) for n in shape)}; the model '{self.name}' is for {images} "
                f"of {self.channels} channel{'' if self.channels == 1 else 's'}. Give one such "
                "image, or choose another model."
            )


def _as_image(image: Any, name: str) -> Any:
    """Return an array as it is, and anything else as one.

    Raises
    ------
    InputError
        If it holds no numbers.
    """
    if not hasattr(image, "shape") or not hasattr(image, "dtype"):
        try:
            found = np.asarray(image)
        except ValueError as error:
            raise InputError(f"The {name} is no array: {error}. Give an array.") from error
        if found.dtype.kind not in "biufc":
            raise InputError(
                f"The {name} is {image!r:.60}, which is no array of numbers. Give an array; read a "
                "file first, or predict it by `napari-implicitseg semantic predict`."
            )
        return found
    return image
