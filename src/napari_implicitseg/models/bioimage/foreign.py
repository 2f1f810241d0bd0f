"""Networks of other programs, applied as their description says, tile by tile."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.bioimage.onnx_session import OnnxSession
from napari_implicitseg.models.bioimage.processing import fit_steps
from napari_implicitseg.models.normalise import spread_blocks
from napari_implicitseg.models.volume_checks import (
    check_finite,
    checked_sides,
    checked_volume,
    in_stack,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.bioimage.meaning import Meaning
    from napari_implicitseg.models.bioimage.processing import Step
    from napari_implicitseg.models.bioimage.tensors import AxisOrder, Window, Windows

__all__ = ["ForeignModel"]

Box: TypeAlias = tuple[slice, ...]

# Voxels kept of a window along each axis, by axes of the network.
_USUAL = {2: 512, 3: 96}
# How far outside 0 to 1 rounding may lead.
_SLACK = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForeignModel:
    """A network that another program has trained, from a package of the BioImage.IO.

    Attributes
    ----------
    onnx : bytes
        The network.
    given, made : AxisOrder
        Of its input and output.
    windows : Windows
        Inputs it takes, and what of its outputs is good.
    padding : mapping
        What `numpy.pad` does where windows reach beyond the volume.
    before, after : tuple of Step
        Taken on the image, and on the output.
    meaning : Meaning
        What the channels of the output are.
    channels : int
        Of the images it takes.
    spacing : tuple of float
        Voxel size it was described for, per axis of the network; 1 where it is not known.
    unit : str
        Of `spacing`; "" if unknown.
    name : str
    training : mapping
        What its description says of its origin: licence, authors, papers.
    metrics : mapping
        Empty.
    """

    onnx: bytes = field(repr=False)
    given: AxisOrder
    made: AxisOrder
    windows: Windows
    padding: Mapping[str, Any]
    before: tuple[Step, ...]
    after: tuple[Step, ...]
    meaning: Meaning
    channels: int
    spacing: tuple[float, ...]
    unit: str = ""
    name: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ndim(self) -> int:
        """Spatial axes of the network."""
        return len(self.given.spatial)

    @property
    def offsets(self) -> tuple[tuple[int, ...], ...]:
        """Edges it predicts, in the axes of the network."""
        return self.meaning.offsets

    def predict(
        self,
        volume: Any,
        *,
        spacing: Sequence[float] | None = None,
        channel_axis: int | None = None,
        tile_shape: Sequence[int] | None = None,
        precision: str = "float32",
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
        name: str = "volume",
    ) -> Affinities:
        """Predict the affinities of a whole volume, tile by tile.

        Beyond its borders the volume is mirrored, unless the package says otherwise.

        Parameters
        ----------
        volume : array-like, shape (*S) or with one channel axis
            NumPy, zarr or dask; of a lazy one tiles are read. A network with two axes
            takes a stack section by section.
        spacing : sequence of float, optional
            Voxel size, in the unit of the model.
        channel_axis : int, optional
            Axis that holds channels; the first if there is one axis too many.
        tile_shape : sequence of int, optional
            Voxels predicted at a time; rounded up to what the network takes. About 96^3
            or 512^2 by default.
        precision : {"float32", "bfloat16", "float16"}
            Without effect: the network has its own.
        device : torch.device or str
            Where to compute, if the onnxruntime that is installed knows it; else the CPU.
        progress : Progress, optional
        name : str
            What to call the volume in messages.

        Returns
        -------
        Affinities
            Of the volume's spatial shape; the edges of a network with two axes lie in
            the sections.

        Raises
        ------
        InputError
            If axes or channels do not fit, a voxel is NaN or infinite, the network
            refuses its input, or gives what are no probabilities.
        Cancelled
            If `progress` asked to stop.
        """
        raw, size = checked_volume(
            volume,
            self,
            spacing=spacing,
            channel_axis=channel_axis,
            name=name,
            compare=bool(self.unit),
        )
        shape = tuple(int(n) for n in raw.shape[1:])
        window = self.windows.fitted(self._tile(tile_shape, shape))
        run = _Run(self, raw, window, OnnxSession(self.onnx, self.name, device), name)
        values = np.empty((len(self.meaning.channels), *shape), np.float32)
        run.fill(values, progress)
        return Affinities(
            data=self.meaning.affinities(values),
            offsets=in_stack(self.offsets, len(shape)),
            spacing=size,
        )

    def _tile(self, tile: Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Voxels to keep of a window, along the axes of the network."""
        usual = (_USUAL[self.ndim],) * self.ndim
        given = usual if tile is None else checked_sides(tile, self.ndim, len(shape))
        pairs = zip(reversed(given), reversed(shape), strict=False)
        return tuple(min(pair) for pair in pairs)[: self.ndim][::-1]


class _Run:
    """One prediction.

    Parameters
    ----------
    model : ForeignModel
    raw : array-like, shape (C, *S)
    window : Window
    session : OnnxSession
    name : str
        Of the volume, for messages.
    """

    def __init__(
        self, model: ForeignModel, raw: Any, window: Window, session: OnnxSession, name: str
    ) -> None:
        self._model, self._raw, self._window = model, raw, window
        self._session, self._name = session, name
        self._measures = any(step.is_measured for step in model.before)
        self._over_all = _values(raw) if any(step.over_all for step in model.before) else []
        self._after = fit_steps(model.after)

    def fill(self, values: NDArray[np.float32], progress: Progress | None) -> None:
        """Predict all tiles."""
        shape = values.shape[1:]
        lead = len(shape) - self._model.ndim
        boxes = list(_boxes(shape[lead:], self._window.block))
        places = list(np.ndindex(*shape[:lead]))
        for number, place in enumerate(places):
            part = _part(self._raw, place)
            samples = _values(part) if self._measures else []
            before = fit_steps(self._model.before, samples, self._over_all)
            for done, box in enumerate(boxes):
                if progress is not None:
                    share = (number + done / len(boxes)) / len(places)
                    progress(share, "Predicting")
                seen = before(self._seen(part, box, place))
                values[(slice(None), *place, *box)] = self._predicted(seen, box)
        if progress is not None:
            progress(1.0, "Predicting")

    def _seen(self, raw: Any, box: Box, place: Sequence[int]) -> NDArray[Any]:
        """Read what the network has to see, made up beyond the borders."""
        window, parts, pads = self._window, [], [(0, 0)]
        axes = zip(box, window.sizes, window.margin, raw.shape[1:], strict=True)
        for span, size, margin, length in axes:
            start = span.start - margin
            stop = start + size
            parts.append(slice(max(0, start), min(stop, length)))
            pads.append((max(0, -start), max(0, stop - length)))
        values = np.asarray(raw[(slice(None), *parts)])
        check_finite(values, [*place, *(part.start for part in parts)], self._name)
        return np.pad(values, pads, **self._model.padding)

    def _predicted(self, seen: NDArray[Any], box: Box) -> NDArray[np.float32]:
        """Predict a box: what is wanted of the output."""
        model, window = self._model, self._window
        out = self._session.run(model.given.packed(seen))[0]
        if out.ndim != len(model.made.names):
            raise self._odd(f"of shape {out.shape}, but its description tells other axes")
        values = self._after(model.made.unpacked(out))
        parts = [slice(None)]
        axes = zip(box, window.sizes, values.shape[1:], window.margin, strict=True)
        for span, size, made, margin in axes:
            start = margin - (size - made) // 2
            parts.append(slice(start, start + span.stop - span.start))
            if start < 0 or (size - made) % 2 or parts[-1].stop > made:
                raise self._odd(f"of shape {out.shape}, but its description tells other sizes")
        if values.shape[0] <= max(model.meaning.channels):
            raise self._odd(f"of {values.shape[0]} channels, but its description tells more")
        found = model.meaning.attraction(values[tuple(parts)])
        low, high = float(found.min()), float(found.max())
        if not (low >= -_SLACK and high <= 1 + _SLACK):
            raise self._odd(
                f"from {low:.3g} to {high:.3g}, but probabilities lie from 0 to 1: a sigmoid may "
                "be missing in its description"
            )
        return np.clip(found, 0, 1)

    def _odd(self, what: str) -> InputError:
        return InputError(
            f"The network '{self._model.name}' gives values {what}. Choose another model."
        )


class _Section:
    """A section of an array (C, *S), which is read when it is asked for."""

    def __init__(self, array: Any, place: tuple[int, ...]) -> None:
        self._array, self._place = array, place
        self.shape = (array.shape[0], *array.shape[1 + len(place) :])

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        at = tuple(slice(i, i + 1) for i in self._place)
        found = np.asarray(self._array[(index[0], *at, *index[1:])])
        return found.reshape(found.shape[0], *found.shape[1 + len(at) :])


def _part(array: Any, place: tuple[int, ...]) -> Any:
    """Return a section of (C, *S), or all if no place is given."""
    if not place or isinstance(array, np.ndarray):
        return array[(slice(None), *place)] if place else array
    return _Section(array, place)


def _values(raw: Any) -> list[NDArray[Any]]:
    """Values of each channel, of blocks that are spread over a large volume."""
    channels = [np.concatenate(parts) for parts in zip(*spread_blocks(raw), strict=True)]
    return [c[np.isfinite(c)] if c.dtype.kind == "f" else c for c in channels]


def _boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    """Yield boxes that cover a volume, none larger than a block."""
    spans = [
        [slice(a, min(a + side, length)) for a in range(0, length, side)]
        for length, side in zip(shape, block, strict=True)
    ]
    yield from itertools.product(*spans)
