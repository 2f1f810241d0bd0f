"""The table of objects under the repair widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication, QIcon, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_implicitseg.widgets._scribble_table import promise_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_implicitseg.widgets._repair_run import RepairRow

__all__ = ["RepairTable"]

_TITLES = ("Object", "Before", "After", "IoU", "Guarantee")
_TIPS = (
    "Id of the object.",
    "Voxels of the mask as it is.",
    "Voxels of the repaired mask.",
    "Intersection over union of the mask before and after: 1 is unchanged.",
    "Whether the repaired mask has the shape it promises, checked on its voxels.",
)
_IOU, _GUARANTEE = 3, 4
_SWATCH = 14
_WIDTHS = (52, 56, 56, 46)
_KEY = Qt.ItemDataRole.UserRole
_LABEL = Qt.ItemDataRole.UserRole + 1


class _Cell(QTableWidgetItem):
    """A cell that is sorted by a number, not by its text."""

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return bool(self.data(_KEY) < other.data(_KEY))


class RepairTable(QTableWidget):
    """One line per object: colour and id, voxels before and after, IoU, guarantee.

    A click on a title sorts by it; the worst agreement comes first until then.
    """

    picked = Signal(int)
    """Id of the object whose line was clicked or moved to."""

    def __init__(self) -> None:
        super().__init__(0, len(_TITLES))
        for column, (title, tip) in enumerate(zip(_TITLES, _TIPS, strict=True)):
            item = QTableWidgetItem(title)
            item.setToolTip(f"{tip} Click to sort.")
            self.setHorizontalHeaderItem(column, item)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        side, top = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert top is not None
        side.hide()
        side.setDefaultSectionSize(22)
        top.setMinimumSectionSize(46)
        top.setSectionResizeMode(_GUARANTEE, QHeaderView.ResizeMode.Stretch)
        for column, width in enumerate(_WIDTHS):
            self.setColumnWidth(column, width)
        top.setSortIndicator(_IOU, Qt.SortOrder.AscendingOrder)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(130)
        self.setSortingEnabled(True)
        self.cellClicked.connect(self._clicked)
        self.currentCellChanged.connect(self._moved)

    def show_rows(self, rows: Sequence[RepairRow], colour_of: Callable[[int], Any] | None) -> None:
        """Show these objects and no others, sorted as before.

        Parameters
        ----------
        rows : sequence of RepairRow
        colour_of : callable, optional
            Gives the RGBA colour (0 to 1) of a label.
        """
        self.setUpdatesEnabled(False)
        self.setSortingEnabled(False)
        self.clearContents()
        self.setRowCount(len(rows))
        for number, row in enumerate(rows):
            for column, cell in enumerate(_cells(row)):
                cell.setData(_LABEL, row.label)
                self.setItem(number, column, cell)
            if colour_of is not None:
                _paint_swatch(self.item(number, 0), colour_of(row.label))
        self.setSortingEnabled(True)
        for column in range(_GUARANTEE):
            wanted = self.sizeHintForColumn(column)
            self.setColumnWidth(column, max(wanted, _WIDTHS[column]))
        self.setUpdatesEnabled(True)

    def labels(self) -> list[int]:
        """Ids from top to bottom."""
        return [self._label(number) for number in range(self.rowCount())]

    def selected_labels(self) -> list[int]:
        """Ids of the lines selected."""
        model = self.selectionModel()
        return [] if model is None else [self._label(i.row()) for i in model.selectedRows()]

    def _label(self, row: int) -> int:
        item = self.item(row, 0)
        return 0 if item is None else int(item.data(_LABEL))

    def _clicked(self, row: int, _column: int) -> None:
        self.picked.emit(self._label(row))

    def _moved(self, row: int, _column: int, before: int, _before_column: int) -> None:
        """Follow the arrow keys; a click is told of by itself."""
        by_key = self.hasFocus() and QGuiApplication.mouseButtons() == Qt.MouseButton.NoButton
        if row >= 0 and row != before and by_key:
            self.picked.emit(self._label(row))


def _cells(row: RepairRow) -> list[_Cell]:
    """Make the cells of an object."""
    promise, tip, rank = _promise(row)
    return [
        _cell(str(row.label), row.label),
        _cell(f"{row.before:,}", row.before),
        _cell(f"{row.after:,}", row.after),
        _cell(f"{row.agreement:.3f}", row.agreement),
        _cell(promise, rank, tip),
    ]


def _cell(text: str, key: float, tip: str = "") -> _Cell:
    """Make a cell; numbers stand to the right."""
    cell = _Cell(text)
    cell.setData(_KEY, float(key))
    cell.setToolTip(tip)
    if not tip:
        cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return cell


def _promise(row: RepairRow) -> tuple[str, str, float]:
    """Say whether a guarantee holds, in short and at length, and rank it, broken ones first."""
    certificate = row.certificate
    if row.unchanged:
        return "too small", "Too small for any shape: the mask stays as it is.", 2.0
    if certificate is None or not row.after:
        return "no mask", "Nothing is left of this object: others claim its voxels.", 0.0
    text, tip = promise_text(certificate)
    rank = 3.0 if certificate.kind == "none" else 4.0 if certificate.holds else 1.0
    return text, tip, rank - min(certificate.components, 1000) / 2000


def _paint_swatch(item: QTableWidgetItem | None, colour: Any) -> None:
    """Put a square of its colour beside an id, where a selected line does not hide it."""
    if item is None or colour is None:
        return
    square = QPixmap(_SWATCH, _SWATCH)
    square.fill(QColor.fromRgbF(*(float(c) for c in colour[:3])))
    item.setIcon(QIcon(square))
