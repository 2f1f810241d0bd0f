"""A tree of merges over fragments, and the segmentations it holds.

Cutting it at a threshold takes milliseconds, as only regions are looked at: voxels
follow by the fragment they are in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._checks import (
    check_affinities,
    check_graph,
    checked_altitudes,
    checked_fragments,
    leaves_of,
)
from napari_implicitseg.hierarchy._components import checked_threshold
from napari_implicitseg.hierarchy._lookups import number_roots, paint, roots_up_to

if TYPE_CHECKING:
    import higra as hg
    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.hierarchy.components import ThresholdCurve
    from napari_implicitseg.hierarchy.region_graph import RegionGraph
    from napari_implicitseg.metrics import Contingency

__all__ = ["AFFINITY_LINKAGES", "Hierarchy", "Linkage", "check_linkage", "checked_affinity"]

Linkage = Literal["single", "mean", "quantile", "ward", "area", "dynamics", "volume"]
"""How the order of merges is found."""
AFFINITY_LINKAGES = ("single", "mean", "quantile")
"""Those whose merges have an affinity."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hierarchy:
    """Fragments of a volume and the order in which they merge.

    Attributes
    ----------
    fragments : ndarray of uint32, shape S
        1 to N, each in use; 0 belongs to nothing. Other integers are converted.
    tree : higra.Tree
        Leaf i is fragment i + 1, other nodes are merges, of two regions each.
    altitudes : ndarray of float64, shape (2 N - 1,)
        0 for leaves; of a merge 1 minus its affinity, or what `linkage` measures. They do not
        fall towards the root; infinite where regions never touch.
    linkage : str
        How the merges were ordered.
    graph : RegionGraph, optional
        The fragments' contacts; what seeds go by.
    affinities : Affinities, optional
        What it was made from; by them fragments are cut that hold several seeds.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """

    fragments: LabelArray
    tree: hg.Tree
    altitudes: NDArray[np.float64]
    linkage: Linkage = "mean"
    graph: RegionGraph | None = None
    affinities: Affinities | None = None

    def __post_init__(self) -> None:
        check_linkage(self.linkage)
        number = leaves_of(self.tree)
        altitudes = checked_altitudes(self.altitudes, self.parents, by_affinity=self.by_affinity)
        object.__setattr__(self, "fragments", checked_fragments(self.fragments, number))
        object.__setattr__(self, "altitudes", altitudes)
        if self.graph is not None:
            check_graph(self.graph, number)
        if self.affinities is not None:
            check_affinities(self.affinities, self.fragments.shape)

    def __repr__(self) -> str:
        """Name the sizes; the arrays may be long."""
        return f"Hierarchy({self.size} fragments of {self.fragments.shape}, by {self.linkage})"

    @property
    def size(self) -> int:
        """Number of fragments."""
        return (len(self.altitudes) + 1) // 2

    @property
    def by_affinity(self) -> bool:
        """Whether a threshold is an affinity, 0 to 1."""
        return self.linkage in AFFINITY_LINKAGES

    @cached_property
    def parents(self) -> NDArray[np.int64]:
        """Parent of each node; the root's is itself."""
        return np.asarray(self.tree.parents(), np.int64)

    def cut(self, threshold: float) -> LabelArray:
        """Segmentation at a threshold.

        Parameters
        ----------
        threshold : float
            Of linkages by affinity ("single", "mean", "quantile"), 0 to 1: regions
            whose affinity is larger are one object, so that lower thresholds merge more. Of
            others, an altitude: merges up to it are done, so that higher ones merge more.

        Returns
        -------
        ndarray of uint32, shape S
            Objects from 1, by their first fragment; 0 where no fragment is.

        Raises
        ------
        InputError
            If the threshold is no number, or out of range.
        """
        return self.painted(self.fragment_labels(threshold))

    def cut_into(self, objects: int) -> LabelArray:
        """Segmentation of so many objects, or of the next smaller number there is.

        Parameters
        ----------
        objects : int
            At least 1. Regions that never touch are not joined: where there are more of them,
            they are what is left.

        Returns
        -------
        ndarray of uint32, shape S

        Raises
        ------
        InputError
            If it is no whole number from 1.
        """
        return self.painted(self.labels_of_number(objects))

    def cut_with_seeds(self, seeds: ArrayLike, threshold: float | None = None) -> LabelArray:
        """Segmentation in which seeds of different ids are never in one object.

        Regions merge by affinity, the best first, unless both have seeds and these differ.
        Where seeds of several ids lie in one fragment, it is cut between them.

        Parameters
        ----------
        seeds : array_like of int, shape S
            0 where there is no seed.
        threshold : float, optional
            0 to 1: regions whose affinity is not above it are not merged, and objects without
            seeds get new ids. By default every region goes to a seed, if a path of contacts
            leads to one.

        Returns
        -------
        ndarray of uint32, shape S
            Objects have the ids of their seeds; 0 where no seed is reached.

        Raises
        ------
        InputError
            If the seeds do not fit the volume, or none lies in a fragment; or for a threshold
            where there are no affinities.
        """
        from napari_implicitseg.hierarchy.seeded import cut_by_seeds

        if threshold is not None:
            threshold = checked_affinity(threshold)
        return cut_by_seeds(self, seeds, threshold)

    def cut_optimal(self, threshold: float = 0.5) -> LabelArray:
        """Segmentation of the tree's regions that costs least, each region at its own level.

        See `optimal_labels`.
        """
        from napari_implicitseg.hierarchy.cuts import optimal_labels

        return self.painted(optimal_labels(self, threshold))

    def curve(
        self, truth: Any, thresholds: ArrayLike | None = None, *, ignore: int | None = 0
    ) -> ThresholdCurve:
        """Scores of its cuts at many thresholds, from one comparison of voxels.

        Fragments are compared with the truth once; what each threshold joins follows from the
        table of that.

        Parameters
        ----------
        truth : array_like of int or bool, shape S
            NumPy, zarr, dask, HDF5; ids are 0 and up.
        thresholds : array_like of float, shape (T,), optional
            As of `cut`. By default about a hundred: of linkages by affinity an even grid from 0 to
            1, and of all the levels that leave numbers of objects on a logarithmic scale.
        ignore : int, optional
            Label of the truth whose voxels are left out; None leaves out none.

        Returns
        -------
        ThresholdCurve
            Its `best` is the point of the lowest VOI.

        Raises
        ------
        InputError
            If the truth is of another shape or holds no integers, there is no voxel to compare,
            or a threshold is none or out of range.

        Examples
        --------
        >>> from napari_implicitseg.hierarchy.building import build_hierarchy
        >>> row = [[[0, 0.9, 0.2, 0.8, 0.1, 0.7]], [[0] * 6]]
        >>> hierarchy = build_hierarchy(row, offsets=[(0, -1), (-1, 0)])
        >>> curve = hierarchy.curve([[5, 5, 5, 5, 8, 8]], [0.05, 0.15, 0.5])
        >>> curve.objects.tolist(), curve.best().threshold
        ([1, 2, 3], 0.15)
        """
        from napari_implicitseg.hierarchy.lookup_curve import hierarchy_curve

        return hierarchy_curve(self, self._compared(truth, ignore), thresholds)

    def painted(self, lookup: NDArray[Any]) -> LabelArray:
        """Volume of the labels of its fragments.

        Parameters
        ----------
        lookup : ndarray of uint32, shape (N + 1,)
            Label of each fragment, by its id; that of 0 comes first.

        Returns
        -------
        ndarray of uint32, shape S

        Raises
        ------
        InputError
            If there is not one label for each fragment.
        """
        values = np.asarray(lookup)
        if values.shape != (self.size + 1,) or values.dtype.kind not in "iub":
            raise InputError(
                f"The labels are {values.dtype} {values.shape}; give whole numbers for the "
                f"{self.size} fragments and that of 0 first, {self.size + 1} in all."
            )
        return paint(np.ascontiguousarray(values, np.uint32), self.fragments)

    def fragment_labels(self, threshold: float) -> NDArray[np.uint32]:
        """Label of each fragment at a threshold: shape (N + 1,), that of id 0, 0, first."""
        return self._labels_at(self.level_of(threshold), inclusive=not self.by_affinity)

    def labels_of_number(self, objects: int) -> NDArray[np.uint32]:
        """Label of each fragment where there are so many objects; see `cut_into`."""
        if isinstance(objects, bool) or not isinstance(objects, int | np.integer) or objects < 1:
            raise InputError(f"objects is {objects!r}; give a whole number from 1.")
        merges = np.sort(self.altitudes[self.size :])
        merges = merges[np.isfinite(merges)]
        wanted = self.size - int(objects)
        if wanted <= 0 or not len(merges):
            return self._labels_at(-math.inf, inclusive=False)
        return self._labels_at(float(merges[min(wanted, len(merges)) - 1]), inclusive=True)

    def level_of(self, threshold: float) -> float:
        """Altitude that a threshold stands for."""
        if self.by_affinity:
            return 1 - checked_affinity(threshold)
        try:
            value = float(threshold)
        except (TypeError, ValueError) as error:
            raise InputError(f"The threshold is {threshold!r}; give a number.") from error
        if not value >= 0:
            raise InputError(f"The threshold is {value:g}; altitudes are not negative.")
        return min(value, float(np.finfo(np.float64).max))

    def _compared(self, truth: Any, ignore: int | None) -> Contingency:
        """Table of the fragments and a truth."""
        from napari_implicitseg.metrics import contingency_blocks

        try:
            volume = truth if hasattr(truth, "dtype") else np.asarray(truth)
        except ValueError as error:
            raise InputError(
                "The truth is made of lists of different lengths; give an array of integers."
            ) from error
        shape = tuple(getattr(volume, "shape", ()))
        if shape != self.fragments.shape:
            raise InputError(
                f"The truth has shape {shape}, but the hierarchy is of {self.fragments.shape}; "
                "give the truth of the same voxels."
            )
        return contingency_blocks(self.fragments, volume, ignore=ignore)

    def _labels_at(self, level: float, *, inclusive: bool) -> NDArray[np.uint32]:
        """Label of each fragment where merges below a level are done."""
        lookup = np.zeros(self.size + 1, np.uint32)
        roots = np.empty(len(self.altitudes), np.int64)
        roots_up_to(self.parents, self.altitudes, level, inclusive, roots)
        number_roots(roots, lookup)
        return lookup


def checked_affinity(threshold: Any) -> float:
    """Return a threshold of affinities, as precise as they are: 0.3 is not above 0.3."""
    return float(checked_threshold(threshold))


def check_linkage(linkage: Any) -> None:
    """Refuse what is no linkage."""
    if linkage not in get_args(Linkage):
        raise InputError(f"linkage is {linkage!r}; choose one of {', '.join(get_args(Linkage))}.")
