"""Tests of the parts of the batch panel: where blocks lie, what is shown of results, words."""

from __future__ import annotations

import itertools
import sys
from multiprocessing.spawn import get_preparation_data
from types import SimpleNamespace

import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image

from napari_implicitseg import BatchConfig
from napari_implicitseg.batch.blocks import BlockGrid
from napari_implicitseg.batch.recipes import Recipe
from napari_implicitseg.batch.report import BlockEvent
from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._batch_grid import BlocksView
from napari_implicitseg.widgets._batch_inputs import (
    describe,
    free_target,
    parse_block,
    place_of,
)
from napari_implicitseg.widgets._batch_jobs import TimeLeft, apart_from_main
from napari_implicitseg.widgets._batch_results import LandingArray, ResultsView

PLAIN = SimpleNamespace(
    scale=(2.0, 1.0, 1.0),
    translate=(5.0, 0.0, 1.0),
    units=("nanometer", "nanometer", "nanometer"),
    axes=("z", "y", "x"),
)


def event(place, state="done", stage="predict"):
    return BlockEvent(stage=stage, place=place, start=(0,) * 3, stop=(1,) * 3, state=state)


@pytest.mark.parametrize(
    "turned",
    [
        {},
        {"scale": (8, 4, 4), "translate": (10, 20, 30)},
        {"scale": (3, 2, 1), "rotate": 30, "translate": (1, 2, 3)},
        {"scale": (3, 2, 1), "shear": (0.3, 0.0, 0.1)},
        {"scale": (1, 2, 2), "affine": np.diag([1, 1, 2, 1]) + np.eye(4, k=1)},
    ],
)
def test_blocks_lie_over_their_voxels(turned):
    viewer = ViewerModel()
    volume = Image(np.zeros((20, 30, 41), np.uint8), **turned)
    viewer.add_layer(volume)
    blocks = BlockGrid(shape=volume.data.shape, block_shape=(8, 10, 7), halo=(0, 0, 0))
    view = BlocksView(viewer)
    view.show(blocks, place_of(volume, blocks.shape, PLAIN), "out.zarr")
    for place in ((0, 0, 0), (1, 2, 4)):
        core = blocks.core(place)
        for ends in itertools.product((0, 1), repeat=3):
            voxel = [(p.stop if e else p.start) - 0.5 for p, e in zip(core, ends, strict=True)]
            block = [i + e - 0.5 for i, e in zip(place, ends, strict=True)]
            np.testing.assert_allclose(
                view.layer.data_to_world(block), volume.data_to_world(voxel), atol=1e-9
            )


def test_blocks_lie_where_the_file_says_without_a_layer():
    blocks = BlockGrid(shape=(16, 16, 16), block_shape=(8, 8, 8), halo=(0, 0, 0))
    viewer = ViewerModel()
    view = BlocksView(viewer)
    view.show(blocks, place_of(None, blocks.shape, PLAIN), "out.zarr")
    corner = view.layer.data_to_world((-0.5, -0.5, -0.5))
    np.testing.assert_allclose(corner, (5 - 1, -0.5, 1 - 0.5))
    np.testing.assert_allclose(view.layer.scale, (16, 8, 8))


def test_blocks_of_affinities_lie_on_the_axes_of_space():
    viewer = ViewerModel()
    layer = Image(np.zeros((3, 8, 8, 8), np.uint8), scale=(1, 8, 4, 4), translate=(0, 1, 2, 3))
    viewer.add_layer(layer)
    blocks = BlockGrid(shape=(8, 8, 8), block_shape=(4, 4, 4), halo=(0, 0, 0))
    view = BlocksView(viewer)
    view.show(blocks, place_of(layer, blocks.shape, PLAIN), "out.zarr")
    np.testing.assert_allclose(
        view.layer.data_to_world((0, 0, 0)), layer.data_to_world((0, 1.5, 1.5, 1.5))[1:]
    )


def test_blocks_are_marked_by_state_and_wait_again_in_the_next_stage():
    viewer = ViewerModel()
    blocks = BlockGrid(shape=(8, 8, 8), block_shape=(4, 4, 4), halo=(0, 0, 0))
    view = BlocksView(viewer)
    view.show(blocks, place_of(None, blocks.shape, PLAIN), "out.zarr")
    view.mark([event((0, 0, 0)), event((0, 0, 1), "done before"), event((1, 1, 1), "failed")])
    data = view.layer.data
    assert [int(data[p]) for p in ((0, 0, 0), (0, 0, 1), (1, 1, 1), (0, 1, 0))] == [1, 5, 6, 0]
    view.mark([event((0, 0, 0), stage="coarsen:1")])  # Of other blocks than these.
    assert int((data > 0).sum()) == 3
    view.mark([event((0, 1, 0), stage="fragments")])
    assert int((data > 0).sum()) == 1
    assert data[0, 1, 0] == 4
    # A task of several blocks, numbered by its round.
    view.mark(
        [BlockEvent(stage="fit:0", place=(7,), start=(0, 2, 4), stop=(4, 6, 8), state="done")]
    )
    assert [int(data[p]) for p in ((0, 0, 1), (0, 1, 1), (0, 0, 0))] == [4, 1, 0]


def test_many_blocks_are_one_small_layer():
    viewer = ViewerModel()
    blocks = BlockGrid(shape=(6400,) * 3, block_shape=(128,) * 3, halo=(0,) * 3)
    assert len(blocks) == 125_000
    view = BlocksView(viewer)
    view.show(blocks, place_of(None, blocks.shape, PLAIN), "out.zarr")
    view.mark(map(event, blocks))
    assert view.layer.data.all()
    assert view.layer.data.nbytes == 125_000
    viewer.dims.ndisplay = 3
    assert view.layer._slice.image.raw.shape == (50, 50, 50)


def test_a_layer_of_blocks_that_was_removed_stays_away_but_is_known():
    viewer = ViewerModel()
    blocks = BlockGrid(shape=(8, 8, 8), block_shape=(4, 4, 4), halo=(0, 0, 0))
    view, place = BlocksView(viewer), place_of(None, (8, 8, 8), PLAIN)
    view.show(blocks, place, "out.zarr")
    viewer.layers.clear()
    view.show(blocks, place, "out.zarr")
    view.mark([event((0, 0, 0))])
    assert not viewer.layers
    view.show(blocks, place, "other.zarr")
    assert len(viewer.layers) == 1


@pytest.fixture(name="labels")
def written_labels(tmp_path):
    group = zarr.create_group(tmp_path / "cells", zarr_format=3)
    for level, side in enumerate((64, 32)):
        group.create_array(
            str(level), shape=(side,) * 3, chunks=(32,) * 3, dtype="u4", fill_value=0
        )
    return tmp_path / "cells"


def test_a_result_is_read_from_the_disk_and_swapped_for_its_levels(labels):
    viewer = ViewerModel()
    view, place = ResultsView(viewer), place_of(None, (64, 64, 64), PLAIN)
    view.follow(labels, place, is_image=False)
    view.look()
    layer = viewer.layers["cells"]
    assert not layer.multiscale
    assert not layer._slice.image.raw.any()
    zarr.open_group(labels, mode="r+")["0"][:32] = 7
    view._rests_until = 0
    viewer.dims.set_point(0, layer.data_to_world((3, 0, 0))[0])
    view.look()
    assert (layer._slice.image.raw == 7).all()
    layer.opacity, layer.name = 0.4, "mine"
    axes = [{"name": n, "type": "space"} for n in "zyx"]
    steps = [[{"type": "scale", "scale": [s] * 3}] for s in (1, 2)]
    datasets = [{"path": str(n), "coordinateTransformations": step} for n, step in enumerate(steps)]
    multiscale = {"name": "cells", "axes": axes, "datasets": datasets}
    zarr.open_group(labels, mode="r+").attrs["ome"] = {
        "version": "0.5",
        "multiscales": [multiscale],
    }
    view.finish()
    (layer,) = viewer.layers
    assert layer.multiscale
    assert len(layer.data) == 2
    assert (layer.name, layer.opacity) == ("mine", 0.4)
    np.testing.assert_allclose(layer.translate, (5, 0, 1))


def test_a_result_without_coarser_levels_is_not_loaded_whole_in_3d(labels, monkeypatch):
    from napari_implicitseg.widgets import _batch_results

    monkeypatch.setattr(_batch_results, "_MOST_IN_3D", 1000)
    viewer = ViewerModel()
    view = ResultsView(viewer)
    view.follow(labels, place_of(None, (64, 64, 64), PLAIN), is_image=False)
    view.look()
    (layer,) = viewer.layers
    viewer.dims.ndisplay = 3
    assert not layer.visible
    viewer.dims.ndisplay = 2
    assert layer.visible


def test_a_chunk_that_cannot_be_read_yet_is_empty(labels):
    zarr.open_group(labels, mode="r+")["0"][:] = 5
    (labels / "0" / "c" / "0" / "0" / "0").write_bytes(b"half")
    array = LandingArray(labels / "0")
    assert array[0].shape == (64, 64)
    assert not array[0].any()
    assert (array[40:, 3, 40:] == 5).all()
    assert array[0, 0, 0].shape == ()


def test_new_processes_do_not_run_the_script_of_napari(monkeypatch, tmp_path):
    script = tmp_path / "script.py"
    main = SimpleNamespace(__file__=str(script), __spec__=None, __name__="__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert get_preparation_data("one")["init_main_from_path"] == str(script)
    with apart_from_main():
        assert not [key for key in get_preparation_data("one") if key.startswith("init_main")]
    assert main.__file__ == str(script)


@pytest.mark.parametrize(
    ("text", "block"),
    [("", None), ("64", (64,)), ("64, 128,128", (64, 128, 128)), ("64 x 64 x 32", (64, 64, 32))],
)
def test_block_sizes_are_read(text, block):
    assert parse_block(text) == block


@pytest.mark.parametrize("text", ["-3", "a", "0", "1.5"])
def test_what_is_no_block_size_is_refused(text):
    with pytest.raises(InputError, match="give one whole number for all axes"):
        parse_block(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"job": "predict", "model": "m/fibsem"}, "Predicts affinities with 'fibsem'"),
        ({"linkage": "quantile", "threshold": 0.42}, "by median affinity, cut at 0.42"),
        ({"model": "fibsem-isotropic"}, "Needs a volume, or affinities"),
        ({"job": "repair", "shape": "star"}, "Repairs all objects, star"),
        ({"job": "scribble"}, "scribbles in its labels/scribbles"),
        ({"job": "evaluate", "truth": "a/gt.zarr"}, "with 'gt.zarr', leaving out label 0"),
        ({"job": "repair", "linkage": "single"}, "Not used by this job: linkage"),
    ],
)
def test_a_recipe_is_told_in_words(options, words):
    assert words in describe(Recipe(options=options))


def test_a_target_is_suggested_beside_the_source(tmp_path):
    source = tmp_path / "brain.zarr"
    assert free_target(str(source), "segment", "neurons") == str(tmp_path / "brain-neurons.zarr")
    inside = source / "labels" / "cells"
    assert free_target(str(inside), "repair", "fixed") == str(tmp_path / "cells-fixed.zarr")
    assert free_target(str(source), "evaluate", "x").endswith("brain-evaluation.json")
    done = tmp_path / "brain-neurons.zarr" / ".implicitseg" / "segment-neurons"
    done.mkdir(parents=True)
    # What was begun is gone on with; what is complete is left alone.
    assert free_target(str(source), "segment", "neurons") == str(tmp_path / "brain-neurons.zarr")
    (done / "report.json").write_text("{}")
    assert free_target(str(source), "segment", "neurons") == str(tmp_path / "brain-neurons-2.zarr")


def test_the_time_left_counts_from_where_a_job_goes_on():
    left = TimeLeft()
    assert left.at(0.5, 100.0) is None
    assert left.at(0.6, 110.0) == pytest.approx(40.0)
    left.reset()
    assert left.at(0.9, 111.0) is None
    assert left.at(0.95, 116.0) == pytest.approx(5.0)


def test_workers_and_blocks_of_the_panel_go_before_those_of_the_recipe(tmp_path):
    from napari_implicitseg.batch.recipes import write_recipe
    from napari_implicitseg.widgets._batch_inputs import BatchInputs, build_request

    write_recipe(tmp_path / "r.yaml", BatchConfig(block_shape=(32,), threshold=0.3))
    inputs = BatchInputs(source="a", recipe=str(tmp_path / "r.yaml"), target="b", workers=0)
    found = build_request(inputs).config
    assert (found.workers, found.block_shape, found.threshold) == (0, (32,), 0.3)
    with pytest.raises(InputError, match="Choose a target"):
        build_request(BatchInputs(source="a", recipe="b"))


def test_the_panel_is_in_the_segment_menu(make_napari_viewer):
    from napari._app_model import get_app_model

    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/segment")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Batch") for title in titles)
