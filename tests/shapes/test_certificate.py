from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from scipy.optimize import linprog

from napari_implicitseg import certify
from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.certificate import digital_hull
from napari_implicitseg.shapes.symmetries import Symmetry


def hull_by_linear_programs(mask):
    """A voxel is in the hull if it is a convex combination of the mask's voxels."""
    points = np.argwhere(mask)
    out = mask.copy()
    for voxel in np.argwhere(~mask):
        found = linprog(
            np.zeros(len(points)),
            A_eq=np.vstack([points.T, np.ones(len(points))]),
            b_eq=np.append(voxel, 1),
            bounds=(0, None),
        )
        out[tuple(voxel)] = found.status == 0
    return out


@settings(max_examples=60, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=3, max_side=5)))
def test_the_hull_is_exact_on_any_small_mask(mask):
    expected = hull_by_linear_programs(mask) if mask.any() else mask
    np.testing.assert_array_equal(digital_hull(mask), expected)


def ball(ndim, size=40, radius=15.3):
    grid = np.stack(np.meshgrid(*[np.arange(size)] * ndim, indexing="ij"), -1)
    return np.linalg.norm(grid - (size - 1) / 2, axis=-1) <= radius


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_ball_is_convex_and_every_single_dent_is_found(ndim):
    mask = ball(ndim)
    assert certify(mask, kind="convex").holds
    rng = np.random.default_rng(0)
    inner = np.argwhere(ball(ndim, radius=13))
    for voxel in inner[rng.integers(len(inner), size=30)]:
        dented = mask.copy()
        dented[tuple(voxel)] = False
        certificate = certify(dented, kind="convex")
        assert not certificate.holds
        assert certificate.detail == "1 voxels of its convex hull are outside the mask"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.integers(-1000, 1000)] * 3, st.integers(500, 9000)),
        min_size=1,
        max_size=12,
    )
)
def test_voxels_of_half_spaces_are_convex(planes):
    # In integers, so that nothing is rounded at the planes.
    grid = 2 * np.stack(np.meshgrid(*[np.arange(14)] * 3, indexing="ij"), -1) - 13
    mask = np.ones(grid.shape[:3], bool)
    for *normal, bound in planes:
        mask &= grid @ np.array(normal) <= 2 * bound
    assert certify(mask, kind="convex").holds


@given(arrays(bool, array_shapes(min_dims=2, max_dims=3, max_side=6)))
@settings(max_examples=50, deadline=None)
def test_the_hull_is_a_closure(mask):
    hull = digital_hull(mask)
    assert (hull | mask == hull).all()
    np.testing.assert_array_equal(digital_hull(hull), hull)
    grown = hull.copy()
    grown.flat[0] = True
    assert (digital_hull(grown) | hull == digital_hull(grown)).all()


def test_pieces_are_counted_with_full_connectivity():
    mask = np.zeros((6, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    certificate = certify(mask, kind="connected")
    assert (certificate.holds, certificate.components) == (False, 2)
    assert certify(mask[:3], kind="connected").holds


def test_an_empty_mask_keeps_every_promise():
    for kind in ("convex", "connected", "star", "symmetric", "none"):
        certificate = certify(np.zeros((4, 5), np.uint8), kind=kind)
        assert (certificate.holds, certificate.components) == (True, 0)


def test_unknown_kinds_and_dimensions_are_refused():
    with pytest.raises(InputError, match="kind is 'round'; use one of 'convex'"):
        certify(np.ones((3, 3)), kind="round")
    with pytest.raises(InputError, match="has 1 axes"):
        certify(np.ones(3), kind="convex")


@given(st.integers(0, 10**6))
@settings(max_examples=200, deadline=None)
def test_pieces_of_a_convex_mask_are_counted_as_scipy_does(seed):
    """Convex on the grid is not always in one piece: thin slanting masks are dotted lines."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((14, 17), bool)
    mask[tuple(rng.integers(0, (14, 17), (rng.integers(1, 5), 2)).T)] = True
    hull = digital_hull(mask)
    certificate = certify(hull, kind="convex")
    assert certificate.holds
    assert certificate.components == ndimage.label(hull, np.ones((3, 3)))[1]


def ring():
    return ball(2) & ~ball(2, radius=6)


def test_a_star_shape_is_seen_from_its_centre():
    r_of_theta = 12 * (1 + 0.4 * np.cos(5 * np.arctan2(*(np.mgrid[:40, :40] - 19.6))))
    star = np.hypot(*(np.mgrid[:40, :40] - 19.6)) <= r_of_theta
    assert not certify(star, kind="convex").holds
    assert certify(star, kind="star").holds
    assert certify(star, kind="star", centre=(19.6, 19.6)).holds
    assert certify(ball(3), kind="star").components == 1


def test_what_no_centre_sees_is_counted():
    certificate = certify(ring(), kind="star", centre=(19.5, 4))
    assert not certificate.holds
    assert certificate.detail.endswith("voxels cannot be seen from the centre (19.5, 4)")
    best = certify(ring(), kind="star")
    assert "voxels cannot be seen from the best centre found, (" in best.detail
    assert int(best.detail.split()[0]) <= int(certificate.detail.split()[0])
    # Nothing is seen from a place that is not in the mask.
    outside = certify(ring(), kind="star", centre=(19, 19))
    assert outside.detail.startswith(f"{ring().sum()} voxels cannot be seen")


def test_a_half_is_symmetric_about_one_mirror_only():
    half = ball(2)
    half[:20] = False
    mirror = {"kind": "mirror", "order": 1, "centre": (20.0, 20.0)}
    along = Symmetry(**mirror, axes=((0.0, 1.0), (1.0, 0.0)))
    across = Symmetry(**mirror, axes=((1.0, 0.0), (0.0, 1.0)))
    assert certify(half, kind="symmetric").holds
    assert certify(half, kind="symmetric", symmetry=along).holds
    broken = certify(half, kind="symmetric", symmetry=across)
    assert not broken.holds
    assert broken.detail.endswith("voxels have no counterpart in the mask")
    # Cut by the border of the grid it may be the half of a disc.
    across = Symmetry(**(mirror | {"centre": (0.0, 20.0)}), axes=across.axes)
    assert certify(half[20:], kind="symmetric", symmetry=across).holds


def test_a_letter_has_no_mirror():
    letter = np.zeros((70, 60), bool)
    letter[10:60, 10:18] = letter[10:18, 10:40] = letter[30:38, 10:32] = True
    certificate = certify(letter, kind="symmetric")
    assert not certificate.holds
    assert "have no counterpart across the best mirror found, through (" in certificate.detail


def test_spacing_turns_oblique_mirrors():
    mask = np.zeros((60, 30), bool)
    mask[10:50, 10:20] = True
    diagonal = {
        "kind": "mirror",
        "order": 1,
        "axes": ((0.5**0.5, 0.5**0.5), (0.5**0.5, -(0.5**0.5))),
    }
    isotropic = Symmetry(**diagonal, centre=(30.0, 15.0))
    assert not certify(mask, kind="symmetric", symmetry=isotropic).holds
    stretched = Symmetry(**diagonal, centre=(30.0, 60.0))
    assert certify(mask, kind="symmetric", symmetry=stretched, spacing=(1, 4)).holds


def test_centres_spacings_and_symmetries_of_other_dimensions_are_refused():
    mask = np.ones((3, 3))
    with pytest.raises(InputError, match="centre is .*; give one voxel index for each of the 2"):
        certify(mask, kind="star", centre=(1, 1, 1))
    with pytest.raises(
        InputError, match="spacing is .*; give one positive number for each of the 2"
    ):
        certify(mask, kind="symmetric", spacing=(1, 1, 1))
    mirror = Symmetry(kind="mirror", order=1, centre=(0.0,) * 3, axes=tuple(map(tuple, np.eye(3))))
    with pytest.raises(InputError, match="symmetry has 3 axes but the mask has 2"):
        certify(mask, kind="symmetric", symmetry=mirror)


@pytest.mark.parametrize("kind", ["star", "symmetric"])
def test_a_voxel_a_line_and_the_full_grid_keep_every_promise(kind):
    for mask in (np.eye(1), np.eye(12), np.ones((7, 9), np.uint8), np.ones((4, 1, 6), bool)):
        assert certify(mask, kind=kind).holds


def test_what_is_masked_is_outside():
    mask = np.ma.masked_array(np.ones((9, 9), int), mask=False)
    mask[4] = np.ma.masked
    certificate = certify(mask, kind="connected")
    assert (certificate.holds, certificate.components) == (False, 2)


def test_the_family_without_a_promise_may_be_asked_for():
    mask = np.eye(5, dtype=bool)
    assert certify(mask, kind="free") == certify(mask, kind="none")
