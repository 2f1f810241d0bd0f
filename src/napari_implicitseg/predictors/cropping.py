"""Which part of every level of a network a wanted part of its output depends on.

All is per axis. A span is `(start, stop)` in voxels of its level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = [
    "LevelSpans",
    "Span",
    "checked_keep",
    "cut",
    "cut_first",
    "grown",
    "plan_axis",
    "reach",
    "stacked",
    "within",
]

Span: TypeAlias = tuple[int, int]

# Longer than any halo, to see what one voxel far from borders depends on.
_FAR = 1 << 20


class LevelSpans(NamedTuple):
    """Spans of one level along one axis.

    Attributes
    ----------
    source : Span
        What the encoder's convolutions see.
    encoded : Span
        What they must give: the cells that the next level pools.
    joined : Span
        What of it, and of the level below enlarged, the decoder's convolutions see.
    wanted : Span
        What they must give.
    length : int
        Of the whole level.
    """

    source: Span
    encoded: Span
    joined: Span
    wanted: Span
    length: int


def grown(span: Span, margin: int, length: int) -> Span:
    """Span with a margin on both sides, clipped to 0 and `length`."""
    return max(0, span[0] - margin), min(length, span[1] + margin)


def cut(x: Tensor, parts: Sequence[slice]) -> Tensor:
    """Part of (B, C, *S), one slice for each spatial axis."""
    index: tuple[Any, ...] = (..., *parts)
    return x[index]


def cut_first(x: Tensor, part: slice) -> Tensor:
    """Part of (B, C, *S) along the first spatial axis."""
    return x[:, :, part]


def slabs(span: Span, thickness: int, step: int) -> list[Span]:
    """Cut a span into parts of about equal length, multiples of a step, of about a thickness."""
    start, stop = span
    count = max(1, round((stop - start) / (max(1, thickness // step) * step)))
    side = -(-(stop - start) // (count * step)) * step
    return [(at, min(stop, at + side)) for at in range(start, stop, side)]


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Parts of (B, C, *S) one after the other along the first spatial axis."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=2)


def within(span: Span, outer: Span) -> slice:
    """Slice that cuts a span out of an array over an outer span."""
    return slice(span[0] - outer[0], span[1] - outer[0])


def plan_axis(
    wanted: Span,
    length: int,
    *,
    encoder: Sequence[int],
    decoder: Sequence[int],
    pooling: Sequence[int],
) -> list[LevelSpans]:
    """Plan what to compute along one axis for a span of the output.

    Parameters
    ----------
    wanted : Span
        Of the output, not empty.
    length : int
        Of the whole axis; a multiple of the product of `pooling`.
    encoder : sequence of int
        Reach to one side of all convolutions of a level on the way down, the
        lowest level included.
    decoder : sequence of int
        The same on the way up, one less.
    pooling : sequence of int
        Factors between levels, one less.

    Returns
    -------
    list of LevelSpans
        From the finest to the coarsest.
    """
    up: list[tuple[Span, Span, int]] = []
    for margin, factor in zip(decoder, pooling, strict=True):
        joined = grown(wanted, margin, length)
        up.append((joined, wanted, length))
        wanted = joined[0] // factor, -(-joined[1] // factor)
        length //= factor
    levels = [LevelSpans(grown(wanted, encoder[-1], length), wanted, wanted, wanted, length)]
    for margin, factor, (joined, out, size) in zip(
        reversed(encoder[:-1]), reversed(pooling), reversed(up), strict=True
    ):
        low, high = levels[0].source
        encoded = (low * factor, high * factor)
        levels.insert(0, LevelSpans(grown(encoded, margin, size), encoded, joined, out, size))
    return levels


def reach(
    *, encoder: Sequence[int], decoder: Sequence[int], pooling: Sequence[int], stride: int
) -> tuple[int, int]:
    """How far an output voxel sees along one axis.

    Returns
    -------
    receptive_field : int
        Longest span of the input that one output voxel depends on. It depends on
        where the voxel lies in the cells of the coarser levels.
    halo : int
        Furthest input voxel to either side.
    """
    middle = _FAR // 2 // stride * stride
    field = halo = 0
    for at in range(middle, middle + stride):
        plan = plan_axis(
            (at, at + 1), 2 * middle, encoder=encoder, decoder=decoder, pooling=pooling
        )
        low, high = plan[0].source
        field, halo = max(field, high - low), max(halo, at - low, high - at - 1)
    return field, halo


def checked_keep(keep: Sequence[slice], shape: Sequence[int]) -> list[Span]:
    """Spans of slices; steps, empty spans and other numbers of axes are errors of the caller."""
    if len(keep) != len(shape):
        raise ValueError(f"keep has {len(keep)} slices, the input {len(shape)} spatial axes")
    spans = [part.indices(length) for part, length in zip(keep, shape, strict=True)]
    if any(step != 1 or start >= stop for start, stop, step in spans):
        raise ValueError(f"keep must be slices of step 1 that are not empty; got {tuple(keep)}")
    return [(start, stop) for start, stop, _ in spans]
