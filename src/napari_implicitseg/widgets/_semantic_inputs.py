"""What the user has chosen in *Train U-Net*, and the requests that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._neurons_models import free_folder
from napari_implicitseg.widgets._scribble_inputs import WATCHED_VOXELS
from napari_implicitseg.widgets._semantic_jobs import PredictRequest, TrainRequest
from napari_implicitseg.widgets._semantic_reading import Source

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_pairs import Pair

__all__ = [
    "AXES",
    "ORIGINS",
    "PRESET_NAMES",
    "SemanticInputs",
    "has_checkpoint",
    "predict_request",
    "source_of",
    "suggested_folder",
    "train_request",
]

ORIGINS = {"layers": "layers of the viewer", "files": "folders or files"}
"""Where images and masks come from, and what that is called."""

PRESET_NAMES = {"default": "default", "report-2024": "report-2024 (plain U-Net)"}
"""Presets of a `SemanticConfig`."""

AXES = {None: "as the images are", 2: "2D, section by section", 3: "3D"}
"""Axes of the network."""

_COLOURS = 3
_ALIKE = 1.25
"""Ratio of pixel sizes up to which one network learns both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticInputs:
    """What the user has chosen.

    Attributes
    ----------
    origin : {"layers", "files"}
    pairs : tuple of Pair
        Images of the viewer, and classes that were painted.
    image : Image or None
        Of the pair that is worked on.
    images, masks : str
        Folders or files; without masks these lie beside their images.
    zero_is_class : bool
        Whether 0 in masks is a class, the background.
    names : dict of int to str
        Names of classes by their value in the masks.
    out : str
        Folder of the model.
    steps : int
    preset : str
    ndim : {2, 3} or None
    held_out : float
        Share of the images, 0 to 0.9.
    seed : int
    resume : bool
        Go on with the training in `out`.
    """

    origin: str = "layers"
    pairs: tuple[Pair, ...] = ()
    image: Image | None = None
    images: str = ""
    masks: str = ""
    zero_is_class: bool = False
    names: dict[int, str] = field(default_factory=dict)
    out: str = ""
    steps: int = 1200
    preset: str = "default"
    ndim: Literal[2, 3] | None = None
    held_out: float = 0.2
    seed: int = 0
    resume: bool = False


def source_of(inputs: SemanticInputs, *, copied: bool = False) -> Source:
    """Return what is to be learned from.

    Parameters
    ----------
    inputs : SemanticInputs
    copied : bool
        Copy what was painted, so that painting may go on; not of very large layers.

    Raises
    ------
    InputError
        If something is missing, or layers do not fit.
    """
    zero: Any = "background" if inputs.zero_is_class else "unlabelled"
    if inputs.origin == "files":
        if not inputs.images:
            raise InputError("There are no images to learn from. Choose a folder of them.")
        if not inputs.masks and inputs.images.rstrip("/").endswith(".zarr"):
            raise InputError(
                f"There are no masks for '{inputs.images}'. Choose the labels, such as its folder "
                "labels/NAME."
            )
        return Source(images=inputs.images, masks=inputs.masks or inputs.images, zero=zero)
    if not any(pair.image for pair in inputs.pairs):
        raise InputError("There is no image to learn from. Open one.")
    read = [_read_pair(pair, len(inputs.pairs), copied=copied) for pair in inputs.pairs]
    return Source(
        images=tuple(one.image for one in read),
        masks=tuple(one.mask for one in read),
        names=tuple(one.name for one in read),
        painted=tuple(one.painted for one in read),
        channel_axis=0,
        spacing=_one_spacing(read),
        zero=zero,
    )


@dataclass(frozen=True, slots=True)
class _ReadPair:
    """Arrays of a pair, with their names; an image has its channels, if any, first."""

    image: Any
    mask: Any
    name: str
    painted: str
    spacing: tuple[float, ...]


def _read_pair(pair: Pair, count: int, *, copied: bool) -> _ReadPair:
    """Return the arrays of a pair of layers.

    Raises
    ------
    InputError
        If one is missing, or they do not fit.
    """
    image, labels = pair.image, pair.labels
    if image is None:
        raise InputError("An image in the list is missing. Choose one, or press Remove.")
    if labels is None:
        where = f"for image '{image.name}'" if count > 1 else "yet"
        raise InputError(
            f"There are no painted classes {where}. Press Paint classes and paint some pixels of "
            f"each class, or choose a Labels layer{', or press Remove' * (count > 1)}."
        )
    level, axis = _fitting(image, labels)
    scale = _layers.like(image, level)["scale"]
    raw, mask = _layers.level_data(image, level), labels.data
    if image.rgb:
        raw = raw if isinstance(raw, np.ndarray) else _layers.as_lazy(raw)
        raw = raw[..., :_COLOURS]  # Transparency is no channel.
    if axis:
        raw = np.moveaxis(raw, axis, 0)
    if copied and isinstance(mask, np.ndarray) and mask.size <= WATCHED_VOXELS:
        mask = mask.copy()
    size = tuple(abs(float(s)) for s in scale[len(scale) - labels.ndim :])
    return _ReadPair(raw, mask, image.name, labels.name, size)


def _one_spacing(read: list[_ReadPair]) -> tuple[float, ...]:
    """Return the pixel size that all images have.

    Raises
    ------
    InputError
        If they differ, in size or in axes.
    """
    first = read[0]
    for other in read[1:]:
        if len(other.spacing) != len(first.spacing):
            raise InputError(
                f"Image '{other.name}' has {len(other.spacing)} axes of space but '{first.name}' "
                f"has {len(first.spacing)}. Learn from images, or from stacks: remove one of them."
            )
        ratios = [a / b for a, b in zip(other.spacing, first.spacing, strict=True)]
        if not all(1 / _ALIKE < ratio < _ALIKE for ratio in ratios):
            raise InputError(
                f"Image '{other.name}' has pixels of {_sizes(other)} but '{first.name}' of "
                f"{_sizes(first)}. One network learns one pixel size: correct the scale of a "
                "layer, or remove it from the list."
            )
    return first.spacing


def _sizes(read: _ReadPair) -> str:
    """Write a pixel size."""
    return " x ".join(f"{size:g}" for size in read.spacing)


def _fitting(image: Image, labels: Labels) -> tuple[int, int | None]:
    """Return the level of an image that labels fit, and its axis of channels."""
    if labels.multiscale:
        raise InputError(
            f"Layer '{labels.name}' is multiscale; napari cannot paint those. Choose another, or "
            "press Paint classes."
        )
    shape = tuple(int(n) for n in labels.data.shape)
    if len(shape) not in (2, 3):
        raise InputError(
            f"Layer '{labels.name}' has {len(shape)} axes; classes have 2 or 3. Open a single time "
            "point as a layer, and paint on that."
        )
    shapes = _layers.level_shapes(image)
    for level, one in enumerate(shapes):
        if one == shape:
            return level, image.ndim if image.rgb else None
    for level, one in enumerate(shapes):
        if one[1:] == shape and not image.rgb:
            return level, 0  # Channels come first.
    raise InputError(
        f"Layer '{labels.name}' has shape {shape} but image '{image.name}' has "
        f"{' or '.join(map(str, shapes))}. Choose one that fits, or press Paint classes."
    )


def train_request(inputs: SemanticInputs) -> TrainRequest:
    """Ask for a training.

    Raises
    ------
    InputError
        If something is missing, or layers do not fit.
    """
    source = source_of(inputs, copied=True)
    if not inputs.out:
        raise InputError("There is no folder for the model. Give one.")
    options: dict[str, Any] = {
        "steps": inputs.steps,
        "held_out": inputs.held_out,
        "seed": inputs.seed,
    }
    if inputs.ndim is not None:
        options["ndim"] = inputs.ndim
    return TrainRequest(
        source=source,
        names=dict(inputs.names),
        preset=inputs.preset,
        options=options,
        out=str(Path(inputs.out).expanduser()),
        resume=inputs.resume and has_checkpoint(inputs.out),
    )


def predict_request(
    model: SemanticModel | None, image: Image | None, level: int, **options: Any
) -> PredictRequest:
    """Ask what a model says of an image.

    Parameters
    ----------
    model : SemanticModel or None
    image : Image or None
    level : int
        Of a multiscale image.
    **options
        `kind`, `which` and `min_size` of a `PredictRequest`.

    Raises
    ------
    InputError
        If one is missing.
    """
    if model is None:
        raise InputError("There is no model. Train one, or press Open model.")
    if image is None:
        raise InputError("There is no image to predict. Open one.")
    return PredictRequest(
        model=model,
        image=_layers.level_data(image, level),
        name=image.name,
        channel_axis=image.ndim if image.rgb else None,
        **options,
    )


def has_checkpoint(folder: str) -> bool:
    """Whether a folder holds a training that can go on."""
    if not folder or not (Path(folder).expanduser() / "training").is_dir():
        return False
    from napari_implicitseg.training.checkpoint import CHECKPOINT

    return (Path(folder).expanduser() / CHECKPOINT).is_file()


def suggested_folder(inputs: SemanticInputs) -> str:
    """Return a folder in the user's home for a model, one that is not there yet."""
    if inputs.origin == "files":
        name = Path(inputs.images).name
    else:
        images = [pair.image.name for pair in inputs.pairs if pair.image is not None]
        name = images[0] if images else ""
    return free_folder(f"{name or 'my'}-classes")
