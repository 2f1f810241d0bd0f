"""What *Train U-Net* learns from: layers of the viewer in pairs, or folders and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractItemView, QCheckBox, QTableWidget, QTableWidgetItem, QWidget

from napari_implicitseg.widgets._base import guarded
from napari_implicitseg.widgets._batch_parts import PathRow, ask_folder, ask_old
from napari_implicitseg.widgets._boxes import LayerComboBox, choice_box
from napari_implicitseg.widgets._controls import button, form, row, show_row
from napari_implicitseg.widgets._semantic_inputs import ORIGINS
from napari_implicitseg.widgets._semantic_layers import is_raw
from napari_implicitseg.widgets._semantic_pairs import (
    Pair,
    belongs_to,
    classes_of,
    images_to_add,
    show_pair,
)
from napari_implicitseg.widgets._semantic_parts import fit_rows, percent, set_up_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel

__all__ = ["PairTable", "SourceView"]

_FILES = "Images (*.png *.jpg *.bmp *.tif *.tiff *.h5 *.hdf5);;All files (*)"
_NONE = "none yet"


class PairTable(QTableWidget):
    """The images that are learned from, with their classes; hidden while there is one only."""

    def __init__(self) -> None:
        super().__init__(0, 3)
        self.setHorizontalHeaderLabels(["Image", "Classes", "Labelled"])
        set_up_table(self, widths={1: 140, 2: 70})
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.hide()

    def show_pairs(self, pairs: Sequence[Pair], chosen: int) -> None:
        """Show these pairs and no others."""
        self.setRowCount(len(pairs))
        for number, pair in enumerate(pairs):
            self._fill(number, 0, _NONE if pair.image is None else pair.image.name)
            self._fill(number, 1, _NONE if pair.labels is None else pair.labels.name)
            if self.item(number, 2) is None:
                self._fill(number, 2, "")
        self.selectRow(chosen)
        fit_rows(self)
        self.setVisible(len(pairs) > 1)

    def show_shares(self, pairs: Sequence[Pair], shares: Sequence[float]) -> None:
        """Show which share of the pixels of each image is labelled, of those that have classes."""
        left = iter(shares)
        for number, pair in enumerate(pairs):
            share = next(left, None) if pair.is_whole else None
            self._fill(number, 2, "" if share is None else percent(share))

    def _fill(self, number: int, column: int, text: str) -> None:
        """Write a cell."""
        cell = self.item(number, column)
        if cell is None:
            cell = QTableWidgetItem()
            self.setItem(number, column, cell)
        cell.setText(text)
        cell.setToolTip(f"{text}\nClick to show this image.")


class SourceView(QWidget):
    """The choice of what is learned from.

    Parameters
    ----------
    viewer : ViewerModel
    """

    changed = Signal()
    jumped = Signal()
    """A pair was brought to view."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self._filling = False
        self._make_layers()
        self._make_files()
        self.zero_check = QCheckBox("0 is a class, too (background)")
        self.zero_check.setToolTip("Otherwise 0 is what nobody has labelled.")
        image = self.image_box.layer
        first = classes_of(viewer, image, alone=True) if isinstance(image, Image) else None
        self._pairs = [Pair(image if isinstance(image, Image) else None, first)]
        self._at = 0
        self.labels_box.layer = first
        self._lay_out()
        self._connect()
        self._show()

    @property
    def origin(self) -> str:
        """Where images and masks come from."""
        return str(self.origin_box.value)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Images and classes among the layers."""
        return tuple(self._pairs)

    @property
    def chosen(self) -> Pair:
        """The pair that the boxes show."""
        return self._pairs[self._at]

    # Building -----------------------------------------------------------------

    def _make_layers(self) -> None:
        self.image_box = LayerComboBox(
            self._viewer, (Image,), empty="open an image first", suits=is_raw
        )
        self.image_box.setToolTip("An image to learn from.")
        # Not chosen unasked later: other panels, too, add layers to paint in.
        self.labels_box = LayerComboBox(self._viewer, (Labels,), empty=_NONE, optional=True)
        self.labels_box.setToolTip(
            "A label for each class, in strokes or all over; what is not painted teaches nothing."
        )
        self.paint_button = button(
            "Paint classes",
            "Start painting on the image, in a Labels layer that is added for it; or go on in it.",
        )
        self.add_button = button(
            "Add image",
            "Learn from one more image of the viewer, with classes of its own. If several are "
            "selected in the layer list, from all of these.",
        )
        self.remove_button = button(
            "Remove", "Learn no more from this image. Its layers stay in the viewer."
        )
        self.pair_table = PairTable()

    def _make_files(self) -> None:
        self.origin_box = choice_box(ORIGINS, "Where images and masks of classes come from.")
        dialogs = {"Folder...": ask_folder("Folder"), "File...": ask_old("Image", _FILES)}
        self.images_row = PathRow(
            "A folder of images, an image or an OME-Zarr.", "folder of images", dialogs
        )
        self.masks_row = PathRow(
            "A folder of masks named like their images (cell1.png, cell1_mask.png), a mask or an "
            "OME-Zarr of labels. Empty: they lie beside the images.",
            "beside the images, or a folder",
            dialogs,
        )
        self.count_button = button("Find classes", "Read the masks and list their classes.")

    def _lay_out(self) -> None:
        self._both = QWidget()
        both = row(self.add_button, self.remove_button)
        both.setContentsMargins(0, 0, 0, 0)
        self._both.setLayout(both)
        lines = self._lines = form(self)
        lines.addRow("Learn from", self.origin_box.native)
        lines.addRow(self.pair_table)
        lines.addRow("Image", self.image_box)
        lines.addRow("Classes", self.labels_box)
        lines.addRow("", self.paint_button)
        lines.addRow("", self._both)
        lines.addRow("Images", self.images_row)
        lines.addRow("Masks", self.masks_row)
        lines.addRow("", self.count_button)
        lines.addRow("", self.zero_check)

    def _connect(self) -> None:
        self.origin_box.changed.connect(self._show)
        self.origin_box.changed.connect(lambda _: self.changed.emit())
        for box in (self.image_box, self.labels_box):
            box.layer_changed.connect(self._boxes_changed)
        for line in (self.images_row, self.masks_row):
            line.changed.connect(self.changed)
        self.zero_check.toggled.connect(self.changed)
        self.pair_table.cellClicked.connect(self._row_clicked)
        events = self._viewer.layers.events
        events.removed.connect(self._layers_removed)
        events.renamed.connect(self._show)

    def disconnect_layers(self) -> None:
        """Stop following the layer list."""
        self.image_box.disconnect_layers()
        self.labels_box.disconnect_layers()
        self._viewer.layers.events.removed.disconnect(self._layers_removed)
        self._viewer.layers.events.renamed.disconnect(self._show)

    # What the user does -------------------------------------------------------

    def add(self) -> None:
        """Learn from more images of the viewer, too.

        Raises
        ------
        InputError
            If there are no more.
        """
        if self.chosen.image is None:
            return
        first = len(self._pairs)
        for image in images_to_add(self._viewer, self._pairs):
            self._pairs.append(Pair(image, classes_of(self._viewer, image, self._pairs)))
        self.choose(first)

    def remove(self) -> None:
        """Learn no more from the chosen image."""
        if len(self._pairs) > 1:
            gone = self._pairs.pop(self._at)
            self.choose(min(self._at, len(self._pairs) - 1), gone)

    def choose(self, number: int, *others: Pair) -> None:
        """Show a pair, in the boxes and in the viewer."""
        self._at = number
        self._fill_boxes()
        show_pair(self._viewer, self.chosen, [*self._pairs, *others])
        self._show()
        self.jumped.emit()
        self.changed.emit()

    def choose_image(self, image: Image | None) -> None:
        """Show the pair of an image, if it is learned from."""
        place = self._place_of(image)
        if place is not None:
            self.choose(place)

    @guarded("Showing an image")
    def _row_clicked(self, number: int, _column: int) -> None:
        self.choose(number)

    @guarded("Reading the choices")
    def _boxes_changed(self) -> None:
        """Take what the boxes say; an image that is in the list already is chosen there."""
        if self._filling:
            return
        image, labels = self.image_box.layer, self.labels_box.layer
        image = image if isinstance(image, Image) else None
        labels = labels if isinstance(labels, Labels) else None
        if image is not self.chosen.image:
            place = self._place_of(image)
            if place is not None:
                self.choose(place)
                return
            if labels is None or belongs_to(self._viewer, labels) not in (None, image):
                others = [p for p in self._pairs if p is not self.chosen]
                own = classes_of(self._viewer, image, others)
                fits = own is not None and belongs_to(self._viewer, own) is image
                labels = own if fits else None
        self._pairs[self._at] = Pair(image, labels)
        self._fill_boxes()
        self._show()
        self.changed.emit()

    # What happens in the viewer -----------------------------------------------

    @guarded("Noticing a layer that has gone")
    def _layers_removed(self, event: object = None) -> None:
        """Forget layers that have gone; a pair goes with its image, but not the last one."""
        there = set(self._viewer.layers)
        chosen = self.chosen
        kept = [pair for pair in self._pairs if pair.image in there]
        before = len(self._pairs)
        self._pairs = [
            Pair(pair.image, pair.labels if pair.labels in there else None) for pair in kept
        ] or [Pair(None, chosen.labels if chosen.labels in there else None)]
        images = [pair.image for pair in self._pairs]
        self._at = (
            images.index(chosen.image) if chosen.image in images else min(self._at, len(images) - 1)
        )
        if before > 1:
            self._fill_boxes()
        self._show()
        self.changed.emit()

    def _place_of(self, image: Image | None) -> int | None:
        """Return the number of the pair with an image."""
        for number, pair in enumerate(self._pairs):
            if image is not None and pair.image is image:
                return number
        return None

    def _fill_boxes(self) -> None:
        """Show the chosen pair in the boxes."""
        self._filling = True
        if self.chosen.image is not None:
            self.image_box.layer = self.chosen.image
        self.labels_box.layer = self.chosen.labels
        self._filling = False

    def _show(self, event: object = None) -> None:
        """Show what belongs to the origin, and the pairs."""
        files, several = self.origin == "files", len(self._pairs) > 1
        for field in (self.image_box, self.labels_box, self.paint_button, self._both):
            show_row(self._lines, field, not files)
        for field in (self.images_row, self.masks_row, self.count_button):
            show_row(self._lines, field, files)
        self.remove_button.setVisible(several)
        self.pair_table.show_pairs(self._pairs, self._at)
        self.pair_table.setVisible(several and not files)
