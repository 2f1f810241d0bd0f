"""The tables of the evaluation widget: figures, and the mistakes that cost most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QTableView,
    QTableWidget,
    QTableWidgetItem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtCore import QModelIndex

    from napari_implicitseg.evaluation_report import FigureRow
    from napari_implicitseg.hierarchy.components import CurvePoint
    from napari_implicitseg.mistakes import Mistake

__all__ = ["FiguresTable", "MistakesTable", "figures_text"]

_ROW = 22
_SHOWN = Qt.ItemDataRole.DisplayRole
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
# More parts or classes than these are no text to read.
_MOST_PARTS = 2
_MOST_TOLD = 12
_MOST_CLASSES = 12
_LIVE = ("voi_split", "voi_merge", "voi", "adapted_rand_error")


class FiguresTable(QTableWidget):
    """One line per figure: name, value, and which values are better."""

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Figure", "Value", "Better"])
        _set_up(self, stretched=0, widths={1: 96, 2: 60})
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self._rows: dict[str, int] = {}

    def show_rows(self, rows: Sequence[FigureRow]) -> None:
        """Show these figures and no others."""
        kept = _shown_figures(rows)
        self._rows = {row.name: number for number, row in enumerate(kept)}
        self.setUpdatesEnabled(False)
        self.clearContents()
        self.setRowCount(len(kept))
        for number, row in enumerate(kept):
            title = row.meaning.title
            if "/" in row.name:
                title = f"{title} of {row.name.split('/')[-1]}"
            for column, text in enumerate((title, _number(row.value), row.meaning.better)):
                cell = QTableWidgetItem(text)
                cell.setToolTip(f"{row.name}: {row.meaning.text}")
                if column == 1:
                    cell.setTextAlignment(_RIGHT)
                self.setItem(number, column, cell)
        self.setUpdatesEnabled(True)

    def show_point(self, point: CurvePoint) -> None:
        """Show the scores of another threshold; what is not known of it yet is left open."""
        for name, number in self._rows.items():
            cell = self.item(number, 1)
            if cell is not None and name not in ("truth_objects", "voxels", "ignored"):
                value = getattr(point, name) if name in _LIVE else None
                if name == "rand":
                    value = point.rand_index
                cell.setText("..." if value is None else _number(value))

    def texts(self) -> list[tuple[str, ...]]:
        """Return what the lines say, from top to bottom."""
        return [
            tuple("" if cell is None else cell.text() for cell in map(self.item, [n] * 3, range(3)))
            for n in range(self.rowCount())
        ]


class _Mistakes(QAbstractTableModel):
    """Mistakes as rows; only those that are seen are ever made into texts.

    Parameters
    ----------
    titles, tips : tuple of str
        Of the columns.
    """

    def __init__(self, titles: tuple[str, ...], tips: tuple[str, ...]) -> None:
        super().__init__()
        self._heads = {_SHOWN: titles, Qt.ItemDataRole.ToolTipRole: tips}
        self.rows: tuple[Mistake, ...] = ()
        self._total = 0.0
        self._colour_of: Callable[[int], Any] = _no_colour

    def show(self, rows: Sequence[Mistake], total: float, colour_of: Callable[[int], Any]) -> None:
        """Have these rows and no others."""
        self.beginResetModel()
        self.rows, self._total, self._colour_of = tuple(rows), total, colour_of
        self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of mistakes."""
        return len(self.rows)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Return the number of columns."""
        return len(self._heads[_SHOWN])

    def headerData(self, section: int, orientation: Any, role: int = 0) -> Any:
        """Return title or tip of a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        heads = self._heads.get(role)
        return None if heads is None else heads[section]

    def data(self, index: QModelIndex, role: int = 0) -> Any:
        """Return what a cell shows: text, tip, side, or the colour of the object."""
        one, column = self.rows[index.row()], index.column()
        if role == _SHOWN:
            share = 100 * one.bits / self._total if self._total else 0.0
            return (str(one.id), _parts(one), f"{sum(one.voxels):,}", f"{share:.1f}")[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return _told(one)
        if role == Qt.ItemDataRole.TextAlignmentRole and column > 1:
            return _RIGHT.value  # Of flags PySide6 would make nothing.
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            colour = self._colour_of(one.id)
            if colour is not None:
                return QColor.fromRgbF(*(float(c) for c in colour[:3]))
        return None


class MistakesTable(QTableView):
    """One line per mistake, the one that costs most first.

    Parameters
    ----------
    titles : tuple of str
        Of the object and of its parts.
    tips : tuple of str
        What they are.
    """

    picked = Signal(object)
    """The `Mistake` whose line was clicked or moved to."""

    def __init__(self, titles: tuple[str, str], tips: tuple[str, str]) -> None:
        super().__init__()
        share = "What it costs, in percent of the whole VOI, splits and merges together."
        whole = "Voxels of the whole object, where compared."
        self._model = _Mistakes((*titles, "Voxels", "VOI %"), (*tips, whole, share))
        self.setModel(self._model)
        _set_up(self, stretched=1, widths={0: 70, 2: 72, 3: 48})
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.clicked.connect(self._pick)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The mistakes shown, from top to bottom."""
        return self._model.rows

    def show_mistakes(
        self, mistakes: Sequence[Mistake], total: float, colour_of: Callable[[int], Any]
    ) -> None:
        """Show these mistakes and no others.

        Parameters
        ----------
        mistakes : sequence of Mistake
        total : float
            The whole VOI, in bits.
        colour_of : callable
            Gives the RGBA colour (0 to 1) of an object, or None.
        """
        if self.mistakes != tuple(mistakes):
            self._model.show(mistakes, total, colour_of)

    def currentChanged(self, current: QModelIndex, previous: QModelIndex) -> None:
        """Follow the arrow keys; a click is told of by itself."""
        super().currentChanged(current, previous)
        by_key = self.hasFocus() and QGuiApplication.mouseButtons() == Qt.MouseButton.NoButton
        if by_key and current.isValid() and previous.isValid():
            self._pick(current)

    def _pick(self, index: QModelIndex) -> None:
        self.picked.emit(self._model.rows[index.row()])


def figures_text(rows: Sequence[FigureRow]) -> str:
    """Return figures as text for a spreadsheet: a line each, tabs between name and value."""
    kept = [f"{row.name}\t{row.value!r}\t{row.meaning.better}" for row in rows]
    return "\n".join(["figure\tvalue\tbetter", *kept]) + "\n"


def _shown_figures(rows: Sequence[FigureRow]) -> list[FigureRow]:
    """Leave out what makes no table to read: matches at each IoU, and many classes."""
    classes = sum(row.name.startswith("iou_per_class/") for row in rows)
    left_out = ("matches/",) if classes <= _MOST_CLASSES else ("matches/", "iou_per_class/")
    return [row for row in rows if not row.name.startswith(left_out)]


def _number(value: float) -> str:
    """Return a number as text: counts whole, others with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _parts(one: Mistake) -> str:
    """Return the parts of a mistake in short."""
    more = len(one.parts) - _MOST_PARTS
    return ", ".join(map(str, one.parts[:_MOST_PARTS])) + (f" +{more}" if more > 0 else "")


def _told(one: Mistake) -> str:
    """Return a mistake at length."""
    pairs = zip(one.parts[:_MOST_TOLD], one.voxels[:_MOST_TOLD], strict=True)
    lines = [f"{part}: {voxels:,} voxels" for part, voxels in pairs]
    more = len(one.parts) - _MOST_TOLD
    head = (
        f"Object {one.id} of the truth is cut into {len(one.parts)} segments"
        if one.kind == "split"
        else f"Segment {one.id} joins {len(one.parts)} objects of the truth"
    )
    rest = [f"and {more} more"] if more > 0 else []
    return "\n".join([f"{head}, which costs {one.bits:.4f} bits:", *lines, *rest])


def _set_up(table: QTableView, *, stretched: int, widths: dict[int, int]) -> None:
    """Make a table of lines to read."""
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setMinimumHeight(8 * _ROW)
    table.setWordWrap(False)
    side, top = table.verticalHeader(), table.horizontalHeader()
    if side is not None:
        side.hide()
        side.setDefaultSectionSize(_ROW)
    if top is not None:
        top.setMinimumSectionSize(40)
        top.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    for column, width in widths.items():
        table.setColumnWidth(column, width)


def _no_colour(label: int) -> None:
    """Know no colour of any object."""
