"""`napari-implicitseg semantic predict`: the class of every pixel of images."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.cli._semantic import (
    Model,
    open_for,
    probability_path,
    told_at_once,
    write_probability,
)
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["predict"]


class Format(StrEnum):
    """Of label images in a folder."""

    TIF = "tif"
    PNG = "png"
    ZARR = "zarr"


def predict(
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
    mask_values: Annotated[
        bool,
        typer.Option(
            "--mask-values", help="Write what stood for classes in the masks, in place of 1, 2, ..."
        ),
    ] = False,
    file_format: Annotated[
        Format, typer.Option("--format", help="Of label images in a folder.")
    ] = Format.TIF,
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
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.semantic_jobs import load_semantic

        network = load_semantic(model)
        with told_at_once() as about_files:
            jobs = _jobs(images, output, file_format)
        several = len(jobs) > 1 or jobs[0][1] != output
        _check_outputs(jobs, overwrite=overwrite)
        if several:
            output.mkdir(parents=True, exist_ok=True)
        rows, skipped = [], []
        with told_at_once() as told, progress_bar("semantic predict") as bar:
            for number, (source, target) in enumerate(jobs):
                try:
                    row = _predict_one(
                        network,
                        source,
                        target,
                        level=level,
                        time=time,
                        probability=probability,
                        mask_values=mask_values,
                        device=device,
                        overwrite=overwrite,
                        progress=_part(bar, number, len(jobs)),
                    )
                except FileError as error:
                    if not several:
                        raise
                    skipped.append(str(source))
                    warn(f"skipped: {error}")
                    continue
                rows.append(row)
        if not rows:
            raise FileError(f"None of the {len(jobs)} images could be read or written.")
        if json_report:
            report = {"model": model, "classes": list(network.classes), "images": rows}
            print(json.dumps({**report, "skipped": skipped, "warnings": about_files + told}))
            return
        for row in rows if len(rows) == 1 else ():
            print(f"{row['output']}: {_shares_in_words(row['shares'])}")
        if several:
            print(f"{output}: {len(rows)} label images, {len(skipped)} skipped")


def _jobs(images: list[Path], output: Path, file_format: Format) -> list[tuple[Path, Path]]:
    """List images with the label images they become."""
    from napari_implicitseg.semantic_sources import images_without_masks
    from napari_implicitseg.volumes.ome_zarr import is_zarr

    folders = [path for path in images if path.is_dir() and not is_zarr(path)]
    listed = [
        one
        for path in images
        for one in (images_without_masks(path) if path in folders else [path])
    ]
    if len(listed) == 1 and not folders:
        return [(listed[0], output)]
    stems = [path.stem for path in listed]
    targets = [
        output / f"{path.stem if stems.count(path.stem) == 1 else path.name}.{file_format.value}"
        for path in listed
    ]
    return list(zip(listed, targets, strict=True))


def _check_outputs(jobs: list[tuple[Path, Path]], *, overwrite: bool) -> None:
    """Refuse outputs that cannot be written, before anything is computed."""
    from napari_implicitseg.volumes import check_output

    for source, target in jobs:
        if target.parent.is_dir():
            check_output(target, inputs=[source], overwrite=overwrite)


def _predict_one(
    network: SemanticModel,
    source: Path,
    target: Path,
    *,
    level: int,
    time: int | None,
    probability: bool,
    mask_values: bool,
    device: str,
    overwrite: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Predict an image and write what comes out."""
    from napari_implicitseg.devices import find_device
    from napari_implicitseg.volumes import write_labels

    volume, axis, grid = open_for(network, source, level=level, time=time)
    data = volume.data
    if axis is None:
        from napari_implicitseg.models.volume_checks import with_channel

        data, axis = with_channel(data), 0
    how: dict[str, Any] = {
        "channel_axis": axis,
        "spacing": grid.spacing_in(network.unit) if network.unit else None,
        "device": find_device(device, large=True),
        "progress": progress,
        "name": f"image '{source}'",
    }
    beside = probability_path(target) if probability else None
    if beside is None:
        labels = network.predict(data, **how)
    else:
        found = network.predict_proba(data, **how)
        labels = found.argmax(axis=0).astype(np.uint8) + np.uint8(1)
        write_probability(beside, found, grid, network.classes, overwrite=overwrite)
    pixels = np.bincount(labels.ravel(), minlength=len(network.classes) + 1)[1:]
    shares = dict(zip(network.classes, (pixels / labels.size).tolist(), strict=True))
    written = labels
    if mask_values:
        table = np.array((0, *network.values))
        written = table.astype(np.min_scalar_type(int(table.max())))[labels]
    names = {i: {"class": name} for i, name in enumerate(network.classes, start=1)}
    write_labels(
        target, written, grid, overwrite=overwrite, properties=None if mask_values else names
    )
    row: dict[str, Any] = {"image": str(source), "output": str(target), "shares": shares}
    return row if beside is None else {**row, "probability": str(beside)}


def _part(bar: Progress | None, number: int, count: int) -> Progress | None:
    """Progress of one image of some."""
    if bar is None:
        return None
    return lambda fraction, message: bar((number + fraction) / count, message)


def _shares_in_words(shares: dict[str, float]) -> str:
    """Say how much of an image each class has."""
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
