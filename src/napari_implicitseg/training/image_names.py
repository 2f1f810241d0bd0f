"""What images are called where it must not be said where they lie, and found by it again."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from napari_implicitseg.training.held_parts import split_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["KnownNames", "ToldNames"]

_QUOTE = "'"


class ToldNames:
    """Short names of images, as descriptions of models and figures have them.

    A file is told by its own name; where several are called so, by as many of the folders it
    lies in as tell them apart. Arrays keep their numbers.

    Parameters
    ----------
    names : iterable of str
        Of all images there are: paths in quotes, or numbers of arrays.
    """

    def __init__(self, names: Iterable[str]) -> None:
        left = {name: _parts(name) for name in names if name.startswith(_QUOTE)}
        self._told: dict[str, str] = {}
        depth = 1
        while left:
            tails = {name: parts[-depth:] for name, parts in left.items()}
            counts = Counter(tails.values())
            done = [n for n, t in tails.items() if counts[t] == 1 or len(left[n]) <= depth]
            self._told |= {name: _joined(tails[name]) for name in done}
            left = {name: parts for name, parts in left.items() if name not in self._told}
            depth += 1

    def __call__(self, name: str) -> str:
        """Return the short name of an image, or of a part of it."""
        whole, _ = split_name(name)
        if not whole.startswith(_QUOTE):
            return name
        told = self._told.get(whole) or _joined(_parts(whole)[-1:])
        return told + name[len(whole) :]


class KnownNames:
    """Images that are found by their short names, also of other sets and of older models.

    Parameters
    ----------
    names : sequence of str
        Paths in quotes, or numbers of arrays.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._by_end: dict[str, list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        for name in names:
            parts = _parts(name)
            self._by_end[parts[-1] if parts else name].append((name, parts))

    def matching(self, told: str) -> list[str]:
        """List the images that a short name of a whole one may mean."""
        tail = _parts(told)
        alike = self._by_end.get(tail[-1] if tail else told, [])
        return [name for name, parts in alike if parts[len(parts) - len(tail) :] == tail]


def _parts(name: str) -> tuple[str, ...]:
    """Split the path of a file in quotes; arrays have none."""
    if not name.startswith(_QUOTE):
        return ()
    return tuple(part for part in re.split(r"[/\\]", name[1:].removesuffix(_QUOTE)) if part)


def _joined(parts: Sequence[str]) -> str:
    """Put a path together, in quotes."""
    return f"'{'/'.join(parts)}'"
