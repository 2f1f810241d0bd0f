"""Which axis is which when a file becomes OME-Zarr, and how large its voxels are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import colours_last
from napari_implicitseg.volumes.volume import Axis, unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.volumes.volume import Volume

__all__ = ["ordered_axes", "scaled_axes"]

_ORDER = "tczyx"
_KINDS = {"t": "time", "c": "channel"}


def ordered_axes(volume: Volume, names: str | None = None) -> tuple[list[int], list[Axis]]:
    """Name the axes of a volume, and put them in OME-Zarr's order.

    Parameters
    ----------
    volume : Volume
    names : str, optional
        A letter of "tczyx" per axis; by default what the file says, and "zyx" for two or three
        axes of which it says nothing.

    Returns
    -------
    order : list of int
        Which axis of the volume each axis of the result is.
    axes : list of Axis
        Time, channel and space.

    Raises
    ------
    InputError
        If axes have no names, or OME-Zarr has no such axes.
    """
    axes = _given(volume, names) if names else _guessed(volume)
    found = [axis.name for axis in axes]
    if len(set(found)) < len(found) or not {"y", "x"} <= set(found):
        raise _unclear(volume, f"are called {', '.join(found)}")
    order = sorted(range(len(axes)), key=lambda i: _ORDER.index(axes[i].name))
    return order, [replace(axes[i], unit=_unit(axes[i])) for i in order]


def _unit(axis: Axis) -> str:
    """Channels have no unit."""
    return "" if axis.kind == "channel" else axis.unit


def _given(volume: Volume, names: str) -> list[Axis]:
    """Name the axes as the user says."""
    names = names.lower().replace(",", "")
    if len(names) != len(volume.shape) or set(names) - set(_ORDER):
        raise _unclear(volume, f"were called '{names}'")
    return [
        replace(axis, name=name, kind=_KINDS.get(name, "space"))
        for axis, name in zip(volume.axes, names, strict=True)
    ]


def _guessed(volume: Volume) -> list[Axis]:
    """Name the axes as the file does; those left over are of space."""
    axes = list(volume.axes)
    by_kind = {"time": "t", "channel": "c"}
    axes = [replace(a, name=by_kind[a.kind]) if a.kind in by_kind else a for a in axes]
    if not any(axis.name for axis in axes) and colours_last(volume.shape):
        axes[-1] = Axis(name="c", kind="channel")
    bare = [i for i, axis in enumerate(axes) if axis.name not in set(_ORDER)]
    taken = {axis.name for axis in axes}
    free = [name for name in "zyx" if name not in taken]
    if len(bare) > len(free):
        raise _unclear(volume, "are not all named")
    for i, name in zip(bare, free[len(free) - len(bare) :], strict=True):
        axes[i] = replace(axes[i], name=name, kind="space")
    return [replace(axis, kind=_KINDS.get(axis.name, "space")) for axis in axes]


def _unclear(volume: Volume, what: str) -> InputError:
    """Return the error for axes that are not OME-Zarr's."""
    count = len(volume.shape)
    return InputError(
        f"The axes of '{volume.path}' of shape {volume.shape} {what}. Say which is which by "
        f"{count} different letters of t, c, z, y, x (--axes {_ORDER[-count:]}), with y and x "
        "among them."
    )


def scaled_axes(
    axes: Sequence[Axis], spacing: Sequence[float] | None, unit: str | None
) -> list[Axis]:
    """Return axes with a voxel size the user gave.

    Parameters
    ----------
    axes : sequence of Axis
    spacing : sequence of float, optional
        One number per axis of space, or one for all.
    unit : str, optional
        The unit of space; alone it says what unit the file's numbers are in.

    Raises
    ------
    InputError
        If there are too many or too few numbers, or one is not positive.
    """
    space = [i for i, axis in enumerate(axes) if axis.kind == "space"]
    result = [_sane(axis) for axis in axes]
    if spacing is not None:
        values = [float(v) for v in spacing]
        values = values * len(space) if len(values) == 1 else values
        if len(values) != len(space) or not all(math.isfinite(v) and v > 0 for v in values):
            names = ", ".join(axes[i].name for i in space)
            raise InputError(
                f"spacing is {','.join(f'{v:g}' for v in values)}; needed is one positive number "
                f"for each of the axes {names}, or one for all."
            )
        for i, value in zip(space, values, strict=True):
            result[i] = replace(result[i], scale=value)
    if unit is not None:
        for i in space:
            result[i] = replace(result[i], unit=unit_name(unit))
    return result


def _sane(axis: Axis) -> Axis:
    """Return an axis with a voxel size that can be worked with."""
    scale = axis.scale if math.isfinite(axis.scale) and axis.scale > 0 else 1.0
    return replace(
        axis, scale=scale, translate=axis.translate if math.isfinite(axis.translate) else 0.0
    )
