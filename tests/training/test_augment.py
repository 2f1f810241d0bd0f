"""Raw image and labels move together, and appearance leaves labels alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.training import appearance
from napari_implicitseg.training.augment import Augmentation, Plan
from napari_implicitseg.training.elastic import Slip, Warp

from .helpers import coordinates_of, places_of

NONE = Augmentation.none()
GEOMETRY = {
    "flip": {"flip": 1.0},
    "transpose": {"transpose": 1.0},
    "elastic": {"elastic": 1.0},
    "slip": {"slip": 1.0, "slip_strength": 3.0},
    "all": {"flip": 0.5, "transpose": 1.0, "elastic": 1.0},
}
SHAPES = {
    "image": ((24, 24), (1.0, 1.0)),
    "cube": ((16, 16, 16), (1.0, 1.0, 1.0)),
    "sections": ((6, 20, 20), (10.0, 1.0, 1.0)),
    "oblong": ((10, 16, 20), (2.0, 1.0, 1.5)),
}


def read_with_margin(plan: Plan, less: int = 0):
    """What the plan is applied to: coordinates and ids of voxels, and the margins."""
    margins = tuple((max(0, m - less), max(0, m - 2 * less)) for m in plan.margin)
    shape = tuple(n + a + b for n, (a, b) in zip(plan.shape, margins, strict=True))
    raw, ids = coordinates_of(shape)
    return raw, ids, margins, shape


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("change", GEOMETRY)
def test_labels_follow_the_raw_image(change: str, kind: str, seed: int) -> None:
    shape, spacing = SHAPES[kind]
    plan = replace(NONE, **GEOMETRY[change]).draw(np.random.default_rng(seed), shape, spacing)
    raw, ids, margins, read = read_with_margin(plan)
    moved, labels = plan.move(raw, ids, margins)
    assert moved.shape == (len(shape), *shape)
    assert labels.shape == shape
    # Linear interpolation of coordinates is exact, so each voxel tells where it comes from.
    away = np.abs(moved - places_of(labels, read)).max()
    assert away <= (0.501 if plan.warp is not None else 0)


@pytest.mark.parametrize("kind", SHAPES)
def test_raw_is_interpolated_and_labels_are_the_nearest(kind: str) -> None:
    shape, spacing = SHAPES[kind]
    plan = replace(NONE, elastic=1.0).draw(np.random.default_rng(0), shape, spacing)
    raw, ids, margins, read = read_with_margin(plan)
    moved, labels = plan.move(raw, ids, margins)
    assert plan.warp is not None
    coordinates = plan.warp.coordinates(shape, [low for low, _ in margins])
    np.testing.assert_allclose(moved, coordinates, atol=1e-3)
    clear = np.abs(coordinates - np.floor(coordinates) - 0.5) > 1e-3
    assert (places_of(labels, read) == np.rint(coordinates))[clear].all()


@pytest.mark.parametrize("change", [c for c in GEOMETRY if c != "all"])
def test_a_change_moves_something_and_is_off_at_probability_0(change: str) -> None:
    shape, spacing = SHAPES["cube"]
    moved = []
    for augmentation in (replace(NONE, **GEOMETRY[change]), NONE):
        plans = [augmentation.draw(np.random.default_rng(s), shape, spacing) for s in range(5)]
        still = []
        for plan in plans:
            raw, ids, margins, _ = read_with_margin(plan)
            inside = tuple(slice(a, n - b) for n, (a, b) in zip(ids.shape, margins, strict=True))
            still.append(np.array_equal(plan.move(raw, ids, margins)[1], ids[inside]))
        moved.append(not all(still))
    assert moved == [True, False]


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_probabilities_are_respected(probability: float) -> None:
    augmentation = replace(
        NONE, flip=probability, elastic=probability, slip=probability, transpose=probability
    )
    rng = np.random.default_rng(0)
    plans = [augmentation.draw(rng, (4, 4, 4), (1.0,) * 3) for _ in range(600)]
    flips = np.mean([plan.flips for plan in plans], axis=0)
    np.testing.assert_allclose(flips, probability, atol=0.07)
    assert np.mean([p.warp is not None for p in plans]) == pytest.approx(probability, abs=0.07)
    assert np.mean([p.slip is not None for p in plans]) == pytest.approx(probability, abs=0.07)
    # A random order is the one there was in one of six cases.
    exchanged = np.mean([p.order != (0, 1, 2) for p in plans])
    assert exchanged == pytest.approx(probability * 5 / 6, abs=0.07)


@pytest.mark.parametrize("name", ["intensity", "noise", "blur", "missing", "section_contrast"])
def test_appearance_changes_with_its_probability_only(name: str) -> None:
    raw = np.random.default_rng(0).random((1, 8, 12, 12), np.float32)
    for probability, share in ((1.0, 1.0), (0.0, 0.0)):
        plan = replace(NONE, **{name: probability}).draw(
            np.random.default_rng(1), raw.shape[1:], (1.0,) * 3
        )
        changed = [
            not np.array_equal(plan.paint(raw.copy(), np.random.default_rng(seed)), raw)
            for seed in range(20)
        ]
        # A blur of less than a fifth of a voxel is none.
        assert np.mean(changed) == pytest.approx(share, abs=0.5 if name == "blur" else 0)


def test_axes_change_places_only_where_voxel_size_and_length_agree() -> None:
    augmentation = replace(NONE, transpose=1.0)
    rng = np.random.default_rng(0)

    def orders(shape: tuple[int, ...], spacing: tuple[float, ...]) -> set[tuple[int, ...]]:
        return {augmentation.draw(rng, shape, spacing).order for _ in range(200)}

    assert len(orders((8, 8, 8), (1, 1, 1))) == 6
    assert orders((8, 8, 8), (10, 1, 1)) == {(0, 1, 2), (0, 2, 1)}
    assert orders((8, 8, 8), (10, 1, 1.05)) == {(0, 1, 2), (0, 2, 1)}
    assert orders((8, 8, 8), (10, 1, 1.2)) == {(0, 1, 2)}
    assert orders((8, 8, 9), (1, 1, 1)) == {(0, 1, 2), (1, 0, 2)}
    assert orders((8, 9), (1, 1)) == {(0, 1)}


def test_nothing_is_made_up_beyond_what_was_read() -> None:
    rng = np.random.default_rng(0)
    augmentation = replace(NONE, elastic=1.0, rotation=20.0, displacement=6.0)
    for shape, spacing in SHAPES.values():
        for _ in range(20):
            plan = augmentation.draw(rng, shape, spacing)
            for less in (0, 1, 3, 100):
                _, _, margins, read = read_with_margin(plan, less)
                assert plan.warp is not None
                warp = plan.warp.within(plan.shape, [min(pair) for pair in margins])
                found = warp.coordinates(plan.shape, [low for low, _ in margins])
                for axis, n in enumerate(read):
                    assert found[axis].min() > -0.1
                    assert found[axis].max() < n - 1 + 0.1


@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=3),
    degrees=st.floats(-40, 40),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_reach_bounds_every_displacement(sizes: list[int], degrees: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    ndim = len(sizes)
    control = rng.uniform(-3, 3, (ndim, *(4 + n // 5 for n in sizes)))
    angles = tuple((a, (a + 1) % ndim, math.radians(degrees)) for a in range(ndim))
    warp = Warp(control=control, angles=angles, spacing=tuple(rng.uniform(1, 2, ndim)))
    moved = warp.coordinates(sizes, [0] * ndim)
    still = np.stack(np.meshgrid(*[np.arange(n) for n in sizes], indexing="ij"))
    most = np.abs(moved - still).reshape(ndim, -1).max(axis=1)
    assert (most <= warp.reach(sizes) + 1e-4).all()


def test_a_quarter_turn_is_one() -> None:
    raw, ids = coordinates_of((7, 7))
    warp = Warp(control=np.zeros((2, 4, 4)), angles=((0, 1, math.pi / 2),), spacing=(1.0, 1.0))
    coordinates = warp.coordinates((7, 7), (0, 0))
    looked = ids[tuple(np.rint(coordinates).astype(int))]
    assert any(np.array_equal(looked, np.rot90(ids, k)) for k in (1, 3))
    assert warp.within((7, 7), (100, 100)).angles == warp.angles
    assert raw.shape == (2, 7, 7)


def test_equal_control_points_shift_without_bending() -> None:
    control = np.stack([np.full((4, 5), 1.5), np.full((4, 5), -2.0)])
    warp = Warp(control=control, angles=(), spacing=(1.0, 1.0))
    found = warp.coordinates((6, 9), (3, 3))
    y, x = np.mgrid[:6, :9]
    np.testing.assert_allclose(found[0], y + 3 + 1.5, atol=1e-5)
    np.testing.assert_allclose(found[1], x + 3 - 2.0, atol=1e-5)


def test_rotations_are_rigid_in_space() -> None:
    spacing = np.array([1.0, 1.08])
    warp = Warp(control=np.zeros((2, 4, 4)), angles=((0, 1, 0.3),), spacing=tuple(spacing))
    found = warp.coordinates((9, 9), (0, 0)).reshape(2, -1).T * spacing
    still = np.stack(np.mgrid[:9, :9]).reshape(2, -1).T * spacing
    for k in (0, 40):
        np.testing.assert_allclose(
            np.linalg.norm(found - found[k], axis=1),
            np.linalg.norm(still - still[k], axis=1),
            atol=1e-4,
        )


def test_nothing_moves_across_sections_far_apart() -> None:
    plan = replace(NONE, elastic=1.0).draw(np.random.default_rng(0), (6, 20, 20), (10, 1, 1))
    assert plan.margin[0] == 0
    assert min(plan.margin[1:]) > 0
    raw, ids, margins, _ = read_with_margin(plan)
    sections = plan.move(raw, ids, margins)[0][0]
    assert (sections == np.arange(6).reshape(6, 1, 1)).all()


def test_sections_slip_with_their_labels_and_only_aside() -> None:
    shifts = np.array([[0, 0], [2, -1], [2, -1], [0, 0]])
    slip = Slip(shifts=shifts)
    raw, ids = coordinates_of((4, 10, 10))
    moved, labels, left = slip.apply(raw, ids, ((0, 0), (2, 2), (1, 1)))
    assert left == ((0, 0), (0, 0), (0, 0))
    np.testing.assert_array_equal(moved, places_of(labels, (4, 10, 10)))
    np.testing.assert_array_equal(moved[1:, :, 0, 0], shifts.T + np.array([[2], [1]]))


def test_slip_goes_no_further_than_there_is_something() -> None:
    slip = Slip(shifts=np.array([[0, 0], [5, -5]]))
    raw, ids = coordinates_of((2, 6, 6))
    _, labels, left = slip.apply(raw, ids, ((0, 0), (1, 1), (0, 0)))
    assert labels.shape == (2, 4, 6)
    assert left == ((0, 0),) * 3
    np.testing.assert_array_equal(labels[1], ids[1, 2:])


def test_the_margin_of_slip_and_warp_together_suffices() -> None:
    augmentation = replace(NONE, elastic=1.0, slip=1.0, slip_strength=5.0)
    for seed in range(10):
        plan = augmentation.draw(np.random.default_rng(seed), (8, 16, 16), (10, 1, 1))
        raw, ids, margins, read = read_with_margin(plan)
        moved, labels = plan.move(raw, ids, margins)
        assert np.abs(moved - places_of(labels, read)).max() <= 0.501


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_strengths_are_relative_to_the_patch(scale: float) -> None:
    raw = np.random.default_rng(0).random((2, 6, 9, 9), np.float32)
    changes = [
        lambda r, g: appearance.change_contrast(r, g, gain=0.3, offset=0.1, gamma=0.3),
        lambda r, g: appearance.add_noise(r, g, strength=0.3),
        lambda r, g: appearance.blur(r, g, strength=1.0, spacing=(1, 1, 1)),
        lambda r, g: appearance.blank_sections(r, g, probability=0.3),
        lambda r, g: appearance.change_sections(r, g, probability=0.5, strength=0.2),
    ]
    for change in changes:
        plain = change(raw, np.random.default_rng(3))
        other = change(raw * np.float32(scale) - 7, np.random.default_rng(3))
        assert plain.dtype == other.dtype == np.float32
        np.testing.assert_allclose((other + 7) / scale, plain, atol=2e-4)


def test_contrast_keeps_the_order_of_values() -> None:
    raw = np.random.default_rng(0).random((1, 30, 30), np.float32)
    changed = appearance.change_contrast(
        raw, np.random.default_rng(1), gain=0.3, offset=0.1, gamma=0.5
    )
    order = np.argsort(raw.ravel())
    assert (np.diff(changed.ravel()[order]) >= 0).all()


def test_a_constant_patch_survives_every_change() -> None:
    raw = np.full((1, 4, 8, 8), 3.0, np.float32)
    everything = Augmentation(**{**dict.fromkeys(_names_of_appearance(), 1.0)})
    painted = everything.draw(np.random.default_rng(0), (4, 8, 8), (1.0,) * 3).paint(
        raw, np.random.default_rng(0)
    )
    assert np.isfinite(painted).all()


def _names_of_appearance() -> tuple[str, ...]:
    return ("intensity", "noise", "blur", "missing", "section_contrast")


def test_at_most_a_quarter_of_the_sections_is_blank() -> None:
    raw = np.random.default_rng(0).random((1, 8, 6, 6), np.float32)
    blank = appearance.blank_sections(raw, np.random.default_rng(0), probability=1.0)
    constant = [np.ptp(section) == 0 for section in blank[0]]
    assert sum(constant) == 2
    np.testing.assert_array_equal(blank[0][~np.array(constant)], raw[0][~np.array(constant)])


def test_missing_sections_are_as_frequent_as_asked() -> None:
    raw = np.random.default_rng(0).random((1, 40, 3, 3), np.float32)
    rng = np.random.default_rng(0)
    blank = [
        np.sum(np.ptp(appearance.blank_sections(raw, rng, probability=0.1)[0], axis=(1, 2)) == 0)
        for _ in range(200)
    ]
    assert np.mean(blank) == pytest.approx(4, abs=0.4)


def test_blur_is_as_wide_in_space_along_every_axis() -> None:
    raw = np.zeros((1, 21, 21, 21), np.float32)
    raw[0, 10, 10, 10] = 1
    spread = appearance.blur(raw, np.random.default_rng(0), strength=3.0, spacing=(2.0, 1.0, 1.0))
    offsets = np.arange(21) - 10
    widths = [
        math.sqrt((spread[0].sum(axis=tuple({0, 1, 2} - {axis})) * offsets**2).sum())
        for axis in range(3)
    ]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.1)
    assert widths[1] == pytest.approx(widths[2], rel=1e-3)


@pytest.mark.parametrize(
    ("spacing", "artefacts"), [((1, 1), False), ((1, 1, 1), False), ((10, 1, 1), True)]
)
def test_presets_spoil_sections_only_where_there_are_some(
    spacing: tuple[float, ...], artefacts: bool
) -> None:
    preset = Augmentation.for_spacing(spacing)
    assert (preset.missing > 0) == (preset.section_contrast > 0) == artefacts
    assert (preset.slip > 0) == (len(spacing) == 3)


def test_no_augmentation_needs_no_margin() -> None:
    plan = NONE.draw(np.random.default_rng(0), (4, 5, 6), (1, 1, 1))
    raw, ids = coordinates_of((4, 5, 6))
    assert plan.margin == (0, 0, 0)
    moved, labels = plan.move(raw, ids, ((0, 0),) * 3)
    np.testing.assert_array_equal(labels, ids)
    np.testing.assert_array_equal(plan.paint(moved, np.random.default_rng(0)), raw)


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("flip", 1.5, "probability from 0 to 1"),
        ("noise", -0.1, "probability from 0 to 1"),
        ("rotation", float("nan"), "number from 0"),
        ("displacement", -1, "number from 0"),
        ("gain", "much", "number from 0"),
        ("smoothness", 0.5, "at least 1 voxel"),
    ],
)
def test_values_that_mean_nothing_are_refused(name: str, value: object, needed: str) -> None:
    with pytest.raises(InputError, match=f"{name} is .*{needed}"):
        Augmentation(**{name: value})
