"""What a model tells of its training: images held out found by name, and damage."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import tifffile

from napari_implicitseg import evaluate_semantic, train_semantic
from napari_implicitseg.errors import FileError, InputError

from .test_jobs import SMALL, scene

CONFIG = dataclasses.replace(SMALL, steps=1)


@pytest.fixture
def alike(tmp_path):
    """Return images of one name in folders of their own, and their masks."""
    paths = []
    for i, name in enumerate(("one/a", "one/b", "two/a")):
        image, mask = scene(40, seed=i)
        (tmp_path / name).mkdir(parents=True)
        tifffile.imwrite(tmp_path / name / "x.tif", image)
        tifffile.imwrite(tmp_path / name / "x_mask.tif", mask)
        paths.append((tmp_path / name / "x.tif", tmp_path / name / "x_mask.tif"))
    return tuple(list(part) for part in zip(*paths, strict=True))


def _edited(model, out, **training):
    """Write a model with another description."""
    model.save(out)
    path = out / "model.json"
    told = json.loads(path.read_text())
    told["training"] |= training
    path.write_text(json.dumps(told))
    return out


@pytest.mark.parametrize("seed", range(3))
def test_files_of_one_name_are_told_apart(alike, tmp_path, seed):
    config = dataclasses.replace(CONFIG, seed=seed)
    model = train_semantic(*alike, config=config, out=tmp_path / "m")
    (held,) = model.training["held_out"]
    taught = [volume["name"] for volume in model.training["volumes"]]
    assert {held, *taught} == {"'one/a/x.tif'", "'b/x.tif'", "'two/a/x.tif'"}
    found = evaluate_semantic(model, *alike, held_out=True)
    assert found.as_dict()["images"] == model.metrics["images"]
    place = next(i for i, p in enumerate(alike[0]) if str(p).endswith(held.strip("'")))
    alone = evaluate_semantic(model, alike[0][place], alike[1][place])
    assert alone.matrix.tolist() == found.matrix.tolist()
    again = evaluate_semantic(model, alike[0][place], alike[1][place], held_out=True)
    assert again.matrix.tolist() == found.matrix.tolist()


def test_names_that_do_not_tell_are_refused(alike, tmp_path):
    model = train_semantic(*alike, config=CONFIG, out=tmp_path / "m")
    taught = [{**v, "name": "'x.tif'"} for v in model.training["volumes"]]
    old = _edited(model, tmp_path / "old", held_out=["'x.tif'"], volumes=taught)
    with pytest.raises(InputError, match="held out 'x.tif', and learned from another"):
        evaluate_semantic(old, *alike, held_out=True)
    told = [{**v, "name": f"'y{i}.tif'"} for i, v in enumerate(taught)]
    new = _edited(model, tmp_path / "new", held_out=["'x.tif'"], volumes=told)
    with pytest.raises(InputError, match=r"held out 'x.tif', which may be .*a/x.tif' or "):
        evaluate_semantic(new, *alike, held_out=True)
    one = evaluate_semantic(new, alike[0][1], alike[1][1], held_out=True)
    assert [image.name for image in one.images] == ["'x.tif'"]


@pytest.mark.parametrize(
    "training",
    [
        {"config": 3},
        {"config": {"ignore": "x"}},
        {"config": {"ignore": True}},
        {"config": {"values": 3}},
        {"config": {"colours": "no"}},
        {"held_out": 3},
        {"held_out": [["a"]]},
        {"volumes": "none"},
    ],
)
def test_a_description_that_was_edited_is_told(tmp_path, training):
    image, mask = scene(40)
    config = dataclasses.replace(CONFIG, held_out=0)
    model = train_semantic(image, mask, config=config, out=tmp_path / "m")
    path = _edited(model, tmp_path / "edited", **training)
    with pytest.raises(FileError, match=r"is damaged: training\.\w+.* in its description is"):
        evaluate_semantic(path, image, mask, held_out=True)


@pytest.mark.parametrize("ignore", ["x", 2**64, 1.5])
def test_what_is_ignored_is_a_number_that_masks_hold(tmp_path, ignore):
    image, mask = scene(40)
    config = dataclasses.replace(CONFIG, held_out=0)
    model = train_semantic(image, mask, config=config, out=tmp_path / "m")
    with pytest.raises(InputError, match="whole number|use numbers up to"):
        evaluate_semantic(model, image, mask, ignore=ignore)
    huge = mask.astype(np.uint64)
    huge[0, 0] = 2**63 + 5
    with pytest.raises(InputError, match="holds 9223372036854775813"):
        evaluate_semantic(model, image, huge)
