"""`napari-implicitseg convert`: TIFF, HDF5, sections and zarr to OME-Zarr."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._run import one_line_errors, parse_counts, progress_bar

__all__ = ["convert"]


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="TIFF, HDF5 (FILE.h5/DATASET), PNG, JPEG, folder of sections, OME-Zarr or zarr "
            "(folder or URL).",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="NAME.zarr, IMAGE.zarr/labels/NAME to add labels to an OME-Zarr image, or a URL "
            "such as s3://bucket/NAME.zarr.",
        ),
    ],
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--image",
            help="Whether coarser levels take the most frequent id or the mean. [default: what "
            "the file says; else integers of 32 and 64 bits are labels]",
            show_default=False,
        ),
    ] = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    axes: Annotated[
        str | None,
        typer.Option(
            metavar="LETTERS",
            help="A letter of t, c, z, y, x for each axis longer than 1, such as cyx, where the "
            "file does not name them.",
        ),
    ] = None,
    chunks: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels that are read at once. [default: 64,64,64, flat voxels 16,128,128, "
            "2D 512,512]",
        ),
    ] = None,
    shards: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels in one file, not in version 0.4. [default: up to four chunks along each "
            "axis, and 32 MiB]",
        ),
    ] = None,
    ome_zarr_version: options.OmeZarrOption = options.OmeZarr.V05,
    storage_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Option of fsspec for URLs, such as anon=true or endpoint_url=https://...; may "
            "be repeated.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Convert an image or labels to OME-Zarr with a pyramid, whatever their size.

    \b
    Examples:
      napari-implicitseg convert em.tif em.zarr --spacing 40,4,4 --unit nm
      napari-implicitseg convert cremi.h5/volumes/labels/neuron_ids em.zarr/labels/neurons
      napari-implicitseg convert sections/ em.zarr --spacing 50,10,10 --unit nm
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.volumes.converting import convert_file
        from napari_implicitseg.volumes.layout import Layout

        with progress_bar("convert") as progress:
            done = convert_file(
                source,
                target,
                spacing=spacing,
                unit=unit,
                axes=axes,
                kind=None if labels is None else "labels" if labels else "image",
                layout=Layout(version=ome_zarr_version.value, chunks=chunks, shards=shards),
                storage_options=_storage_options(storage_option or []),
                overwrite=overwrite,
                progress=progress,
            )
        if json_report:
            report = {
                "source": source,
                "output": target,
                "kind": done.kind,
                "axes": done.axes,
                "shape": list(done.shape),
                "dtype": done.dtype,
                "levels": done.levels,
                "chunks": list(done.chunks),
                "shards": None if done.shards is None else list(done.shards),
            }
            print(json.dumps(report))
            return
        print(
            f"{target}: {done.kind} of {done.shape} ({done.axes}), {done.dtype}, {done.levels} "
            f"{'level' if done.levels == 1 else 'levels'}"
        )


def _storage_options(words: list[str]) -> dict[str, Any]:
    """Read NAME=VALUE; true, false and numbers are what they mean."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise typer.BadParameter(f"'{word}' is not NAME=VALUE such as anon=true")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
