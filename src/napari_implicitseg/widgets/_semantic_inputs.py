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
from napari_implicitseg.widgets._semantic_jobs import PredictRequest, Source, TrainRequest

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_implicitseg.models.semantic import SemanticModel

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticInputs:
    """What the user has chosen.

    Attributes
    ----------
    origin : {"layers", "files"}
    image : Image or None
    labels : Labels or None
        Classes that were painted.
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
    image: Image | None = None
    labels: Labels | None = None
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
    image, labels = inputs.image, inputs.labels
    if image is None:
        raise InputError("There is no image to learn from. Open one.")
    if labels is None:
        raise InputError(
            "There are no painted classes. Press Paint classes and paint some pixels of each "
            "class, or choose a Labels layer."
        )
    level, axis = _fitting(image, labels)
    scale = _layers.like(image, level)["scale"]
    data = labels.data
    if copied and isinstance(data, np.ndarray) and data.size <= WATCHED_VOXELS:
        data = data.copy()
    return Source(
        images=_layers.level_data(image, level),
        masks=data,
        name=labels.name,
        channel_axis=axis,
        spacing=tuple(abs(float(s)) for s in scale[len(scale) - labels.ndim :]),
        zero=zero,
    )


def _fitting(image: Image, labels: Labels) -> tuple[int, int | None]:
    """Return the level of an image that labels fit, and its axis of channels."""
    if labels.multiscale:
        raise InputError(
            f"Layer '{labels.name}' is multiscale; napari cannot paint those. Choose another, or "
            "press Paint classes."
        )
    shape = tuple(int(n) for n in labels.data.shape)
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
        name = "" if inputs.image is None else inputs.image.name
    return free_folder(f"{name or 'my'}-classes")
