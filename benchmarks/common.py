"""What the tables share: timing, overlap, pieces, lines of goals."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

__all__ = ["at_least", "at_most", "overlap", "pieces", "table", "timed", "worst_decile"]


def timed(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float]:
    """Call a function; return its result and the CPU seconds it took."""
    begin = time.process_time()
    result = function(*args, **options)
    return result, time.process_time() - begin


def overlap(
    mask: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    ignore: NDArray[np.bool_] | None = None,
) -> float:
    """Intersection over union, without the ignored pixels; 1 of two empty masks."""
    if ignore is not None:
        mask, truth = mask & ~ignore, truth & ~ignore
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


def pieces(mask: NDArray[np.bool_]) -> int:
    """Components of a mask, full connectivity."""
    return int(ndimage.label(mask, np.ones((3,) * mask.ndim))[1])


def worst_decile(figures: Sequence[float]) -> float:
    """Mean of the lowest tenth, of one figure at least."""
    ranked = np.sort(figures)
    return float(ranked[: max(1, len(ranked) // 10)].mean())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Markdown lines of a table and an empty one."""
    body = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return [body[0], "|---" * len(head) + "|", *body[1:], ""]


def at_least(text: str, got: float, wanted: float, digits: int = 3) -> str:
    """One line about a goal that is reached from `wanted` on."""
    mark = "reached" if got >= wanted else "MISSED"
    return f"- {mark}: {text}: {got:+.{digits}f} (goal {wanted:+.{digits}f})"


def at_most(text: str, got: float, most: float) -> str:
    """One line about a goal that is reached up to `most`."""
    return f"- {'reached' if got <= most else 'MISSED'}: {text}: {got:.2f} (goal at most {most:g})"
