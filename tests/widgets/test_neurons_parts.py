"""Tests of the neurons widget in a real viewer: parts of images, and affinities in layers."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import api
from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.metrics import contingency, voi

from .helpers import settle
from .neurons_cases import affinities, image_of, neurons_opener, segment, truth

open_neurons = neurons_opener


@pytest.fixture
def predicts(monkeypatch):
    """Let every model predict affinities of the grey levels given; return these."""
    given = []

    def predict(volume, model, *, spacing, channel_axis, progress):
        given.append({"data": np.asarray(volume), "spacing": spacing, "channel": channel_axis})
        data = given[-1]["data"].astype(int)
        if channel_axis is not None:
            data = data[..., 0]
        offsets = neighbourhood("direct", ndim=data.ndim)
        found = api.labels_to_affinities(data + 1, offsets)
        return api.Affinities(data=found.data, offsets=offsets, spacing=(1.0,) * data.ndim)

    monkeypatch.setattr("napari_implicitseg.api.predict_affinities", predict)
    return given


def predict(widget, qtbot):
    widget.inputs.predict_button.click()
    settle(qtbot, widget)


def look_at(viewer, centre, height):
    """Show so much of the world about a point."""
    viewer.canvas.size = (400, 600)
    viewer.scene.camera.center = (0, *centre)
    viewer.scene.camera.zoom = 400 / height


PLACE = {"scale": (4.0, 2.0, 2.0), "translate": (7.0, -3.0, 5.0)}


def test_what_the_view_shows_is_predicted_and_lies_there(open_neurons, predicts, qtbot):
    labels = truth()
    viewer, widget = open_neurons((labels.astype(np.uint8), {"name": "raw", **PLACE}, "image"))
    step = widget.inputs
    assert step.sections_box.isHidden()
    step.area_box.value = "view"
    assert not step.sections_box.isHidden()
    step.sections_box.setValue(6)
    image = viewer.layers["raw"]
    viewer.dims.set_point(0, image.data_to_world((10, 0, 0))[0])
    look_at(viewer, image.data_to_world((0, 24, 40))[1:], 32.0)  # 16 voxels, and 24 across.
    predict(widget, qtbot)
    given = predicts[-1]["data"]
    assert given.shape[0] == 6
    assert 16 <= given.shape[1] <= 18
    assert 24 <= given.shape[2] <= 26
    assert predicts[-1]["spacing"] == PLACE["scale"]
    segment(widget, qtbot)
    layer = viewer.layers["raw neurons"]
    assert layer.data.shape == given.shape
    start = np.round(image.world_to_data(layer.data_to_world((0, 0, 0)))).astype(int)
    assert start[0] == 8
    box = tuple(slice(s, s + n) for s, n in zip(start, given.shape, strict=True))
    assert np.array_equal(given, labels[box])
    assert voi(contingency(layer.data, labels[box])).total == 0
    assert np.array_equal(layer.scale, image.scale)
    assert layer.units == image.units


def test_sections_at_an_end_are_as_many(open_neurons, predicts, qtbot):
    viewer, widget = open_neurons((truth().astype(np.uint8), {"name": "raw"}, "image"))
    widget.inputs.area_box.value = "view"
    for sections, point, wanted in ((6, 0, 6), (6, 23, 6), (100, 12, 24)):
        widget.inputs.sections_box.setValue(sections)
        viewer.dims.set_point(0, point)
        predict(widget, qtbot)
        assert len(predicts[-1]["data"]) == wanted


def test_a_view_from_another_side_and_of_one_level(open_neurons, predicts, qtbot):
    labels = truth().astype(np.uint8)
    viewer, widget = open_neurons(
        ([labels, labels[::2, ::2, ::2]], {"name": "raw", "multiscale": True}, "image")
    )
    widget.inputs.area_box.value = "view"
    widget.inputs.sections_box.setValue(3)
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_point(2, 20)
    image = viewer.layers["raw"]
    image._data_level = 1
    predict(widget, qtbot)
    assert predicts[-1]["data"].shape == (12, 32, 3)
    segment(widget, qtbot)
    layer = viewer.layers["raw neurons"]
    assert tuple(layer.scale) == (2, 2, 2)
    assert np.allclose(layer.data_to_world((0, 0, 0)), (0.5, 0.5, 18.5))


def test_a_view_that_shows_nothing_or_is_in_3d_is_told_of(open_neurons, predicts, notes, qtbot):
    viewer, widget = open_neurons((truth().astype(np.uint8), {"name": "raw"}, "image"))
    widget.inputs.area_box.value = "view"
    look_at(viewer, (900, 900), 20)
    predict(widget, qtbot)
    assert "shows nothing of layer 'raw'" in notes[-1]
    viewer.dims.ndisplay = 3
    predict(widget, qtbot)
    assert "Switch to 2D" in notes[-1]
    assert not predicts


def test_an_image_in_2d_has_no_sections(open_neurons, predicts, qtbot):
    viewer, widget = open_neurons((truth((64, 80)).astype(np.uint8), {"name": "raw"}, "image"))
    widget.inputs.area_box.value = "view"
    assert widget.inputs.sections_box.isHidden()
    look_at(viewer, (30, 30), 20)
    predict(widget, qtbot)
    assert predicts[-1]["data"].ndim == 2
    segment(widget, qtbot)
    assert viewer.layers["raw neurons"].data.shape == predicts[-1]["data"].shape


def test_another_part_is_another_layer_and_unsaved_corrections_are_asked_about(
    open_neurons, predicts, monkeypatch, qtbot
):
    viewer, widget = open_neurons((truth().astype(np.uint8), {"name": "raw"}, "image"))
    predict(widget, qtbot)
    segment(widget, qtbot)
    first, work = viewer.layers["raw neurons"], widget.session.corrections.work
    work.merge((0, 0, 0), work.voxel_of(int(first.data.max())))
    asked, answers = [], [False, True]
    monkeypatch.setattr(
        widget.dialogs, "ask_to_replace", lambda *about: (asked.append(about), answers.pop(0))[1]
    )
    segment(widget, qtbot)
    assert not asked  # They are replayed.
    widget.inputs.area_box.value = "view"
    widget.inputs.sections_box.setValue(4)
    predict(widget, qtbot)
    assert "Press Segment" in widget.advice.text()
    segment(widget, qtbot)
    assert asked == [("Segment", 1)]
    assert widget.session.view.layer is first
    segment(widget, qtbot)
    assert len(asked) == 2
    assert widget.session.view.layer is not first
    assert first in viewer.layers
    assert first.editable
    assert widget.session.view.layer.data.shape[0] == 4
    assert not widget.session.corrections.work.edits


def test_affinities_are_shown_saved_from_there_and_segmented_again(open_neurons, predicts, qtbot):
    labels = truth().astype(np.uint8)
    rotate = np.eye(3)
    rotate[1:, 1:] = [[0.8, -0.6], [0.6, 0.8]]
    turned = {"name": "raw", "scale": (3, 2, 2), "translate": (1, 2, 3), "rotate": rotate}
    for kwargs in ({"name": "raw", **PLACE}, turned):
        viewer, widget = open_neurons((labels, kwargs, "image"))
        step = widget.inputs
        assert not step.show_button.isEnabled()
        predict(widget, qtbot)
        zoom = viewer.scene.camera.zoom
        step.show_button.click()
        layer = viewer.layers["raw affinities"]
        assert viewer.scene.camera.zoom == zoom
        assert np.shares_memory(layer.data, widget.session._predicted.data)
        for voxel in ((0, 0, 0), (3, 10, 20)):
            wanted = viewer.layers["raw"].data_to_world(voxel)
            assert np.allclose(layer.data_to_world((1, *voxel)), (1, *wanted))
        step.show_button.click()
        assert len(viewer.layers) == 2
        step.image_box.layer = layer
        segment(widget, qtbot)
        neurons = viewer.layers["raw affinities neurons"]
        assert voi(contingency(neurons.data, labels)).total == 0
        assert np.allclose(neurons.data_to_world((3, 10, 20)), wanted)
        viewer.close()


@pytest.mark.parametrize("kind", ["float16", "uint8", "bool", "float64"])
@pytest.mark.parametrize("shape", [(8, 32, 32), (48, 64)])
def test_types_of_affinities_mean_the_same(open_neurons, qtbot, kind, shape):
    labels = truth(shape)
    data = affinities(labels, noise=0)
    data = {
        "float16": data.astype(np.float16),
        "float64": data.astype(np.float64),
        "bool": data > 0.5,
        "uint8": np.round(255 * data).astype(np.uint8),
    }[kind]
    viewer, widget = open_neurons((data, {"name": "aff", "contrast_limits": (0, 1)}, "image"))
    if len(shape) == 2 and kind in ("uint8", "bool"):
        assert not widget.inputs.neighbours_box.native.isHidden()
        assert widget.inputs.neighbours == "none"
        widget.inputs.neighbours_box.value = "direct"
    segment(widget, qtbot)
    assert voi(contingency(viewer.layers["aff neurons"].data, labels)).total < 0.05
    if kind == "uint8":
        work = widget.session.corrections.work
        high = work.hierarchy.altitudes.max()
        assert work.hierarchy.by_affinity
        assert high <= 1


def test_farther_neighbours_are_chosen(open_neurons, qtbot):
    labels = truth((8, 32, 32))
    offsets = neighbourhood("direct+long-range", spacing=(4, 1, 1))
    data = api.labels_to_affinities(labels, offsets).data
    viewer, widget = open_neurons((data, {"name": "aff", "scale": (1, 4, 1, 1)}, "image"))
    step = widget.inputs
    assert not step.neighbours_box.native.isHidden()
    asked = []
    build = api.build_hierarchy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "napari_implicitseg.api.build_hierarchy",
            lambda found, **kwargs: (asked.append(found), build(found, **kwargs))[1],
        )
        for choice in ("far", "direct"):
            step.neighbours_box.value = choice
            segment(widget, qtbot)
    assert asked[0].offsets == offsets
    assert asked[1].offsets == offsets[:3]
    assert voi(contingency(viewer.layers["aff neurons"].data, labels)).total < 0.05
    viewer.add_image(np.zeros((9, 16, 16), np.float32), name="raw")
    step.image_box.layer = viewer.layers["raw"]
    assert step.neighbours_box.native.isHidden()


def test_bytes_that_are_only_0_and_1_are_all_or_nothing(open_neurons, qtbot):
    labels = truth((8, 32, 32))
    data = (affinities(labels, noise=0) > 0.5).astype(np.uint8)
    viewer, widget = open_neurons((data, {"name": "aff"}, "image"))
    segment(widget, qtbot)
    assert voi(contingency(viewer.layers["aff neurons"].data, labels)).total < 0.05


@pytest.mark.parametrize(
    ("data", "kwargs", "message"),
    [
        (np.zeros((3, 4, 16, 16), np.uint16), {}, "or uint8"),
        (np.zeros((1, 4, 16, 16), np.float32), {}, "has 4 axes"),
        (np.zeros((40, 4, 16, 16), np.float32), {}, "has 4 axes"),
        (
            [np.zeros((3, 4, 16, 16), np.float32), np.zeros((3, 2, 8, 8), np.float32)],
            {"multiscale": True},
            "in one scale",
        ),
        (
            np.zeros((3, 4, 16, 16), np.float32),
            {"axis_labels": ("t", "z", "y", "x")},
            "axis of time",
        ),
        (
            np.zeros((5, 16, 16), np.float32),
            {"units": ("second", "micrometer", "micrometer")},
            "axis of time",
        ),
    ],
)
def test_what_is_no_volume_is_told_of(open_neurons, notes, qtbot, data, kwargs, message):
    viewer, widget = open_neurons((data, {"name": "raw", **kwargs}, "image"))
    segment(widget, qtbot)
    assert "Layer 'raw'" in notes[-1]
    assert message in notes[-1]
    predict(widget, qtbot)
    assert message in notes[-1]
    assert len(viewer.layers) == 1


def test_colours_go_to_the_model_as_channels(open_neurons, predicts, qtbot):
    grey = truth((8, 32, 32)).astype(np.uint8)
    viewer, widget = open_neurons((np.stack([grey] * 3, -1), {"name": "raw"}, "image"))
    assert viewer.layers["raw"].rgb
    predict(widget, qtbot)
    assert predicts[-1]["channel"] == 3
    segment(widget, qtbot)
    assert viewer.layers["raw neurons"].data.shape == grey.shape


def test_a_model_of_grey_images_says_that_it_cannot_read_colours(open_neurons, notes, qtbot):
    image = np.zeros((4, 32, 32, 3), np.uint8)
    _, widget = open_neurons((image, {"name": "raw"}, "image"))
    predict(widget, qtbot)
    assert "Layer 'raw'" in notes[-1]
    assert "channel" in notes[-1]


@pytest.mark.parametrize(
    ("unit", "scale", "wanted"),
    [
        ("micrometer", 0.01, (10.0, 10.0, 10.0)),
        ("nanometer", 10.0, (10.0, 10.0, 10.0)),
        ("pixel", 1.0, None),
        ("pixel", 8.0, (8.0, 8.0, 8.0)),
    ],
)
def test_voxels_are_measured_in_nanometres(open_neurons, predicts, qtbot, unit, scale, wanted):
    image = image_of(truth((6, 24, 24)))
    kwargs = {"name": "raw", "scale": (scale,) * 3, "units": (unit,) * 3}
    viewer, widget = open_neurons((image, kwargs, "image"))
    widget.inputs.area_box.value = "view"
    predict(widget, qtbot)
    spacing = predicts[-1]["spacing"]
    assert spacing == wanted if wanted is None else np.allclose(spacing, wanted)
    segment(widget, qtbot)
    assert viewer.layers["raw neurons"].units == viewer.layers["raw"].units
