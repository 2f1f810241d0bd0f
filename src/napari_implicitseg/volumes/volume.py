"""An image or label image from a file, with what its axes mean."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.features import find_channel_axis
from napari_implicitseg.volumes.lazy import FileArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_implicitseg._types import TimeChoice

__all__ = [
    "EAGER_BYTES",
    "Axis",
    "Grid",
    "Volume",
    "arrange",
    "check_no_time",
    "check_space_time",
    "common_scale",
    "unit_name",
    "unit_symbol",
]

EAGER_BYTES = 1 << 25
"""Arrays up to this size are read at once, larger ones window by window."""

_METRES = {
    "picometer": 1e-12,
    "angstrom": 1e-10,
    "nanometer": 1e-9,
    "micrometer": 1e-6,
    "millimeter": 1e-3,
    "centimeter": 1e-2,
    "inch": 0.0254,
    "meter": 1.0,
}
_SYMBOLS = {
    "picometer": "pm",
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "inch": "in",
    "meter": "m",
}
_ALIASES = {
    **{name: name for name in _METRES},
    **{name + "s": name for name in _METRES},
    **{name.replace("meter", "metre"): name for name in _METRES},
    **{symbol: name for name, symbol in _SYMBOLS.items()},
    "um": "micrometer",
    "\u03bcm": "micrometer",  # Greek mu; the table above has the micro sign
    "\\u00b5m": "micrometer",  # as ImageJ writes it
    "micron": "micrometer",
    "microns": "micrometer",
    "inches": "inch",
    "\u212b": "angstrom",
}
_NO_UNIT = ("", "pixel", "pixels", "px", "voxel", "voxels", "null", "none", "unit")


def unit_name(text: str | None) -> str:
    """Return the OME-Zarr name of a length unit ("um" -> "micrometer"); "" if it is none."""
    text = (text or "").strip()
    if text.lower() in _NO_UNIT:
        return ""
    # Case counts for symbols only: "Mm" is not "mm".
    return _ALIASES.get(text) or _ALIASES.get(text.lower()) or text


def common_scale(axes: Sequence[Axis]) -> list[float]:
    """Return voxel sizes that can be compared: in metres where all axes of space have a length."""
    space = [axis for axis in axes if axis.kind not in ("time", "channel")]
    lengths = all(axis.unit in _METRES for axis in space)
    return [axis.scale * _METRES.get(axis.unit, 1.0) if lengths else axis.scale for axis in axes]


def unit_symbol(unit: str) -> str:
    """Return the symbol of a unit ("micrometer" -> "µm"), or the unit as it is."""
    return _SYMBOLS.get(unit, unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of an array in a file.

    Attributes
    ----------
    name : str
        "z", "y", "x", "c", "t" or what the file says; "" if it says nothing.
    kind : {"space", "channel", "time", ""}
        "" is unknown: a spatial axis, or channels without a name.
    scale, translate : float
        Voxel size, and position of voxel 0, in `unit`.
    unit : str
        OME-Zarr name of the unit, such as "micrometer"; "" if unknown.
    """

    name: str = ""
    kind: str = ""
    scale: float = 1.0
    translate: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of a label image lie.

    Attributes
    ----------
    axes : tuple of str
        Names, for instance ("z", "y", "x").
    scale, translate : tuple of float
        Voxel size and position of voxel 0 per axis, in that axis's unit.
    units : tuple of str
        OME-Zarr names; "" if unknown.
    """

    axes: tuple[str, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    units: tuple[str, ...]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def unit(self) -> str:
        """The unit `spacing` is given in: that of the last axis; "" if unknown."""
        return self.units[-1] if self.spacing is not None else ""

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """Voxel size in one common unit, or None if the units cannot be compared."""
        if len(set(self.units)) == 1:
            return self.scale
        if not all(unit in _METRES for unit in self.units):
            return None
        common = _METRES[self.units[-1]]
        return tuple(s * _METRES[u] / common for s, u in zip(self.scale, self.units, strict=True))

    def spacing_in(self, unit: str) -> tuple[float, ...] | None:
        """Voxel size in a unit such as "nanometer", or None where the file does not say."""
        if unit not in _METRES or not all(own in _METRES for own in self.units):
            return None
        factors = (_METRES[own] / _METRES[unit] for own in self.units)
        return tuple(s * f for s, f in zip(self.scale, factors, strict=True))

    @property
    def fit_spacing(self) -> tuple[float, ...]:
        """Voxel size for a fit, in one unit if there is one; a step in time counts as one in x."""
        space = [i for i, axis in enumerate(self.axes) if axis != "t"]
        units = tuple(self.units[i] for i in space)
        only = replace(
            self,
            axes=tuple(self.axes[i] for i in space),
            scale=tuple(self.scale[i] for i in space),
            translate=tuple(self.translate[i] for i in space),
            units=units,
        )
        sizes = dict(zip(space, only.spacing or only.scale, strict=True))
        return tuple(sizes.get(i, sizes[space[-1]]) for i in range(self.ndim))

    def with_spacing(self, spacing: Sequence[float], unit: str | None = None) -> Grid:
        """Replace the voxel size.

        Parameters
        ----------
        spacing : sequence of float
            One value for all axes, or one per axis.
        unit : str, optional
            Its unit; without it the file's own.

        Raises
        ------
        InputError
            If the number of values is wrong or one is not positive.
        """
        values = tuple(float(s) for s in spacing)
        if len(values) == 1:
            values *= self.ndim
        if len(values) != self.ndim or not all(math.isfinite(v) and v > 0 for v in values):
            raise InputError(
                f"spacing is {','.join(f'{v:g}' for v in values)}; the image has the "
                f"{self.ndim} axes {', '.join(self.axes)}: give one positive number for each."
            )
        named = self.unit if unit is None else unit_name(unit)
        units = (u if a == "t" else named for a, u in zip(self.axes, self.units, strict=True))
        return replace(self, scale=values, units=tuple(units))

    @classmethod
    def plain(cls, ndim: int) -> Grid:
        """Voxels of size 1 without a unit."""
        names = tuple("tzyx"[-ndim:]) if ndim <= 4 else tuple(f"d{i}" for i in range(ndim))
        return cls(axes=names, scale=(1.0,) * ndim, translate=(0.0,) * ndim, units=("",) * ndim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """An array of a file, in memory or lazily read, and its axes.

    Attributes
    ----------
    data : ndarray or FileArray
        Without time, unless it was asked for, and without axes of length 1 that are not y or x.
    axes : tuple of Axis
        One per axis of `data`.
    path : Path or str
        Where it came from; a URL is text.
    dropped : int
        How many spatial or unknown axes of length 1 were left out.
    """

    data: Any
    axes: tuple[Axis, ...]
    path: Path | str
    dropped: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(int(n) for n in self.data.shape)

    @property
    def channel_axis(self) -> int | None:
        """Index of the channel axis, or None if none is known."""
        kinds = [axis.kind for axis in self.axes]
        return kinds.index("channel") if "channel" in kinds else None

    def channel_axis_for(self, spatial: tuple[int, ...], *, chosen: bool = False) -> int | None:
        """Find the channel axis when the spatial shape is known.

        Parameters
        ----------
        spatial : tuple of int
            Shape of the scribbles.
        chosen : bool
            Whether the user, and not the file, said which axis holds channels.

        Raises
        ------
        InputError
            If image and scribbles do not fit together.
        """
        if self.shape == spatial and not chosen:
            return None  # Stacks are often saved with their slices called channels.
        return find_channel_axis(self.shape, spatial, self.channel_axis)

    def grid(self, channel_axis: int | None = None) -> Grid:
        """Return scale, translation and units of the axes that are not channels."""
        axes = [axis for i, axis in enumerate(self.axes) if i != channel_axis]
        plain = Grid.plain(len(axes))
        named = all(axis.kind in ("space", "time") and axis.name for axis in axes)
        return Grid(
            axes=tuple(axis.name for axis in axes) if named else plain.axes,
            scale=tuple(_sane(axis.scale) for axis in axes),
            translate=tuple(a.translate if math.isfinite(a.translate) else 0.0 for a in axes),
            units=tuple(axis.unit for axis in axes),
        )


def _sane(scale: float) -> float:
    """Return a voxel size that can be worked with."""
    return float(scale) if math.isfinite(scale) and scale > 0 else 1.0


def arrange(
    source: Any,
    axes: Sequence[Axis],
    *,
    path: Path | str,
    kind: str,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    channels: int | None = None,
    close: Callable[[], object] | None = None,
) -> Volume:
    """Reduce an array of a file to channels and space.

    Parameters
    ----------
    source : array
        As it lies in the file.
    axes : sequence of Axis
        One per axis of `source`.
    path, kind : Path, str
        The file and its format, for messages.
    channel_axis : int, optional
        Which axis of `source` holds channels, if the user says so.
    time : int or "all", optional
        Which time point to take of several; all make time an axis like those of space.
    channels : int, optional
        Keep only so many channels (the rest is transparency).
    close : callable, optional
        Releases the file once it is not needed any more.

    Raises
    ------
    FileError
        If there are several time points or channel axes and none was chosen.
    InputError
        If `channel_axis` or `time` is out of range.
    """
    shape = tuple(int(n) for n in source.shape)
    axes = _name_channels(list(axes), shape, path, channel_axis)
    key: list[int | slice] = [slice(0, n) for n in shape]
    if not any(axis.kind == "time" for axis in axes):
        check_no_time(time, path)
    for i, axis in enumerate(axes):
        if axis.kind == "time" and time != "all":
            key[i] = _time_index(shape[i], time, path)
        elif axis.kind == "channel" and channels is not None:
            key[i] = slice(0, channels)
    dropped = _drop_single(key, axes)
    view = FileArray(source, tuple(key), path=path, kind=kind, close=close)
    kept = tuple(a for a, part in zip(axes, key, strict=True) if isinstance(part, slice))
    data = np.asarray(view) if view.nbytes <= EAGER_BYTES else view
    return Volume(data=data, axes=kept, path=path, dropped=dropped)


def _name_channels(
    axes: list[Axis], shape: tuple[int, ...], path: Path | str, channel_axis: int | None
) -> list[Axis]:
    """Settle which axis holds the channels."""
    if channel_axis is not None:
        if not -len(shape) <= channel_axis < len(shape):
            raise InputError(
                f"channel_axis is {channel_axis} but '{path}' has {len(shape)} axes: {shape}. "
                f"Count from 0 to {len(shape) - 1}."
            )
        axes = [replace(a, kind="", name="") if a.kind == "channel" else a for a in axes]
        chosen = channel_axis % len(shape)
        axes[chosen] = replace(axes[chosen], kind="channel", name="c")
    several = [i for i, a in enumerate(axes) if a.kind == "channel" and shape[i] > 1]
    if len(several) > 1:
        raise FileError(
            f"'{path}' has channels along the axes {several} of {shape}. "
            "Only one axis may hold channels; save it with one."
        )
    return axes


def check_no_time(time: TimeChoice, path: Path | str) -> None:
    """Refuse a time point of a file without time, other than the only one."""
    if time not in (None, 0, -1):
        raise InputError(f"time is {time} but '{path}' has no axis of time.")


def check_space_time(volume: Volume) -> None:
    """Refuse time as an axis beside three of space."""
    if sum(axis.kind != "channel" for axis in volume.axes) > 3:
        raise FileError(
            f"'{volume.path}' of shape {volume.shape} has time and three axes of space; shapes in "
            "space and time have two of space. Choose one time point with --time N."
        )


def _time_index(length: int, time: int | None, path: Path | str) -> int:
    """Return the time point to take."""
    if time is None:
        if length == 1:
            return 0
        raise FileError(
            f"'{path}' has {length} time points. Choose one from 0 to {length - 1} (--time N), or "
            "make time an axis (--time all; with --per-slice each frame is taken by itself)."
        )
    if not -length <= time < length:
        raise InputError(
            f"time is {time} but '{path}' has {length} time points: choose 0 to {length - 1}."
        )
    return time % length


def _drop_single(key: list[int | slice], axes: Sequence[Axis]) -> int:
    """Fix axes of length 1 at index 0, never y or x; count those that were not channels."""
    dropped = 0
    order = sorted(range(len(axes)), key=lambda i: axes[i].kind != "channel")
    for i in order:
        left = sum(isinstance(part, slice) for part in key)
        part = key[i]
        single = isinstance(part, slice) and part.stop - part.start == 1
        if single and left > 2 and axes[i].name not in ("y", "x"):
            key[i] = 0
            dropped += axes[i].kind != "channel"
    return dropped
