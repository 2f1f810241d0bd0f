"""Forms with known properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg import certify

from .helpers import clear_of_the_border, in_one_piece


@pytest.fixture
def forms(load):
    return load("forms")


def cut_to_box(mask):
    return mask[ndimage.find_objects(mask.astype(int))[0]]


@pytest.mark.parametrize("angle", [0, 37, 90, 215])
def test_flat_forms_are_one_piece_inside_the_image_and_not_convex(forms, angle):
    assert list(forms.FLAT) == ["C", "star", "crescent", "L", "ring", "neurite", "spiral"]
    for name, form in forms.FLAT.items():
        mask = forms.draw(form, 128, angle=angle)
        assert mask.shape == (128, 128), name
        assert in_one_piece(mask), name
        assert clear_of_the_border(mask), name
        assert not certify(mask, kind="convex").holds, name


def test_forms_keep_their_area_at_any_size_and_turn(forms):
    for name, form in forms.FLAT.items():
        fine = forms.draw(form, 400).mean()
        assert forms.draw(form, 200).mean() == pytest.approx(fine, rel=0.03), name
        assert forms.draw(form, 400, angle=37).mean() == pytest.approx(fine, rel=0.02), name
        assert forms.draw(form, 400, scale=0.5).mean() == pytest.approx(fine / 4, rel=0.05), name


def test_a_quarter_turn_is_that_of_the_array(forms):
    for form in forms.FLAT.values():
        straight, turned = (forms.draw(form, 101, angle=a) for a in (0, 90))
        # Angles are measured on the image: from the last axis on to the one before it.
        assert (np.rot90(straight, -1) != turned).mean() < 0.003


def test_solid_forms_are_one_piece_inside_the_volume(forms):
    for name, form in forms.SOLID.items():
        mask = forms.draw(form, 48, ndim=3)
        assert mask.shape == (48, 48, 48), name
        assert in_one_piece(mask), name
        assert clear_of_the_border(mask), name
        assert certify(mask, kind="convex").holds == (name == "ellipsoid"), name


def test_a_tube_is_all_that_is_near_its_line(forms):
    y, x = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40), indexing="ij")
    line = [(0.2, 0.2), (0.8, 0.3), (0.5, 0.8)]
    fine = np.concatenate([np.linspace(a, b, 2000) for a, b in itertools.pairwise(line)])
    away = np.min([np.hypot(y - a, x - b) for a, b in fine], axis=0)
    np.testing.assert_array_equal(forms.tube((y, x), line, 0.1), away < 0.1)
