"""Small parts that the widgets are built from."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QToolButton,
    QWidget,
)

__all__ = [
    "advice_label",
    "button",
    "fold",
    "form",
    "notes_label",
    "progress_bar",
    "row",
    "show_progress",
    "show_row",
    "swatch",
]


def button(text: str, tip: str) -> QPushButton:
    """Make a button."""
    made = QPushButton(text)
    made.setToolTip(tip)
    return made


def fold(title: str, content: QWidget) -> QToolButton:
    """Make a button that shows and hides a widget, hidden at first."""
    made = QToolButton()
    made.setCheckable(True)
    made.setAutoRaise(True)

    def show(on: bool) -> None:
        made.setText(f"{'▾' if on else '▸'} {title}")
        content.setVisible(on)

    made.toggled.connect(show)
    show(False)
    return made


def form(parent: QWidget | None = None) -> QFormLayout:
    """Make a form whose fields take all the room there is."""
    made = QFormLayout(parent)
    made.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    if parent is not None:
        made.setContentsMargins(0, 0, 0, 0)
    return made


def row(left: QWidget, right: QWidget) -> QHBoxLayout:
    """Lay two widgets side by side, the left one stretched."""
    made = QHBoxLayout()
    made.addWidget(left, stretch=1)
    made.addWidget(right)
    return made


def show_row(lines: QFormLayout, field: QWidget, on: bool) -> None:
    """Show or hide a field of a form with its label."""
    field.setVisible(on)
    label = lines.labelForField(field)
    if label is not None:
        label.setVisible(on)


def advice_label() -> QLabel:
    """Make the text that says what to do next."""
    made = QLabel()
    made.setWordWrap(True)
    made.setMinimumHeight(52)
    made.setAlignment(Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft)
    made.setStyleSheet("font-weight: bold;")
    return made


def notes_label() -> QLabel:
    """Make the text for warnings."""
    made = QLabel()
    made.setWordWrap(True)
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    made.setStyleSheet("color: #e0a030;")
    return made


def progress_bar() -> QProgressBar:
    """Make a bar for a fraction and a message."""
    made = QProgressBar()
    made.setRange(0, 100)
    made.setFormat("")
    return made


def show_progress(bar: QProgressBar, fraction: float, message: str) -> None:
    """Show how far a job has come; with an empty message that there is none."""
    if not message:
        bar.reset()
    if bar.format() != message:
        bar.setFormat(message)
    if message:
        bar.setValue(round(100 * fraction))


def swatch(colour: Any) -> str:
    """Return a coloured square as rich text."""
    if colour is None:
        return ""
    red, green, blue = (round(255 * float(c)) for c in colour[:3])
    return f'<span style="color: rgb({red}, {green}, {blue})">&#9632;</span>'
