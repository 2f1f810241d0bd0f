"""What the neurons widget has computed of neurons there are: cuts by seeds, corrections.

Like `_neurons_jobs`, this knows neither Qt nor layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._neurons_jobs import (
    Outcome,
    PredictRequest,
    SegmentRequest,
    TrainRequest,
    of_layer,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.hierarchy.tree import Hierarchy

__all__ = [
    "Correction",
    "MaskRequest",
    "Request",
    "SaliencyRequest",
    "SeedRequest",
    "SowRequest",
    "SplitRequest",
    "UncertainRequest",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRequest:
    """A cut by seeds, in a volume of its own.

    Attributes
    ----------
    hierarchy : Hierarchy
    seeds : ndarray of int, shape S
    name : str
        Of the layer of the seeds, for messages.
    """

    hierarchy: Hierarchy
    seeds: Any
    name: str

    doing = "Cutting by seeds"

    def run(self, progress: Progress) -> Outcome:
        """Cut; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `Hierarchy.cut_with_seeds` refuses, with the name of the layer.
        """
        progress(0.0, "Cutting by seeds")
        with of_layer(self.name):
            labels = self.hierarchy.cut_with_seeds(np.asarray(self.seeds))
        return Outcome(request=self, labels=labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class SowRequest:
    """A correction by seeds.

    Attributes
    ----------
    work : Proofreading
        A copy, which is changed.
    seeds : array of int, shape S
    name : str
        Of their layer, for messages.
    """

    work: Proofreading
    seeds: Any
    name: str

    doing = "Cutting by seeds"
    again = "Cut by seeds"

    def run(self, progress: Progress) -> Outcome:
        """Cut and merge; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `Proofreading.seed` refuses, with the name of the layer.
        """
        progress(0.0, "Cutting by seeds")
        seeds = np.array(self.seeds)
        with of_layer(self.name):
            self.work.seed(seeds)
        number = len(np.unique(seeds[seeds > 0]))
        said = f"Seeds of {number} neurons were put into effect; undo takes them back."
        return Outcome(request=self, work=self.work, voxel=_first(np.nonzero(seeds)), said=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """A split of neurons between strokes.

    Attributes
    ----------
    work : Proofreading
        A copy, which is changed.
    strokes : array of int, shape S
    name : str
        Of their layer, for messages.
    """

    work: Proofreading
    strokes: Any
    name: str

    doing = "Splitting"
    again = "Split"

    def run(self, progress: Progress) -> Outcome:
        """Split; in the worker thread.

        Raises
        ------
        InputError
            If there are no strokes, or no object has strokes of two ids.
        """
        progress(0.0, "Splitting")
        strokes = np.array(self.strokes)
        shape = self.work.fragments.shape
        if strokes.shape != shape:
            raise InputError(
                f"Layer '{self.name}' has shape {strokes.shape} but the neurons have {shape}. "
                "Make a matching one with New scribbles."
            )
        places = np.nonzero(strokes)
        if not len(places[0]):
            raise InputError(
                f"Layer '{self.name}' is empty. Paint two strokes of different labels into the "
                "neuron that is to be cut; M is the next label."
            )
        self.work.split(strokes)
        return Outcome(request=self, work=self.work, voxel=_first(places), strokes=places)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRequest:
    """A correction by a mask that another panel has made of a neuron.

    Attributes
    ----------
    work : Proofreading
        A copy, which is changed.
    voxel : tuple of int
        Of the neuron, as it was handed over.
    masks : array of int
        Of a box of the volume; 0 is no mask.
    start : tuple of int
        Where the box begins.
    axis : int
        Of the sections: those without a mask stay as they are.
    name : str
        Of the layer of the masks, for messages.
    """

    work: Proofreading
    voxel: tuple[int, ...]
    masks: Any
    start: tuple[int, ...]
    axis: int
    name: str

    doing = "Taking a neuron back"
    again = "Take neuron back"

    def run(self, progress: Progress) -> Outcome:
        """Correct; in the worker thread.

        Raises
        ------
        InputError
            If there is no mask, none lies on the neuron, or a neuron in its way is frozen.
        """
        from napari_implicitseg.widgets._neurons_masks import agreement, seeds_of_masks

        progress(0.0, self.doing)
        masks = np.array(self.masks)
        with of_layer(self.name):
            seeds, voxel = seeds_of_masks(self.work, self.voxel, masks, self.start, self.axis)
            self.work.seed(seeds)
        share = agreement(self.work, voxel, masks, self.start, self.axis)
        said = (
            f"Took the mask of '{self.name}' back: {share:.1%} of its voxels and the neuron's are "
            "the same there. Undo takes it back."
        )
        return Outcome(request=self, work=self.work, voxel=voxel, said=said)


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertainRequest:
    """The decisions that were closest.

    Attributes
    ----------
    work : Proofreading
        A copy.
    limit : int
        How many.
    """

    work: Proofreading
    limit: int

    doing = "Looking for uncertain decisions"

    def run(self, progress: Progress) -> Outcome:
        """Look; in the worker thread."""
        progress(0.0, self.doing)
        return Outcome(request=self, decisions=self.work.uncertain(self.limit))


@dataclass(frozen=True, slots=True, kw_only=True)
class SaliencyRequest:
    """An image of the borders of a hierarchy.

    Attributes
    ----------
    hierarchy : Hierarchy
    """

    hierarchy: Hierarchy

    doing = "Drawing the borders"

    def run(self, progress: Progress) -> Outcome:
        """Draw; in the worker thread."""
        from napari_implicitseg.hierarchy.cuts import saliency_map

        progress(0.0, self.doing)
        borders = saliency_map(self.hierarchy)
        # What is never joined is as salient as the most that is.
        finite = borders[np.isfinite(borders)]
        np.minimum(borders, 1 if self.hierarchy.by_affinity else finite.max(), out=borders)
        return Outcome(request=self, saliency=borders)


Correction = SowRequest | SplitRequest | MaskRequest
"""Requests whose outcome is one edit more."""

Request = (
    PredictRequest
    | SegmentRequest
    | TrainRequest
    | SeedRequest
    | Correction
    | UncertainRequest
    | SaliencyRequest
)


def _first(places: tuple[NDArray[np.intp], ...]) -> tuple[int, ...]:
    """Return the first of some voxels."""
    return tuple(int(axis[0]) for axis in places)
