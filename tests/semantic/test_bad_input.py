"""What nobody can learn classes from is refused in a sentence, not by Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import zarr

from napari_implicitseg import evaluate_semantic, predict_affinities, train_semantic
from napari_implicitseg.errors import InputError
from napari_implicitseg.semantic.sources import open_pairs

from .test_jobs import SMALL, scene

CONFIG = dataclasses.replace(SMALL, steps=1, held_out=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 3}, "classes is 3; give names"),
        ({"classes": "ab"}, "classes is 'ab'; give names"),
        ({"out": None}, "out is None; give the path"),
        ({"out": ""}, "out is ''; give the path"),
        ({"spacing": (1, 1, 1)}, r"spacing is \(1, 1, 1\), but the image has 2 axes"),
        ({"spacing": ("a", "b")}, "give one positive number for each"),
        ({"spacing": (0, 1)}, "give one positive number for each"),
        ({"channel_axis": "c"}, "channel_axis is 'c', but the image has 2 axes"),
        ({"channel_axis": 7}, "channel_axis is 7, but the image has 2 axes"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, message):
    image, mask = scene(40)
    if "channel_axis" in options:
        mask = mask[:30]
    with pytest.raises(InputError, match=message):
        train_semantic(image, mask, config=CONFIG, **{"out": tmp_path / "m", **options})
    assert not (tmp_path / "m").exists()


def test_one_number_is_the_pixel_size_of_all_axes():
    image, mask = scene(40)
    for spacing in (3, (3.0,), (3, 3)):
        assert open_pairs(image, mask, spacing=spacing).volumes[0].spacing == (3.0, 3.0)


@pytest.mark.parametrize("store", [np.asarray, zarr.array])
def test_complex_images_are_refused(store):
    _, mask = scene(40)
    with pytest.raises(InputError, match="^The image has dtype complex64; needed are"):
        open_pairs(store(mask.astype(np.complex64)), mask)


def test_complex_images_in_files_are_refused(tmp_path):
    _, mask = scene(40)
    stored = zarr.create_array(tmp_path / "a.zarr", shape=mask.shape, dtype="complex64")
    stored[...] = mask
    with pytest.raises(InputError, match="dtype complex64"):
        open_pairs(tmp_path / "a.zarr", mask)


@pytest.mark.parametrize("axis", [-1, 2])
def test_a_fourth_channel_that_was_said_is_none_of_transparency(tmp_path, axis):
    image, mask = scene(40)
    four = np.stack([image, image // 2, 255 - image, image // 3], axis=-1)
    assert open_pairs(four, mask, channel_axis=axis).volumes[0].channels == 4
    assert open_pairs(four, mask).volumes[0].channels == 3
    model = train_semantic(four, mask, config=CONFIG, out=tmp_path / "m", channel_axis=axis)
    assert evaluate_semantic(model, four, mask).table.total == mask.size


def test_masks_of_fractions_are_not_measured(tmp_path):
    image, mask = scene(40)
    model = train_semantic(image, mask, config=CONFIG, out=tmp_path / "m")
    with pytest.raises(InputError, match="mask of the image has dtype float64; classes are int"):
        evaluate_semantic(model, image, mask * 1.4)
    with pytest.raises(InputError, match="^The image has 3 channels; needed is 1"):
        evaluate_semantic(model, np.stack([image, mask, mask], -1), mask)
    with pytest.raises(InputError, match="predicts classes, not affinities"):
        predict_affinities(image, model)


def test_channels_that_differ_are_told_once():
    image, mask = scene(40)
    with pytest.raises(InputError, match="^The image 2 has 1 channel; needed are 2"):
        open_pairs([np.stack([image] * 2), image], [mask] * 2)


def test_an_image_is_none_for_a_network_of_volumes(tmp_path):
    image, mask = scene(24)
    config = dataclasses.replace(CONFIG, patch_shape=(8, 16, 16))
    model = train_semantic(
        np.stack([image] * 8), np.stack([mask] * 8), config=config, out=tmp_path / "m"
    )
    with pytest.raises(InputError, match="^The image has 2 axes, .* is for volumes"):
        evaluate_semantic(model, image, mask)
