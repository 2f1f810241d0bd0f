"""Training and prediction of affinities as users call them: from arrays or from files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.config import TrainConfig
from napari_implicitseg.devices import find_device
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.folder import load_model
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.models.volume_checks import with_channel
from napari_implicitseg.training.examples import as_volumes
from napari_implicitseg.volumes import read_image, read_labels, unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import ForeignModel
    from napari_implicitseg.training.examples import TrainingVolume

__all__ = ["predict_affinities", "train_affinities"]

_UNIT = "nanometer"


def train_affinities(
    volumes: Any,
    *,
    config: TrainConfig | None = None,
    out: str | os.PathLike[str],
    start: AffinityModel | str | os.PathLike[str] | None = None,
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
    start : AffinityModel, path or str, optional
        A model to go on from, or its folder or name: its weights, network, edges and scaling of
        grey levels are taken over, whatever `config` says of them.
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
    first: Any = load_model(start) if isinstance(start, str | os.PathLike) else start
    unit = unit_name(options.unit)
    listed = as_volumes(volumes)
    opened = [_opened(one, unit or _UNIT) for one in listed]
    known = any(one.spacing or one.labels_spacing for one, _ in opened)
    if unit and not known and all(_is_path(one.raw) for one in listed):
        raise InputError(
            f"The unit is {unit!r}, but the files do not say how large a voxel is: give the "
            "spacing (--spacing), too."
        )
    if any(from_file for _, from_file in opened):
        unit = unit or _UNIT
    from napari_implicitseg.training.trainer import train

    return train(
        [one for one, _ in opened],
        replace(options, unit=unit),
        Path(out),
        start=first,
        resume=resume,
        device=find_device(device, large=True),
        progress=progress,
    )


def predict_affinities(
    volume: Any,
    model: AffinityModel | ForeignModel | str | os.PathLike[str],
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
    model : AffinityModel, ForeignModel, path or str
        A model, its folder or package, or the name of a shipped one: "fibsem-isotropic"
        for isotropic FIB-SEM, "sstem-2d" for sections.
    spacing : sequence of float, optional
        Voxel size per axis; warns if the model has learned from others. By default that of
        the file or the model; give it for stacks that a 2D model takes.
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
    chosen: Any = model if hasattr(model, "predict") else load_model(model)
    if isinstance(chosen, SemanticModel):
        raise InputError(
            f"The model '{chosen.name}' predicts classes, not affinities. Use its own predict, or "
            "give a model that train_affinities has trained."
        )
    name = "volume"
    if isinstance(volume, str | os.PathLike):
        name = f"volume '{volume}'"
        opened = read_image(volume)
        channel_axis = opened.channel_axis if channel_axis is None else channel_axis
        if spacing is None:
            spacing = opened.grid(opened.channel_axis).spacing_in(chosen.unit)
        volume = opened.data
        if channel_axis is None and all(axis.kind == "space" for axis in opened.axes):
            # The file says that a short last axis is no colour.
            volume, channel_axis = with_channel(volume), 0
    elif not hasattr(volume, "shape"):
        volume = np.asarray(volume)
    found: Affinities = chosen.predict(
        volume,
        spacing=spacing,
        channel_axis=channel_axis,
        tile_shape=tile_shape,
        precision=precision,
        device=find_device(device, large=True),
        progress=progress,
        name=name,
    )
    return found


def _is_path(value: Any) -> bool:
    """Whether this is the name of a file."""
    return isinstance(value, str | os.PathLike)


def _opened(volume: TrainingVolume, unit: str) -> tuple[TrainingVolume, bool]:
    """Open the files of a volume; voxel sizes that were given come first.

    Also says whether its size is that of a file.
    """
    raw, labels = volume.raw, volume.labels
    given_size = volume.spacing or volume.labels_spacing
    if _is_path(raw):
        data, size = _array(raw, unit, labels=False)
        name = volume.name or f"'{raw}'"
        volume = replace(volume, raw=data, spacing=volume.spacing or size, name=name)
    if _is_path(labels):
        data, size = _array(labels, unit, labels=True)
        given = volume.spacing if volume.spacing and not _is_path(raw) else None
        volume = replace(volume, labels=data, labels_spacing=volume.labels_spacing or given or size)
    return volume, not given_size and bool(volume.spacing or volume.labels_spacing)


def _array(value: Any, unit: str, *, labels: bool) -> tuple[Any, tuple[float, ...] | None]:
    """Array and voxel size of a file."""
    volume = read_labels(value) if labels else read_image(value)
    data = volume.data
    if volume.channel_axis not in (None, 0):
        data = np.moveaxis(np.asarray(data), volume.channel_axis or 0, 0)
    return data, volume.grid(volume.channel_axis).spacing_in(unit)
