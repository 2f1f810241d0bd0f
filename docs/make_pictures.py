"""Make every picture in docs/pictures from the sample data.

Run it from the root of the repository, after `make setup`:

    QT_API=pyqt6 tools/with_screen.sh .venv/bin/python docs/make_pictures.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from shape_pictures import families, two_components

from napari_implicitseg import fit_scribbles
from napari_implicitseg.sample_data import coins, coins_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets.repair import RepairWidget
    from napari_implicitseg.widgets.scribble import ScribbleWidget

FOLDER = Path(__file__).with_name("pictures")
WINDOW = (1280, 800)
PATIENCE = 120.0
"""Seconds a fit in the widget may take."""

BACKGROUND_COLOUR = (255, 255, 255)
OBJECT_COLOURS = np.array(
    [
        (240, 130, 190),
        (243, 177, 59),
        (77, 187, 213),
        (230, 75, 53),
        (120, 200, 90),
        (190, 120, 220),
        (255, 225, 80),
        (0, 170, 145),
    ]
)


def window_with_coins(viewer: Viewer, widget: ScribbleWidget) -> None:
    """Show the sample and its masks as a user sees them."""
    for data, options, kind in coins():
        getattr(viewer, f"add_{kind}")(data, **options)
    viewer.layers["coins scribbles"].brush_size = 4
    viewer.layers["coins scribbles"].mode = "paint"
    wait(widget)


def window_with_contradiction(viewer: Viewer, widget: ScribbleWidget) -> None:
    """Show what the widget says of a stroke that it cannot satisfy."""
    window_with_coins(viewer, widget)
    layer = viewer.layers["coins scribbles"]
    # A dab of background in the middle of a coin.
    rows, columns = np.nonzero(layer.data == 4)
    row, middle = round(float(rows.mean())), round(float(columns.mean()))
    with layer.block_history():
        layer.paint((row, middle), 1)
    wait(widget)


def window_with_repair(viewer: Viewer, widget: RepairWidget) -> None:
    """Show damaged masks and, outlined, what a repair makes of them."""
    viewer.add_labels(damaged_masks(), name="masks")
    widget.preview_button.click()
    wait(widget)
    widget.table.selectRow(0)


def damaged_masks() -> NDArray[np.uint16]:
    """Return twelve ellipses, with bites, cuts, bumps and crumbs."""
    rng = np.random.default_rng(4)
    rows, columns = np.indices((330, 430))
    labels = np.zeros(rows.shape, np.uint16)
    for number, (row, column) in enumerate(np.ndindex(3, 4)):
        centre = np.array([60 + 105 * row, 60 + 103 * column]) + rng.uniform(-8, 8, 2)
        turn, long, short = rng.uniform(0, np.pi), rng.uniform(34, 44), rng.uniform(24, 34)
        y, x = rows - centre[0], columns - centre[1]
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        mask = np.hypot(along / long, across / short) <= 1
        angle = rng.uniform(0, 2 * np.pi)
        edge = np.hypot(y - 32 * np.sin(angle), x - 32 * np.cos(angle))
        match number % 4:
            case 0:
                mask &= edge > 13  # a bite
            case 1:
                mask &= np.abs(across - 4) > 1.5  # a cut
            case 2:
                mask |= edge < 10  # a bump
            case _:
                mask |= np.hypot(y - 44 * np.sin(angle), x - 44 * np.cos(angle)) < 5  # a crumb
        labels[mask & (labels == 0)] = number + 1
    return labels


def wait(widget: ScribbleWidget | RepairWidget, settle: float = 0.5) -> None:
    """Let Qt work until the widget has nothing to do, and a little longer."""
    from qtpy.QtWidgets import QApplication

    begin = time.perf_counter()
    while widget.jobs.is_running or widget.jobs.is_busy or time.perf_counter() - begin < settle:
        QApplication.processEvents()
        time.sleep(0.002)
        if time.perf_counter() - begin > PATIENCE:
            raise TimeoutError(f"The fit did not end within {PATIENCE:.0f} s.")
    QApplication.processEvents()


def take_window(
    show: Callable[[Viewer, Any], None], name: str, title: str = "Scribble to mask"
) -> None:
    """Open napari with a widget docked, show something, take a picture of the window."""
    import napari

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    try:
        viewer.window._qt_window.resize(*WINDOW)
        _, widget = viewer.window.add_plugin_dock_widget("napari-implicitseg", title)
        wait(widget)
        show(viewer, widget)
        viewer.reset_view()
        wait(widget)
        save(viewer.screenshot(canvas_only=False, flash=False)[..., :3], name)
    finally:
        viewer.close()


def photograph() -> NDArray[np.uint8]:
    """Return the photograph of coins: strokes left, masks right."""
    (image, _, _), (strokes, _, _) = coins()
    labels = fit_scribbles(image, strokes).labels
    return side_by_side([painted(grey(image, 1), strokes), outlined(grey(image, 1), labels)])


def stack() -> NDArray[np.uint8]:
    """Return slices of a volume: strokes on the first and sixth, masks on one between them too."""
    (image, options, _), (strokes, _, _) = coins_stack()
    labels = fit_scribbles(image, strokes, spacing=options["scale"]).labels
    tiles = []
    for z in (0, 3, 5):
        tile = outlined(grey(image[z], 2), enlarged(labels[z], 2))
        tiles.append(painted(tile, enlarged(strokes[z], 2)))
    return side_by_side(tiles)


def side_by_side(tiles: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Put pictures of one height next to each other."""
    gap = np.full((tiles[0].shape[0], 8, 3), 255, np.uint8)
    return np.concatenate([tiles[0], *(part for tile in tiles[1:] for part in (gap, tile))], axis=1)


def grey(image: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
    """Enlarge a grey image and make it RGB."""
    return enlarged(image, zoom)[..., None].repeat(3, axis=-1)


def enlarged(array: NDArray[np.generic], zoom: int) -> NDArray[np.generic]:
    """Repeat every pixel along both axes."""
    return array.repeat(zoom, axis=0).repeat(zoom, axis=1)


def colours_of(labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Give each label its colour: background strokes white, objects in turn."""
    colours = OBJECT_COLOURS[labels % len(OBJECT_COLOURS)]
    return np.where((labels == 1)[..., None], BACKGROUND_COLOUR, colours).astype(np.uint8)


def painted(picture: NDArray[np.uint8], strokes: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Draw strokes over an image."""
    return np.where((strokes > 0)[..., None], colours_of(strokes), picture)


def outlined(picture: NDArray[np.uint8], labels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Tint masks and draw their borders over an image."""
    from skimage.segmentation import find_boundaries

    colours = colours_of(labels).astype(float)
    tinted = np.where((labels > 0)[..., None], 0.65 * picture + 0.35 * colours, picture)
    border = find_boundaries(labels, mode="inner", connectivity=2)
    return np.where(border[..., None], colours, tinted).astype(np.uint8)


def save(picture: NDArray[np.uint8], name: str) -> None:
    """Write a picture."""
    from PIL import Image

    path = FOLDER / name
    Image.fromarray(np.ascontiguousarray(picture)).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Make all pictures."""
    FOLDER.mkdir(exist_ok=True)
    save(photograph(), "coins.png")
    save(stack(), "stack.png")
    save(two_components(), "two_components.png")
    save(families(), "families.png")
    take_window(window_with_coins, "widget.png")
    take_window(window_with_contradiction, "contradiction.png")
    take_window(window_with_repair, "repair.png", "Repair labels")


if __name__ == "__main__":
    main()
