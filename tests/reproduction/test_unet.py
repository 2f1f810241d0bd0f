"""The tables of U-Nets for classes."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg.errors import FileError
from napari_implicitseg.reproduction import unet, unet_parts
from napari_implicitseg.reproduction.class_cases import CLASS_SETS
from napari_implicitseg.reproduction.class_scores import cross_validate
from napari_implicitseg.semantic_config import PRESETS

from ..command_line import run

# A few steps do not teach a rare class, and the images are smaller than usual patches.
pytestmark = pytest.mark.filterwarnings("ignore:The patches of")


def rings(shape, seed):
    """Discs in rings: 0 outside, 1 the ring, 2 the disc."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 2) + rng.uniform(-2, 2)
    return np.digitize(-distance, [-13, -8])


def write_sets(folder):
    """Write three small sets, laid out as the real ones."""
    for part in ("cells/wbc", "em/axons", "photos/pets"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for k in range(10):
        kind = rings((32, 36), k)
        grey = 60 + 60 * kind + rng.integers(-20, 20, kind.shape)
        colour = np.stack([grey, grey // 2, 255 - grey], axis=-1).astype(np.uint8)
        Image.fromarray(colour).save(folder / f"cells/wbc/{k:03}.bmp")
        mask = np.array([0, 128, 255], np.uint8)[kind]
        Image.fromarray(mask).save(folder / f"cells/wbc/{k:03}_mask.png")
    for k in range(5):
        kind = rings((40, 40), k)
        grey = (60 + 60 * kind + rng.integers(-20, 20, kind.shape)).astype(np.uint8)
        alpha = np.full_like(grey, 255)
        both = np.stack([grey, alpha], axis=-1)
        name = folder / f"em/axons/sub-{k}_SEM.png"
        Image.fromarray(both if k == 2 else grey).save(name)
        mask = np.array([0, 127, 255], np.uint8)[kind]
        Image.fromarray(mask).save(name.with_name(f"sub-{k}_SEM_axonmyelin.png"))
    for k in range(4):
        kind = rings((200, 320), k)
        animal = (128, 0, 0) if k % 2 else (0, 128, 0)
        truth = np.array([(0, 0, 0), (255, 255, 255), animal], np.uint8)[kind]
        Image.fromarray(rng.integers(0, 255, truth.shape, np.uint8)).save(
            folder / f"photos/pets/animal_{k}_image.jpg"
        )
        Image.fromarray(truth).save(folder / f"photos/pets/animal_{k}_truth.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sets")
    write_sets(made)
    return made


@pytest.fixture
def sets(folder, monkeypatch):
    """The small sets, and networks as small."""
    monkeypatch.setenv("IMPLICITSEG_DATA", str(folder))
    small = {"batch_size": 1, "patch_shape": (32, 32)}
    monkeypatch.setitem(PRESETS, "default", {**small, "width": 2, "depth": 2})
    monkeypatch.setitem(
        PRESETS, "report-2024", {**PRESETS["report-2024"], **small, "widths": (4, 8)}
    )
    return folder


def test_masks_become_classes(sets):
    for name, classes in (("wbc", {1, 2, 3}), ("axons", {1, 2, 3})):
        for case in CLASS_SETS[name].cases():
            assert set(np.unique(case.mask)) == classes
            assert case.mask.shape == case.image.shape[:2]
    assert all(case.image.ndim == 2 for case in CLASS_SETS["axons"].cases())
    pets = CLASS_SETS["pets"].cases()
    # Borders say nothing; an animal is a cat or a dog.
    assert [set(np.unique(case.mask)) for case in pets] == [{0, 1, 3}, {0, 1, 2}] * 2
    assert {case.image.shape for case in pets} == {(100, 160, 3)}


def test_each_image_is_held_out_once_and_never_learned_from_then(sets):
    for one in CLASS_SETS.values():
        cases = one.cases()
        seen = []
        for fold in range(one.folds):
            taught, held = one.parts(cases, fold)
            assert {c.name for c in taught} | {c.name for c in held} == {c.name for c in cases}
            assert len(taught) + len(held) == len(cases)
            seen += [case.name for case in held]
        assert sorted(seen) == sorted(case.name for case in cases)


def test_few_images_are_learned_from_where_that_is_wanted(sets):
    one = CLASS_SETS["wbc"]
    cases = one.cases()
    taught, held = replace(one, few=True).parts(cases, 1)
    assert (held, taught) == one.parts(cases, 1)
    assert len(taught) == 2


def test_figures_are_those_of_the_pixels_that_were_held_out(sets):
    one = CLASS_SETS["axons"]
    cases = one.cases()
    found = cross_validate(one, cases, "default", steps=1, seed=0, folds=2, worst=1)
    assert [image.name for image in found.figures.images] == [case.name for case in cases[:2]]
    assert found.figures.matrix.sum() == sum(case.mask.size for case in cases[:2])
    assert found.figures.matrix.sum(axis=1).tolist() == [
        sum(int((case.mask == i).sum()) for case in cases[:2]) for i in (1, 2, 3)
    ]
    (picture,) = found.worst.values()
    assert picture.shape == (40, 3 * 40 + 8, 3)


def test_the_table_has_both_presets_and_the_reports_figures(sets, tmp_path):
    report = unet.reproduce(limit=1, steps=12, seed=0, progress=None)
    text = report.markdown()
    assert "| the report's (its own images) | - | - | 0.810 | 0.627 |" in text
    assert "far too few" in text
    for name in CLASS_SETS:
        for preset in ("default", "report-2024"):
            assert 0 <= report.figures[f"{name}/{preset}/iou"] <= 1
        for kind in ("confusion", "worst"):
            drawn = io.BytesIO()
            report.plots[f"unet-{name}-{kind}"](drawn)
            assert np.asarray(Image.open(drawn)).std() > 1
    # Steps are shared out so that both presets take about the same time.
    wbc = CLASS_SETS["wbc"]
    assert report.figures["wbc/default/steps"] == 12
    assert report.figures["wbc/report-2024/steps"] == round(12 * wbc.report_steps / wbc.steps)


def test_a_part_that_is_left_out_is_held_against_the_whole(sets, monkeypatch):
    some = {name: unet_parts._VARIANTS[name] for name in ("default", "no Dice")}
    monkeypatch.setattr(unet_parts, "_VARIANTS", some)
    report = unet_parts.reproduce(limit=1, steps=2, seed=0, progress=None)
    figures = report.figures
    changes = [
        figures[f"{name}/no Dice/iou"] - figures[f"{name}/default/iou"] for name in CLASS_SETS
    ]
    assert figures["no Dice/mean change"] == pytest.approx(np.mean(changes))
    (finding,) = report.findings
    assert finding.holds == (np.mean(changes) < 0)


def test_the_command_writes_the_table(sets, tmp_path, monkeypatch):
    monkeypatch.setattr(unet, "CLASS_SETS", {"wbc": CLASS_SETS["wbc"]})
    out = tmp_path / "out"
    arguments = ("--limit", "1", "--steps", "1", "--output", str(out), "--json")
    result = run("reproduce", "unet", *arguments)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["figures"]["wbc/default/steps"] == 1
    assert (out / "unet-wbc-confusion.png").is_file()


def test_missing_and_damaged_sets_are_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IMPLICITSEG_DATA", str(tmp_path))
    with pytest.raises(FileError, match=r"holds 0 images .* cells/wbc/NNN.bmp"):
        CLASS_SETS["wbc"].cases()
    (tmp_path / "cells" / "wbc").mkdir(parents=True)
    (tmp_path / "cells" / "wbc" / "000.bmp").write_bytes(b"none")
    with pytest.raises(FileError, match=r"000.bmp' or its mask cannot be read"):
        CLASS_SETS["wbc"].cases()
