"""Tests of *Save recipe*: what was tried in a panel runs on a volume unchanged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image, Labels, Shapes

from napari_implicitseg import FitConfig, run_batch, segment_affinities
from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.batch.recipes import read_recipe
from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes import write_labels
from napari_implicitseg.volumes.volume import Grid
from napari_implicitseg.widgets._evaluate_inputs import EvaluateInputs
from napari_implicitseg.widgets._repair_inputs import RepairInputs
from napari_implicitseg.widgets._save_recipe import (
    Tried,
    evaluate_settings,
    neurons_settings,
    repair_settings,
    scribble_settings,
    tried,
)
from napari_implicitseg.widgets._scribble_inputs import Inputs

from ..batch.batch_cases import OFFSETS, affinity_file, labels_of
from .helpers import settle
from .neurons_cases import (
    SHAPE,
    affinities,
    neurons_cutter,
    neurons_opener,
    segment,
    truth,
    two_in,
)

open_neurons, cut = neurons_opener, neurons_cutter
CROP = (slice(None), slice(4, 20), slice(8, 56), slice(8, 56))


def save(widget, path, monkeypatch):
    """Press Save recipe... and name a file."""
    monkeypatch.setattr(widget.recipe_button, "ask_where_to_save", lambda name: str(path))
    widget.recipe_button.click()


def same_objects(one, other):
    """Whether two segmentations differ by ids only."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(pairs[0]) == len(np.unique(pairs[0])) == len(np.unique(pairs[1]))


@pytest.mark.parametrize("fragments", ["auto", "watershed"])
def test_a_recipe_tried_on_a_crop_does_the_same_to_the_volume(
    open_neurons, qtbot, tmp_path, monkeypatch, fragments
):
    whole = affinities(truth(), noise=0.2)
    crop = np.ascontiguousarray(whole[CROP])
    _, widget = open_neurons((crop, {"name": "crop"}, "image"))
    widget.cutting.fragments_box.value = fragments
    segment(widget, qtbot)
    widget.cutting.slider.setValue(613)
    settle(qtbot, widget)
    save(widget, tmp_path / "crop.yaml", monkeypatch)
    assert "'crop.yaml'" in widget.advice.text()
    made = widget.session.tried
    data = Affinities(data=whole, offsets=OFFSETS, spacing=(8, 4, 4))
    config = read_recipe(tmp_path / "crop.yaml").config(block_shape=SHAPE, workers=0)
    assert (config.job, config.threshold, config.linkage) == ("segment", 0.613, "quantile")
    assert config.fragments == made.fragments != "auto"
    report = run_batch(affinity_file(tmp_path, data), tmp_path / "out.zarr", config=config)
    assert report.ok
    expected = segment_affinities(
        data,
        linkage="quantile",
        threshold=0.613,
        fragments=made.fragments,
        min_size=made.min_size,
    )
    assert len(np.unique(expected)) > 3
    assert same_objects(labels_of(tmp_path / "out.zarr"), expected)


def test_fragments_of_a_small_crop_stay_as_small_in_the_volume():
    small = SimpleNamespace(fragments=np.zeros((8, 8, 8), np.uint32))
    request = SimpleNamespace(linkage="mean", min_size=None)
    outcome = SimpleNamespace(
        request=request, work=SimpleNamespace(hierarchy=small), fragments="watershed"
    )
    assert tried(outcome, None, 0).min_size == 0
    large = SimpleNamespace(fragments=np.zeros((40, 40, 40), np.uint32))
    outcome.work = SimpleNamespace(hierarchy=large)
    assert tried(outcome, None, 0).min_size is None  # The default there, too.
    request.min_size = 9
    assert tried(outcome, None, 0).min_size == 9


def test_the_model_and_its_voxel_size_are_in_the_recipe():
    made = Tried(
        linkage="mean",
        fragments="distance",
        min_size=0,
        model="fibsem-isotropic",
        spacing=(10.0, 10.0, 10.0),
        level=1,
    )
    config = neurons_settings(SimpleNamespace(threshold=0.4, edits=()), made).config
    assert (config.model, config.spacing, config.unit, config.level) == (
        "fibsem-isotropic",
        (10, 10, 10),
        "nanometer",
        1,
    )


def test_corrections_by_hand_are_left_out_and_that_is_said(cut, qtbot, tmp_path, monkeypatch):
    _, widget, layer = cut()
    (_, one), (_, other) = two_in(layer.data)
    widget.session.correct(lambda: widget.session.corrections.needed().merge(one, other) and "")
    save(widget, tmp_path / "neurons.yaml", monkeypatch)
    assert "by hand" in widget.advice.text()
    assert (tmp_path / "neurons.yaml").exists()


def test_what_batch_cannot_do_is_refused_and_nothing_written(cut, qtbot, tmp_path, monkeypatch):
    _, widget, _ = cut()
    widget.cutting.linkage_box.value = "area"
    segment(widget, qtbot)
    save(widget, tmp_path / "neurons.yaml", monkeypatch)
    assert 'Choose "Merge by" median, mean or highest' in widget.advice.text()
    assert not (tmp_path / "neurons.yaml").exists()


@pytest.mark.parametrize("fragments", ["higra", "voxels"])
def test_fragments_of_other_kinds_are_refused(fragments):
    made = Tried(linkage="mean", fragments=fragments, min_size=None)
    with pytest.raises(InputError, match="far from membranes"):
        neurons_settings(SimpleNamespace(threshold=0.5, edits=()), made)


def test_there_must_be_neurons():
    with pytest.raises(InputError, match="Press Segment"):
        neurons_settings(None, None)


def test_a_repair_is_saved_with_its_shape(tmp_path):
    layer = Labels(np.ones((4, 8, 8), np.uint8))
    fit = FitConfig(flow="realnvp")
    inputs = RepairInputs(source=layer, shape="connected", config=fit, scope="slices", ids="list")
    found = repair_settings(inputs)
    assert (found.config.job, found.config.shape, found.config.ids) == ("repair", "connected", None)
    assert found.config.fit == FitConfig(flow="realnvp", per_slice=True)
    assert "all objects" in found.note
    volume = RepairInputs(source=layer, scope="volume")
    assert not repair_settings(volume).config.fit.per_slice
    image = Image(np.zeros((8, 8), np.float32), name="probability")
    with pytest.raises(InputError, match="'probability' is a probability map"):
        repair_settings(RepairInputs(source=image))


def test_a_fit_is_saved_with_its_evidence():
    image = Image(np.zeros((8, 8), np.float32), name="picture")
    inputs = Inputs(image=image, shape="star", evidence="geodesic", shapes=Shapes())
    found = scribble_settings(inputs)
    assert (found.config.job, found.config.shape) == ("scribble", "star")
    assert (found.config.evidence, found.config.background) == ("geodesic", 1)
    assert "labels/scribbles" in found.note
    assert "Shapes layer" in found.note
    for refused, words in (
        ({"evidence": image}, "evidence is the layer 'picture'"),
        ({"embedding": image}, "embedding is the layer 'picture'"),
        ({"shape": "none"}, "Choose a shape"),
    ):
        with pytest.raises(InputError, match=words):
            scribble_settings(Inputs(image=image, **refused))


def test_an_evaluation_names_the_file_of_its_truth(make_napari_viewer, qtbot, tmp_path):
    write_labels(tmp_path / "gt.tif", np.ones((16, 16), np.uint16), Grid.plain(2))
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "gt.tif"), layer_type="labels")
    found = evaluate_settings(EvaluateInputs(truth=layer, ignore=None, border=2.0)).config
    assert (found.job, found.truth) == ("evaluate", str(tmp_path / "gt.tif"))
    assert (found.ignore, found.border) == (None, 2.0)
    drawn = Labels(np.ones((16, 16), np.uint16), name="drawn")
    with pytest.raises(InputError, match="'drawn' is in no file"):
        evaluate_settings(EvaluateInputs(truth=drawn))


@pytest.mark.parametrize(
    ("panel", "job"), [("Repair labels", "repair"), ("Scribble to mask", "scribble")]
)
def test_the_other_panels_have_the_button(
    make_napari_viewer, qtbot, tmp_path, monkeypatch, panel, job
):
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((32, 32), np.float32), name="picture")
    viewer.add_labels(np.ones((32, 32), np.uint8), name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", panel)
    settle(qtbot, widget)
    save(widget, tmp_path / f"{job}.yaml", monkeypatch)
    assert read_recipe(tmp_path / f"{job}.yaml").config().job == job
    assert "open it in Batch" in widget.advice.text()


def test_the_evaluation_panel_refuses_a_truth_without_a_file(
    make_napari_viewer, qtbot, tmp_path, monkeypatch
):
    viewer = make_napari_viewer()
    for name in ("cells", "truth"):
        viewer.add_labels(np.ones((32, 32), np.uint8), name=name)
    _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Evaluate labels")
    settle(qtbot, widget)
    save(widget, tmp_path / "evaluate.yaml", monkeypatch)
    assert "is in no file" in widget.advice.text()
    assert not (tmp_path / "evaluate.yaml").exists()
