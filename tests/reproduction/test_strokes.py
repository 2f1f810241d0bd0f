"""Simulated strokes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg.reproduction import strokes as simulate


def disc(shape, centre, radius):
    """Disc on a grid."""
    return np.hypot(*(np.indices(shape) - np.reshape(centre, (2, 1, 1)))) <= radius


def bent():
    """A ring with a gap: its middle and the line between its ends lie outside."""
    ring = disc((120, 120), (60, 60), 45) & ~disc((120, 120), (60, 60), 25)
    ring[55:66, 60:] = False
    return ring


MASKS = {
    "disc": disc((80, 90), (40, 45), 25),
    "tiny": disc((30, 30), (15, 15), 1),
    "pixel": disc((30, 30), (15, 15), 0),
    "corner": disc((60, 60), (0, 0), 30),
    "long": np.pad(np.ones((4, 70), bool), 15),
    "bent": bent(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("seed", range(5))
def test_object_strokes_lie_inside(name, seed):
    mask = MASKS[name]
    stroke = simulate.object_stroke(mask, np.random.default_rng(seed))
    assert stroke.any()
    assert stroke.shape == mask.shape
    assert not (stroke & ~mask).any()


@pytest.mark.parametrize("seed", range(10))
def test_an_object_stroke_is_one_thin_piece_off_the_boundary(seed):
    mask = MASKS["disc"]
    stroke = simulate.object_stroke(mask, np.random.default_rng(seed))
    assert ndimage.label(stroke, np.ones((3, 3)))[1] == 1
    assert stroke.sum() < 0.2 * mask.sum()
    # Deeper than 35 % of the radius, less the sag and the stroke's own width.
    assert ndimage.distance_transform_edt(mask)[stroke].min() > 2


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("seed", range(5))
def test_background_arcs_keep_clear_of_the_object(name, seed):
    mask = MASKS[name]
    stroke = simulate.background_arc(mask, np.random.default_rng(seed))
    assert stroke.sum() >= 10
    assert ndimage.distance_transform_edt(~mask)[stroke].min() > 2


@pytest.mark.parametrize("seed", range(5))
def test_a_background_arc_is_an_arc_and_no_ring(seed):
    mask = MASKS["disc"]
    stroke = simulate.background_arc(mask, np.random.default_rng(seed))
    y, x = np.argwhere(stroke).T
    angles = np.sort(np.degrees(np.arctan2(y - 40, x - 45)))
    widest = np.diff(np.append(angles, angles[0] + 360)).max()
    assert 90 - 10 < 360 - widest < 220 + 10


def test_a_tight_image_still_gets_background():
    mask = np.ones((40, 40), bool)
    mask[:4, :4] = False
    stroke = simulate.background_arc(mask, np.random.default_rng(0))
    assert stroke.any()
    assert not (stroke & mask).any()


@pytest.mark.parametrize("seed", range(5))
def test_background_waves_keep_clear_of_all_objects(seed):
    objects = disc((200, 200), (50, 60), 25) | disc((200, 200), (140, 130), 30)
    stroke = simulate.background_waves(objects, np.random.default_rng(seed))
    assert stroke.sum() > 60
    assert ndimage.distance_transform_edt(~objects)[stroke].min() > 2


@pytest.mark.parametrize("rule", ["object_stroke", "background_arc", "background_waves"])
def test_strokes_depend_on_the_seed_alone(rule):
    draw = getattr(simulate, rule)
    mask = MASKS["disc"]
    first, again, other = (draw(mask, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
