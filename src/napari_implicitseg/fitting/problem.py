"""One object's fitting problem: where to look, and what the evidence says there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.features import Window, window_step
from napari_implicitseg.fitting.parts import at_level
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.shapes.base import box_extent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.reach import Reach
    from napari_implicitseg.predictors.evidence import Evidence
    from napari_implicitseg.scribbles import Samples

__all__ = [
    "Cells",
    "Effort",
    "Geometry",
    "Look",
    "Problem",
    "background_sides",
    "pose",
    "touches_border",
    "window_around",
    "window_over",
]

# Objects that get the full effort each; more of them share what that costs.
_FULL_EFFORT = 12
_LEAST_EFFORT = 0.18
# Of so many objects each shows less detail: their models are smaller, and found sooner.
_MANY = 5
# A window is this much larger on each side than what was found of the object.
_MARGIN = 0.35
_LEAST_MARGIN = 6


@dataclass(frozen=True, slots=True)
class Effort:
    """How closely each object is looked at.

    Attributes
    ----------
    cells : int
        Most cells of a window where distances are computed.
    fine : int
        Most cells of the same window where colours are looked up.
    settled : int
        Most cells of the same window where evidence is settled with its neighbours.
    soft, sharp : int
        Most points of the first and the last stages of a fit.
    objects : int
        Number of objects.
    """

    cells: int
    fine: int
    settled: int
    soft: int
    sharp: int
    objects: int

    @classmethod
    def for_objects(cls, count: int, ndim: int) -> Effort:
        """Full effort for a few objects; many get less each, as they are small as a rule."""
        share = min(1.0, max(_LEAST_EFFORT, _FULL_EFFORT / max(count, 1)))
        flat = (112**2, 360**2, 180**2, 2000, 2400)
        full = flat if ndim == 2 else (40**3, 72**3, 40**3, 5000, 8000)
        cells, fine, settled, soft, sharp = (int(share * n) for n in full)
        return cls(cells, fine, settled, soft, sharp, count)

    @property
    def is_plain(self) -> bool:
        """Whether there are so many objects that their models show less detail."""
        return self.objects >= _MANY


@dataclass(frozen=True, slots=True)
class Geometry:
    """Voxel grid of an image and the shape coordinates of its box.

    Attributes
    ----------
    shape : tuple of int
    spacing : tuple of float
    effort : Effort
    extent : tuple of float
        Side lengths of the box in shape coordinates.
    pitch : ndarray of float64, shape (D,)
        Voxel size in shape coordinates.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    effort: Effort
    extent: tuple[float, ...] = field(init=False)
    pitch: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the box."""
        extent = box_extent(self.shape, self.spacing)
        object.__setattr__(self, "extent", extent)
        object.__setattr__(self, "pitch", np.asarray(extent) / np.maximum(self.shape, 1))

    def cell_centres(self, window: Window, chosen: NDArray[Any]) -> NDArray[np.float64]:
        """Shape coordinates of some of a window's cells, (N, D) in raster order.

        `chosen` is a mask of the window's shape, or flat indices.
        """
        flat = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        index = np.unravel_index(flat, window.shape)
        axes = [window.centres(a) * p for a, p in enumerate(self.pitch)]
        return np.stack([axis[i] for axis, i in zip(axes, index, strict=True)], axis=1)


@dataclass(frozen=True, slots=True)
class Cells:
    """Evidence on the cells of a window, in raster order.

    Attributes
    ----------
    window : Window
    target : ndarray of bool, shape (M,)
        Whether the evidence speaks for the object.
    weight : ndarray of float32, shape (M,)
        How strongly, 0 to 1.
    """

    window: Window
    target: BoolArray
    weight: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """Where and how an object was looked at.

    Attributes
    ----------
    start, stop : tuple of int
        Box of voxels.
    level : float
        Log odds from which on the evidence counted as the object's: 0, or more
        where its strokes reached a clump of its kind.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    level: float


@dataclass(slots=True)
class Problem:
    """Evidence about one object in one window.

    Attributes
    ----------
    label : int
    grid : Geometry
    cells, fine : Cells
        The same box in coarse and in fine cells.
    level : float
        That of the `Look`.
    probability : ndarray of float32, shape fine.window.shape
        What the evidence says, whatever the level.
    core : ndarray of bool, shape cells.window.shape
        Cells the strokes reach: where a fit starts.
    voxels : ndarray of int64, shape (K, D)
        Stroke voxels in the window, of any label.
    own : ndarray of bool, shape (K,)
        Whether they are this object's.
    boost : ndarray of float32, shape (K,)
        Extra weight of strokes that a fit did not satisfy.
    hopeless : ndarray of bool, shape (K,)
        Strokes found to contradict the object's own: no fit has to satisfy them.
    whitening : Whitening
    """

    label: int
    grid: Geometry
    cells: Cells
    fine: Cells
    level: float
    probability: NDArray[np.float32]
    core: BoolArray
    voxels: NDArray[np.int64]
    own: BoolArray
    boost: NDArray[np.float32]
    hopeless: BoolArray
    whitening: Whitening

    @property
    def window(self) -> Window:
        """Box of voxels the problem looks at."""
        return self.cells.window

    @property
    def look(self) -> Look:
        """What a later fit needs to look at the same."""
        return Look(self.window.start, self.window.stop, self.level)

    @property
    def strokes(self) -> NDArray[np.float64]:
        """Shape coordinates of the stroke voxels, (K, D)."""
        return (self.voxels + 0.5) * self.grid.pitch


def window_around(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    grid: Geometry,
    coarse: Window | None = None,
) -> Window:
    """Window with a margin around a box of voxels, in cells that fit the budget.

    Where the coarse look at the image is as fine, its cells are taken: what is
    known of them need not be found out again.
    """
    pad = _MARGIN * (high - low) + _LEAST_MARGIN * grid.pitch.min() / grid.pitch
    first = np.maximum(np.floor(low - pad), 0).astype(int)
    last = np.minimum(np.ceil(high + pad), grid.shape).astype(int)
    return window_over(first, last, grid, coarse)


def window_over(
    first: NDArray[np.int64], last: NDArray[np.int64], grid: Geometry, coarse: Window | None = None
) -> Window:
    """Window over a box of voxels, in cells that fit the budget; see `window_around`."""
    size = tuple(int(n) for n in last - first)
    step = window_step(size, grid.spacing, grid.effort.cells)
    if coarse is not None and all(s >= c for s, c in zip(step, coarse.step, strict=True)):
        inside = (first >= coarse.start).all() and (last <= coarse.stop).all()
        step = coarse.step if inside else step
    # Windows start on multiples of their step, so that equal steps share one grid.
    first = first - first % np.asarray(step)
    last = np.minimum(-(-last // np.asarray(step)) * np.asarray(step), grid.shape)
    return Window(tuple(first.tolist()), tuple(last.tolist()), step)


def touches_border(mask: BoolArray, window: Window, grid: Geometry) -> bool:
    """Whether a mask reaches a side of its window that is not a side of the image."""
    for axis, (start, stop, size) in enumerate(
        zip(window.start, window.stop, grid.shape, strict=True)
    ):
        first, last = (bool(mask.take(side, axis=axis).any()) for side in (0, -1))
        if (first and start > 0) or (last and stop < size):
            return True
    return False


def background_sides(window: Window, grid: Geometry, width: Sequence[int]) -> list[tuple[int, int]]:
    """How far to pad a window with background, per axis: not beyond the image, where nobody knows.

    Parameters
    ----------
    window : Window
    grid : Geometry
    width : sequence of int
        Padding of a side that lies within the image.
    """
    return [
        (0 if first == 0 else n, 0 if last == size else n)
        for first, last, size, n in zip(window.start, window.stop, grid.shape, width, strict=True)
    ]


def pose(
    reach: Reach, evidence: Evidence, samples: Samples, grid: Geometry, *, settled: bool = False
) -> Problem:
    """Collect what the evidence says about an object around what its strokes reach."""
    window = reach.window
    finer = window_step(
        tuple(b - a for a, b in zip(window.start, window.stop, strict=True)),
        grid.spacing,
        grid.effort.settled if settled else grid.effort.fine,
    )
    fine = Window(window.start, window.stop, finer)
    evidences = evidence.refined(reach.label, window, fine, settled=settled)
    probability, closer = (at_level(p, reach.level) for p in evidences)
    inside = samples.inside(window.start, window.stop)
    voxels, own = samples.coords[inside], samples.ids[inside] == reach.label
    component, core = reach.component, reach.core
    centres = grid.cell_centres(window, core)
    return Problem(
        label=reach.label,
        grid=grid,
        cells=_cells(window, probability, component, core),
        fine=_cells(fine, closer, component[window.cells_of(fine)], core[window.cells_of(fine)]),
        level=reach.level,
        probability=evidences[1],
        core=core,
        voxels=voxels,
        own=own,
        boost=np.ones(len(own), np.float32),
        hopeless=np.zeros(len(own), bool),
        whitening=Whitening.of(centres, float(grid.pitch.max()) / 2),
    )


def _cells(
    window: Window, probability: NDArray[np.float32], component: BoolArray, core: BoolArray
) -> Cells:
    """Targets and weights: what hangs together with the strokes is the object's."""
    target = probability > 0.5
    weight = np.abs(2 * probability - 1)
    # Evidence the strokes do not reach is not this object's, but no proof against it either.
    weight[target & ~component] = 0
    # Behind a neck lies another object of the same kind.
    target &= ~(component & ~core)
    return Cells(window, target.reshape(-1), weight.reshape(-1))
