"""Learning and measuring classes as users call it: from arrays, files, folders or OME-Zarr."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.confusion import SemanticEvaluation
from napari_implicitseg.devices import find_device
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.class_values import ClassValues
from napari_implicitseg.models.folder import load_stored
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.semantic.past import Past
from napari_implicitseg.semantic.sources import open_pairs
from napari_implicitseg.semantic_config import SemanticConfig
from napari_implicitseg.training.image_names import ToldNames

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.training.labelled import TrainingVolume

    Seen = Callable[[TrainingVolume, NDArray[Any], NDArray[Any], SemanticEvaluation], None]

__all__ = ["evaluate_semantic", "load_semantic", "train_semantic"]


def train_semantic(
    images: Any,
    masks: Any,
    *,
    config: SemanticConfig | None = None,
    out: str | os.PathLike[str],
    classes: Sequence[str] | None = None,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> SemanticModel:
    """Train a network that tells the class of every pixel.

    Some of the images, chosen by `config.seed` and by name, are held out: they choose the
    weights that are kept and say how good these are. They are chosen so that every class is
    in what is learned from. Of a single image a part is held out. While learning a window of
    each is measured, of a million pixels where its classes are, and of many images as many as
    have 24 million (3D: 1.4 and 22 million); `evaluate_semantic` measures all. Images of files
    stay in memory up to 1 GiB; of more a file is read again when a patch is drawn from it.

    Parameters
    ----------
    images : array, path, or a sequence of these
        Shape (*S), (C, *S) or (*S, C), two or three axes of space, of any sizes. Or a folder,
        whose images are paired with the masks by name.
    masks : array, path, or a sequence of these
        Integers of shape (*S): 0 is unlabelled and classes are from 1, unless `config` says
        otherwise. A few scribbles will do. Coloured pictures are masks too: each colour a
        class, in ascending order of 0xRRGGBB.
    config : SemanticConfig, optional
        Network, loss, patches, steps; what values of masks mean.
    out : path
        Folder for the model; with `training/`, from which the training resumes.
    classes : sequence of str, optional
        Names, in the order of the classes; they replace those of `config`.
    spacing : sequence of float, optional
        Pixel size per axis; by default what the files say, or 1.
    channel_axis : int, optional
        Axis of channels; by default the one that the mask does not have.
    resume : bool
        Go on with the training in `out`, if there is one.
    device : {"auto", "cpu", "cuda", "mps"} or str
        "auto" takes a GPU if there is one.
    progress : callable, optional
        Called as ``progress(fraction, message)`` after each step; may raise `Cancelled`,
        which leaves a checkpoint.

    Returns
    -------
    SemanticModel
        What `load_model(out)` reads. `metrics` has "iou" (mean over classes), "accuracy",
        "iou_per_class", "confusion", "class_shares" and "images" of what was held out;
        "measured" tells how much of it, where that is not all.

    Warns
    -----
    UserWarning
        If files are skipped, values are mapped to classes, a class cannot be learned, no
        whole image can be held out, or not all that are held out are measured.

    Raises
    ------
    InputError
        If a mask has another size than its image, masks hold less than two classes or too
        many, nothing is labelled, or a pixel of an image is NaN or infinite.
    FileError
        If nothing can be read, `out` cannot be written or was begun with other options.
        Where an image fails only while it is learned from, a checkpoint is left.
    OutputExistsError
        If `out` holds a model and `resume` is false.
    Cancelled
        If `progress` asked to stop.

    References
    ----------
    Ronneberger, Fischer and Brox (2015), U-Net, MICCAI.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from napari_implicitseg import SemanticConfig, train_semantic
    >>> image = np.zeros((64, 64), np.uint8); image[:, 32:] = 200
    >>> mask = np.where(image > 0, 2, 1)
    >>> config = SemanticConfig(steps=1, width=4, depth=2, held_out=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model = train_semantic(image, mask, config=config, out=folder + "/model")
    >>> model.predict(image).shape, model.classes
    ((64, 64), ('class 1', 'class 2'))
    """
    options = SemanticConfig() if config is None else config
    if not isinstance(options, SemanticConfig):
        raise InputError(f"config is {config!r}; give a SemanticConfig, or None.")
    if classes is not None:
        if isinstance(classes, str) or not isinstance(classes, Iterable):
            raise InputError(f"classes is {classes!r}; give names, such as ('cell', 'edge').")
        options = replace(options, classes=tuple(classes))
    folder = _folder(out)
    where = find_device(device, large=True)
    opened = open_pairs(
        images,
        masks,
        colours=options.colours,
        spacing=spacing,
        channel_axis=channel_axis,
        values=options.values,
    )
    if opened.colours:  # Those who measure the model have to read masks as colours, too.
        options = replace(options, colours=True)
    from napari_implicitseg.training.semantic_examples import class_examples
    from napari_implicitseg.training.semantic_task import SemanticTask
    from napari_implicitseg.training.trainer import run_training

    examples = class_examples(opened.volumes, options, colours=opened.colours)
    task = SemanticTask(examples, options, unit=opened.unit, names=opened.names)
    made: SemanticModel = run_training(task, folder, resume=resume, device=where, progress=progress)
    return made


def evaluate_semantic(
    model: SemanticModel | str | os.PathLike[str],
    images: Any,
    masks: Any,
    *,
    ignore: int | None = None,
    held_out: bool = False,
    channel_axis: int | None = None,
    mirrored: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
    seen: Seen | None = None,
) -> SemanticEvaluation:
    """Measure a model on images with masks: what is held out, or new ones.

    Of images in files one at a time is in memory.

    Parameters
    ----------
    model : SemanticModel or path
    images, masks
        See `train_semantic`. Masks hold the values the model was trained with.
    ignore : int, optional
        A value of the masks that is left out, beside those the training left out.
    held_out : bool
        Measure only the images that the training held out, all of them, by their names; of a
        single image the part of it.
    channel_axis : int, optional
        Axis of channels of arrays.
    mirrored : bool
        Predict as the mean over all mirror images; see `SemanticModel.predict_proba`.
    device : {"auto", "cpu", "cuda", "mps"} or str
    progress : callable, optional
        Called as ``progress(fraction, message)``; may raise `Cancelled`.
    seen : callable, optional
        Called with image, truth, prediction and figures of each image.

    Returns
    -------
    SemanticEvaluation
        Over all labelled pixels: accuracy, IoU of each class, confusion matrix; figures of
        each image.

    Warns
    -----
    UserWarning
        If files are skipped.

    Raises
    ------
    InputError
        If a mask has another size than its image or holds a value that is no class, nothing
        is labelled, or names do not tell what was held out.
    FileError
        If nothing can be read, or the description of the model is damaged.
    Cancelled
        If `progress` asked to stop.
    """
    chosen = load_semantic(model)
    where = find_device(device, large=True)
    past = Past.of(chosen)
    meaning = _meaning(chosen, past, ignore)
    opened = open_pairs(
        images,
        masks,
        colours=past.colours,
        channel_axis=channel_axis,
        channels=chosen.channels,
        keep=0,
        chosen=past.held_among if held_out else None,
        values=chosen.values,
        progress=progress,
    )
    volumes = past.parts(opened.volumes, opened.names) if held_out else opened.volumes
    told = ToldNames(opened.names)
    parts: list[SemanticEvaluation] = []
    empty = 0
    for number, volume in enumerate(volumes):
        if progress is not None:
            progress(number / len(volumes), f"Measuring {volume.name}")
        truth = meaning(np.asarray(volume.labels[...]), f"mask of {volume.name}")
        if not truth.any():
            empty += 1
            continue
        chosen.check_axes(volume.shape, volume.name)
        found = chosen.predict(
            volume.raw,
            channel_axis=0,
            spacing=None,
            mirrored=mirrored,
            device=where,
            name=volume.name,
        )
        part = SemanticEvaluation.of(chosen.classes, found, truth, told(volume.name))
        parts.append(part)
        if seen is not None:
            seen(volume, truth, found, part)
    if not parts:
        raise InputError(
            f"All pixels of {'the mask' if empty == 1 else f'all {empty} masks'} are unlabelled "
            "or ignored: there is nothing to measure. Give masks with labels."
        )
    return SemanticEvaluation.joined(parts)


def load_semantic(model: SemanticModel | str | os.PathLike[str]) -> SemanticModel:
    """Return a model of classes, read if it is named.

    Raises
    ------
    FileError
        If there is none, or it is damaged.
    InputError
        If it is a model of something else.
    """
    found = model if isinstance(model, SemanticModel) else load_stored(model)
    if not isinstance(found, SemanticModel):
        raise InputError(
            f"The model '{found.name}' predicts affinities, not classes. Give one that was trained "
            "for classes, on images and masks."
        )
    return found


def _folder(out: Any) -> Path:
    """Return the folder of a model."""
    if not isinstance(out, str | os.PathLike) or not os.fspath(out):
        raise InputError(f"out is {out!r}; give the path of the folder for the model.")
    return Path(out)


def _meaning(model: SemanticModel, past: Past, ignore: int | None) -> ClassValues:
    """Return what values of masks mean to a model."""
    if ignore is not None and type(ignore) is not int:
        raise InputError(f"The value to ignore is {ignore!r}; give a whole number, or None.")
    if ignore in model.values:
        place = model.values.index(ignore)
        raise InputError(
            f"The value to ignore is {ignore}, which is the class {model.classes[place]!r} of the "
            f"model '{model.name}'. Ignore another value."
        )
    silent = {v for v in (0, ignore, past.ignore) if v is not None} - set(model.values)
    return ClassValues(
        values=model.values,
        ignored=tuple(sorted(silent)),
        strict=not past.has_values,
        colours=past.colours,
    )
