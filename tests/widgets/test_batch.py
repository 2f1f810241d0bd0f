"""Tests of the batch panel in a viewer: jobs over blocks, seen while they run."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import zarr

from napari_implicitseg.volumes import Grid, read_labels
from napari_implicitseg.volumes.zarr_labels import write_zarr_labels
from napari_implicitseg.widgets._batch_results import LandingArray

from ..batch.batch_cases import digest
from .batch_cases import BLOCK, batch_files, batch_opener, press_run, slow_blocks, wait_for_stage
from .helpers import WAIT, fit_threads, settle

files, open_batch, slowly = batch_files, batch_opener, slow_blocks


def test_a_recipe_runs_to_its_end_and_the_result_is_shown(files, open_batch, qtbot, tmp_path):
    target = tmp_path / "out.zarr"
    viewer, widget = open_batch(files.source, files.recipe, target)
    assert "Makes objects by mean affinity, cut at 0.5" in widget.recipe_label.text()
    assert "8 blocks, none done yet" in widget.status_label.text()
    assert widget.recipe_row.path.endswith("recipe.yaml")
    press_run(widget, qtbot)
    assert digest(target / "labels") == files.expected
    assert widget.advice.text().startswith("Done in")
    assert "All 8 blocks are done" in widget.status_label.text()
    layer = viewer.layers["neurons"]
    np.testing.assert_array_equal(
        np.asarray(layer.data), read_labels(target / "labels" / "neurons").data
    )
    np.testing.assert_allclose(layer.scale, (8, 4, 4))
    np.testing.assert_allclose(layer.translate, (0, 100, 0))
    assert not viewer.layers["blocks"].visible
    assert widget.table.isHidden()


def test_an_estimate_says_what_is_needed_and_writes_nothing(files, open_batch, qtbot, tmp_path):
    target = tmp_path / "out.zarr"
    _, widget = open_batch(files.source, files.recipe, target)
    widget.estimate_button.click()
    settle(qtbot, widget)
    assert widget.estimate_label.text().startswith("8 blocks of 12 x 20 x 20 voxels")
    assert "Time: about" in widget.estimate_label.text()
    assert not target.exists()
    widget.block_edit.setText("24, 40, 40")
    settle(qtbot, widget)
    assert "1 blocks" not in widget.estimate_label.text()
    assert not widget.estimate_label.text()
    assert widget.status_label.text().startswith("1 block")


def test_a_cancelled_job_goes_on_to_the_same_bytes(files, open_batch, qtbot, tmp_path, slowly):
    slowly()
    target = tmp_path / "out.zarr"
    _, widget = open_batch(files.source, files.recipe, target)
    widget.run_button.click()
    wait_for_stage(widget, qtbot, "fragments", done=2)
    assert not widget.run_button.isEnabled()
    assert "Fragments" in widget.message_label.text() or "fragments" in widget.message_label.text()
    widget.cancel_button.click()
    assert "Cancelled" in widget.advice.text()
    settle(qtbot, widget)
    text = widget.status_label.text()
    assert text.startswith("Fragments: ")
    assert text.endswith(" of 8 blocks are done; Run goes on.")
    assert not (target / "labels").exists()
    slowly(0)
    press_run(widget, qtbot)
    assert digest(target / "labels") == files.expected
    assert widget.session.report.resumed


def test_blocks_are_seen_before_the_end_and_nothing_is_kept_of_them(
    files, open_batch, qtbot, tmp_path, slowly
):
    slowly(0.7, ("relabel",))
    target = tmp_path / "out.zarr"
    viewer, widget = open_batch(files.source, files.recipe, target, layer=True)
    widget.run_button.click()
    qtbot.waitUntil(lambda: "neurons" in viewer.layers, timeout=WAIT)
    layer = viewer.layers["neurons"]
    assert isinstance(layer.data, LandingArray)

    def shown():
        return int((layer._slice.image.raw > 0).sum())

    viewer.dims.set_point(1, layer.data_to_world((4, 0, 0))[0])
    qtbot.waitUntil(lambda: shown() > 0, timeout=WAIT)
    assert 0 < shown() < 40 * 40  # Some blocks of the section, and others not yet.
    assert widget.session.is_running
    blocks = viewer.layers["blocks"]
    assert viewer.layers.index(layer) < viewer.layers.index(blocks)
    settle(qtbot, widget)
    after = viewer.layers["neurons"]
    assert np.asarray(after.data).all()
    assert sum(one.name.startswith("neurons") for one in viewer.layers) == 1


def test_a_result_that_was_removed_does_not_come_back(files, open_batch, qtbot, tmp_path, slowly):
    slowly(0.3, ("relabel",))
    viewer, widget = open_batch(files.source, files.recipe, tmp_path / "out.zarr")
    widget.run_button.click()
    qtbot.waitUntil(lambda: "neurons" in viewer.layers, timeout=WAIT)
    viewer.layers.remove("neurons")
    viewer.layers.remove("blocks")
    settle(qtbot, widget)
    assert widget.session.report.ok
    assert [layer.name for layer in viewer.layers] == [files.source.stem]


def test_blocks_that_failed_are_listed_and_the_view_goes_there(
    files, open_batch, qtbot, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_implicitseg.volumes.volume.EAGER_BYTES", 0)  # As of a large one.
    source, target = tmp_path / "bad.zarr", tmp_path / "out.zarr"
    shutil.copytree(files.source, source)
    values = zarr.open_array(source / "0", mode="r")[:]
    zarr.create_array(source / "0", data=values, chunks=(1, 12, 10, 10), overwrite=True)
    (source / "0" / "c" / "0" / "0" / "3" / "0").write_bytes(b"torn")
    viewer, widget = open_batch(files.source, files.recipe, target, layer=True)
    widget.source_row.path = str(source)  # By its path: the layer is of the whole file.
    assert widget.layer_box.layer is None
    press_run(widget, qtbot)
    table = widget.table
    assert not table.isHidden()
    assert table.rowCount() >= 1
    assert "failed" in widget.advice.text()
    assert "bad.zarr" in table.item(0, 2).text()
    place = tuple(map(int, table.item(0, 0).text().split(", ")))
    table.cellClicked.emit(0, 0)
    middle = [(i + 0.5) * b - 0.5 for i, b in zip(place, BLOCK, strict=True)]
    world = np.array(middle) * (8, 4, 4) + (0, 100, 0)
    assert viewer.dims.point[-3] == pytest.approx(world[0], abs=4)
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    np.testing.assert_allclose(camera.center[-2:], world[1:])
    assert viewer.layers["blocks"].data[place] == 3


def test_the_report_is_saved(files, open_batch, qtbot, tmp_path, monkeypatch):
    _, widget = open_batch(files.source, files.recipe, tmp_path / "out.zarr")
    assert widget.save_button.isHidden()
    press_run(widget, qtbot)
    monkeypatch.setattr(widget, "ask_where_to_save", lambda: str(tmp_path / "report.json"))
    widget.save_button.click()
    assert json.loads((tmp_path / "report.json").read_text())["ok"]


def test_another_recipe_in_the_same_target_is_refused_in_words(
    files, open_batch, qtbot, tmp_path, notes
):
    target, other = tmp_path / "out.zarr", tmp_path / "other.yaml"
    _, widget = open_batch(files.source, files.recipe, target)
    press_run(widget, qtbot)
    other.write_text(files.recipe.read_text().replace("threshold: 0.5", "threshold: 0.3"))
    widget.recipe_row.path = str(other)
    press_run(widget, qtbot)
    assert "config.threshold was 0.5, now 0.3" in widget.advice.text()
    assert any("config.threshold" in note for note in notes)
    widget.restart_check.setChecked(True)
    press_run(widget, qtbot)
    assert widget.session.report.ok
    assert not widget.restart_check.isChecked()


def test_a_panel_that_is_removed_ends_its_job(files, open_batch, qtbot, tmp_path, slowly):
    slowly()
    target = tmp_path / "out.zarr"
    viewer, widget = open_batch(files.source, files.recipe, target)
    widget.run_button.click()
    wait_for_stage(widget, qtbot, "fragments")
    viewer.window.remove_dock_widget(widget)
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    assert not (target / "labels").exists()
    assert "blocks" not in viewer.layers


def test_a_job_goes_on_behind_other_panels(files, open_batch, qtbot, tmp_path, slowly):
    slowly()
    target = tmp_path / "out.zarr"
    viewer, widget = open_batch(files.source, files.recipe, target, show=True)
    dock = viewer.window._wrapped_dock_widgets["Batch (napari-implicitseg)"]
    widget.run_button.click()
    qtbot.waitUntil(lambda: "blocks" in viewer.layers, timeout=WAIT)
    dock.hide()
    settle(qtbot, widget)
    assert digest(target / "labels") == files.expected
    dock.show()
    assert widget.advice.text().startswith("Done in")


def test_a_job_ends_with_the_window_even_behind_other_panels(
    files, open_batch, qtbot, tmp_path, slowly
):
    slowly()
    target = tmp_path / "out.zarr"
    viewer, widget = open_batch(files.source, files.recipe, target, show=True)
    widget.run_button.click()
    qtbot.waitUntil(lambda: "blocks" in viewer.layers, timeout=WAIT)
    viewer.window._wrapped_dock_widgets["Batch (napari-implicitseg)"].hide()
    viewer.close()
    qtbot.waitUntil(lambda: not fit_threads(), timeout=WAIT)
    assert not (target / "labels").exists()


@pytest.mark.slow
def test_processes_work_for_the_panel(files, open_batch, qtbot, tmp_path):
    target = tmp_path / "out.zarr"
    _, widget = open_batch(files.source, files.recipe, target)
    widget.workers_box.setValue(1)
    dashboards = []
    widget.session.started.connect(dashboards.append)
    press_run(widget, qtbot)
    assert digest(target / "labels") == files.expected
    assert dashboards[0].startswith("http://127.0.0.1")
    assert widget.session.report.workers == 1
    assert widget.dashboard_button.isHidden()


def test_all_levels_take_the_place_of_the_first_on_the_screen(make_napari_viewer, qtbot, tmp_path):
    from napari_implicitseg.widgets._batch_inputs import place_of
    from napari_implicitseg.widgets._batch_results import ResultsView

    levels = np.ones((64, 64, 64), np.uint16)
    levels[:, 20:] = 2
    write_zarr_labels(tmp_path / "cells.zarr", levels, Grid.plain(3))
    # As if it were still written: coarser levels are not known of yet.
    group = zarr.open_group(tmp_path / "cells.zarr", mode="r+")
    group.create_array("1", data=levels[::2, ::2, ::2], overwrite=True)
    viewer = make_napari_viewer(show=True)
    view = ResultsView(viewer)
    place = place_of(None, levels.shape, Grid.plain(3))
    view.follow(tmp_path / "cells.zarr", place, is_image=False)
    view.look()
    qtbot.wait(100)
    about = dict(group.attrs["ome"])
    about["multiscales"][0]["datasets"] = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [n + 1] * 3}]}
        for n in range(2)
    ]
    group.attrs["ome"] = about
    view.finish()
    qtbot.wait(100)
    (layer,) = viewer.layers
    assert layer.multiscale
    assert layer.name == "cells.zarr"
    viewer.dims.ndisplay = 3
    qtbot.wait(100)
    assert viewer.screenshot(flash=False)[..., :3].any()


def test_a_source_that_no_layer_shows_is_opened_below_the_blocks(
    files, open_batch, qtbot, tmp_path
):
    viewer, widget = open_batch(files.source, files.recipe, tmp_path / "out.zarr")
    assert not viewer.layers
    press_run(widget, qtbot)
    image, blocks = viewer.layers[0], viewer.layers["blocks"]
    assert image.name == files.source.stem
    np.testing.assert_allclose(image.scale, (8, 4, 4))
    corner = (-0.5, -0.5, -0.5)
    np.testing.assert_allclose(image.data_to_world(corner), blocks.data_to_world(corner))
    viewer.layers.remove(image)
    press_run(widget, qtbot)
    assert image not in viewer.layers
    assert files.source.stem not in viewer.layers


def test_a_target_of_another_recipe_is_said_before_anything_runs(
    files, open_batch, qtbot, tmp_path
):
    target = tmp_path / "out.zarr"
    _, widget = open_batch(files.source, files.recipe, target)
    press_run(widget, qtbot)
    other = tmp_path / "other.yaml"
    other.write_text(files.recipe.read_text().replace("threshold: 0.5", "threshold: 0.7"))
    assert other.read_text() != files.recipe.read_text()
    widget.recipe_row.path = str(other)
    settle(qtbot, widget)
    assert "begun with another recipe or source: config.threshold was 0.5, now 0.7" in (
        widget.status_label.text()
    )
    assert "Begin anew" in widget.status_label.text()
    press_run(widget, qtbot)
    assert "--restart" not in widget.advice.text()
