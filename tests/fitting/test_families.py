"""What `fit_scribbles` promises for the families that are not convex."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import FitConfig, FitResult, certify, fit_scribbles
from napari_implicitseg.errors import Cancelled
from napari_implicitseg.shapes import ConnectedShape, FreeShape, StarShape, SymmetricShape

KINDS = {"connected": "connected", "star": "star", "symmetric": "symmetric", "free": "none"}
CLASSES = {
    "connected": ConnectedShape,
    "star": StarShape,
    "symmetric": SymmetricShape,
    "free": FreeShape,
}
QUICK = FitConfig(steps=60)


def noisy(truth, seed=0):
    return 0.5 * truth + np.random.default_rng(seed).normal(0, 0.05, truth.shape)


def crescent():
    """A ring that is open to the left, a stroke along all of it and one of background inside."""
    y, x = np.mgrid[:72, :72] - 35.5
    radius, angle = np.hypot(y, x), np.arctan2(y, x)
    truth = (np.abs(radius - 22) < 7) & (np.abs(angle) < 2.4)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[(np.abs(radius - 22) < 1) & (np.abs(angle) < 2.2)] = 2
    strokes[34:38, 20:48] = strokes[1, 3:-3] = 1
    return truth, strokes


def flower():
    """Five petals: star-shaped, symmetric to a turn by a fifth and to five mirrors."""
    y, x = np.mgrid[:72, :72] - 35.5
    truth = np.hypot(y, x) < 22 + 6 * np.cos(5 * np.arctan2(y, x) + 0.4)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[35:37, 28:44] = 2
    strokes[1, 3:-3] = 1
    return truth, strokes


def solid(draw):
    truth = draw.ellipsoid((16, 32, 32), (8, 16, 15), (5, 11, 8), turn=0.4)
    strokes = draw.strokes(truth.shape, (8, 16, 15), half=4)
    strokes[8, 1, 3:-3] = 1
    return truth, strokes


def two_discs():
    """Discs that touch, under the labels 2 and 9."""
    y, x = np.mgrid[:60, :90]
    left, right = np.hypot(y - 30, x - 28) < 17, np.hypot(y - 30, x - 62) < 17
    strokes = np.zeros(left.shape, np.uint8)
    strokes[29:31, 20:36], strokes[29:31, 54:70], strokes[2] = 2, 9, 1
    return left, right, strokes


def checked(result, label, shape):
    """The certificate of an object, which has to be what a check of its voxels says."""
    certificate = result.certificates[label]
    mask = result.labels == label
    assert certificate.kind == KINDS[shape]
    known = {}
    if shape == "symmetric":
        spacing = np.asarray(result.spacing) / max(np.multiply(mask.shape, result.spacing))
        known = {"symmetry": result.shapes[label].symmetry(1.0), "spacing": spacing}
    if shape != "star":  # Whose centre is that of the shape, rounded into the mask's box.
        assert certify(mask, kind=KINDS[shape], **known).holds == certificate.holds
    assert certify(mask, kind="none").components == certificate.components
    return certificate


@pytest.mark.parametrize("shape", KINDS)
def test_an_easy_object_is_found_and_certified(scene, shape, draw):
    result = fit_scribbles(scene.image, scene.scribbles, shape=shape)
    assert result.labels.dtype == np.uint32
    assert isinstance(result.shapes[2], CLASSES[shape])
    assert draw.iou(result.labels == 2, scene.truth) > 0.95
    certificate = checked(result, 2, shape)
    assert (certificate.holds, certificate.components) == (True, 1)
    assert (result.report.unsatisfied, result.report.warnings) == ((), ())
    assert result.history["loss/2"][-1] < result.history["loss/2"][0]


@pytest.mark.parametrize("shape", KINDS)
def test_a_solid_is_found_and_certified(shape, draw):
    truth, strokes = solid(draw)
    result = fit_scribbles(noisy(truth), strokes, shape=shape, config=FitConfig(steps=100))
    assert draw.iou(result.labels == 2, truth) > 0.9
    certificate = checked(result, 2, shape)
    assert (certificate.holds, certificate.components) == (True, 1)


@pytest.mark.parametrize("shape", KINDS)
def test_voxel_sizes_are_respected(shape, draw):
    spacing = (2.5, 1.0)
    truth = draw.ellipsoid((32, 80), (16, 40), (30, 20), turn=0.7, spacing=spacing)
    strokes = draw.strokes(truth.shape, (16, 40), half=8)
    result = fit_scribbles(noisy(truth), strokes, shape=shape, spacing=spacing)
    assert draw.iou(result.labels == 2, truth) > 0.9
    assert checked(result, 2, shape).holds


def test_a_connected_shape_follows_a_bend_that_a_convex_one_cannot(draw):
    truth, strokes = crescent()
    bent, hull = (
        fit_scribbles(noisy(truth), strokes, shape=s).labels == 2 for s in ("connected", "convex")
    )
    assert draw.iou(bent, truth) > 0.95
    assert draw.iou(bent, truth) > draw.iou(hull, truth) + 0.1


def test_a_realnvp_fits_too_and_is_joined(draw):
    truth, strokes = crescent()
    config = FitConfig(flow="realnvp", steps=100)
    result = fit_scribbles(noisy(truth), strokes, shape="connected", config=config)
    assert result.shapes[2].flow.kind == "realnvp"
    assert checked(result, 2, "connected").holds
    assert draw.iou(result.labels == 2, truth) > 0.7


def test_a_star_has_its_petals_and_sees_them_from_its_centre(draw):
    truth, strokes = flower()
    result = fit_scribbles(noisy(truth), strokes, shape="star")
    mask = result.labels == 2
    assert draw.iou(mask, truth) > 0.93
    centre = result.shapes[2].star_centre.numpy() * 72 - 0.5
    np.testing.assert_allclose(centre, 35.5, atol=6)
    assert certify(mask, kind="star", centre=np.rint(centre)).holds


@pytest.mark.parametrize("family", ["convex", "connected", "star", "free"])
@pytest.mark.parametrize(("symmetry", "order"), [("mirror", 1), ("mirror", 5), ("rotation", 5)])
def test_any_family_is_made_symmetric(family, symmetry, order, draw):
    truth, strokes = flower()
    config = FitConfig(symmetric_family=family, symmetry=symmetry, order=order, steps=120)
    result = fit_scribbles(noisy(truth), strokes, shape="symmetric", config=config)
    shape = result.shapes[2]
    assert (shape.group, shape.order) == (symmetry, order)
    assert checked(result, 2, "symmetric").holds
    assert draw.iou(result.labels == 2, truth) > (0.7 if family == "convex" else 0.88)
    if family == "convex":
        assert certify(result.labels == 2, kind="convex").holds


def test_half_a_symmetric_object_is_completed_beyond_what_hides_it(draw):
    y, x = np.mgrid[:80, :80] - 39.5
    truth = (np.hypot(y / 1.3, x) < 24) & ~(np.hypot(y - 4, x) < 9)
    strokes = np.zeros(truth.shape, np.uint8)
    strokes[15:25, 34:46], strokes[35:52, 20:24], strokes[1], strokes[42:46, 36:44] = 2, 2, 1, 1
    result = fit_scribbles(noisy(truth), strokes, shape="symmetric")
    assert draw.iou(result.labels == 2, truth) > 0.9
    assert checked(result, 2, "symmetric").holds


@pytest.mark.parametrize("shape", KINDS)
def test_touching_objects_share_no_voxel_and_keep_their_strokes(shape, draw):
    left, right, strokes = two_discs()
    result = fit_scribbles(noisy(left | right), strokes, shape=shape)
    assert set(np.unique(result.labels)) == {0, 2, 9}
    for label, truth in ((2, left), (9, right)):
        assert draw.iou(result.labels == label, truth) > 0.85
        assert (result.labels[strokes == label] == label).all()
        if shape == "connected":
            assert result.certificates[label].holds


@pytest.mark.parametrize("shape", KINDS)
def test_a_stroke_of_background_takes_a_part_away(shape, draw):
    y, x = np.mgrid[:72, :72] - 35.5
    body, lobe = np.hypot(y, x + 8) < 16, np.hypot(y, x - 14) < 12
    image = noisy(body | lobe)
    strokes = np.zeros(body.shape, np.uint8)
    strokes[33:39, 20:32], strokes[2] = 2, 1
    strokes[26:46, 47] = strokes[36, 47:62] = 1
    result = fit_scribbles(image, strokes, shape=shape)
    assert (result.labels[strokes == 2] == 2).all()
    wrong = (result.labels == 2)[strokes == 1]
    assert wrong.mean() < 0.1
    told = sum(s.voxels for s in result.report.unsatisfied if s.label == 1)
    assert told == wrong.sum()


@pytest.mark.parametrize("shape", KINDS)
def test_same_input_same_result(scene, shape):
    first, second = (
        fit_scribbles(scene.image, scene.scribbles, shape=shape, seed=3, config=QUICK)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.history == second.history
    assert first.certificates == second.certificates


def test_the_seed_chooses_the_points_that_are_looked_at(scene):
    losses = [
        fit_scribbles(scene.image, scene.scribbles, shape="star", seed=s, config=QUICK).history
        for s in (0, 1)
    ]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("shape", KINDS)
def test_slices_are_fitted_on_their_own(shape, scene, draw):
    stack = np.stack([scene.image, scene.image[::-1], scene.image])
    strokes = np.stack([scene.scribbles, scene.scribbles[::-1], 0 * scene.scribbles])
    config = FitConfig(per_slice=True, steps=60)
    result = fit_scribbles(stack, strokes, shape=shape, config=config)
    assert draw.iou(result.labels[0] == 2, scene.truth) > 0.9
    assert draw.iou(result.labels[1] == 2, scene.truth[::-1]) > 0.9
    assert not result.labels[2].any()
    assert (result.certificates[2].kind, result.certificates[2].holds) == (KINDS[shape], True)
    np.testing.assert_array_equal(result.shapes[2].rasterize(stack.shape)[2], False)


@pytest.mark.parametrize("shape", KINDS)
def test_a_warm_start_takes_fewer_steps_and_follows_a_new_stroke(shape, draw):
    truth, strokes = crescent() if shape in ("connected", "free") else flower()
    first = fit_scribbles(noisy(truth), strokes, shape=shape, config=QUICK)
    more = strokes.copy()
    more[70, 3:-3] = 1
    again = fit_scribbles(noisy(truth), more, shape=shape, config=QUICK, warm_start=first)
    assert again.certificates[2].holds
    assert draw.iou(again.labels == 2, truth) > draw.iou(first.labels == 2, truth) - 0.05
    if shape != "symmetric":  # Whose axes are found anew.
        assert not first.report.unsatisfied
        assert len(again.history["loss/2"]) < len(first.history["loss/2"])


def test_a_warm_start_of_another_family_is_a_fresh_start(scene):
    star = fit_scribbles(scene.image, scene.scribbles, shape="star", config=QUICK)
    kwargs = {"shape": "free", "config": QUICK}
    fresh = fit_scribbles(scene.image, scene.scribbles, **kwargs)
    after = fit_scribbles(scene.image, scene.scribbles, warm_start=star, **kwargs)
    np.testing.assert_array_equal(fresh.labels, after.labels)
    assert fresh.history == after.history


@pytest.mark.parametrize("shape", KINDS)
def test_a_fit_can_be_cancelled_at_any_step(scene, shape):
    seen = []

    def stop(fraction, message):
        seen.append((fraction, message))
        if message == "Fitting shapes" and len(seen) > 30:
            raise Cancelled

    with pytest.raises(Cancelled):
        fit_scribbles(scene.image, scene.scribbles, shape=shape, progress=stop)
    assert all(0 <= fraction < 1 for fraction, _ in seen)
    assert len(seen) < 60


@pytest.mark.parametrize("shape", KINDS)
def test_results_come_back_from_a_file(scene, shape, tmp_path):
    result = fit_scribbles(scene.image, scene.scribbles, shape=shape, config=QUICK)
    result.save(tmp_path / "fit.safetensors")
    again = FitResult.load(tmp_path / "fit.safetensors")
    assert again.certificates == result.certificates
    size = (150, 150)
    np.testing.assert_array_equal(again.shapes[2].rasterize(size), result.shapes[2].rasterize(size))
