"""What the neurons widget reads from layers: images, affinities, painted sections and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._neurons_affinities import has_time, holds_affinities
from napari_implicitseg.widgets._neurons_jobs import PredictRequest, TrainRequest
from napari_implicitseg.widgets._neurons_parts import cut_out

if TYPE_CHECKING:
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._neurons_parts import Part

__all__ = [
    "AUTOMATIC",
    "FRAGMENTS",
    "LINKAGES",
    "NeuronsInputs",
    "needed_image",
    "predict_request",
    "seeds_of",
    "train_request",
]

LINKAGES = {
    "quantile": "median affinity",
    "mean": "mean affinity",
    "single": "highest affinity",
    "ward": "Ward",
    "area": "basin area",
    "volume": "basin volume",
    "dynamics": "basin dynamics",
}
"""Linkages and what they are called."""

FRAGMENTS = {
    "auto": "automatic",
    "distance": "far from membranes",
    "watershed": "watershed",
    "higra": "watershed of higra",
    "voxels": "single voxels",
}
"""Ways to make fragments and what they are called."""

AUTOMATIC = -1
"""In place of a smallest size."""

_LABEL_COLUMN = "label"


@dataclass(frozen=True, slots=True)
class NeuronsInputs:
    """What the user has chosen.

    Attributes
    ----------
    image : Image or None
        Raw image, or affinities.
    model : str
        Name or folder.
    linkage, fragments : str
    min_size : int
        Voxels of the smallest fragment, or `AUTOMATIC`.
    neighbours : str
        What affinities are of, where the layer does not say it; see `neighbour_choices`.
    area : {"all", "view"}
        What is predicted; see `AREAS`.
    sections : int
        How many of these, if it is what the view shows of a volume.
    """

    image: Image | None = None
    model: str = ""
    linkage: str = "quantile"
    fragments: str = "auto"
    min_size: int = AUTOMATIC
    neighbours: str = ""
    area: str = "all"
    sections: int = 32

    @property
    def holds_affinities(self) -> bool:
        """Whether the image is one of affinities."""
        return holds_affinities(self.image, self.neighbours)


def predict_request(inputs: NeuronsInputs, part: Part) -> PredictRequest:
    """Ask for the affinities of a part of an image.

    Raises
    ------
    InputError
        If there is no image or no model, or it has not 2 or 3 axes, or is one of affinities.
    """
    image = needed_image(inputs)
    return PredictRequest(
        image=cut_out(image, part),
        name=image.name,
        channel_axis=image.ndim if image.rgb else None,
        spacing=_voxel_size(image, part.level),
        model=_model(inputs),
    )


def train_request(
    inputs: NeuronsInputs, labels: Labels | None, steps: int, out: str
) -> TrainRequest:
    """Ask for a training that goes on from the chosen model.

    Raises
    ------
    InputError
        If something is missing or the labels do not fit the image.
    """
    image = needed_image(inputs)
    if labels is None:
        raise InputError(
            "There are no painted sections. Add a Labels layer, paint the objects of a few "
            "sections, each with an id of its own, and choose it."
        )
    if not out.strip():
        raise InputError("There is no folder for the new model. Give one.")
    level = _layers.level_matching(image, labels)
    return TrainRequest(
        image=_layers.level_data(image, level),
        labels=labels.data,
        name=labels.name,
        channel_axis=image.ndim if image.rgb else None,
        spacing=_voxel_size(image, level),
        model=_model(inputs),
        steps=steps,
        out=out.strip(),
    )


def seeds_of(layer: Layer | None, neurons: Labels) -> Any:
    """Return seeds as an array like the neurons, from a Labels or a Points layer.

    A point has the id that the feature column `label` says, or one of its own.

    Raises
    ------
    InputError
        If there are none inside, or the layers do not fit.
    """
    if isinstance(layer, Labels):
        shape = tuple(layer.data.shape)
        if layer.multiscale or shape != neurons.data.shape:
            raise InputError(
                f"Layer '{layer.name}' has shape {shape} but the neurons have "
                f"{neurons.data.shape}. Paint seeds in a layer of that shape."
            )
        return layer.data
    if not isinstance(layer, Points):
        raise InputError("There are no seeds. Choose a Labels or a Points layer with some.")
    if layer.ndim < neurons.ndim:
        raise InputError(
            f"Layer '{layer.name}' has {layer.ndim} axes but the neurons have {neurons.ndim}. "
            f"Add points to a layer with {neurons.ndim} axes."
        )
    seeds = np.zeros(neurons.data.shape, np.uint32)
    for point, label in zip(layer.data, _point_ids(layer), strict=True):
        world = layer.data_to_world(point)
        voxel = np.round(neurons.world_to_data(world)).astype(int)
        if ((voxel >= 0) & (voxel < seeds.shape)).all():
            seeds[tuple(voxel)] = label
    if not seeds.any():
        raise InputError(f"No point of layer '{layer.name}' lies inside the volume. Add some.")
    return seeds


def _point_ids(points: Points) -> NDArray[np.int64]:
    """Ids of the points of a layer."""
    if _LABEL_COLUMN not in points.features:
        return np.arange(1, len(points.data) + 1)
    values = [_number(value) for value in points.features[_LABEL_COLUMN]]
    for number, value in enumerate(values):
        if not (value.is_integer() and 1 <= value < 1 << 32):
            raise InputError(
                f"Point {number} of layer '{points.name}' has the label "
                f"{points.features[_LABEL_COLUMN].iloc[number]!r} in its features table; it must "
                "be a whole number from 1."
            )
    return np.array(values, np.int64)


def _number(value: Any) -> float:
    """Return a value of a table as a number, NaN if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def needed_image(inputs: NeuronsInputs) -> Image:
    """Return the image if there is one that a model can read.

    Raises
    ------
    InputError
    """
    image = inputs.image
    if image is None:
        raise InputError("There is no image. Open one, or affinities of shape (3, z, y, x).")
    if inputs.holds_affinities:
        raise InputError(
            f"Layer '{image.name}' holds affinities already: go on with Segment, or choose the "
            "raw image."
        )
    if has_time(image):
        raise InputError(
            f"Layer '{image.name}' has an axis of time; neurons are made of one volume at a time. "
            "Split it, by Layers > Split Stack, or give the axis another label and unit."
        )
    if image.ndim not in (2, 3):
        raise InputError(
            f"Layer '{image.name}' has {image.ndim} axes; needed are (y, x) or (z, y, x), or "
            "affinities of shape (3, z, y, x) in one scale: fractions, or uint8. Split it, by "
            "Layers > Split Stack."
        )
    return image


def _model(inputs: NeuronsInputs) -> str:
    """Return the model if one is chosen."""
    if not inputs.model:
        raise InputError("There is no model. Choose one by its name or its folder.")
    return inputs.model


def _voxel_size(image: Image, level: int) -> tuple[float, ...] | None:
    """Voxel size in nanometres, or in what the layer says where that has no unit.

    None if nothing is known: a scale of 1 pixel is what napari gives to all images.
    """
    sizes = np.abs(np.asarray(_layers.like(image, level)["scale"], float))
    if all(unit.is_compatible_with("meter") for unit in image.units):
        pairs = zip(sizes, image.units, strict=True)
        return tuple(float((size * unit).to("nanometer").magnitude) for size, unit in pairs)
    if np.allclose(sizes, 1):
        return None
    return tuple(sizes.tolist())
