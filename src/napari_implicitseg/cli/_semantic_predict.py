"""`napari-implicitseg semantic predict`: the class of every pixel of images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.cli._semantic import (
    Mirrored,
    Model,
    as_mask_values,
    class_name,
    make_folder,
    open_for,
    probability_path,
    told_at_once,
    write_probability,
)
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.progress import part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.volumes import Grid

__all__ = ["predict"]


class Format(StrEnum):
    """Of label images in a folder."""

    TIF = "tif"
    PNG = "png"
    ZARR = "zarr"


def predict(
    context: typer.Context,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Images, or one folder of them.")
    ],
    model: Model,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Label image, .tif, .png or .zarr; of several images or a folder, a folder.",
        ),
    ],
    probability: Annotated[
        bool,
        typer.Option(
            "--probability", help="Write OUT_probability, too: float32, classes as channels."
        ),
    ] = False,
    of_class: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="With --probability: of this class alone, as scribble --evidence takes it.",
        ),
    ] = None,
    mask_values: Annotated[
        bool,
        typer.Option(
            "--mask-values", help="Write what stood for classes in the masks, in place of 1, 2, ..."
        ),
    ] = False,
    file_format: Annotated[
        Format, typer.Option("--format", help="Of label images in a folder.")
    ] = Format.TIF,
    mirrored: Mirrored = False,
    level: options.Level = 0,
    time: options.TimePoint = None,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Predict the class of every pixel: 1 for the first class.

    \b
    Examples:
      napari-implicitseg semantic predict cell.png --model model --output classes.tif
      napari-implicitseg semantic predict images --model model --output classes --format png
      napari-implicitseg semantic predict em.zarr --model model -o classes.zarr --probability
      napari-implicitseg semantic predict a.png --model model -o a.tif --probability --class cell
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.semantic.jobs import load_semantic

        network = load_semantic(model)
        for text in options.unused(context, ["of_class"], probability, "--probability"):
            warn(text.replace("--of-class", "--class"))
        how = _How(
            level=level,
            time=time,
            mirrored=mirrored,
            device=device,
            probability=probability,
            only=None if of_class is None else network.number_of(class_name(of_class)),
            mask_values=mask_values,
            overwrite=overwrite,
        )
        with told_at_once() as about_files:
            jobs = _jobs(images, output, file_format)
        several = len(jobs) > 1 or jobs[0][1] != output
        _check_outputs(jobs, overwrite=overwrite)
        if several:
            make_folder(output, "--output")
        rows, skipped = [], []
        with told_at_once() as told, progress_bar("semantic predict") as bar:
            for number, (source, target) in enumerate(jobs):
                part = part_of(bar, number / len(jobs), (number + 1) / len(jobs))
                try:
                    found = _predicted(network, source, how, part)
                except (FileError, InputError) as error:
                    if not several:
                        raise
                    skipped.append(str(source))
                    warn(f"skipped: {error}")
                    continue
                # What cannot be written ends it all: the next could not be, either.
                rows.append(_write(network, source, target, found, how))
        if not rows:
            raise FileError(f"None of the {len(jobs)} images could be read or written.")
        if json_report:
            report = {"model": model, "classes": list(network.classes), "images": rows}
            print(json.dumps({**report, "skipped": skipped, "warnings": about_files + told}))
            return
        for row in rows if len(rows) == 1 else ():
            print(f"{row['output']}: {_shares_in_words(row['shares'])}")
        if several:
            plural = "" if len(rows) == 1 else "s"
            print(f"{output}: {len(rows)} label image{plural}, {len(skipped)} skipped")


def _jobs(images: list[Path], output: Path, file_format: Format) -> list[tuple[Path, Path]]:
    """List images with the label images they become."""
    from napari_implicitseg.semantic.sources import images_without_masks
    from napari_implicitseg.volumes.ome_zarr import is_zarr

    folders = [path for path in images if path.is_dir() and not is_zarr(path)]
    every = (
        one
        for path in images
        for one in (images_without_masks(path) if path in folders else [path])
    )
    listed = list({path.resolve(): path for path in every}.values())
    if len(listed) == 1 and not folders:
        return [(listed[0], output)]
    stems = [path.stem for path in listed]
    targets = [
        output / f"{path.stem if stems.count(path.stem) == 1 else path.name}.{file_format.value}"
        for path in listed
    ]
    for number, target in enumerate(targets):
        if (first := targets.index(target)) != number:
            raise InputError(
                f"'{listed[first]}' and '{listed[number]}' would both be written to '{target}'. "
                "Predict them one after the other, into folders of their own."
            )
    return list(zip(listed, targets, strict=True))


def _check_outputs(jobs: list[tuple[Path, Path]], *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before anything is computed."""
    from napari_implicitseg.volumes import check_output

    for source, target in jobs:
        if target.parent.is_dir():
            check_output(target, inputs=[source], overwrite=overwrite)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """What is predicted of each image, and how."""

    level: int
    time: int | None
    mirrored: bool
    device: str
    probability: bool
    only: int | None
    mask_values: bool
    overwrite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What was predicted of an image."""

    labels: NDArray[np.uint8]
    probability: NDArray[np.float32] | None
    grid: Grid


def _predicted(
    network: SemanticModel, source: Path, how: _How, progress: Progress | None
) -> _Found:
    """Read an image and predict it."""
    from napari_implicitseg.devices import find_device

    volume, axis, grid = open_for(network, source, level=how.level, time=how.time)
    data = volume.data
    if axis is None:
        from napari_implicitseg.models.volume_checks import with_channel

        data, axis = with_channel(data), 0
    options: dict[str, Any] = {
        "channel_axis": axis,
        "spacing": grid.spacing_in(network.unit) if network.unit else None,
        "mirrored": how.mirrored,
        "device": find_device(how.device, large=True),
        "progress": progress,
        "name": f"'{source}'",
    }
    if not how.probability:
        return _Found(labels=network.predict(data, **options), probability=None, grid=grid)
    found = network.predict_proba(data, **options)
    labels = found.argmax(axis=0).astype(np.uint8) + np.uint8(1)
    wanted = found if how.only is None else found[how.only - 1 : how.only]
    return _Found(labels=labels, probability=wanted, grid=grid)


def _write(
    network: SemanticModel, source: Path, target: Path, found: _Found, how: _How
) -> dict[str, Any]:
    """Write what was predicted, and say what it is."""
    from napari_implicitseg.volumes import write_labels

    row: dict[str, Any] = {"image": str(source), "output": str(target)}
    if found.probability is not None:
        beside = probability_path(target)
        names = network.classes if how.only is None else (network.classes[how.only - 1],)
        write_probability(beside, found.probability, found.grid, names, overwrite=how.overwrite)
        row["probability"] = str(beside)
    labels: NDArray[Any] = found.labels
    pixels = np.bincount(labels.ravel(), minlength=len(network.classes) + 1)[1:]
    row["shares"] = dict(zip(network.classes, (pixels / labels.size).tolist(), strict=True))
    properties: dict[int, dict[str, Any]] | None = None
    if how.mask_values:
        labels = as_mask_values(labels, network.values)
    else:
        properties = {i: {"class": name} for i, name in enumerate(network.classes, start=1)}
    write_labels(target, labels, found.grid, overwrite=how.overwrite, properties=properties)
    return row


def _shares_in_words(shares: dict[str, float]) -> str:
    """Say how much of an image each class has."""
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
