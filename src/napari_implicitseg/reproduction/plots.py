"""Pictures of the reproductions, by Matplotlib, without a screen."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["bars", "curves", "outlined"]


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
) -> Callable[[IO[bytes]], None]:
    """Images with the outlines of masks on them, side by side: (title, image, masks) each."""

    def draw_one(
        axes: Any, title: str, image: NDArray[Any], masks: Sequence[NDArray[np.bool_]]
    ) -> None:
        axes.imshow(image, cmap="gray")
        for k, mask in enumerate(masks):
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors=[f"C{k % 10}"], linewidths=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()

    def panel(which: tuple[str, NDArray[Any], Sequence[NDArray[np.bool_]]]) -> Any:
        return lambda axes: draw_one(axes, *which)

    return lambda file: _drawn(file, [panel(which) for which in panels])


def _drawn(file: IO[bytes], draw: Sequence[Callable[[Any], None]]) -> None:
    """Draw panels side by side and save them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(draw) if len(draw) > 1 else 7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, one in zip(np.atleast_1d(figure.subplots(1, len(draw))), draw, strict=True):
        one(axes)
    figure.savefig(file, dpi=110, format="png")
