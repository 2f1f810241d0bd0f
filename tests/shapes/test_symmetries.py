from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.symmetries import Symmetry, asymmetric_voxels, find_symmetry

GROUPS = [("mirror", k) for k in (1, 2, 3, 5)] + [("rotation", n) for n in (2, 3, 4)]


def rotation(ndim, rng):
    if ndim == 3:
        return Rotation.random(rng=rng).as_matrix()
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def rows(axes):
    return tuple(map(tuple, np.asarray(axes, float).tolist()))


def points(shape, spacing):
    return (np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) + 0.5) * spacing


def placed(inside, shape, spacing, centre, axes):
    """Mask of a function of the coordinates along axes about a centre."""
    return inside((points(shape, spacing) - centre) @ np.transpose(axes))


def heart(q):
    """A mirror normal to axis 0, and no other symmetry."""
    radius, angle = np.hypot(q[..., 0], q[..., 1]), np.arctan2(q[..., 1], np.abs(q[..., 0]))
    flat = 1 + 0.35 * np.sin(angle) + 0.25 * np.cos(2 * angle + 0.6)
    beyond = q[..., 2] + 0.3 * q[..., 1] if q.shape[-1] == 3 else 0
    return radius**2 + beyond**2 <= (16 * flat) ** 2


def flower(order, twist=0.0):
    def inside(q):
        angle = np.arctan2(q[..., 1], q[..., 0])
        # Twisted, the two sides of a lobe differ.
        lobes = np.cos(order * angle + twist * np.cos(order * angle))
        height = np.abs(q[..., 2]) <= 13 if q.shape[-1] == 3 else True
        return (np.hypot(q[..., 0], q[..., 1]) <= 17 * (1 + 0.3 * lobes)) & height

    return inside


def letter_f():
    mask = np.zeros((120, 90), bool)
    mask[10:110, 10:26] = mask[10:26, 10:70] = mask[50:66, 10:56] = True
    return mask


@pytest.mark.parametrize(("kind", "order"), GROUPS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_elements_are_a_group(kind, order, ndim):
    axes = rotation(ndim, np.random.default_rng(order))
    symmetry = Symmetry(kind=kind, order=order, centre=(1.0,) * ndim, axes=rows(axes))
    elements = symmetry.elements()
    assert len(elements) == (2 * order - 1 if kind == "mirror" else order - 1)
    group = np.concatenate([np.eye(ndim)[None], elements])
    np.testing.assert_allclose(
        group @ group.transpose(0, 2, 1), group[:1].repeat(len(group), 0), atol=1e-12
    )
    for a in group:
        for b in group:
            assert np.isclose(group, a @ b, atol=1e-9).all(axis=(1, 2)).sum() == 1
    reflections = np.linalg.det(elements) < 0
    assert reflections.sum() == (order if kind == "mirror" else 0)
    first = np.eye(ndim) - 2 * np.outer(axes[0], axes[0])
    assert np.isclose(elements, first).all(axis=(1, 2)).sum() == (kind == "mirror")
    if ndim == 3 and (kind, order) != ("mirror", 1):
        np.testing.assert_allclose(
            elements @ axes[2], np.tile(axes[2], (len(elements), 1)), atol=1e-12
        )


def test_images_are_taken_about_the_centre():
    mirror = Symmetry(kind="mirror", order=1, centre=(3.0, 5.0), axes=((0.0, 1.0), (1.0, 0.0)))
    (image,) = mirror.images(np.array([[1.0, 1.0], [3.0, 5.0]]))
    np.testing.assert_allclose(image, [[1, 9], [3, 5]])


def counted_one_by_one(mask, symmetry, spacing):
    inside = np.argwhere(mask)
    count = 0
    for voxel in inside:
        lacks = False
        for image in symmetry.images((voxel[None] + 0.5) * spacing):
            nearest = np.floor(image[0] / spacing)
            within = (nearest >= 0).all() and (nearest < mask.shape).all()
            lacks |= within and np.abs(inside - nearest).max(axis=1).min() > 1
        count += lacks
    return count


@given(st.integers(0, 10**6), st.sampled_from(GROUPS), st.integers(2, 3))
@settings(max_examples=40, deadline=None)
def test_asymmetric_voxels_are_those_counted_one_by_one(seed, group, ndim):
    rng = np.random.default_rng(seed)
    mask = rng.random((14, 11, 6)[:ndim]) < 0.03
    spacing = rng.uniform(0.5, 2, ndim)
    symmetry = Symmetry(
        kind=group[0],
        order=group[1],
        centre=tuple(rng.uniform(0, 1, ndim) * mask.shape * spacing),
        axes=rows(rotation(ndim, rng)),
    )
    expected = counted_one_by_one(mask, symmetry, spacing)
    assert asymmetric_voxels(mask, symmetry, spacing) == expected


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_mirrored_shape_is_found_symmetric_in_any_position(seed, stretched):
    rng = np.random.default_rng(seed)
    spacing = np.array([1.7, 0.8] if stretched else [1.0, 1.0])
    shape = np.round(np.array([80, 80]) / spacing).astype(int)
    centre, axes = rng.uniform(37, 43, 2), rotation(2, rng)
    mask = placed(heart, shape, spacing, centre, axes)
    true = Symmetry(kind="mirror", order=1, centre=tuple(centre), axes=rows(axes))
    assert asymmetric_voxels(mask, true, spacing) == 0
    found = find_symmetry(mask, spacing)
    assert asymmetric_voxels(mask, found, spacing) == 0
    assert abs(np.dot(found.axes[0], axes[0])) > 0.995


@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.8, 0.8)])
@pytest.mark.parametrize("seed", range(3))
def test_a_mirror_of_a_solid_is_found(spacing, seed):
    rng = np.random.default_rng(seed)
    shape = np.round(60 / np.array(spacing)).astype(int)
    axes = rotation(3, rng)
    mask = placed(heart, shape, spacing, rng.uniform(28, 32, 3), axes)
    found = find_symmetry(mask, spacing)
    assert asymmetric_voxels(mask, found, spacing) == 0
    assert abs(np.dot(found.axes[0], axes[0])) > 0.99


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize(
    ("kind", "order", "twist"),
    [
        ("mirror", 2, 0),
        ("mirror", 3, 0),
        ("mirror", 5, 0),
        ("rotation", 3, 0.9),
        ("rotation", 4, 0.9),
    ],
)
def test_flowers_have_the_symmetry_of_their_lobes(kind, order, twist, ndim):
    rng = np.random.default_rng(order)
    centre, axes = rng.uniform(28, 32, ndim), rotation(ndim, rng)
    mask = placed(flower(order, twist), (60,) * ndim, 1, centre, axes)
    found = find_symmetry(mask, kind=kind, order=order)
    assert asymmetric_voxels(mask, found) == 0
    other = find_symmetry(mask, kind=kind, order=order + 2)
    assert asymmetric_voxels(mask, other) > 0.01 * mask.sum()
    away = np.array(found.centre) - centre
    if ndim == 3:
        assert abs(np.dot(found.axes[2], axes[2])) > 0.99
        # Where along its axis the centre lies makes no difference.
        away -= axes[2] * (away @ axes[2])
    assert np.linalg.norm(away) < 1


def test_a_pinwheel_has_no_mirror_and_letters_have_no_symmetry():
    mask = placed(flower(3, 0.9), (120, 120), 0.5, (30, 30), np.eye(2))
    assert asymmetric_voxels(mask, find_symmetry(mask, order=3)) > 0.005 * mask.sum()
    assert asymmetric_voxels(mask, find_symmetry(mask, kind="rotation", order=3)) == 0
    letter = letter_f()
    for kind, order in (("mirror", 1), ("mirror", 2), ("rotation", 2), ("rotation", 3)):
        found = find_symmetry(letter, kind=kind, order=order)
        assert asymmetric_voxels(letter, found) > 0.1 * letter.sum()


def test_what_the_border_cut_off_is_not_missed():
    axes = rotation(2, np.random.default_rng(3))
    whole = placed(heart, (80, 80), 1, (40, 40), axes)
    cut = whole[30:]
    true = Symmetry(kind="mirror", order=1, centre=(10.0, 40.0), axes=rows(axes))
    assert asymmetric_voxels(cut, true) == 0
    # The same voxels within a larger grid do lack their images.
    assert (
        asymmetric_voxels(np.where(np.arange(80)[:, None] < 30, False, whole), find_symmetry(whole))
        > 50
    )
    found = find_symmetry(cut)
    assert asymmetric_voxels(cut, found) == 0
    assert abs(np.dot(found.axes[0], axes[0])) > 0.98


def test_a_hole_without_a_counterpart_is_found_from_the_other_side():
    mask = np.zeros((40, 40), bool)
    mask[5:35, 5:35] = True
    mirror = Symmetry(kind="mirror", order=1, centre=(20.0, 20.0), axes=((1.0, 0.0), (0.0, 1.0)))
    assert asymmetric_voxels(mask, mirror) == 0
    mask[8:13, 8:13] = False
    # The images of 5 x 5 voxels fall into the hole; its rim is within a voxel of the mask.
    assert asymmetric_voxels(mask, mirror) == 9


@pytest.mark.parametrize("seed", range(5))
def test_the_unit_of_length_makes_no_difference(seed):
    rng = np.random.default_rng(seed)
    mask = placed(heart, (60, 60), 1, rng.uniform(28, 32, 2), rotation(2, rng))
    one, other = find_symmetry(mask), find_symmetry(mask, (1e-6, 1e-6))
    np.testing.assert_allclose(np.array(other.centre) * 1e6, one.centre, atol=0.2)
    assert asymmetric_voxels(mask, other, (1e-6, 1e-6)) == 0


@pytest.mark.parametrize(("kind", "order"), GROUPS)
def test_degenerate_masks_have_a_symmetry(kind, order):
    point = np.zeros((4, 5), bool)
    point[3, 1] = True
    line = np.zeros((9, 9, 9), np.uint8)
    line[4, 4, 2:8] = 7
    for mask in (point, np.zeros((4, 5)), np.zeros((3, 4, 5), bool), line[4], line):
        found = find_symmetry(mask, kind=kind, order=order)
        assert np.isfinite(found.centre).all()
        if mask.ndim == 3 or mask is point:
            assert asymmetric_voxels(mask, found) == 0
    full = np.ones((20, 30))
    if order <= 2:
        assert asymmetric_voxels(full, find_symmetry(full, kind=kind, order=order)) == 0


def test_groups_and_frames_that_are_none_are_refused():
    good = {"kind": "mirror", "order": 1, "centre": (0.0, 0.0), "axes": rows(np.eye(2))}
    for change, message in (
        ({"kind": "glide"}, "kind of symmetry is 'glide'; use one of 'mirror', 'rotation'"),
        ({"order": 0}, "order is 0; a mirror takes 1 or more"),
        ({"kind": "rotation"}, "order is 1; a rotation takes 2 or more"),
        ({"centre": (0.0,)}, "give two or three finite numbers"),
        ({"centre": (0.0, float("nan"))}, "give two or three finite numbers"),
        ({"axes": rows(np.eye(3))}, "give 2 rows of 2 numbers"),
        ({"axes": ((1.0, 0.0), (1.0, 0.0))}, "at right angles"),
    ):
        with pytest.raises(InputError, match=message):
            Symmetry(**(good | change))
    with pytest.raises(InputError, match="symmetry has 2 axes but the mask has 3"):
        asymmetric_voxels(np.ones((2, 2, 2)), Symmetry(**good))
    with pytest.raises(InputError, match="order is 1; a rotation"):
        find_symmetry(np.ones((3, 3)), kind="rotation")


@pytest.mark.parametrize("spacing", [(1,), (1, 2, 3), (1, 0), (1, -2), (1, float("inf")), "ab", 2])
def test_spacings_that_are_none_are_refused(spacing):
    with pytest.raises(InputError, match="give one positive number for each of the 2 axes"):
        find_symmetry(np.ones((3, 3)), spacing)


def test_a_letter_at_the_border_is_not_completed_to_twice_its_size():
    """About the middle of its stem nearly half of it would have its images outside the grid."""
    letter = letter_f()[:, 10:]
    assert asymmetric_voxels(letter, find_symmetry(letter)) > 0
