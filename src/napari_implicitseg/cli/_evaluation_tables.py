"""The figures of a segmentation as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from napari_implicitseg.evaluation_report import MEANINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from napari_implicitseg.evaluation import Evaluation
    from napari_implicitseg.matching import Matches
    from napari_implicitseg.mistakes import Mistake

__all__ = ["print_figures", "print_mistakes"]

# More classes or parts than these make no table to read; --json has all.
_MOST_CLASSES = 20
_MOST_PARTS = 5


def print_figures(found: Evaluation) -> None:
    """Print the figures, and those that have a value for each class or threshold after them."""
    table = _table("", "figure", "value", "meaning")
    for name, value in found.items():
        if not isinstance(value, Mapping):
            text = f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(name, text, MEANINGS[name].text)
    tables: list[Table] = [table] if table.row_count else []
    if "matches" in found:
        tables.append(_match_table(found["matches"]))
    ious: Mapping[int, float] = found.get("iou_per_class", {})
    if 1 < len(ious) <= _MOST_CLASSES or (ious and len(found) == 1):
        tables.append(_class_table(ious))
    for one in tables:
        _print(one)


def print_mistakes(kind: str, rows: Sequence[tuple[Mistake, tuple[int, ...] | None]]) -> None:
    """Print the worst splits or merges; nothing if there are none."""
    if not rows:
        return
    splits = kind == "split"
    title = "Worst splits" if splits else "Worst merges"
    whole, parts = ("object", "cut into segments") if splits else ("segment", "joins objects")
    table = _table(title, whole, "VOI bits", "parts", parts, "look at")
    for one, place in rows:
        shown = ", ".join(map(str, one.parts[:_MOST_PARTS]))
        more = ", ..." if len(one.parts) > _MOST_PARTS else ""
        where = "" if place is None else ", ".join(map(str, place))
        table.add_row(str(one.id), f"{one.bits:.4f}", str(len(one.parts)), shown + more, where)
    _print(table)


def _match_table(matches: Mapping[float, Matches]) -> Table:
    """Return a row per threshold."""
    names = ("tp", "fp", "fn", "precision", "recall", "f1", "average_precision", "panoptic_quality")
    heads = (*names[:-2], "AP", "PQ")
    table = _table("Objects matched", "IoU from", *heads)
    for level, one in matches.items():
        figures = [getattr(one, name) for name in names]
        cells = [f"{f:.3f}" if isinstance(f, float) else str(f) for f in figures]
        table.add_row(f"{level:g}", *cells)
    return table


def _class_table(ious: Mapping[int, float]) -> Table:
    """Return a row per class."""
    table = _table("IoU per class", "class", "IoU")
    for key, value in ious.items():
        table.add_row(str(key), f"{value:.4f}")
    return table


def _table(title: str, *heads: str) -> Table:
    """Return an empty table in plain characters, which any terminal has."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=box.ASCII2, show_edge=False)
    for head in heads:
        words = head in ("figure", "meaning", "cut into segments", "joins objects")
        justify: Any = "left" if words else "right"
        table.add_column(head, justify=justify, overflow="fold")
    return table


def _print(table: Table) -> None:
    """Print a table, as wide as it needs to be where nobody looks at it."""
    import sys

    from rich.console import Console

    wide = None if sys.stdout.isatty() else 200
    Console(width=wide, highlight=False).print(table, "")
