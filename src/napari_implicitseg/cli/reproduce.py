"""`napari-implicitseg reproduce`: the papers' tables, measured again beside ours."""

from __future__ import annotations

import json
import os
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.reproduction.report import Report

__all__ = ["reproduce"]


class Name(StrEnum):
    """Papers."""

    PATH_CONNECTEDNESS = "path-connectedness"
    IMPLICIT_CONVEX = "implicit-convex"
    CORRUPTIONS = "corruptions"
    SINGLE_IMAGE = "single-image"
    MALIS = "malis"
    UNET = "unet"
    UNET_PARTS = "unet-parts"


_TRAINED = (Name.MALIS, Name.UNET, Name.UNET_PARTS)


def reproduce(
    context: typer.Context,
    name: Annotated[Name, typer.Argument(help="Which table.")],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of the images, laid out as docs/reproduction.md says. "
            "[default: IMPLICITSEG_DATA, else ../shared/data]",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where table, figures and pictures are put.")
    ] = Path("reproduction"),
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images per set; of malis, sections per part that are scored; of unet, folds of "
            "each set. [default: what takes some minutes]",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of malis and unet: training steps of each network. "
            "[default: what takes half an hour]",
        ),
    ] = None,
    backbone: options.BackboneOption = None,
    weights: options.WeightsOption = None,
    seed: options.Seed = 0,
    json_report: options.Json = False,
) -> None:
    """Measure a paper's table on images there are, and print it beside the paper's.

    Says of each claim and each goal whether it holds. Writes NAME.md, NAME.json and
    pictures (PNG) to the output folder; equal seeds give equal figures but times.

    \b
    Examples:
      napari-implicitseg reproduce path-connectedness
      napari-implicitseg reproduce corruptions --data ~/images --limit 50 --output tables
      napari-implicitseg reproduce malis --steps 500
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        if data is not None:
            if not data.is_dir():
                raise FileError(f"--data is '{data}', which is no folder. Name the images' folder.")
            os.environ["IMPLICITSEG_DATA"] = str(data)
        _check_output(output)
        for text in options.unused(context, ["steps"], name in _TRAINED, " and ".join(_TRAINED)):
            warn(text)
        with progress_bar("reproduce") as progress:
            report = _measured(name, limit, steps, seed, progress, backbone, weights)
        paths = report.write(output)
        if json_report:
            print(json.dumps(report.as_json(), indent=1))
            return
        print(report.markdown())
        print("Written: " + ", ".join(map(str, paths)))


def _check_output(folder: Path) -> None:
    """See that the folder can be written before minutes are spent."""
    from napari_implicitseg.atomic import explain

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain(error, folder, "write") from error


def _measured(
    name: Name,
    limit: int | None,
    steps: int | None,
    seed: int,
    progress: Progress | None,
    backbone: str | None,
    weights: Path | None,
) -> Report:
    """Measure one table."""
    if name is Name.IMPLICIT_CONVEX:
        from napari_implicitseg.reproduction import implicit_convex

        return implicit_convex.reproduce(
            limit=limit, seed=seed, progress=progress, backbone=backbone, weights=weights
        )
    if name is Name.MALIS:
        from napari_implicitseg.reproduction import malis

        return malis.reproduce(limit=limit, steps=steps, seed=seed, progress=progress)
    if name in (Name.UNET, Name.UNET_PARTS):
        from napari_implicitseg.reproduction import unet, unet_parts

        measure = unet.reproduce if name is Name.UNET else unet_parts.reproduce
        return measure(limit=limit, steps=steps, seed=seed, progress=progress)
    from napari_implicitseg.reproduction import corruptions, path_connectedness, single_image

    parts = {
        Name.PATH_CONNECTEDNESS: path_connectedness,
        Name.CORRUPTIONS: corruptions,
        Name.SINGLE_IMAGE: single_image,
    }
    report: Report = parts[name].reproduce(limit=limit, seed=seed, progress=progress)
    return report
