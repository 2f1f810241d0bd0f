"""Networks trained on strokes: what they learn, and the features they learn from."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import FitResult, fit_scribbles
from napari_implicitseg.errors import Cancelled
from napari_implicitseg.predictors.describing import Describer, cell_places
from napari_implicitseg.predictors.networks import KINDS, StrokeNetwork


def rings(size=(60, 70)):
    """Features of which only their difference tells object from background, and strokes."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=size)
    inside = np.hypot(*(np.indices(size) - np.reshape((30, 35), (2, 1, 1)))) < 20
    features = np.stack([noise, noise + np.where(inside, 1.0, -1.0)]).astype(np.float32)
    strokes = np.zeros(size, bool)
    strokes[30, 20:50] = strokes[5, 5:65] = True
    return features, inside, strokes & inside, strokes & ~inside


@pytest.mark.parametrize("kind", KINDS)
def test_networks_learn_what_no_single_feature_tells(kind):
    features, inside, *strokes = rings()
    network = StrokeNetwork(kind, seed=0)
    network.train(features, *strokes)
    probability = network.predict(features)
    assert probability.shape == inside.shape
    assert ((probability > 0.5) == inside).mean() > 0.95
    assert network.losses[-1] < 0.2 * network.losses[0]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_repeatable_and_goes_on_from_a_state(kind):
    features, _, *strokes = rings()
    first, again = (StrokeNetwork(kind, seed=3) for _ in range(2))
    first.train(features, *strokes)
    again.train(features, *strokes)
    np.testing.assert_array_equal(first.predict(features), again.predict(features))
    warm = StrokeNetwork(kind, seed=3, state=first.state)
    warm.train(features, *strokes)
    assert len(warm.losses) < 0.4 * len(first.losses)
    assert warm.losses[0] == pytest.approx(first.losses[-1], rel=0.2, abs=1e-3)
    other = StrokeNetwork(kind, seed=3, state=first.state)
    other.train(features[:1], *strokes)
    assert len(other.losses) == len(first.losses)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_without_strokes_say_nothing_in_training(kind):
    """Beyond the reach of the kernels around the strokes."""
    features, _, *strokes = rings()
    changed = features.copy()
    changed[:, 45:] = 1e3
    one, other = (StrokeNetwork(kind, seed=0) for _ in range(2))
    one.train(features, *strokes)
    other.train(changed, *strokes)
    for name, weight in one.state.items():
        np.testing.assert_allclose(weight, other.state[name], atol=1e-5)


def test_neighbours_of_finer_cells_lie_further_apart():
    features, _, *strokes = rings()
    network = StrokeNetwork("cnn", seed=0)
    network.train(features, *strokes)
    finer = np.repeat(np.repeat(features, 3, axis=1), 3, axis=2)
    fine = network.predict(finer, finer=3.0)[1::3, 1::3]
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(fine[inner], network.predict(features)[inner], atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 50), (12, 20, 18), (1, 30), (2, 2)])
def test_features_are_of_mean_0_and_deviation_1_and_places_of_the_longest_side(shape):
    channels = np.random.default_rng(1).normal(3, 5, (2, *shape)).astype(np.float32)
    places = cell_places([np.arange(n) + 0.5 for n in shape], shape)
    assert np.abs(places).max() == pytest.approx(1 - 1 / max(shape))
    describe = Describer(channels, places)
    made = describe(channels, places)
    assert made.shape[1:] == shape
    own = made[: -len(shape)].reshape(len(made) - len(shape), -1)
    assert np.abs(own.mean(axis=1)).max() < 0.2
    assert own.std(axis=1).max() < 1.01
    assert len(made) > 2 + len(shape)


def test_features_of_finer_cells_are_on_the_same_scale():
    y, x = np.indices((64, 64))
    channels = np.sin(x / 5.0 + y / 9.0)[None].astype(np.float32)
    finer = np.repeat(np.repeat(channels, 2, axis=1), 2, axis=2)
    places = [cell_places([np.arange(n) + 0.5] * 2, (n, n)) for n in (64, 128)]
    describe = Describer(channels, places[0])
    coarse = describe(channels, places[0])
    fine = describe(finer, places[1], finer=2.0)[:, ::2, ::2]
    inner = (slice(None), slice(12, -12), slice(12, -12))
    for a, b in zip(coarse[inner], fine[inner], strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9 or a.std() < 0.1


def scene():
    y, x = np.indices((80, 90))
    truth = np.hypot(y - 40, x - 45) < 22
    image = np.where(truth, 0.7, 0.3) + np.random.default_rng(2).normal(0, 0.05, truth.shape)
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[40, 30:60], scribbles[6, 5:85] = 2, 1
    return image, scribbles


def test_networks_are_kept_with_the_result_and_warm_start_the_next_fit(tmp_path):
    image, scribbles = scene()
    first = fit_scribbles(image, scribbles, evidence="pixel")
    assert list(first.networks) == ["pixel"]
    assert len(first.history["loss/pixel"]) == KINDS["pixel"].steps
    first.save(tmp_path / "fit.safetensors")
    again = FitResult.load(tmp_path / "fit.safetensors")
    for name, weight in first.networks["pixel"].items():
        np.testing.assert_array_equal(weight, again.networks["pixel"][name])
    scribbles[75, 5:85] = 1
    warm = fit_scribbles(image, scribbles, evidence="pixel", warm_start=again)
    assert len(warm.history["loss/pixel"]) < 0.4 * KINDS["pixel"].steps
    assert fit_scribbles(image, scribbles).networks == {}


def test_a_training_can_be_cancelled():
    image, scribbles = scene()

    def progress(fraction, message):
        if message == "Training":
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_scribbles(image, scribbles, evidence="pixel", progress=progress)


def test_strokes_on_unknown_voxels_only_teach_nothing():
    image, scribbles = scene()
    image[scribbles == 2] = np.nan
    result = fit_scribbles(image, scribbles, evidence="pixel")
    assert result.networks == {}
    assert result.certificates[2].holds
