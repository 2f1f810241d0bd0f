"""Ids for the figures of a Shapes layer that names none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FigureNumbers"]


class FigureNumbers:
    """Numbers figures, and keeps the numbers while figures and strokes come and go.

    Attributes
    ----------
    highest : int
        The largest number given so far, 0 if there is none.
    """

    def __init__(self) -> None:
        self._ids: list[int] = []
        self.highest = 0

    def give(self, count: int, painted: int) -> list[int]:
        """Return the ids of `count` figures; new ones get those after all in use.

        Parameters
        ----------
        count : int
            How many figures there are; new ones come last.
        painted : int
            The largest id with a stroke.
        """
        del self._ids[count:]
        for _ in range(count - len(self._ids)):
            self.highest = max(painted, self.highest) + 1
            self._ids.append(self.highest)
        return list(self._ids)

    def take_back(self, indices: Iterable[int]) -> None:
        """Forget figures that were removed, by their place before that."""
        count = len(self._ids)
        for index in sorted({i % count for i in indices if -count <= i < count}, reverse=True):
            del self._ids[index]

    def forget(self) -> None:
        """Forget all figures."""
        self._ids.clear()
        self.highest = 0
