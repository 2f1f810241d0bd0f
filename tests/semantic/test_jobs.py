"""Learning classes from arrays, files, folders and OME-Zarr; stopping, resuming, bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from safetensors.numpy import load_file

from napari_implicitseg import (
    SemanticConfig,
    SemanticModel,
    evaluate_semantic,
    fit_scribbles,
    load_model,
    project_labels,
    train_semantic,
)
from napari_implicitseg.errors import Cancelled, FileError, InputError
from napari_implicitseg.semantic.sources import open_pairs, pair_files
from napari_implicitseg.volumes import Grid, write_labels

SMALL = SemanticConfig(
    depth=2,
    width=4,
    patch_shape=(32, 32),
    steps=12,
    validate_every=6,
    checkpoint_every=4,
    workers=0,
    precision="float32",
)


def scene(size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return discs with cores on a dark ground: an image and its classes 1, 2, 3."""
    rng = np.random.default_rng(seed)
    places = np.indices((size, size))
    mask = np.ones((size, size), np.uint8)
    for _ in range(3):
        centre = rng.uniform(0.2, 0.8, 2) * size
        away = np.hypot(*(places - centre[:, None, None]))
        mask[away < size / 7] = 2
        mask[away < size / 16] = 3
    image = np.choose(mask - 1, (30, 120, 220)) + rng.normal(0, 10, mask.shape)
    return np.clip(image, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def scenes():
    return [scene(56 + 8 * i, seed=i) for i in range(6)]


@pytest.fixture(scope="module")
def trained(scenes, tmp_path_factory):
    config = dataclasses.replace(SMALL, width=8, steps=150, validate_every=50)
    out = tmp_path_factory.mktemp("semantic") / "model"
    images, masks = zip(*scenes, strict=True)
    model = train_semantic(
        list(images), list(masks), config=config, out=out, classes=("ground", "disc", "core")
    )
    return model, out


def _pairs(folder: Path, scenes, *, mask: str = "_mask.png") -> Path:
    for i, (image, labels) in enumerate(scenes):
        Image.fromarray(image).save(folder / f"cell{i}.png")
        Image.fromarray(labels).save(folder / f"cell{i}{mask}")
    return folder


def test_training_learns_classes_of_images_of_different_sizes(scenes, trained):
    model, out = trained
    assert model.metrics["iou"] > 0.75
    assert model.metrics["accuracy"] > 0.93
    assert set(model.metrics["iou_per_class"]) == {"ground", "disc", "core"}
    assert np.sum(model.metrics["confusion"]) == sum(i["pixels"] for i in model.metrics["images"])
    image, mask = scene(90, seed=50)
    found = model.predict(image)
    assert found.shape == mask.shape
    assert np.mean(found == mask) > 0.93
    read = load_model(out)
    assert isinstance(read, SemanticModel)
    np.testing.assert_array_equal(read.predict(image), found)
    assert read.metrics == model.metrics


def test_what_was_held_out_is_what_was_measured(scenes, trained):
    model, out = trained
    images, masks = (list(part) for part in zip(*scenes, strict=True))
    found = evaluate_semantic(out, images, masks, held_out=True)
    assert found.as_dict()["images"] == model.metrics["images"]
    assert found.iou == model.metrics["iou"]
    everything = evaluate_semantic(model, images, masks)
    assert len(everything.images) == 6
    with pytest.raises(InputError, match="The image is not one that the training"):
        evaluate_semantic(model, images[0], masks[0], held_out=True)


def test_a_few_scribbles_are_enough(tmp_path):
    images, masks = zip(*(scene(seed=i) for i in range(3)), strict=True)
    sparse = []
    for mask in masks:
        kept = np.zeros_like(mask)
        kept[::6] = mask[::6]
        sparse.append(kept)
    config = dataclasses.replace(SMALL, steps=120, held_out=0.0)
    model = train_semantic(list(images), sparse, config=config, out=tmp_path / "m")
    assert not model.metrics
    image, mask = scene(seed=30)
    assert np.mean(model.predict(image) == mask) > 0.9


def test_a_prediction_is_evidence_and_objects(trained):
    model, _ = trained
    image, mask = scene(80, seed=41)
    evidence = np.maximum(model.evidence(image, "disc"), model.evidence(image, "core"))
    scribbles = np.zeros(mask.shape, np.uint8)
    place = tuple(np.argwhere(mask == 3)[0])
    scribbles[place] = 2
    scribbles[0] = 1
    fitted = fit_scribbles(image, scribbles, evidence=evidence)
    assert fitted.certificates[2].holds
    objects = model.objects(image, "disc", min_size=10)
    repaired = project_labels(objects, shape="connected")
    assert set(repaired.certificates) == set(np.unique(objects)) - {0}


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_a_training_that_was_stopped_and_resumed_ends_with_the_same_weights(scenes, tmp_path, stop):
    images, masks = (list(part) for part in zip(*scenes[:3], strict=True))
    calls = []

    def progress(fraction: float, message: str, /) -> None:
        calls.append(message)
        if len(calls) == stop:
            raise Cancelled("enough")

    train_semantic(images, masks, config=SMALL, out=tmp_path / "whole")
    with pytest.raises(Cancelled):
        train_semantic(images, masks, config=SMALL, out=tmp_path / "m", progress=progress)
    model = train_semantic(images, masks, config=SMALL, out=tmp_path / "m", resume=True)
    whole, parts = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "m"))
    assert all(np.array_equal(whole[k], parts[k]) for k in whole)
    assert model.metrics == load_model(tmp_path / "whole").metrics
    other = dataclasses.replace(SMALL, loss="cross-entropy")
    with pytest.raises(FileError, match="option loss"):
        train_semantic(images, masks, config=other, out=tmp_path / "m", resume=True)


def test_the_last_weights_are_kept_where_options_say_so(scenes, tmp_path):
    images, masks = (list(part) for part in zip(*scenes[:3], strict=True))
    config = SemanticConfig.preset(
        "report-2024", widths=(4, 6), steps=7, validate_every=3, workers=0, patch_shape=(32, 32)
    )
    model = train_semantic(images, masks, config=config, out=tmp_path / "m")
    assert model.metrics["step"] == 7
    assert model.training["steps"] == 7


def test_volumes_are_learned_in_three_dimensions(tmp_path):
    image = np.zeros((16, 24, 24), np.uint8)
    image[4:12, 6:18, 6:18] = 200
    mask = np.where(image > 0, 2, 1)
    config = SemanticConfig(
        depth=2, width=4, patch_shape=(8, 16, 16), steps=60, held_out=0, workers=0
    )
    model = train_semantic(image, mask, config=config, out=tmp_path / "m")
    assert model.ndim == 3
    assert np.mean(model.predict(image) == mask) > 0.95
    flat = dataclasses.replace(config, ndim=2, patch_shape=(16, 16), steps=2)
    assert train_semantic(image, mask, config=flat, out=tmp_path / "flat").ndim == 2


def test_folders_are_paired_by_name(scenes, tmp_path):
    both = _pairs(tmp_path, scenes[:3])
    assert [(a.name, b.name) for a, b in pair_files(both, both)] == [
        (f"cell{i}.png", f"cell{i}_mask.png") for i in range(3)
    ]
    model = train_semantic(both, both, config=SMALL, out=tmp_path / "model")
    assert model.training["held_out"][0].startswith("'cell")


@pytest.mark.parametrize(
    ("images", "masks", "wanted"),
    [
        (["a.png", "b.jpg"], ["a.png", "b.png"], {"a.png": "a.png", "b.jpg": "b.png"}),
        (["x_image.jpg"], ["x_truth.png"], {"x_image.jpg": "x_truth.png"}),
        (["s1.png", "s10.png"], ["s1_m.png", "s10_m.png"], {"s1.png": "s1_m.png"}),
        (["a.tif"], ["a.label.tif"], {"a.tif": "a.label.tif"}),
    ],
)
def test_names_that_belong_together(tmp_path, images, masks, wanted):
    for folder, names in (("i", images), ("m", masks)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    found = pair_files(tmp_path / "i", tmp_path / "m")
    assert wanted.items() <= {a.name: b.name for a, b in found}.items()
    assert len(found) == len(images)


def test_files_without_a_partner_are_named(tmp_path):
    for name in ("a.png", "a_mask.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    with pytest.warns(UserWarning, match=r"2 images have no mask and are left out: b.png, c.png"):
        pair_files(tmp_path, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "z.png").touch()
    with pytest.raises(FileError, match="No image of .* has a mask"):
        pair_files(tmp_path, tmp_path / "other")


def test_corrupt_files_are_named_counted_and_skipped(scenes, tmp_path):
    folder = _pairs(tmp_path, scenes[:4])
    whole = (folder / "cell1.png").read_bytes()
    (folder / "cell1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "cell3_mask.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"2 of 4 images are skipped.*cell1.png.*cell3_mask.png"):
        opened = open_pairs(folder, folder)
    assert [Path(v.name.strip("'")).name for v in opened.volumes] == ["cell0.png", "cell2.png"]
    assert len(opened.skipped) == 2
    with pytest.raises(FileError, match="cell1.png"):
        open_pairs(folder / "cell1.png", folder / "cell1_mask.png")


def test_pictures_of_every_kind_are_read(scenes, tmp_path):
    image, mask = scenes[0]
    colours = np.stack([image, image // 2, 255 - image], -1)
    opaque = np.concatenate([colours, np.full((*image.shape, 1), 9, np.uint8)], -1)
    kinds = {
        "grey.png": Image.fromarray(image),
        "rgb.png": Image.fromarray(colours),
        "rgba.png": Image.fromarray(opaque),
        "palette.png": Image.fromarray(colours).convert("P"),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / name)
    tifffile.imwrite(tmp_path / "deep.tif", image.astype(np.uint16) * 200)
    Image.fromarray(mask).save(tmp_path / "m.png")
    paths = [tmp_path / name for name in kinds]
    opened = open_pairs(paths, [tmp_path / "m.png"] * len(paths))
    assert {v.raw.shape for v in opened.volumes} == {(3, *mask.shape)}
    np.testing.assert_array_equal(opened.volumes[0].raw[1], image)
    np.testing.assert_array_equal(opened.volumes[2].raw, np.moveaxis(colours, -1, 0))
    deep = open_pairs(tmp_path / "deep.tif", tmp_path / "m.png").volumes[0]
    assert (deep.raw.shape, deep.raw.dtype) == ((1, *mask.shape), np.uint16)


def test_masks_of_colours_and_palettes_become_classes(scenes, tmp_path):
    image, mask = scenes[0]
    palette = np.array([[0, 0, 0], [0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)
    Image.fromarray(image).save(tmp_path / "i.png")
    Image.fromarray(palette[mask]).save(tmp_path / "rgb.png")
    indexed = Image.fromarray(mask).convert("P")
    indexed.putpalette(palette.ravel().tolist())
    indexed.save(tmp_path / "p.png")
    config = dataclasses.replace(SMALL, steps=1, held_out=0, zero="background")
    with pytest.warns(UserWarning, match=r"#000000 is class 1 \(background\), #008000 is class 2"):
        model = train_semantic(
            tmp_path / "i.png", tmp_path / "rgb.png", config=config, out=tmp_path / "a"
        )
    assert model.values == (0, 0x008000, 0x800000)
    named = SemanticConfig(
        steps=1, held_out=0, width=4, depth=2, workers=0, colours=True,
        classes=("cat", "dog"), values=(0x800000, 0x008000),
    )  # fmt: skip
    for name in ("rgb.png", "p.png"):
        out = tmp_path / name[:-4]
        model = train_semantic(tmp_path / "i.png", tmp_path / name, config=named, out=out)
        found = evaluate_semantic(model, tmp_path / "i.png", tmp_path / name)
        assert found.table.total == np.count_nonzero(mask > 1)
    plain = open_pairs(tmp_path / "i.png", tmp_path / "p.png").volumes[0]
    assert sorted(np.unique(plain.labels)) == [1, 2, 3]


def test_an_ome_zarr_with_its_labels_is_learned_from(scenes, tmp_path):
    import zarr

    image, mask = scenes[0]
    group = zarr.open_group(tmp_path / "em.zarr", mode="w", zarr_format=3)
    group.create_array("0", data=image)
    axes = [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"]
    scale = [{"type": "scale", "scale": [0.5, 0.5]}]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [
            {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
        ],
    }
    grid = Grid(axes=("y", "x"), scale=(0.5, 0.5), translate=(0, 0), units=("micrometer",) * 2)
    write_labels(tmp_path / "em.zarr" / "labels" / "tissue", mask, grid)
    config = dataclasses.replace(SMALL, steps=2, held_out=0)
    model = train_semantic(
        tmp_path / "em.zarr", tmp_path / "em.zarr" / "labels" / "tissue",
        config=config, out=tmp_path / "m",
    )  # fmt: skip
    assert (model.spacing, model.unit) == ((0.5, 0.5), "micrometer")


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (np.zeros((20, 20)), np.ones((20, 21), int), r"has shape \(20, 21\) but the image"),
        ([np.zeros((9, 9))] * 2, [np.ones((9, 9), int)], r"There are 2 images but 1 mask\."),
        ([], [], "There are no images"),
        (np.zeros((20, 20)), np.zeros((20, 20), int), "nothing to learn"),
        (np.zeros((20, 20)), np.ones((20, 20), int), "one class only"),
        (3, np.ones((20, 20), int), "Images or masks are int"),
        (np.zeros((20, 20), complex), np.ones((20, 20), int), "dtype complex128"),
        (np.zeros((2, 3, 4, 5)), np.ones((2, 3, 4, 5), int), "axes"),
        ([np.zeros((9, 9)), np.zeros((2, 9, 9))], [np.ones((9, 9), int)] * 2, "has . channels"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(tmp_path, images, masks, message):
    with pytest.raises(InputError, match=message):
        train_semantic(images, masks, config=SMALL, out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_images_that_do_not_go_together_are_refused(tmp_path):
    image, mask = scene()
    config = SemanticConfig(ndim=3, steps=1)
    with pytest.raises(InputError, match=r"has 2 axes, shape .*but the network 3"):
        train_semantic([image] * 2, [mask] * 2, config=config, out=tmp_path / "m")
    for name, size in (("a", 1.0), ("b", 2.0)):
        for part, values in (("", image), ("_mask", mask)):
            tifffile.imwrite(
                tmp_path / f"{name}{part}.tif", values, imagej=True,
                resolution=(1 / size, 1 / size), metadata={"unit": "um"},
            )  # fmt: skip
    with pytest.raises(InputError, match="One network learns one voxel size"):
        train_semantic(tmp_path, tmp_path, config=SMALL, out=tmp_path / "m")


def test_nan_in_an_image_is_told_with_its_place(tmp_path):
    image, mask = scene()
    broken = image.astype(float)
    broken[3, 4] = np.nan
    config = dataclasses.replace(SMALL, held_out=0.0, patch_shape=(64, 64))
    with pytest.raises(InputError, match=r"NaN or infinity at \(3, 4\)"):
        train_semantic(broken, mask, config=config, out=tmp_path / "m")


def test_mirror_images_are_measured_as_they_are_predicted(trained):
    model, _ = trained
    image, mask = scene(64, seed=60)
    found = evaluate_semantic(model, image, mask, mirrored=True)
    assert found.accuracy == np.mean(model.predict(image, mirrored=True) == mask)
    assert found.table.total == mask.size


def test_measuring_needs_masks_of_the_same_classes(trained):
    model, _ = trained
    image, mask = scene()
    with pytest.raises(InputError, match="holds 9, which is no class: those are 1, 2, 3"):
        evaluate_semantic(model, image, np.where(mask == 3, 9, mask))
    nine = evaluate_semantic(model, image, np.where(mask == 3, 9, mask), ignore=9)
    assert nine.table.total == np.count_nonzero(mask != 3)
    with pytest.raises(InputError, match="there is nothing to measure"):
        evaluate_semantic(model, image, np.zeros_like(mask))
    with pytest.raises(InputError, match="which is the class 'core'"):
        evaluate_semantic(model, image, mask, ignore=3)


def test_the_description_tells_what_was_learned_from(trained):
    _, out = trained
    told = json.loads((out / "model.json").read_text())
    assert told["kind"] == "classes"
    assert told["training"]["config"]["classes"] == ["ground", "disc", "core"]
    assert len(told["training"]["volumes"]) == 5
    assert len(told["training"]["held_out"]) == 1
