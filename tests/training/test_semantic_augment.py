"""Changes of patches that came with classes: scale and colours; affinities know neither."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.training.appearance import change_colours
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.elastic import Warp


def _ramp(n: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.indices((n, n)).astype(np.float32)
    return places, np.ones((n, n), np.int32)


@pytest.mark.parametrize("zoom", [0.5, 1.25])
def test_zoom_scales_about_the_middle(zoom):
    raw, ids = _ramp(60)
    warp = Warp(control=np.zeros((2, 4, 4)), angles=(), spacing=(1.0, 1.0), zoom=zoom)
    moved, _ = warp.apply(raw, ids, ((20, 20), (20, 20)))
    middle = 29.5
    wanted = middle + (np.arange(20) - 9.5) * zoom
    np.testing.assert_allclose(moved[0][:, 0], wanted, atol=1e-4)
    np.testing.assert_allclose(moved[1][3], wanted, atol=1e-4)


def test_zoom_stays_within_what_was_read():
    raw, ids = _ramp(30)
    warp = Warp(control=np.zeros((2, 4, 4)), angles=(), spacing=(1.0, 1.0), zoom=2.0)
    moved, _ = warp.apply(raw, ids, ((3, 3), (3, 3)))
    assert moved.min() >= 0
    assert moved.max() <= 29
    assert np.diff(moved[0][:, 0]).min() > 0.9  # Nothing is repeated at the border.


def test_thick_sections_are_not_scaled_along_z():
    warp = Warp(control=np.zeros((3, 4, 4, 4)), angles=(), spacing=(50.0, 4.0, 4.0), zoom=1.2)
    reach = warp.reach((8, 21, 21))
    np.testing.assert_allclose(reach, [0, 2, 2])


def test_the_usual_augmentation_draws_what_it_drew_without_zoom_and_colours():
    usual, other = Augmentation(elastic=1.0), Augmentation(elastic=1.0, zoom=0.2, colour=1.0)
    plans = [a.draw(np.random.default_rng(0), (16, 16), (1.0, 1.0)) for a in (usual, other)]
    assert plans[0].warp.zoom == 1.0
    assert plans[1].warp.zoom != 1.0
    np.testing.assert_array_equal(plans[0].warp.control, plans[1].warp.control)
    raw = np.random.default_rng(1).normal(size=(1, 16, 16)).astype(np.float32)
    painted = [plan.paint(raw, np.random.default_rng(2)) for plan in plans]
    np.testing.assert_array_equal(painted[0], painted[1])  # One channel has no colours.


def test_colours_change_each_by_itself():
    raw = np.random.default_rng(0).normal(size=(3, 20, 20)).astype(np.float32)
    changed = change_colours(raw, np.random.default_rng(1), strength=0.3)
    slopes = changed.std(axis=(1, 2)) / raw.std(axis=(1, 2))
    assert len({round(float(s), 4) for s in slopes}) == 3
    assert np.all(np.abs(np.log(slopes)) <= 0.3 + 1e-4)
    for one, other in zip(raw, changed, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9999
