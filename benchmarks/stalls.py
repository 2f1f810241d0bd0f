"""How long napari stands still while *Volume to neurons* segments, recuts and corrects.

A timer in the main thread notes the gaps between turns of the event loop. Every figure
comes from a process of its own with a real viewer: `python benchmarks/stalls.py FILE LINKAGE
ROUNDS` prints those of affinities in a file as JSON. The report opens a
screen by Xvfb if there is none.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["KINDS", "Clock", "Plan", "affinities", "cells", "measure", "report"]

KINDS = {"edges": 0, "membranes": 3}
"""Kinds of affinities with the thickness of their membranes."""
_GOAL = 50.0
_REDRAWING, _ADDING = "napari redrawing", "napari adding a layer"
_ALONE = ("nothing", _REDRAWING, _ADDING)
_TICK = 5
"""Milliseconds between turns of the event loop that is idle."""
_LONGEST = 900.0
"""Seconds that a job may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Side of the volumes, kinds of affinities with linkages, and rounds of each."""

    side: int = 250
    cases: tuple[tuple[str, str], ...] = (
        ("edges", "mean"),
        ("edges", "ward"),
        ("edges", "area"),
        ("membranes", "mean"),
    )
    rounds: int = 3


def cells(side: int) -> NDArray[np.uint32]:
    """Objects of 30,000 voxels at the median, so that 250^3 have some 20,000 fragments."""
    import malis

    labels = malis.volume((side + 1) // 2)[1]
    for axis in range(labels.ndim):
        labels = labels.repeat(2, axis)
    return labels[:side, :side, :side]


def affinities(
    labels: NDArray[np.uint32], thickness: int, smoothing: float = 6.0, seed: int = 0
) -> NDArray[np.float32]:
    """Affinities of labels under smoothed noise in log odds.

    Parameters
    ----------
    labels : ndarray of uint32, shape S
    thickness : int
        Of membranes, in voxels; 0 for none, then only edges are weak.
    smoothing : float
        Of the noise, in voxels: the fragments of the watershed on edges are about as large.
    """
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    steps = [labels != np.roll(labels, 1, axis) for axis in range(labels.ndim)]
    border = np.logical_or.reduce(steps)
    if thickness > 1:
        border = ndimage.binary_dilation(border, iterations=thickness // 2)
    values = np.empty((labels.ndim, *labels.shape), np.float32)
    # One noise for all axes: else the watershed ends wherever one of them is highest.
    noise = ndimage.gaussian_filter(rng.standard_normal(labels.shape, np.float32), smoothing)
    noise /= noise.std()
    for axis, step in enumerate(steps):
        apart = border | np.roll(border, 1, axis) if thickness else step
        values[axis] = 1 / (1 + np.exp(5.0 * apart - 2.5 - noise))
    return values


# In a process of its own -------------------------------------------------------------------------


class Clock:
    """Notes the gaps between turns of the event loop, in milliseconds."""

    def __init__(self, app: Any) -> None:
        from qtpy.QtCore import Qt, QTimer

        self._app = app
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(_TICK)
        self._timer.timeout.connect(self._note)
        self._last = 0.0
        self.gaps: list[float] = []
        # In place of all gaps, where an action has measured itself.
        self.only: list[float] = []

    def _note(self) -> None:
        now = time.monotonic()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def spin(self, until: Callable[[], bool], seconds: float = _LONGEST) -> None:
        """Turn the event loop until something holds; give up after some time."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(f"Nothing came within {seconds:g} s.")
            self._app.processEvents()
            time.sleep(0.001)

    def rest(self, seconds: float) -> None:
        """Turn the event loop for some time."""
        end = time.monotonic() + seconds
        self.spin(lambda: time.monotonic() > end)

    def longest(self, action: Callable[[], object], seconds: float = 0.5) -> float:
        """Longest gap while something is done and for some time after it."""
        self.rest(0.2)
        self.gaps, self.only, self._last = [], [], time.monotonic()
        self._timer.start()
        action()
        self.rest(seconds)
        self._note()
        self._timer.stop()
        return max(self.only or self.gaps)


def measure(path: Path, linkage: str, rounds: int) -> dict[str, Any]:
    """Longest stall of each thing a user does, in milliseconds: the median of some rounds."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_implicitseg.widgets.neurons import NeuronsWidget

    viewer = napari.Viewer()
    clock = Clock(QApplication.instance())
    try:
        widget = NeuronsWidget(viewer)
        viewer.window.add_dock_widget(widget)
        viewer.add_image(np.load(path), name="aff")
        clock.spin(lambda: not widget.is_working)
        clock.rest(1.0)
        widget.cutting.linkage_box.value = linkage
        found: dict[str, list[float]] = {}
        start = time.monotonic()
        for _ in range(rounds):
            for name, action in _actions(viewer, widget, clock):
                found.setdefault(name, []).append(clock.longest(action))
        work = widget.session.corrections.work
        return {
            "stalls": {name: float(np.median(values)) for name, values in found.items()},
            "fragments": work.hierarchy.size,
            "seconds": (time.monotonic() - start) / rounds,
        }
    finally:
        viewer.close()


def _actions(viewer: Any, widget: Any, clock: Clock) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what a user does, one thing after the other."""
    session, slider = widget.session, widget.cutting.slider

    def wait() -> None:
        clock.spin(lambda: not widget.is_working)

    def slide() -> None:
        span = slider.maximum() - slider.minimum()
        for share in (0.3, 0.4, 0.45, 0.55, 0.6, 0.7, 0.5):
            slider.setValue(slider.minimum() + round(share * span))
            clock.rest(0.05)

    yield "nothing", lambda: clock.rest(1.0)
    # What napari takes by itself, with this screen: nothing a plugin shows is quicker.
    yield _REDRAWING, viewer.layers["aff"].refresh
    shape = viewer.layers["aff"].data.shape[1:]
    yield _ADDING, lambda: viewer.add_labels(np.zeros(shape, np.uint8), name="empty")
    viewer.layers.remove("empty")
    yield "Segment", lambda: (widget.segment(), wait())
    viewer.dims.set_point(0, viewer.dims.range[0].stop // 2)
    yield "slider, 2D", slide
    one, two = _neighbours(session.corrections.work)
    yield "choosing a neuron", lambda: session.correct(lambda: session.corrections.click(one))
    yield "freeze", widget.freeze
    yield "unfreeze", widget.freeze
    widget.merge()
    yield (
        "merge",
        lambda: [session.correct(lambda v=v: session.corrections.click(v)) for v in (one, two)],
    )
    yield "undo", widget.undo
    yield "next uncertain", lambda: (widget.next_uncertain(), wait())
    viewer.dims.ndisplay = 3
    clock.rest(1.0)
    yield "slider, 3D, without drawing", lambda: _moved(clock, slider)
    viewer.dims.ndisplay = 2
    clock.rest(1.0)
    widget.new_scribbles()
    _paint(viewer.layers["scribbles"], session.corrections.work, one)
    yield "split", lambda: (widget.split(), wait())
    yield "undo of a split", widget.undo


def _moved(clock: Clock, slider: Any) -> None:
    """Move the slider; each move counts as a gap, as bodies are slow to draw without a GPU."""
    gaps = []
    for share in (0.3, 0.45, 0.6, 0.5):
        start = time.monotonic()
        slider.setValue(slider.minimum() + round(share * (slider.maximum() - slider.minimum())))
        gaps.append(1000 * (time.monotonic() - start))
        clock.rest(0.05)
    clock.rest(1.0)  # What is drawn after that does not count either.
    clock.only = gaps


def _neighbours(work: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Voxels of two large objects that touch."""
    graph, lookup = work.hierarchy.graph, work.lookup
    sizes = np.bincount(lookup[1:], graph.sizes)
    ends = lookup[graph.edges + 1]
    apart = np.flatnonzero(ends[:, 0] != ends[:, 1])
    best = apart[np.argmax(sizes[ends[apart]].min(axis=1))]
    return tuple(work.voxel_of(int(i)) for i in ends[best])  # type: ignore[return-value]


def _paint(layer: Any, work: Any, voxel: tuple[int, ...]) -> None:
    """Paint two strokes into the object at a voxel."""
    index = np.argwhere(work.labels() == work.object_at(voxel))
    layer.data_setitem(tuple(index[:20].T), 1)
    layer.data_setitem(tuple(index[-20:].T), 2)


# All of them -------------------------------------------------------------------------------------


def _run(path: Path, linkage: str, rounds: int) -> dict[str, Any]:
    """Measure one case in a process of its own, with a screen."""
    command = [sys.executable, str(Path(__file__).resolve()), str(path), linkage, str(rounds)]
    if sys.platform == "linux" and not os.environ.get("DISPLAY") and shutil.which("xvfb-run"):
        command = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(plan: Plan) -> list[str]:
    """Lines of a table of all, and of the goal."""
    from common import at_most, table

    with tempfile.TemporaryDirectory() as folder:
        labels = cells(plan.side)
        paths = {kind: Path(folder) / f"{kind}.npy" for kind in KINDS}
        for kind, thickness in KINDS.items():
            np.save(paths[kind], affinities(labels, thickness))
        del labels
        found = [_run(paths[kind], linkage, plan.rounds) for kind, linkage in plan.cases]
    names = list(found[0]["stalls"])
    head = ["", *(f"{kind}, {linkage}" for kind, linkage in plan.cases)]
    rows = [[name, *(f"{case['stalls'][name]:.0f}" for case in found)] for name in names]
    rows.insert(0, ["fragments", *(f"{case['fragments']:,}" for case in found)])
    worst = {name: max(case["stalls"][name] for case in found) for name in names}
    return [
        f"Longest stall of napari's event loop in ms, volume of {plan.side}^3, "
        f"medians of {plan.rounds} rounds; a turn is due every {_TICK} ms. In the first round "
        "Segment and choosing a neuron also add a layer.",
        "",
        *table(head, rows),
        *(at_most(f"{name}, ms", worst[name], _GOAL) for name in names if name not in _ALONE),
        "",
    ]


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
