"""Tests of the sample images and volumes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from napari_implicitseg import sample_data
from napari_implicitseg.sample_data import coins_scribbles, coins_truth, em_truth_and_image
from napari_implicitseg.shapes.certificate import certify

SAMPLES = ("coins", "coins_stack", "em_volume")


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_layers_that_fit_each_other(name):
    layers = getattr(sample_data, name)()
    kinds = [kind for _, _, kind in layers]
    assert kinds[0] == "image"
    assert set(kinds[1:]) == {"labels"}
    shapes = {data.shape for data, _, _ in layers}
    places = {str(kwargs.get("scale")) for _, kwargs, _ in layers}
    assert len(shapes) == len(places) == 1


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_the_same_every_time(name):
    one, other = getattr(sample_data, name)(), getattr(sample_data, name)()
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_have_background_and_several_objects(name):
    scribbles = getattr(sample_data, name)()[-1][0]
    found = np.unique(scribbles)
    assert found[:2].tolist() == [0, 1]
    assert len(found) >= 4
    assert scribbles.dtype == np.uint16


def test_the_module_needs_no_napari():
    assert "napari" not in vars(sample_data)
    source = sys.modules["napari_implicitseg.sample_data"].__file__
    with open(source) as file:
        assert "import napari\n" not in file.read()


def test_there_are_24_nearly_convex_coins():
    truth = coins_truth()
    assert np.unique(truth).tolist() == [0, *range(2, 26)]
    for label in range(2, 26):
        mask = truth == label
        assert 800 < mask.sum() < 4000
        grown = certify(mask, kind="convex")
        assert grown.components == 1


def test_strokes_lie_where_they_say():
    truth = coins_truth()
    drawn = coins_scribbles(truth)
    objects = drawn > 1
    assert np.array_equal(drawn[objects], truth[objects])
    assert not (truth[drawn == 1] > 0).any()
    assert set(np.unique(truth)) - {0} == set(np.unique(drawn)) - {0, 1}


def test_strokes_can_be_limited_to_some_coins():
    drawn = coins_scribbles(coins_truth(), chosen=np.array([3, 9], np.uint32))
    assert np.unique(drawn).tolist() == [0, 1, 3, 9]


def test_cells_of_the_em_volume_are_bounded_by_dark_membranes():
    truth, image = em_truth_and_image(seed=3)
    assert image.dtype == np.uint8
    assert len(np.unique(truth)) > 20
    assert image[truth == 0].mean() < image[truth > 0].mean() - 40
    assert not np.array_equal(truth, em_truth_and_image(seed=4)[0])


def test_em_scribbles_agree_with_the_truth():
    (_, _, _), (truth, _, _), (drawn, _, _) = sample_data.em_volume()
    objects = drawn > 1
    assert np.array_equal(drawn[objects], truth[objects])
    assert not np.isin(truth[drawn == 1], np.unique(drawn[objects])).any()
    cells = np.unique(drawn[objects])
    assert len(cells) == 2
    for label in cells:
        assert len(np.unique(np.argwhere(drawn == label)[:, 0])) == 3
