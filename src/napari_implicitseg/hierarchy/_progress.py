"""Progress of the steps of a longer work."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress

__all__ = ["part_of", "silent"]


def silent(fraction: float, message: str, /) -> None:
    """Stand in for a callback that is not there."""


def part_of(progress: Progress, low: float, high: float) -> Progress:
    """Return the progress of a part of the work, from one share of the whole to another."""
    return lambda share, text: progress(low + (high - low) * share, text)
