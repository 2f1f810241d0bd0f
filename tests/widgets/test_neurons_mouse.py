"""Tests of the neurons widget in a window that is shown, by the mouse of Qt itself."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt

from .helpers import settle
from .neurons_cases import neurons_cutter, neurons_opener, press_key, show_section, truth, two_in

open_neurons, cut = neurons_opener, neurons_cutter
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def shown(cut, qtbot):
    """Show neurons in a window; return also what moves the mouse over voxels."""
    viewer, widget, layer = cut(show=True)
    native = viewer.window._qt_viewer.canvas.native
    qtbot.waitUntil(lambda: native.isVisible() and min(viewer.canvas.size) > 100)
    show_section(viewer, layer, 12)
    viewer.reset_view()
    qtbot.wait(50)
    return viewer, widget, layer, Mouse(viewer, layer, native, qtbot)


class Mouse:
    """The mouse over the canvas."""

    def __init__(self, viewer, layer, native, qtbot):
        self.viewer, self.layer, self.native, self.qtbot = viewer, layer, native, qtbot

    def at(self, voxel):
        """Place of a voxel on the canvas in 2D."""
        camera = self.viewer.scene.camera
        world = np.array(self.layer.data_to_world(voxel))[-2:]
        rows, columns = np.array(self.viewer.canvas.size) / 2
        row, column = (world - np.array(camera.center)[-2:]) * camera.zoom
        return QPoint(round(column + columns), round(row + rows))

    def click(self, place):
        self.qtbot.mouseMove(self.native, pos=place)
        self.qtbot.mousePress(self.native, LEFT, pos=place)
        self.qtbot.mouseRelease(self.native, LEFT, pos=place)

    def drag(self, *voxels):
        """Press on the first voxel, release on the last."""
        start, *others = map(self.at, voxels)
        self.qtbot.mouseMove(self.native, pos=start)
        self.qtbot.mousePress(self.native, LEFT, pos=start)
        for place in others:
            self.qtbot.wait(30)  # vispy leaves out moves that come faster.
            self._held(place)
        self.qtbot.mouseRelease(self.native, LEFT, pos=others[-1])
        self.qtbot.wait(100)

    def _held(self, place):
        """Move with the button held, which QTest does not do."""
        from qtpy.QtCore import QEvent, QPointF
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        far = QPointF(self.native.mapToGlobal(place))
        none = Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(
            QEvent.Type.MouseMove, QPointF(place), far, Qt.MouseButton.NoButton, LEFT, none
        )
        QApplication.sendEvent(self.native, event)


def test_a_click_chooses_and_a_drag_moves_the_view(shown):
    viewer, widget, layer, mouse = shown
    (one, voxel), (two, other) = two_in(layer.data)
    mouse.click(mouse.at(voxel))
    assert widget.session.corrections.current == one
    centre = viewer.scene.camera.center
    mouse.drag(other, (12, 34, 36), (12, 38, 40))
    assert widget.session.corrections.current == one
    assert np.abs(np.subtract(viewer.scene.camera.center, centre)).max() > 1
    mouse.click(mouse.at(other))
    assert widget.session.corrections.current == two


def test_two_clicks_merge(shown):
    _, widget, layer, mouse = shown
    (_, voxel), (_, other) = two_in(layer.data)
    widget.correcting.merge_button.click()
    mouse.click(mouse.at(voxel))
    assert layer.data[voxel] != layer.data[other]
    mouse.click(mouse.at(other))
    assert layer.data[voxel] == layer.data[other]
    assert len(widget.session.corrections.work.edits) == 1


def test_painted_strokes_split(shown, qtbot):
    viewer, widget, layer, mouse = shown
    widget.cutting.slider.setValue(0)
    assert len(np.unique(layer.data)) == 1
    (_, voxel), (_, other) = two_in(truth())
    press_key(viewer, "S")
    scribbles = viewer.layers["scribbles"]
    scribbles.brush_size = 1
    plane = truth()[12]
    for label, place in ((1, voxel), (2, other)):
        scribbles.selected_label = label
        wanted = np.argwhere(plane == plane[place[1:]])
        inner = wanted[len(wanted) // 2]
        mouse.drag(place, (12, *map(int, inner)))
    assert sorted(np.unique(scribbles.data)) == [0, 1, 2]
    assert (scribbles.data > 0).sum() > 4
    press_key(viewer, "S")
    settle(qtbot, widget)
    assert len(np.unique(layer.data)) == 2
    assert layer.data[voxel] != layer.data[other]


def test_in_3d_a_click_takes_what_is_in_front(shown, qtbot):
    viewer, widget, layer, mouse = shown
    viewer.layers.remove("aff")
    viewer.dims.ndisplay = 3
    viewer.reset_view()
    qtbot.wait(50)
    middle = QPoint(*(int(n / 2) for n in viewer.canvas.size[::-1]))
    mouse.click(middle)
    direction = np.array(viewer.scene.camera.view_direction)
    assert abs(direction[0]) > 0.99
    front, back = (0, -1) if direction[0] > 0 else (-1, 0)
    near = set(np.unique(layer.data[front, 30:34, 30:34]))
    far = set(np.unique(layer.data[back, 30:34, 30:34]))
    assert not near & far
    assert widget.session.corrections.current in near
