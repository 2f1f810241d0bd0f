"""What `fit_scribbles` says to input it cannot work with, or only half."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

from napari_implicitseg import FitConfig, FitResult, fit_scribbles
from napari_implicitseg.errors import FileError, ImplicitSegError, InputError, ScribbleError

from .conftest import iou


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda s: s[:40], InputError, r"scribbles have shape \(40, 96\) but the image has \(96"),
        (lambda s: s * 0, ScribbleError, "are empty"),
        (lambda s: (s == 1) * 1, ScribbleError, "only background strokes"),
        (lambda s: -s.astype(int), ScribbleError, "labels must be positive"),
        (lambda s: s.astype(np.int64) * 2**40, ScribbleError, "labels must be at most"),
        (lambda s: s.astype(float), InputError, "labels must be integers"),
    ],
)
def test_wrong_scribbles_are_refused(scene, change, kind, message):
    with pytest.raises(kind, match=message) as caught:
        fit_scribbles(scene.image, change(scene.scribbles))
    assert isinstance(caught.value, ImplicitSegError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "round"}, "shape is 'round'; use one of 'convex'"),
        ({"evidence": "magic"}, "evidence is 'magic'; use one of 'auto'"),
        ({"coupling": "loose"}, "coupling is 'loose'"),
        ({"background": 0}, "background is 0"),
        ({"spacing": (1, 2, 3)}, "one positive number for each of the 2"),
        ({"spacing": (0, 1)}, "one positive number"),
        ({"spacing": (np.nan, 1)}, "one positive number"),
        ({"spacing": 2.0}, r"spacing is \(2.0,\)"),
        ({"spacing": ("a", "b")}, r"spacing is \('a', 'b'\)"),
        ({"spacing": (1, 1e9)}, "none more than 200 times another"),
        ({"spacing": (1e-300, 1e-300)}, "one positive number"),
        ({"channel_axis": 5}, "channel_axis is 5"),
        ({"device": "toaster"}, "device is 'toaster'"),
        ({"device": "meta"}, "device is 'meta'"),
        ({"device": None}, "device is None"),
        ({"seed": 2**70}, "seed is 1180591620717411303424; give a whole number"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"config": {"steps": 3}}, "give a FitConfig"),
        ({"shape": ["convex"]}, "shape is"),
        ({"spacing": (10**400, 1)}, "one positive number"),
        ({"evidence": np.zeros((3, 3))}, r"layer given as evidence has shape \(3, 3\)"),
        ({"config": FitConfig(per_slice=True)}, "per_slice fits stacks"),
    ],
)
def test_wrong_options_are_refused(scene, options, message):
    with pytest.raises(InputError, match=message):
        fit_scribbles(scene.image, scene.scribbles, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "best"}, "model is 'best'"),
        ({"planes": 2}, "planes is 2; use a whole number, at least 4, or None"),
        ({"planes": 4.5}, "planes is 4.5"),
        ({"layers": 0}, "layers is 0; use a whole number, at least 1"),
        ({"layers": None}, "layers is None"),
        ({"width": True}, "width is True"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": "3"}, "steps is '3'"),
        ({"order": 0}, "order is 0; a mirror symmetry has 1 to 64"),
        ({"order": 1, "symmetry": "rotation"}, "a rotation symmetry has 2 to 64"),
        ({"order": "2"}, "order is '2'"),
        ({"per_slice": "no"}, "per_slice is 'no'"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"learning_rate": "a"}, "learning_rate is 'a'"),
    ],
)
def test_wrong_configs_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        FitConfig(**options)


def test_a_warm_start_of_another_image_is_refused(scene):
    result = fit_scribbles(scene.image, scene.scribbles)
    with pytest.raises(InputError, match="warm_start has labels of shape"):
        fit_scribbles(scene.image[:90], scene.scribbles[:90], warm_start=result)


@pytest.mark.parametrize("shape", [(0, 7), (1, 1), (4,), (2, 2, 2, 2)])
def test_images_without_room_for_a_shape_are_refused(shape):
    with pytest.raises(InputError):
        fit_scribbles(np.zeros(shape), np.full(shape, 2))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (2, 2), (1, 20, 20), (3, 1, 30)])
def test_thin_images_work(shape):
    scribbles = np.zeros(shape, np.uint8)
    scribbles.flat[0], scribbles.flat[-1] = 1, 2
    result = fit_scribbles(np.zeros(shape), scribbles)
    assert result.labels.flat[-1] == 2
    assert result.certificates[2].holds


def test_only_object_strokes_work_with_a_warning(scene):
    scene.scribbles[scene.scribbles == 1] = 0
    result = fit_scribbles(scene.image, scene.scribbles)
    assert iou(result.labels == 2, scene.truth) > 0.9
    assert any("no background strokes" in text for text in result.report.warnings)


def test_pixels_that_are_not_finite_are_counted_and_no_evidence(scene):
    scene.image[20:40, 20:40] = np.nan
    scene.image[70:72, 50:52] = np.inf
    result = fit_scribbles(scene.image, scene.scribbles)
    assert result.report.ignored_voxels == 404
    assert iou(result.labels == 2, scene.truth) > 0.9
    assert any("404 voxels are NaN or infinite" in text for text in result.report.warnings)
    assert np.isfinite(result.evidence).all()


@pytest.mark.parametrize("wild", [1e6, -1e6, 1e300, -3.4e38])
@pytest.mark.parametrize("where", [np.s_[:1, :1], np.s_[-1:]])
def test_wild_pixels_do_not_drown_the_others(scene, wild, where):
    image = scene.image.astype(np.float64)
    image[where] = wild
    assert iou(fit_scribbles(image, scene.scribbles).labels == 2, scene.truth) > 0.94


def test_masked_pixels_are_unknown(scene):
    mask = np.zeros(scene.image.shape, bool)
    mask[:3, :3] = True
    image = np.ma.MaskedArray((scene.image * 100).astype(np.int16), mask)
    result = fit_scribbles(image, np.ma.MaskedArray(scene.scribbles, mask))
    assert result.report.ignored_voxels == 9
    assert iou(result.labels == 2, scene.truth) > 0.94


def test_grey_levels_are_no_probability(scene):
    with pytest.raises(InputError, match=r"values from 0 to 100; .* Divide it by"):
        fit_scribbles(scene.image, scene.scribbles, evidence=100.0 * scene.truth)


def test_grey_levels_are_no_labels(scene):
    grey = np.random.default_rng(0).integers(0, 256, scene.truth.shape, np.uint8)
    with pytest.raises(InputError, match="looks like grey levels, not like labels"):
        fit_scribbles(scene.image, scene.scribbles, evidence=grey)


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan])
def test_a_constant_image_falls_back_to_positions(scene, value):
    result = fit_scribbles(np.full_like(scene.image, value), scene.scribbles)
    assert result.certificates[2].holds
    assert (result.labels == 2)[scene.scribbles == 2].all()
    assert any("image is constant" in text for text in result.report.warnings)


@pytest.mark.parametrize("model", ["polytope", "icnn"])
def test_strokes_no_convex_mask_can_satisfy_are_named(scene, model):
    scene.scribbles[10:80, 12:84] = 2
    scene.scribbles[13:77, 15:81] = 0
    scene.scribbles[46:50, 46:50] = 1
    result = fit_scribbles(scene.image, scene.scribbles, config=FitConfig(model=model))
    assert result.certificates[2].holds
    wrong = result.report.unsatisfied
    assert wrong
    for stroke in wrong:
        painted = scene.scribbles[stroke.position]
        assert stroke.label == painted
        assert stroke.got == result.labels[stroke.position]
        assert stroke.voxels > 0
    total = sum(s.voxels for s in wrong)
    want = np.where(scene.scribbles == 1, 0, scene.scribbles)
    assert total == ((scene.scribbles > 0) & (result.labels != want)).sum()
    assert any("near" in text and "came out as" in text for text in result.report.warnings)


def test_contradictory_scribbles_are_named(scene):
    scribbles = (np.indices(scene.image.shape).sum(axis=0) % 2 + 1).astype(np.uint8)
    result = fit_scribbles(scene.image, scribbles)
    assert result.report.unsatisfied
    assert result.certificates[2].holds


def test_strokes_are_satisfied_where_a_convex_mask_can(scene):
    # Against the evidence: a corner outside the ellipse is object, one inside is not.
    scene.scribbles[20:23, 70:73] = 2
    scene.scribbles[48:51, 20:23] = 1
    result = fit_scribbles(scene.image, scene.scribbles)
    assert result.report.unsatisfied == ()


def test_ids_may_have_gaps_and_be_large(scene):
    scene.scribbles = scene.scribbles.astype(np.uint32)
    scene.scribbles[scene.scribbles == 2] = 4_000_000_000
    result = fit_scribbles(scene.image, scene.scribbles)
    assert iou(result.labels == 4_000_000_000, scene.truth) > 0.94


def test_another_background_label_may_be_chosen(scene):
    scribbles = np.where(scene.scribbles == 1, 7, np.where(scene.scribbles == 2, 1, 0))
    result = fit_scribbles(scene.image, scribbles, background=7)
    assert sorted(result.shapes) == [1]
    assert iou(result.labels == 1, scene.truth) > 0.94


def test_inputs_are_left_as_they_are(scene):
    scene.image[5, 5] = np.nan
    image, scribbles = scene.image.copy(), scene.scribbles.copy()
    fit_scribbles(scene.image, scene.scribbles)
    np.testing.assert_array_equal(image, scene.image)
    np.testing.assert_array_equal(scribbles, scene.scribbles)


def test_files_that_are_no_results_are_refused(tmp_path, scene):
    with pytest.raises(FileError, match="No such file"):
        FitResult.load(tmp_path / "none")
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(FileError, match="cannot be read as a fit result"):
        FitResult.load(tmp_path / "text")
    result = fit_scribbles(scene.image, scene.scribbles)
    result.save(tmp_path / "r")
    whole = (tmp_path / "r").read_bytes()
    (tmp_path / "r").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="damaged.*cut off"):
        FitResult.load(tmp_path / "r")


def test_a_result_that_was_edited_is_refused(tmp_path, scene):
    from safetensors.numpy import load_file, save_file

    result = fit_scribbles(scene.image, scene.scribbles)
    result.save(tmp_path / "r.safetensors")
    with safe_open(tmp_path / "r.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "r.safetensors")
    del tensors["labels"]
    save_file(tensors, tmp_path / "r.safetensors", metadata=metadata)
    with pytest.raises(FileError, match="holds no complete fit result"):
        FitResult.load(tmp_path / "r.safetensors")


def test_a_full_disk_is_told(tmp_path, scene, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    result = fit_scribbles(scene.image, scene.scribbles)
    with pytest.raises(FileError, match=r"No space left .*Nothing was changed"):
        result.save(tmp_path / "r.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_failed_save_leaves_the_old_file(tmp_path, scene, monkeypatch):
    result = fit_scribbles(scene.image, scene.scribbles)
    result.save(tmp_path / "r")
    before = (tmp_path / "r").read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="Free some space"):
        result.save(tmp_path / "r")
    assert (tmp_path / "r").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize(
    "options",
    [
        {"upsampler_scale": 8.0},
        {"upsampler_scale": np.int64(8)},
        {"upsampler_scale": np.array([4, 8])},
        {"features": (["colour"],)},
        {"features": ()},
        {"features": "colour"},
        {"schedule": None},
        {"upsampler_steps": 0},
    ],
)
def test_values_no_fit_can_work_with_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} is "):
        FitConfig(**options)
