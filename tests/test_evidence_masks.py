"""`shape="none"`: every source of evidence as a segmenter of its own."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import typer.testing
from scipy import ndimage

from napari_implicitseg import FitConfig, FitResult, fit_scribbles, project_labels
from napari_implicitseg.cli import app
from napari_implicitseg.errors import InputError

from .conftest import iou

SOURCES = ("auto", "histogram", "geodesic", "pixel", "teacher")


def crescents(depth=None):
    """Two crescents, which no convex mask is like, in noise; and strokes."""
    y, x = np.indices((90, 160))
    truth = np.zeros(y.shape, np.uint8)
    for label, middle in ((2, 45), (5, 115)):
        here = np.hypot(y - 45, x - middle) < 30
        truth[here & (np.hypot(y - 45, x - middle - 18) > 24)] = label
    image = np.where(truth > 0, 0.8, 0.2) + np.random.default_rng(0).normal(0, 0.06, y.shape)
    scribbles = np.zeros_like(truth)
    scribbles[30:60, 22], scribbles[30:60, 92] = 2, 5
    scribbles[3, 5:155] = scribbles[86, 5:155] = 1
    if depth:
        return (np.repeat(a[None], depth, axis=0) for a in (image, scribbles, truth))
    return image, scribbles, truth


@pytest.mark.parametrize("evidence", SOURCES)
def test_objects_of_any_form_are_found_and_strokes_kept(evidence):
    image, scribbles, truth = crescents()
    result = fit_scribbles(image, scribbles, shape="none", evidence=evidence)
    for label in (2, 5):
        # Networks know a border only from the blurred features beside it, and strokes of both.
        least = 0.55 if evidence in ("pixel", "teacher") else 0.8
        assert iou(result.labels == label, truth == label) > least
        assert (result.labels[scribbles == label] == label).all()
        assert (result.certificates[label].kind, result.certificates[label].holds) == ("none", True)
    assert not result.labels[scribbles == 1].any()
    assert result.shapes == {}
    assert result.evidence.shape == image.shape
    assert 0 <= result.evidence.min() <= result.evidence.max() <= 1
    inside = (result.labels > 0) & (scribbles == 0)
    assert (result.evidence[inside] > 0.5).all()
    pieces, _ = ndimage.label(result.labels == 2)
    assert set(np.unique(pieces)) == set(np.unique(pieces[scribbles == 2])) | {0}


def test_volumes_and_slices_too():
    image, scribbles, truth = crescents(4)
    for config in (FitConfig(), FitConfig(per_slice=True)):
        result = fit_scribbles(image, scribbles, shape="none", config=config)
        assert iou(result.labels == 2, truth == 2) > 0.8


def test_a_probability_map_is_cut_at_a_half():
    image, scribbles, truth = crescents()
    given = np.where(truth > 0, 0.9, 0.1).astype(np.float32)
    result = fit_scribbles(image, scribbles, shape="none", evidence=given)
    np.testing.assert_array_equal(result.labels, truth)


def test_the_result_can_be_saved_and_repaired(tmp_path):
    image, scribbles, truth = crescents()
    result = fit_scribbles(image, scribbles, shape="none")
    result.save(tmp_path / "none.safetensors")
    again = FitResult.load(tmp_path / "none.safetensors")
    np.testing.assert_array_equal(again.labels, result.labels)
    whole = project_labels(again.labels, shape="connected")
    assert all(c.holds for c in whole.certificates.values())
    assert iou(whole.labels == 2, truth == 2) > 0.8
    warm = fit_scribbles(image, scribbles, shape="connected", warm_start=again)
    assert warm.certificates[2].holds


def test_the_shell_gives_the_evidence_alone(tmp_path):
    image, scribbles, truth = crescents()
    tifffile.imwrite(tmp_path / "image.tif", image.astype(np.float32))
    tifffile.imwrite(tmp_path / "strokes.tif", scribbles)
    names = [str(tmp_path / name) for name in ("image.tif", "strokes.tif", "masks.tif")]
    done = typer.testing.CliRunner().invoke(app, ["scribble", *names, "--shape", "none"])
    assert done.exit_code == 0, done.stderr
    assert "no promise" in done.stdout
    assert iou(tifffile.imread(names[2]) == 2, truth == 2) > 0.8


def test_a_repair_needs_a_shape():
    with pytest.raises(InputError, match="shape is 'none'"):
        project_labels(np.eye(20, dtype=int), shape="none")
