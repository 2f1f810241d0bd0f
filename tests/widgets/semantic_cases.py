"""Small images with classes, a tiny network, and the panel *Train U-Net* over them."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_implicitseg import SemanticConfig, api

from .helpers import disks, drag, settle

SHAPE = (48, 48)
PLACE = {"scale": (0.5, 0.5), "translate": (7, -3)}


def picture(seed=0):
    """Make a small noisy image of a disk, and its classes: 1 around, 2 inside."""
    image, truth = disks(SHAPE, ((22, 24, 12),), seed=seed)
    return image, np.where(truth > 0, 2, 1).astype(np.uint8)


@pytest.fixture(name="tiny", scope="module")
def tiny_model(tmp_path_factory):
    """Train a tiny network until it knows the disk; return its folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = SemanticConfig(
        steps=40, width=4, depth=2, batch_size=2, held_out=0.5, validate_every=20, average=0.5
    )
    pairs = [picture(seed) for seed in range(2)]
    api.train_semantic(
        [p[0] for p in pairs],
        [p[1] for p in pairs],
        config=config,
        out=folder,
        classes=("around", "disk"),
    )
    return str(folder)


@pytest.fixture(name="open_semantic")
def semantic_opener(make_napari_viewer, qtbot):
    """Open the panel through the manifest, on layers given as napari layer tuples."""

    def make(*layers, show=False):
        viewer = make_napari_viewer(show=show)
        for data, kwargs, kind in layers:
            getattr(viewer, f"add_{kind}")(data, **kwargs)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Train U-Net")
        settle(qtbot, widget)
        return viewer, widget

    return make


@pytest.fixture(name="with_model")
def model_opener(open_semantic, qtbot, monkeypatch, tiny):
    """Open the panel on an image, and a model by its button."""

    def make(**kwargs):
        image, _ = picture()
        viewer, widget = open_semantic((image, {"name": "em", **PLACE, **kwargs}, "image"))
        monkeypatch.setattr(widget, "ask_folder", lambda title: tiny)
        widget.open_button.click()
        settle(qtbot, widget)
        return viewer, widget

    return make


def paint_two_classes(widget):
    """Press Paint classes and draw a stroke of each through napari's own brush."""
    widget.source.paint_button.click()
    layer = widget.source.labels_box.layer
    layer.brush_size = 5
    for label, row in ((1, 4), (1, 42), (2, 20), (2, 24)):
        layer.selected_label = label
        left, right = (15, 33) if label == 2 else (3, 44)
        drag(layer, layer.data_to_world((row, left)), layer.data_to_world((row, right)))
    return layer


def train(widget, folder, steps=3):
    """Fill in and press Train."""
    widget.folder_row.path = str(folder)
    widget.steps_box.setValue(steps)
    widget.train_button.click()


def texts(table):
    """Return the texts of all cells."""
    rows, columns = range(table.rowCount()), range(table.columnCount())
    return [[table.item(row, column).text() for column in columns] for row in rows]


def write_pairs(folder, count):
    """Write images and masks of 0 and 255 as PNG."""
    from PIL import Image as Picture

    for name in ("images", "masks"):
        (folder / name).mkdir()
    for seed in range(count):
        image, mask = picture(seed)
        grey = (255 * np.clip(image, 0, 1)).astype(np.uint8)
        Picture.fromarray(grey).save(folder / "images" / f"cell{seed}.png")
        Picture.fromarray(((mask == 2) * 255).astype(np.uint8)).save(
            folder / "masks" / f"cell{seed}.png"
        )


def other_panel(viewer, name):
    """Return another panel of the plugin."""
    docks = viewer.window._wrapped_dock_widgets
    return next(dock.inner_widget() for title, dock in docks.items() if title.startswith(name))


def click_row(qtbot, table, number):
    """Click a row of a table with the mouse."""
    place = table.visualItemRect(table.item(number, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
