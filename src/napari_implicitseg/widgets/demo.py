"""The demonstration: `python -m napari_implicitseg.widgets.demo`.

With a screen it opens napari on the coins, with scribbles already there and the
widget docked. Without one it does the same under a virtual screen, painting the
strokes through napari's own calls, and writes what came of it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg import __version__
from napari_implicitseg.errors import FileError, ImplicitSegError
from napari_implicitseg.sample_data import coins, coins_image, coins_scribbles, coins_truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.layers import Labels
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.widgets.scribble import ScribbleWidget

__all__ = ["DemoReport", "Heartbeat", "main", "run_headless", "run_with_screen"]

_WINDOW = (1280, 800)
_PATIENCE = 120.0
_SCREEN_VARIABLES = ("DISPLAY", "QT_QPA_PLATFORM", "WAYLAND_DISPLAY")
_PLUGIN, _WIDGET = "napari-implicitseg", "Scribble to mask"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the headless demonstration measured.

    Attributes
    ----------
    objects : int
    strokes : int
    mean_iou, worst_iou : float
        Against an approximate outline of the coins, made without scribbles.
    convex : int
        Objects whose mask was checked to be convex.
    open_seconds : float
        From opening the widget until it was ready: imports and warming up.
    first_fit_seconds : float
        From the end of the first object's stroke until its mask was shown.
    refit_seconds : float
        The same, median over all further strokes.
    longest_stall_seconds : float
        Longest time the interface did not react after a stroke, median over
        the strokes.
    version : str
    """

    objects: int
    strokes: int
    mean_iou: float
    worst_iou: float
    convex: int
    open_seconds: float
    first_fit_seconds: float
    refit_seconds: float
    longest_stall_seconds: float
    version: str = __version__


class Heartbeat:
    """Measures the longest time Qt's event loop did not come round."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.longest = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._beat)

    def restart(self) -> None:
        """Forget what was measured."""
        self.longest, self._last = 0.0, time.perf_counter()

    def __enter__(self) -> Heartbeat:
        """Start measuring."""
        self.restart()
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop measuring."""
        self._beat()
        self._timer.stop()

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest, self._last = max(self.longest, now - self._last), now


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 done, 1 an error the user can mend, told on stderr.
    """
    parser = argparse.ArgumentParser(prog="napari-implicitseg demo", description=__doc__)
    parser.add_argument(
        "--headless", action="store_true", help="use a virtual screen even where there is one"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), metavar="DIR",
        help="folder for the results without a screen (default: demo-output)",
    )  # fmt: skip
    options = parser.parse_args(argv)
    try:
        _need_qt()
        if options.headless or _is_headless():
            report = run_headless(options.output)
            sys.stdout.write(_as_text(report))
            sys.stdout.write(f"Written to {options.output}/\n")
        else:
            run_with_screen()
    except ImplicitSegError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def run_with_screen() -> None:
    """Open napari on the coins, fit, and stay until the window is closed."""
    import napari
    from qtpy.QtCore import QTimer

    viewer = napari.Viewer(title="napari-implicitseg demo")
    for data, kwargs, kind in coins():
        getattr(viewer, f"add_{kind}")(data, **kwargs)
    viewer.window.add_plugin_dock_widget(_PLUGIN, _WIDGET)
    layer = viewer.layers["coins scribbles"]
    layer.mode, layer.brush_size = "paint", 4
    # The panel takes its place, and room from the canvas, only when the window is shown.
    QTimer.singleShot(300, viewer.reset_view)
    napari.run()


def run_headless(output: str | Path) -> DemoReport:
    """Run the real widget under a virtual screen and write what came of it.

    Parameters
    ----------
    output : path
        Folder for `labels.tif`, `window.png`, `report.md` and `report.json`;
        made if missing, earlier results in it are replaced.

    Returns
    -------
    DemoReport

    Raises
    ------
    FileError
        If the folder cannot be written to or there is no virtual screen.
    """
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"Cannot make the folder {folder}: {error.strerror}. Choose another with --output."
        ) from error
    with _virtual_screen():
        import napari

        viewer = napari.Viewer(show=True, show_welcome_screen=False)
        try:
            return _run_in(viewer, folder)
        finally:
            viewer.close()


def _run_in(viewer: Viewer, folder: Path) -> DemoReport:
    """Scribble on all coins in a viewer and write the results."""
    import tifffile

    truth = coins_truth()
    viewer.window._qt_window.resize(*_WINDOW)
    viewer.add_image(coins_image(), name="coins")
    start = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget(_PLUGIN, _WIDGET)
    failures: list[Exception] = []
    widget.jobs.failed.connect(failures.append)
    _wait(widget)
    opened = time.perf_counter() - start
    widget.new_button.click()
    _wait(widget)
    layer = widget.scribbles_box.layer
    layer.brush_size = 3
    times, stalls = [], []
    for label, points in _strokes(truth):
        seconds, stall = _stroke_and_wait(widget, layer, points, label)
        if label > 1:
            times.append(seconds)
        stalls.append(stall)
        if failures:
            raise failures[0]
    convex = sum(row.certificate is not None and row.certificate.holds for row in widget.table.rows)
    viewer.reset_view()
    _wait(widget, settle=0.3)
    viewer.screenshot(str(folder / "window.png"), canvas_only=False, flash=False)
    widget.accept_button.click()
    _wait(widget)
    labels = viewer.layers["coins masks"].data
    tifffile.imwrite(folder / "labels.tif", labels, compression="zlib")
    scores = [_iou(labels == i, truth == i) for i in np.unique(truth[truth > 0])]
    report = DemoReport(
        objects=len(scores),
        strokes=len(stalls),
        mean_iou=round(float(np.mean(scores)), 4),
        worst_iou=round(float(np.min(scores)), 4),
        convex=convex,
        open_seconds=round(opened, 3),
        first_fit_seconds=round(times[0], 3),
        refit_seconds=round(median(times[1:]), 3),
        longest_stall_seconds=round(median(stalls), 4),
    )
    (folder / "report.json").write_text(json.dumps(asdict(report), indent=2) + "\n")
    (folder / "report.md").write_text(f"# Demonstration\n\n{_as_text(report)}")
    return report


def _strokes(truth: LabelArray) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Yield `(label, points)` of each stroke of `coins_scribbles`, background first."""
    from scipy import ndimage

    drawn = coins_scribbles(truth)
    for label in np.unique(drawn[drawn > 0]):
        pieces, count = ndimage.label(drawn == label, np.ones((3, 3)))
        for piece in range(1, count + 1):
            rows, columns = np.nonzero(pieces == piece)
            across = np.unique(columns)
            if len(across) < 4:
                continue
            middle = ndimage.mean(rows, columns, across)
            yield int(label), np.column_stack([middle, across])


def _stroke_and_wait(
    widget: ScribbleWidget, layer: Labels, points: NDArray[np.float64], label: int
) -> tuple[float, float]:
    """Paint one stroke; return seconds until its mask is shown and the longest stall."""
    if label != layer.selected_label:
        widget.next_button.click()
    with Heartbeat() as heartbeat:
        with layer.block_history():
            for start, stop in itertools.pairwise(points):
                for share in np.arange(0, 1, 1 / max(1.0, np.abs(stop - start).max())):
                    layer.paint(start + share * (stop - start), label, refresh=False)
            layer.paint(points[-1], label)
            # A person's stroke takes seconds; only what follows its end may stall.
            heartbeat.restart()
        began = time.perf_counter()
        _wait(widget)
    return time.perf_counter() - began, heartbeat.longest


def _wait(widget: ScribbleWidget, settle: float = 0.0) -> None:
    """Let Qt work until the widget has nothing to do, and a little longer."""
    from qtpy.QtWidgets import QApplication

    deadline = time.perf_counter() + _PATIENCE
    until = time.perf_counter() + settle
    while widget.is_working or time.perf_counter() < until:
        QApplication.processEvents()
        time.sleep(0.001)
        if time.perf_counter() > deadline:
            raise ImplicitSegError(f"The fit did not end within {_PATIENCE:.0f} s.")
    QApplication.processEvents()


def _iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _as_text(report: DemoReport) -> str:
    """Write a report for a person."""
    return (
        f"{report.objects} coins from {report.strokes} strokes, painted in napari with "
        f"napari-implicitseg {report.version}.\n\n"
        f"- IoU with an approximate outline made without scribbles: mean {report.mean_iou:.3f}, "
        f"worst {report.worst_iou:.3f}\n"
        f"- checked to be convex: {report.convex} of {report.objects}\n"
        f"- widget ready after {report.open_seconds:.1f} s\n"
        f"- first mask {report.first_fit_seconds:.2f} s after its stroke, further strokes "
        f"{report.refit_seconds:.2f} s (median)\n"
        f"- longest stall of the interface per stroke {1000 * report.longest_stall_seconds:.0f} "
        "ms (median)\n"
    )


def _is_headless() -> bool:
    """Whether the environment asks for, or offers, no screen."""
    if os.environ.get("HEADLESS", "") not in ("", "0"):
        return True
    has_screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return sys.platform.startswith("linux") and not has_screen


def _need_qt() -> None:
    """Raise unless a Qt binding can be imported."""
    try:
        import qtpy.QtWidgets  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise ImplicitSegError(
            f"napari needs a Qt binding and none could be loaded ({error}). Install one: "
            "pip install 'napari-implicitseg[all]'."
        ) from error


@contextlib.contextmanager
def _virtual_screen() -> Iterator[None]:
    """Provide an X server without a screen, on Linux; elsewhere use the real one."""
    if not sys.platform.startswith("linux"):
        yield
        return
    program = shutil.which("Xvfb")
    if program is None:
        raise FileError(
            "There is no screen, and Xvfb, which stands in for one, was not found. Install it "
            "(Debian, Ubuntu: apt-get install xvfb) or run where there is a screen."
        )
    read, write = os.pipe()
    command = [program, "-displayfd", str(write), "-nolisten", "tcp"]
    command += ["-screen", "0", "1400x1000x24"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    before = {name: os.environ.get(name) for name in _SCREEN_VARIABLES}
    try:
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise FileError(f"{program} ended without offering a display. Run it to see why.")
        os.environ.update({"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"})
        os.environ.pop("WAYLAND_DISPLAY", None)
        yield
    finally:
        _restore(before)
        server.terminate()
        server.wait(10)


def _restore(variables: dict[str, str | None]) -> None:
    """Set environment variables back to what they were."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


if __name__ == "__main__":
    raise SystemExit(main())
