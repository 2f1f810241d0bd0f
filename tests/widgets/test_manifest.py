"""Tests that napari finds the plugin where the documentation says it is."""

from __future__ import annotations

import pytest
from napari._app_model import get_app_model
from npe2 import PluginManifest

NAME = "napari-implicitseg"


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution(NAME)


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_the_widget_is_in_the_annotate_menu(make_napari_viewer):
    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/annotate")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Scribble to mask") for title in titles)


def test_the_evaluation_is_in_the_segment_menu(make_napari_viewer):
    make_napari_viewer()
    menu = get_app_model().menus.get_menu("napari/layers/segment")
    titles = [item.command.title for item in menu if hasattr(item, "command")]
    assert any(title.startswith("Evaluate labels") for title in titles)


@pytest.mark.parametrize("key", ["coins", "coins_stack", "em_volume"])
def test_samples_open(make_napari_viewer, key):
    viewer = make_napari_viewer()
    viewer.open_sample(NAME, key)
    assert len(viewer.layers) >= 2


def test_the_menu_entry_opens_and_hides_the_widget(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    app = get_app_model()
    app.commands.execute_command(f"{NAME}.scribble").result()
    (dock,) = [d for n, d in viewer.window._wrapped_dock_widgets.items() if "Scribble" in n]
    widget = dock.inner_widget()
    qtbot.waitUntil(dock.isVisible, timeout=60_000)
    assert viewer.keymap
    app.commands.execute_command(f"{NAME}.scribble").result()
    assert not dock.isVisible()
    assert not viewer.keymap
    qtbot.waitUntil(lambda: not widget.jobs.is_running, timeout=60_000)
