"""How good and how fast repair is: against hulls, against cleaning up, and in memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.morphology import convex_hull_image

from common import at_least, at_most, overlap, pieces, table, timed, worst_decile
from corruption import bent_objects, convex_objects, corrupt, volume
from napari_implicitseg import project_labels
from napari_implicitseg.shapes.certificate import digital_hull

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Plan", "memory_probe", "report"]

_HULL, _OWN_HULL, _LARGEST = "hull (scikit-image)", "hull (ours)", "largest piece, filled"
_OURS = {"convex": "convex repair", "connected": "connected repair"}
# Mask of an object and where its corner lies.
_Placed = tuple[tuple[slice, ...], "NDArray[np.bool_]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure: the images, the repetitions and the volume."""

    size: int = 1024
    count: int = 100
    rounds: int = 5
    volume_size: int = 512
    volume_count: int = 1000
    volume: bool = True


@dataclass(slots=True)
class Scores:
    """Figures of one method: one entry per object, and CPU seconds of each round."""

    iou: list[float] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Median of the rounds; 0 for what is not computed."""
        return float(np.median(self.seconds)) if self.seconds else 0.0


def per_object(
    labels: NDArray[np.integer], method: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
) -> dict[int, _Placed]:
    """Apply a method to each object's crop."""
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    return {k: (box, method(labels[box] == k)) for k, box in boxes if box is not None}


def largest_filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest piece, full connectivity, and fill its holes."""
    labels, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return ndimage.binary_fill_holes(labels == 1 + np.bincount(labels[labels > 0] - 1).argmax())


def _as_is(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask


PEERS: dict[str, Callable[[NDArray[np.bool_]], NDArray[np.bool_]]] = {
    "input": _as_is,
    _LARGEST: largest_filled,
    _HULL: convex_hull_image,
    _OWN_HULL: digital_hull,
}


def measure(truth: NDArray[np.int32], shapes: tuple[str, ...], rounds: int) -> dict[str, Scores]:
    """Score peers and repairs on a damaged image, in interleaved rounds."""
    labels = corrupt(truth)
    scores = {name: Scores() for name in (*PEERS, *(_OURS[s] for s in shapes))}
    for shape in shapes:
        # The first call compiles; it is not measured.
        project_labels(labels[:200, :200], shape=shape)
    for turn in range(rounds):
        for name, method in PEERS.items():
            found, seconds = timed(per_object, labels, method)
            if name != "input":
                scores[name].seconds.append(seconds)
            if turn == 0:
                _score(scores[name], found, truth)
        for shape in shapes:
            result, seconds = timed(project_labels, labels, shape=shape)
            scores[_OURS[shape]].seconds.append(seconds)
            if turn == 0:
                _score(scores[_OURS[shape]], per_object(result.labels, _as_is), truth)
    return scores


def _score(scores: Scores, found: dict[int, _Placed], truth: NDArray[np.int32]) -> None:
    """Overlap of each object with its truth; an object that is gone has none."""
    for label in np.unique(truth)[1:]:
        mask = np.zeros(truth.shape, bool)
        if label in found:
            box, crop = found[label]
            mask[box] = crop
        scores.iou.append(overlap(mask, truth == label))
        scores.pieces.append(pieces(mask))


def report(plan: Plan) -> list[str]:
    """Markdown lines of all tables."""
    flat = measure(convex_objects(plan.size, plan.count), ("convex",), plan.rounds)
    # On two cores a connected repair takes seconds: fewer rounds do.
    rounds = min(plan.rounds, 3)
    bent = measure(bent_objects(plan.size, plan.count), ("convex", "connected"), rounds)
    lines = [
        f"### {plan.count} convex objects in {plan.size} x {plan.size}",
        "",
        *_table(flat),
        *_convex_goals(flat),
        f"### {plan.count} objects of one piece in {plan.size} x {plan.size}",
        "",
        *_table(bent),
        *_connected_goals(bent, flat),
    ]
    if plan.volume:
        lines += [f"### {plan.volume_count} objects in {plan.volume_size}^3", "", *_memory(plan)]
    return lines


def _table(scores: dict[str, Scores]) -> list[str]:
    """Quality and time of every method."""
    base = scores[_HULL].cpu
    return table(
        ["method", "mean IoU", "worst decile", "one piece", "CPU ms", "over scikit-image's hulls"],
        [
            [name, f"{np.mean(s.iou):.3f}", f"{worst_decile(s.iou):.3f}"]
            + [f"{np.mean(np.array(s.pieces) == 1):.0%}"]
            + ([f"{1000 * s.cpu:.0f}", f"{s.cpu / base:.2f}"] if s.seconds else ["", ""])
            for name, s in scores.items()
        ],
    )


def _convex_goals(scores: dict[str, Scores]) -> list[str]:
    ours = scores[_OURS["convex"]]
    gains = {name: float(np.mean(ours.iou) - np.mean(scores[name].iou)) for name in PEERS}
    return [
        at_most("CPU over a hull of scikit-image per object", ours.cpu / scores[_HULL].cpu, 10),
        *(at_least(f"mean IoU above {name}", gain, 0.03) for name, gain in gains.items()),
        "",
    ]


def _connected_goals(bent: dict[str, Scores], flat: dict[str, Scores]) -> list[str]:
    ours = bent[_OURS["connected"]]
    over = ours.cpu / flat[_OURS["convex"]].cpu
    return [
        at_most("CPU over the convex repair of as many convex objects", over, 10),
        at_least("repaired masks in one piece", float(np.mean(np.array(ours.pieces) == 1)), 1.0),
        "",
    ]


def _memory(plan: Plan) -> list[str]:
    """Peak memory and time of a large volume, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--memory"]
    done = subprocess.run(
        [*command, f"volume,{plan.volume_size},{plan.volume_count}"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return [f"- MISSED: peak memory in GB: the process failed ({reason})", ""]
    peak, before, seconds, wall, kept = (float(v) for v in done.stdout.split())
    return [
        *table(
            ["objects kept", "peak GB", "GB before", "CPU s", "s"],
            [[f"{kept:.0f}", f"{peak:.2f}", f"{before:.2f}", f"{seconds:.1f}", f"{wall:.1f}"]],
        ),
        at_most("peak memory in GB, all of the process", peak, 4),
        at_least("objects kept", kept, plan.volume_count, 0),
        "",
    ]


def memory_probe(size: int, count: int) -> None:
    """Print peak and earlier memory in GB, CPU and wall seconds and objects of one repair."""
    # Compiled code is no part of the time: a small volume first.
    project_labels(volume(64, 8), shape="convex")
    labels = volume(size, count)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")
    begin, cpu = time.monotonic(), time.process_time()
    result = project_labels(labels, shape="convex")
    cpu, wall = time.process_time() - cpu, time.monotonic() - begin
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    kept = np.count_nonzero(np.bincount(result.labels.ravel()[::7])[1:])
    print(peak / 2**30, before / 2**30, cpu, wall, kept)
