"""Dialogs of the neurons widget: files of edits, and corrections that would be lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

__all__ = ["EditDialogs"]


class EditDialogs:
    """Asks the user.

    Parameters
    ----------
    parent : QWidget
    image : callable
        Returns the layer beside whose file edits are saved, or None.
    """

    def __init__(self, parent: QWidget, image: Callable[[], Layer | None]) -> None:
        self._parent = parent
        self._image = image

    def ask_where_to_save(self) -> str:
        """Ask for a file to write; empty if the user thinks better of it."""
        start = self._beside()
        return str(QFileDialog.getSaveFileName(self._parent, "Save edits", start, "*.json")[0])

    def ask_what_to_load(self) -> str:
        """Ask for a file to read; empty if the user thinks better of it."""
        folder = str(Path(self._beside()).parent)
        return str(QFileDialog.getOpenFileName(self._parent, "Load edits", folder, "*.json")[0])

    def ask_to_replace(self, action: str, count: int) -> bool:
        """Ask whether corrections that are not saved may be lost."""
        buttons = QMessageBox.StandardButton
        one = count == 1
        answer = QMessageBox.question(
            self._parent,
            action,
            f"{count} correction{'' if one else 's'} of the neurons {'is' if one else 'are'} not "
            f"saved and would be lost. {action} all the same?",
            buttons.Yes | buttons.No,
            buttons.No,
        )
        return bool(answer == buttons.Yes)

    def _beside(self) -> str:
        """Name of a file of edits beside that of the image."""
        image = self._image()
        source = None if image is None else image.source.path
        folder = Path.home() if source is None else Path(source).parent
        return str(folder / f"{'neurons' if image is None else image.name} edits.json")
