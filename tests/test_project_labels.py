"""What `project_labels` promises, on label images of any tool."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import FitConfig, certify, project_labels
from napari_implicitseg.errors import Cancelled, InputError

from .conftest import iou

KINDS = {
    "convex": "convex",
    "connected": "connected",
    "star": "star",
    "symmetric": "symmetric",
    "free": "none",
}
QUICK = FitConfig(steps=60)


def ellipse(shape, centre, radii, turn=0.0):
    y, x = (np.arange(n) - c for n, c in zip(shape, centre, strict=True))
    y, x = np.meshgrid(y, x, indexing="ij")
    along, across = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def cells(rows=2, columns=3, *, seed=0):
    """Ellipses on a lattice, with ids that have holes."""
    rng = np.random.default_rng(seed)
    out = np.zeros((48 * rows, 48 * columns), np.int32)
    for number, (row, column) in enumerate(np.ndindex(rows, columns)):
        centre = 24 + 48 * np.array([row, column]) + rng.uniform(-2, 2, 2)
        out[ellipse(out.shape, centre, rng.uniform(13, 19, 2), rng.uniform(0, 3))] = 3 + 7 * number
    return out


def damaged(truth, *, seed=0):
    """A bite, a cut, a bump or a crumb per object, in turn."""
    rng = np.random.default_rng(seed)
    out = truth.copy()
    y, x = np.indices(truth.shape)
    for number, label in enumerate(np.unique(truth[truth > 0])):
        mask = truth == label
        centre = np.argwhere(mask).mean(axis=0)
        angle = rng.uniform(0, 2 * np.pi)
        reach = np.sqrt(mask.sum() / np.pi)
        dy, dx = y - centre[0], x - centre[1]
        edge = np.hypot(dy - reach * np.sin(angle), dx - reach * np.cos(angle))
        match number % 4:
            case 0:
                out[mask & (edge < 7)] = 0
            case 1:
                out[mask & (np.abs(dx * np.sin(angle) - dy * np.cos(angle)) < 1.5)] = 0
            case 2:
                out[(edge < 5) & (truth == 0)] = label
            case _:
                far = np.hypot(dy - 21 * np.sin(angle), dx - 21 * np.cos(angle))
                out[(far < 2.5) & (truth == 0)] = label
    return out


@pytest.fixture(scope="module")
def scene():
    truth = cells()
    return truth, damaged(truth)


def spacing_of(result):
    """Voxel size in the coordinates of the shapes."""
    sides = np.multiply(result.labels.shape, result.spacing)
    return np.asarray(result.spacing) / sides.max()


@pytest.mark.parametrize("shape", KINDS)
def test_certificates_hold_on_damaged_masks_and_are_those_of_their_voxels(scene, shape):
    truth, labels = scene
    result = project_labels(labels, shape=shape)
    ids = np.unique(truth[truth > 0]).tolist()
    assert list(result.certificates) == ids
    for label in ids:
        mask, certificate = result.labels == label, result.certificates[label]
        assert (certificate.kind, certificate.holds) == (KINDS[shape], True)
        assert certify(mask, kind="none").components == certificate.components
        if shape in ("convex", "connected"):
            assert certify(mask, kind=KINDS[shape]).holds
        if shape == "symmetric":
            symmetry = result.shapes[label].symmetry(1.0)
            spacing = spacing_of(result)
            assert certify(mask, kind="symmetric", symmetry=symmetry, spacing=spacing).holds
        if shape not in ("symmetric", "free"):
            assert certificate.components == 1


@pytest.mark.parametrize(("symmetry", "order"), [("mirror", 1), ("rotation", 2)])
def test_what_is_symmetric_and_connected_is_one_piece_too(scene, symmetry, order):
    config = FitConfig(symmetry=symmetry, order=order, symmetric_family="connected")
    result = project_labels(scene[1], shape="symmetric", config=config)
    assert {c.holds for c in result.certificates.values()} == {True}
    assert {c.components for c in result.certificates.values()} == {1}


@pytest.mark.parametrize("shape", KINDS)
def test_labels_keep_ids_and_type_and_little_changes(scene, shape):
    _, labels = scene
    before = labels.copy()
    result = project_labels(labels, shape=shape, config=QUICK)
    np.testing.assert_array_equal(labels, before)
    assert (result.labels.dtype, result.labels.shape) == (np.uint32, labels.shape)
    assert set(np.unique(result.labels)) == set(np.unique(labels))
    assert set(result.shapes) == set(result.report.agreement) == set(np.unique(labels)) - {0}
    for label, agreement in result.report.agreement.items():
        assert agreement == pytest.approx(iou(result.labels == label, labels == label))
        assert agreement > 0.6
    assert (result.report.unchanged, result.report.warnings) == ((), ())


def test_damaged_convex_objects_come_out_nearer_to_the_truth(scene):
    truth, labels = scene
    result = project_labels(labels)
    before, after = (
        np.mean([iou(a == k, truth == k) for k in np.unique(truth[truth > 0])])
        for a in (labels, result.labels)
    )
    assert after > before + 0.02
    assert after > 0.95


@pytest.mark.parametrize("shape", KINDS)
def test_what_is_of_the_family_already_hardly_changes(shape):
    agreement = project_labels(cells(1, 2, seed=4), shape=shape).report.agreement
    assert min(agreement.values()) > 0.95


@pytest.mark.parametrize("shape", ["convex", "connected"])
def test_only_chosen_ids_are_repaired(scene, shape):
    truth, labels = scene
    chosen = np.unique(truth[truth > 0])[[1, 3]].tolist()
    result = project_labels(labels, shape=shape, ids=chosen, config=QUICK)
    assert set(result.shapes) == set(result.certificates) == set(chosen)
    others = (labels > 0) & ~np.isin(labels, chosen)
    np.testing.assert_array_equal(result.labels[others], labels[others])
    assert not np.isin(result.labels[~others], np.setdiff1d(labels[others], chosen)).any()
    assert (result.labels != labels).any()


def test_ids_that_are_not_there_are_refused(scene):
    with pytest.raises(InputError, match=r"no object 4, 5 in the labels; they hold 6 objects"):
        project_labels(scene[1], ids=[3, 5, 4])


@pytest.mark.parametrize("shape", KINDS)
def test_objects_too_small_for_any_shape_stay_and_are_listed(shape):
    labels = np.zeros((40, 40), np.uint16)
    labels[10:28, 8:30] = 500
    labels[2, 2], labels[35, 3:5], labels[36:38, 36], labels[38, 36] = 7, 8, 60000, 60000
    result = project_labels(labels, shape=shape, config=QUICK)
    assert result.report.unchanged == (7, 8, 60000)
    for label in result.report.unchanged:
        np.testing.assert_array_equal(result.labels == label, labels == label)
        assert result.report.agreement[label] == 1
        assert label in result.certificates
        assert label not in result.shapes
    assert any("Objects 7, 8, 60000 are too small" in w for w in result.report.warnings)


def test_the_largest_id_is_kept():
    labels = np.zeros((30, 30), np.int64)
    labels[5:20, 5:20] = 2**32 - 1
    assert project_labels(labels).labels.max() == 2**32 - 1
    with pytest.raises(InputError, match="the largest id is 4294967295"):
        project_labels(labels * 2)


@pytest.mark.parametrize("shape", KINDS)
def test_objects_at_the_border_stay_there(shape):
    labels = np.zeros((60, 60), np.uint8)
    labels[:20, :25], labels[40:], labels[25:35, 50:] = 4, 9, 2
    result = project_labels(labels, shape=shape, config=QUICK)
    assert all(c.holds for c in result.certificates.values())
    assert min(result.report.agreement.values()) > 0.85
    assert (result.labels[0, 0], result.labels[59, 0], result.labels[59, 59]) == (4, 9, 9)


@pytest.mark.parametrize("shape", KINDS)
def test_an_object_that_fills_the_image_keeps_filling_it(shape):
    result = project_labels(np.full((30, 40), 6), shape=shape, config=QUICK)
    assert (result.labels == 6).mean() > 0.98
    assert result.certificates[6].holds


@pytest.mark.parametrize("shape", KINDS)
def test_labels_without_objects_stay_empty_and_are_told_of(shape):
    for empty in (np.zeros((9, 12), int), np.zeros((4, 5, 6))):
        result = project_labels(empty, shape=shape)
        assert result.labels.shape == empty.shape
        assert not result.labels.any()
        assert not result.shapes
        assert "no object" in result.report.warnings[0]


def test_labels_without_voxels_stay_without():
    result = project_labels(np.zeros((0, 5), int))
    assert result.labels.shape == (0, 5)
    assert "no object" in result.report.warnings[0]


def far_apart():
    labels = np.zeros((80, 80), np.uint8)
    labels[10:25, 10:25] = labels[60:75, 55:70] = 1
    labels[10:30, 50:70] = 2
    return labels


@pytest.mark.parametrize("shape", ["convex", "connected", "star", "symmetric"])
def test_two_far_pieces_of_one_id_are_joined_and_told_of(shape):
    labels = far_apart()
    result = project_labels(labels, shape=shape)
    assert result.certificates[1].components == 1
    assert any(w.startswith("Object 1 is in pieces far apart") for w in result.report.warnings)
    assert not any(w.startswith("Object 2") for w in result.report.warnings)
    if shape == "connected":
        assert result.certificates[1].holds
        assert (result.labels == 1)[labels == 1].mean() > 0.97
        assert (result.labels == 1).sum() < 1.6 * (labels == 1).sum()


def test_a_free_shape_joins_no_far_pieces_and_does_not_say_so():
    result = project_labels(far_apart(), shape="free")
    assert result.certificates[1].components == 2
    assert not any("now joins them" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("shape", KINDS)
def test_touching_objects_stay_disjoint(shape):
    labels = np.zeros((60, 80), np.uint8)
    labels[ellipse(labels.shape, (30, 26), (20, 18))] = 1
    labels[ellipse(labels.shape, (30, 54), (20, 18)) & (labels == 0)] = 2
    labels[26:34, 40:48] = 1  # A tongue of one into the other.
    result = project_labels(labels, shape=shape)
    assert all(v > 0.85 for v in result.report.agreement.values())
    if shape in ("convex", "connected"):
        assert all(c.holds for c in result.certificates.values())


def test_a_probability_map_is_one_object():
    truth = ellipse((60, 70), (30, 33), (20, 14), 0.5)
    rng = np.random.default_rng(0)
    probability = np.clip(0.8 * truth + 0.1 + rng.normal(0, 0.15, truth.shape), 0, 1)
    for shape in KINDS:
        result = project_labels(probability.astype(np.float32), shape=shape, config=QUICK)
        assert set(np.unique(result.labels)) == {0, 1}
        assert iou(result.labels == 1, truth) > 0.9
        np.testing.assert_allclose(result.evidence, probability, atol=1e-6)
    again = project_labels(truth)
    assert iou(again.labels == 1, truth) > 0.97


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[0, -3], [1, 1]]), "The labels hold -3; ids have to be positive"),
        (np.array([[0.0, 2.0], [1, 3]]), "range from 0 to 3. A probability map lies within 0 to 1"),
        (np.array([[0.0, -0.1]]), "range from -0.1 to 0"),
        (np.array([[0.5, np.nan]]), "holds NaN"),
        (np.array([[0.5, np.inf]]), "range from 0.5 to inf"),
        (np.zeros(5, int), "have 1 axes"),
        (np.zeros((2, 2, 2, 2), int), "have 4 axes"),
        (np.array([["a", "b"]]), "are of type"),
        (np.zeros((3, 3), complex), "are of type complex128"),
    ],
)
def test_what_is_no_label_image_is_refused(labels, message):
    with pytest.raises(InputError, match=message):
        project_labels(labels)


def test_unknown_options_are_refused(scene):
    with pytest.raises(InputError, match="shape is 'blob'; use one of"):
        project_labels(scene[1], shape="blob")
    with pytest.raises(InputError, match="spacing is"):
        project_labels(scene[1], spacing=(1, 0))
    with pytest.raises(InputError, match="per_slice repairs stacks"):
        project_labels(scene[1], config=FitConfig(per_slice=True))


@pytest.mark.parametrize("dtype", ["u1", ">i2", "i4", "u8", "?"])
def test_any_type_of_label_works(dtype):
    labels = ellipse((40, 40), (20, 20), (12, 9)).astype(dtype)
    assert iou(project_labels(labels).labels == 1, labels.astype(bool)) > 0.95


@pytest.mark.parametrize("shape", KINDS)
def test_solids_are_repaired(shape):
    z, y, x = np.indices((16, 30, 30)) - np.array([8, 14.5, 14.5])[:, None, None, None]
    truth = (z / 6) ** 2 + (y / 12) ** 2 + (x / 9) ** 2 <= 1
    labels = 5 * (truth & ~(np.abs(y - 3) < 1)).astype(np.int32)
    result = project_labels(labels, shape=shape, config=FitConfig(steps=100))
    assert (result.certificates[5].kind, result.certificates[5].holds) == (KINDS[shape], True)
    assert iou(result.labels == 5, truth) > 0.8
    if shape == "connected":
        assert certify(result.labels, kind="connected").holds


@pytest.mark.parametrize("shape", KINDS)
def test_slices_are_repaired_on_their_own(shape, scene):
    _, labels = scene
    stack = np.stack([labels[:48], 0 * labels[:48], labels[48:]])
    config = FitConfig(per_slice=True, steps=60)
    result = project_labels(stack, shape=shape, config=config)
    flat = project_labels(labels[:48], shape=shape, config=QUICK)
    np.testing.assert_array_equal(result.labels[0], flat.labels)
    assert not result.labels[1].any()
    assert set(np.unique(result.labels)) == set(np.unique(stack))
    for label, agreement in result.report.agreement.items():
        assert agreement == pytest.approx(iou(result.labels == label, stack == label))


@pytest.mark.parametrize("shape", KINDS)
def test_voxel_sizes_are_respected(shape):
    truth = np.zeros((30, 90), bool)
    z, x = np.indices(truth.shape) - np.array([14.5, 44.5])[:, None, None]
    truth = np.hypot(3 * z, x) < 34
    result = project_labels(truth, shape=shape, spacing=(3.0, 1.0), config=QUICK)
    assert iou(result.labels == 1, truth) > 0.93
    assert result.certificates[1].holds
    assert result.spacing == (3.0, 1.0)


@pytest.mark.parametrize("shape", KINDS)
def test_same_input_same_result(scene, shape):
    first, second = (project_labels(scene[1], shape=shape, seed=2, config=QUICK) for _ in range(2))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert (first.history, first.certificates) == (second.history, second.certificates)


@pytest.mark.parametrize("shape", KINDS)
def test_a_repair_can_be_cancelled(scene, shape):
    seen = []

    def stop(fraction, message):
        seen.append(fraction)
        if len(seen) == 12:
            raise Cancelled

    with pytest.raises(Cancelled):
        project_labels(scene[1], shape=shape, progress=stop)
    assert len(seen) == 12
    assert all(0 <= fraction < 1 for fraction in seen)
