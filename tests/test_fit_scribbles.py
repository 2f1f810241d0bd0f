"""What `fit_scribbles` promises, on images a person could have drawn."""

from __future__ import annotations

import threading

import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg import FitConfig, FitResult, certify, fit_scribbles
from napari_implicitseg.errors import Cancelled

from .conftest import Scene, iou

MODELS = ("polytope", "icnn")


@pytest.mark.parametrize("model", MODELS)
def test_an_ellipse_is_found_and_certified(scene, model):
    result = fit_scribbles(scene.image, scene.scribbles, config=FitConfig(model=model))
    assert result.labels.dtype == np.uint32
    assert iou(result.labels == 2, scene.truth) > 0.95
    certificate = result.certificates[2]
    assert (certificate.kind, certificate.holds, certificate.components) == ("convex", True, 1)
    assert certify(result.labels == 2, kind="convex").holds
    assert result.report.unsatisfied == ()
    assert result.history["loss/2"][-1] < result.history["loss/2"][0]


@pytest.mark.parametrize("model", MODELS)
def test_the_mask_is_where_the_level_is_not_positive(scene, model):
    result = fit_scribbles(scene.image, scene.scribbles, config=FitConfig(model=model))
    centres = (np.argwhere(np.ones_like(scene.truth)) + 0.5) / len(scene.truth)
    with torch.no_grad():
        level = result.shapes[2].level(torch.from_numpy(centres)).numpy()
    sure = np.abs(level) > 1e-6
    np.testing.assert_array_equal((result.labels == 2).ravel()[sure], (level <= 0)[sure])


@pytest.mark.parametrize("evidence", ["auto", "histogram", "geodesic", "pixel", "cnn", "teacher"])
def test_each_source_of_evidence_finds_a_clear_object(scene, evidence):
    result = fit_scribbles(scene.image, scene.scribbles, evidence=evidence)
    # Convolutions see the border of the object beside thin strokes, and learn from it.
    assert iou(result.labels == 2, scene.truth) > (0.8 if evidence == "cnn" else 0.93)
    assert result.evidence.dtype == np.float32
    assert result.evidence.shape == scene.image.shape
    assert result.evidence.min() >= 0
    assert result.evidence.max() <= 1
    assert sum(result.report.evidence_weights.values()) == pytest.approx(1)


def test_position_alone_gives_the_voxels_nearer_to_the_object(scene):
    result = fit_scribbles(scene.image, scene.scribbles, evidence="none")
    assert result.certificates[2].holds
    assert (result.labels == 2)[scene.scribbles == 2].all()


def test_a_probability_map_is_taken_as_evidence(scene):
    blurred = np.clip(
        scene.truth + np.random.default_rng(0).normal(0, 0.2, scene.truth.shape), 0, 1
    )
    result = fit_scribbles(np.zeros_like(scene.image), scene.scribbles, evidence=blurred)
    assert iou(result.labels == 2, scene.truth) > 0.95


def test_same_input_same_result(scene):
    for model in MODELS:
        first, second = (
            fit_scribbles(scene.image, scene.scribbles, seed=3, config=FitConfig(model=model))
            for _ in range(2)
        )
        np.testing.assert_array_equal(first.labels, second.labels)
        assert first.history == second.history


def test_results_do_not_change_with_the_scale_and_offset_of_the_image(scene):
    plain = fit_scribbles(scene.image, scene.scribbles)
    scaled = fit_scribbles(scene.image * 1000 - 70, scene.scribbles)
    assert iou(plain.labels == 2, scaled.labels == 2) > 0.99


@pytest.mark.parametrize("dtype", ["f2", ">f4", "f8", "u1", ">i2", "i8", "?"])
def test_any_real_dtype_works(scene, dtype):
    image = scene.image > 0.25 if dtype == "?" else (scene.image * 100 + 20).astype(dtype)
    assert iou(fit_scribbles(image, scene.scribbles).labels == 2, scene.truth) > 0.94


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_channels_may_be_on_any_axis(scene, axis):
    noise = np.random.default_rng(1).normal(0, 0.1, scene.image.shape)
    image = np.stack([noise, scene.image, -scene.image, noise.T, noise], axis=axis)
    for given_axis in (axis, None):
        result = fit_scribbles(image, scene.scribbles, channel_axis=given_axis)
        assert iou(result.labels == 2, scene.truth) > 0.94


@pytest.mark.parametrize(
    "wrap",
    [lambda a: da.from_array(a, chunks=29), lambda a: zarr.array(a, chunks=(31, 17))],
    ids=["dask", "zarr"],
)
def test_lazy_arrays_give_what_numpy_gives(scene, wrap):
    plain = fit_scribbles(scene.image, scene.scribbles)
    lazy = fit_scribbles(wrap(scene.image), wrap(scene.scribbles))
    np.testing.assert_array_equal(plain.labels, lazy.labels)


class CountingArray:
    """A large lazy array that says how much of it was read."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.shape, self.dtype, self.ndim = data, data.shape, data.dtype, data.ndim
        self.read = 0

    def __getitem__(self, key):
        part = self._data[key]
        self.read += part.size
        return part


def test_of_a_large_lazy_image_only_the_surroundings_are_read():
    small = Scene(128)
    image = np.random.default_rng(0).normal(0, 0.05, (6000, 6000)).astype(np.float32)
    image[3000:3128, 3000:3128] = small.image
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[3000:3128, 3000:3128] = small.scribbles
    lazy = CountingArray(image)
    result = fit_scribbles(lazy, scribbles)
    assert iou(result.labels[3000:3128, 3000:3128] == 2, small.truth) > 0.94
    assert lazy.read < 0.02 * image.size


def test_a_window_grows_until_the_object_is_inside():
    size = 1500
    y, x = np.mgrid[:size, :size] - size / 2
    truth = (y / 600) ** 2 + (x / 420) ** 2 <= 1
    image = truth * 0.5 + np.random.default_rng(0).normal(0, 0.05, truth.shape)
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[740:745, 730:760], scribbles[5, 5:-5] = 2, 1
    assert iou(fit_scribbles(image, scribbles).labels == 2, truth) > 0.97


def grid_of_discs(count: int, pitch: int = 40, gap: int = 6):
    side = int(np.ceil(np.sqrt(count)))
    size = side * pitch
    image = np.random.default_rng(0).normal(0, 0.05, (size, size))
    truth, scribbles = np.zeros((size, size), int), np.zeros((size, size), np.uint8)
    y, x = np.mgrid[:size, :size]
    for k in range(count):
        middle = np.array(divmod(k, side)) * pitch + pitch / 2
        disc = np.hypot(y - middle[0], x - middle[1]) < (pitch - gap) / 2
        truth[disc] = k + 2
        low = middle.astype(int)
        scribbles[low[0], low[1] - 4 : low[1] + 4] = k + 2
    image += 0.5 * (truth > 0)
    scribbles[0, :] = 1
    scribbles[:: 2 * pitch, :] = np.where(truth[:: 2 * pitch, :] == 0, 1, 0)
    return image, scribbles, truth


def test_many_objects_keep_their_ids():
    image, scribbles, truth = grid_of_discs(25)
    result = fit_scribbles(image, scribbles)
    assert sorted(result.shapes) == list(range(2, 27))
    scores = [iou(result.labels == k, truth == k) for k in range(2, 27)]
    assert min(scores) > 0.85
    assert np.mean(scores) > 0.93
    assert all(c.holds for c in result.certificates.values())


def test_touching_objects_are_parted_by_a_plane_and_stay_convex():
    y, x = np.mgrid[:80, :120]
    left, right = np.hypot(y - 40, x - 42) < 24, np.hypot(y - 40, x - 78) < 24
    image = 0.5 * (left | right) + np.random.default_rng(0).normal(0, 0.05, left.shape)
    scribbles = np.zeros(left.shape, np.uint8)
    scribbles[38:42, 34:46], scribbles[38:42, 72:84], scribbles[3, :] = 2, 9, 1
    result = fit_scribbles(image, scribbles)
    assert all(result.certificates[k].holds for k in (2, 9))
    assert iou(result.labels == 2, left & (x < 60)) > 0.9
    assert iou(result.labels == 9, right & (x >= 60)) > 0.9


def test_the_lower_level_wins_a_voxel_that_two_objects_claim():
    rng = np.random.default_rng(5)
    image = rng.normal(0, 1, (70, 70))
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[20:24, 10:60], scribbles[40:44, 10:60], scribbles[10:60, 34:37] = 2, 3, 4
    scribbles[2, :] = 1
    result = fit_scribbles(image, scribbles)
    centres = torch.from_numpy((np.argwhere(np.ones(image.shape)) + 0.5) / 70)
    with torch.no_grad():
        levels = np.stack([result.shapes[k].level(centres).numpy() for k in (2, 3, 4)])
    lowest = np.where(levels.min(axis=0) <= 0, levels.argmin(axis=0) + 2, 0).reshape(70, 70)
    sure = np.sort(np.abs(levels), axis=0)[0].reshape(70, 70) > 1e-6
    filled = np.isin(result.labels, [k for k, c in result.certificates.items() if c.repaired])
    np.testing.assert_array_equal(result.labels[sure & ~filled], lowest[sure & ~filled])


def test_a_neck_keeps_a_neighbour_of_the_same_kind_out():
    y, x = np.mgrid[:80, :140]
    mine, other = np.hypot(y - 40, x - 45) < 22, np.hypot(y - 40, x - 87) < 22
    image = 0.5 * (mine | other) + np.random.default_rng(0).normal(0, 0.03, mine.shape)
    scribbles = np.zeros(mine.shape, np.uint8)
    scribbles[38:42, 38:52], scribbles[3, :] = 2, 1
    assert iou(fit_scribbles(image, scribbles).labels == 2, mine) > 0.85


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_every_mask_is_convex_whatever_was_scribbled(seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, (48, 40))
    scribbles = np.zeros(image.shape, np.uint8)
    for _ in range(rng.integers(1, 6)):
        y, x = rng.integers(0, 40, 2)
        scribbles[y : y + 3, x : x + rng.integers(1, 12)] = rng.integers(1, 4)
    scribbles[20, 20] = 2
    result = fit_scribbles(image, scribbles, evidence=["auto", "none"][seed % 2])
    for label, certificate in result.certificates.items():
        holds = certify(result.labels == label, kind="convex").holds
        assert certificate.holds == holds
        assert holds or "went to object" in certificate.detail


def body(shape=(24, 72, 72), spacing=(3.0, 1.0, 1.0)):
    grid = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"), -1)
    offset = (grid - np.array(shape) / 2) * spacing
    truth = (offset**2 / np.array([26, 24, 18]) ** 2).sum(-1) <= 1
    image = 0.5 * truth + np.random.default_rng(0).normal(0, 0.1, shape)
    scribbles = np.zeros(shape, np.uint8)
    for z in (shape[0] // 2, shape[0] // 2 + 4):
        scribbles[z, 34:38, 28:44] = 2
        scribbles[z, 3, :] = 1
    scribbles[0, 20:50, 30] = 1
    return image, scribbles, truth, spacing


@pytest.mark.parametrize("model", MODELS)
def test_a_body_is_found_from_scribbles_on_a_few_slices(model):
    image, scribbles, truth, spacing = body()
    result = fit_scribbles(image, scribbles, spacing=spacing, config=FitConfig(model=model))
    assert iou(result.labels == 2, truth) > 0.88
    assert result.certificates[2].holds
    assert certify(result.labels == 2, kind="convex").holds


def test_a_stack_is_fitted_slice_by_slice():
    image, scribbles, truth, spacing = body()
    result = fit_scribbles(image, scribbles, spacing=spacing, config=FitConfig(per_slice=True))
    assert np.flatnonzero(result.labels.any(axis=(1, 2))).tolist() == [12, 16]
    for z in (12, 16):
        alone = fit_scribbles(image[z], scribbles[z])
        np.testing.assert_array_equal(result.labels[z], alone.labels)
        assert iou(result.labels[z] == 2, truth[z]) > 0.9
    assert result.certificates[2].holds
    np.testing.assert_array_equal(result.shapes[2].rasterize(image.shape), result.labels == 2)


def test_only_slices_with_new_strokes_are_fitted_again():
    image, scribbles, _, _ = body()
    config = FitConfig(per_slice=True)
    first = fit_scribbles(image, scribbles, config=config)
    more = scribbles.copy()
    more[16, 2:4, 2:20] = 1
    second = fit_scribbles(image, more, config=config, warm_start=first)
    assert second.shapes[2].slices["12"] is first.shapes[2].slices["12"]
    assert second.shapes[2].slices["16"] is not first.shapes[2].slices["16"]
    np.testing.assert_array_equal(second.labels[12], first.labels[12])
    assert iou(second.labels[16] == 2, first.labels[16] == 2) > 0.93
    # Other options are another fit, and a probability map may be another one.
    third = fit_scribbles(image, scribbles, config=config, warm_start=first, evidence="geodesic")
    assert third.shapes[2].slices["12"] is not first.shapes[2].slices["12"]
    given = fit_scribbles(image, scribbles, config=config, evidence=first.evidence)
    changed = fit_scribbles(
        image, scribbles, config=config, evidence=0.9 * first.evidence, warm_start=given
    )
    assert changed.shapes[2].slices["12"] is not given.shapes[2].slices["12"]


@pytest.mark.parametrize("model", MODELS)
def test_a_warm_start_follows_a_further_stroke(scene, model):
    config = FitConfig(model=model)
    first = fit_scribbles(scene.image, scene.scribbles, config=config)
    scene.scribbles[80:82, 20:60] = 1
    second = fit_scribbles(scene.image, scene.scribbles, config=config, warm_start=first)
    assert iou(second.labels == 2, scene.truth) > 0.94
    assert len(second.history["loss/2"]) < len(first.history["loss/2"])
    # A stroke far outside the earlier mask: the fit starts anew.
    scene.scribbles[90, 90] = 2
    third = fit_scribbles(scene.image, scene.scribbles, config=config, warm_start=second)
    assert third.labels[90, 90] == 2


@pytest.mark.parametrize("per_slice", [False, True])
def test_no_warm_start_from_what_was_erased_or_contradictory(scene, per_slice):
    config = FitConfig(per_slice=per_slice)
    image, strokes = scene.image, scene.scribbles
    if per_slice:
        image, strokes = np.stack([image] * 2), np.stack([strokes] * 2)
    cold = fit_scribbles(image, strokes, config=config)
    slip = strokes.copy()
    slip[..., 40:60, 48:51] = 1
    wrong = fit_scribbles(image, slip, config=config, warm_start=cold)
    assert wrong.report.unsatisfied
    # What was learned from the slip is forgotten with it, and once it was refused.
    for strokes_now in (strokes, slip):
        fresh = fit_scribbles(image, strokes_now, config=config)
        again = fit_scribbles(image, strokes_now, config=config, warm_start=wrong)
        np.testing.assert_array_equal(again.labels, fresh.labels)


def test_corners_come_out_of_the_network():
    truth = np.zeros((40, 44, 48), bool)
    truth[10:30, 10:34, 10:38] = True
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[20, 20:24, 14:34] = 2
    scribbles[2, 4:40, 4:44] = scribbles[20, 3, 4:44] = scribbles[37, 4:40, 24] = 1
    result = fit_scribbles(truth.astype(float), scribbles, config=FitConfig(model="icnn"))
    assert iou(result.labels == 2, truth) > 0.9


def test_a_warm_start_of_another_model_is_started_anew(scene):
    network = fit_scribbles(scene.image, scene.scribbles, config=FitConfig(model="icnn"))
    plain = fit_scribbles(scene.image, scene.scribbles, warm_start=network)
    assert iou(plain.labels == 2, scene.truth) > 0.94


@pytest.mark.parametrize("model", MODELS)
def test_results_are_saved_and_loaded(tmp_path, scene, model):
    scene.image[:3, :3] = np.nan
    result = fit_scribbles(scene.image, scene.scribbles, config=FitConfig(model=model))
    result.save(tmp_path / "r.safetensors")
    again = FitResult.load(tmp_path / "r.safetensors")
    np.testing.assert_array_equal(again.labels, result.labels)
    np.testing.assert_array_equal(again.evidence, result.evidence)
    assert (again.certificates, again.history) == (result.certificates, result.history)
    assert (again.report, again.spacing) == (result.report, result.spacing)
    np.testing.assert_array_equal(
        again.shapes[2].rasterize((200, 200)), result.shapes[2].rasterize((200, 200))
    )
    warm = fit_scribbles(
        scene.image, scene.scribbles, config=FitConfig(model=model), warm_start=again
    )
    assert iou(warm.labels == 2, scene.truth) > 0.94


def test_progress_grows_and_may_cancel(scene):
    seen: list[float] = []
    fit_scribbles(scene.image, scene.scribbles, progress=lambda f, _: seen.append(f))
    assert len(seen) > 10
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert seen[-1] <= 1

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.3:
            raise Cancelled("Stopped.")

    with pytest.raises(Cancelled):
        fit_scribbles(scene.image, scene.scribbles, progress=stop)


def test_torch_threads_are_as_before(scene):
    torch.set_num_threads(2)
    fit_scribbles(scene.image, scene.scribbles)
    assert torch.get_num_threads() == 2


def test_fits_may_run_in_several_threads(scene):
    expected = fit_scribbles(scene.image, scene.scribbles).labels
    found: list[np.ndarray] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(fit_scribbles(scene.image, scene.scribbles).labels)
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for labels in found:
        np.testing.assert_array_equal(labels, expected)


def test_background_on_a_neighbour_does_not_give_the_object_the_image():
    """The dark background was never painted, but it is not the object's for that."""
    row, column = np.indices((160, 200))
    disks = [np.hypot(row - 80, column - c) <= 18 for c in (70, 112)]
    noise = np.random.default_rng(0).normal(0, 3, row.shape)
    image = 20 + 100 * disks[0] + 160 * disks[1] + noise
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[79:82, 66:75] = 2
    scribbles[79:82, 108:117] = 1
    mask = fit_scribbles(image, scribbles).labels == 2
    assert (mask & disks[0]).sum() / (mask | disks[0]).sum() > 0.5


def test_every_object_is_a_place_to_stop_at():
    """Looking at many objects takes seconds before the first step of the solver."""
    image = np.zeros((120, 120), np.float32)
    scribbles = np.zeros(image.shape, np.uint16)
    for k in range(100):
        scribbles[12 * (k // 10) + 4, 12 * (k % 10) + 4] = k + 2
    heard = []
    fit_scribbles(image, scribbles, progress=lambda _, message: heard.append(message))
    assert heard.count("Looking at the objects") >= 100
