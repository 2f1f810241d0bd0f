"""Descriptors against sums voxel by voxel, known shapes and what may not change them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.descriptors import descriptor_channels, local_shape_descriptors
from napari_implicitseg.errors import InputError


def cells(shape, objects, *, seed=0, share=0.85):
    """Labels of cells around random centres, some voxels of which are background."""
    rng = np.random.default_rng(seed)
    centres = rng.random((objects, len(shape))) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    labels = ((grid[..., None, :] - centres) ** 2).sum(-1).argmin(-1) + 1
    return np.where(rng.random(shape) < share, labels, 0)


def brute(labels, place, sigma, spacing):
    """Descriptors of a voxel, from the definition."""
    ndim = labels.ndim
    grid = np.stack(np.meshgrid(*map(np.arange, labels.shape), indexing="ij"), -1)
    away = (grid - np.array(place)) * np.array(spacing)
    weight = np.exp(-0.5 * (away**2).sum(-1) / sigma**2)
    weight *= (np.abs(away) <= 3 * sigma + 1e-9).all(-1)
    axes = [np.arange(-(3 * sigma // s), 3 * sigma // s + 1) * s for s in spacing]
    whole = math.prod(np.exp(-0.5 * a**2 / sigma**2).sum() for a in axes)
    weight *= labels == labels[place]
    size = weight.sum()
    mean = [(weight * away[..., i]).sum() / size for i in range(ndim)]
    covariance = np.array(
        [
            [
                (weight * (away[..., i] - mean[i]) * (away[..., j] - mean[j])).sum() / size
                for j in range(ndim)
            ]
            for i in range(ndim)
        ]
    )
    width = np.sqrt(np.maximum(np.diag(covariance), 1e-4 * sigma**2))
    pairs = itertools.combinations(range(ndim), 2)
    found = [
        *(0.5 + 0.5 * np.array(mean) / sigma),
        *(np.diag(covariance) / sigma**2),
        *(0.5 + 0.5 * covariance[i, j] / width[i] / width[j] for i, j in pairs),
        size / whole,
    ]
    return np.clip(found, 0, 1)


@given(
    shape=st.lists(st.integers(1, 14), min_size=2, max_size=3),
    sigma=st.sampled_from([0.2, 1.0, 2.5, 9.0]),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=40, deadline=None)
def test_descriptors_are_sums_over_the_window(shape, sigma, seed):
    rng = np.random.default_rng(seed)
    labels = cells(shape, 4, seed=seed)
    spacing = rng.choice([0.7, 1.0, 2.5], len(shape))
    found = local_shape_descriptors(labels, sigma=sigma, spacing=spacing)
    assert found.shape == (descriptor_channels(len(shape)), *shape)
    assert found.dtype == np.float32
    assert not found[:, labels == 0].any()
    places = np.argwhere(labels)
    for place in map(tuple, places[rng.permutation(len(places))[:5]]):
        expected = brute(labels, place, sigma, spacing)
        np.testing.assert_allclose(found[:, *place], expected, atol=2e-3)


def test_long_axes_are_summed_in_parts_without_a_seam():
    labels = np.ones((300, 3), int)
    labels[200:, 1] = 2
    found = local_shape_descriptors(labels, sigma=4)
    for place in [(0, 0), (127, 1), (128, 1), (129, 0), (256, 1), (299, 2)]:
        np.testing.assert_allclose(found[:, *place], brute(labels, place, 4, (1, 1)), atol=1e-4)


def test_known_values_at_a_straight_border_and_deep_inside():
    labels = np.ones((61, 601), np.uint8)
    labels[:, 241:] = 2
    found = local_shape_descriptors(labels, sigma=60, spacing=(6, 1))
    # The mean of half a normal distribution lies at sqrt(2 / pi) sigma.
    half = math.sqrt(2 / math.pi)
    before = [0.5, 0.5 - 0.5 * half, 1, 1 - half**2, 0.5, 0.5]
    np.testing.assert_allclose(found[:, 30, 240], before, atol=0.03)
    np.testing.assert_allclose(found[[0, 1, 4], 30, 240], [0.5, before[1], 0.5], atol=0.008)
    behind = [0.5, 0.5 + 0.5 * half, 1, 1 - half**2, 0.5, 0.5]
    np.testing.assert_allclose(found[:, 30, 241], behind, atol=0.03)
    np.testing.assert_allclose(found[:, 30, 421], [0.5, 0.5, 1, 1, 0.5, 1], atol=0.03)


def test_offsets_point_from_the_voxel_to_the_middle_and_correlations_along_the_object():
    labels = np.zeros((41, 41), int)
    step = np.arange(5, 36)
    labels[step, step] = 1
    found = local_shape_descriptors(labels, sigma=4)
    assert (found[:2, 5, 5] > 0.6).all()
    assert (found[:2, 35, 35] < 0.4).all()
    assert found[4, 20, 20] == pytest.approx(1, abs=1e-3)
    against = local_shape_descriptors(labels[:, ::-1], sigma=4)
    assert against[4, 20, 20] == pytest.approx(0, abs=1e-3)


def test_flat_objects_have_no_variance_across_and_no_correlation_with_it():
    labels = np.zeros((9, 20, 20), int)
    labels[4] = 3
    found = local_shape_descriptors(labels, sigma=3)[:, 4]
    np.testing.assert_allclose(found[3], 0, atol=1e-5)
    np.testing.assert_allclose(found[[0, 6, 7]], 0.5, atol=1e-4)


@pytest.mark.parametrize("downsample", [1, 2, 3])
def test_descriptors_move_with_the_object(downsample):
    labels = cells((9, 10, 11), 3, seed=1)
    there = np.zeros((16, 15, 18), int)
    there[3:12, 4:14, 5:16] = labels
    options = {"sigma": 2.0, "downsample": downsample}
    found = local_shape_descriptors(there, **options)[:, 3:12, 4:14, 5:16]
    np.testing.assert_allclose(found, local_shape_descriptors(labels, **options), atol=1e-5)


def test_ids_do_not_matter():
    labels = cells((12, 13, 9), 5, seed=2)
    names = np.array([0, 2**64 - 1, 7, 2**63, 3, 2**40 + 1], np.uint64)
    expected = local_shape_descriptors(labels, sigma=2)
    assert np.array_equal(local_shape_descriptors(names[labels], sigma=2), expected)
    full = labels + 1
    assert np.array_equal(
        local_shape_descriptors(full, sigma=2)[:, labels > 0], expected[:, labels > 0]
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_object_has_mirrored_descriptors(axis):
    labels = cells((11, 12, 10), 4, seed=3)
    mirrored = np.flip(local_shape_descriptors(np.flip(labels, axis), sigma=2), axis + 1).copy()
    pairs = list(itertools.combinations(range(3), 2))
    signed = [axis, *(6 + n for n, pair in enumerate(pairs) if axis in pair)]
    mirrored[signed] = np.where(labels > 0, 1 - mirrored[signed], 0)
    np.testing.assert_allclose(mirrored, local_shape_descriptors(labels, sigma=2), atol=1e-4)


def test_exchanged_axes_exchange_descriptors():
    labels = cells((8, 11, 10), 4, seed=4)
    spacing = (2.0, 1.0, 1.5)
    found = local_shape_descriptors(labels.transpose(2, 0, 1), sigma=2, spacing=(1.5, 2.0, 1.0))
    expected = local_shape_descriptors(labels, sigma=2, spacing=spacing).transpose(0, 3, 1, 2)
    order = [2, 0, 1, 5, 3, 4, 7, 8, 6, 9]
    np.testing.assert_allclose(found, expected[order], atol=1e-4)


def test_an_image_has_what_a_section_far_from_others_has():
    labels = cells((20, 22), 4, seed=5)
    image = local_shape_descriptors(labels, sigma=3)
    stack = local_shape_descriptors(labels[None], sigma=3, spacing=(100, 1, 1))[:, 0]
    np.testing.assert_allclose(image, stack[[1, 2, 4, 5, 8, 9]], atol=1e-4)


def test_spacing_and_sigma_have_one_unit():
    labels = cells((10, 12, 9), 4, seed=6)
    expected = local_shape_descriptors(labels, sigma=2, spacing=(3, 1, 1))
    found = local_shape_descriptors(labels, sigma=16, spacing=(24, 8, 8))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_blocks_change_little_and_give_no_voxel_the_descriptors_of_another_object():
    labels = cells((40, 40, 40), 12, seed=7, share=2)
    exact = local_shape_descriptors(labels, sigma=5)
    blocks = local_shape_descriptors(labels, sigma=5, downsample=2)
    assert np.abs(blocks - exact).mean() < 0.02
    labels[20:, 20, 20] = 99
    blocks = local_shape_descriptors(labels, sigma=5, downsample=2)[:, labels == 99]
    exact = local_shape_descriptors(labels, sigma=5)[:, labels == 99]
    assert np.abs(blocks[:9] - exact[:9]).mean() < 0.05


def test_blocks_are_those_of_the_middle_when_a_volume_is_made_of_them():
    coarse = cells((7, 8), 3, seed=8)
    labels = coarse.repeat(3, 0).repeat(3, 1)
    expected = local_shape_descriptors(coarse, sigma=6, spacing=(3, 3))
    found = local_shape_descriptors(labels, sigma=6, downsample=3)
    np.testing.assert_allclose(found, expected.repeat(3, 1).repeat(3, 2), atol=1e-5)


def test_no_object_has_no_descriptors():
    assert not local_shape_descriptors(np.zeros((3, 4, 5), int), sigma=2).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.ones((4, 4))}, "float64"),
        ({"labels": np.ones(4, int)}, "shape"),
        ({"sigma": 0}, "sigma is 0"),
        ({"sigma": math.nan}, "sigma is nan"),
        ({"spacing": (1, 1, 1)}, "spacing"),
        ({"downsample": 0}, "downsample is 0"),
        ({"downsample": 1.5}, "whole number"),
    ],
)
def test_what_cannot_be_used_is_named(change, message):
    options = {"labels": np.ones((4, 4), int), "sigma": 2.0} | change
    with pytest.raises(InputError, match=message):
        local_shape_descriptors(options.pop("labels"), **options)
