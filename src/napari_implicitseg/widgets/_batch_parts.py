"""Parts of the batch panel: paths to choose, workers, and the list of blocks that failed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QSpinBox,
    QTableWidget,
    QTableWidgetItem,
    QToolButton,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_implicitseg.widgets._batch_session import Failure

__all__ = ["FailureTable", "PathRow", "WorkersBox", "ask_folder", "ask_new", "ask_old"]

_MOST_LISTED = 1000
_ROW = 22


class PathRow(QWidget):
    """A path to type, and a button to choose it by dialogs.

    Parameters
    ----------
    tip, hint : str
        Of the line; the hint stands in it while it is empty.
    asks : dict of str to callable
        What the button offers; each asks for a path and returns "" if the user thinks better of
        it. They are called with this widget and the present path.
    """

    changed = Signal()

    def __init__(self, tip: str, hint: str, asks: dict[str, Callable[[QWidget, str], str]]) -> None:
        super().__init__()
        self.edit = QLineEdit()
        self.edit.setToolTip(tip)
        self.edit.setPlaceholderText(hint)
        self.edit.textChanged.connect(self.changed)
        self.button = QToolButton()
        self.button.setText("...")
        self.button.setToolTip("Choose it.")
        self.button.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self._asks = asks
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.edit, stretch=1)
        layout.addWidget(self.button)
        if len(asks) == 1:
            self.button.clicked.connect(lambda: self.ask(next(iter(asks))))
            return
        menu = QMenu(self.button)
        for name in asks:
            menu.addAction(name).triggered.connect(lambda _=False, chosen=name: self.ask(chosen))
        self.button.setMenu(menu)
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)

    @property
    def path(self) -> str:
        """What is chosen; empty if nothing is."""
        return str(self.edit.text()).strip()

    @path.setter
    def path(self, path: str) -> None:
        if path != self.path:
            self.edit.setText(path)
            self.edit.setCursorPosition(len(path))  # The end of a long path tells the most.

    def ask(self, name: str) -> None:
        """Ask by one of the dialogs."""
        found = self._asks[name](self, self.path)
        if found:
            self.path = found


def ask_old(title: str, kinds: str) -> Callable[[QWidget, str], str]:
    """Return what asks for a file that is there."""

    def ask(parent: QWidget, present: str) -> str:
        return str(QFileDialog.getOpenFileName(parent, title, os.path.dirname(present), kinds)[0])

    return ask


def ask_folder(title: str) -> Callable[[QWidget, str], str]:
    """Return what asks for a folder that is there."""

    def ask(parent: QWidget, present: str) -> str:
        return str(QFileDialog.getExistingDirectory(parent, title, os.path.dirname(present)))

    return ask


def ask_new(title: str, kinds: str) -> Callable[[QWidget, str], str]:
    """Return what asks for a name; one that is there is taken, too, as jobs go on."""

    def ask(parent: QWidget, present: str) -> str:
        option = QFileDialog.Option.DontConfirmOverwrite
        return str(QFileDialog.getSaveFileName(parent, title, present, kinds, options=option)[0])

    return ask


class WorkersBox(QSpinBox):
    """How many processes work: automatic, this one, or so many."""

    _AUTOMATIC = -1

    def __init__(self) -> None:
        super().__init__()
        self.setRange(self._AUTOMATIC, os.cpu_count() or 1)
        self.setValue(self._AUTOMATIC)
        self.setToolTip(
            "Processes that work side by side. Automatic: one per core, as memory allows. 0: "
            "napari itself works, one block after the other. The result is the same."
        )

    @property
    def workers(self) -> int | None:
        """Their number; None if it is chosen by cores and memory."""
        return None if self.value() == self._AUTOMATIC else int(self.value())

    def textFromValue(self, value: int) -> str:
        """Say what a number means."""
        return {self._AUTOMATIC: "automatic", 0: "0, in napari"}.get(value, str(value))

    def valueFromText(self, text: str | None) -> int:
        """Read what a user typed."""
        digits = "".join(c for c in text or "" if c.isdigit())
        return int(digits) if digits else self._AUTOMATIC

    def validate(self, text: str | None, place: int) -> tuple[object, str, int]:
        """Take whatever can be read."""
        from qtpy.QtGui import QValidator

        return QValidator.State.Acceptable, text or "", place


class FailureTable(QTableWidget):
    """Blocks that failed: where they are, and why."""

    picked = Signal(object)

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Block", "Voxels", "Why"])
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(110)
        self.setWordWrap(True)
        rows, head = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and head is not None:
            rows.hide()
            rows.setDefaultSectionSize(_ROW)
            head.setStretchLastSection(True)
            head.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self._places: list[tuple[int, ...]] = []
        self.cellClicked.connect(self._pick)
        self.hide()

    def show_failures(self, failures: Sequence[Failure]) -> None:
        """Show these and no others; of very many the first."""
        kept = failures[:_MOST_LISTED]
        self._places = [place for place, _, _ in kept]
        self.setRowCount(len(kept))
        for number, (place, where, why) in enumerate(kept):
            for column, text in enumerate((", ".join(map(str, place)), where, why)):
                cell = QTableWidgetItem(text)
                cell.setToolTip(f"[{where}]\n{why}")
                cell.setTextAlignment(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
                self.setItem(number, column, cell)
        self.resizeColumnToContents(0)
        self.resizeColumnToContents(1)
        self.setVisible(bool(kept))
        self.resizeRowsToContents()  # The reason is what one needs.

    def _pick(self, row: int, _column: int) -> None:
        self.picked.emit(self._places[row])
