"""The reproductions: tables, findings and pictures."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg import published_fits
from napari_implicitseg.fitting.published import fit_published
from napari_implicitseg.reproduction import (
    corruptions,
    implicit_convex,
    path_connectedness,
    plots,
    single_image,
)
from napari_implicitseg.reproduction.cases import SETS
from napari_implicitseg.reproduction.damage import DAMAGES
from napari_implicitseg.reproduction.report import Report, Table
from napari_implicitseg.reproduction.scores import overlap, under_strokes


@pytest.fixture
def picture():
    y, x = np.indices((60, 70))
    cell = np.hypot(y - 30, x - 35) < 15
    return np.where(cell[..., None], (0.5, 0.3, 0.7), (0.85, 0.75, 0.7))


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_corruption_changes_an_image_and_keeps_its_shape(picture, kind):
    damaged, again, other = (
        DAMAGES[kind](picture, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert damaged.shape == picture.shape
    assert np.isfinite(damaged).all()
    assert np.abs(damaged - picture).mean() > 0.003
    np.testing.assert_array_equal(damaged, again)
    if kind not in ("contrast", "brightness", "defocus"):
        assert (damaged != other).any()


def test_corruptions_have_the_strength_of_severity_5(picture):
    rng = np.random.default_rng(0)
    grey = np.full((200, 200, 3), 0.5)
    assert DAMAGES["Gaussian"](grey, rng).std() == pytest.approx(0.38, rel=0.05)
    assert (DAMAGES["impulse"](grey, rng) != 0.5).mean() == pytest.approx(0.27, abs=0.01)
    assert DAMAGES["shot"](grey, rng).std() == pytest.approx(np.sqrt(0.5 / 3), rel=0.05)
    assert np.ptp(DAMAGES["contrast"](picture, rng)) < 0.06 * np.ptp(picture) + 0.2


def test_a_report_is_written_as_markdown_json_and_pictures(tmp_path, picture):
    report = Report(name="trial", title="A trial", settings={"seed": "0"})
    report.tables.append(Table("Numbers", ("a", "b"), (("1", "2"),)))
    report.find("the claim", True)
    report.find("the other claim", False)
    report.figures["a/b"] = 0.5
    mask = picture[..., 0] < 0.7
    report.plots = {
        "curve": plots.curves({"loss": [1.0, 0.1]}, x="step", y="loss"),
        "bars": plots.bars({"set": {"a": 0.7, "b": 0.8}}, y="IoU"),
        "masks": plots.outlined([("one", picture, [mask]), ("none", picture, [mask & False])]),
    }
    paths = report.write(tmp_path)
    assert [path.name for path in paths] == [
        *("trial.md", "trial.json", "curve.png", "bars.png", "masks.png")
    ]
    text = (tmp_path / "trial.md").read_text(encoding="utf-8")
    assert "| 1 | 2 |" in text
    assert "- holds: the claim" in text
    assert "- DOES NOT HOLD: the other claim" in text
    assert json.loads((tmp_path / "trial.json").read_text(encoding="utf-8"))["figures"] == {
        "a/b": 0.5
    }
    for path in paths[2:]:
        assert np.asarray(Image.open(path)).std() > 1


def test_a_predictor_is_scored_on_what_the_strokes_lie_on(data_dir):
    case = SETS["wbc"].cases()[0]
    mask = case.truth == 2
    mask[:3, :3] = True
    assert overlap(under_strokes(mask, case) == 2, case.truth == 2) == 1


def test_corruptions_say_what_is_gained(data_dir, monkeypatch):
    monkeypatch.setattr(corruptions, "DAMAGES", {"shot": DAMAGES["shot"]})
    monkeypatch.setattr(corruptions, "_TRAINED", 3)
    report = corruptions.reproduce(limit=1, seed=0, progress=None)
    assert [row[0] for row in report.tables[0].rows] == ["clean", "shot"]
    assert set(report.plots) == {"corruptions-iou", "corruptions-masks"}
    assert report.figures["clean/gain"] > -0.02


def test_single_image_scores_outlines_and_answers(data_dir, monkeypatch):
    monkeypatch.setattr(single_image, "_OUTLINES", 3)
    monkeypatch.setattr(single_image, "_METHODS", {"encoder-decoder": ("encoder-decoder", "none")})
    report = single_image.reproduce(limit=1, seed=0, progress=None)
    figures = report.figures
    name = SETS["pets"].cases()[0].name
    assert figures[f"{name}/encoder-decoder/iou"] > figures[f"{name}/outlines/iou"]
    assert figures[f"{name}/encoder-decoder/agreement"] > figures[f"{name}/outlines/agreement"]
    assert set(report.plots) == {"single-image-training", "single-image-outlines"}


@pytest.mark.slow
def test_path_connectedness_puts_four_methods_beside_the_paper(data_dir, monkeypatch):
    quick = partial(fit_published, epochs=2)
    monkeypatch.setattr(published_fits, "fit_published", quick)
    report = path_connectedness.reproduce(limit=1, seed=0, progress=None)
    assert [row[1] for row in report.tables[0].rows] == ["0.9152", "0.9345", "0.9422", "0.9592"]
    assert len(report.findings) == 8
    assert report.figures["connected/with teacher/ours"] > 0.4


@pytest.mark.slow
def test_implicit_convex_measures_every_setting(data_dir):
    report = implicit_convex.reproduce(limit=1, seed=0, progress=None)
    rows = report.tables[0].rows
    assert len(rows) == 2 * 2 * 2 * 2
    assert {row[3] for row in rows} == {"sequential", "joint"}
    assert sum(row[4] == "0.818 / 0.899" for row in rows) == 2
    assert len(report.findings) == 3
