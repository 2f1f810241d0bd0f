from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.features import Reader
from napari_implicitseg.predictors.colours import StrokeColours
from napari_implicitseg.predictors.evidence import Evidence
from napari_implicitseg.scribbles import read_scribbles

SHAPE = (60, 80)


def two_coloured(*, seed=0):
    """An object, left half and right half of two colours, strokes on the left half alone."""
    rng = np.random.default_rng(seed)
    inside = np.zeros(SHAPE, bool)
    inside[15:45, 20:60] = True
    grey = np.where(inside, 1.0, 0.0)
    grey[15:45, 40:60] = 0.5
    features = (grey + rng.normal(0, 0.03, SHAPE))[None].astype(np.float32)
    seeds = np.full(SHAPE, -1, np.int32)
    seeds[28:31, 24:36] = 1
    seeds[3:6, 5:75] = 0
    return features, seeds, inside


def learnt(features, seeds, *, has_background=True, valid=None):
    valid = np.ones(SHAPE, bool) if valid is None else valid
    return StrokeColours(features, seeds, valid, has_background=has_background)


def test_colours_of_the_first_look_are_learnt():
    features, seeds, inside = two_coloured()
    colours = learnt(features, seeds)
    right = np.zeros(SHAPE, bool)
    right[20:40, 45:55] = True
    before = colours.model.predict(features)
    colours.learn(inside, np.ones(SHAPE, bool))
    after = colours.model.predict(features)
    assert after[right].mean() > 0.9
    assert after[right].mean() > before[right].mean() + 0.1
    assert after[~inside].mean() < 0.1


def test_the_surroundings_teach_what_background_is():
    """A colour no background stroke has seen, all around the object."""
    features, seeds, inside = two_coloured()
    around = ~inside & (np.indices(SHAPE)[0] > 8)
    features[0, around] += 0.25
    colours = learnt(features, seeds)
    assert colours.rounds == 1
    before = colours.model.predict(features)[around].mean()
    colours.learn(inside, np.ones(SHAPE, bool))
    assert colours.model.predict(features)[around].mean() < min(before, 0.2)


def test_the_surroundings_of_patchy_objects_teach_nothing():
    """Strokes that do not foretell each other: what lies around may well be object."""
    features, seeds, _ = two_coloured()
    features[0, 28:31, 24:28] = 3.0
    features[0, 28:31, 32:36] = -2.0
    colours = learnt(features, seeds)
    assert colours.rounds == 2
    stroked = np.zeros(SHAPE, bool)
    stroked[26:33, 22:38] = True
    colours.learn(stroked, np.ones(SHAPE, bool))
    # The right half, half way between, was outside the first look; it is no background yet.
    assert colours.model.predict(features)[20:40, 45:55].mean() > 0.4


def test_without_background_strokes_there_is_nothing_to_learn():
    features, seeds, inside = two_coloured()
    colours = learnt(features, np.where(seeds == 0, -1, seeds), has_background=False)
    model = colours.model
    colours.learn(inside, np.ones(SHAPE, bool))
    assert colours.rounds == 0
    assert colours.model is model


@pytest.mark.parametrize("part", ["inside", "near"])
def test_a_first_look_of_nothing_changes_nothing(part):
    features, seeds, inside = two_coloured()
    colours = learnt(features, seeds)
    model = colours.model
    nothing, everything = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    colours.learn(*((nothing, everything) if part == "inside" else (inside, nothing)))
    assert colours.model is model


def test_voxels_without_a_colour_are_not_learnt_from():
    features, seeds, inside = two_coloured()
    valid = np.ones(SHAPE, bool)
    valid[:, 40:] = False
    broken = features.copy()
    broken[:, ~valid] = 1e6
    whole, part = learnt(features, seeds, valid=valid), learnt(broken, seeds, valid=valid)
    for colours in (whole, part):
        colours.learn(inside, np.ones(SHAPE, bool))
    np.testing.assert_array_equal(
        whole.model.predict(features)[valid], part.model.predict(features)[valid]
    )


@pytest.mark.parametrize("source", ["auto", "histogram", "geodesic", "none"])
def test_outside_its_territory_no_object_is_likely(source):
    """So it is enough to look for an object there."""
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (90, 110))
    scribbles = np.zeros(image.shape, np.int32)
    scribbles[2, 5:100] = 1
    for label, (y, x) in enumerate(((20, 20), (20, 80), (70, 50), (45, 45)), start=2):
        scribbles[y : y + 3, x : x + 8] = label
        image[y - 8 : y + 11, x - 8 : x + 16] += 3
    samples = read_scribbles(scribbles, background=1)
    evidence = Evidence(Reader(image, None), samples, source=source, spacing=(1.0, 1.0))
    for label in samples.objects:
        territory = evidence.territory(label)
        likely = evidence.probability(label, evidence.coarse) > 0.5
        own, others = evidence.coarse.common_cells(territory)
        np.testing.assert_array_equal(
            evidence.probability(label, territory)[others] > 0.5, likely[own]
        )
        likely[own] = False
        assert not likely.any()
