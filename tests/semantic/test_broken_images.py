"""Images that fail while they are learned from, or measured: what was learned is not lost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from safetensors.numpy import load_file

from napari_implicitseg import train_semantic
from napari_implicitseg.errors import FileError, InputError

from .test_jobs import SMALL, scene

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = dataclasses.replace(SMALL, steps=9, validate_every=4, checkpoint_every=100)


class Lazy:
    """An image that is read by windows, and may be mended."""

    def __init__(self, image: np.ndarray, place: tuple[int, int] | None = None) -> None:
        self.whole = image.astype(np.float32)
        self.shape, self.dtype, self.ndim = self.whole.shape, self.whole.dtype, 2
        self.broken = self.whole.copy()
        if place is not None:
            self.broken[place] = np.nan

    def mend(self) -> None:
        self.broken = self.whole

    def __getitem__(self, index):
        return self.broken[index]


def _weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def pairs():
    return [scene(96, seed=i) for i in range(4)]


@pytest.mark.parametrize("number", range(4))
def test_nan_in_memory_is_found_before_the_first_step(pairs, tmp_path, number):
    images, masks = ([*part] for part in zip(*pairs, strict=True))
    images[number] = images[number].astype(np.float32)
    images[number][90, 3] = np.inf
    steps = []
    with pytest.raises(InputError, match=rf"image {number + 1} holds NaN or infinity at \(90, 3\)"):
        train_semantic(
            images, masks, config=CONFIG, out=tmp_path / "m", progress=lambda *a: steps.append(a)
        )
    assert not steps
    assert not (tmp_path / "m").exists()


def test_nan_in_a_file_is_found_before_the_first_step(pairs, tmp_path):
    for i, (image, mask) in enumerate(pairs):
        broken = image.astype(np.float32)
        broken[5, 7] = np.nan if i == 2 else 0
        tifffile.imwrite(tmp_path / f"{i}.tif", broken)
        tifffile.imwrite(tmp_path / f"{i}_mask.tif", mask)
    with pytest.raises(InputError, match=r"2.tif' holds NaN or infinity at \(5, 7\)"):
        train_semantic(tmp_path, tmp_path, config=CONFIG, out=tmp_path / "m")


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_goes_on_once_an_image_is_mended(pairs, tmp_path, held, workers):
    config = dataclasses.replace(CONFIG, workers=workers)
    masks = [mask for _, mask in pairs]
    whole = train_semantic(
        [Lazy(image) for image, _ in pairs], masks, config=config, out=tmp_path / "whole"
    )
    (out,) = (int(name.split()[1]) - 1 for name in whole.training["held_out"])
    number = out if held else (out + 1) % 4
    place = (88, 2)  # Not in the middle, of which some is looked at before.
    images = [Lazy(im, place if i == number else None) for i, (im, _) in enumerate(pairs)]
    with pytest.raises(
        InputError, match=r"\(88, 2\).* is kept up to step (\d+): mend this"
    ) as found:
        train_semantic(images, masks, config=config, out=tmp_path / "m")
    assert (tmp_path / "m" / "training" / "checkpoint.safetensors").is_file()
    assert not held or "step 4:" in str(found.value)
    images[number].mend()
    model = train_semantic(images, masks, config=config, out=tmp_path / "m", resume=True)
    one, other = _weights(tmp_path / "whole"), _weights(tmp_path / "m")
    assert all(np.array_equal(one[k], other[k]) for k in one)
    assert model.metrics == whole.metrics


def test_nan_in_the_middle_of_a_lazy_image_costs_no_step(pairs, tmp_path):
    image, mask = pairs[0]
    config = dataclasses.replace(CONFIG, held_out=0.0)
    with pytest.raises(InputError, match=r"\(50, 50\)\. Replace"):
        train_semantic(Lazy(image, (50, 50)), mask, config=config, out=tmp_path / "m")
    # Nothing is in the way of beginning anew.
    train_semantic(Lazy(image), mask, config=config, out=tmp_path / "m")


def test_a_file_that_is_gone_meanwhile_leaves_a_checkpoint(pairs, tmp_path):
    class Gone(Lazy):
        reads = 0

        def __getitem__(self, index):
            Gone.reads += 1
            if Gone.reads == 12:
                raise FileError("'x.tif' is gone.")
            return super().__getitem__(index)

    image, mask = pairs[0]
    config = dataclasses.replace(CONFIG, held_out=0.0)
    with pytest.raises(FileError, match="is gone.*kept up to step [1-9]"):
        train_semantic(Gone(image), mask, config=config, out=tmp_path / "m")
    model = train_semantic(Lazy(image), mask, config=config, out=tmp_path / "m", resume=True)
    assert model.training["steps"] == 9
