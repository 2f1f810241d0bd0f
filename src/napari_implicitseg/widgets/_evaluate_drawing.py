"""Pictures of curves, drawn by Matplotlib away from the main thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy.components import ThresholdCurve
    from napari_implicitseg.matching import Matches

__all__ = ["BEST", "Drawing", "Look", "draw_curve", "draw_matches"]

# Okabe and Ito: told apart by the colour-blind, and seen on black and on white.
_SPLIT, _MERGE, BEST = "#56b4e9", "#e69f00", "#009e73"
_DPI = 96
_FONT = 8.0
# Pixels from the edges to the axes: in a narrow dock the text needs as much as in a wide one.
_LEFT, _RIGHT, _BOTTOM, _TOP = 46, 12, 38, 26


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How to draw.

    Attributes
    ----------
    size : tuple of int
        Width and height in pixels of the screen's coordinates.
    ratio : float
        Pixels of the device for each of these.
    text, ground, frame : str
        Colours, as "#rrggbb".
    """

    size: tuple[int, int]
    ratio: float = 1.0
    text: str = "#ffffff"
    ground: str = "#000000"
    frame: str = "#808080"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """A picture of curves, and where on it their values are.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (height, width, 4)
        RGBA.
    look : Look
    lines : mapping of str to tuple of ndarray
        x and y of each line, by its name.
    box : tuple of float
        Left, top, right and bottom of the axes, in coordinates of the screen.
    along : tuple of ndarray, shape (A,) each
        Values on the x axis in ascending order, and where they are on the screen.
    top : float
        Value at the upper end of the y axis, which starts at 0.
    """

    pixels: NDArray[np.uint8]
    look: Look
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    box: tuple[float, float, float, float]
    along: tuple[NDArray[np.float64], NDArray[np.float64]]
    top: float

    def x_of(self, value: float) -> float:
        """Where a value is along the x axis of the screen."""
        return float(np.interp(value, *self.along))

    def y_of(self, value: float) -> float:
        """Where a value is along the y axis of the screen."""
        _, top, _, bottom = self.box
        return bottom - (bottom - top) * min(value / self.top, 1.0)

    def value_at(self, x: float) -> float:
        """Value on the x axis at a place of the screen, or the end of the axis nearest to it."""
        return float(np.interp(x, *self.along[::-1]))


def draw_curve(curve: ThresholdCurve, look: Look, *, by_affinity: bool) -> Drawing:
    """Draw VOI over thresholds, and the best of these.

    Parameters
    ----------
    curve : ThresholdCurve
    look : Look
    by_affinity : bool
        Whether thresholds are affinities, 0 to 1; else their axis is logarithmic.
    """
    axes = _axes(look)
    levels = curve.thresholds
    lines = {"VOI": curve.voi, "split": curve.voi_split, "merge": curve.voi_merge}
    for (name, values), colour in zip(lines.items(), (look.text, _SPLIT, _MERGE), strict=True):
        axes.plot(levels, values, color=colour, lw=1.2, label=name)
    best = curve.best()
    axes.plot([best.threshold], [best.voi], "o", color=BEST, ms=8, label="best")
    top = 1.05 * max(1e-3, float(curve.voi.max()))
    low, high = 0.0, 1.0
    if not by_affinity:
        above = levels[levels > 0]
        high = float(levels.max()) or 1.0
        axes.set_xscale("symlog", linthresh=float(above.min()) if len(above) else 1.0)
    axes.set_xlim(low, high)
    grid = np.unique(np.concatenate([[low, high], levels, np.linspace(low, high, 50)]))
    return _finished(
        axes,
        look,
        {name: (levels, values) for name, values in lines.items()},
        ("threshold", "bits", top),
        grid[(grid >= low) & (grid <= high)],
    )


def draw_matches(matches: Mapping[float, Matches], look: Look) -> Drawing:
    """Draw shares of matched objects over the IoU from which they match.

    Parameters
    ----------
    matches : mapping of float to Matches
    look : Look
    """
    axes = _axes(look)
    levels = np.array(list(matches), np.float64)
    lines: dict[str, tuple[Any, Any]] = {}
    for name, attribute, colour in (
        ("AP", "average_precision", look.text),
        ("precision", "precision", _SPLIT),
        ("recall", "recall", _MERGE),
    ):
        values = np.array([getattr(one, attribute) for one in matches.values()], np.float64)
        lines[name] = (levels, values)
        axes.plot(levels, values, ".-", color=colour, lw=1.2, ms=5, label=name)
    axes.set_yticks((0, 0.5, 1))
    return _finished(axes, look, lines, ("IoU from which objects match", "share", 1.05), levels)


def _axes(look: Look) -> Any:
    """Make axes of a figure in the colours of a look."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, high = look.size
    figure = Figure(figsize=(wide / _DPI, high / _DPI), dpi=_DPI * look.ratio)
    FigureCanvasAgg(figure)
    figure.set_facecolor(look.ground)
    across = max(0.1, 1 - (_LEFT + _RIGHT) / wide)
    up = max(0.1, 1 - (_BOTTOM + _TOP) / high)
    axes = figure.add_axes((_LEFT / wide, _BOTTOM / high, across, up))
    axes.set_facecolor(look.ground)
    axes.tick_params(colors=look.text, labelsize=_FONT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(look.frame)
    return axes


def _finished(
    axes: Any,
    look: Look,
    lines: Mapping[str, tuple[Any, Any]],
    names: tuple[str, str, float],
    values: NDArray[np.float64],
) -> Drawing:
    """Name the axes and return the picture."""
    along, up, top = names
    axes.set_ylim(0, top)
    axes.set_xlabel(along, fontsize=_FONT, color=look.text, labelpad=2)
    axes.set_ylabel(up, fontsize=_FONT, color=look.text, labelpad=2)
    # Above the axes, where it hides no curve.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=4,
        fontsize=_FONT,
        frameon=False,
        labelcolor=look.text,
        handlelength=1.2,
        columnspacing=1.2,
        borderaxespad=0.1,
        borderpad=0.2,
    )
    canvas = axes.figure.canvas
    canvas.draw()
    spots = axes.transData.transform(np.stack([values, 0 * values], 1))[:, 0] / look.ratio
    frame = axes.get_window_extent()
    high = axes.figure.bbox.height
    corners = (frame.x0, high - frame.y1, frame.x1, high - frame.y0)
    left, upper, right, lower = (float(v) / look.ratio for v in corners)
    return Drawing(
        pixels=np.array(canvas.buffer_rgba()),
        look=look,
        lines=lines,
        box=(left, upper, right, lower),
        along=(values, spots),
        top=top,
    )
