"""Parts of *Train U-Net*: the classes there are, with their names and shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_implicitseg.widgets._semantic_reading import Counted

__all__ = ["ClassTable", "fit_rows", "percent", "say_classes", "set_up_table"]

_ROW = 22
_MOST_ROWS = 8
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_RARE = 0.02
"""Share of the labelled pixels below which a class is said to be rare."""


class ClassTable(QTableWidget):
    """The classes of the masks: names, which can be edited, labels and shares."""

    renamed = Signal(int, str)
    """Value of a class in the masks, and its name."""

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Class", "Label", "Share"])
        self.setToolTip("Names can be edited: double-click one.")
        set_up_table(self, widths={1: 84, 2: 70})
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self._values: list[int] = []
        self.itemChanged.connect(self._edited)
        self.hide()

    def show_classes(
        self,
        found: Counted | None,
        names: Mapping[int, str],
        colour_of: Callable[[int], Any],
    ) -> None:
        """Show these classes and no others; a name that is being edited stays open.

        Parameters
        ----------
        found : Counted or None
        names : mapping of int to str
            What the user has named, by value.
        colour_of : callable
            Gives the RGBA colour (0 to 1) of a value, or None.
        """
        values = [] if found is None else [*found.pixels]
        self.blockSignals(True)
        if values != self._values:
            self._values = values
            self.setRowCount(len(values))
        if found is not None:
            labelled = max(1, sum(found.pixels.values()))
            for row, (value, pixels) in enumerate(found.pixels.items()):
                name = names.get(value) or found.default_name(value)
                label = f"#{value:06x}" if found.colours else str(value)
                self._fill(row, 0, name, editable=True)
                self._fill(row, 1, label, colour=colour_of(value))
                self._fill(row, 2, percent(pixels / labelled))
        self.blockSignals(False)
        fit_rows(self)
        self.setVisible(bool(values))

    def _fill(
        self, row: int, column: int, text: str, *, editable: bool = False, colour: Any = None
    ) -> None:
        """Write a cell, unless it says that already."""
        cell = self.item(row, column)
        if cell is None:
            cell = QTableWidgetItem()
            self.setItem(row, column, cell)
            flags = cell.flags()
            cell.setFlags(flags if editable else flags & ~Qt.ItemFlag.ItemIsEditable)
            if column:
                cell.setTextAlignment(_RIGHT)
        if cell.text() != text:
            cell.setText(text)
        shown = None if colour is None else QColor.fromRgbF(*(float(c) for c in colour[:3]))
        cell.setData(Qt.ItemDataRole.DecorationRole, shown)

    def _edited(self, cell: QTableWidgetItem) -> None:
        if cell.column() == 0 and cell.row() < len(self._values):
            self.renamed.emit(self._values[cell.row()], cell.text().strip())


def say_classes(found: Counted) -> str:
    """Say how many classes there are, on how much, and whether one is rare."""
    labelled = sum(found.pixels.values())
    if not labelled:
        return "Nothing is labelled yet."
    count = len(found.pixels)
    images = f" in {found.images} images" if found.images > 1 else ""
    whole = labelled == found.total
    part = "all" if whole else f"{percent(labelled / found.total)} of all"
    said = f"{count} class{'es' * (count != 1)}{images}; {part} pixels are labelled."
    value, pixels = min(found.pixels.items(), key=lambda item: item[1])
    if count > 1 and pixels < _RARE * labelled:
        share = percent(pixels / labelled)
        said += f" Rare: label {value} has {share} of them; more of it would teach more."
    return said


def set_up_table(table: QTableWidget, *, widths: Mapping[int, int], stretched: int = 0) -> None:
    """Make a small table without a scroll bar of its own."""
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    table.setWordWrap(False)
    side, top = table.verticalHeader(), table.horizontalHeader()
    if side is not None and top is not None:
        side.hide()
        side.setDefaultSectionSize(_ROW)
        top.setMinimumSectionSize(30)
        top.setSectionResizeMode(stretched, QHeaderView.ResizeMode.Stretch)
    for column, width in widths.items():
        table.setColumnWidth(column, width)


def fit_rows(table: QTableWidget) -> None:
    """Make a table as high as its rows, up to some."""
    top = table.horizontalHeader()
    head = top.sizeHint().height() if top is not None else _ROW
    rows = min(_MOST_ROWS, table.rowCount())
    table.setFixedHeight(head + _ROW * max(1, rows) + 4)


def percent(share: float) -> str:
    """Write a share."""
    return f"{100 * share:.1f} %" if share >= 0.0005 or not share else "< 0.1 %"
