"""Tests of the neurons widget in a real viewer: from an image to neurons, and the slider."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_implicitseg import api
from napari_implicitseg.metrics import contingency, voi

from .helpers import WAIT, fit_threads, settle
from .neurons_cases import affinities, image_of, neurons_opener, segment, truth

open_neurons = neurons_opener


@pytest.fixture
def predicts(monkeypatch):
    """Let every model predict the affinities of a truth; return how it was called."""
    calls = []

    def make(labels):
        def predict(volume, model, *, spacing, channel_axis, progress):
            calls.append({"shape": volume.shape, "model": model, "spacing": spacing})
            progress(0.5, "Predicting")
            data = affinities(labels)
            offsets = tuple(
                tuple(-int(a == b) for b in range(labels.ndim)) for a in range(len(data))
            )
            size = spacing or (1.0,) * labels.ndim
            return api.Affinities(data=data, offsets=offsets, spacing=size)

        monkeypatch.setattr("napari_implicitseg.api.predict_affinities", predict)
        return calls

    return make


def predict(widget, qtbot):
    """Press Predict and wait for it."""
    widget.inputs.predict_button.click()
    settle(qtbot, widget)


@pytest.mark.parametrize("shape", [(24, 64, 64), (64, 80)])
def test_from_an_image_to_neurons(open_neurons, predicts, qtbot, shape):
    labels = truth(shape)
    calls = predicts(labels)
    place = {"scale": (2.0,) * labels.ndim, "translate": (5.0,) * labels.ndim}
    viewer, widget = open_neurons((image_of(labels), {"name": "raw", **place}, "image"))
    assert "Predict" in widget.advice.text()
    predict(widget, qtbot)
    assert calls == [
        {"shape": shape, "model": widget.inputs.model_box.model, "spacing": (2.0,) * labels.ndim}
    ]
    assert "Segment" in widget.advice.text()
    segment(widget, qtbot)
    layer = viewer.layers["raw neurons"]
    assert layer.data.dtype == np.uint32
    assert np.array_equal(layer.scale, viewer.layers["raw"].scale)
    assert np.array_equal(layer.translate, viewer.layers["raw"].translate)
    assert voi(contingency(layer.data, labels)).total < 0.1
    work = widget.session.corrections.work
    assert np.array_equal(layer.data, work.labels())
    assert f"{len(np.unique(layer.data))} neurons" in widget.cutting.count.text()


def test_segment_asks_for_a_prediction_first(open_neurons, notes, qtbot):
    _, widget = open_neurons((image_of(truth()), {"name": "raw"}, "image"))
    segment(widget, qtbot)
    assert "no affinities of 'raw'" in notes[-1]
    assert "no affinities of 'raw'" in widget.advice.text()


def test_without_an_image_every_button_says_what_is_needed(open_neurons, notes, qtbot):
    _, widget = open_neurons()
    assert "Open an image" in widget.advice.text()
    for button in (
        widget.inputs.predict_button,
        widget.cutting.segment_button,
        widget.training.train_button,
    ):
        button.click()
        assert "no image" in notes[-1]
    widget.seeding.seed_button.click()
    assert "Segment first" in notes[-1]


@pytest.mark.parametrize("number", [2, 3])
def test_an_affinity_layer_is_segmented_as_it_is(open_neurons, qtbot, number):
    labels = truth()
    data = affinities(labels)[3 - number :]
    scale = (1.0, 4.0, 2.0, 2.0)
    kwargs = {"name": "aff", "scale": scale, "translate": (0, 1, 2, 3)}
    viewer, widget = open_neurons((data, kwargs, "image"))
    assert "holds affinities" in widget.advice.text()
    segment(widget, qtbot)
    layer = viewer.layers["aff neurons"]
    assert layer.data.shape == labels.shape
    assert tuple(layer.scale) == scale[1:]
    assert tuple(layer.translate) == (1, 2, 3)
    if number == 3:
        assert voi(contingency(layer.data, labels)).total < 0.1
    else:  # Nothing joins the sections.
        shared = [
            set(np.unique(a)) & set(np.unique(b))
            for a, b in zip(layer.data, layer.data[1:], strict=False)
        ]
        assert not any(shared)


def test_neurons_lie_where_turned_affinities_lie(open_neurons, qtbot):
    rng = np.random.default_rng(0)
    affine = np.eye(5)
    affine[2:4, 2:] += rng.normal(0, 0.1, (2, 3))  # In the plane, as napari shows it.
    rotate = np.eye(4)
    rotate[2:, 2:] = [[0.8, -0.6], [0.6, 0.8]]
    kwargs = {"name": "aff", "scale": (1, 3, 2, 2), "rotate": rotate, "affine": affine}
    viewer, widget = open_neurons((affinities(truth()), kwargs, "image"))
    segment(widget, qtbot)
    for voxel in rng.uniform(0, 20, (5, 3)):
        wanted = viewer.layers["aff"].data_to_world((0, *voxel))[1:]
        assert np.allclose(viewer.layers["aff neurons"].data_to_world(voxel), wanted)


@pytest.mark.parametrize(("damage", "message"), [(np.nan, "NaN|infinit|0 to 1"), (7.0, "0 to 1")])
def test_bad_affinities_are_told_of(open_neurons, notes, qtbot, damage, message):
    data = affinities(truth())
    data[0, 3, 4, 5] = damage
    viewer, widget = open_neurons((data, {"name": "aff", "contrast_limits": (0, 1)}, "image"))
    segment(widget, qtbot)
    assert "Layer 'aff'" in notes[-1]
    assert any(part in notes[-1] for part in message.split("|"))
    assert [layer.name for layer in viewer.layers] == ["aff"]


def test_the_slider_recuts_the_layer_in_place(open_neurons, qtbot):
    viewer, widget = open_neurons((affinities(truth()), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    layer, slider = viewer.layers["aff neurons"], widget.cutting.slider
    data, counts = layer.data, []
    for value in (0, 200, 500, 800, 1000):
        slider.setValue(value)
        work = widget.session.corrections.work
        assert work.threshold == value / 1000
        assert layer.data is data
        assert np.array_equal(data, work.labels())
        shown = layer._slice.image
        assert np.array_equal(shown.view, layer.colormap._data_to_texture(shown.raw))
        counts.append(len(np.unique(data)))
        assert f"{counts[-1]:,} neurons" in widget.cutting.count.text()
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] > 20


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_in_3d_the_texture_is_that_of_napari(open_neurons, monkeypatch, qtbot, alone, order):
    viewer, widget = open_neurons((affinities(truth()), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    viewer.layers.remove("aff")
    viewer.dims.ndisplay = 3
    viewer.dims.order = order
    layer = viewer.layers["aff neurons"]
    widget.session.corrections.select((5, 20, 20))
    widget.cutting.alone_box.setChecked(alone)
    told, slow = [], []
    layer.events.set_data.connect(lambda event: told.append(event))
    with monkeypatch.context() as patch:
        set_view_slice = type(layer).set_view_slice
        patch.setattr(
            type(layer), "set_view_slice", lambda it: (slow.append(it), set_view_slice(it))
        )
        widget.cutting.slider.setValue(700)
    assert told
    assert (layer in slow) == (order != (0, 1, 2))
    fast = layer._slice.image.view.copy()
    layer.refresh()
    assert np.array_equal(fast, layer._slice.image.view)
    assert len(np.unique(fast)) == (2 if alone else len(np.unique(fast)))


@pytest.mark.parametrize("linkage", ["single", "quantile", "ward", "area", "volume", "dynamics"])
def test_every_linkage_makes_neurons_and_the_slider_works(open_neurons, qtbot, linkage):
    viewer, widget = open_neurons((affinities(truth((8, 32, 32))), {"name": "aff"}, "image"))
    widget.cutting.linkage_box.value = linkage
    segment(widget, qtbot)
    counts = []
    for value in (0, 300, 900, 1000):
        widget.cutting.slider.setValue(value)
        counts.append(len(np.unique(viewer.layers["aff neurons"].data)))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_another_linkage_keeps_corrections_and_the_layer(open_neurons, qtbot):
    viewer, widget = open_neurons((affinities(truth()), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    layer = viewer.layers["aff neurons"]
    corrections = widget.session.corrections
    one, two = np.argwhere(layer.data == 1)[0], np.argwhere(layer.data != 1)[0]
    corrections.work.merge(tuple(one), tuple(two))
    widget.cutting.linkage_box.value = "single"
    segment(widget, qtbot)
    assert viewer.layers["aff neurons"] is layer
    assert len(corrections.work.edits) == 1
    assert layer.data[tuple(one)] == layer.data[tuple(two)]


@pytest.mark.parametrize("how", ["cancel", "remove", "hide", "viewer", "image"])
def test_a_prediction_that_is_stopped_leaves_no_trace(open_neurons, monkeypatch, qtbot, how):
    started = threading.Event()

    def wait(*args, progress, **kwargs):
        started.set()
        for _ in range(6000):
            progress(0.5, "Waiting")
            threading.Event().wait(0.01)
        raise AssertionError("nobody cancelled")

    monkeypatch.setattr("napari_implicitseg.api.predict_affinities", wait)
    viewer, widget = open_neurons((image_of(truth()), {"name": "raw"}, "image"))
    widget.inputs.predict_button.click()
    qtbot.waitUntil(started.is_set, timeout=WAIT)
    assert widget.cancel_button.isEnabled()
    qtbot.waitUntil(lambda: widget.progress.format() == "Waiting", timeout=WAIT)
    if how == "cancel":
        widget.cancel_button.click()
        assert "Cancelled" in widget.advice.text()
    elif how == "remove":
        viewer.window.remove_dock_widget(widget)
    elif how == "viewer":
        viewer.close()
    elif how == "image":
        viewer.layers.remove("raw")
    else:
        viewer.window._qt_window.show()
        widget.parent().show()
        widget.parent().hide()
        assert not viewer.keymap
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    if how not in ("viewer", "image"):
        assert [layer.name for layer in viewer.layers] == ["raw"]


def test_closing_the_panel_leaves_the_neurons_to_the_user(open_neurons, qtbot):
    viewer, widget = open_neurons((affinities(truth()), {"name": "aff"}, "image"))
    segment(widget, qtbot)
    layer = viewer.layers["aff neurons"]
    widget.session.corrections.select((5, 20, 20))
    assert not layer.editable
    assert layer.keymap
    assert "current neuron" in viewer.layers
    before = layer.data.copy()
    viewer.window.remove_dock_widget(widget)
    assert layer.editable
    assert not layer.keymap
    assert not viewer.keymap
    assert widget.session._clicks._on_drag not in viewer.mouse_drag_callbacks
    assert "current neuron" not in viewer.layers
    assert np.array_equal(layer.data, before)


def test_models_are_shipped_or_in_folders(open_neurons, monkeypatch, notes, qtbot, tmp_path):
    from napari_implicitseg.models.folder import shipped_models

    _, widget = open_neurons((image_of(truth()), {"name": "raw"}, "image"))
    box = widget.inputs.model_box
    assert [box.itemText(i) for i in range(box.count())] == [*shipped_models(), "folder..."]
    monkeypatch.setattr(box, "ask_folder", lambda: "")
    box.activated.emit(box.count() - 1)
    assert box.model == shipped_models()[0]
    monkeypatch.setattr(box, "ask_folder", lambda: str(tmp_path))
    box.activated.emit(box.count() - 1)
    assert box.model == str(tmp_path)
    predict(widget, qtbot)
    assert "model.json" in notes[-1]


def test_an_image_of_other_axes_is_refused(open_neurons, notes, qtbot):
    _, widget = open_neurons((np.zeros((2, 2, 3, 16, 16), np.float32), {"name": "raw"}, "image"))
    predict(widget, qtbot)
    assert "Layer 'raw' has 5 axes" in notes[-1]


def test_a_bug_is_reported_and_leaves_the_widget_usable(
    open_neurons, predicts, monkeypatch, notes, qtbot
):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("oops")

    labels = truth()
    _, widget = open_neurons((image_of(labels), {"name": "raw"}, "image"))
    with monkeypatch.context() as patch:
        patch.setattr("napari_implicitseg.api.predict_affinities", broken)
        predict(widget, qtbot)
    assert "report it" in notes[-1]
    predicts(labels)
    predict(widget, qtbot)
    assert "Press Segment" in widget.advice.text()
