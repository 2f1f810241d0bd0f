"""`project_labels` on objects that are thin, nested or in pieces, and on odd arguments."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import FitConfig, certify, project_labels
from napari_implicitseg.errors import InputError

from .conftest import iou

FAMILIES = ("convex", "connected", "star", "symmetric", "free")
THIN = {
    "line": lambda: np.pad(np.ones((1, 35), int), ((20, 19), (5, 20))),
    "diagonal": lambda: np.eye(40, dtype=int),
    "sheet": lambda: np.pad(np.ones((1, 14, 14), int), ((6, 5), (3, 3), (3, 3))),
    "rod": lambda: np.pad(np.ones((1, 14, 1), int), ((6, 5), (3, 3), (9, 10))),
    "row": lambda: np.pad(np.ones((1, 22), int), ((0, 0), (3, 0))),
}


@pytest.mark.parametrize("shape", FAMILIES)
@pytest.mark.parametrize("thin", THIN)
def test_objects_of_one_voxel_across_are_mended_and_not_lost(shape, thin):
    labels = THIN[thin]()
    result = project_labels(labels, shape=shape)
    assert result.certificates[1].holds
    assert result.certificates[1].components == 1
    assert result.report.agreement[1] >= 0.4
    if shape == "connected":
        np.testing.assert_array_equal(result.labels, labels)


def test_an_angle_too_thin_for_a_star_says_so():
    labels = np.zeros((40, 60), int)
    labels[20, 5:40] = labels[5:21, 39] = 1
    result = project_labels(labels, shape="star")
    np.testing.assert_array_equal(result.labels, labels)
    assert any("too thin for the shapes that are fitted" in w for w in result.report.warnings)


@pytest.mark.parametrize("shape", FAMILIES)
def test_an_object_within_another_keeps_its_voxels(shape):
    away = np.hypot(*(np.indices((60, 60)) - 30))
    labels = np.where(away < 10, 2, np.where(away < 24, 1, 0))
    result = project_labels(labels, shape=shape)
    assert iou(result.labels == 2, labels == 2) > 0.97
    assert iou(result.labels == 1, labels == 1) > 0.97
    blocked = result.certificates[1].detail
    assert result.certificates[1].holds or "went to object 2" in blocked


def test_neighbours_keep_what_they_held_if_one_is_bent():
    """The hull of a crescent holds half of the disc in its mouth."""
    y, x = np.indices((80, 80))
    disc = np.hypot(y - 40, x - 52) < 10
    crescent = (np.hypot(y - 40, x - 40) < 30) & (np.hypot(y - 40, x - 60) > 25)
    labels = np.where(disc, 2, np.where(crescent, 1, 0))
    result = project_labels(labels)
    assert all(c.holds for c in result.certificates.values())
    assert iou(result.labels == 2, disc) > 0.9


def test_several_pieces_under_one_id_are_not_said_to_be_joined_if_they_are_lost():
    rng = np.random.default_rng(0)
    labels = np.zeros((300, 300), np.uint8)
    for y, x in rng.uniform(20, 280, (60, 2)):
        labels[np.hypot(*(np.indices(labels.shape) - np.reshape((y, x), (2, 1, 1)))) < 6] = 1
    result = project_labels(labels, shape="star")
    assert result.report.agreement[1] < 0.5
    assert any(
        "If it is several objects, give each its own id" in w for w in result.report.warnings
    )


def test_a_probability_map_has_the_id_1_also_slice_by_slice():
    probability = np.zeros((3, 24, 24))
    probability[:, 4:14, 4:12] = 0.9
    for config in (FitConfig(), FitConfig(per_slice=True)):
        assert (project_labels(probability, ids=[1], config=config).labels == 1).sum() > 200
        with pytest.raises(InputError, match="There is no object 2"):
            project_labels(probability, ids=[2], config=config)
        kept = project_labels(probability, ids=[], config=config).labels
        np.testing.assert_array_equal(kept, probability > 0.5)


def test_ids_may_be_any_iterable_of_whole_numbers():
    scene = THIN["line"]()
    result = project_labels(scene, ids=iter([1]))
    assert list(result.certificates) == [1]
    for wrong in (3, [[3]], ["3"], [1.5]):
        with pytest.raises(InputError, match="give a list of whole numbers"):
            project_labels(scene, ids=wrong)


def test_what_is_too_small_in_one_slice_only_is_repaired_in_the_others():
    labels = np.zeros((3, 30, 30), np.uint8)
    labels[:2, 5:20, 5:20] = 4
    labels[2, 10, 10] = 4
    result = project_labels(labels, config=FitConfig(per_slice=True))
    assert result.report.unchanged == ()
    assert any("too small" in w for w in result.report.warnings)


def test_lists_of_uneven_rows_are_refused():
    for call in (project_labels, lambda rows: certify(rows, kind="convex")):
        with pytest.raises(InputError, match="different lengths"):
            call([[1, 2], [3]])
