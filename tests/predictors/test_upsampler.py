"""Sloppy outlines made precise by a network trained on one image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from skimage.draw import polygon2mask

from napari_implicitseg import FitConfig, FitResult, fit_scribbles
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.features import Reader
from napari_implicitseg.predictors.outline_looks import OutlineLook
from napari_implicitseg.predictors.outline_networks import EncoderDecoder, TransposedConvolutions
from napari_implicitseg.predictors.outline_training import (
    component_under,
    random_mask,
    sloppy,
    train,
)
from napari_implicitseg.predictors.upsampler import Outlines
from napari_implicitseg.scribbles import read_scribbles

SIZE = 96
QUICK = FitConfig(upsampler_steps=4)


@pytest.fixture(scope="module")
def cell():
    """A bright blob with a dark twin beside it, in noise, and its truth."""
    rng = np.random.default_rng(0)
    row, column = np.indices((SIZE, SIZE))
    turn = np.arctan2(row - 44, column - 40)
    truth = np.hypot(row - 44, column - 40) < 20 + 3 * np.sin(3 * turn)
    twin = np.hypot(row - 70, column - 78) < 12
    image = 0.2 + 0.5 * truth + 0.25 * twin + rng.normal(0, 0.06, truth.shape)
    return image.astype(np.float32), truth


def outlines(truth, count, seed=0):
    """Polygons about a mask, their corners off by a tenth of its size."""
    rng = np.random.default_rng(seed)
    middle = np.argwhere(truth).mean(axis=0)
    size = np.sqrt(truth.sum())
    for _ in range(count):
        turn = np.linspace(0, 2 * np.pi, 11, endpoint=False)
        reach = 0.6 * size + rng.normal(0, 0.09 * size, len(turn))
        corners = middle + reach[:, None] * np.stack([np.sin(turn), np.cos(turn)], 1)
        yield polygon2mask(truth.shape, corners + rng.normal(0, 0.03 * size, 2))


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


def test_the_original_goes_from_ten_to_a_hundred_pixels():
    network = TransposedConvolutions()
    sides = [10]
    for layer in network.layers:
        sides.append((sides[-1] - 1) * layer.stride[0] + layer.kernel_size[0])
    widths = [network.layers[0].in_channels, *(layer.out_channels for layer in network.layers)]
    assert sides == [10, 22, 46, 94, 97, 100]
    assert widths == [256, 128, 64, 32, 8, 3]


@pytest.mark.parametrize("scale", [4, 8, 16])
def test_any_size_and_scale_comes_back_at_full_resolution(scale):
    rng = np.random.default_rng(0)
    look = OutlineLook.of(rng.random((2, 51, 70), np.float32), scale, seed=0)
    masked, odds = EncoderDecoder(scale)(look, look.coarse(torch.ones(2, *look.shape)))
    assert all(n % scale == 0 for n in look.shape)
    assert masked.shape == (2, 3, *look.shape)
    assert odds.shape == (2, *look.shape)


def test_an_untrained_network_says_what_the_colours_say(cell):
    look = OutlineLook.of(cell[0][None], 8, seed=0)
    coarse = look.coarse(torch.from_numpy(cell[1][None].astype(np.float32)))
    _, odds = EncoderDecoder(8)(look, coarse)
    torch.testing.assert_close(odds, look.guess(coarse)[1])


@pytest.mark.parametrize(("make", "steps"), [(TransposedConvolutions, 15), (EncoderDecoder, 30)])
def test_training_lowers_the_loss_and_is_repeatable(cell, make, steps):
    look = OutlineLook.of(cell[0][None], 8, seed=0)
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        runs.append(train(make(), look, steps=steps, seed=1))
    assert runs[0] == runs[1]
    assert np.mean(runs[0][-3:]) < 0.9 * np.mean(runs[0][:3])


def test_random_masks_are_rectangles_ellipses_and_polygons():
    rng = np.random.default_rng(0)
    masks = [random_mask((64, 80), rng) for _ in range(60)]
    assert all(mask.shape == (64, 80) for mask in masks)
    boxes = [mask for mask in masks if mask.any() and mask[np.ix_(mask.any(1), mask.any(0))].all()]
    assert 5 < len(boxes) < 40


def test_a_sloppy_outline_is_about_its_mask(cell):
    rng = np.random.default_rng(0)
    shares = [overlap(sloppy(cell[1], rng), cell[1]) for _ in range(20)]
    assert 0.4 < np.mean(shares) < 0.9


def test_the_component_most_of_an_outline_is_on_is_taken_and_filled():
    mask = np.zeros((20, 30), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:8] = False
    mask[2:18, 20:28] = True
    outline = np.zeros(mask.shape, bool)
    outline[3:14, 3:22] = True
    expected = np.zeros(mask.shape, bool)
    expected[2:12, 2:12] = True
    np.testing.assert_array_equal(component_under(mask, outline), expected)
    assert not component_under(np.zeros_like(mask), outline).any()


def test_outlines_agree_and_are_nearer_to_the_truth_than_they_were(cell):
    image, truth = cell
    drawn = list(outlines(truth, 8))
    result, found = None, []
    for outline in drawn:
        result = fit_scribbles(
            image, 2 * outline.astype(int), shape="none", evidence="upsampler", warm_start=result
        )
        found.append(result.labels == 2)
    gain = np.mean([overlap(m, truth) for m in found]) - np.mean([overlap(o, truth) for o in drawn])
    agreement = np.mean([overlap(a, b) for a, b in itertools.combinations(found, 2)])
    assert gain > 0.05
    assert agreement > 0.95


@pytest.mark.parametrize("shape", ["convex", "connected"])
def test_the_answer_can_be_given_a_shape(cell, shape):
    image, truth = cell
    outline = next(outlines(truth, 1))
    result = fit_scribbles(
        image, 3 * outline.astype(int), shape=shape, evidence="upsampler", config=QUICK
    )
    assert result.certificates[3].holds
    assert overlap(result.labels == 3, truth) > 0.85
    assert not result.report.warnings


def test_a_ring_painted_around_the_object_is_an_outline_too(cell):
    image, truth = cell
    ring = np.zeros(truth.shape, np.uint8)
    row, column = np.indices(truth.shape)
    ring[np.abs(np.hypot(row - 44, column - 40) - 22) < 1.5] = 2
    result = fit_scribbles(image, ring, shape="none", evidence="upsampler", config=QUICK)
    assert overlap(result.labels == 2, truth) > 0.85


def test_objects_are_answered_together(cell):
    image, truth = cell
    both = np.zeros(truth.shape, np.uint8)
    both[next(outlines(truth, 1))] = 2
    both[58:82, 68:92] = 5
    result = fit_scribbles(image, both, shape="convex", evidence="upsampler", config=QUICK)
    row, column = np.indices(truth.shape)
    assert overlap(result.labels == 2, truth) > 0.85
    assert overlap(result.labels == 5, np.hypot(row - 70, column - 78) < 12) > 0.8


def test_a_warm_start_does_not_train_again(cell, tmp_path):
    image, truth = cell
    first, second = (2 * o.astype(int) for o in outlines(truth, 2))
    options = {"shape": "none", "evidence": "upsampler", "config": QUICK}
    cold = fit_scribbles(image, first, **options)
    assert len(cold.history["loss/upsampler"]) == 4
    cold.save(tmp_path / "fit.safetensors")
    again = FitResult.load(tmp_path / "fit.safetensors")
    warm = fit_scribbles(image, second, warm_start=again, **options)
    assert warm.history["loss/upsampler"] == []
    for name, values in cold.networks["upsampler"].items():
        np.testing.assert_array_equal(warm.networks["upsampler"][name], values)


@pytest.mark.parametrize("kind", ["constant", "nan", "tiny", "many channels"])
def test_hard_images_are_answered(kind):
    rng = np.random.default_rng(0)
    image = rng.random((40, 40)).astype(np.float32)
    if kind == "constant":
        image[:] = 3
    elif kind == "nan":
        image[:, 20:] = np.nan
    elif kind == "tiny":
        image = image[:6, :7]
    else:
        image = rng.random((40, 40, 5))
    drawn = np.zeros(image.shape[:2], np.uint8)
    drawn[2:-2, 2:-2] = 2
    axis = 2 if image.ndim == 3 else None
    result = fit_scribbles(
        image, drawn, shape="convex", evidence="upsampler", channel_axis=axis, config=QUICK
    )
    assert result.certificates[2].holds
    assert result.labels.any()


def test_the_original_gives_about_the_outline(cell):
    image, truth = cell
    outline = next(outlines(truth, 1))
    config = FitConfig(upsampler="original", upsampler_steps=30)
    result = fit_scribbles(
        image, 2 * outline.astype(int), shape="none", evidence="upsampler", config=config
    )
    assert overlap(result.labels == 2, outline) > 0.5


def test_volumes_are_refused_whole_and_taken_slice_by_slice(cell):
    image, truth = cell
    stack = np.stack([image, image])
    drawn = np.stack([2 * o.astype(int) for o in outlines(truth, 2)])
    with pytest.raises(InputError, match="slice by slice"):
        fit_scribbles(stack, drawn, evidence="upsampler", config=QUICK)
    config = FitConfig(per_slice=True, upsampler_steps=4)
    result = fit_scribbles(stack, drawn, evidence="upsampler", config=config)
    assert all(overlap(result.labels[z] == 2, truth) > 0.8 for z in range(2))


def test_training_can_be_cancelled(cell):
    image, truth = cell

    def stop(fraction, message):
        if message == "Learning the image":
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        fit_scribbles(image, 2 * truth.astype(int), evidence="upsampler", progress=stop)


def disc(shape, row, column, radius):
    y, x = np.indices(shape)
    return np.hypot(y - row, x - column) < radius


def test_an_object_outlined_in_two_parts_stays_two_objects(cell):
    image, truth = cell
    drawn = 2 * truth.astype(int)
    drawn[truth & (np.indices(truth.shape)[1] > 40)] = 3
    for shape in ("connected", "convex", "none"):
        result = fit_scribbles(image, drawn, shape=shape, evidence="upsampler", config=QUICK)
        for label in (2, 3):
            assert overlap(result.labels == label, drawn == label) > 0.6
        assert not result.report.unsatisfied


@pytest.mark.parametrize("shape", ["connected", "none"])
def test_background_painted_in_an_outline_is_background(cell, shape):
    image, truth = cell
    drawn = 2 * disc(truth.shape, 44, 40, 23).astype(int)
    drawn[30:58, 48:60] = 1
    result = fit_scribbles(image, drawn, shape=shape, evidence="upsampler", config=QUICK)
    assert not (result.labels[drawn == 1] == 2).any()
    assert (result.labels == 2).sum() > 400
    assert not result.report.unsatisfied


def test_a_scribble_is_told_to_be_no_outline(cell):
    image, truth = cell
    drawn = np.zeros(truth.shape, int)
    drawn[44:47, 25:56] = 2
    drawn[disc(truth.shape, 70, 78, 13)] = 3
    result = fit_scribbles(image, drawn, shape="none", evidence="upsampler", config=QUICK)
    assert len(result.report.warnings) == 1
    assert "Object 2 is drawn as a line" in result.report.warnings[0]


def test_no_voxel_is_a_stroke_of_two_objects(cell):
    image, truth = cell
    drawn = np.zeros(truth.shape, int)
    drawn[disc(truth.shape, 44, 40, 22)], drawn[disc(truth.shape, 44, 40, 9)] = 2, 3
    outlines = Outlines(
        Reader(image, None),
        read_scribbles(drawn, background=1),
        spacing=(1.0, 1.0),
        config=QUICK,
    )
    cores = outlines.cores
    assert set(cores.ids.tolist()) == {2, 3}
    assert len(np.unique(cores.coords, axis=0)) == len(cores.coords)
