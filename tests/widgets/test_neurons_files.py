"""Tests of the neurons widget in a real viewer: edits in files, and what outlives a layer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from .helpers import settle
from .neurons_cases import (
    click,
    neurons_cutter,
    neurons_opener,
    press_key,
    segment,
    show_section,
    two_in,
)

open_neurons, cut = neurons_opener, neurons_cutter


def answer(widget, monkeypatch, path):
    """Let the dialogs for files answer with a path."""
    monkeypatch.setattr(widget.dialogs, "ask_where_to_save", lambda: str(path))
    monkeypatch.setattr(widget.dialogs, "ask_what_to_load", lambda: str(path))


def test_edits_are_saved_and_replayed(cut, monkeypatch, tmp_path):
    viewer, widget, layer = cut()
    show_section(viewer, layer, 12)
    path = tmp_path / "edits.json"
    answer(widget, monkeypatch, path)
    start = layer.data.copy()
    (_, voxel), (_, other) = two_in(layer.data)
    press_key(viewer, "M")
    click(viewer, layer, voxel)
    click(viewer, layer, other)
    widget.correcting.save_button.click()
    assert "Saved 1 edit to" in widget.advice.text()
    assert len(json.loads(path.read_text())["edits"]) == 1
    merged = layer.data.copy()
    widget.correcting.undo_button.click()
    assert np.array_equal(layer.data, start)
    widget.correcting.load_button.click()
    assert "Replayed 1 edit" in widget.advice.text()
    assert np.array_equal(layer.data, merged)
    widget.correcting.undo_button.click()
    assert np.array_equal(layer.data, start)
    answer(widget, monkeypatch, "")
    widget.correcting.save_button.click()
    widget.correcting.load_button.click()
    assert np.array_equal(layer.data, start)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[1]", "format"),
        ('{"format": "napari-implicitseg/edits/1", "shape": [24, 64, 64]}', "no valid edits"),
        (
            '{"format": "napari-implicitseg/edits/1", "shape": [2, 2, 2], "threshold": 0.5}',
            "volume of",
        ),
        (None, "edits.json"),
    ],
)
def test_bad_files_of_edits_change_nothing(cut, monkeypatch, notes, tmp_path, text, message):
    _, widget, layer = cut()
    path = tmp_path / "edits.json"
    if text is not None:
        path.write_text(text)
    answer(widget, monkeypatch, path)
    work, before = widget.session.corrections.work, layer.data.copy()
    widget.correcting.load_button.click()
    assert message in notes[-1]
    assert message in widget.advice.text()
    assert widget.session.corrections.work is work
    assert np.array_equal(layer.data, before)
    answer(widget, monkeypatch, tmp_path / "no folder" / "edits.json")
    widget.correcting.save_button.click()
    assert "no folder" in notes[-1]


def test_neurons_are_corrected_after_the_image_was_deleted(cut, qtbot):
    viewer, widget, layer = cut()
    viewer.layers.remove("aff")
    assert "Move the slider" in widget.advice.text()
    widget.cutting.slider.setValue(0)
    press_key(viewer, "N")
    settle(qtbot, widget)
    assert widget.session.corrections.current == 1
    assert "narrow margin" in widget.advice.text()
    press_key(viewer, "S")
    scribbles = viewer.layers["scribbles"]
    scribbles.data[12, 10, 10], scribbles.data[12, 50, 50] = 1, 2
    press_key(viewer, "S")
    settle(qtbot, widget)
    assert len(np.unique(layer.data)) == 2
    seeds = viewer.add_labels((layer.data > 0).astype(np.uint8), name="seeds")
    widget.seeding.seeds_box.layer = seeds
    widget.seeding.apart_box.setChecked(True)
    widget.seeding.seed_button.click()
    settle(qtbot, widget)
    assert "aff neurons by seeds" in viewer.layers


def test_a_deleted_layer_comes_back_with_its_corrections(cut, qtbot, notes):
    viewer, widget, layer = cut()
    show_section(viewer, layer, 12)
    (_, voxel), (_, other) = two_in(layer.data)
    press_key(viewer, "M")
    click(viewer, layer, voxel)
    click(viewer, layer, other)
    merged = layer.data.copy()
    viewer.layers.remove(layer)
    widget.cutting.slider.setValue(600)
    widget.correcting.undo_button.click()
    assert "layer of the neurons is gone" in notes[-1]
    widget.cutting.slider.setValue(500)
    segment(widget, qtbot)
    assert viewer.layers["aff neurons"] is not layer
    assert np.array_equal(viewer.layers["aff neurons"].data, merged)


def test_loading_asks_only_before_something_is_lost(cut, monkeypatch, tmp_path):
    _, widget, _ = cut()
    path, asked = tmp_path / "edits.json", []

    def ask(action, count):
        asked.append((action, count))
        return len(asked) > 1

    answer(widget, monkeypatch, path)
    monkeypatch.setattr(widget.dialogs, "ask_to_replace", ask)
    step, work = widget.correcting, widget.session.corrections.work
    step.save_button.click()
    step.load_button.click()
    assert not asked  # There was nothing to lose.
    widget.session.corrections.select((12, 30, 30))
    step.freeze_button.click()
    step.load_button.click()
    assert asked == [("Load edits", 1)]
    work = widget.session.corrections.work
    assert len(work.edits) == 1
    step.save_button.click()
    step.load_button.click()
    assert len(asked) == 1  # They are saved.
    assert len(widget.session.corrections.work.edits) == 1
    step.undo_button.click()
    step.load_button.click()
    assert len(asked) == 1  # The file has more than there is.
    widget.session.corrections.select((12, 30, 30))
    step.freeze_button.click()
    step.load_button.click()
    assert asked[1:] == [("Load edits", 2)]
    assert len(widget.session.corrections.work.edits) == 1


@pytest.mark.parametrize("yes", [False, True])
def test_the_question_is_asked_in_words(cut, monkeypatch, yes):
    from qtpy.QtWidgets import QMessageBox

    _, widget, _ = cut()
    seen = []

    def question(*args):
        seen.append(args)
        buttons = QMessageBox.StandardButton
        return buttons.Yes if yes else buttons.No

    monkeypatch.setattr(QMessageBox, "question", question)
    assert widget.dialogs.ask_to_replace("Load edits", 3) is yes
    assert "3 corrections of the neurons are not saved" in seen[0][2]
    assert seen[0][4] == QMessageBox.StandardButton.No
