"""Tests of *Train U-Net* in a real viewer: paint, train, cancel and go on, folders, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from napari._app_model import get_app_model
from napari.layers import Labels
from qtpy.QtWidgets import QApplication

from .helpers import WAIT, fit_threads, settle
from .semantic_cases import (
    PLACE,
    SHAPE,
    paint_two_classes,
    picture,
    semantic_opener,
    texts,
    train,
    write_pairs,
)

open_semantic = semantic_opener


def test_the_panel_is_in_the_classify_menu(make_napari_viewer):
    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/classify")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Train U-Net") for title in titles)


def test_painted_classes_are_learned_and_predicted_over_the_image(open_semantic, qtbot, tmp_path):
    image, _ = picture()
    viewer, widget = open_semantic((image, {"name": "em", **PLACE}, "image"))
    assert not (tmp_path / "mine").exists()
    painted = paint_two_classes(widget)
    settle(qtbot, widget)
    rows = texts(widget.class_table)
    assert [row[:2] for row in rows] == [["class 1", "1"], ["class 2", "2"]]
    labelled = np.bincount(painted.data.ravel())[1:]
    assert rows[1][2] == f"{100 * labelled[1] / labelled.sum():.1f} %"
    assert "2 classes" in widget.class_label.text()
    widget.class_table.item(1, 0).setText("disk")
    assert not widget.use.isVisibleTo(widget)
    train(widget, tmp_path / "mine")
    settle(qtbot, widget)
    assert (tmp_path / "mine" / "model.json").is_file()
    assert widget.session.model.classes == ("class 1", "disk")
    assert "Trained" in widget.advice.text()
    assert "one image only" in widget.notes.text()
    assert widget.use.isVisibleTo(widget)
    assert widget.folder_row.path != str(tmp_path / "mine")
    widget.use.predict_button.click()
    settle(qtbot, widget)
    found = viewer.layers["em classes"]
    assert isinstance(found, Labels)
    assert found.editable
    assert np.array_equal(found.data, widget.session.model.predict(image))
    assert np.array_equal(found.scale, PLACE["scale"])
    assert np.array_equal(found.translate, PLACE["translate"])
    assert list(found.features["class"]) == ["none", "class 1", "disk"]
    assert widget.source.labels_box.layer is painted


def test_a_cancelled_training_goes_on(open_semantic, notes, qtbot, tmp_path):
    image, mask = picture()
    _, widget = open_semantic((image, {"name": "em"}, "image"), (mask, {"name": "all"}, "labels"))
    folder = tmp_path / "mine"
    train(widget, folder, steps=60)
    qtbot.waitUntil(lambda: "step" in widget.message_label.text(), timeout=WAIT)
    assert "loss" in widget.message_label.text()
    widget.cancel_button.click()
    settle(qtbot, widget)
    assert "Cancelled" in widget.advice.text()
    assert not (folder / "model.json").exists()
    assert widget.folder_row.path == str(folder)
    assert widget.resume_check.isVisibleTo(widget)
    assert widget.resume_check.isChecked()
    from napari_implicitseg.training.checkpoint import CHECKPOINT, Checkpoint

    done = Checkpoint.read(folder / CHECKPOINT).step
    assert 0 < done < 60
    widget.resume_check.setChecked(False)
    widget.train_button.click()
    settle(qtbot, widget)
    assert "has not finished" in notes[-1]
    assert widget.advice.text() == notes[-1]
    widget.resume_check.setChecked(True)
    steps = []
    widget.jobs.progressed.connect(lambda _, message: steps.append(message))
    widget.train_button.click()
    settle(qtbot, widget)
    assert widget.session.model.training["steps"] <= 60
    assert (folder / "model.json").is_file()
    told = [int(text.split()[1]) for text in steps if text.startswith("step")]
    assert all(step > done for step in told)


def test_closing_the_panel_cancels(open_semantic, qtbot, tmp_path):
    image, mask = picture()
    viewer, widget = open_semantic((image, {"name": "em"}, "image"), (mask, {}, "labels"))
    train(widget, tmp_path / "mine", steps=100_000)
    qtbot.waitUntil(lambda: "step" in widget.message_label.text(), timeout=WAIT)
    viewer.window.remove_dock_widget(widget.parent())
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    assert (tmp_path / "mine" / "training").is_dir()


def test_folders_are_learned_from(open_semantic, monkeypatch, qtbot, tmp_path):
    write_pairs(tmp_path, 4)
    _, widget = open_semantic()
    widget.source.origin_box.value = "files"
    assert not widget.source.image_box.isVisibleTo(widget)
    widget.source.images_row.path = str(tmp_path / "images")
    widget.source.masks_row.path = str(tmp_path / "masks")
    widget.source.zero_check.setChecked(True)
    widget.held_box.setValue(50)
    widget.source.count_button.click()
    settle(qtbot, widget)
    assert [row[:2] for row in texts(widget.class_table)] == [
        ["background", "0"],
        ["class 2", "255"],
    ]
    assert "4 images" in widget.class_label.text()
    train(widget, tmp_path / "mine")
    settle(qtbot, widget)
    model = widget.session.model
    assert model.values == (0, 255)
    figures = widget.figures
    assert f"{model.metrics['accuracy']:.3f}" in figures.summary.text()
    shown = texts(figures.classes)
    assert [row[0] for row in shown] == ["background", "class 2"]
    matrix = np.asarray(model.metrics["confusion"])
    assert float(texts(figures.confusion)[0][1]) == pytest.approx(
        100 * matrix[0, 0] / matrix[0].sum(), abs=0.06
    )
    ious = [float(row[1]) for row in texts(figures.worst)]
    assert len(ious) == 2
    assert ious == sorted(ious)
    figures.copy_button.click()
    lines = QApplication.clipboard().text().splitlines()
    assert f"background\t{matrix[0, 0]}\t{matrix[0, 1]}" in lines
    monkeypatch.setattr(widget, "ask_folder", lambda title: str(tmp_path / "pictures"))
    (tmp_path / "pictures").mkdir()
    figures.save_button.click()
    settle(qtbot, widget)
    assert "2 worst images" in widget.advice.text()
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names[0] == "confusion.png"
    assert names[1].startswith("worst_01_cell")
    assert len(names) == 3


def test_files_that_cannot_be_read_are_named_in_the_notes(open_semantic, qtbot, tmp_path):
    write_pairs(tmp_path, 3)
    (tmp_path / "images" / "cell1.png").write_bytes(b"no picture")
    _, widget = open_semantic()
    widget.source.origin_box.value = "files"
    widget.source.images_row.path = str(tmp_path / "images")
    widget.source.masks_row.path = str(tmp_path / "masks")
    widget.source.zero_check.setChecked(True)
    train(widget, tmp_path / "mine")
    settle(qtbot, widget)
    assert widget.session.model is not None
    assert "1 of 3 images" in widget.notes.text()
    assert widget.notes.text().count("1 of 3 images") == 1


def test_zarr_is_learned_from(open_semantic, notes, qtbot, tmp_path):
    image, mask = picture()
    for name, data in (("raw", image), ("classes", mask)):
        array = zarr.create_array(
            str(tmp_path / f"{name}.zarr"), shape=data.shape, dtype=data.dtype, chunks=(24, 24)
        )
        array[...] = data
    _, widget = open_semantic()
    widget.source.origin_box.value = "files"
    widget.source.images_row.path = str(tmp_path / "raw.zarr")
    train(widget, tmp_path / "mine", steps=1)
    assert "Choose the labels" in notes[-1]
    widget.source.masks_row.path = str(tmp_path / "classes.zarr")
    widget.train_button.click()
    settle(qtbot, widget)
    assert widget.session.model is not None
    assert widget.session.model.classes == ("class 1", "class 2")


def test_channels_before_a_stack_are_learned_and_predicted(open_semantic, qtbot, tmp_path):
    image, mask = picture()
    stack = np.stack([image] * 4)[:, ::2, ::2]
    classes = np.stack([mask] * 4)[:, ::2, ::2]
    channels = np.stack([stack, 1 - stack])
    place = {"scale": (1, 3, 1, 1), "translate": (0, 9, 2, 1)}
    viewer, widget = open_semantic((channels, {"name": "two", **place}, "image"))
    labels = viewer.add_labels(classes, name="classes", scale=(3, 1, 1), translate=(9, 2, 1))
    widget.source.labels_box.layer = labels
    widget.axes_box.value = 2
    train(widget, tmp_path / "mine", steps=1)
    settle(qtbot, widget)
    assert widget.session.model.channels == 2
    assert widget.session.model.ndim == 2
    widget.use.predict_button.click()
    settle(qtbot, widget)
    found = viewer.layers["two classes"]
    assert found.data.shape == classes.shape
    assert np.array_equal(found.scale, labels.scale)
    assert np.array_equal(found.translate, labels.translate)


def test_what_is_missing_is_said(open_semantic, notes, qtbot, tmp_path):
    viewer, widget = open_semantic()
    train(widget, tmp_path / "mine")
    assert "no image" in notes[-1]
    image, _ = picture()
    viewer.add_image(image, name="em")
    train(widget, tmp_path / "mine")
    assert "no painted classes" in notes[-1]
    small = viewer.add_labels(np.ones((4, 4), np.uint8), name="small")
    widget.source.labels_box.layer = small
    train(widget, tmp_path / "mine")
    assert "'small' has shape (4, 4)" in notes[-1]
    one = viewer.add_labels(np.eye(48, dtype=np.uint8), name="one")
    widget.source.labels_box.layer = one
    train(widget, tmp_path / "mine")
    settle(qtbot, widget)
    assert "'one' holds one class only (1)" in notes[-1]
    assert widget.advice.text() == notes[-1]
    widget.source.origin_box.value = "files"
    train(widget, tmp_path / "mine")
    assert "Choose a folder" in notes[-1]
    assert not (tmp_path / "mine").exists()
    viewer.layers.clear()


def test_objects_by_id_are_no_classes(open_semantic, qtbot):
    image, _ = picture()
    ids = np.arange(image.size, dtype=np.uint32).reshape(SHAPE)
    _, widget = open_semantic((image, {"name": "em"}, "image"), (ids, {"name": "ids"}, "labels"))
    settle(qtbot, widget)
    assert "'ids'" in widget.class_label.text()
    assert "too many for classes" in widget.class_label.text()
