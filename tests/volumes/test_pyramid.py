"""Coarser levels: means and modes of blocks, the same however they are cut."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes import Axis
from napari_implicitseg.volumes.pyramid import (
    blocks_of,
    coarsen,
    coarser_block,
    factors_of,
    plan_levels,
)

RNG = np.random.default_rng(0)


def axes(names: str, scale: tuple[float, ...], unit: str = "nanometer") -> list[Axis]:
    kinds = {"t": "time", "c": "channel"}
    return [
        Axis(name=n, kind=kinds.get(n, "space"), scale=s, unit=unit)
        for n, s in zip(names, scale, strict=True)
    ]


def windows(data: np.ndarray, factors: tuple[int, ...], shape: tuple[int, ...]):
    """Every coarse voxel and the fine ones below it."""
    for index in np.ndindex(*shape):
        key = []
        for i, f, n in zip(index, factors, data.shape, strict=True):
            start = min(i * f, n - 1)
            key.append(slice(start, start + f))
        yield index, data[tuple(key)]


def most_frequent(values: np.ndarray) -> int:
    counts = Counter(int(v) for v in values.ravel())
    return min(counts, key=lambda v: (-counts[v], v == 0, v))


@st.composite
def cases(draw: st.DrawFn):
    ndim = draw(st.integers(2, 4))
    shape = tuple(draw(st.integers(1, 7)) for _ in range(ndim))
    factors = [draw(st.integers(1, 3)) for _ in range(ndim)]
    if ndim == 4:
        factors[0] = 1
    coarse = tuple(-(-n // f) for n, f in zip(shape, factors, strict=True))
    block = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    return shape, tuple(factors), coarse, block, draw(st.integers(0, 999))


@given(case=cases(), dtype=st.sampled_from(["u1", "<u2", "u4", "u8", ">u4"]))
@settings(max_examples=60, deadline=None)
def test_the_mode_is_that_of_counting_and_ids_are_never_new(case, dtype) -> None:
    shape, factors, coarse, block, seed = case
    top = np.iinfo(dtype).max
    ids = np.array([0, 1, 7, top], dtype)
    data = ids[np.random.default_rng(seed).integers(0, 4, shape)].astype(dtype)
    whole = coarsen(data, factors, coarse, method="mode")
    assert whole.dtype.itemsize == data.dtype.itemsize
    for index, values in windows(data, factors, coarse):
        assert whole[index] == most_frequent(values)
    for part in blocks_of(coarse, block):
        found = coarser_block(data, part, factors, method="mode")
        np.testing.assert_array_equal(found, whole[part])


@given(case=cases(), dtype=st.sampled_from(["u1", "i2", "u4", "f4", "f8", "f2"]))
@settings(max_examples=60, deadline=None)
def test_the_mean_is_that_of_numpy_and_rounds_half_up(case, dtype) -> None:
    shape, factors, coarse, block, seed = case
    data = np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)
    if dtype == "i2":
        data -= 50
    whole = coarsen(data, factors, coarse, method="mean")
    assert whole.dtype == data.dtype
    for index, values in windows(data, factors, coarse):
        mean = values.astype(float).mean()
        expected = np.floor(mean + 0.5) if data.dtype.kind in "iu" else mean
        np.testing.assert_allclose(whole[index], expected, rtol=1e-3 if dtype == "f2" else 1e-6)
    for part in blocks_of(coarse, block):
        found = coarser_block(data, part, factors, method="mean")
        np.testing.assert_array_equal(found, whole[part])


def test_numbers_that_are_none_are_left_out_of_the_mean() -> None:
    data = np.array([[1, np.nan, np.nan], [3, 2, np.nan]], np.float32)
    found = coarsen(data, (2, 2), (1, 2), method="mean")
    np.testing.assert_array_equal(found, [[2, np.nan]])


@pytest.mark.parametrize("dtype", ["u1", "i4", "u4", "i8", "u8"])
def test_the_mean_of_the_largest_numbers_does_not_wrap_around(dtype) -> None:
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        data = np.full((2, 2), value, dtype)
        found = int(coarsen(data, (2, 2), (1, 1), method="mean")[0, 0])
        assert abs(found - int(value)) <= (1 << 11 if info.bits == 64 else 0)


def test_a_mask_takes_the_majority_and_thin_objects_win_ties() -> None:
    data = np.array([[1, 0, 0, 0], [1, 0, 1, 0]], bool)
    np.testing.assert_array_equal(coarsen(data, (2, 2), (1, 2), method="mean"), [[True, False]])


def test_a_coarse_level_that_was_cut_off_or_padded_by_others_is_matched() -> None:
    data = RNG.integers(0, 3, (7, 10)).astype(np.uint32)
    for shape in ((3, 5), (4, 5), (3, 6)):  # floor, ceiling, one too many
        factors = factors_of(data.shape, shape)
        assert factors == (2, 2)
        found = coarsen(data, factors, shape, method="mode")
        for index, values in windows(data, factors, shape):
            assert found[index] == most_frequent(values)


def test_the_finest_axes_are_halved_until_voxels_are_isotropic() -> None:
    levels = plan_levels((100, 4000, 4001), axes("zyx", (40, 4, 4)))
    assert [level.shape for level in levels] == [
        (100, 4000, 4001),
        (100, 2000, 2001),
        (100, 1000, 1001),
        (100, 500, 501),
    ]
    assert [level.scale for level in levels] == [(40, 4 * s, 4 * s) for s in (1, 2, 4, 8)]
    deep = plan_levels((100, 9000, 9000), axes("zyx", (40, 4, 4)))
    assert [level.scale for level in deep[3:]] == [(40, 32, 32), (80, 64, 64), (160, 128, 128)]
    assert deep[-1].shape == (25, 282, 282)


def test_coarse_voxels_lie_in_the_middle_of_the_fine_ones() -> None:
    levels = plan_levels((8, 2000, 2000), axes("zyx", (1, 1, 1)))
    positions = np.arange(2000.0)
    for level in levels:
        count = round(2000 / level.shape[2])
        centres = positions.reshape(-1, count).mean(1) if 2000 % count == 0 else positions
        if 2000 % count == 0:
            found = level.translate[2] + level.scale[2] * np.arange(level.shape[2])
            np.testing.assert_allclose(found, centres)
    assert levels[2].translate == (1.5, 1.5, 1.5)


def test_time_and_channels_stay_and_units_count() -> None:
    mixed = [
        *axes("tc", (1, 1), ""),
        *axes("z", (0.04,), "micrometer"),
        *axes("yx", (4, 4), "nanometer"),
    ]
    levels = plan_levels((9, 3, 600, 600, 600), mixed)
    assert levels[1].shape == (9, 3, 600, 300, 300)


@pytest.mark.parametrize(("dtype", "method"), [("f4", "mode"), ("c8", "mean"), ("c8", "mode")])
def test_what_has_no_mean_or_mode_is_refused(dtype, method) -> None:
    with pytest.raises(InputError, match=f"dtype .*a {method} of blocks"):
        coarsen(np.zeros((4, 4), dtype), (2, 2), (2, 2), method=method)


def test_only_axes_of_space_are_reduced() -> None:
    with pytest.raises(InputError, match="last three axes"):
        coarsen(np.zeros((4, 4, 4, 4)), (2, 1, 1, 1), (2, 4, 4, 4), method="mean")
