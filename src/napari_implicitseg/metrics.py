"""How far a segmentation is from the truth, all of it from one contingency table.

The scores of segmentations into objects, whose ids mean nothing. Those of classes are in
`class_scores`, those of objects matched one to one in `matching`, and the objects that cost
most in `mistakes`; `evaluation` has all of them under one name.

>>> table = contingency([1, 1, 2, 2], [5, 5, 5, 5])
>>> voi(table).split, rand_index(table)
(1.0, 0.3333333333333333)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_implicitseg._block_tables import contingency_blocks
from napari_implicitseg._contingency import Contingency, compared_voxels, contingency

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "AdaptedRand",
    "Contingency",
    "VariationOfInformation",
    "adapted_rand",
    "contingency",
    "contingency_blocks",
    "cremi_score",
    "rand_index",
    "voi",
]

# Up to this many voxels the number of ordered pairs fits into int64.
_INT64_PAIRS = 3_000_000_000


class VariationOfInformation(NamedTuple):
    """Variation of information, in bits; 0 is perfect.

    Attributes
    ----------
    split : float
        H(labels | truth): what is still unknown of the segment when the true object is known.
        Objects cut into pieces raise it.
    merge : float
        H(truth | labels). Objects joined together raise it.
    """

    split: float
    merge: float

    @property
    def total(self) -> float:
        """Sum of both."""
        return self.split + self.merge


class AdaptedRand(NamedTuple):
    """Adapted Rand error, 0 to 1, and what it is made of.

    Attributes
    ----------
    error : float
        1 minus the F score (harmonic mean) of `precision` and `recall`; 0 is perfect.
    precision : float
        Share of the voxel pairs in one segment that are in one true object: merges lower it.
        1 where no two voxels are in one segment.
    recall : float
        Share of the voxel pairs in one true object that are in one segment: splits lower it.
        1 where no two voxels are in one true object.
    """

    error: float
    precision: float
    recall: float


def voi(table: Contingency) -> VariationOfInformation:
    """Variation of information between a segmentation and the truth, in bits.

    Parameters
    ----------
    table : Contingency

    Returns
    -------
    VariationOfInformation
        `split` and `merge`.

    Raises
    ------
    InputError
        If no voxel was compared.

    References
    ----------
    M. Meila, "Comparing clusterings: an information based distance", Journal of Multivariate
    Analysis 98 (2007), 873-895.
    """
    total = compared_voxels(table)
    # The quotients are 1 where two objects are the same, and the logarithm exactly 0.
    split = np.log2(table.truth_sizes[table.columns] / table.counts)
    merge = np.log2(table.label_sizes[table.rows] / table.counts)
    share = table.counts / total
    return VariationOfInformation(float((share * split).sum()), float((share * merge).sum()))


def rand_index(table: Contingency) -> float:
    """Share of the pairs of voxels that both sides treat alike, as together or as apart.

    Most pairs are apart on both sides, so that even a bad segmentation of many objects comes
    close to 1; `adapted_rand` does not suffer from that.

    Parameters
    ----------
    table : Contingency

    Returns
    -------
    float
        0 to 1; 1 is perfect.

    Raises
    ------
    InputError
        If no voxel was compared.

    References
    ----------
    W. M. Rand, "Objective criteria for the evaluation of clustering methods", Journal of the
    American Statistical Association 66 (1971), 846-850.
    """
    total = compared_voxels(table)
    both = _pairs(table.counts)
    differing = _pairs(table.label_sizes) + _pairs(table.truth_sizes) - 2 * both
    pairs = total * (total - 1)
    return (pairs - differing) / pairs if pairs else 1.0


def adapted_rand(table: Contingency, *, background: int | None = None) -> AdaptedRand:
    """Adapted Rand error, as the ISBI 2012, SNEMI3D and CREMI challenges define it.

    The voxels outside the objects of the truth are left out by the `ignore` of `contingency`.
    The error is that of scikit-image's `adapted_rand_error`, which returns precision and recall
    in each other's place (its issue 6485).

    Parameters
    ----------
    table : Contingency
    background : int, optional
        Label of the segmentation whose voxels count as objects of one voxel each, as the
        challenges mean label 0. By default there is none: label 0 is one object like any other,
        as in scikit-image.

    Returns
    -------
    AdaptedRand
        `error`, `precision` and `recall`.

    Raises
    ------
    InputError
        If no voxel was compared.

    References
    ----------
    I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms for
    connectomics", Frontiers in Neuroanatomy 9 (2015), 142.
    """
    compared_voxels(table)
    counts, sizes = table.counts, table.label_sizes
    if background is not None:
        counts = counts[table.label_ids[table.rows] != background]
        sizes = sizes[table.label_ids != background]
    both, claimed, true = _pairs(counts), _pairs(sizes), _pairs(table.truth_sizes)
    return AdaptedRand(
        error=(claimed + true - 2 * both) / (claimed + true) if claimed + true else 0.0,
        precision=both / claimed if claimed else 1.0,
        recall=both / true if true else 1.0,
    )


def cremi_score(table: Contingency, *, background: int | None = None) -> float:
    """Score of the CREMI challenge: geometric mean of VOI sum and adapted Rand error.

    Parameters
    ----------
    table : Contingency
    background : int, optional
        As in `adapted_rand`.

    Returns
    -------
    float
        0 is perfect.

    Raises
    ------
    InputError
        If no voxel was compared.
    """
    return math.sqrt(voi(table).total * adapted_rand(table, background=background).error)


def _pairs(sizes: NDArray[np.int64]) -> int:
    """Ordered pairs of different voxels in one set, exactly: they outgrow 64 bits."""
    if int(sizes.sum()) <= _INT64_PAIRS:
        return int(np.dot(sizes, sizes - 1))
    return sum(n * (n - 1) for n in sizes.tolist())
