"""Losses edge by edge: cross-entropy and Dice on affinities, squares on shape descriptors.

They teach a network where borders are, quickly and everywhere at once; MALIS then
teaches it which of them matter. All of them work on batches, on any device, and
leave out what is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_implicitseg.affinities.ops import checked_offsets, edge_slices
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["affinity_cross_entropy", "affinity_dice", "affinity_targets", "descriptor_loss"]

# Dice counts one more edge found: a channel without borders then costs nothing.
_ONE_EDGE = 1.0
_HALVES = (torch.float16, torch.bfloat16)


def affinity_targets(
    labels: Tensor, offsets: Sequence[Sequence[int]], *, known: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Turn labels into the affinities a network shall predict.

    Parameters
    ----------
    labels : Tensor of int, shape (B, *S)
        Ids of objects; 0 is no object.
    offsets : sequence of K sequences of int
        Edges, in voxels and axis order: edge k of voxel p leads to
        ``p + offsets[k]``.
    known : Tensor of bool, shape (B, *S), optional
        Where the labels are known. All of them are by default, so that 0 is
        background and its edges are borders; with sparse labels give
        ``labels != 0``.

    Returns
    -------
    target : Tensor of float32, shape (B, K, *S)
        1 where both ends have the same label other than 0, else 0.
    mask : Tensor of bool, shape (B, K, *S)
        Whether the edge stays inside and both its ends are known.

    Raises
    ------
    InputError
        If the offsets do not fit the labels, or `known` has another shape.
    """
    shape = labels.shape[1:]
    if known is not None and known.shape != labels.shape:
        raise InputError(
            f"known has shape {tuple(known.shape)} but the labels have {tuple(labels.shape)}; "
            "give one value per voxel."
        )
    checked = checked_offsets(offsets, labels.ndim - 1)
    size = (len(labels), len(checked), *shape)
    target = torch.zeros(size, dtype=torch.float32, device=labels.device)
    mask = torch.zeros(size, dtype=torch.bool, device=labels.device)
    is_object = labels != 0
    for k, offset in enumerate(checked):
        # All of the batch, then the voxels at either end.
        here, there = ((slice(None), *ends) for ends in edge_slices(shape, offset))
        same = (labels[here] == labels[there]) & is_object[here]
        target[:, k][here] = same.to(target.dtype)
        mask[:, k][here] = True if known is None else known[here] & known[there]
    return target, mask


def affinity_cross_entropy(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    balance: bool = True,
    least_share: float = 0.02,
) -> Tensor:
    """Binary cross-entropy of affinities.

    Parameters
    ----------
    logits : Tensor of float, shape (B, K, *S)
        Log odds that both ends of an edge lie in the same object. Half
        precision is summed in single.
    target : Tensor of float, shape (B, K, *S)
        1 for edges inside an object, 0 for borders; see `affinity_targets`.
    mask : Tensor of bool, shape (B, K, *S)
        Edges that count. What the others hold does not matter, NaN included.
    balance : bool
        Whether, in each sample and channel, borders weigh as much as interiors
        altogether. Otherwise all edges weigh the same, and the few borders get
        lost.
    least_share : float
        Share of the known edges, 0 to 0.5, that a rarer class is balanced as if
        it had: an edge weighs at most ``0.5 / least_share``, so that a single
        voxel of border does not outweigh all the rest. Between neurons at 10 nm
        one edge in 25 is a border, in a quarter of the patches fewer than one
        in 40.

    Returns
    -------
    Tensor of float, shape ()
        Mean over all known edges; 0 if there is none.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Funke et al., "Large scale image segmentation with structured loss based deep
    learning for connectome reconstruction", TPAMI 2018.
    """
    logits, target = _of_known(logits, target, mask)
    weight = mask.to(logits.dtype)
    if balance:
        weight = weight * _balancing(target, weight, least_share)
    losses = functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")
    return losses / mask.sum().clamp(min=1)


def affinity_dice(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Soft Dice loss of the borders, one minus the affinities.

    Being a ratio, it needs no balancing of the few borders with the many
    interiors.

    Parameters
    ----------
    logits, target, mask : Tensor, shape (B, K, *S)
        As for `affinity_cross_entropy`.

    Returns
    -------
    Tensor of float, shape ()
        Within 0 and 1: ``1 - 2 sum(p t) / (sum(p^2) + sum(t^2))`` of predicted
        and true borders p and t, with one more edge counted as found. Summed
        over the batch, because a patch may hold no border, and averaged over
        the channels with known edges; 0 if there is none.

    Raises
    ------
    InputError
        If the shapes differ.

    References
    ----------
    Wolny et al., "Accurate and versatile 3D segmentation of plant tissues at
    cellular resolution", eLife 2020. Bailoni et al., "GASP, a generalized
    framework for agglomerative clustering of signed graphs and its application
    to instance segmentation", CVPR 2022.
    """
    logits, target = _of_known(logits, target, mask)
    borders = torch.sigmoid(-logits) * mask
    truth = (1 - target) * mask
    axes = (0, *range(2, logits.ndim))
    both = (borders * truth).sum(axes)
    either = borders.square().sum(axes) + truth.square().sum(axes)
    loss = 1 - (2 * both + _ONE_EDGE) / (either + _ONE_EDGE)
    # A channel without known edges costs 0.
    return loss.sum() / mask.any(0).flatten(1).any(1).sum().clamp(min=1)


def descriptor_loss(prediction: Tensor, descriptors: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of local shape descriptors, an auxiliary target.

    Parameters
    ----------
    prediction : Tensor of float, shape (B, D, *S)
        Numbers to compare as they are: descriptors lie within 0 and 1, so take
        the sigmoid of a network's logits first.
    descriptors : Tensor of float, shape (B, D, *S)
        From `napari_implicitseg.affinities.descriptors.local_shape_descriptors`.
    mask : Tensor of bool, shape (B, *S)
        Voxels that count, usually those with a label.

    Returns
    -------
    Tensor of float, shape ()
        Mean over the channels and these voxels; 0 if there is none.

    Raises
    ------
    InputError
        If the shapes do not go together.

    References
    ----------
    Sheridan et al., "Local shape descriptors for neuron segmentation", Nature
    Methods 2022.
    """
    each = mask[:, None].expand_as(descriptors) if _is_plane(mask, descriptors) else mask
    prediction, descriptors = _of_known(prediction, descriptors, each)
    return (prediction - descriptors).square().sum() / each.sum().clamp(min=1)


def _is_plane(mask: Tensor, values: Tensor) -> bool:
    """Whether a mask lacks nothing but the axis of channels."""
    return mask.shape == (values.shape[0], *values.shape[2:])


def _of_known(logits: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes; return logits and target, single precision at least, 0 where unknown."""
    if not logits.shape == target.shape == mask.shape:
        shapes = ", ".join(str(tuple(t.shape)) for t in (logits, target, mask))
        raise InputError(
            f"Prediction, target and mask have the shapes {shapes}; they have to be the same. Has "
            "the network as many outputs as there are offsets?"
        )
    dtype = torch.float32 if logits.dtype in _HALVES else logits.dtype
    # 0 times NaN is NaN: what is not known is taken out before anything is computed from it.
    zero = torch.zeros((), dtype=dtype, device=logits.device)
    return torch.where(mask, logits.to(dtype), zero), torch.where(mask, target.to(dtype), zero)


def _balancing(target: Tensor, weight: Tensor, least_share: float) -> Tensor:
    """Weight of each edge by which both classes of a sample's channel weigh one half."""
    axes = tuple(range(2, target.ndim))
    known = weight.sum(axes, keepdim=True).clamp(min=1)
    share = (target * weight).sum(axes, keepdim=True) / known
    inside = 0.5 / share.clamp(min=least_share)
    border = 0.5 / (1 - share).clamp(min=least_share)
    return torch.where(target > 0.5, inside, border)
