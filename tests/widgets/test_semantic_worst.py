"""Tests of *Train U-Net*: the worst images are seen by a click, from files and from layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_implicitseg import SemanticConfig, api
from napari_implicitseg.widgets import _semantic_looking

from .helpers import settle
from .semantic_cases import click_row, picture, semantic_opener, texts, train, write_pairs

open_semantic = semantic_opener


def tiny(**options):
    """Return options of a tiny network that is measured on half the images."""
    return SemanticConfig(
        steps=2, width=4, depth=2, batch_size=2, held_out=0.5, validate_every=2, **options
    )


@pytest.fixture(name="folder", scope="module")
def trained_on_files(tmp_path_factory):
    """Write pairs of images and masks, and a model that was trained on them."""
    folder = tmp_path_factory.mktemp("files")
    write_pairs(folder, 4)
    images, masks = folder / "images", folder / "masks"
    with pytest.warns(UserWarning, match="become classes"):
        api.train_semantic(images, masks, config=tiny(zero="background"), out=folder / "model")
    return folder


@pytest.fixture(name="with_layers")
def layers_opener(open_semantic, qtbot, monkeypatch, tmp_path):
    """Open the panel on layers, and a model that was trained on two of them in another session."""
    pairs = [picture(seed) for seed in range(4)]
    model = api.train_semantic(*zip(*pairs, strict=True), config=tiny(), out=tmp_path / "first")
    metrics = dict(model.metrics)
    for number, one in enumerate(metrics["images"]):
        one["name"] = f"cell{number}"
    replace(model, metrics=metrics).save(tmp_path / "model")
    viewer, widget = open_semantic(
        *((image, {"name": f"cell{n}"}, "image") for n, (image, _) in enumerate(pairs)),
        *((mask, {"name": f"cell{n}_mask"}, "labels") for n, (_, mask) in enumerate(pairs)),
        show=True,
    )
    monkeypatch.setattr(widget, "ask_folder", lambda title: str(tmp_path / "model"))
    widget.open_button.click()
    settle(qtbot, widget)
    return viewer, widget


@pytest.fixture(name="with_files")
def files_opener(open_semantic, qtbot, monkeypatch, folder):
    """Open the panel, the model, and choose the folders it was trained with."""

    def make(*layers, choose=True):
        viewer, widget = open_semantic(*layers, show=True)
        if choose:
            widget.source.origin_box.value = "files"
            widget.source.images_row.path = str(folder / "images")
            widget.source.masks_row.path = str(folder / "masks")
        monkeypatch.setattr(widget, "ask_folder", lambda title: str(folder / "model"))
        widget.open_button.click()
        settle(qtbot, widget)
        return viewer, widget

    return make


def click_worst(qtbot, widget, number):
    """Click one of the worst images and wait for it; return its name."""
    click_row(qtbot, widget.figures.worst, number)
    settle(qtbot, widget)
    return texts(widget.figures.worst)[number][0]


def test_a_file_is_shown_with_truth_prediction_and_what_is_wrong(with_files, qtbot, folder):
    mine = (picture()[0], {"name": "mine"}, "image")
    viewer, widget = with_files(mine)
    name = click_worst(qtbot, widget, 0)
    model = widget.session.model
    from PIL import Image as Picture

    grey = np.asarray(Picture.open(folder / "images" / name))
    mask = np.asarray(Picture.open(folder / "masks" / name))
    truth = np.where(mask == 255, 2, 1)
    found = model.predict(grey)
    assert [layer.name for layer in viewer.layers] == [
        "mine",
        name,
        f"{name} truth",
        f"{name} prediction",
        f"{name} wrong pixels",
    ]
    _, image, first, second, wrong = viewer.layers
    assert isinstance(image, Image)
    assert np.array_equal(image.data, grey)
    assert np.array_equal(first.data, truth)
    assert np.array_equal(second.data, found)
    assert np.array_equal(wrong.data, truth != found)
    assert np.array_equal(first.get_color(2), second.get_color(2))
    assert list(second.features["class"]) == ["none", "background", "class 2"]
    assert not any(layer.editable for layer in viewer.layers if isinstance(layer, Labels))
    figure = float(texts(widget.figures.worst)[0][1])
    assert f"mean IoU {figure:.3f}" in widget.advice.text()
    assert f"{(truth != found).sum():,} of {truth.size:,}" in widget.advice.text()
    # None of this is offered to learn from, and the next click replaces it.
    assert widget.source.image_box.count() == 1
    other = click_worst(qtbot, widget, 1)
    assert other != name
    assert len(viewer.layers) == 5
    assert not any(layer.name.startswith(name) for layer in viewer.layers)


def test_of_a_large_image_the_middle_is_predicted_and_said_so(with_files, qtbot, monkeypatch):
    monkeypatch.setattr(_semantic_looking, "_MOST_PIXELS", {2: 20 * 20, 3: 1})
    viewer, widget = with_files()
    name = click_worst(qtbot, widget, 0)
    shape = viewer.layers[name].data.shape
    assert np.prod(shape) <= 400
    assert viewer.layers[f"{name} prediction"].data.shape == shape
    assert f"its middle, {shape[0]} x {shape[1]} of 48 x 48 pixels" in widget.advice.text()


def test_files_that_are_not_chosen_are_asked_for(with_files, qtbot, tmp_path):
    viewer, widget = with_files(choose=False)
    click_worst(qtbot, widget, 0)
    assert "Choose 'folders or files' in Learn from" in widget.advice.text()
    widget.source.origin_box.value = "files"
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        row = getattr(widget.source, f"{name}_row")
        (tmp_path / name / "other.png").write_bytes(b"no picture")
        row.path = str(tmp_path / name)
    name = click_worst(qtbot, widget, 0)
    assert f"'{name}' is not in" in widget.advice.text()
    assert len(viewer.layers) == 0


def test_a_layer_is_jumped_to_also_after_it_was_renamed(open_semantic, qtbot, tmp_path):
    layers = []
    for seed in range(4):
        image, mask = picture(seed)
        place = {"translate": (0, 3 * seed), "scale": (2, 2)}
        layers.append((image, {"name": f"cell{seed}", **place}, "image"))
        layers.append((mask, {"name": f"cell{seed} mask", **place}, "labels"))
    viewer, widget = open_semantic(*layers, show=True)
    viewer.layers.selection = {layer for layer in viewer.layers if isinstance(layer, Image)}
    widget.source.add_button.click()
    widget.held_box.setValue(50)
    train(widget, tmp_path / "mine", steps=1)
    settle(qtbot, widget)
    first, second = (row[0] for row in texts(widget.figures.worst))
    image, mask = viewer.layers[first], viewer.layers[f"{first} mask"]
    image.name = "renamed"
    click_worst(qtbot, widget, 0)
    assert widget.source.chosen.image is image
    shown = {layer.name for layer in viewer.layers if layer.visible}
    assert shown == {"renamed", mask.name, f"{first} prediction", f"{first} wrong pixels"}
    found = viewer.layers[f"{first} prediction"]
    assert np.array_equal(found.data, widget.session.model.predict(image.data))
    assert np.array_equal(found.translate, image.translate)
    assert np.array_equal(found.scale, image.scale)
    assert np.array_equal(found.get_color(2), mask.get_color(2))
    # Another image of the list is not covered by what was seen.
    widget.source.image_box.layer = viewer.layers[second]
    assert {layer.name for layer in viewer.layers if layer.visible} == {second, f"{second} mask"}
    viewer.layers.remove(image)
    click_worst(qtbot, widget, 0)
    assert f"no image '{first}' any more" in widget.advice.text()
    settle(qtbot, widget)


def test_layers_of_a_model_that_was_opened_are_found_by_name(with_layers, qtbot):
    viewer, widget = with_layers
    click_worst(qtbot, widget, 0)
    assert "labelled pixels are wrong" in widget.advice.text()
    viewer.layers.clear()
    click_worst(qtbot, widget, 1)
    assert "any more" in widget.advice.text()
