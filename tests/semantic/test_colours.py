"""Masks that are colours: decided for a set, transparent pixels, and what looks like colours."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg import evaluate_semantic, train_semantic
from napari_implicitseg.errors import InputError
from napari_implicitseg.semantic.sources import open_pairs
from napari_implicitseg.training.semantic_examples import class_examples, count_values

from .test_jobs import SMALL

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)
CONFIG = dataclasses.replace(SMALL, steps=1)


def _mask(*colours: tuple[int, ...]) -> np.ndarray:
    """Return bands of colours, 12 lines each."""
    return np.repeat(np.array(colours, np.uint8)[:, None], 12, axis=0).repeat(40, axis=1)


@pytest.fixture
def folder(tmp_path):
    bands = [(RED, WHITE, BLACK), (WHITE, BLACK, BLACK), (RED, BLACK, WHITE), (RED, WHITE, RED)]
    rng = np.random.default_rng(0)
    for i, colours in enumerate(bands):
        Image.fromarray(rng.integers(0, 255, (36, 40, 3), np.uint8)).save(tmp_path / f"{i}.png")
        Image.fromarray(_mask(*colours)).save(tmp_path / f"{i}_mask.png")
    return tmp_path


@pytest.mark.parametrize("grey", ["RGB", "L", "1", "P"])
def test_black_and_white_among_colours_is_colours(folder, grey):
    path = folder / "1_mask.png"
    Image.open(path).convert(grey).save(path)
    opened = open_pairs(folder, folder)
    assert opened.colours
    assert set(count_values(opened.volumes[1])) == {0, 0xFFFFFF}
    with pytest.warns(UserWarning, match="#ff0000 is class 1"):
        found = class_examples(
            opened.volumes, dataclasses.replace(CONFIG, held_out=0), colours=True
        )
    assert found.values == (0xFF0000, 0xFFFFFF)


def test_a_model_of_colours_is_measured_on_black_and_white(folder, tmp_path):
    with pytest.warns(UserWarning, match="become classes"):
        model = train_semantic(folder, folder, config=CONFIG, out=tmp_path / "m")
    assert model.shown_values == ("#ff0000", "#ffffff")
    found = evaluate_semantic(model, folder / "1.png", folder / "1_mask.png")
    assert found.table.truth_ids.tolist() == [2]
    assert found.table.total == 12 * 40
    Image.fromarray(_mask(WHITE, (0, 0, 255), WHITE)).save(tmp_path / "blue.png")
    with pytest.raises(
        InputError, match="holds #0000ff, which is no class: those are #ff0000, #ff"
    ):
        evaluate_semantic(model, folder / "1.png", tmp_path / "blue.png")


def test_grey_masks_alone_are_no_colours(folder):
    opened = open_pairs(folder / "1.png", folder / "1_mask.png")
    assert not opened.colours
    assert set(count_values(opened.volumes[0])) == {0, 255}


@pytest.mark.parametrize("zero", ["unlabelled", "background"])
def test_transparent_pixels_say_nothing(tmp_path, zero):
    colours = _mask((*RED, 255), (10, 20, 30, 0), (0, 255, 0, 255))
    image = np.random.default_rng(0).integers(0, 255, (36, 40), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(colours).save(tmp_path / "b.png")
    config = dataclasses.replace(CONFIG, held_out=0, zero=zero)
    with pytest.warns(UserWarning, match="#00ff00 is class 1"):
        model = train_semantic(
            tmp_path / "a.png", tmp_path / "b.png", config=config, out=tmp_path / "m"
        )
    assert model.values == (0x00FF00, 0xFF0000)
    found = evaluate_semantic(model, tmp_path / "a.png", tmp_path / "b.png")
    assert found.table.total == 24 * 40
    arrays = open_pairs(image, colours, colours=True)
    assert set(count_values(arrays.volumes[0])) == {0x00FF00, 0xFF0000}


@pytest.mark.parametrize("image", [(36, 40, 3), (3, 36, 40), (36, 40)])
def test_a_mask_that_looks_like_colours_is_refused_unless_it_is_said_to_be(tmp_path, image):
    raw, mask = np.zeros(image, np.uint8), _mask(RED, WHITE, RED)
    with pytest.raises(InputError, match=r"looks like 3 colours .* colours=True"):
        train_semantic(raw, mask, config=CONFIG, out=tmp_path / "m")
    said = dataclasses.replace(CONFIG, colours=True, held_out=0)
    with pytest.warns(UserWarning, match="become classes"):
        assert train_semantic(raw, mask, config=said, out=tmp_path / "m").ndim == 2


def test_a_thin_volume_is_no_colours():
    volume = np.zeros((40, 40, 3), np.uint8)
    opened = open_pairs(volume[None], np.ones_like(volume))
    assert opened.volumes[0].shape == (40, 40, 3)


def test_fractions_are_no_colours():
    with pytest.raises(InputError, match="dtype float64; classes are integers"):
        open_pairs(np.zeros((36, 40)), _mask(RED, WHITE, RED) / 255, colours=True)
