"""Tests of the neurons widget in a real viewer: seeds, and training from painted sections."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_implicitseg import api

from .helpers import WAIT, drag, fit_threads, settle
from .neurons_cases import affinities, image_of, neurons_opener, segment, truth

open_neurons = neurons_opener


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """Train a model of a few weights for two steps; return its folder."""
    labels = truth((16, 48, 48))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    config = api.TrainConfig(depth=2, width=4, steps=2, patch_shape=(8, 32, 32), augment=False)
    api.train_affinities([(image_of(labels), labels)], config=config, out=folder)
    return str(folder)


def start_training(widget, labels_layer, folder, steps=2):
    """Choose what to train from and press the button."""
    step = widget.training
    step.labels_box.layer = labels_layer
    step.steps_box.setValue(steps)
    step.folder_edit.setText(str(folder))
    step.train_button.click()


def test_the_whole_circle_paint_train_predict_cut(open_neurons, qtbot, tiny_model, tmp_path):
    labels = truth()
    viewer, widget = open_neurons((image_of(labels), {"name": "raw"}, "image"))
    widget.inputs.model_box.add(tiny_model)
    painted = viewer.add_labels(np.zeros(labels.shape, np.uint16), name="painted")
    painted.brush_size, painted.mode = 9, "paint"
    for section in (3, 4, 12, 13, 21, 22):
        viewer.dims.set_point(0, section)
        for number, row in enumerate((6, 20, 34, 48), start=1):
            painted.selected_label = number
            drag(painted, (section, row, 6), (section, row, 57))
    folder = tmp_path / "mine"
    start_training(widget, painted, folder)
    settle(qtbot, widget)
    assert (folder / "model.json").is_file()
    assert widget.inputs.model_box.model == str(folder)
    assert "is trained and chosen" in widget.advice.text()
    assert widget.training.folder_edit.text() != str(folder)
    widget.inputs.predict_button.click()
    settle(qtbot, widget)
    assert widget.session._predicted.data.shape[1:] == labels.shape
    segment(widget, qtbot)
    assert viewer.layers["raw neurons"].data.shape == labels.shape


def test_training_asks_for_what_is_missing(open_neurons, notes, qtbot, tiny_model, tmp_path):
    labels = truth()
    viewer, widget = open_neurons((image_of(labels), {"name": "raw"}, "image"))
    widget.inputs.model_box.add(tiny_model)
    start_training(widget, None, tmp_path / "mine")
    assert "no painted sections" in notes[-1]
    empty = viewer.add_labels(np.zeros(labels.shape, np.uint8), name="empty")
    start_training(widget, empty, tmp_path / "mine")
    settle(qtbot, widget)
    assert "'empty'" in notes[-1]
    small = viewer.add_labels(np.ones((4, 4, 4), np.uint8), name="small")
    start_training(widget, small, tmp_path / "mine")
    assert "has shape (4, 4, 4)" in notes[-1]
    full = viewer.add_labels(labels, name="full")
    start_training(widget, full, "  ")
    assert "no folder" in notes[-1]
    start_training(widget, full, tiny_model)
    settle(qtbot, widget)
    assert tiny_model in notes[-1]
    assert not (tmp_path / "mine" / "model.json").exists()


def test_training_is_cancelled(open_neurons, monkeypatch, qtbot, tmp_path):
    started = threading.Event()

    def wait(*args, progress, **kwargs):
        started.set()
        for _ in range(6000):
            progress(0.5, "Waiting")
            threading.Event().wait(0.01)
        raise AssertionError("nobody cancelled")

    monkeypatch.setattr("napari_implicitseg.api.train_affinities", wait)
    labels = truth()
    viewer, widget = open_neurons(
        (image_of(labels), {"name": "raw"}, "image"), (labels, {"name": "full"}, "labels")
    )
    before = widget.inputs.model_box.model
    start_training(widget, viewer.layers["full"], tmp_path / "mine")
    qtbot.waitUntil(started.is_set, timeout=WAIT)
    widget.cancel_button.click()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    assert "Cancelled" in widget.advice.text()
    assert widget.inputs.model_box.model == before


@pytest.fixture
def cut(open_neurons, qtbot):
    """Open the widget on affinities, moved and scaled, and press Segment."""
    kwargs = {"name": "aff", "scale": (1, 4, 2, 2), "translate": (0, 1, 2, 3)}
    viewer, widget = open_neurons((affinities(truth()), kwargs, "image"))
    segment(widget, qtbot)
    return viewer, widget, viewer.layers["aff neurons"]


SEEDS = {(2, 5, 5): 11, (20, 60, 60): 12, (12, 5, 60): 13}


def press_seed(widget, qtbot, layer):
    """Choose seeds and cut by them, in a layer of their own."""
    widget.seeding.apart_box.setChecked(True)
    widget.seeding.seeds_box.layer = layer
    widget.seeding.seed_button.click()
    settle(qtbot, widget)


def test_seeds_of_a_labels_layer_grow(cut, qtbot):
    viewer, widget, layer = cut
    data = np.zeros(layer.data.shape, np.uint16)
    for voxel, label in SEEDS.items():
        data[voxel] = label
    press_seed(widget, qtbot, viewer.add_labels(data, name="seeds"))
    grown = viewer.layers["aff neurons by seeds"]
    assert np.array_equal(grown.scale, layer.scale)
    assert np.array_equal(grown.translate, layer.translate)
    assert sorted(np.unique(grown.data)) == sorted(SEEDS.values())
    for voxel, label in SEEDS.items():
        assert grown.data[voxel] == label
    assert viewer.layers["aff neurons"] is layer


@pytest.mark.parametrize("named", [False, True])
def test_seeds_of_a_points_layer_grow(cut, qtbot, named):
    viewer, widget, layer = cut
    world = [layer.data_to_world(voxel) for voxel in SEEDS]
    features = {"label": [7, 8, 7]} if named else None
    press_seed(widget, qtbot, viewer.add_points(world, name="seeds", features=features))
    grown = viewer.layers["aff neurons by seeds"].data
    for voxel, label in zip(SEEDS, [7, 8, 7] if named else [1, 2, 3], strict=True):
        assert grown[voxel] == label


@pytest.mark.parametrize(
    ("points", "features", "message"),
    [
        ([(1000.0, 0, 0)], None, "No point of layer 'seeds'"),
        ([(9.0, 9, 9)], {"label": ["a"]}, "whole number from 1"),
        ([(9.0, 9, 9)], {"label": [0]}, "whole number from 1"),
        ([(9.0, 9)], None, "has 2 axes"),
    ],
)
def test_bad_points_are_told_of(cut, notes, qtbot, points, features, message):
    viewer, widget, _ = cut
    press_seed(widget, qtbot, viewer.add_points(points, name="seeds", features=features))
    assert message in notes[-1]
    assert message in widget.advice.text()


def test_bad_seeds_are_told_of(cut, notes, qtbot):
    viewer, widget, layer = cut
    press_seed(widget, qtbot, None)
    assert "no seeds" in notes[-1]
    press_seed(widget, qtbot, viewer.add_labels(np.ones((3, 3, 3), np.uint8), name="small"))
    assert "has shape (3, 3, 3)" in notes[-1]
    press_seed(widget, qtbot, viewer.add_labels(np.zeros(layer.data.shape, np.uint8), name="none"))
    assert "Layer 'none'" in notes[-1]
