"""Patches: where they are taken, that they repeat, that little is read; batches in order."""

from __future__ import annotations

import itertools
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.training.arrays import Blocks
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.examples import TrainingVolume, checked_volumes
from napari_implicitseg.training.patches import (
    Patch,
    PatchSampler,
    Prefetcher,
    dense_ids,
    fitting_patch,
    place_patch,
)

from .helpers import Recording, bricks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FULL = replace(Augmentation.for_spacing((1, 1, 1)), elastic=1.0, slip=0.5, missing=0.1)


def volume_of(labels: NDArray[Any], ndim: int = 3, **kwargs: Any) -> tuple[TrainingVolume, ...]:
    """A volume whose raw image shows the labels, by which patches can be checked."""
    raw = labels.astype(np.float32)
    given = TrainingVolume(raw=raw, labels=labels, **kwargs)
    return checked_volumes(given, ndim=ndim)


def same(one: Patch, other: Patch) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("raw", "labels", "known", "start", "volume")
    )


def test_a_patch_is_what_is_there() -> None:
    labels = bricks((30, 40, 50))
    sampler = PatchSampler(volume_of(labels), (8, 12, 16), seed=0)
    for step in range(10):
        patch = sampler.sample(step)
        window = tuple(slice(s, s + n) for s, n in zip(patch.start, (8, 12, 16), strict=True))
        np.testing.assert_array_equal(patch.raw[0], labels[window])
        np.testing.assert_array_equal(patch.labels, dense_ids(labels[window]))
        assert patch.known.all()
        assert (patch.raw.dtype, patch.labels.dtype) == (np.float32, np.int32)


def test_sections_of_a_stack_are_samples() -> None:
    labels = bricks((5, 40, 50))
    sampler = PatchSampler(volume_of(labels, ndim=2), (16, 24), seed=0)
    seen = set()
    for step in range(40):
        patch = sampler.sample(step)
        z, y, x = patch.start
        np.testing.assert_array_equal(patch.raw[0], labels[z, y : y + 16, x : x + 24])
        seen.add(z)
    assert seen == set(range(5))


def test_channels_stay_together() -> None:
    labels = bricks((20, 30))
    raw = np.stack([labels, labels + 1000]).astype(np.float32)
    volumes = checked_volumes((raw, labels), ndim=2)
    patch = PatchSampler(
        volumes, (8, 8), seed=0, augmentation=replace(Augmentation.none(), elastic=1.0, flip=0.5)
    ).sample(0)
    assert patch.raw.shape == (2, 8, 8)
    np.testing.assert_allclose(patch.raw[1] - patch.raw[0], 1000, atol=1e-3)


@pytest.mark.parametrize("chunks", [None, (16, 16, 16)], ids=["in memory", "in a file"])
def test_a_patch_depends_on_seed_step_and_item_alone(chunks: tuple[int, ...] | None) -> None:
    labels = bricks((40, 48, 56))

    def sampler(seed: int) -> PatchSampler:
        (volume,) = volume_of(labels)
        if chunks:
            raw = Recording(volume.raw, (1, *chunks))
            volume = replace(volume, raw=raw, labels=Recording(labels, chunks))
        return PatchSampler([volume], (16,) * 3, seed=seed, augmentation=FULL)

    first = sampler(1)
    patches = {(s, i): first.sample(s, i) for s in range(4) for i in range(2)}
    # As in a run that goes on at step 2, another order, or after much else was looked at.
    again = sampler(1)
    for step, item in ((2, 1), (3, 0), (2, 0), (0, 1)):
        assert same(again.sample(step, item), patches[step, item])
    assert same(first.sample(2, 1), patches[2, 1])
    keys = list(patches)
    assert not any(same(patches[a], patches[b]) for a, b in itertools.pairwise(keys))
    assert not same(sampler(2).sample(0, 0), patches[0, 0])


def test_the_order_of_many_threads_does_not_matter() -> None:
    from concurrent.futures import ThreadPoolExecutor

    sampler = PatchSampler(volume_of(bricks((40,) * 3)), (16,) * 3, seed=0, augmentation=FULL)
    alone = [sampler.sample(step) for step in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(sampler.sample, range(12)))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("chunks", [None, (8, 8, 8)], ids=["in memory", "in a file"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_border_share_balances_borders_and_interiors(
    share: float, chunks: tuple[int, ...] | None
) -> None:
    labels = np.ones((24, 24, 160), np.uint8)
    labels[:, :, 76:] = 2
    (volume,) = volume_of(labels)
    if chunks:
        volume = replace(volume, labels=Recording(labels, chunks))
    sampler = PatchSampler([volume], (8, 8, 8), seed=0, border_share=share)
    at_border = np.mean([sampler.sample(i).labels.max() == 2 for i in range(300)])
    # Interior patches meet the border in one of ten cases.
    assert at_border == pytest.approx(share + (1 - share) * 0.06, abs=0.09)


def test_interior_patches_are_spread_evenly() -> None:
    sampler = PatchSampler(volume_of(bricks((16, 16, 128))), (4, 4, 4), seed=0, border_share=0.0)
    starts = [sampler.sample(i).start[2] for i in range(600)]
    counts, _ = np.histogram(starts, bins=4, range=(0, 124))
    assert counts.min() > 100


def test_volumes_are_weighted_by_their_labelled_voxels() -> None:
    small = np.zeros((16, 16, 64), np.uint8)
    small[:, :, :8], small[:, :, 8:16] = 1, 2
    full = bricks((16, 16, 64))
    volumes = checked_volumes([(small * 1.0, small), (full * 1.0, full)], ndim=3)
    for lazy in (False, True):
        if lazy:
            volumes = tuple(
                replace(v, labels=Recording(np.asarray(v.labels), (8, 8, 8))) for v in volumes
            )
        sampler = PatchSampler(volumes, (4, 4, 4), seed=0)
        chosen = np.mean([sampler.sample(i).volume for i in range(400)])
        assert chosen == pytest.approx(0.8, abs=0.15 if lazy else 0.06)


@pytest.mark.parametrize("chunks", [None, (16, 32, 32)], ids=["in memory", "in a file"])
def test_sparse_labels_are_in_every_patch(chunks: tuple[int, ...] | None) -> None:
    labels = np.zeros((48, 96, 96), np.uint16)
    labels[5, 10:14, 20] = 7
    labels[30, 95, 95] = 9
    labels[0, 0, 0] = 8
    (volume,) = volume_of(labels)
    if chunks:
        volume = replace(volume, labels=Recording(labels, chunks))
    strong = replace(FULL, elastic=1.0, displacement=8.0, slip=1.0, slip_strength=6.0)
    sampler = PatchSampler([volume], (16, 24, 24), seed=0, augmentation=strong)
    ids = set()
    for step in range(60):
        patch = sampler.sample(step)
        assert patch.known.any()
        np.testing.assert_array_equal(patch.known, patch.labels > 0)
        ids.add(patch.start)
    assert len(ids) > 10


def test_a_painted_section_is_met_in_2d() -> None:
    labels = np.zeros((40, 32, 32), np.uint8)
    labels[17] = bricks((32, 32))
    sampler = PatchSampler(volume_of(labels, ndim=2), (16, 16), seed=0, augmentation=FULL)
    assert {sampler.sample(i).start[0] for i in range(10)} == {17}


def test_background_is_known_and_unlabelled_is_not() -> None:
    labels = bricks((24, 24, 24))
    labels[:, ::8] = 0
    for zero, share in (("background", 1.0), ("unlabelled", 0.875)):
        sampler = PatchSampler(volume_of(labels, zero=zero), (8, 8, 8), seed=0)
        patches = [sampler.sample(i) for i in range(20)]
        assert np.mean([p.known.mean() for p in patches]) == pytest.approx(share, abs=0.02)
        assert all((p.labels == 0).any() for p in patches)


def test_membranes_make_borders() -> None:
    mask = np.full((1, 60, 60), 255, np.uint8)
    mask[:, :, 30] = 0
    (volume,) = checked_volumes(TrainingVolume(raw=mask, labels=mask, kind="membranes"), ndim=2)
    sampler = PatchSampler([volume], (12, 12), seed=0, border_share=1.0)
    assert all(sampler.sample(i).labels.max() == 2 for i in range(10))


def test_raw_and_labels_stay_aligned_through_the_whole_way() -> None:
    labels = bricks((48, 48, 48), side=12)
    shown = replace(FULL, intensity=0.0, noise=0.0, blur=0.0, missing=0.0, section_contrast=0.0)
    sampler = PatchSampler(volume_of(labels), (20,) * 3, seed=0, augmentation=shown)
    for step in range(8):
        patch = sampler.sample(step)
        # Where raw is not interpolated between two objects, it says which one it is.
        whole = patch.raw[0] == np.rint(patch.raw[0])
        assert whole.mean() > 0.5
        for k in np.unique(patch.labels):
            _, counts = np.unique(patch.raw[0][whole & (patch.labels == k)], return_counts=True)
            assert counts.max(initial=0) >= 0.95 * counts.sum()


def test_huge_ids_are_told_apart() -> None:
    labels = bricks((20, 20, 20)).astype(np.uint64) + np.uint64(2**63)
    sampler = PatchSampler(volume_of(labels), (12,) * 3, seed=0, augmentation=FULL)
    patch = sampler.sample(0)
    assert sorted(np.unique(patch.labels)) == list(range(1, patch.labels.max() + 1))
    assert patch.labels.max() > 3


def test_normalisation_is_that_of_the_whole_volume() -> None:
    labels = bricks((24, 24, 24))
    raw = np.random.default_rng(0).integers(0, 4000, labels.shape).astype(np.uint16)
    volumes = checked_volumes((raw, labels), ndim=3)
    patch = PatchSampler(volumes, (8,) * 3, seed=0, normalise=Normalisation()).sample(0)
    window = tuple(slice(s, s + 8) for s in patch.start)
    expected = Normalisation().scaling(raw[None])(raw[None][:, *window])
    np.testing.assert_array_equal(patch.raw, expected)
    plain = PatchSampler(volumes, (8,) * 3, seed=0).sample(0)
    np.testing.assert_allclose(plain.raw[0], raw[window] / 65535, rtol=1e-6)


def test_only_a_small_part_of_files_is_read(tmp_path: Path) -> None:
    labels = np.tile(bricks((64, 64, 64)), (4, 4, 4))
    stored = zarr.create_array(tmp_path / "l.zarr", data=labels, chunks=(32, 32, 32))
    raw = Recording(labels.astype(np.uint8), (32, 32, 32))
    kept = Recording(labels, (32, 32, 32))
    (volume,) = checked_volumes((raw, kept), ndim=3)
    assert kept.voxels < 0.05 * labels.size
    kept.read.clear()
    sampler = PatchSampler([volume], (32, 32, 32), seed=0, augmentation=FULL)
    assert not kept.read
    patch = sampler.sample(0)
    assert kept.voxels < 8 * 64**3 < 0.2 * labels.size
    assert raw.voxels < 64**3
    assert max(max(shape) for shape in kept.read) <= 64
    (other,) = checked_volumes((labels.astype(np.uint8), stored), ndim=3)
    assert same(PatchSampler([other], (32,) * 3, seed=0, augmentation=FULL).sample(0), patch)


def test_patches_of_dask_arrays_are_those_of_the_arrays() -> None:
    import dask.array

    labels = bricks((32, 32, 32))
    chunked = dask.array.from_array(labels, chunks=(16, 8, (20, 12)))
    (volume,) = checked_volumes((chunked.astype("f4"), chunked), ndim=3)
    patch = PatchSampler([volume], (8,) * 3, seed=0).sample(0)
    window = tuple(slice(s, s + 8) for s in patch.start)
    np.testing.assert_array_equal(patch.raw[0], labels[window])


def test_sparse_labels_in_a_file_are_found_far_apart() -> None:
    labels = np.zeros((16, 16, 4096), np.uint8)
    labels[:, :, 4000], labels[:, :, 4001] = 1, 2
    (volume,) = volume_of(labels)
    volume = replace(volume, labels=Recording(labels, (8, 8, 8)))
    sampler = PatchSampler([volume], (8, 8, 8), seed=0)
    assert all(sampler.sample(i).labels.max() == 2 for i in range(5))


def test_unlabelled_voxels_make_no_border() -> None:
    labels = np.zeros((12, 12, 96), np.uint8)
    labels[:, :, :20], labels[:, :, 24:60], labels[:, :, 60:] = 1, 2, 3
    unlabelled, background = (
        PatchSampler(volume_of(labels, zero=zero), (8,) * 3, seed=0, border_share=1.0)
        for zero in ("unlabelled", "background")
    )
    assert all(unlabelled.sample(i).start[2] > 40 for i in range(30))
    assert min(background.sample(i).start[2] for i in range(30)) < 24


def test_nan_is_reported_with_its_place_when_it_is_read() -> None:
    labels = bricks((12, 12, 12))
    raw = labels.astype(np.float32)
    raw[3, 4, 5] = np.nan
    lazy = Recording(raw, (4, 4, 4))
    (volume,) = checked_volumes((lazy, labels), ndim=3)
    with pytest.raises(InputError, match=r"the training volume holds NaN.* at \(3, 4, 5\)"):
        PatchSampler([volume], (12, 12, 12), seed=0).sample(0)
    with pytest.raises(InputError, match=r"at \(3, 4, 5\)"):
        volume.read_raw(np.s_[2:5, 3:8, 5:6])


def test_negative_labels_in_files_are_reported_with_their_place() -> None:
    labels = bricks((12, 12, 12)).astype(np.int32)
    labels[11, 11, 11] = -4
    lazy = Recording(labels, (4, 4, 4))
    volume = TrainingVolume(raw=labels, labels=lazy, zero="unlabelled", kind="instances", name="a")
    with pytest.raises(InputError, match=r"labels of a hold -4, at \(11, 11, 11\)"):
        PatchSampler([volume], (12, 12, 12), seed=0).sample(0)
    with pytest.raises(InputError, match=r"at \(11, 11, 11\)"):
        volume.read_labels(np.s_[9:12, 3:12, 10:12])


def test_volumes_too_small_are_refused_or_patches_reduced() -> None:
    volumes = checked_volumes(
        [
            (np.zeros((20, 30, 41)), bricks((20, 30, 41))),
            (np.zeros((33, 25, 64)), bricks((33, 25, 64))),
        ],
        ndim=3,
    )
    with pytest.raises(
        InputError, match=r"\(32, 32, 32\) voxels do not fit into training volume 1"
    ):
        PatchSampler(volumes, (32,) * 3, seed=0)
    with pytest.warns(UserWarning, match=r"reduced to \(20, 24, 32\)"):
        assert fitting_patch((32,) * 3, volumes, stride=(4, 8, 8)) == (20, 24, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fitting_patch((16, 24), volumes, stride=8) == (16, 24)
    with pytest.raises(InputError, match=r"smallest volume has \(20, 25, 41\)"):
        fitting_patch((32,) * 3, volumes, stride=32)


def test_patches_as_large_as_the_volume_are_augmented() -> None:
    labels = bricks((16, 16, 16))
    sampler = PatchSampler(volume_of(labels), (16,) * 3, seed=0, augmentation=FULL)
    assert all(sampler.sample(i).labels.shape == (16,) * 3 for i in range(5))


@pytest.mark.parametrize("patch", [(8,), (0, 8, 8), (8, 8, 8, 8)])
def test_shapes_that_are_no_patch_are_refused(patch: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="patch_shape is"):
        PatchSampler(volume_of(bricks((16,) * 3)), patch, seed=0)


def test_unchecked_volumes_and_shares_are_refused() -> None:
    mask = np.ones((8, 8), np.uint8)
    with pytest.raises(InputError, match="checked_volumes"):
        PatchSampler([TrainingVolume(raw=mask, labels=mask, kind="membranes")], (4, 4), seed=0)
    with pytest.raises(InputError, match="at least one"):
        PatchSampler([], (4, 4), seed=0)
    with pytest.raises(InputError, match="border_share is 2"):
        PatchSampler(volume_of(bricks((16,) * 3)), (4, 4, 4), seed=0, border_share=2)


@given(data=st.data(), patch=st.integers(1, 20), more=st.integers(0, 30), margin=st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_patches_lie_inside_and_hold_what_they_were_chosen_for(
    data: st.DataObject, patch: int, more: int, margin: int
) -> None:
    size = patch + more
    centre = data.draw(st.integers(0, size - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    (start,), ((low, high),) = place_patch(rng, [centre], [patch], [size], [margin])
    assert 0 <= start <= centre < start + patch <= size
    assert 0 <= low <= margin
    assert 0 <= high <= margin
    assert start - low >= 0
    assert start + patch + high <= size


@given(centre=st.integers(10, 89), seed=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_patches_move_away_from_faces_to_have_their_margin(centre: int, seed: int) -> None:
    _, margins = place_patch(np.random.default_rng(seed), [centre], [16], [100], [6])
    assert margins == ((6, 6),)


@given(
    st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3), min_size=0, max_size=60),
    st.sampled_from([np.uint64, np.int64]),
)
@settings(max_examples=100, deadline=None)
def test_dense_ids_are_those_of_unique(values: list[int], dtype: type) -> None:
    labels = np.array(values, dtype)
    found = dense_ids(labels)
    assert found.dtype == np.int32
    assert found.shape == labels.shape
    np.testing.assert_array_equal(found == 0, labels == 0)
    if labels.size:
        expected = np.unique(np.append(labels, labels.dtype.type(0)), return_inverse=True)[1][:-1]
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "flat"),
    [((70, 300), False), ((3, 200, 50), False), ((64, 64, 64), False), ((3, 200, 150), True)],
)
def test_blocks_cover_an_array_once_and_are_walked_through_once(
    shape: tuple[int, ...], flat: bool
) -> None:
    blocks = Blocks(np.zeros(shape, np.uint8), flat=flat)
    seen = np.zeros(shape, int)
    for number in blocks.walk(start=len(blocks) // 2):
        seen[blocks.window(number)] += 1
    assert (seen == 1).all()
    assert not flat or blocks.block[0] == 1


@pytest.mark.parametrize(
    ("chunks", "block"),
    [
        ((64, 64, 64), (64, 64, 64)),
        ((8, 8, 8), (32, 32, 32)),
        ((1, 2048, 2048), (1, 512, 512)),
        ((1, 1, 2048), (32, 32, 256)),
        ((128, 128, 128), (64, 64, 64)),
    ],
)
def test_blocks_are_whole_chunks_or_lie_within_one(
    chunks: tuple[int, ...], block: tuple[int, ...]
) -> None:
    array = zarr.create_array(
        zarr.storage.MemoryStore(), shape=(256, 2048, 2048), chunks=chunks, dtype="u4"
    )
    assert Blocks(array).block == block


class Slow:
    """A sampler that takes its time, and fails at some step."""

    def __init__(self, delay: float = 0.0, fails: int = -1) -> None:
        self.delay, self.fails = delay, fails
        self.asked: list[tuple[int, int]] = []

    def sample(self, step: int, item: int = 0) -> Patch:
        self.asked.append((step, item))
        time.sleep(self.delay * ((7 * step + 3 * item) % 5) / 5)
        if step == self.fails:
            raise InputError(f"step {step} cannot be had")
        full = np.full((1, 2, 2), step * 10 + item, np.float32)
        return Patch(
            raw=full, labels=full[0].astype(np.int32), known=full[0] > 0, volume=0, start=(0, 0)
        )


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_come_in_order_whatever_the_number_of_threads(workers: int) -> None:
    with Prefetcher(Slow(0.005), range(3, 12), batch_size=3, workers=workers) as batches:
        found = [(b.step, b.raw[:, 0, 0, 0].tolist(), tuple(b.labels.shape)) for b in batches]
    assert found == [(s, [10.0 * s + i for i in range(3)], (3, 2, 2)) for s in range(3, 12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_reaches_the_caller_after_the_batches_before_it(workers: int) -> None:
    seen = []
    with (
        pytest.raises(InputError, match="step 4 cannot be had"),
        Prefetcher(Slow(fails=4), range(10), batch_size=2, workers=workers) as batches,
    ):
        seen.extend(batch.step for batch in batches)
    assert seen == [0, 1, 2, 3]


def test_few_batches_are_made_ahead() -> None:
    slow = Slow()
    with Prefetcher(slow, range(1000), batch_size=4, workers=2) as batches:
        next(iter(batches))
        time.sleep(0.2)
        assert 4 < len(slow.asked) <= 12


def test_closing_drops_what_was_not_begun() -> None:
    slow = Slow(0.3)
    with Prefetcher(slow, range(1000), batch_size=8, workers=1) as batches:
        next(batches_of := iter(batches))
        begin = time.perf_counter()
    assert time.perf_counter() - begin < 1.0
    count = len(slow.asked)
    assert count < 16
    time.sleep(0.4)
    assert len(slow.asked) == count
    del batches_of


def test_batches_are_tensors_on_a_device() -> None:
    import torch

    sampler = PatchSampler(volume_of(bricks((16,) * 3)), (8,) * 3, seed=0)
    with Prefetcher(sampler, range(2), batch_size=2, workers=1) as batches:
        batch = next(iter(batches)).to("cpu")
    assert batch.raw.shape == (2, 1, 8, 8, 8)
    assert (batch.raw.dtype, batch.labels.dtype, batch.known.dtype) == (
        torch.float32,
        torch.int32,
        torch.bool,
    )


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 1), (1, -1)])
def test_no_batch_and_no_threads_are_refused(batch_size: int, workers: int) -> None:
    with pytest.raises(InputError, match="batch_size is"):
        Prefetcher(Slow(), range(2), batch_size=batch_size, workers=workers)
