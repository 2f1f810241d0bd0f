"""Affinities in a file, recipes, and the batch panel over them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from napari_implicitseg import BatchConfig, run_batch
from napari_implicitseg.batch import engine
from napari_implicitseg.batch.jobs import run_block
from napari_implicitseg.batch.recipes import write_recipe

from ..batch.batch_cases import affinity_file, cells, digest, noisy
from .helpers import WAIT, settle

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, BLOCK = (24, 40, 40), (12, 20, 20)
CONFIG = BatchConfig(block_shape=BLOCK, halo=(10, 12, 12), fragments="distance")


@dataclass(frozen=True)
class Files:
    """Affinities, a recipe for them, and what comes of it."""

    source: Path
    recipe: Path
    expected: str


@pytest.fixture(name="files", scope="module")
def batch_files(tmp_path_factory):
    """Write affinities of 24 x 40 x 40 voxels and a recipe of 8 blocks."""
    folder = tmp_path_factory.mktemp("batch")
    source = affinity_file(folder, noisy(cells(SHAPE, 25)))
    write_recipe(folder / "recipe.yaml", CONFIG)
    whole = folder / "whole.zarr"
    config = BatchConfig(block_shape=BLOCK, halo=(10, 12, 12), fragments="distance", workers=0)
    assert run_batch(source, whole, config=config).ok
    return Files(source, folder / "recipe.yaml", digest(whole / "labels"))


@pytest.fixture(name="open_batch")
def batch_opener(make_napari_viewer, qtbot):
    """Open the panel through the manifest on a source, a recipe and a target."""

    def make(source, recipe, target, *, layer=False, show=False):
        viewer = make_napari_viewer(show=show)
        if layer:
            viewer.open(str(source), plugin="napari-implicitseg")
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", "Batch")
        settle(qtbot, widget)
        if layer:
            widget.layer_box.layer = viewer.layers[0]
        else:
            widget.source_row.path = str(source)
        widget.recipe_row.path = str(recipe)
        widget.target_row.path = str(target)
        widget.workers_box.setValue(0)
        settle(qtbot, widget)
        return viewer, widget

    return make


@pytest.fixture(name="slowly")
def slow_blocks(monkeypatch):
    """Let each block take a while, so that there is time to look."""

    def make(seconds=0.1, stages=None):
        def slow(job, stage, place):
            if stages is None or stage in stages:
                time.sleep(seconds)
            return run_block(job, stage, place)

        monkeypatch.setattr(engine, "run_block", slow)

    return make


def press_run(widget, qtbot):
    """Press Run and wait for the end."""
    widget.run_button.click()
    settle(qtbot, widget)


def wait_for_stage(widget, qtbot, stage, done=1):
    """Wait until some blocks of a stage are done."""
    blocks = widget.session.blocks

    def there():
        marked = 0 if blocks.layer is None else int((blocks.layer.data > 0).sum())
        return blocks._stage == stage and marked >= done

    qtbot.waitUntil(there, timeout=WAIT)
