"""Voxels near the borders of the truth, against a distance transform of each section."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from napari_implicitseg._borders import BorderZone
from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.metrics import Contingency, contingency, contingency_blocks

SECTION = array_shapes(min_dims=2, max_dims=2, max_side=12).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 2))
)


def far_by_distance(section, border, spacing):
    """Whether each voxel of a section is farther than that from the marked ones, as in CREMI."""
    padded = np.pad(section, 1, mode="edge")
    inside = np.ones(section.shape, bool)
    for axis in (0, 1):
        for step in (0, 2):
            other = [slice(1, -1), slice(1, -1)]
            other[axis] = slice(step, step + section.shape[axis])
            inside &= section == padded[tuple(other)]
    if inside.all():  # scipy's transform has no meaning without a mark
        return inside
    return ndimage.distance_transform_edt(inside, sampling=spacing) > border


def blobs(seed, shape):
    """Boxes of up to five voxels along each axis."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, [-(-n // 5) for n in shape]).astype(np.uint16)
    return np.kron(coarse, np.ones([5] * len(shape), np.uint16))[tuple(map(slice, shape))]


@settings(deadline=None)
@given(
    SECTION,
    st.sampled_from([0, 0.5, 1, 1.5, 2, 2.3, 5, 100]),
    st.sampled_from([(1, 1), (2, 1), (1, 3), (0.7, 0.7)]),
)
def test_near_is_what_a_distance_transform_says(section, border, spacing):
    zone = BorderZone.of(border, spacing, section.shape)
    expected = ~far_by_distance(section, border, spacing)
    np.testing.assert_array_equal(zone.near(section), expected)


def test_the_distance_of_the_challenge_is_a_little_over_six_voxels():
    """25 nm in voxels of 40 x 4 x 4 nm, sections one by one."""
    truth = np.kron(blobs(0, (5, 16, 18)), np.ones((1, 5, 5), np.uint16))
    zone = BorderZone.of(25, (40, 4, 4), truth.shape)
    expected = [~far_by_distance(section, 25 / 4, (1, 1)) for section in truth]
    np.testing.assert_array_equal(zone.near(truth), expected)
    assert 0 < np.mean(expected) < 1


@pytest.mark.parametrize("shape", [(40, 35), (7, 40, 35), (2, 3, 20, 25)])
@pytest.mark.parametrize("border", [0, 2.5, 60])
def test_blocks_of_any_shape_leave_out_the_same_voxels(shape, border):
    labels, truth = blobs(1, shape), blobs(2, shape)
    spacing = (9, 9, 1, 1.5)[-len(shape) :]
    far = np.array(
        [far_by_distance(s, border, spacing[-2:]) for s in truth.reshape(-1, *shape[-2:])]
    ).reshape(shape)
    expected = contingency(labels[far], truth[far])
    near = int((~far).sum())
    rng = np.random.default_rng(0)
    for step in (None, shape, *(rng.integers(1, 12, (4, len(shape))).tolist())):
        table = contingency_blocks(labels, truth, border=border, spacing=spacing, block_shape=step)
        for name in set(Contingency.__dataclass_fields__) - {"ignored"}:
            np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))
        assert table.ignored == expected.ignored + near
        assert table.total + table.ignored == truth.size


def test_where_there_is_no_border_nothing_is_left_out():
    ones = np.ones((3, 8, 9), np.uint8)
    assert contingency_blocks(ones, ones, border=5).ignored == 0
    # A border between sections is none.
    steps = ones * np.arange(1, 4, dtype=np.uint8)[:, None, None]
    assert contingency_blocks(ones, steps, border=5).ignored == 0


def test_both_sides_of_a_border_are_at_distance_0():
    truth = np.array([[1, 1, 1, 2, 2, 2, 0, 0]] * 3)
    zone = BorderZone.of(0, None, truth.shape)
    assert zone.near(truth)[1].tolist() == [False, False, True, True, False, True, True, False]
    table = contingency_blocks(truth, truth, border=0)
    assert table.total == 9
    assert table.ignored == 15


@pytest.mark.parametrize("kind", [bool, "u1", ">i4", "u8"])
def test_any_type_of_truth_has_borders(kind):
    truth = (blobs(3, (3, 30, 30)) % 2).astype(kind)
    table = contingency_blocks(truth, truth, ignore=None, border=1)
    assert 0 < table.ignored < truth.size
    assert (
        table.ignored
        == contingency_blocks(truth, truth.astype("i8"), ignore=None, border=1).ignored
    )


@pytest.mark.parametrize("border", [-1, float("nan"), float("inf"), "wide", True, [1]])
def test_no_distance_is_refused(border):
    ones = np.ones((4, 5), int)
    with pytest.raises(InputError, match="border is .*; give a distance from 0"):
        contingency_blocks(ones, ones, border=border)


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (1, -1), (1, float("nan")), 3, "ab", (1, None)])
def test_no_spacing_is_refused(spacing):
    ones = np.ones((4, 5), int)
    for border in (None, 1):
        with pytest.raises(InputError, match="give 2 positive numbers"):
            contingency_blocks(ones, ones, border=border, spacing=spacing)


def test_a_line_has_no_sections():
    with pytest.raises(InputError, match="has no sections"):
        contingency_blocks(np.ones(4, int), np.ones(4, int), border=1)


def test_blocks_with_borders_can_be_cancelled():
    def stop(fraction, message):
        raise Cancelled

    ones = np.ones((4, 5), int)
    with pytest.raises(Cancelled):
        contingency_blocks(ones, ones, border=1, progress=stop)
