"""MALIS: maximin affinity learning of image segmentation, exactly and in quasi-linear time.

At a threshold two voxels are one object if a path of edges above it joins them. The
weakest edge of the best such path, their maximin edge, decides at which threshold
that ends; it is an edge of the maximum spanning tree. So each edge of the tree
decides about all pairs of voxels that it joins, and a loss over all pairs of voxels is
a weighted sum over the edges of the tree.
"""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_implicitseg.affinities._passes import Buffers, pairs_in_one_tree, pairs_inside
from napari_implicitseg.affinities._sample import make_sample
from napari_implicitseg.affinities.ops import Affinities, checked_offsets
from napari_implicitseg.config import PairLoss
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.affinities._sample import Sample
    from napari_implicitseg.affinities.ops import Offsets

__all__ = ["Constrained", "MalisCounts", "malis_loss", "malis_pair_counts"]

Constrained = Literal["positive", "negative"]
"""Passes in which edges are set to their truth first."""

# Side of the patches in which the sampled version looks for pairs (Turaga et al. 2009).
_PATCH = 21
# Added to probabilities before their logarithm: the loss stays finite and keeps its slope.
_LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MalisCounts:
    """Pairs of voxels that each edge of a maximum spanning tree joins.

    Attributes
    ----------
    positive, negative : ndarray of int64, shape (K, *S)
        Pairs of one label, and of different labels; 0 off the tree. Aligned with the affinities.
    """

    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


def malis_pair_counts(
    affinities: ArrayLike | Affinities,
    labels: ArrayLike,
    offsets: Any = None,
    *,
    constrained: Constrained | None = None,
    mask: BoolArray | None = None,
) -> MalisCounts:
    """Count the voxel pairs that each edge of the maximum spanning tree joins.

    Edges are taken from the highest affinity down, and joined sets grow. An edge that joins two
    sets is the maximin edge of all pairs between them. Pairs of labelled voxels are counted. Of
    edges with one affinity that of the lower channel comes first, then that which starts from the
    earlier voxel in C order. Voxels that no usable edge connects are no pair of any edge.

    Parameters
    ----------
    affinities : array_like of float, shape (K, *S), or Affinities
        Within 0 to 1, compared as float32. `affinities[k][p]` belongs to the edge from `p` to
        `p + offsets[k]`, if that is inside.
    labels : array_like of int or bool, shape S
        2D or 3D, ids of any size. Voxels of label 0 are in no pair, but connect others.
    offsets : sequence of K sequences of int
        In voxels, axis order. May be left out for `Affinities`.
    constrained : {None, "positive", "negative"}
        None builds one tree, for both counts. `"positive"` sets edges between objects to 0, their
        truth, and counts pairs of one label: only edges inside an object count, so pairs in parts
        of an object that it does not connect itself are left out. `"negative"` sets edges
        inside objects to 1, their truth, and counts pairs of different labels: connected parts of
        an object are joined before everything else. Edges that touch unlabelled voxels keep their
        affinity. The other count is 0 everywhere.
    mask : ndarray of bool, shape (K, *S), optional
        Edges that may be used; all by default. The mask of `Affinities` counts too.

    Returns
    -------
    MalisCounts

    Raises
    ------
    InputError
        If affinities are no numbers within 0 to 1, the labels no integers, or shapes and offsets
        do not fit together.

    Notes
    -----
    Time is that of sorting the edges by their bits, memory beyond inputs and result about 30 bytes
    per voxel for the constrained passes and three channels. The interpreter lock is released.

    References
    ----------
    .. [1] S. Turaga, K. Briggman, M. Helmstaedter, W. Denk and S. Seung, "Maximin affinity
       learning of image segmentation", NIPS 2009.
    .. [2] J. Funke et al., "Large scale image segmentation with structured loss based deep
       learning for connectome reconstruction", IEEE TPAMI 41 (2018).

    Examples
    --------
    >>> counts = malis_pair_counts([[[0, 0.9, 0.2, 0.8]]], [[1, 1, 2, 2]], [(0, -1)])
    >>> counts.positive.tolist(), counts.negative.tolist()
    ([[[0, 1, 0, 1]]], [[[0, 0, 4, 0]]])
    """
    if constrained is not None and constrained not in get_args(Constrained):
        raise InputError(
            f'constrained is {constrained!r}; it may be None, "positive" or "negative".'
        )
    if isinstance(affinities, Affinities):
        if offsets is not None and checked_offsets(offsets, affinities.ndim) != affinities.offsets:
            raise InputError(
                f"offsets is {offsets!r}, but the affinities have {affinities.offsets}; leave "
                "offsets out."
            )
        offsets = affinities.offsets
        if affinities.mask is not None:
            mask = affinities.mask if mask is None else affinities.mask & mask
        affinities = affinities.data
    sample = make_sample(affinities, labels, offsets, mask)
    shape = np.shape(affinities)
    # Pages of zeros that are not written to take no memory.
    counts = MalisCounts(positive=np.zeros(shape, np.int64), negative=np.zeros(shape, np.int64))
    if constrained == "positive":
        pairs_inside(sample, Buffers(), counts.positive.reshape(-1))
        return counts
    names, one_label, two_labels = pairs_in_one_tree(
        sample, Buffers(), contracted=constrained == "negative"
    )
    counts.negative.reshape(-1)[names] = two_labels
    if constrained is None:
        counts.positive.reshape(-1)[names] = one_label
    return counts


def malis_loss(
    affinities: Tensor,
    labels: Tensor | ArrayLike,
    offsets: Any,
    *,
    pair_loss: PairLoss = "squared",
    positive_weight: float = 0.5,
    constrained: bool = True,
    mask: Tensor | BoolArray | None = None,
    pairwise: bool = False,
    seed: int | Sequence[int] = 0,
) -> Tensor:
    r"""Loss of affinities over all pairs of labelled voxels, by their maximin affinity.

    With the counts w+ and w- of `malis_pair_counts` for edge e and its affinity a, it is, per
    sample,

    .. math:: \rho \sum_e \frac{w^+_e}{P} l(a_e) + (1 - \rho) \sum_e \frac{w^-_e}{N} l(1 - a_e)

    where P and N are the pairs of one label and of different labels that were counted, l(a) is
    (1 - a)^2 or -log a, and rho is `positive_weight`. So a term is a mean over its pairs of voxels;
    one without pairs is 0. Samples of a batch are averaged. Counts are constants to the gradient.

    Parameters
    ----------
    affinities : Tensor, shape (K, *S) or (B, K, *S)
        Within 0 to 1, of any floating type and on any device. The tree is that of float32.
    labels : Tensor or array_like of int or bool, shape S or (B, *S)
        0 is unlabelled.
    offsets : sequence of K sequences of int
        In voxels, axis order.
    pair_loss : {"squared", "cross-entropy"}
    positive_weight : float
        Within 0 to 1.
    constrained : bool
        Count the pairs of one label in the pass `"positive"`, and those of different labels in the
        pass `"negative"`. Otherwise both come from one tree.
    mask : Tensor or ndarray of bool, shape (K, *S) or (B, K, *S), optional
        Edges that may be used; all by default.
    pairwise : bool
        Take pairs of voxels drawn from patches of 21 voxels a side instead, as first published
        [1]_. Classes are balanced by the draw; `positive_weight` and `constrained` do not count.
    seed : int or sequence of int
        Of these pairs; give another at every step of a training, for instance `(seed, step)`.

    Returns
    -------
    Tensor
        A number, differentiable: float64 for affinities of that type, else float32.

    Raises
    ------
    InputError
        If affinities are no numbers within 0 to 1, or shapes, types or options do not fit.

    See Also
    --------
    malis_pair_counts : the counts.

    References
    ----------
    .. [1] S. Turaga, K. Briggman, M. Helmstaedter, W. Denk and S. Seung, "Maximin affinity
       learning of image segmentation", NIPS 2009.
    .. [2] J. Funke et al., "Large scale image segmentation with structured loss based deep
       learning for connectome reconstruction", IEEE TPAMI 41 (2018).
    """
    import torch

    _check_options(affinities, pair_loss, positive_weight)
    vectors = _any_offsets(offsets, affinities.ndim - 1)
    truth = _array(labels)
    if affinities.ndim == len(vectors[0]) + 1:
        affinities, truth = affinities[None], truth[None]
    size = tuple(affinities.shape)
    if len(size) != len(vectors[0]) + 2 or truth.shape != (*size[:1], *size[2:]) or not size[0]:
        raise InputError(
            f"The affinities have shape {size} and the labels {truth.shape}, samples first; "
            f"offsets of {len(vectors[0])} axes need (K, *S) and S, or (B, K, *S) and (B, *S), "
            "with one sample at least."
        )
    usable = None if mask is None else _batch_of_masks(_array(mask), size)
    if pairwise:
        from napari_implicitseg.affinities._pairwise import pairwise_malis

        return pairwise_malis(
            affinities, truth, vectors, pair_loss=pair_loss, patch=_PATCH, mask=usable, seed=seed
        )
    values = affinities.detach().to("cpu", torch.float32).numpy()
    positive, negative = _weights(values, truth, vectors, usable, constrained)
    exact = affinities if affinities.dtype == torch.float64 else affinities.float()
    w, v = (torch.from_numpy(x).to(exact.device) for x in (positive, negative))
    if pair_loss == "squared":
        terms = [w * (1 - exact) ** 2, v * exact**2]
    else:
        terms = [-w * _log(exact), -v * _log(1 - exact)]
    rho = positive_weight
    return (rho * terms[0].sum() + (1 - rho) * terms[1].sum()) / len(truth)


def _check_options(affinities: Any, pair_loss: str, positive_weight: float) -> None:
    import torch

    if pair_loss not in get_args(PairLoss):
        raise InputError(f'pair_loss is {pair_loss!r}; there are "squared" and "cross-entropy".')
    if not 0 <= positive_weight <= 1:
        raise InputError(f"positive_weight is {positive_weight}; give a number within 0 to 1.")
    if not isinstance(affinities, torch.Tensor) or not affinities.is_floating_point():
        kind = getattr(affinities, "dtype", type(affinities).__name__)
        raise InputError(f"The affinities are of type {kind}; give a floating tensor.")


def _log(values: Tensor) -> Tensor:
    """Logarithm of probabilities, finite and with a slope at 0 too."""
    return (_LEAST_PROBABILITY + (1 - _LEAST_PROBABILITY) * values).log()


def _array(values: Any) -> NDArray[Any]:
    """Turn a tensor on any device, or something like an array, into an array."""
    detach = getattr(values, "detach", None)
    return np.asarray(values if detach is None else detach().cpu())


def _any_offsets(offsets: Any, ndim: int) -> Offsets:
    """Check offsets of as many axes as the first has."""
    # What is wrong with them is said below.
    with contextlib.suppress(IndexError, TypeError):
        offsets = list(offsets)
        ndim = len(offsets[0])
    return checked_offsets(offsets, ndim)


def _batch_of_masks(mask: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat a mask for all samples, if it is one for all."""
    if mask.dtype != np.bool_ or mask.shape not in (shape, shape[1:]):
        raise InputError(
            f"The mask is {mask.dtype} {mask.shape}; it needs bool {shape}, or {shape[1:]} for "
            "all samples."
        )
    return np.broadcast_to(mask, shape)


def _weights(
    affinities: NDArray[np.float32],
    labels: NDArray[Any],
    offsets: Offsets,
    mask: NDArray[Any] | None,
    constrained: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of each edge in the pairs of one label, and of two: each (B, K, *S).

    Samples are counted in threads; each has its own buffers.
    """
    positive, negative = (np.zeros(affinities.shape, np.float32) for _ in range(2))
    threads = min(len(labels), os.cpu_count() or 1)
    spare: SimpleQueue[Buffers] = SimpleQueue()
    for _ in range(threads):
        spare.put(Buffers())

    def count(b: int) -> None:
        usable = None if mask is None else mask[b]
        sample = make_sample(affinities[b], labels[b], offsets, usable)
        buffers = spare.get()
        try:
            _write_shares(sample, buffers, constrained, positive[b], negative[b])
        finally:
            spare.put(buffers)

    if threads == 1:
        for b in range(len(labels)):
            count(b)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(count, range(len(labels))))
    return positive, negative


def _write_shares(
    sample: Sample,
    buffers: Buffers,
    constrained: bool,
    positive: NDArray[np.float32],
    negative: NDArray[np.float32],
) -> None:
    """Write the shares of one sample, (K, *S), over zeros."""
    if constrained:
        pairs = buffers.filled("pairs", positive.size, 0, np.int64)
        pairs_inside(sample, buffers, pairs)
        _share(positive, pairs)
        names, _, counts = pairs_in_one_tree(sample, buffers, contracted=True)
    else:
        names, one_label, counts = pairs_in_one_tree(sample, buffers, contracted=False)
        _share(positive, one_label, names)
    _share(negative, counts, names)


def _share(
    out: NDArray[np.float32],
    counts: NDArray[np.int64],
    places: NDArray[np.int64] | None = None,
) -> None:
    """Write the share of each count in their sum, if there is any; without places, everywhere."""
    total = int(counts.sum())
    if total and places is None:
        np.divide(counts, total, out=out.reshape(-1), casting="same_kind")
    elif total:
        out.reshape(-1)[places] = counts / total
