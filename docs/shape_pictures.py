"""Pictures of the families of shapes, without napari: called by make_pictures.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg import FitConfig, project_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 240
"""Pixels a side of a panel."""

INK = np.array((24, 26, 32))
PAPER = np.array((250, 250, 248))
PIECES = np.array(((250, 250, 248), (77, 187, 213), (230, 75, 53), (120, 200, 90), (243, 177, 59)))
MARGIN = 26
GAP = 14


def two_components() -> NDArray[np.uint8]:
    """Show a flow of the plane cut by the image border, beside a flow of the image's box.

    Left the set in a square three times as large as the image, which is
    outlined: one piece. In the middle the image: two. Right what a flow of the
    box makes of these two.
    """
    # As fine as the image, or the tips would fall apart for want of pixels.
    plane, image = parabola(-1.0, 2.0, 3 * SIZE), parabola(0.0, 1.0, SIZE)
    result = project_labels(image, shape="connected")
    assert result.certificates[1].holds
    smaller = plane.reshape(SIZE, 3, SIZE, 3).any(axis=(1, 3))
    tiles = [pieces(smaller), pieces(image), pieces(result.labels == 1)]
    near, far = SIZE // 3, 2 * SIZE // 3
    frame = np.zeros((SIZE, SIZE), bool)
    frame[near - 2 : far + 2, near - 2 : far + 2] = True
    frame[near:far, near:far] = False
    tiles[0] = np.where(frame[..., None], INK, tiles[0])
    titles = [
        f"(a) a flow of the plane: {count(plane)}",
        f"(b) cut off at the image: {count(image)}",
        f"(c) a flow of the image's box: {count(result.labels == 1)}",
    ]
    return gallery([tiles], [titles])


def parabola(low: float, high: float, pixels: int) -> NDArray[np.bool_]:
    """Pull an ellipse back by one additive coupling (NICE), on a square of the plane."""
    axis = low + (high - low) * (np.arange(pixels) + 0.5) / pixels
    y, x = np.meshgrid(axis, axis, indexing="ij")
    flowed = y + 0.35 - 4.6 * (x - 0.5) ** 2
    return np.asarray(((flowed - 0.2) / 0.13) ** 2 + ((x - 0.5) / 0.42) ** 2 <= 1)


def families() -> NDArray[np.uint8]:
    """Show one damaged mask in all families."""
    mask = leaf()
    tiles, titles = [pieces(mask)], [f"the mask: {count(mask)}"]
    choices = {
        "convex": ("convex", FitConfig()),
        "connected": ("connected", FitConfig()),
        "star": ("star-shaped", FitConfig()),
        "symmetric": ("symmetric", FitConfig()),
        "free": ("free", FitConfig()),
    }
    for shape, (name, config) in choices.items():
        result = project_labels(mask, shape=shape, config=config)
        assert result.certificates[1].holds
        found = result.labels == 1
        tiles.append(over(pieces(found), mask))
        titles.append(f"{name}: {count(found)}")
    return gallery([tiles[:3], tiles[3:]], [titles[:3], titles[3:]])


def leaf() -> NDArray[np.bool_]:
    """Return a body of three lobes, one of them bitten, with a cut through it and a crumb."""
    y, x = (np.indices((SIZE, SIZE)) - (SIZE - 1) / 2) / SIZE
    angle = np.arctan2(y - 0.04, x)
    mask = np.hypot(y - 0.04, x) < 0.27 + 0.1 * np.cos(3 * (angle + 0.5 * np.pi))
    mask &= np.abs(y + 0.02) > 0.007
    mask &= np.hypot(y - 0.05, x - 0.34) > 0.08
    mask |= np.hypot(y + 0.36, x - 0.36) < 0.035
    return np.asarray(mask)


def count(mask: NDArray[np.bool_]) -> str:
    """Say how many pieces a mask has."""
    from scipy import ndimage

    number = int(ndimage.label(mask, np.ones((3, 3)))[1])
    return "1 piece" if number == 1 else f"{number} pieces"


def pieces(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Colour the pieces of a mask, the largest first."""
    from scipy import ndimage

    labels, number = ndimage.label(mask, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=number + 1)[1:]
    ranks = np.zeros(number + 1, int)
    ranks[1 + np.argsort(-sizes)] = 1 + np.arange(number) % (len(PIECES) - 1)
    return PIECES[ranks[labels]].astype(np.uint8)


def over(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Outline a mask over a picture."""
    from scipy import ndimage

    rim = mask & ~ndimage.binary_erosion(mask, border_value=1)
    return np.where(rim[..., None], INK, picture).astype(np.uint8)


def gallery(rows: list[list[NDArray[np.generic]]], titles: list[list[str]]) -> NDArray[np.uint8]:
    """Lay out panels with a title each."""
    from PIL import Image, ImageDraw, ImageFont

    width = len(rows[0]) * (SIZE + GAP) + GAP
    height = len(rows) * (SIZE + MARGIN + GAP)
    page = Image.new("RGB", (width, height), (225, 226, 230))
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=14)
    for i, (row, names) in enumerate(zip(rows, titles, strict=True)):
        for j, (tile, name) in enumerate(zip(row, names, strict=True)):
            left, top = GAP + j * (SIZE + GAP), MARGIN + i * (SIZE + MARGIN + GAP)
            draw.text((left, top - 20), name, fill=tuple(INK.tolist()), font=font)
            page.paste(Image.fromarray(np.ascontiguousarray(tile.astype(np.uint8))), (left, top))
    return np.asarray(page)
