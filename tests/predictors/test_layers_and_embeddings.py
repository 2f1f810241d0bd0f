"""Label layers and embeddings as evidence."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

from napari_implicitseg import FitConfig, fit_scribbles
from napari_implicitseg.errors import InputError


@pytest.fixture
def cells():
    """Labels of three touching instances on class 0, strokes on two of them, and noise."""
    y, _ = np.indices((64, 96))
    labels = np.zeros(y.shape, np.int32)
    labels[8:56, 8:40], labels[8:56, 40:64], labels[8:56, 64:90] = 7, 70_000, 3
    scribbles = np.zeros(y.shape, np.uint8)
    scribbles[30, 12:20], scribbles[30, 44:50], scribbles[2, 5:90] = 2, 3, 1
    image = np.random.default_rng(0).random(y.shape)
    return image, labels, scribbles


def test_each_object_takes_the_instance_its_strokes_lie_on(cells):
    image, labels, scribbles = cells
    result = fit_scribbles(image, scribbles, evidence=labels, shape="none")
    np.testing.assert_array_equal(result.labels == 2, labels == 7)
    np.testing.assert_array_equal(result.labels == 3, labels == 70_000)


def test_objects_on_one_class_are_told_apart_by_the_nearest_stroke(cells):
    image, labels, scribbles = cells
    classes = (labels > 0).astype(np.uint8)
    classes[:, 40] = 0
    result = fit_scribbles(image, scribbles, evidence=classes, shape="none")
    assert set(np.unique(result.labels[:, :40])) == {0, 2}
    assert set(np.unique(result.labels[:, 41:])) == {0, 3}


@pytest.mark.parametrize("shape", ["convex", "connected"])
def test_a_label_layer_is_given_a_shape(cells, shape):
    image, labels, scribbles = cells
    result = fit_scribbles(image, scribbles, evidence=labels, shape=shape)
    for label, instance in ((2, 7), (3, 70_000)):
        mask, truth = result.labels == label, labels == instance
        assert result.certificates[label].holds
        assert (mask & truth).sum() / (mask | truth).sum() > 0.93


def test_several_fragments_with_strokes_are_one_object(cells):
    image, labels, scribbles = cells
    scribbles[scribbles == 3] = 2
    result = fit_scribbles(image, scribbles, evidence=labels, shape="none")
    np.testing.assert_array_equal(result.labels == 2, (labels == 7) | (labels == 70_000))


def test_label_layers_may_be_zarr_and_go_slice_by_slice(cells):
    image, labels, scribbles = cells
    stored = zarr.array(np.stack([labels, labels[::-1]]), chunks=(1, 32, 32))
    stack, strokes = np.stack([image] * 2), np.stack([scribbles] * 2)
    options = {"evidence": stored, "shape": "none"}
    result = fit_scribbles(stack, strokes, config=FitConfig(per_slice=True), **options)
    np.testing.assert_array_equal(result.labels[0] == 2, labels == 7)
    assert fit_scribbles(stack, strokes, **options).labels[1].any()


def test_a_layer_of_another_shape_is_refused(cells):
    image, labels, scribbles = cells
    with pytest.raises(InputError, match=r"has shape \(10, 96\) but the image has \(64, 96\)"):
        fit_scribbles(image, scribbles, evidence=labels[:10])


@pytest.fixture
def hidden():
    """Noise, an embedding that knows a disc in it, strokes and the disc."""
    y, x = np.indices((80, 90))
    truth = np.hypot(y - 40, x - 45) < 22
    rng = np.random.default_rng(1)
    embedding = rng.normal(0, 0.3, (4, *truth.shape)).astype(np.float32)
    embedding[2] += np.where(truth, 1.0, -1.0)
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[40, 30:60], scribbles[6, 5:85], scribbles[74, 5:85] = 2, 1, 1
    return rng.random(truth.shape), embedding, scribbles, truth


@pytest.mark.parametrize("evidence", ["pixel", "cnn", "teacher", "auto"])
def test_networks_see_the_embedding(hidden, evidence):
    image, embedding, scribbles, truth = hidden
    result = fit_scribbles(image, scribbles, evidence=evidence, embedding=embedding)
    mask = result.labels == 2
    assert (mask & truth).sum() / (mask | truth).sum() > 0.85
    if evidence == "auto":
        weights = result.report.evidence_weights
        assert set(weights) == {"histogram", "geodesic", "pixel"}
        assert max(weights, key=weights.get) == "pixel"


def test_a_warm_fit_weighs_anew_when_an_embedding_comes(hidden):
    image, embedding, scribbles, _ = hidden
    first = fit_scribbles(image, scribbles)
    second = fit_scribbles(image, scribbles, warm_start=first, embedding=embedding)
    third = fit_scribbles(image, scribbles, warm_start=second, embedding=embedding)
    assert "pixel" in second.report.evidence_weights
    assert third.report.evidence_weights == second.report.evidence_weights


def test_embeddings_may_be_zarr_and_volumes(hidden):
    image, embedding, scribbles, truth = hidden
    stored = zarr.array(np.stack([embedding] * 3, axis=1), chunks=(4, 1, 40, 40))
    stack, strokes = np.stack([image] * 3), np.stack([scribbles] * 3)
    for config in (FitConfig(), FitConfig(per_slice=True)):
        result = fit_scribbles(stack, strokes, evidence="pixel", embedding=stored, config=config)
        mask = result.labels[1] == 2
        assert (mask & truth).sum() / (mask | truth).sum() > 0.75


def test_an_embedding_of_another_shape_is_refused(hidden):
    image, embedding, scribbles, _ = hidden
    with pytest.raises(InputError, match="features first"):
        fit_scribbles(image, scribbles, embedding=np.moveaxis(embedding, 0, -1))
    with pytest.raises(InputError, match="features first"):
        fit_scribbles(image, scribbles, embedding=embedding[0])


def test_a_stroke_that_slips_over_a_border_does_not_take_what_lies_beyond(cells):
    image, labels, scribbles = cells
    scribbles[scribbles == 3] = 0
    scribbles[30, 20:41] = 2
    result = fit_scribbles(image, scribbles, evidence=labels, shape="connected")
    assert not (result.labels[:, 48:] == 2).any()


def test_a_long_stroke_takes_all_the_pieces_it_crosses(cells):
    image, _, _ = cells
    y, x = np.indices(image.shape)
    pieces = (y // 8 * 12 + x // 8 + 1).astype(np.int32)
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[27:29, 9:87], scribbles[2, 5:90] = 2, 1
    result = fit_scribbles(image, scribbles, evidence=pieces, shape="none")
    assert len(np.unique(pieces[result.labels == 2])) == 10


def test_strokes_on_nothing_found_are_told_of(cells):
    image, labels, scribbles = cells
    labels[labels == 7] = 0
    told = fit_scribbles(image, scribbles, evidence=labels, shape="none").report.warnings
    assert any("object 2 lie on 0 of the label layer" in text for text in told)
    assert not any("object 3" in text for text in told)


def test_probability_maps_are_checked_slice_by_slice(cells):
    image, _, scribbles = cells
    stack, strokes = np.stack([image] * 2), np.stack([scribbles] * 2)
    with pytest.raises(InputError, match="Divide it by"):
        fit_scribbles(stack, strokes, evidence=90 * stack, config=FitConfig(per_slice=True))


@pytest.mark.parametrize("add", [100.0, 1e5])
def test_only_how_an_embedding_varies_counts(hidden, add):
    image, embedding, scribbles, _ = hidden
    one, other = (
        fit_scribbles(image, scribbles, evidence="pixel", embedding=e)
        for e in (embedding, embedding + np.float32(add))
    )
    assert (one.labels != other.labels).mean() < 0.02


def test_an_embedding_that_says_nothing_changes_nothing(hidden):
    image, embedding, scribbles, _ = hidden
    constant = np.full_like(embedding[:1], 3)
    result = fit_scribbles(image, scribbles, evidence="histogram", embedding=constant)
    alone = fit_scribbles(image, scribbles, evidence="histogram")
    np.testing.assert_array_equal(result.labels, alone.labels)
    assert fit_scribbles(image, scribbles, evidence="pixel", embedding=constant).labels.any()
