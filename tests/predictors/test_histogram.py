from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.predictors.histogram import ColourModel
from napari_implicitseg.predictors.weighing import (
    folds,
    left_out_gains,
    novelty,
    weights_from_gains,
)


def cloud(mean, count=400, seed=0, spread=0.05):
    rng = np.random.default_rng(seed)
    return (np.asarray(mean)[:, None] + rng.normal(0, spread, (len(mean), count))).astype(
        np.float32
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_colours_go_to_the_strokes_they_are_like(channels):
    objects, background = cloud([0.4] * channels), cloud([-0.3] * channels, seed=1)
    model = ColourModel.fit(objects, background)
    assert model.predict(cloud([0.4] * channels, seed=2)).mean() > 0.95
    assert model.predict(cloud([-0.3] * channels, seed=3)).mean() < 0.05


def test_the_shape_of_the_image_is_kept():
    model = ColourModel.fit(cloud([0.4, 0]), cloud([-0.4, 0]))
    assert model.predict(np.zeros((2, 3, 4, 5), np.float32)).shape == (3, 4, 5)


def test_equal_colours_and_colours_out_of_range_are_undecided():
    same = ColourModel.fit(cloud([0.1]), cloud([0.1]), floors=(0.02, 0.02))
    np.testing.assert_allclose(same.predict(cloud([0.1])), 0.5, atol=1e-6)
    assert (ColourModel.fit(cloud([0.4]), cloud([-0.4])).predict(cloud([9.0])) == 0.5).all()


def test_a_constant_image_and_no_colours_at_all_are_undecided():
    flat = np.zeros((1, 50), np.float32)
    np.testing.assert_allclose(
        ColourModel.fit(flat, flat, floors=(0.02, 0.02)).predict(flat), 0.5, atol=1e-6
    )
    none = np.zeros((2, 0), np.float32)
    assert np.isfinite(ColourModel.fit(none, none).predict(np.zeros((2, 4), np.float32))).all()


def test_more_samples_make_a_narrower_model():
    few = ColourModel.fit(cloud([0.3], 12), cloud([-0.3], 12, seed=1))
    many = ColourModel.fit(cloud([0.3], 5000), cloud([-0.3], 5000, seed=1))
    probe = np.full((1, 1), 0.12, np.float32)
    assert abs(few.predict(probe)[0] - 0.5) > 0.2
    assert np.isfinite(many.predict(probe)).all()


def test_folds_are_contiguous_thirds_along_the_stroke():
    cells = np.stack([np.arange(30), 2 * np.arange(30)], axis=1)
    found = folds(cells)
    assert sorted(np.bincount(found)) == [10, 10, 10]
    assert (np.diff(found) != 0).sum() == 2


def test_novelty_tells_a_uniform_stroke_from_a_varied_one():
    cells = np.stack([np.arange(300), np.zeros(300, int)], axis=1)
    assert novelty(cloud([0.2], 300), cells) < 0.05
    varied = np.repeat([0.0, 0.5, 1.0], 100)[None].astype(np.float32) + cloud([0.0], 300)
    assert novelty(varied, cells) > 0.6


def colour_scene(*, informative):
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.02, (1, 60, 60)).astype(np.float32)
    if informative:
        # Stripes: colour tells, distance misleads.
        features[0, :, ::2] += 1
    seeds = np.full((60, 60), -1, np.int32)
    seeds[5:55, 30], seeds[5:55, 31] = 1, 0
    return features, seeds, np.ones((60, 60), bool)


def test_the_source_that_predicts_left_out_strokes_gains_weight():
    gains = left_out_gains(*colour_scene(informative=True), pitch=(1.0, 1.0), edge_weight=0.0)
    assert gains["histogram"] > 0.8 > gains["geodesic"]
    weights = weights_from_gains(gains)
    assert weights["histogram"] > weights["geodesic"]
    assert sum(weights.values()) == pytest.approx(1)


def test_noise_is_no_better_than_chance():
    gains = left_out_gains(*colour_scene(informative=False), pitch=(1.0, 1.0), edge_weight=0.0)
    assert gains["histogram"] < 0.2


def test_strokes_too_short_to_cut_leave_the_weights_even():
    features, _, valid = colour_scene(informative=False)
    seeds = np.full((60, 60), -1, np.int32)
    seeds[3, 3], seeds[50, 50] = 0, 1
    gains = left_out_gains(features, seeds, valid, pitch=(1.0, 1.0), edge_weight=1.0)
    assert weights_from_gains(gains) == {"histogram": 0.5, "geodesic": 0.5}
