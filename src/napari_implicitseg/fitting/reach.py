"""How far the strokes of an object reach over the evidence, and at which level of it.

Nuclei in tissue touch by the dozen: above even odds their evidence is one large
clump without narrow necks. But it is weaker between them and falls off with the
distance from the strokes. So where the strokes reach something that cannot be
convex, the evidence asked for is raised until what they reach is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.fitting.parts import at_level, closed_depth, own_part, stroke_component
from napari_implicitseg.fitting.problem import touches_border, window_around
from napari_implicitseg.shapes.certificate import crop_box, digital_hull

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.features import Window
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.predictors.evidence import Evidence
    from napari_implicitseg.scribbles import Samples

__all__ = ["Reach", "Scout"]

# Log odds that are tried, one after the other.
_LEVELS = (0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0)
# What fills less of its hull than this is taken for a clump.
_COMPACT = 0.88
# What is cut off a clump has the size of an object: its inscribed ball is at
# least this share of the object's. A ragged border has no such body.
_BODY = 0.8
# The object is larger than its strokes, and takes at most this share of the clump.
_LEAST = 1.5
_MOST = 0.6
_MOST_ZOOMS = 4


@dataclass(frozen=True, slots=True)
class Reach:
    """What the strokes of an object reach in a window.

    Attributes
    ----------
    label : int
    window : Window
    level : float
        Log odds from which on the evidence counts as the object's.
    component : ndarray of bool, shape window.shape
        Likely cells that hang together with the strokes.
    core : ndarray of bool, shape window.shape
        Those before any neck.
    """

    label: int
    window: Window
    level: float
    component: BoolArray
    core: BoolArray

    @property
    def region(self) -> BoolArray:
        """The core with its holes filled."""
        return np.asarray(ndimage.binary_fill_holes(self.core))


class Scout:
    """Looks how far strokes reach.

    Parameters
    ----------
    evidence : Evidence
    samples : Samples
    grid : Geometry
    convex : bool
        Whether the objects are: then clumps are cut at their necks, and the
        evidence asked for is raised until they come apart.
    """

    def __init__(
        self, evidence: Evidence, samples: Samples, grid: Geometry, *, convex: bool = True
    ) -> None:
        self._convex = convex
        self._evidence = evidence
        self._samples = samples
        self._grid = grid

    def at(self, label: int, window: Window, level: float) -> Reach:
        """Look at one level."""
        strokes = self._strokes(label, window)
        seen = self._evidence.probability(label, window, settled=not self._convex)
        probability = at_level(seen, level)
        likely = ndimage.gaussian_filter(probability, 0.7) > 0.5
        component = stroke_component(likely, strokes)
        if not self._convex:
            return Reach(label, window, level, component, component)
        pitch = tuple((self._grid.pitch * window.step).tolist())
        return Reach(label, window, level, component, own_part(component, strokes, pitch))

    def search(self, label: int, window: Window) -> Reach:
        """Look at the lowest level at which the strokes reach something that may be convex.

        The window is meant to show all the strokes reach; it is narrowed down
        to the object where that is a part of a clump.
        """
        best = clump = self.at(label, window, _LEVELS[0])
        whole = clump.region
        if not self._convex or _is_compact(whole):
            return clump
        most = _MOST * whole.sum() * np.prod(window.step)
        for _ in range(_MOST_ZOOMS):
            levels = [level for level in _LEVELS if level >= max(best.level, _LEVELS[1])]
            found = self._compact(label, window, levels, most)
            if found is None:
                break
            if best is clump and not _leaves_a_body(whole, found.region):
                break
            narrow = self._around(found)
            best = self.at(label, narrow, found.level)
            if narrow.step == window.step:
                break
            window = narrow
        return best

    def _compact(
        self, label: int, window: Window, levels: Sequence[float], most: float
    ) -> Reach | None:
        """Find the lowest level at which the strokes reach a compact object of at most a size."""
        least = _LEAST * len(np.unique(self._strokes(label, window), axis=0))
        for level in levels:
            found = self.at(label, window, level)
            region = found.region
            cells = int(region.sum())
            if cells < least:
                return None
            small = cells * np.prod(window.step) <= most
            whole = not touches_border(region, window, self._grid)
            if small and whole and _is_compact(region):
                return found
        return None

    def _strokes(self, label: int, window: Window) -> NDArray[np.int64]:
        """Cells of a window with strokes of the object, (N, D)."""
        inside = self._samples.inside(window.start, window.stop)
        return window.cells(self._samples.coords[inside][self._samples.ids[inside] == label])

    def _around(self, found: Reach) -> Window:
        """Window around what was found."""
        low, high = found.window.box_of(found.core)
        high = np.minimum(high, found.window.stop)
        coarse = self._evidence.coarse
        return window_around(low.astype(float), high.astype(float), self._grid, coarse)


def _is_compact(mask: BoolArray) -> bool:
    """Whether a mask fills so much of its hull that it may be one convex object."""
    cropped = mask[crop_box(mask)]
    return bool(cropped.sum() >= _COMPACT * digital_hull(cropped).sum())


def _leaves_a_body(clump: BoolArray, part: BoolArray) -> bool:
    """Whether what a part leaves of its clump holds a body of about its own size."""
    return _depth(clump & ~part) >= _BODY * _depth(part)


def _depth(mask: BoolArray) -> float:
    """Radius of the inscribed ball, in cells."""
    return float(closed_depth(mask).max())
