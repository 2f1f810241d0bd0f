"""Augmentation: one patch in many forms, which its labels follow."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.training.appearance import (
    add_noise,
    blank_sections,
    blur,
    change_colours,
    change_contrast,
    change_sections,
)
from napari_implicitseg.training.elastic import COARSE, Margins, Slip, Warp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Augmentation", "Margins", "Plan"]

_PROBABILITIES = (
    "flip",
    "transpose",
    "elastic",
    "intensity",
    "noise",
    "blur",
    "missing",
    "slip",
    "section_contrast",
    "colour",
)
# Axes whose voxel sizes differ by less than this may be exchanged.
_ALIKE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How probable and how strong each change of a patch is.

    Probabilities are per patch unless it says otherwise, 0 to 1; 0 switches a change off.

    Attributes
    ----------
    flip : float
        Of mirroring, per axis.
    transpose : float
        Of exchanging axes that have the same voxel size, within a tenth, and length.
    elastic : float
        Of deforming and turning.
    displacement : float
        Largest displacement, in voxels of the finest axis.
    smoothness : float
        Distance of the control points of the deformation, in voxels of the finest axis.
    rotation : float
        Largest angle in each plane of equal voxel sizes, degrees.
    zoom : float
        Largest change of the logarithm of the scale; with `elastic`.
    intensity : float
        Of a change of contrast.
    gain, gamma : float
        Largest change of the logarithm of slope and exponent.
    offset : float
        Largest shift, as a share of the range of values.
    noise : float
        Of Gaussian noise.
    noise_strength : float
        Its largest standard deviation, in standard deviations of the patch.
    blur : float
        Of a Gaussian blur.
    blur_strength : float
        Its largest width (sigma), in voxels of the finest axis.
    missing : float
        That a section is blank, per section; sections lie across the first axis.
    slip : float
        Of a section, or all from one on, that lie aside.
    slip_strength : float
        How far at most, in voxels.
    section_contrast : float
        That a section has a contrast of its own, per section.
    section_strength : float
        Largest change of the logarithm of its slope, and of its mean as a share of the range.
    colour : float
        That channels are changed each by itself, as stains and lamps do.
    colour_strength : float
        Largest change of the logarithm of their slopes, and shift as a share of their range.
    """

    flip: float = 0.5
    transpose: float = 1.0
    elastic: float = 0.5
    displacement: float = 4.0
    smoothness: float = 24.0
    rotation: float = 10.0
    zoom: float = 0.0
    intensity: float = 0.8
    gain: float = 0.2
    gamma: float = 0.2
    offset: float = 0.08
    noise: float = 0.5
    noise_strength: float = 0.6
    blur: float = 0.2
    blur_strength: float = 1.0
    missing: float = 0.0
    slip: float = 0.0
    slip_strength: float = 4.0
    section_contrast: float = 0.0
    section_strength: float = 0.2
    colour: float = 0.0
    colour_strength: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name in _PROBABILITIES else math.inf
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 <= value <= most or not math.isfinite(value):
                wanted = "a probability from 0 to 1" if most == 1 else "a number from 0"
                raise InputError(f"{field.name} is {value!r}; give {wanted}.")
        if self.smoothness < 1:
            raise InputError(f"smoothness is {self.smoothness:g}; give at least 1 voxel.")

    @classmethod
    def none(cls) -> Augmentation:
        """Patches as they are."""
        return cls(**dict.fromkeys(_PROBABILITIES, 0.0))

    @classmethod
    def for_spacing(cls, spacing: Sequence[float]) -> Augmentation:
        """Suit electron microscopy with voxels of this size.

        Parameters
        ----------
        spacing : sequence of float
            Two for images. Stacks whose sections are thicker than pixels are taken for
            cut sections, which may be missing, lie aside or differ in contrast; others
            for block-face imaging, where the view only jitters.

        Returns
        -------
        Augmentation
        """
        if len(spacing) < 3:
            return cls()
        if spacing[0] > COARSE * min(spacing[1:]):
            return cls(missing=0.03, slip=0.3, slip_strength=8.0, section_contrast=0.1)
        return cls(slip=0.1, slip_strength=2.0)

    def draw(
        self, rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]
    ) -> Plan:
        """Choose how one patch is changed.

        Parameters
        ----------
        rng : numpy.random.Generator
        shape : sequence of int
            Voxels of the patch per axis.
        spacing : sequence of float
            Voxel size per axis.

        Returns
        -------
        Plan
        """
        size = tuple(float(s) for s in spacing)
        return Plan(
            augmentation=self,
            shape=tuple(int(n) for n in shape),
            spacing=size,
            order=self._order(rng, shape, size),
            flips=tuple(bool(rng.random() < self.flip) for _ in shape),
            warp=self._warp(rng, shape, size) if rng.random() < self.elastic else None,
            slip=self._slip(rng, shape) if rng.random() < self.slip else None,
        )

    def _order(
        self, rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float]
    ) -> tuple[int, ...]:
        """Choose an order of the axes."""
        axes = list(range(len(shape)))
        if rng.random() >= self.transpose:
            return tuple(axes)
        for order in (list(o) for o in rng.permutation(list(itertools.permutations(axes)))):
            if all(_alike(a, b, shape, spacing) for a, b in zip(axes, order, strict=True)):
                return tuple(int(a) for a in order)
        return tuple(axes)

    def _warp(
        self, rng: np.random.Generator, shape: Sequence[int], spacing: tuple[float, ...]
    ) -> Warp:
        """Choose a deformation."""
        finest = min(spacing)
        points = [
            max(1, math.ceil((n - 1) * s / (self.smoothness * finest))) + 3
            for n, s in zip(shape, spacing, strict=True)
        ]
        control = rng.uniform(-1, 1, (len(shape), *points))
        for axis, s in enumerate(spacing):
            fine = s <= COARSE * finest
            control[axis] *= self.displacement * finest / s if fine else 0.0
        most = math.radians(self.rotation)
        angles = tuple(
            (a, b, float(rng.uniform(-most, most)))
            for a, b in itertools.combinations(range(len(shape)), 2)
            if abs(math.log(spacing[a] / spacing[b])) < math.log1p(_ALIKE)
        )
        zoom = float(np.exp(rng.uniform(-self.zoom, self.zoom))) if self.zoom else 1.0
        return Warp(control=control, angles=angles, spacing=spacing, zoom=zoom)

    def _slip(self, rng: np.random.Generator, shape: Sequence[int]) -> Slip | None:
        """Choose sections that lie aside."""
        if len(shape) < 3 or shape[0] < 2:
            return None
        most = round(self.slip_strength)
        shifts = np.zeros((shape[0], len(shape) - 1), np.int64)
        first = int(rng.integers(1, shape[0]))
        last = shape[0] if rng.random() < 0.5 else first + 1
        shifts[first:last] = rng.integers(-most, most + 1, len(shape) - 1)
        return Slip(shifts=shifts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """How one patch is changed.

    Attributes
    ----------
    augmentation : Augmentation
    shape : tuple of int
        Of the patch.
    spacing : tuple of float
    order : tuple of int
        Which axis comes to each place.
    flips : tuple of bool
        Which axes are mirrored after that.
    warp : Warp or None
    slip : Slip or None
    """

    augmentation: Augmentation
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    order: tuple[int, ...]
    flips: tuple[bool, ...]
    warp: Warp | None
    slip: Slip | None

    @property
    def margin(self) -> tuple[int, ...]:
        """Voxels per axis that have to be read before and after the patch."""
        needed = np.zeros(len(self.shape))
        if self.warp is not None:
            needed += np.ceil(self.warp.reach(self.shape))
        if self.slip is not None:
            needed += self.slip.reach()
        return tuple(int(n) for n in needed)

    def undeformed(self) -> Plan:
        """Return the plan without deformation and slip."""
        return replace(self, warp=None, slip=None)

    def move(
        self, raw: NDArray[np.float32], ids: NDArray[np.int32], margins: Margins
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Deform, turn and mirror a patch and its labels.

        Parameters
        ----------
        raw : ndarray of float32, shape (C, *S)
            The patch with margins.
        ids : ndarray of int32, shape S
            Likewise.
        margins : tuple of (int, int)
            How much was read before and after the patch along each axis. With less than
            `margin` it is deformed less: nothing is made up beyond what was read.

        Returns
        -------
        raw : ndarray of float32, shape (C, *P)
        ids : ndarray of int32, shape P
        """
        if self.slip is not None:
            raw, ids, margins = self.slip.apply(raw, ids, margins)
        if self.warp is not None:
            raw, ids = self.warp.apply(raw, ids, margins)
        else:
            inside = tuple(
                slice(low, n - high) for n, (low, high) in zip(ids.shape, margins, strict=True)
            )
            raw, ids = raw[(slice(None), *inside)], ids[inside]
        mirror = tuple(slice(None, None, -1 if f else None) for f in self.flips)
        raw = raw.transpose(0, *(axis + 1 for axis in self.order))[(slice(None), *mirror)]
        return np.ascontiguousarray(raw), np.ascontiguousarray(ids.transpose(self.order)[mirror])

    def paint(self, raw: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Change how a patch looks, not where things are.

        Parameters
        ----------
        raw : ndarray of float32, shape (C, *P)
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of float32, shape (C, *P)
        """
        how = self.augmentation
        if raw.ndim == 4:
            if how.section_contrast:
                raw = change_sections(
                    raw, rng, probability=how.section_contrast, strength=how.section_strength
                )
            if how.missing:
                raw = blank_sections(raw, rng, probability=how.missing)
        if rng.random() < how.intensity:
            raw = change_contrast(raw, rng, gain=how.gain, offset=how.offset, gamma=how.gamma)
        if how.colour and len(raw) > 1 and rng.random() < how.colour:
            raw = change_colours(raw, rng, strength=how.colour_strength)
        if rng.random() < how.blur:
            spacing = [self.spacing[axis] for axis in self.order]
            raw = blur(raw, rng, strength=how.blur_strength, spacing=spacing)
        if rng.random() < how.noise:
            raw = add_noise(raw, rng, strength=how.noise_strength)
        return raw


def _alike(a: int, b: int, shape: Sequence[int], spacing: Sequence[float]) -> bool:
    """Whether two axes may change places."""
    same = abs(math.log(spacing[a] / spacing[b])) < math.log1p(_ALIKE)
    return same and shape[a] == shape[b]
