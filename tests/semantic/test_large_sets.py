"""Sets of images that do not stay in memory, and what was held out of any set, measured again."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import zarr
from safetensors.numpy import load_file

from napari_implicitseg import evaluate_semantic, train_semantic
from napari_implicitseg.errors import InputError
from napari_implicitseg.semantic import jobs
from napari_implicitseg.semantic.sources import open_pairs
from napari_implicitseg.training.array_cache import ArrayCache

from .test_jobs import SMALL, scene
from .test_jobs import _pairs as pairs_in


@pytest.fixture(scope="module")
def scenes():
    return [scene(56 + 8 * i, seed=i) for i in range(6)]


def _watch(monkeypatch) -> list[int]:
    """Note how much is in memory each time something was read."""
    kept: list[int] = []
    put = ArrayCache.put

    def watched(self, key, array):
        put(self, key, array)
        kept.append(self.nbytes)

    monkeypatch.setattr(ArrayCache, "put", watched)
    return kept


def test_files_that_do_not_stay_in_memory_teach_the_same(scenes, tmp_path, monkeypatch):
    folder = pairs_in(tmp_path, scenes)

    def train(name, **options):
        monkeypatch.setattr(jobs, "open_pairs", partial(open_pairs, **options))
        config = dataclasses.replace(SMALL, workers=2)
        return train_semantic(folder, folder, config=config, out=tmp_path / name)

    whole = train("whole")
    kept = _watch(monkeypatch)
    largest = max(image.nbytes for image, _ in scenes)
    lazy = train("lazy", keep=0)
    assert 0 < max(kept) <= largest
    assert len(kept) > 4 * len(scenes)  # Read again and again.
    weights = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "lazy"))
    one, other = weights
    assert all(np.array_equal(one[k], other[k]) for k in one)
    assert whole.metrics == lazy.metrics


def test_measuring_holds_one_image_at_a_time(scenes, tmp_path, monkeypatch):
    folder = pairs_in(tmp_path, scenes)
    model = train_semantic(folder, folder, config=SMALL, out=tmp_path / "model")
    kept = _watch(monkeypatch)
    told: list[str] = []
    found = evaluate_semantic(
        model, folder, folder, progress=lambda _, message: told.append(message)
    )
    assert len(found.images) == len(scenes)
    assert max(kept) <= max(image.nbytes for image, _ in scenes)
    assert told[0] == f"Looking at image 1 of {len(scenes)}"


def test_only_what_was_held_out_is_read_to_measure_it(scenes, tmp_path):
    folder = pairs_in(tmp_path, scenes)
    model = train_semantic(folder, folder, config=SMALL, out=tmp_path / "model")
    (held,) = model.training["held_out"]
    for path in folder.glob("cell?.png"):
        if path.name != held.strip("'"):
            path.write_bytes(b"broken")
    found = evaluate_semantic(model, folder, folder, held_out=True)
    assert [image.name for image in found.images] == [held]
    assert found.as_dict()["images"] == model.metrics["images"]


def test_the_part_of_a_single_image_that_was_held_out_is_measured_again(scenes, tmp_path):
    image, mask = scenes[3]
    with pytest.warns(UserWarning, match="There is one image only: its part"):
        model = train_semantic(image, mask, config=SMALL, out=tmp_path / "model")
    (held,) = model.training["held_out"]
    assert held.startswith("the image (")
    found = evaluate_semantic(model, image, mask, held_out=True)
    assert found.as_dict()["images"] == model.metrics["images"]
    assert found.table.total < mask.size / 3
    with pytest.raises(InputError, match="The image has shape .*, and the part .* of it was held"):
        evaluate_semantic(model, image[:20, :20], mask[:20, :20], held_out=True)


def test_arrays_in_files_lose_their_transparency_where_they_lie(scenes):
    image, mask = scenes[0]
    opaque = np.stack([image, image, image, np.full_like(image, 9)], axis=-1)
    stored = zarr.array(opaque, chunks=(20, 20, 4))
    (volume,) = open_pairs(stored, mask).volumes
    assert not isinstance(volume.raw, np.ndarray)
    np.testing.assert_array_equal(np.asarray(volume.raw), np.stack([image] * 3))
    (grey,) = open_pairs(stored, mask, channels=1).volumes
    np.testing.assert_array_equal(np.asarray(grey.raw), image[None])
