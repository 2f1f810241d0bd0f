"""What the evaluation widget reads from layers: two segmentations of the same voxels."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.transforms.transform_utils import compose_linear_matrix

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._evaluate_jobs import Cut, EvaluateRequest
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._neurons_link import link_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._evaluate_jobs import Known

__all__ = [
    "EvaluateInputs",
    "advise",
    "build_request",
    "fine_voxel",
    "looks_like_truth",
    "present_cut",
    "unit_of",
]

# Layers this far apart, in voxels, lie on each other for all that can be seen.
_APART = 0.5


@dataclass(frozen=True, slots=True)
class EvaluateInputs:
    """What the user has chosen.

    Attributes
    ----------
    labels, truth : Labels or None
    ignore : int or None
        Label of the truth whose voxels are left out.
    border : float or None
        Distance from borders of the truth up to which voxels are left out, in the unit of the
        layer of the truth.
    anywhere : bool
        Whether to compare by index, wherever the layers lie.
    """

    labels: Labels | None = None
    truth: Labels | None = None
    ignore: int | None = 0
    border: float | None = None
    anywhere: bool = False


def looks_like_truth(layer: Layer) -> bool:
    """Whether the name of a layer says that it is the truth."""
    words = layer.name.lower().replace("_", " ").replace("-", " ").split()
    return "groundtruth" in words or "gt" in words or any(w.startswith("truth") for w in words)


def advise(viewer: ViewerModel, inputs: EvaluateInputs) -> str:
    """Say what to do next."""
    there = [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels) and not layer.metadata.get(HIDDEN_FROM_CHOICES)
    ]
    labels, truth = inputs.labels, inputs.truth
    if not there:
        return "Open a segmentation and its truth, each as a Labels layer."
    if len(there) == 1:
        return f"There is only one Labels layer, '{there[0].name}'. Open the other as a second one."
    if labels is None or truth is None:
        return "Choose the layer of the truth." if truth is None else "Choose the labels."
    if labels is truth:
        return f"'{labels.name}' is chosen twice. Choose the truth it is to be compared with."
    return f"Press Evaluate to compare '{labels.name}' with '{truth.name}'."


def build_request(inputs: EvaluateInputs, known: Known | None = None) -> EvaluateRequest:
    """Ask for an evaluation of the layers chosen, as they are now.

    Parameters
    ----------
    inputs : EvaluateInputs
    known : Known, optional
        What an evaluation of the same neurons has counted before.

    Raises
    ------
    InputError
        If a layer is missing, or they are not of the same voxels.
    """
    labels, truth = inputs.labels, inputs.truth
    if labels is None or truth is None:
        raise InputError("Two Labels layers are needed: choose the labels and their truth.")
    if labels is truth:
        raise InputError(
            f"Layer '{labels.name}' is chosen as labels and as truth. Choose another layer for one "
            "of them."
        )
    levels = _same_levels(labels, truth)
    if not inputs.anywhere:
        _check_places(labels, truth, levels)
    sizes = np.array(_layers.spacing_of(truth)) * _factors(truth, levels[1])
    return EvaluateRequest(
        labels=_layers.level_data(labels, levels[0]),
        truth=_layers.level_data(truth, levels[1]),
        names=(labels.name, truth.name),
        levels=levels,
        ignore=inputs.ignore,
        border=inputs.border,
        spacing=tuple(float(s) for s in sizes),
        cut=present_cut(labels),
        known=known,
    )


def present_cut(labels: Labels | None) -> Cut | None:
    """Return how *Volume to neurons* cuts a layer now; None of other layers."""
    link = link_of(labels)
    work = None if link is None else link.work()
    if labels is None or work is None or work.fragments.shape != labels.data.shape:
        return None
    return Cut(
        hierarchy=work.hierarchy,
        fragments=work.fragments,
        lookup=work.lookup,
        threshold=float(work.threshold),
        edits=len(work.edits),
    )


def fine_voxel(layer: Labels, level: int, voxel: tuple[int, ...]) -> tuple[float, ...]:
    """Return where the middle of a voxel of a level is in the finest one."""
    middle = (np.array(voxel) + 0.5) * _factors(layer, level) - 0.5
    return tuple(float(value) for value in middle)


def unit_of(layer: Layer | None) -> str:
    """Return the unit of distances in the sections of a layer, for a person to read."""
    unit = "px" if layer is None else f"{layer.units[-1]:~P}"
    return "px" if unit == "pixel" else unit


def _factors(layer: Labels, level: int) -> NDArray[np.float64]:
    """How many voxels of the finest level one of a level is long, per axis."""
    shapes = np.array(_layers.level_shapes(layer), float)
    found: NDArray[np.float64] = shapes[0] / shapes[level]
    return found


def _same_levels(labels: Labels, truth: Labels) -> tuple[int, int]:
    """Find the finest levels of both layers that have one shape.

    Raises
    ------
    InputError
        If there are none.
    """
    ours, theirs = _layers.level_shapes(labels), _layers.level_shapes(truth)
    for one, shape in enumerate(ours):
        if shape in theirs:
            return one, theirs.index(shape)
    has = [" or ".join(str(s) for s in shapes) for shapes in (ours, theirs)]
    raise InputError(
        f"Layer '{labels.name}' has shape {has[0]} but '{truth.name}' has {has[1]}. Choose layers "
        "of the same voxels, or crop one of them."
    )


def _check_places(labels: Labels, truth: Labels, levels: tuple[int, int]) -> None:
    """Refuse layers whose voxels do not lie on each other.

    Raises
    ------
    InputError
        If they do not.
    """
    pair = (labels, truth)
    one, other = (_to_world(layer, level) for layer, level in zip(pair, levels, strict=True))
    factors = [_in_unit(u, v) for u, v in zip(truth.units, labels.units, strict=True)]
    other = np.diag([*factors, 1.0]) @ other
    shape = _layers.level_shapes(labels)[levels[0]]
    corners = np.array([[*c, 1] for c in itertools.product(*((0, n - 1) for n in shape))], float)
    moved = corners @ (np.linalg.inv(one) @ other).T - corners
    if np.abs(moved).max() <= _APART:
        return
    mend = (
        "Give both the same scale and translate, or tick "
        '"Compare by index" under Advanced if they are of the same voxels all the same.'
    )
    if np.allclose(one[:-1, :-1], other[:-1, :-1], rtol=1e-3):
        by = ", ".join(f"{v:.3g}" for v in moved[0, :-1])
        raise InputError(
            f"Layers '{labels.name}' and '{truth.name}' have the same shape but lie apart, by "
            f"({by}) voxels. {mend}"
        )
    scales = [_words(layer) for layer in pair]
    raise InputError(
        f"Layer '{labels.name}' has scale {scales[0]} but '{truth.name}' has {scales[1]}: their "
        f"voxels do not lie on each other. {mend}"
    )


def _words(layer: Labels) -> str:
    """Return the scale of a layer with its unit, and what else turns it."""
    plain = np.allclose(layer.affine.linear_matrix, np.eye(layer.ndim)) and np.allclose(
        compose_linear_matrix(layer.rotate, np.ones(layer.ndim), layer.shear), np.eye(layer.ndim)
    )
    scale = ", ".join(f"{s:.4g}" for s in layer.scale)
    return f"({scale}) {unit_of(layer)}" + ("" if plain else " and is turned or sheared")


def _to_world(layer: Labels, level: int) -> NDArray[np.float64]:
    """Matrix from the voxels of a level to the world."""
    place = _layers.like(layer, level)
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, :-1] = compose_linear_matrix(layer.rotate, place["scale"], layer.shear)
    matrix[:-1, -1] = place["translate"]
    found: NDArray[np.float64] = layer.affine.affine_matrix @ matrix
    return found


def _in_unit(unit: Any, wanted: Any) -> float:
    """How many of one unit another is; 1 where that says nothing, as for pixels."""
    return float(wanted.m_from(1 * unit)) if unit.is_compatible_with(wanted) else 1.0
