"""What is learned from is checked before training, and parts of it are held out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from scipy import ndimage

from napari_implicitseg.errors import InputError
from napari_implicitseg.training import membranes
from napari_implicitseg.training.examples import TrainingVolume, checked_volumes, hold_out
from napari_implicitseg.training.membranes import membranes_to_instances

from .helpers import Recording, bricks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = bricks((20, 24, 28))
RAW = np.random.default_rng(0).integers(0, 255, LABELS.shape).astype(np.uint8)


def walls(shape: tuple[int, ...], high: Any = 255, low: Any = 0, dtype: Any = np.uint8) -> Any:
    """Cells with membranes between them in each section."""
    mask = np.full(shape, high, dtype)
    mask[..., 10, :] = low
    mask[..., 12] = low
    return mask


@pytest.mark.parametrize(
    "volumes",
    [
        (RAW, LABELS),
        [RAW, LABELS],
        [(RAW, LABELS)],
        {"raw": RAW, "labels": LABELS},
        TrainingVolume(raw=RAW, labels=LABELS),
        [TrainingVolume(raw=RAW, labels=LABELS)],
        (v for v in [(RAW, LABELS)]),
        (RAW.tolist(), LABELS.tolist()) and [(RAW.tolist(), LABELS)],
    ],
    ids=["pair", "list", "pairs", "mapping", "volume", "volumes", "generator", "nested lists"],
)
def test_volumes_are_taken_in_every_form(volumes: Any) -> None:
    (volume,) = checked_volumes(volumes, ndim=3)
    np.testing.assert_array_equal(volume.raw, RAW[None])
    np.testing.assert_array_equal(volume.labels, LABELS)
    assert (volume.kind, volume.zero, volume.spacing) == ("instances", "unlabelled", (1.0,) * 3)
    assert volume.describe() == {
        "name": "the training volume",
        "shape": [20, 24, 28],
        "channels": 1,
        "spacing": [1.0, 1.0, 1.0],
        "zero": "unlabelled",
    }


def test_checked_volumes_may_be_checked_again() -> None:
    once = checked_volumes([(RAW, LABELS), (RAW, LABELS)], ndim=3)
    again = checked_volumes(once, ndim=3, in_channels=1)
    assert [v.raw.shape for v in again] == [v.raw.shape for v in once]
    assert [v.name for v in again] == ["training volume 1", "training volume 2"]


def test_what_a_volume_says_goes_before_what_all_are_said_to_be() -> None:
    own = TrainingVolume(
        raw=RAW, labels=LABELS, kind="instances", zero="background", spacing=(4, 1, 1)
    )
    volumes = checked_volumes([own, (RAW, walls(RAW.shape))], ndim=2, kind="membranes")
    assert volumes[1].zero == "background"
    assert volumes[0].zero == "background"
    default = checked_volumes([replace(own, zero=None)], ndim=2, kind="membranes")
    assert default[0].zero == "unlabelled"
    assert default[0].spacing == (4.0, 1.0, 1.0)


def test_arrays_in_files_are_not_read_whole(tmp_path: Path) -> None:
    labels = np.tile(LABELS, (5, 5, 5))
    stored = zarr.create_array(tmp_path / "l.zarr", data=labels, chunks=(16, 16, 16))
    raw, kept = Recording(labels.astype("f4"), (16,) * 3), Recording(labels, (16,) * 3)
    (volume,) = checked_volumes((raw, kept), ndim=3)
    assert raw.voxels == 0
    assert kept.voxels < 0.1 * labels.size
    train, held = hold_out(volume)
    assert held is not None
    assert raw.voxels == 0
    assert kept.voxels < 0.2 * labels.size
    for part, window in ((train, np.s_[:, :, :105]), (held, np.s_[:, :, 105:])):
        np.testing.assert_array_equal(part.labels[...], labels[window])
        np.testing.assert_array_equal(
            part.read_raw(np.s_[3:5, 1:2, 4:9])[0], labels[window][3:5, 1:2, 4:9]
        )
    (zarred,) = checked_volumes((stored, stored), ndim=3)
    assert zarred.raw.shape == (1, *labels.shape)
    np.testing.assert_array_equal(zarred.read_labels(np.s_[1:9, 2:9, 3:9]), labels[1:9, 2:9, 3:9])


def test_channels_are_counted() -> None:
    colours = np.stack([RAW, RAW, RAW])
    (volume,) = checked_volumes((colours, LABELS), ndim=3, in_channels=3)
    assert volume.channels == 3
    with pytest.raises(InputError, match="has 3 channels, shape .* the network takes 1"):
        checked_volumes((colours, LABELS), ndim=3, in_channels=1)
    with pytest.raises(InputError, match="training volume 2 has 3 channels.* 1 has 1"):
        checked_volumes([(RAW, LABELS), (colours, LABELS)], ndim=3)
    with pytest.raises(InputError, match="colours last; .* numpy.moveaxis"):
        checked_volumes((np.moveaxis(colours, 0, -1), LABELS), ndim=3)


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ((RAW[1:], LABELS), r"shape \(19, 24, 28\) but its labels \(20, 24, 28\)"),
        ((RAW, LABELS * 0), "labels of the training volume are all 0: no voxel is labelled"),
        ((RAW, LABELS > 3), "dtype bool; ids are integers.* labels='membranes'"),
        ((RAW, LABELS * 1.0), "dtype float64; ids are integers"),
        ((RAW, LABELS.astype(int) - 5), r"hold -4, at \(0, 0, 0\)"),
        ((RAW, np.where(LABELS == 4, LABELS, 0)), "only one label .* zero='background'"),
        ((RAW, np.ones_like(LABELS)), "only one label"),
        ((np.where(LABELS == 9, np.nan, RAW), LABELS), r"NaN or infinity at \(0, 16, 0\)"),
        ((np.where(LABELS == 9, np.inf, RAW), LABELS), r"NaN or infinity at \(0, 16, 0\)"),
        ((RAW[0], LABELS[0]), r"have 2 axes, shape \(24, 28\), but the network 3"),
        ((RAW[None], LABELS[None]), "have 4 axes"),
        ((RAW[:0], LABELS[:0]), r"is empty: its shape is \(1, 0, 24, 28\)|is empty: its shape"),
        ((RAW.astype(complex), LABELS), "raw image of the training volume has dtype complex128"),
        ((RAW, LABELS.astype(object)), "label image of the training volume has dtype object"),
        ([], "no volumes"),
        (RAW, r"one array of shape \(20, 24, 28\); needed are raw images with their labels"),
        ("train.tif", "'train.tif'; needed are raw images"),
        ([RAW, LABELS, RAW], r"A training volume is one array of shape .*; give \(raw, labels\)"),
        ({"image": RAW, "labels": LABELS}, "keys image, labels; needed are raw and labels"),
        ({"raw": RAW}, "keys raw; needed are raw and labels"),
        (TrainingVolume(raw=RAW, labels=LABELS, spacing=(1, 1)), "spacing of .* 3 axes"),
        (TrainingVolume(raw=RAW, labels=LABELS, spacing=(1, 0, 1)), "one positive number"),
        (TrainingVolume(raw=RAW, labels=LABELS, kind="cells"), "kind .* 'cells'; use"),
        (TrainingVolume(raw=RAW, labels=LABELS, zero="none"), "zero .* 'none'; use"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(volumes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_volumes(volumes, ndim=3)


def test_voxel_sizes_have_to_agree_where_both_are_known() -> None:
    volume = TrainingVolume(
        raw=RAW, labels=LABELS, spacing=(40, 4, 4), labels_spacing=(50, 4, 4), name="a"
    )
    with pytest.raises(InputError, match=r"raw image of a has spacing \(40.0.*labels \(50.0"):
        checked_volumes(volume, ndim=3)
    for other in ((40.1, 4, 4), None):
        (checked,) = checked_volumes(replace(volume, labels_spacing=other), ndim=3)
        assert checked.spacing == (40.0, 4.0, 4.0)
    (checked,) = checked_volumes(replace(volume, spacing=None), ndim=3)
    assert checked.spacing == (50.0, 4.0, 4.0)


def test_one_label_is_enough_beside_background_or_in_another_volume() -> None:
    one = (LABELS == 4).astype(np.uint8)
    checked_volumes((RAW, one), ndim=3, zero="background")
    checked_volumes([(RAW, one), (RAW, LABELS)], ndim=3)
    with pytest.raises(InputError, match="one and the same label"):
        checked_volumes((RAW, np.ones_like(one)), ndim=3, zero="background")


@pytest.mark.parametrize(
    ("high", "low", "dtype"),
    [
        (255, 0, np.uint8),
        (1, 0, np.int64),
        (True, False, bool),
        (0.9, 0.2, np.float32),
        (7, 3, "u2"),
    ],
)
def test_membranes_enclose_instances(high: Any, low: Any, dtype: Any) -> None:
    mask = walls((3, 20, 28), high, low, dtype)
    volume = TrainingVolume(raw=mask, labels=mask, kind="membranes", spacing=(10, 1, 1))
    (found,) = checked_volumes(volume, ndim=2)
    assert (found.kind, found.zero) == ("instances", "background")
    labels = np.asarray(found.labels)
    np.testing.assert_array_equal(labels == 0, mask == mask.min())
    assert labels.max() == 12  # four cells in each of three sections, none shared
    for z in range(3):
        expected, count = ndimage.label(mask[z] > low)
        assert count == 4
        pairs = np.unique(np.stack([expected, labels[z]]).reshape(2, -1), axis=1)
        assert pairs.shape[1] == 5


def test_membranes_of_an_isotropic_stack_enclose_bodies_in_3d() -> None:
    mask = walls((6, 20, 28))
    (found,) = checked_volumes((mask, mask), ndim=3, kind="membranes")
    assert np.asarray(found.labels).max() == 4
    (undecided,) = checked_volumes((mask, mask), ndim=None, kind="membranes")
    assert undecided.kind == "membranes"


def test_large_masks_are_labelled_window_by_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membranes, "_WHOLE", 100)
    mask = walls((3, 40, 40))
    kept = Recording(mask, (1, 16, 16))
    volume = TrainingVolume(raw=kept, labels=kept, spacing=(10.0, 1.0, 1.0), name="m")
    found = membranes_to_instances(volume, sections=True)
    assert kept.voxels < mask.size
    window = found.read_labels(np.s_[1:3, 8:20, 8:20])
    assert window.shape == (2, 12, 12)
    np.testing.assert_array_equal(window == 0, mask[1:3, 8:20, 8:20] == 0)
    assert len(np.unique(window)) == 9
    assert found.read_labels(np.s_[0:1, :, :]).max() == 4
    assert found.labels[0].max() == 4


@pytest.mark.parametrize(
    ("mask", "spacing", "ndim", "message"),
    [
        (bricks((4, 20, 28)), (1, 1, 1), 3, "more than two values: 1, 2, .*kind='instances'"),
        (np.full((4, 20, 28), 255), (1, 1, 1), 3, "is 255 everywhere"),
        (walls((4, 20, 28), 3.0, 0.0, float), (1, 1, 1), 3, "from 0 to 3; .* probability"),
        (walls((4, 20, 28)), (50, 4, 4), 3, "12.5 times further .*Train a 2D network"),
    ],
)
def test_masks_that_enclose_nothing_are_refused(
    mask: NDArray[Any], spacing: tuple[float, ...], ndim: int, message: str
) -> None:
    volume = TrainingVolume(raw=mask, labels=mask, kind="membranes", spacing=spacing)
    with pytest.raises(InputError, match=message):
        checked_volumes(volume, ndim=ndim)


def test_membranes_know_no_unlabelled_voxels() -> None:
    mask = walls((4, 20, 28))
    volume = TrainingVolume(raw=mask, labels=mask, kind="membranes", zero="unlabelled")
    with pytest.raises(InputError, match="in membranes 0 is membrane"):
        checked_volumes(volume, ndim=2)


@pytest.mark.parametrize(
    ("spacing", "axis", "cut"),
    [
        (None, None, np.s_[:, :, 21:]),
        ((1, 1, 1), 1, np.s_[:, 18:]),
        ((1, 1, 1), -3, np.s_[15:]),
        ((50, 4, 4), None, np.s_[15:]),
    ],
)
def test_a_block_at_the_end_is_held_out(spacing: Any, axis: int | None, cut: Any) -> None:
    (volume,) = checked_volumes(TrainingVolume(raw=RAW, labels=LABELS, spacing=spacing), ndim=3)
    train, held = hold_out(volume, axis=axis)
    assert held is not None
    np.testing.assert_array_equal(held.labels, LABELS[cut])
    np.testing.assert_array_equal(held.raw[0], RAW[cut])
    assert train.labels.size + held.labels.size == LABELS.size
    assert np.shares_memory(train.labels, LABELS)
    assert "held-out" in held.name


def test_another_axis_is_cut_if_the_end_has_no_labels() -> None:
    labels = np.zeros_like(LABELS)
    labels[4] = LABELS[4]
    (volume,) = checked_volumes(TrainingVolume(raw=RAW, labels=labels, spacing=(50, 4, 4)), ndim=2)
    train, held = hold_out(volume)
    assert held is not None
    assert train.shape == (20, 24, 21)
    assert held.labels.any()
    with pytest.raises(InputError, match="along axis 0: one part would have too few labels"):
        hold_out(volume, axis=0)


def test_nothing_is_held_out_of_too_few_labels() -> None:
    labels = np.zeros_like(LABELS)
    labels[0, 0, :2] = 1, 2
    (volume,) = checked_volumes((RAW, labels), ndim=3)
    with pytest.warns(UserWarning, match="training volume has too few labels"):
        train, held = hold_out(volume)
    assert train is volume
    assert held is None


@pytest.mark.parametrize("share", [0, 1, -0.2, 2])
def test_shares_out_of_range_are_refused(share: float) -> None:
    (volume,) = checked_volumes((RAW, LABELS), ndim=3)
    with pytest.raises(InputError, match=f"held out is {share}"):
        hold_out(volume, share)
    with pytest.raises(InputError, match="axis is 3"):
        hold_out(volume, axis=3)


def test_masked_labels_are_unlabelled_where_masked() -> None:
    masked = np.ma.MaskedArray(LABELS, mask=LABELS == 3)
    (volume,) = checked_volumes((RAW, masked), ndim=3)
    assert not (np.asarray(volume.labels) == 3).any()


def test_the_shared_volumes_are_taken(data_dir: Path) -> None:
    from napari_implicitseg.volumes import read_image, read_labels

    folder = data_dir / "em" / "fib25"
    pair = (read_image(folder / "raw.tif").data, read_labels(folder / "neurons.tif").data)
    (volume,) = checked_volumes(pair, ndim=3)
    train, held = hold_out(volume)
    assert held is not None
    assert (train.shape, held.shape) == ((188, 250, 250), (62, 250, 250))
