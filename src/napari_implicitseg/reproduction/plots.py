"""Pictures of the reproductions, by Matplotlib, without a screen."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["bars", "curves", "outlined"]

_COLUMNS = 3
_THICK, _THIN = 1.8, 0.7


def curves(series: Mapping[str, Sequence[float]], *, x: str, y: str) -> Callable[[IO[bytes]], None]:
    """Lines by name, on a logarithmic scale."""

    def draw(axes: Any) -> None:
        for name, values in series.items():
            axes.plot(np.arange(1, len(values) + 1), values, label=name)
        axes.set(xlabel=x, ylabel=y, yscale="log")
        axes.legend()

    return lambda file: _drawn(file, [draw])


def bars(groups: Mapping[str, Mapping[str, float]], *, y: str) -> Callable[[IO[bytes]], None]:
    """Bars by group and name; the axis does not start at 0."""

    def draw(axes: Any) -> None:
        names = list(next(iter(groups.values())))
        width = 0.8 / len(names)
        for k, name in enumerate(names):
            at = np.arange(len(groups)) + (k - (len(names) - 1) / 2) * width
            axes.bar(at, [group[name] for group in groups.values()], width, label=name)
        every = [value for group in groups.values() for value in group.values()]
        axes.set_xticks(np.arange(len(groups)), list(groups), rotation=30, ha="right")
        axes.set(ylabel=y, ylim=(max(0.0, min(every) - 0.1), min(1.0, max(every) + 0.05)))
        axes.legend()

    return lambda file: _drawn(file, [draw])


def outlined(
    panels: Sequence[tuple[str, NDArray[Any], Sequence[NDArray[np.bool_]]]],
    names: Sequence[str] = (),
) -> Callable[[IO[bytes]], None]:
    """Images with the outlines of masks on them: (title, image, masks) each; names of the masks."""

    def draw_one(
        axes: Any, title: str, image: NDArray[Any], masks: Sequence[NDArray[np.bool_]]
    ) -> None:
        axes.imshow(image, cmap="gray")
        for k, mask in enumerate(masks):
            if mask.any() and not mask.all():
                width = _THICK if names else _THIN
                axes.contour(mask, levels=[0.5], colors="black", linewidths=2 * width)
                axes.contour(mask, levels=[0.5], colors=[f"C{k % 10}"], linewidths=width)
        for k, name in enumerate(names):
            axes.plot([], [], color=f"C{k % 10}", label=name)
        axes.set_title(title, fontsize=11)
        if names:
            axes.legend(loc="lower right", fontsize=8)
        axes.set_axis_off()

    def panel(which: tuple[str, NDArray[Any], Sequence[NDArray[np.bool_]]]) -> Any:
        return lambda axes: draw_one(axes, *which)

    return lambda file: _drawn(file, [panel(which) for which in panels])


def _drawn(file: IO[bytes], draw: Sequence[Callable[[Any], None]]) -> None:
    """Draw panels side by side and save them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(draw), _COLUMNS)
    rows = -(-len(draw) // columns)
    size = (4.5 * columns, 4 * rows) if len(draw) > 1 else (7, 4)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, one in zip(places, draw, strict=False):
        one(axes)
    for axes in places[len(draw) :]:
        axes.set_axis_off()
    figure.savefig(file, dpi=75, format="png")
