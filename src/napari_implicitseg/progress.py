"""Progress of the parts of a longer work."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress

__all__ = ["part_of", "silent"]


def silent(fraction: float, message: str, /) -> None:
    """Stand in for a callback that is not there."""


@overload
def part_of(progress: Progress, low: float, high: float, what: str = ...) -> Progress: ...


@overload
def part_of(progress: None, low: float, high: float, what: str = ...) -> None: ...


@overload
def part_of(
    progress: Progress | None, low: float, high: float, what: str = ...
) -> Progress | None: ...


def part_of(progress: Progress | None, low: float, high: float, what: str = "") -> Progress | None:
    """Return the progress of a part of the work, from one share of the whole to another.

    Parameters
    ----------
    progress : Progress, optional
        Of the whole.
    low, high : float
        Where in it the part begins and ends, 0 to 1.
    what : str
        Comes before the messages.
    """
    if progress is None:
        return None
    before = f"{what}: " if what else ""
    return lambda share, text: progress(low + (high - low) * share, before + text)
