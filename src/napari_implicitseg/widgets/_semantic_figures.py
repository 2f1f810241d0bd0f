"""The figures of a model of classes: accuracy, IoU, confusion matrix, worst images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QGuiApplication
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_implicitseg.widgets._controls import button
from napari_implicitseg.widgets._semantic_looking import short_name
from napari_implicitseg.widgets._semantic_parts import fit_rows, set_up_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["FiguresView", "confusion_text"]

_MOST_WORST = 20
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_MIDDLE = Qt.AlignmentFlag.AlignCenter
_SHADE = (49, 104, 176)
"""Colour of a whole row in one cell of the confusion matrix."""
_WIDEST = 84
_LOOK = "Click to see the image with its truth, what the model says, and where it is wrong."
_NONE, _NONE_HELD = "-", "Nothing of this class was held out."


class FiguresView(QWidget):
    """Figures of what was held out from a training."""

    asked = Signal(str)
    """An image that the user wants to see, as the figures call it."""

    def __init__(self) -> None:
        super().__init__()
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.classes = QTableWidget(0, 3)
        self.classes.setHorizontalHeaderLabels(["Class", "IoU", "Share"])
        set_up_table(self.classes, widths={1: 70, 2: 70})
        self.confusion = QTableWidget(0, 0)
        set_up_table(self.confusion, widths={})
        self.confusion.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.copy_button = button(
            "Copy figures", "Copy all figures and the confusion matrix as text, for a spreadsheet."
        )
        self.copy_button.clicked.connect(self.copy)
        self.save_button = button(
            "Save pictures...",
            "Write the confusion matrix and the worst of the held-out images (image, truth, "
            "prediction) as PNG into a folder.",
        )
        self.worst = QTableWidget(0, 2)
        self.worst.setHorizontalHeaderLabels(["Worst images: click to see", "Mean IoU"])
        set_up_table(self.worst, widths={1: 80})
        self.worst.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.worst.cellClicked.connect(self._row_chosen)
        self.matrix_label = QLabel("Confusion: rows are true, columns predicted, in % of the row")
        self.matrix_label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.summary, self.classes, self.matrix_label, self.confusion):
            layout.addWidget(part)
        layout.addWidget(self.worst)
        both = QHBoxLayout()
        both.addWidget(self.copy_button)
        both.addWidget(self.save_button)
        layout.addLayout(both)
        self._metrics: Mapping[str, Any] = {}
        self._names: tuple[str, ...] = ()
        self._rows: list[str] = []
        self.hide()

    def show_model(self, model: SemanticModel, palette: Sequence[Any] = ()) -> None:
        """Show the figures of a model, or that it has none.

        Parameters
        ----------
        model : SemanticModel
        palette : sequence of colours
            RGBA, 0 to 1, of nothing and of each class.
        """
        figures = self._metrics = dict(model.metrics)
        self._names = model.classes
        measured = "confusion" in figures
        parts = (self.classes, self.confusion, self.worst, self.copy_button, self.save_button)
        for part in (*parts, self.matrix_label):
            part.setVisible(measured)
        self.show()
        if not measured:
            self.summary.setText("Nothing was held out from the training: no figures.")
            return
        images = figures.get("images") or []
        on = f"{len(images)} image{'s' * (len(images) != 1)} " if images else ""
        self.summary.setText(
            f"Held out {on}(not learned from): accuracy {figures['accuracy']:.3f}, mean IoU "
            f"{figures['iou']:.3f}"
        )
        self._show_classes(palette)
        self._show_confusion()
        self._show_worst(images)

    def copy(self) -> None:
        """Copy the figures as text."""
        board = QGuiApplication.clipboard()
        if board is not None:
            board.setText(confusion_text(self._metrics, self._names))

    def _row_chosen(self, row: int, _column: int) -> None:
        self.asked.emit(self._rows[row])

    def _show_classes(self, palette: Sequence[Any]) -> None:
        ious, shares = self._metrics["iou_per_class"], self._metrics["class_shares"]
        self.classes.setRowCount(len(self._names))
        for row, name in enumerate(self._names):
            iou = f"{ious[name]:.3f}" if name in ious else _NONE
            share = f"{100 * shares.get(name, 0.0):.1f} %"
            for column, text in enumerate((name, iou, share)):
                cell = _set(self.classes, row, column, text, _RIGHT if column else None)
                if text == _NONE:
                    cell.setToolTip(_NONE_HELD)
                if not column and row + 1 < len(palette):
                    colour = QColor.fromRgbF(*(float(c) for c in palette[row + 1][:3]))
                    cell.setData(Qt.ItemDataRole.DecorationRole, colour)
        fit_rows(self.classes)

    def _show_confusion(self) -> None:
        """Shade each cell by its share of the row."""
        matrix = np.asarray(self._metrics["confusion"], np.int64)
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        table, count = self.confusion, len(self._names)
        table.setRowCount(count)
        table.setColumnCount(count + 1)
        table.setHorizontalHeaderLabels(["true", *self._names])
        for row, name in enumerate(self._names):
            _set(table, row, 0, name, None)
            for column in range(count):
                share = float(shares[row, column])
                text = f"{100 * share:.1f}" if matrix[row].any() else _NONE
                cell = _set(table, row, column + 1, text, _MIDDLE)
                cell.setBackground(QColor(*_SHADE, round(255 * share)))
                cell.setToolTip(
                    f"{matrix[row, column]:,} pixels of {name} were taken for "
                    f"{self._names[column]}."
                )
        top = table.horizontalHeader()
        if top is not None:
            few = count <= 4
            modes = QHeaderView.ResizeMode
            for column in range(count + 1):
                top.setSectionResizeMode(column, modes.Stretch if few else modes.Interactive)
                if not few:
                    table.setColumnWidth(column, _WIDEST)
        fit_rows(table)

    def _show_worst(self, images: list[Mapping[str, Any]]) -> None:
        ordered = sorted(images, key=lambda one: (one["iou"], one["name"]))[:_MOST_WORST]
        for part in (self.worst, self.save_button):
            part.setVisible(len(images) > 1)
        self.worst.setRowCount(len(ordered))
        self.worst.clearSelection()
        self._rows = [str(one["name"]) for one in ordered]
        for row, one in enumerate(ordered):
            name = short_name(self._rows[row])
            cell = _set(self.worst, row, 0, name, None)
            cell.setToolTip(f"{name}\n{_LOOK}")
            _set(self.worst, row, 1, f"{one['iou']:.3f}", _RIGHT)
        fit_rows(self.worst)


def confusion_text(metrics: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return figures as text for a spreadsheet, with tabs between cells."""
    rows = [("accuracy", metrics["accuracy"]), ("mean IoU", metrics["iou"])]
    rows += [(f"IoU of {name}", value) for name, value in metrics["iou_per_class"].items()]
    lines = [f"{name}\t{value!r}" for name, value in rows]
    lines += ["", "\t".join(["true, by predicted", *names])]
    for name, row in zip(names, metrics["confusion"], strict=True):
        lines.append("\t".join([name, *map(str, row)]))
    lines += ["", "image\tmean IoU\taccuracy"]
    for one in sorted(metrics.get("images") or [], key=lambda one: one["iou"]):
        lines.append(f"{one['name']}\t{one['iou']!r}\t{one['accuracy']!r}")
    return "\n".join(lines) + "\n"


def _set(table: QTableWidget, row: int, column: int, text: str, side: Any) -> QTableWidgetItem:
    """Write a cell."""
    cell = QTableWidgetItem(text)
    if side is not None:
        cell.setTextAlignment(side)
    cell.setToolTip(text)
    table.setItem(row, column, cell)
    return cell
