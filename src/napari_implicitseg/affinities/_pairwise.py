"""MALIS as first published: pairs of voxels drawn at random, one maximin edge each.

The maximin affinity of two voxels is that of the weakest edge on the best path
between them. It decides whether thresholding joins the two, so it is what a pair
teaches: to be high within an object, and low between two.
"""

from __future__ import annotations

import heapq
import operator
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from napari_implicitseg.affinities._sample import check_range
from napari_implicitseg.affinities.ops import check_ids, checked_offsets
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.config import PairLoss

__all__ = ["maximin_edge", "pairwise_malis"]

# A class of pairs that is not met in so many draws is too rare to wait for.
_TRIES = 20_000
# Keeps logarithms and their gradients finite.
_LEAST = 1e-6


def pairwise_malis(
    affinities: Tensor,
    labels: Tensor | ArrayLike,
    offsets: Sequence[Sequence[int]],
    *,
    pair_loss: PairLoss = "squared",
    margin: float = 0.0,
    patch: int | Sequence[int] = 21,
    pairs: int = 64,
    mask: Tensor | ArrayLike | None = None,
    seed: int | Sequence[int] = 0,
) -> Tensor:
    """Maximin loss of pairs of voxels drawn from small patches.

    A labelled voxel is drawn, a patch that holds it, and another labelled voxel
    of the patch. Draws are repeated until the pairs of one object are as many as
    those of two: a patch is chosen the more often, the more pairs of the class
    that is wanted it has. Within the patch the maximin edge of the pair is found
    by a flood from one voxel to the other; only this edge is taught.

    Parameters
    ----------
    affinities : Tensor of float, shape (B, K, *S) or (K, *S)
        Within 0 and 1, on any device; S is (z, y, x) or (y, x). Not logits.
    labels : Tensor or array_like of int, shape (B, *S) or S
        Ids of objects of any size; voxels of label 0 are in no pair, but paths
        may lead through them.
    offsets : sequence of K sequences of int
        Edges, in voxels and axis order: edge k of voxel p leads to
        ``p + offsets[k]``. Edges that leave the patch are not used.
    pair_loss : {"squared", "cross-entropy"}
        Of a maximin affinity a: ``(1 - a)^2`` and ``a^2``, or ``-log(a)`` and
        ``-log(1 - a)``, for pairs of one object and of two.
    margin : float
        Error within 0 and 0.5 that costs nothing, of the squared loss only:
        ``max(0, 1 - a - margin)^2`` and ``max(0, a - margin)^2``. The original
        takes 0.3.
    patch : int or sequence of int
        Side of the patches in voxels, along all axes or along each; what is
        longer than the volume is shortened. In stacks of sections, ``(1, 21, 21)``
        gives patches within a section, which teach nothing about edges across
        sections.
    pairs : int
        Number of pairs to draw for each sample, a half of each class. A class
        that has none, or hardly any, is left out.
    mask : Tensor or array_like of bool, like the affinities, optional
        Edges that exist; paths do not take the others.
    seed : int or sequence of int
        Not negative. The same seed draws the same pairs of the same labels: give
        another at every step of a training, for instance ``(seed, step)``.

    Returns
    -------
    Tensor of float, shape ()
        Mean over the pairs; 0 if there is none. Its gradient is 0 except at
        maximin edges.

    Raises
    ------
    InputError
        If shapes do not go together, or an affinity, a label or an option is out
        of its range.

    References
    ----------
    Turaga et al., "Maximin affinity learning of image segmentation", NIPS 2009.
    """
    vectors = checked_offsets(offsets, _dimension(offsets))
    ndim = len(vectors[0])
    _check_options(pair_loss, margin, pairs)
    sides, seeds = _sides(patch, ndim), _whole("seed", seed, least=0)
    single = affinities.ndim == ndim + 1
    if single:
        affinities = affinities[None]
    values, ids, known = _arrays(affinities, labels, mask, len(vectors), ndim, single=single)
    steps = _three(np.array(vectors, np.int64), 0)
    sides = np.minimum(_three(sides, 1), ids.shape[1:])
    edges = np.empty((len(values), pairs), np.int64)
    for b in range(len(values)):
        rng = np.random.default_rng([*seeds, b])
        labelled = np.flatnonzero(ids[b])
        _draw_edges(values[b], known[b], ids[b], labelled, steps, sides, rng, edges[b])
    sample, pair = np.nonzero(edges >= 0)
    places = torch.from_numpy(sample * values[0].size + edges[sample, pair])
    chosen = affinities.reshape(-1)[places.to(affinities.device)]
    chosen = chosen if chosen.dtype == torch.float64 else chosen.float()
    is_same = torch.from_numpy(pair % 2 == 0).to(chosen.device)
    right = torch.where(is_same, chosen, 1 - chosen)
    if pair_loss == "squared":
        losses = (1 - margin - right).clamp(min=0).square()
    else:
        losses = -right.clamp(min=_LEAST).log()
    return losses.sum() / max(1, len(places))


def _dimension(offsets: Any) -> int:
    """Length of the first offset; 0 if there is none, for others to complain."""
    try:
        return len(next(iter(offsets)))
    except (TypeError, StopIteration):
        return 0


def _check_options(pair_loss: str, margin: float, pairs: int) -> None:
    if pair_loss not in ("squared", "cross-entropy"):
        raise InputError(f"pair_loss is {pair_loss!r}; take 'squared' or 'cross-entropy'.")
    if not 0 <= margin < 0.5:
        raise InputError(f"margin is {margin}; it has to be at least 0 and below 0.5.")
    if margin and pair_loss != "squared":
        raise InputError(f"margin is {margin}, but only the squared pair loss has one; leave it 0.")
    _whole("pairs", pairs, least=2)


def _whole(name: str, value: Any, *, least: int) -> list[int]:
    """Return an option, a number or several, as a list of whole numbers."""
    try:
        numbers = [operator.index(n) for n in ([value] if np.ndim(value) == 0 else value)]
    except TypeError as error:
        raise InputError(f"{name} is {value!r}; give whole numbers.") from error
    if min(numbers, default=least) < least:
        raise InputError(f"{name} is {value!r}; it has to be at least {least}.")
    return numbers


def _sides(patch: int | Sequence[int], ndim: int) -> NDArray[np.int64]:
    """Sides of a patch, one per axis."""
    sides = _whole("patch", patch, least=1)
    if np.ndim(patch) == 0:
        sides *= ndim
    if len(sides) != ndim or max(sides) < 2:
        raise InputError(
            f"patch is {patch!r}; give one side, or {ndim}, of which one is longer than a voxel."
        )
    return np.array(sides, np.int64)


def _arrays(
    affinities: Tensor, labels: Any, mask: Any, channels: int, ndim: int, *, single: bool
) -> tuple[NDArray[Any], NDArray[np.int64], BoolArray]:
    """Affinities (B, K, z, y, x), labels (B, z, y, x) and existing edges, an image as a section."""
    shape = tuple(affinities.shape)
    if len(shape) != ndim + 2 or shape[1] != channels or 0 in shape[1:]:
        raise InputError(
            f"The affinities have shape {shape[single:]}, but there are {channels} offsets of "
            f"{ndim} numbers: they need {channels} channels, {ndim} axes of voxels, and at most "
            "one axis of samples before."
        )
    ids = _array("labels", labels, (shape[0], *shape[2:]), "iub", single=single)
    check_ids(ids)
    known = np.ones(shape, np.bool_)
    if mask is not None:
        known = _array("mask", mask, shape, "b", single=single)
    dtype = torch.float64 if affinities.dtype == torch.float64 else torch.float32
    values = affinities.detach().to("cpu", dtype).numpy()
    check_range(values)
    size = (*shape[:2], *(1,) * (3 - ndim), *shape[2:])
    # Only whether ids are equal or 0 counts: wrapping the largest unsigned ones does no harm.
    ids = ids.astype(np.int64, copy=False).reshape(shape[0], *size[2:])
    whole = (values.reshape(size), ids, known.reshape(size))
    return tuple(np.ascontiguousarray(a) for a in whole)  # type: ignore[return-value]


def _array(
    name: str, value: Any, shape: tuple[int, ...], kinds: str, *, single: bool
) -> NDArray[Any]:
    """Return labels or mask as an array of a shape, to which an axis of one sample may lack."""
    array = np.asarray(value.cpu() if isinstance(value, torch.Tensor) else value)
    if single and array.shape == shape[1:]:
        array = array[None]
    if array.shape != shape or array.dtype.kind not in kinds:
        wanted = "bool" if kinds == "b" else "integers"
        raise InputError(
            f"The {name} are of type {array.dtype} and shape {array.shape}; these affinities need "
            f"{wanted} of shape {shape[single:]}."
        )
    return array


def _three(values: NDArray[np.int64], lead: int) -> NDArray[np.int64]:
    """Put a number for the axis of sections before two."""
    missing = 3 - values.shape[-1]
    widths = [(0, 0)] * (values.ndim - 1) + [(missing, 0)]
    return np.pad(values, widths, constant_values=lead)


@numba.njit(cache=True, nogil=True)
def maximin_edge(affinities, known, steps, low, sides, start, goal):  # type: ignore[no-untyped-def]
    """Weakest edge on the best path between two voxels of a patch.

    Prim's algorithm from one to the other: what it leaves the flooded part by is
    always the best edge there is, so the worst of these until it meets the goal
    is the maximin edge. Of equal affinities, that of the lower index counts as
    the higher.

    Parameters
    ----------
    affinities : ndarray of float, shape (K, Z, Y, X)
    known : ndarray of bool, shape (K, Z, Y, X)
        Edges that exist.
    steps : ndarray of int64, shape (K, 3)
        Offsets.
    low, sides : ndarray of int64, shape (3,)
        First voxel and size of the patch.
    start, goal : int
        Flat indices within the patch.

    Returns
    -------
    int
        Flat index of the edge in the affinities; -1 if no path joins the two.
    """
    _, depth, height, width = affinities.shape
    seen = np.zeros((sides[0], sides[1], sides[2]), np.bool_)
    heap = [(-affinities[0, 0, 0, 0], np.int64(-1), np.int64(start))]
    worst, worst_edge = heap[0][0], np.int64(-1)
    while heap:
        key, edge, place = heapq.heappop(heap)
        z, y, x = place // (sides[1] * sides[2]), place // sides[2] % sides[1], place % sides[2]
        if seen[z, y, x]:
            continue
        seen[z, y, x] = True
        if edge >= 0 and (worst_edge < 0 or (key, edge) > (worst, worst_edge)):
            worst, worst_edge = key, edge
        if place == goal:
            return worst_edge
        for k in range(len(steps)):
            for sign in (1, -1):
                a, b, c = z + sign * steps[k, 0], y + sign * steps[k, 1], x + sign * steps[k, 2]
                if not (0 <= a < sides[0] and 0 <= b < sides[1] and 0 <= c < sides[2]):
                    continue
                if seen[a, b, c]:
                    continue
                # An edge is kept at the end its offset starts from.
                p, q, r = (z, y, x) if sign > 0 else (a, b, c)
                p, q, r = p + low[0], q + low[1], r + low[2]
                if known[k, p, q, r]:
                    number = ((k * depth + p) * height + q) * width + r
                    next_place = (a * sides[1] + b) * sides[2] + c
                    heapq.heappush(heap, (-affinities[k, p, q, r], number, next_place))
    return np.int64(-1)


@numba.njit(cache=True, nogil=True)
def _draw_pair(labels, labelled, sides, is_same, rng, low):  # type: ignore[no-untyped-def]
    """Draw a patch, written to `low`, and two places in it; -1 if the class is too rare."""
    places = np.zeros(2, np.int64)
    for _ in range(_TRIES):
        first = labelled[rng.integers(0, len(labelled))]
        rest, start, goal = first, np.int64(0), np.int64(0)
        label = np.int64(0)
        stride = np.int64(1)
        other = np.zeros(3, np.int64)
        for axis in (2, 1, 0):
            n, side = labels.shape[axis], sides[axis]
            at, rest = rest % n, rest // n
            # Any patch that holds the voxel and lies inside.
            low[axis] = rng.integers(max(0, at - side + 1), min(at, n - side) + 1)
            step = rng.integers(0, side)
            other[axis] = low[axis] + step
            start += (at - low[axis]) * stride
            goal += step * stride
            stride *= side
        label = labels[other[0], other[1], other[2]]
        if start == goal or label == 0:
            continue
        if (label == labels.reshape(-1)[first]) == is_same:
            places[0], places[1] = start, goal
            return places
    places[0] = -1
    return places


@numba.njit(cache=True, nogil=True)
def _draw_edges(affinities, known, labels, labelled, steps, sides, rng, edges):  # type: ignore[no-untyped-def]
    """Write the maximin edges of pairs of one object and of two in turn; -1 if there is none."""
    edges[:] = -1
    low = np.zeros(3, np.int64)
    for kind in range(2):
        if len(labelled) < 2:
            return
        for n in range(kind, len(edges), 2):
            places = _draw_pair(labels, labelled, sides, kind == 0, rng, low)
            if places[0] < 0:
                break
            edges[n] = maximin_edge(affinities, known, steps, low, sides, places[0], places[1])
