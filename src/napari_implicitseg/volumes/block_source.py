"""What a job reads: a volume, or affinities, window by window from any process."""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path  # noqa: TC003 - jobs are pickled
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities, edges_inside
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, FileArray, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.volumes.blocks import Box
    from napari_implicitseg.volumes.volume import Grid, Volume

__all__ = [
    "ABOUT",
    "BYTE",
    "FORMAT",
    "AffinityStore",
    "RawSource",
    "affinity_store",
    "digest_of",
    "files_of",
    "is_affinities",
    "model_digest",
    "open_model",
    "open_raw",
    "packed",
    "raw_source",
    "unpacked",
]

ABOUT = "napari-implicitseg"
"""Attribute of a group of affinities that says what they are."""
FORMAT = "napari-implicitseg/affinities/1"
BYTE = 255
"""Of affinities stored as uint8: what stands for 1."""
_SAMPLE = 16
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zmetadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class AffinityStore:
    """Affinities in an OME-Zarr on disk.

    Attributes
    ----------
    path : Path
        Of the group; level 0 is the array "0".
    offsets : tuple of tuple of int
    spacing : tuple of float
        Voxel size in one unit.
    shape : tuple of int
        Of the volume.
    """

    path: Path
    offsets: tuple[tuple[int, ...], ...]
    spacing: tuple[float, ...]
    shape: tuple[int, ...]

    def read(self, box: Box, core: Box | None = None) -> Affinities:
        """Read a window.

        Parameters
        ----------
        box : tuple of slice
        core : tuple of slice, optional
            A part of it: only edges that begin there, and end inside the volume, are known.

        Raises
        ------
        FileError
            If it cannot be read, or the array has become another one.
        """
        from napari_implicitseg.volumes.block_arrays import open_array

        try:
            array = open_array(self.path / "0")
        except DECODE_ERRORS as error:
            raise unreadable(self.path, error, "affinities") from error
        if tuple(array.shape[1:]) != self.shape:
            raise FileError(
                f"'{self.path}' has become {array.shape[1:]} voxels, from {self.shape}. Wait until "
                "it is complete, and begin anew with restart (--restart)."
            )
        whole = tuple(slice(0, n) for n in array.shape)
        view = FileArray(array, whole, path=self.path, kind="affinities")
        data = unpacked(view[(slice(None), *box)])
        mask = None if core is None else self._known(box, core)
        return Affinities(data=data, offsets=self.offsets, spacing=self.spacing, mask=mask)

    def _known(self, box: Box, core: Box) -> NDArray[np.bool_]:
        """Mark the edges of a window that begin in a part of it."""
        from napari_implicitseg.volumes.blocks import relative

        sides = tuple(part.stop - part.start for part in box)
        mask = np.zeros((len(self.offsets), *sides), np.bool_)
        mask[(slice(None), *relative(core, box))] = True
        mask &= edges_inside(sides, self.offsets)
        return mask

    @property
    def reach(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Voxels that edges lead out of a block, before it and after it."""
        columns = list(zip(*self.offsets, strict=True))
        return tuple(max(0, -min(c)) for c in columns), tuple(max(0, *c) for c in columns)


def unpacked(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return stored affinities as fractions."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(BYTE)
    return values.astype(np.float32, copy=False)


def packed(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Return affinities as they are stored."""
    if dtype == "uint8":
        return np.rint(values * BYTE).astype(np.uint8)
    return values.astype(dtype)


def is_affinities(path: Path) -> bool:
    """Whether a folder holds affinities as they are written here."""
    from napari_implicitseg.volumes.ome_zarr import is_zarr, open_node

    if not is_zarr(path):
        return False
    node: Any = open_node(path)
    about = node.attrs.asdict().get(ABOUT)
    return isinstance(about, dict) and about.get("format") == FORMAT


def affinity_store(path: Path) -> AffinityStore | None:
    """Return the affinities at a path, or None if there are none."""
    if not is_affinities(path):
        return None
    from napari_implicitseg.volumes.affinity_files import read_grid
    from napari_implicitseg.volumes.ome_zarr import open_node

    node: Any = open_node(path)
    about = node.attrs.asdict()[ABOUT]
    try:
        offsets = tuple(tuple(int(v) for v in offset) for offset in about["offsets"])
        shape = tuple(int(n) for n in node["0"].shape[1:])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, error, "affinities") from error
    grid = read_grid(path)
    return AffinityStore(path=path, offsets=offsets, spacing=grid.fit_spacing, shape=shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawSource:
    """A volume as a network takes it.

    Attributes
    ----------
    path : str
    level, time, channel
        See `BatchConfig`.
    model : str
    model_digest : str
        Of the weights.
    spacing : tuple of float or None
        Voxel size in the unit of the model, if it is known.
    shape : tuple of int
        Of the volume, without channels.
    """

    path: str
    level: int
    time: int | None
    channel: int | None
    model: str
    model_digest: str
    spacing: tuple[float, ...] | None
    shape: tuple[int, ...]


def raw_source(path: str, config: BatchConfig) -> tuple[RawSource, Grid]:
    """Open a volume for a model; also the grid of its voxels.

    Raises
    ------
    InputError, FileError
        If model and volume do not fit together, or cannot be read.
    """
    from dataclasses import replace

    assert config.model is not None
    network = open_model(config.model)
    volume = _chosen(_volume(path, config.level, config.time), network.channels, config.channel)
    grid = volume.grid(volume.channel_axis)
    if config.spacing is not None:
        grid = grid.with_spacing(config.spacing, config.unit)
    source = RawSource(
        path=path,
        level=config.level,
        time=config.time,
        channel=config.channel,
        model=config.model,
        model_digest=model_digest(network),
        spacing=grid.spacing_in(network.unit),
        shape=(),
    )
    raw, _ = _checked(volume, network, source)
    return replace(source, shape=tuple(int(n) for n in raw.shape[1:])), grid


@functools.lru_cache(maxsize=1)
def open_raw(source: RawSource) -> tuple[Any, tuple[float, ...], AffinityModel]:
    """Open a volume and its model, once per process: (C, *S), voxel size, model."""
    network = open_model(source.model)
    if model_digest(network) != source.model_digest:
        raise FileError(
            f"The model '{source.model}' has changed since the job began. Begin anew with restart "
            "(--restart)."
        )
    volume = _chosen(
        _volume(source.path, source.level, source.time), network.channels, source.channel
    )
    raw, size = _checked(volume, network, source)
    if tuple(raw.shape[1:]) != source.shape:
        raise FileError(
            f"'{source.path}' has become {tuple(raw.shape[1:])} voxels, from {source.shape}. Wait "
            "until it is complete, and begin anew with restart (--restart)."
        )
    return raw, size, network


def open_model(name: str) -> AffinityModel:
    """Read a model whose context is known."""
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.folder import load_model

    model = load_model(name)
    if not isinstance(model, AffinityModel):
        raise InputError(
            f"The model '{name}' is a package whose context is not known, so blocks would not fit "
            "together. Predict with it at once (napari-implicitseg predict), then segment the "
            "affinities."
        )
    return model


def _volume(path: str, level: int, time: int | None) -> Volume:
    from napari_implicitseg.volumes.files import read_image

    return read_image(path, level=level, time=time)


def _chosen(volume: Volume, wanted: int, channel: int | None) -> Volume:
    """Return a volume with one channel of several, if one is chosen."""
    from dataclasses import replace

    axis = volume.channel_axis
    if channel is None:
        return volume
    if axis is None or not 0 <= channel < volume.shape[axis]:
        count = 1 if axis is None else volume.shape[axis]
        raise InputError(
            f"channel is {channel}, but '{volume.path}' has {count}: choose 0 to {count - 1}, or "
            "leave it out."
        )
    key: list[int | slice] = [slice(0, n) for n in volume.shape]
    key[axis] = channel
    data = FileArray(volume.data, tuple(key), path=volume.path, kind="image")
    return replace(volume, data=data, axes=volume.axes[:axis] + volume.axes[axis + 1 :])


def _checked(
    volume: Volume, network: AffinityModel, source: RawSource
) -> tuple[Any, tuple[float, ...]]:
    """Return a volume as (C, *S), and its voxel size."""
    from napari_implicitseg.models.volume_checks import checked_volume, with_channel

    data, axis = volume.data, volume.channel_axis
    if axis is None and all(a.kind == "space" for a in volume.axes):
        # The file says that a short last axis is no colour.
        data, axis = with_channel(data), 0
    return checked_volume(
        data, network, spacing=source.spacing, channel_axis=axis, name=f"volume '{source.path}'"
    )


def model_digest(network: AffinityModel) -> str:
    """Return a digest of the weights and rules of a model."""
    found = hashlib.sha256(repr((network.offsets, network.normalisation)).encode())
    for name, values in sorted(network.network.state_dict().items()):
        found.update(name.encode())
        found.update(values.detach().cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def digest_of(path: str, data: Any) -> dict[str, Any]:
    """Describe a source so that a change of it shows.

    Parameters
    ----------
    path : str
    data : array
        Its voxels.

    Returns
    -------
    dict
        Shape, type and samples of the voxels; of files how many, their bytes, and when the last
        of them was written.
    """
    shape = tuple(int(n) for n in data.shape)
    samples = hashlib.sha256()
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        starts = [round(share * max(0, n - _SAMPLE)) for n in shape]
        window = tuple(slice(s, min(s + _SAMPLE, n)) for s, n in zip(starts, shape, strict=True))
        samples.update(np.ascontiguousarray(data[window]).tobytes())
    return {
        "path": os.path.realpath(path) if "://" not in path else path,
        "shape": list(shape),
        "dtype": str(np.dtype(data.dtype)),
        "samples": samples.hexdigest()[:16],
        **files_of(path),
    }


def files_of(path: str) -> dict[str, Any]:
    """Return how many files a source has, their bytes, and when the last of them was written.

    Of a zarr group its own arrays count, not the labels beside them, which may be painted still.
    """
    if "://" in path:
        return {}
    if os.path.isfile(path):
        return _summed([os.stat(path)])
    found = []
    for root, folders, names in os.walk(path):
        top = root == path
        folders[:] = [n for n in folders if not n.startswith(".") and not (top and n == "labels")]
        found += [os.stat(os.path.join(root, n)) for n in names if not (top and n in _METADATA)]
    return _summed(found)


def _summed(files: list[os.stat_result]) -> dict[str, Any]:
    """Sum up what is known of files."""
    last = max((file.st_mtime for file in files), default=0.0)
    return {
        "files": len(files),
        "bytes": sum(file.st_size for file in files),
        "written": datetime.fromtimestamp(last, UTC).isoformat(),
    }
