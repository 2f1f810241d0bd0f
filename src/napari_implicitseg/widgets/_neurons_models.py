"""The choice of a model: those that are shipped, folders, and those just trained."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QSizePolicy

__all__ = ["ModelBox", "free_folder"]

_FOLDER = "folder..."


class ModelBox(QComboBox):
    """Chooses a model by its name or folder."""

    model_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("What predicts affinities: a model that is shipped, or one in a folder.")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for name in _shipped():
            self.addItem(name, name)
        self.addItem(_FOLDER, "")
        self._chosen = 0
        self.activated.connect(self._choose)

    @property
    def model(self) -> str:
        """Name or folder of the chosen model; empty if none is."""
        return str(self.itemData(self._chosen) or "")

    def add(self, folder: str) -> None:
        """Offer a model in a folder and choose it."""
        place = self.findData(folder)
        if place < 0:
            place = self.count() - 1
            self.insertItem(place, Path(folder).name or folder, folder)
            self.setItemData(place, folder, Qt.ItemDataRole.ToolTipRole)
        self._chosen = place
        self.setCurrentIndex(place)
        self.model_changed.emit()

    def ask_folder(self) -> str:
        """Ask for the folder of a model; empty if the user thinks better of it."""
        return str(QFileDialog.getExistingDirectory(self, "Folder of a model"))

    def _choose(self, index: int) -> None:
        """Take what was chosen, or ask for a folder."""
        if self.itemData(index):
            self._chosen = index
            self.model_changed.emit()
            return
        folder = self.ask_folder()
        if folder:
            self.add(folder)
        else:
            self.setCurrentIndex(self._chosen)


def free_folder(name: str) -> str:
    """Return a folder in the user's home for a model, one that is not there yet."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in name) or "neurons"
    number, folder = 1, Path.home() / f"{safe}-model"
    while folder.exists():
        number += 1
        folder = Path.home() / f"{safe}-model-{number}"
    return str(folder)


def _shipped() -> list[str]:
    """Names of the shipped models, without torch, the import of which takes seconds."""
    folder = files("napari_implicitseg") / "models" / "shipped"
    return sorted(item.name for item in folder.iterdir() if (item / "model.json").is_file())
