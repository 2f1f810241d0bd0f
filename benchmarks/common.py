"""What the tables share: timing, overlap, pieces, lines of goals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.reproduction.scores import overlap, pieces, timed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["at_least", "at_most", "overlap", "pieces", "table", "timed", "worst_decile"]


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
