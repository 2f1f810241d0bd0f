"""Tensors of networks of other programs: the order of their axes, their sizes, their halo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["AxisOrder", "Window", "Windows", "read_order", "read_windows"]

_SPATIAL = ("z", "y", "x")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisOrder:
    """Order of the axes of a tensor.

    Attributes
    ----------
    names : tuple of str
        "batch", "channel", "z", "y", "x", as the network has them; not all need be there.
    """

    names: tuple[str, ...]

    @property
    def spatial(self) -> tuple[str, ...]:
        """Spatial axes, in the order of this package."""
        return tuple(name for name in _SPATIAL if name in self.names)

    @property
    def _ours(self) -> tuple[str, ...]:
        return ("batch", "channel", *self.spatial)

    def packed(self, values: NDArray[Any]) -> NDArray[Any]:
        """Turn (C, *S) into the tensor; without an axis for channels C has to be 1."""
        order = [self._ours.index(name) for name in self.names]
        order += [axis for axis in range(len(self._ours)) if axis not in order]
        moved = values[None].transpose(order)
        return moved.reshape(moved.shape[: len(self.names)])

    def unpacked(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Turn the tensor into (C, *S)."""
        present = [name for name in self._ours if name in self.names]
        moved = tensor.transpose([self.names.index(name) for name in present])
        if "batch" in self.names:
            moved = moved[0]
        return moved if "channel" in self.names else moved[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a network sees at a time, along each axis.

    Attributes
    ----------
    sizes : tuple of int
        Of the input.
    margin : tuple of int
        Lost or left off at both ends.
    block : tuple of int
        What is kept of the output.
    """

    sizes: tuple[int, ...]
    margin: tuple[int, ...]
    block: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Inputs that a network takes, along each axis.

    Attributes
    ----------
    least : tuple of int
        Smallest size of an input.
    step : tuple of int
        By which it grows; 0 if it is fixed.
    margin : tuple of int
        By which the output that is good is shorter, at both ends.
    coupled : bool
        Whether all axes grow together.
    """

    least: tuple[int, ...]
    step: tuple[int, ...]
    margin: tuple[int, ...]
    coupled: bool = False

    def fitted(self, tile: Sequence[int]) -> Window:
        """Return the smallest window of which at least a tile is kept, if there is one."""
        axes = list(zip(tile, self.least, self.step, self.margin, strict=True))
        counts = [
            max(0, math.ceil((side + 2 * margin - least) / step)) if step else 0
            for side, least, step, margin in axes
        ]
        if self.coupled:
            counts = [max(counts)] * len(counts)
        sizes, blocks = [], []
        for count, (_, least, step, margin) in zip(counts, axes, strict=True):
            size = least + count * step
            block = size - 2 * margin
            # Windows that are whole steps apart all pool the same voxels together.
            blocks.append(block - block % step if step and block >= step else block)
            sizes.append(size)
        return Window(sizes=tuple(sizes), margin=self.margin, block=tuple(blocks))


def read_order(axes: Sequence[Any], *, tensor: str, source: str) -> AxisOrder:
    """Read the order of axes.

    Parameters
    ----------
    axes : sequence
        As `bioimageio.spec` describes them, with "type" and "id".
    tensor : str
        Its name, for messages.
    source : str
        The package, for messages.

    Raises
    ------
    FileError
        If there is an axis of time or another that images do not have here.
    """
    names = []
    for axis in axes:
        kind, name = str(axis.type), str(axis.id)
        if kind == "space" and name in _SPATIAL:
            names.append(name)
        elif kind in ("batch", "channel"):
            names.append(kind)
        else:
            raise FileError(
                f"'{source}': the tensor {tensor!r} has the axis {name!r} of type {kind!r}; needed "
                "are batch, channel, z, y and x."
            )
    order = AxisOrder(names=tuple(names))
    if order.spatial not in (("z", "y", "x"), ("y", "x")) or len(set(names)) != len(names):
        raise FileError(
            f"'{source}': the tensor {tensor!r} has the axes {names}; needed are y and x, or z, y "
            "and x."
        )
    return order


def read_windows(model: Any, order: AxisOrder, *, source: str) -> Windows:
    """Read which inputs a network takes and how much of its outputs is good.

    Parameters
    ----------
    model : bioimageio.spec.model.v0_5.ModelDescr
        With one input and one output.
    order : AxisOrder
        Of its input.
    source : str
        The package, for messages.

    Raises
    ------
    FileError
        If the output is of another resolution, or of a size that is not known.
    """
    first, second = _sizes(model, 0, source), _sizes(model, 1, source)
    outputs = {str(axis.id): axis for axis in model.outputs[0].axes}
    inputs = {str(axis.id): axis for axis in model.inputs[0].axes}
    least, steps, margins = [], [], []
    for name in order.spatial:
        if name not in outputs:
            raise FileError(f"'{source}': the output has no axis {name!r}, but the input has.")
        (size, out), (larger, larger_out) = ((s[0][name], s[1][name]) for s in (first, second))
        same = inputs[name].scale == outputs[name].scale
        if not same or larger - size != larger_out - out or (size - out) % 2 or out > size:
            raise FileError(
                f"'{source}': along {name!r} {size} voxels become {out}; needed is an output of "
                "the input's resolution, cut at both ends alike."
            )
        margins.append((size - out) // 2 + int(getattr(outputs[name], "halo", 0)))
        least.append(size)
        steps.append(larger - size)
    least = _with_something_left(least, steps, margins, source)
    coupled = any(hasattr(inputs[name].size, "tensor_id") for name in order.spatial)
    return Windows(least=tuple(least), step=tuple(steps), margin=tuple(margins), coupled=coupled)


def _sizes(model: Any, number: int, source: str) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes of input and output by axis, where inputs are so many steps above the least."""
    (given,), (made,) = model.inputs, model.outputs
    growing = {
        (given.id, axis.id): number
        for axis in given.axes
        if hasattr(getattr(axis, "size", None), "step")
    }
    sizes = model.get_tensor_sizes(growing, batch_size=1)
    found = [
        {str(axis): size for axis, size in part[tensor.id].items()}
        for part, tensor in ((sizes.inputs, given), (sizes.outputs, made))
    ]
    if not all(isinstance(size, int | np.integer) for part in found for size in part.values()):
        raise FileError(
            f"'{source}': the size of the output depends on the image; needed is one that the "
            "size of the input tells."
        )
    return found[0], found[1]


def _with_something_left(
    least: Sequence[int], steps: Sequence[int], margins: Sequence[int], source: str
) -> list[int]:
    """Sizes of the smallest input of which something is good."""
    out = []
    for size, step, margin in zip(least, steps, margins, strict=True):
        lacking = 2 * margin + 1 - size
        if lacking > 0 and not step:
            raise FileError(
                f"'{source}': of an input of {size} voxels nothing is left without the halo of "
                f"{margin}."
            )
        out.append(size + max(0, math.ceil(lacking / step) * step) if step else size)
    return out
