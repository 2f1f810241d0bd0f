"""What the neurons widget has computed in its thread: prediction, hierarchy, training.

Nothing here knows Qt or touches a layer: a request holds arrays, an outcome
holds what the widget shows.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.affinities.ops import Affinities, Offsets
    from napari_implicitseg.hierarchy._decisions import Decision
    from napari_implicitseg.hierarchy.building import FragmentChoice
    from napari_implicitseg.hierarchy.edits import Edit
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.hierarchy.tree import Hierarchy, Linkage
    from napari_implicitseg.widgets._neurons_edit_jobs import Request

__all__ = [
    "Outcome",
    "PredictRequest",
    "SegmentRequest",
    "TrainRequest",
    "direct_offsets",
    "of_layer",
    "share_at",
    "threshold_at",
    "warm_up",
]


@contextmanager
def of_layer(name: str) -> Iterator[None]:
    """Begin what is refused with the layer it is about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"Layer '{name}': {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a request came to; what it did not ask for is None.

    Attributes
    ----------
    request : Request
    affinities : Affinities or None
    work : Proofreading or None
    labels : ndarray of uint32 or None
    model : str
        Folder of a model that was trained.
    voxel : tuple of int or None
        Of what was corrected, if the request is a correction.
    said : str
        What was done.
    strokes : tuple of ndarray or None
        Where the strokes of a split are, as `numpy.nonzero` says it.
    decisions : list of Decision or None
    saliency : ndarray of float32 or None
    fragments : str
        How fragments were made, if neurons were.
    """

    request: Request
    affinities: Affinities | None = None
    work: Proofreading | None = None
    labels: LabelArray | None = None
    model: str = ""
    voxel: tuple[int, ...] | None = None
    said: str = ""
    strokes: tuple[NDArray[np.intp], ...] | None = None
    decisions: list[Decision] | None = None
    saliency: NDArray[np.float32] | None = None
    fragments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictRequest:
    """Affinities of an image by a model.

    Attributes
    ----------
    image : array, shape (*S) or (*S, C)
    name : str
        Of the layer, for messages.
    channel_axis : int or None
    spacing : tuple of float or None
        Voxel size in the unit of models; None if it is not known.
    model : str
        Folder, or name of a shipped model.
    """

    image: Any
    name: str
    channel_axis: int | None
    spacing: tuple[float, ...] | None
    model: str

    doing = "Predicting"

    def run(self, progress: Progress) -> Outcome:
        """Predict; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `predict_affinities` refuses, with the name of the layer.
        """
        from napari_implicitseg import api

        progress(0.0, "Reading the model")
        with of_layer(self.name):
            found = api.predict_affinities(
                self.image,
                self.model,
                spacing=self.spacing,
                channel_axis=self.channel_axis,
                progress=progress,
            )
        return Outcome(request=self, affinities=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRequest:
    """A hierarchy of affinities, cut at a threshold.

    Attributes
    ----------
    affinities : Affinities, or array, shape (K, *S)
        Fractions, bool, or uint8 with 255, or 1 where that is all there is, for one.
    offsets : tuple of tuple of int
        Of the first channels of an array; the others are left out.
    name : str
        Of the layer, for messages.
    linkage, fragments : str
    min_size : int or None
        Voxels of the smallest fragment.
    share : float
        Where the slider is, 0 to 1; see `threshold_at`.
    edits : tuple of Edit
        Corrections to replay.
    """

    affinities: Any
    offsets: Offsets
    name: str
    linkage: Linkage
    share: float
    edits: tuple[Edit, ...] = ()
    fragments: FragmentChoice = "auto"
    min_size: int | None = None

    doing = "Segmenting"

    def run(self, progress: Progress) -> Outcome:
        """Segment; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `build_hierarchy` refuses, with the name of the layer.
        """
        from napari_implicitseg import api
        from napari_implicitseg.hierarchy.proofreading import Proofreading

        progress(0.0, "Reading the affinities")
        with of_layer(self.name):
            affinities = self._affinities()
            fragments = self._method(affinities)
            hierarchy = api.build_hierarchy(
                affinities,
                linkage=self.linkage,
                fragments=fragments,
                min_size=self.min_size,
                progress=progress,
            )
            work = Proofreading(hierarchy, threshold_at(hierarchy, self.share), self.edits)
        return Outcome(request=self, work=work, labels=work.labels(), fragments=fragments)

    def _method(self, affinities: Affinities) -> FragmentChoice:
        """Return how fragments are made: a recipe has to know what "auto" came to."""
        from napari_implicitseg.hierarchy._components import as_affinities
        from napari_implicitseg.hierarchy.building import has_membranes

        if self.fragments != "auto":
            return self.fragments
        return "distance" if has_membranes(as_affinities(affinities, None)) else "watershed"

    def _affinities(self) -> Affinities:
        """Affinities, those of a layer with the offsets that their number stands for."""
        from napari_implicitseg.api import Affinities

        if isinstance(self.affinities, Affinities):
            return self.affinities
        values = np.asarray(self.affinities[: len(self.offsets)])
        data = np.ascontiguousarray(values, np.float32)
        if values.dtype == np.uint8 and values.max(initial=0) > 1:
            data *= np.float32(1 / 255)
            np.minimum(data, 1, out=data)
        return Affinities(data=data, offsets=self.offsets, spacing=(1.0,) * (data.ndim - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """A model that goes on learning from painted sections.

    Attributes
    ----------
    image : array, shape (*S) or (*S, C)
    labels : array of int, shape S
        0 is unlabelled.
    name : str
        Of the layer of the labels, for messages.
    channel_axis, spacing
        See `PredictRequest`.
    model : str
        What to go on from.
    steps : int
    out : str
        Folder of the new model.
    """

    image: Any
    labels: Any
    name: str
    channel_axis: int | None
    spacing: tuple[float, ...] | None
    model: str
    steps: int
    out: str

    doing = "Training"

    def run(self, progress: Progress) -> Outcome:
        """Train; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `train_affinities` refuses, with the name of the layer.
        """
        from napari_implicitseg import api

        progress(0.0, "Reading the labels")
        raw = self.image
        if self.channel_axis is not None:
            raw = np.moveaxis(np.asarray(raw), self.channel_axis, 0)
        # The user may paint on meanwhile.
        volume = api.TrainingVolume(
            raw=raw, labels=np.array(self.labels), spacing=self.spacing, name=f"'{self.name}'"
        )
        api.train_affinities(
            [volume],
            config=api.TrainConfig(steps=self.steps),
            out=self.out,
            start=self.model,
            progress=progress,
        )
        return Outcome(request=self, model=self.out)


def direct_offsets(number: int, ndim: int) -> tuple[tuple[int, ...], ...]:
    """Offsets of the last `number` axes: negative unit vectors.

    Raises
    ------
    InputError
        If there are more of them than axes, or fewer than 2.
    """
    if not 2 <= number <= ndim:
        raise InputError(
            f"There are {number} affinities per voxel of a volume with {ndim} axes; give those "
            "of the direct neighbours, along z, y and x or along y and x."
        )
    axes = range(ndim - number, ndim)
    return tuple(tuple(-int(a == axis) for a in range(ndim)) for axis in axes)


def threshold_at(hierarchy: Hierarchy, share: float) -> float:
    """Threshold that a place of the slider stands for; to the right there are more objects.

    Parameters
    ----------
    hierarchy : Hierarchy
    share : float
        0 to 1. Of linkages by affinity it is the threshold; of others the share of the merges
        that are not done.
    """
    if hierarchy.by_affinity:
        return share
    merges = np.sort(hierarchy.altitudes[hierarchy.size :])
    merges = merges[np.isfinite(merges)]
    done = round((1 - share) * len(merges))
    return float(merges[done - 1]) if done else 0.0


def share_at(hierarchy: Hierarchy, threshold: float) -> float:
    """Place of the slider that a threshold stands for, 0 to 1; see `threshold_at`."""
    if hierarchy.by_affinity:
        return float(min(max(threshold, 0.0), 1.0))
    merges = hierarchy.altitudes[hierarchy.size :]
    merges = merges[np.isfinite(merges)]
    return float(1 - np.count_nonzero(merges <= threshold) / max(1, len(merges)))


def warm_up(progress: Progress) -> None:
    """Import what a segmentation needs and compile it, on a tiny volume."""
    from napari_implicitseg import api
    from napari_implicitseg.hierarchy._lookups import look_up
    from napari_implicitseg.hierarchy.proofreading import Proofreading

    labels = np.ones((4, 12, 12), np.int64)
    labels[:, :, 6:] = 2
    labels[:, :5] += 2
    found = api.labels_to_affinities(labels, direct_offsets(3, 3))
    for fragments in ("distance", "watershed"):
        hierarchy = api.build_hierarchy(found, fragments=fragments, min_size=2, progress=progress)
    work = Proofreading(hierarchy, 0.5)
    work.merge((0, 0, 0), (0, 0, 11))
    work.split([[(0, 0, 0)], [(0, 0, 11)]])
    work.uncertain(1)
    progress(1.0, "Warmed up")
    # Textures of few colours and of many.
    for kind in (np.uint8, np.uint16):
        flat = work.fragments.reshape(-1)
        look_up(work.lookup.astype(kind), flat, np.empty(flat.shape, kind))
