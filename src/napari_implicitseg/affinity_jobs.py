"""Training and prediction of affinities as users call them: from arrays or from files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.config import TrainConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.folder import load_model
from napari_implicitseg.training.examples import TrainingVolume
from napari_implicitseg.training.trainer import train
from napari_implicitseg.volumes import read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.affinities.ops import Affinities

__all__ = ["predict_affinities", "train_affinities"]

_UNIT = "nanometer"


def train_affinities(
    volumes: Any,
    *,
    config: TrainConfig | None = None,
    out: str | os.PathLike[str],
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> AffinityModel:
    """Train a network that predicts affinities.

    It starts with the cross-entropy of each edge and goes on with MALIS, which
    counts what an edge's error does to the objects. What is kept is the moving
    average of the weights that is best on the part of the volumes held out.

    Parameters
    ----------
    volumes : pair, TrainingVolume, or a sequence of these
        A pair is ``(raw, labels)``: raw of shape (*S) or (C, *S), labels of shape (*S),
        (y, x) or (z, y, x); NumPy, zarr or dask arrays, or paths of files. Of lazy
        arrays patches are read. In labels 0 is unlabelled, unless `config` says
        otherwise: a few painted sections or scribbles will do.
    config : TrainConfig, optional
        Network, losses, patches, steps; what 0 means.
    out : path
        Folder for the model; with `training/`, from which the training resumes.
    resume : bool
        Go on with the training in `out`, if there is one. A training that was
        interrupted and resumed ends with the same weights as one that was not, on
        the same machine.
    device : {"auto", "cpu", "cuda", "mps"} or str
        "auto" takes a GPU if there is one.
    progress : callable, optional
        Called as ``progress(fraction, message)`` after each step; may raise `Cancelled`,
        which leaves a checkpoint.

    Returns
    -------
    AffinityModel
        What `load_model(out)` reads.

    Raises
    ------
    InputError
        If raw and labels differ in shape or voxel size, nothing or only one object is
        labelled, a voxel is NaN, or not even small patches fit into memory.
    FileError
        If `out` cannot be written, or was begun with other options.
    OutputExistsError
        If `out` holds a model and `resume` is false.
    Cancelled
        If `progress` asked to stop.

    References
    ----------
    Turaga, Briggman, Helmstaedter, Denk, Seung (2009), "Maximin affinity learning of
    image segmentation"; Funke et al. (2018), "Large scale image segmentation with
    structured loss based deep learning for connectome reconstruction".
    """
    options = TrainConfig() if config is None else config
    if not isinstance(options, TrainConfig):
        raise InputError(f"config is {config!r}; give a TrainConfig, or None.")
    listed = _listed(volumes)
    if not options.unit and any(map(_has_path, listed)):
        options = replace(options, unit=_UNIT)
    opened = [_opened(one, options) for one in listed]
    return train(
        opened, options, Path(out), resume=resume, device=_device(device), progress=progress
    )


def predict_affinities(
    volume: Any,
    model: AffinityModel | str | os.PathLike[str],
    *,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    tile_shape: Sequence[int] | None = None,
    precision: str = "float32",
    device: str = "auto",
    progress: Progress | None = None,
) -> Affinities:
    """Predict affinities of a volume.

    Parameters
    ----------
    volume : array, shape (*S), (C, *S) or with `channel_axis`; or path
        2D or 3D. NumPy, zarr, dask; of a lazy one tiles are read. A 2D model takes a
        stack section by section.
    model : AffinityModel, path or str
        A model, its folder, or the name of a shipped one: "fibsem-isotropic" for
        isotropic FIB-SEM, "sstem-2d" for sections.
    spacing : sequence of float, optional
        Voxel size per axis; warns if the model has learned from others.
    channel_axis : int, optional
        Axis of channels.
    tile_shape : sequence of int, optional
        Voxels predicted at a time, per axis; what memory allows if None. The result is
        the same.
    precision : {"float32", "bfloat16", "float16"}
        Of the convolutions; "bfloat16" is up to twice as fast on processors that have it,
        and right to two or three digits.
    device : {"auto", "cpu", "cuda", "mps"} or str
        "auto" takes a GPU if there is one.
    progress : callable, optional
        Called as ``progress(fraction, message)``; may raise `Cancelled`.

    Returns
    -------
    Affinities
        float32, 0 to 1, shape (K, *S), of the model's offsets.

    Raises
    ------
    InputError
        If the model is for another dimension or number of channels, or a voxel is NaN.
    FileError
        If model or volume cannot be read.
    Cancelled
        If `progress` asked to stop.
    """
    chosen = model if isinstance(model, AffinityModel) else load_model(model)
    name = "volume"
    if isinstance(volume, str | os.PathLike):
        name = f"volume '{volume}'"
        opened = read_image(volume)
        channel_axis = opened.channel_axis if channel_axis is None else channel_axis
        spacing = opened.grid().spacing_in(chosen.unit) if spacing is None else spacing
        volume = opened.data
    elif not hasattr(volume, "shape"):
        volume = np.asarray(volume)
    return chosen.predict(
        volume,
        spacing=spacing,
        channel_axis=channel_axis,
        tile_shape=tile_shape,
        precision=precision,
        device=_device(device),
        progress=progress,
        name=name,
    )


def _listed(volumes: Any) -> list[Any]:
    """Volumes as a list; one pair is one volume."""
    if isinstance(volumes, TrainingVolume | Mapping):
        return [volumes]
    if isinstance(volumes, tuple | list):
        pair = len(volumes) == 2 and all(_is_array(part) for part in volumes)
        return [tuple(volumes)] if pair else list(volumes)
    raise InputError(
        f"volumes is of type {type(volumes).__name__}; give a pair (raw, labels) or a list of "
        "pairs."
    )


def _is_array(value: Any) -> bool:
    """Whether this is an array, or the path of one."""
    return isinstance(value, str | os.PathLike) or hasattr(value, "shape")


def _opened(one: Any, config: TrainConfig) -> Any:
    """Open the files of a volume; pairs mean what the options say."""
    if isinstance(one, TrainingVolume):
        return one
    if isinstance(one, Mapping):
        given = dict(one)
        for key in ("raw", "labels"):
            if isinstance(given.get(key), str | os.PathLike):
                given[key], size, _ = _array(given[key], config.unit, labels=key == "labels")
                given.setdefault("spacing" if key == "raw" else "labels_spacing", size)
        return {"kind": config.labels, "zero": _zero(config), **given}
    if not isinstance(one, tuple | list) or len(one) != 2:
        raise InputError(f"One of the volumes is {type(one).__name__}; give pairs (raw, labels).")
    raw, raw_spacing, name = _array(one[0], config.unit, labels=False)
    labels, labels_spacing, _ = _array(one[1], config.unit, labels=True)
    return TrainingVolume(
        raw=raw,
        labels=labels,
        kind=config.labels,
        zero=_zero(config),
        spacing=raw_spacing,
        labels_spacing=labels_spacing,
        name=name,
    )


def _zero(config: TrainConfig) -> Any:
    """Return what 0 means; in membranes it is membrane."""
    return None if config.labels == "membranes" else config.zero


def _has_path(one: Any) -> bool:
    """Whether a volume is to be read from files, which may know their voxel size."""
    parts = one.values() if isinstance(one, Mapping) else one
    return isinstance(one, tuple | list | Mapping) and any(
        isinstance(part, str | os.PathLike) for part in parts
    )


def _array(value: Any, unit: str, *, labels: bool) -> tuple[Any, tuple[float, ...] | None, str]:
    """Array, voxel size and name of an array or a file."""
    if not isinstance(value, str | os.PathLike):
        return value, None, ""
    volume = read_labels(value) if labels else read_image(value)
    data = volume.data
    if volume.channel_axis not in (None, 0):
        data = np.moveaxis(np.asarray(data), volume.channel_axis or 0, 0)
    return data, volume.grid().spacing_in(unit), f"'{value}'"


def _device(name: str) -> torch.device:
    """Return the device a user asked for."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device is {name!r}, which torch cannot use here; use 'cpu'.") from error
    return device
