"""Tests of *Train U-Net* on several images of the viewer: the list of pairs, and learning."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.models.folder import load_stored
from napari_implicitseg.widgets._semantic_inputs import source_of

from .helpers import drag, settle
from .semantic_cases import click_row, paint_two_classes, picture, semantic_opener, texts, train

open_semantic = semantic_opener


def images(count, **kwargs):
    """Return image layers named cell1 and so on, of several sizes, as layer tuples."""
    made = []
    for seed in range(count):
        image, _ = picture(seed)
        made.append((image[: 48 - 2 * seed], {"name": f"cell{seed + 1}", **kwargs}, "image"))
    return made


def masks(count):
    """Return Labels layers named after the images of `images`, in another order."""
    made = []
    for seed in reversed(range(count)):
        _, mask = picture(seed)
        made.append((mask[: 48 - 2 * seed], {"name": f"cell{seed + 1}_mask"}, "labels"))
    return made


def pairs_of(widget):
    """Return the names of images and classes."""
    return [
        (pair.image.name, None if pair.labels is None else pair.labels.name)
        for pair in widget.source.pairs
    ]


def test_one_image_needs_no_list(open_semantic):
    _, widget = open_semantic(*images(1), *masks(1))
    assert pairs_of(widget) == [("cell1", "cell1_mask")]
    assert not widget.source.pair_table.isVisibleTo(widget)
    assert not widget.source.remove_button.isVisibleTo(widget)


def test_painted_images_are_learned_together_and_held_out_by_image(open_semantic, qtbot, tmp_path):
    viewer, widget = open_semantic(*images(2))
    layers = [paint_two_classes(widget)]
    widget.source.add_button.click()
    assert widget.source.chosen.image is viewer.layers["cell1"]
    assert widget.source.chosen.labels is None
    assert "'cell1'" in widget.advice.text()
    layers.append(paint_two_classes(widget))
    settle(qtbot, widget)
    assert pairs_of(widget) == [
        ("cell2", "cell2 painted classes"),
        ("cell1", "cell1 painted classes"),
    ]
    counts = sum(np.bincount(layer.data.ravel(), minlength=3)[1:] for layer in layers)
    shares = [f"{100 * n / counts.sum():.1f} %" for n in counts]
    assert [row[2] for row in texts(widget.class_table)] == shares
    labelled = [f"{100 * (layer.data > 0).mean():.1f} %" for layer in layers]
    assert [row[2] for row in texts(widget.source.pair_table)] == labelled
    assert "2 classes in 2 images" in widget.class_label.text()
    widget.held_box.setValue(50)
    train(widget, tmp_path / "mine", steps=2)
    settle(qtbot, widget)
    model = widget.session.model
    (held,) = model.training["held_out"]
    assert held in ("cell1", "cell2")
    assert [one["name"] for one in model.metrics["images"]] == [held]
    assert [one["name"] for one in model.training["volumes"]] == [
        name for name in ("cell1", "cell2") if name != held
    ]
    assert load_stored(tmp_path / "mine").training["held_out"] == [held]
    viewer.layers[held].name = "another name"
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    widget.session.save_pictures(str(pictures))
    settle(qtbot, widget)
    assert sorted(p.name for p in pictures.iterdir()) == [
        "confusion.png",
        "worst_01_another_name.png",
    ]
    # Something painted since: the training cannot go on, and says why.
    widget.folder_row.path = str(tmp_path / "mine")
    widget.resume_check.setChecked(True)
    for layer in layers:
        layer.data_setitem((np.arange(20, 30), np.arange(20, 30)), 1)
    widget.train_button.click()
    settle(qtbot, widget)
    assert "something was painted" in widget.advice.text()
    assert "volume" not in widget.advice.text()


def test_selected_images_are_added_with_the_masks_named_after_them(open_semantic, qtbot):
    viewer, widget = open_semantic(*images(3), *masks(3))
    chosen = widget.source.chosen.image.name
    viewer.layers.selection = {viewer.layers[f"cell{i}"] for i in (1, 2, 3)}
    widget.source.add_button.click()
    settle(qtbot, widget)
    assert pairs_of(widget)[0][0] == chosen
    assert sorted(pairs_of(widget)) == [(f"cell{i}", f"cell{i}_mask") for i in (1, 2, 3)]
    assert widget.source.pair_table.isVisibleTo(widget)
    assert "in 3 images" in widget.class_label.text()
    widget.source.add_button.click()
    assert "All images" in widget.advice.text()


def test_a_row_brings_its_image_to_view(open_semantic, qtbot):
    viewer, widget = open_semantic(*images(2), *masks(2), show=True)
    widget.source.add_button.click()
    names = [image for image, _ in pairs_of(widget)]
    for number in (0, 1):
        click_row(qtbot, widget.source.pair_table, number)
        assert widget.source.chosen.image.name == names[number]
        assert widget.source.image_box.layer.name == names[number]
        assert widget.source.labels_box.layer.name == f"{names[number]}_mask"
        shown = {layer.name for layer in viewer.layers if layer.visible}
        assert shown == {names[number], f"{names[number]}_mask"}
        assert viewer.layers.selection.active.name == f"{names[number]}_mask"
    settle(qtbot, widget)


def test_an_image_of_the_list_is_chosen_there_and_never_twice(open_semantic, qtbot):
    viewer, widget = open_semantic(*images(2), *masks(2))
    widget.source.add_button.click()
    before = pairs_of(widget)
    for name in ("cell1", "cell2", "cell1"):
        widget.source.image_box.layer = viewer.layers[name]
        assert widget.source.chosen.image.name == name
        assert pairs_of(widget) == before
    settle(qtbot, widget)


def test_layers_are_renamed_moved_and_removed_meanwhile(open_semantic, qtbot, tmp_path):
    viewer, widget = open_semantic(*images(3), *masks(3))
    viewer.layers.selection = {viewer.layers[f"cell{i}"] for i in (1, 2, 3)}
    widget.source.add_button.click()
    first, second, third = pairs_of(widget)
    viewer.layers[second[0]].name = "renamed"
    viewer.layers.move(0, len(viewer.layers))
    assert pairs_of(widget) == [first, ("renamed", second[1]), third]
    assert texts(widget.source.pair_table)[1][0] == "renamed"
    viewer.layers.remove(viewer.layers[second[1]])
    assert pairs_of(widget)[1] == ("renamed", None)
    train(widget, tmp_path / "mine")
    assert "no painted classes for image 'renamed'" in widget.advice.text()
    viewer.layers.remove(viewer.layers["renamed"])
    assert pairs_of(widget) == [first, third]
    source = source_of(widget.session.inputs)
    assert source.names == (first[0], third[0])
    assert all(
        raw.shape == mask.shape for raw, mask in zip(source.images, source.masks, strict=True)
    )
    viewer.layers.remove(viewer.layers[first[0]])
    assert pairs_of(widget) == [third]
    assert widget.source.image_box.layer.name == third[0]
    assert not widget.source.pair_table.isVisibleTo(widget)
    viewer.layers.remove(viewer.layers[third[0]])
    assert widget.source.chosen.image is None
    settle(qtbot, widget)
    assert "Open an image" in widget.advice.text()


def test_an_image_is_removed_from_the_list_and_stays_in_the_viewer(open_semantic, qtbot):
    viewer, widget = open_semantic(*images(2), *masks(2))
    widget.source.add_button.click()
    gone = widget.source.chosen.image
    widget.source.remove_button.click()
    assert len(widget.source.pairs) == 1
    assert widget.source.chosen.image is not gone
    assert gone in viewer.layers
    assert not gone.visible
    settle(qtbot, widget)


def test_one_paints_on_the_image_one_sees(open_semantic, qtbot):
    viewer, widget = open_semantic(*images(2))
    widget.source.image_box.layer = viewer.layers["cell1"]
    assert viewer.layers["cell2"].visible
    layer = paint_two_classes(widget)
    assert not viewer.layers["cell2"].visible
    painted = layer.data.copy()
    layer.mode = "pan_zoom"
    widget.source.paint_button.click()
    assert widget.source.chosen.labels is layer
    assert layer.mode == "paint"
    assert len(viewer.layers) == 3
    drag(layer, (30, 3), (30, 10))
    assert (layer.data != painted).any()
    # Another image has classes of its own.
    widget.source.image_box.layer = viewer.layers["cell2"]
    assert widget.source.chosen.labels is None
    widget.source.image_box.layer = viewer.layers["cell1"]
    assert widget.source.chosen.labels is layer
    settle(qtbot, widget)


def test_colours_lose_their_transparency_and_channels_come_first(open_semantic, qtbot):
    _, mask = picture()
    colours = np.random.default_rng(0).integers(0, 255, (*mask.shape, 4)).astype(np.uint8)
    _, widget = open_semantic(
        (colours, {"name": "rgba", "rgb": True}, "image"), (mask, {"name": "rgba mask"}, "labels")
    )
    source = source_of(widget.session.inputs)
    assert np.array_equal(source.images[0], np.moveaxis(colours[..., :3], -1, 0))
    settle(qtbot, widget)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layer: setattr(layer, "scale", (3, 3)), "One network learns one pixel size"),
        (lambda layer: setattr(layer, "data", np.zeros((48, 48))), "but image 'cell2'"),
    ],
)
def test_pairs_that_do_not_go_together_are_refused(open_semantic, qtbot, tmp_path, change, said):
    viewer, widget = open_semantic(*images(2), *masks(2))
    widget.source.add_button.click()
    change(viewer.layers["cell2"])
    train(widget, tmp_path / "mine")
    assert said in widget.advice.text()
    settle(qtbot, widget)
    assert not (tmp_path / "mine").exists()
