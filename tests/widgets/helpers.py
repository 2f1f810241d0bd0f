"""Images to segment, strokes through napari's own calls, waiting for fits."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.utils._proxies import ReadOnlyWrapper
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

if TYPE_CHECKING:
    from napari.layers import Labels, Shapes

    from napari_implicitseg.widgets.scribble import ScribbleWidget

THREAD = "implicitseg-fit"
WAIT = 60_000


@dataclass
class MouseEvent:
    """What napari's mouse callbacks look at."""

    type: str
    position: tuple[float, ...]
    is_dragging: bool = False
    dims_displayed: tuple[int, ...] = (0, 1)
    dims_point: tuple[float, ...] | None = None
    view_direction: tuple[float, ...] | None = None
    pos: tuple[int, int] = (0, 0)
    button: int = 1
    handled: bool = False
    modifiers: tuple[str, ...] = ()


def drag(layer: Labels | Shapes, *points: tuple[float, ...]) -> None:
    """Drag the brush or lasso through world positions, as the canvas would."""
    # The canvas hands out wrapped events: a drag sees later ones through the first.
    press = ReadOnlyWrapper(mouse_event("mouse_press", points[0]))
    mouse_press_callbacks(layer, press)
    for point in points[1:]:
        mouse_move_callbacks(layer, mouse_event("mouse_move", point, is_dragging=True))
    mouse_release_callbacks(layer, mouse_event("mouse_release", points[-1]))


def mouse_event(kind: str, point: tuple[float, ...], **kwargs: bool) -> MouseEvent:
    """Make an event at a world position, ten screen pixels per unit."""
    row, column = (10 * int(value) for value in point[-2:])
    displayed = tuple(range(len(point)))[-2:]
    return MouseEvent(kind, point, dims_displayed=displayed, pos=(column, row), **kwargs)


def disks(shape=(96, 128), centres=((46, 36, 20), (46, 92, 17)), seed=0):
    """Make a noisy image of bright disks and its truth, ids from 2."""
    rows, columns = np.indices(shape)
    truth = np.zeros(shape, np.uint32)
    for label, (row, column, radius) in enumerate(centres, start=2):
        truth[np.hypot(rows - row, columns - column) <= radius] = label
    noise = np.random.default_rng(seed).normal(0, 0.08, shape)
    return ((truth > 0) + noise).astype(np.float32), truth


def iou(one, other):
    """Intersection over union of two masks."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def fit_threads():
    """Threads of fits that are alive."""
    return [t for t in threading.enumerate() if t.name == THREAD]


def settle(qtbot, widget: ScribbleWidget) -> None:
    """Wait until the fits asked for are done and shown."""
    qtbot.waitUntil(lambda: not widget.is_working, timeout=WAIT)
    qtbot.wait(20)


def damaged():
    """Make three disks, the first bitten, the second cut in two, the third whole; and the truth."""
    rows, columns = np.indices((96, 160))
    truth = np.zeros((96, 160), np.uint16)
    for label, (row, column, radius) in {
        3: (46, 34, 24),
        5: (40, 90, 18),
        9: (60, 132, 15),
    }.items():
        truth[np.hypot(rows - row, columns - column) <= radius] = label
    bad = truth.copy()
    bad[np.hypot(rows - 46, columns - 14) <= 15] = 0
    bad[38:40, 70:110] = 0
    return bad, truth


def press_preview(widget, qtbot):
    """Press Preview and wait for it."""
    widget.preview_button.click()
    settle(qtbot, widget)


def repair_preview(viewer, name="cells"):
    """Return the masks previewed by the repair widget."""
    return viewer.layers[f"{name} repair preview"].data


def column(widget, number):
    """Return the texts of a column of the table, from top to bottom."""
    return [widget.table.item(row, number).text() for row in range(widget.table.rowCount())]
