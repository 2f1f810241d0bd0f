"""Predictor and shape fitted together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg import FitConfig, fit_scribbles
from napari_implicitseg.errors import Cancelled
from napari_implicitseg.features import Reader, Window
from napari_implicitseg.predictors.evidence import Evidence
from napari_implicitseg.predictors.networks import KINDS
from napari_implicitseg.scribbles import read_scribbles


@pytest.fixture(scope="module")
def scene():
    """A textured disc on a ground of the same mean, with strokes, and the truth."""
    y, x = np.indices((90, 100))
    truth = np.hypot(y - 44, x - 50) < 24
    rng = np.random.default_rng(0)
    image = np.stack(
        [
            np.where(truth, 0.6, 0.4) + rng.normal(0, 0.12, truth.shape),
            np.where(truth, 0.45, 0.55) + rng.normal(0, 0.12, truth.shape),
        ],
        axis=-1,
    ).astype(np.float32)
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[40:43, 36:60], scribbles[6, 5:95], scribbles[82, 5:60] = 2, 1, 1
    return image, scribbles, truth


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize("shape", ["convex", "connected", "star", "symmetric", "free"])
def test_every_family_can_be_fitted_jointly_and_keeps_its_promise(scene, shape):
    image, scribbles, truth = scene
    result = fit_scribbles(image, scribbles, shape=shape, coupling="joint")
    assert result.certificates[2].holds
    assert not result.report.unsatisfied
    assert overlap(result.labels == 2, truth) > 0.8


@pytest.mark.parametrize("evidence", ["auto", "geodesic", *KINDS, "none"])
def test_any_evidence_learns_with_the_shape(scene, evidence):
    image, scribbles, _ = scene
    result = fit_scribbles(image, scribbles, evidence=evidence, coupling="joint")
    losses = result.history["loss/joint"]
    assert len(losses) == 120
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    assert list(result.networks) == [evidence if evidence in KINDS else "correction"]


def test_the_network_of_other_evidence_says_nothing_at_first(scene):
    image, scribbles, _ = scene
    seen = []
    fit_scribbles(image, scribbles, coupling="joint", preview=seen.append)
    alone = fit_scribbles(image, scribbles)
    np.testing.assert_array_equal(seen[0].labels, alone.labels)
    np.testing.assert_array_equal(seen[0].evidence, alone.evidence)


def test_results_on_the_way_are_told(scene):
    image, scribbles, truth = scene
    seen = []
    result = fit_scribbles(image, scribbles, coupling="joint", preview=seen.append)
    assert len(seen) == 4
    assert all(overlap(early.labels == 2, truth) > 0.6 for early in seen)
    assert all(early.certificates == {} for early in seen)
    assert result.certificates[2].holds


def test_a_joint_fit_is_repeatable(scene):
    image, scribbles, _ = scene
    one, other = (
        fit_scribbles(image, scribbles, evidence="pixel", coupling="joint") for _ in range(2)
    )
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one.history["loss/joint"] == other.history["loss/joint"]


def test_a_joint_fit_can_be_cancelled(scene):
    image, scribbles, _ = scene

    def progress(fraction, message):
        if message == "Fitting jointly":
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_scribbles(image, scribbles, coupling="joint", progress=progress)


def test_many_objects_slices_and_volumes_are_fitted_jointly(scene):
    image, scribbles, truth = scene
    both = scribbles.copy()
    both[60:62, 80:95] = 3
    result = fit_scribbles(image, both, coupling="joint", shape="connected")
    assert set(np.unique(result.labels)) <= {0, 2, 3}
    stack, strokes = np.stack([image] * 3), np.stack([scribbles] * 3)
    slices = fit_scribbles(
        stack, strokes, coupling="joint", channel_axis=-1, config=FitConfig(per_slice=True)
    )
    assert overlap(slices.labels[1] == 2, truth) > 0.8
    body = fit_scribbles(stack, strokes, coupling="joint", channel_axis=-1)
    assert body.certificates[2].holds


def test_a_network_as_the_model_of_a_convex_shape_is_fitted_jointly(scene):
    image, scribbles, truth = scene
    config = FitConfig(model="icnn", steps=40)
    result = fit_scribbles(image, scribbles, coupling="joint", config=config)
    assert result.certificates[2].holds
    assert overlap(result.labels == 2, truth) > 0.8


def test_to_the_network_other_objects_are_objects_and_to_the_shape_background(scene):
    image, scribbles, truth = scene
    both = np.concatenate([image, image[::-1]], axis=1)
    strokes = np.concatenate([scribbles, np.where(scribbles == 2, 3, 0)[::-1]], axis=1)
    strokes[:, 98:102] = 1
    result = fit_scribbles(both, strokes, evidence="pixel", coupling="joint")
    sequential = fit_scribbles(both, strokes, evidence="pixel")
    expected = np.concatenate([2 * truth, 3 * truth[::-1]], axis=1)
    for label in (2, 3):
        joint = overlap(result.labels == label, expected == label)
        assert joint > overlap(sequential.labels == label, expected == label) - 0.03
        assert result.evidence[strokes == label].min() > 0.5


def test_finer_cells_are_convolved_in_a_lesson_as_they_are_predicted(scene):
    image, scribbles, _ = scene
    large, strokes = (np.repeat(np.repeat(a, 4, axis=0), 4, axis=1) for a in (image, scribbles))
    reader, samples = Reader(large, 2), read_scribbles(strokes, background=1)
    evidence = Evidence(reader, samples, source="cnn", spacing=(1.0, 1.0), joint=True)
    window = Window((100, 140), (240, 260), (1, 1))
    lesson = evidence.lesson(2, window)
    assert lesson.finer == 2
    features = torch.from_numpy(lesson.features)[None]
    odds = evidence.learner.odds(features, lesson.finer)[0].detach()
    counts = torch.from_numpy(lesson.counts)
    expected = torch.from_numpy(evidence.probability(2, window))
    torch.testing.assert_close(
        torch.sigmoid(odds).clamp(0.01, 0.99)[counts], expected[counts], atol=1e-4, rtol=1e-4
    )


def test_the_same_strokes_give_the_same_joint_fit_however_often(scene):
    image, scribbles, _ = scene
    result = fit_scribbles(image, scribbles, coupling="joint")
    for _ in range(3):
        again = fit_scribbles(image, scribbles, coupling="joint", warm_start=result)
        assert overlap(again.labels == 2, result.labels == 2) > 0.97
        result = again


def test_a_network_that_corrects_is_none_that_predicts(scene):
    image, scribbles, _ = scene
    joint = fit_scribbles(image, scribbles, coupling="joint")
    warm = fit_scribbles(image, scribbles, evidence="pixel", warm_start=joint)
    assert len(warm.history["loss/pixel"]) == KINDS["pixel"].steps
    alone = fit_scribbles(image, scribbles, shape="none", coupling="joint")
    assert alone.networks == {}


def test_layers_and_outlines_are_taken_as_they_are(scene):
    image, scribbles, truth = scene
    for evidence in (truth.astype(float), truth.astype(int) + 5):
        joint, alone = (
            fit_scribbles(image, scribbles, evidence=evidence, coupling=coupling)
            for coupling in ("joint", "sequential")
        )
        np.testing.assert_array_equal(joint.labels, alone.labels)
        assert "loss/joint" not in joint.history
