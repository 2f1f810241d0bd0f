"""`napari-implicitseg predict`: affinities of a volume by a trained network."""

from __future__ import annotations

import json
import warnings
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Any

import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import one_line_errors, parse_counts, progress_bar, warn

__all__ = ["predict"]


class Precision(StrEnum):
    """Of convolutions."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def predict(
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Volume or image: TIFF, HDF5, zarr, PNG.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Affinities: .zarr (OME-Zarr, edges as channels) or .h5.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Folder that train wrote, or a shipped model: fibsem-isotropic, sstem-2d.",
        ),
    ],
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    level: options.Level = 0,
    time: options.TimePoint = None,
    channel: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Channel to take, from 0, if the model takes one; needed if there are several "
            "that differ, such as colours.",
        ),
    ] = None,
    tile: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels predicted at a time. [default: what memory allows]",
        ),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the convolutions; bfloat16 may be twice as fast.")
    ] = Precision.FLOAT32,
    half: Annotated[
        bool, typer.Option("--half", help="Store float16: half the size, three digits.")
    ] = False,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Predict affinities: for every voxel, whether its neighbours are of the same object.

    \b
    Examples:
      napari-implicitseg predict em.tif --model fibsem-isotropic --output affinities.zarr
      napari-implicitseg predict em.zarr --model model --output affinities.h5 --tile 64,128,128
      napari-implicitseg predict movie.ome.tif --model model -o third.zarr --time 2 --channel 0
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.cli._volumes import volume_for
        from napari_implicitseg.models.folder import load_model
        from napari_implicitseg.volumes.affinity_files import (
            check_affinity_output,
            write_affinities,
        )

        check_affinity_output(output, overwrite=overwrite, source=image)
        network = load_model(model)
        volume, grid = volume_for(
            network, image, level=level, time=time, channel=channel, spacing=spacing, unit=unit
        )
        from napari_implicitseg.api import predict_affinities

        with warnings.catch_warnings(record=True) as caught, progress_bar("predict") as progress:
            warnings.simplefilter("always", UserWarning)
            affinities = predict_affinities(
                volume.data,
                network,
                spacing=grid.spacing_in(network.unit),
                channel_axis=volume.channel_axis,
                tile_shape=tile,
                precision=precision.value,
                device=device,
                progress=progress,
            )
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        write_affinities(output, affinities, grid, overwrite=overwrite, half=half)
        if json_report:
            report = {
                "image": str(image),
                "output": str(output),
                "model": model,
                "shape": list(affinities.data.shape),
                "offsets": [list(o) for o in affinities.offsets],
                "warnings": told,
            }
            print(json.dumps(report))
            return
        for text in told:
            warn(text)
        print(f"{output}: affinities of {affinities.shape} voxels along {affinities.offsets}")
