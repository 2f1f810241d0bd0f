"""How fast segmentations are compared with the truth, beside scikit-image and funlib.evaluate.

Labels and truth are uint32; the peers get them in the type they are quickest with. All methods
must agree about the variation of information.
"""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.metrics import variation_of_information

from common import at_most, table
from malis import volume
from napari_implicitseg.evaluation import evaluate
from napari_implicitseg.hierarchy.lookup_curve import score_lookups
from napari_implicitseg.metrics import contingency, contingency_blocks, voi

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Plan", "report"]

_OURS, _ALL, _SCIKIT, _FUNLIB = "this package", "all figures", "scikit-image", "funlib.evaluate"
_CUTS = 50
_LEAST = 1.5
_Pair = tuple["NDArray[np.uint32]", "NDArray[np.uint32]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Side of the volumes and how often to measure."""

    side: int = 256
    rounds: int = 5


def cases(side: int) -> dict[str, _Pair]:
    """Pairs of labels and truth: much alike, not at all alike, and with a scattered error."""
    truth, other = (volume(side, seed)[1] for seed in (0, 1))
    scattered = np.random.default_rng(0).random(truth.shape, np.float32) < 0.02
    return {
        "shifted by 3 voxels": (np.roll(truth, 3, 1), truth),
        "unrelated": (other, truth),
        "2% of the voxels wrong": (np.where(scattered, other, truth), truth),
    }


def _ours(labels: NDArray[np.uint32], truth: NDArray[np.uint32]) -> tuple[float, float]:
    return tuple(voi(contingency(labels, truth)))


def _all(labels: NDArray[np.uint32], truth: NDArray[np.uint32]) -> tuple[float, float]:
    found = evaluate(labels, truth)
    return found["voi_split"], found["voi_merge"]


def _scikit(labels: NDArray[np.uint32], truth: NDArray[np.uint32]) -> tuple[float, float]:
    return tuple(variation_of_information(truth, labels, ignore_labels=(0,)))


def _methods() -> dict[str, Callable[..., tuple[float, float]]]:
    """Return those that are installed."""
    methods = {_OURS: _ours, _ALL: _all, _SCIKIT: _scikit}
    try:
        from funlib.evaluate import rand_voi
    except ImportError:
        return methods

    def peer(labels: NDArray[np.uint32], truth: NDArray[np.uint32]) -> tuple[float, float]:
        found = rand_voi(truth, labels)
        return found["voi_split"], found["voi_merge"]

    return methods | {_FUNLIB: peer}


def _compare(pair: _Pair, rounds: int) -> dict[str, float]:
    """Median CPU seconds of each method, in turns, after one that compiles."""
    methods = _methods()
    # funlib knows no other type; making it is no part of its time.
    given = {m: tuple(a.astype(np.uint64) for a in pair) if m == _FUNLIB else pair for m in methods}
    seconds: dict[str, list[float]] = {m: [] for m in methods}
    for turn in range(rounds + 1):
        found = {}
        for name, method in methods.items():
            begin = time.process_time()
            found[name] = method(*given[name])
            if turn:
                seconds[name].append(time.process_time() - begin)
        for name, figures in found.items():
            if not np.allclose(figures, found[_OURS], rtol=1e-9):
                raise AssertionError(f"The methods disagree about the VOI: {name} of {found}")
    return {name: float(np.median(s)) for name, s in seconds.items()}


def _peak(pair: _Pair, repeats: int) -> float:
    """MiB taken to compare a volume that is repeated along its first axis."""
    depth = len(pair[0])
    lazy = [_Repeated(side, repeats * depth) for side in pair]
    tracemalloc.start()
    contingency_blocks(*lazy, border=5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


class _Repeated:
    """Sections of a volume over and over, read as from a file."""

    def __init__(self, array: NDArray[np.uint32], depth: int) -> None:
        self._array = array
        self.shape, self.dtype = (depth, *array.shape[1:]), array.dtype

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[np.uint32]:
        sections = np.arange(box[0].start, box[0].stop) % len(self._array)
        return self._array[sections][:, box[1], box[2]]


def _curve(pair: _Pair, rounds: int) -> tuple[int, float]:
    """Fragments, and CPU seconds to score the cuts of a hierarchy of them."""
    labels, truth = pair
    octant = sum(2**k * (i // 16 % 2) for k, i in enumerate(np.indices(labels.shape, np.uint16)))
    fragments = np.unique(8 * labels + octant, return_inverse=True)[1].reshape(labels.shape) + 1
    whole = contingency(fragments, truth)
    count = int(fragments.max())
    lookups = [
        (share, np.r_[0, 1 + np.arange(count) * (1 - share) // 1].astype(np.uint32))
        for share in np.linspace(0, 0.98, _CUTS)
    ]
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        score_lookups(whole, lookups)
        seconds.append(time.process_time() - begin)
    return count, float(np.median(seconds))


def report(plan: Plan | None = None) -> list[str]:
    """Markdown lines of the table and its goals."""
    plan = plan or Plan()
    pairs = cases(plan.side)
    found = {name: _compare(pair, plan.rounds) for name, pair in pairs.items()}
    methods = list(_methods())
    rows = [
        [name, *(f"{t[m]:.3f}" for m in methods), f"{t[_SCIKIT] / t[_OURS]:.1f}"]
        for name, t in found.items()
    ]
    least = min(t[_SCIKIT] / t[_OURS] for t in found.values())
    unrelated = pairs["unrelated"]
    peaks = [_peak(unrelated, repeats) for repeats in (1, 8)]
    count, seconds = _curve(unrelated, plan.rounds)
    mark = "reached" if least >= _LEAST else "MISSED"
    return [
        f"CPU s of the variation of information at {plan.side}^3, medians; {_ALL} are those of",
        "`evaluate`.",
        *([] if _FUNLIB in methods else ["funlib.evaluate is not installed."]),
        "",
        *table(["labels", *methods, "scikit-image / this package"], rows),
        f"- {mark}: scikit-image over this package: {least:.1f} (goal at least {_LEAST})",
        at_most(
            "peak memory of a volume 8 times larger, over that of one", peaks[1] / peaks[0], 1.1
        ),
        at_most(f"CPU s of the scores of {_CUTS} cuts of {count} fragments", seconds, 1),
        f"- Peak memory at {plan.side}^3 and 8 times that: {peaks[0]:.0f} and {peaks[1]:.0f} MiB",
        "",
    ]


if __name__ == "__main__":
    print("\n".join(report()))
