"""The table of objects under the scribble widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_implicitseg.shapes.certificate import Certificate
    from napari_implicitseg.widgets._scribble_fit import ObjectRow

__all__ = ["ObjectTable", "promise_text", "readable_size"]

_TITLES = ("Object", "Area", "Guarantee", "Time")
_TIPS = (
    "Label of the object's strokes.",
    "Area or volume of the mask, in the units of the layer.",
    "Whether the mask has the shape it promises, checked on its voxels.",
    "Time of the fit this mask came from; all objects are fitted together.",
)
_NOT_YET = ("fitting ...", "The fit goes on: nothing is promised of this mask yet.")


class ObjectTable(QTableWidget):
    """One line per object: colour and id, size, guarantee, time."""

    def __init__(self) -> None:
        super().__init__(0, len(_TITLES))
        self.rows: tuple[ObjectRow, ...] = ()
        self._titles = [QTableWidgetItem(title) for title in _TITLES]
        self._cells: list[list[QTableWidgetItem]] = []
        for column, (title, tip) in enumerate(zip(self._titles, _TIPS, strict=True)):
            title.setToolTip(tip)
            self.setHorizontalHeaderItem(column, title)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        side, top = self.verticalHeader(), self.horizontalHeader()
        assert side is not None
        assert top is not None
        side.hide()
        side.setDefaultSectionSize(22)
        top.setMinimumSectionSize(52)
        top.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(110)
        self._set_row_count(0)

    def show_rows(
        self,
        rows: Sequence[ObjectRow],
        unit: str,
        colour_of: Callable[[int], Any] | None,
    ) -> None:
        """Show these objects and no others.

        Parameters
        ----------
        rows : sequence of ObjectRow
        unit : str
            Unit of the sizes.
        colour_of : callable, optional
            Gives the RGBA colour (0 to 1) of a label.
        """
        self.rows = tuple(rows)
        self.setUpdatesEnabled(False)
        self._titles[1].setText("Volume" if unit.endswith(("³", "voxels")) else "Area")
        self._set_row_count(len(rows))
        for number, row in enumerate(rows):
            promise, tip = promise_text(row.certificate) if row.is_final else _NOT_YET
            self._write(number, 0, str(row.label))
            self._write(number, 1, f"{readable_size(row.size)} {unit}")
            self._write(number, 2, promise, tip)
            self._write(number, 3, _readable_time(row.seconds))
            if colour_of is not None:
                self._paint_swatch(self._cells[number][0], colour_of(row.label))
        # Measuring all cells is slow, so the columns never shrink within one list of objects.
        for column in (0, 1, 3):
            wanted = self.sizeHintForColumn(column)
            if wanted > self.columnWidth(column):
                self.setColumnWidth(column, wanted)
        self.setUpdatesEnabled(True)

    def _set_row_count(self, count: int) -> None:
        """Make or drop lines; the cells of lines that stay are used again."""
        self.setRowCount(count)
        del self._cells[count:]
        for number in range(len(self._cells), count):
            self._cells.append([QTableWidgetItem() for _ in _TITLES])
            for column, item in enumerate(self._cells[number]):
                self.setItem(number, column, item)
        if count == 0:
            for column in (0, 1, 3):
                self.setColumnWidth(column, 52)

    def _write(self, row: int, column: int, text: str, tip: str = "") -> None:
        """Change a cell if it says something else."""
        item = self._cells[row][column]
        if item.text() != text:
            item.setText(text)
            item.setToolTip(tip or _TIPS[column])

    def _paint_swatch(self, item: QTableWidgetItem, colour: Any) -> None:
        """Fill an id's cell with its colour, the text in black or white."""
        if colour is None:
            return
        paint = QColor.fromRgbF(*(float(c) for c in colour[:3]))
        item.setBackground(QBrush(paint))
        item.setForeground(QBrush(QColor("black" if paint.lightnessF() > 0.5 else "white")))


def _readable_time(seconds: float) -> str:
    """Write a time in milliseconds or seconds."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def readable_size(size: float) -> str:
    """Write a size with three or four digits and thousands apart."""
    if size >= 1e7:
        return f"{size:.3g}"
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"


def promise_text(certificate: Certificate | None) -> tuple[str, str]:
    """Say whether a guarantee holds, in short and at length."""
    if certificate is None:
        return "no mask", "The strokes led to no mask. Paint a longer stroke inside the object."
    if certificate.kind == "none":
        pieces = certificate.components
        text = f"{pieces} pieces" if pieces > 1 else "no promise"
        return text, "A free shape promises nothing about its mask."
    if certificate.holds:
        repaired = certificate.repaired
        pieces = certificate.components
        text = f"+{repaired}" if repaired else certificate.kind
        text += f" in {pieces}" if pieces > 1 else ""
        voxels = f" {repaired} voxels were added to keep it." if repaired else ""
        apart = f" It is in {pieces} pieces, as the grid or other slices cut it." * (pieces > 1)
        return f"✓ {text}", f"Checked: the mask is {certificate.kind}.{voxels}{apart}"
    return f"✗ not {certificate.kind}", certificate.detail or (
        f"The mask is not {certificate.kind}. Paint further strokes where it is wrong."
    )
