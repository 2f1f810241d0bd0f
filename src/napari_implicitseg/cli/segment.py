"""`napari-implicitseg segment`: affinities, or a volume and a model, to labels of its objects."""

from __future__ import annotations

import json
import warnings
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.volumes import Grid, Volume

__all__ = ["segment"]

_MANY, _SPECK = 1000, 25
"""Objects from which on those of fewer voxels are advised against, if they are most."""
_LINKAGES = (
    "mean, single (thresholding), quantile, ward, area, dynamics or volume; or mutex, the mutex "
    "watershed, which takes long-range edges and no threshold"
)


def segment(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="AFFINITIES",
            help="What predict wrote (.zarr, .h5); or with --model the volume itself.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Labels: .tif, .ome.tif, .png (16-bit, 2D), .zarr (OME-Zarr), or "
            "IMAGE.zarr/labels/NAME to add them to an OME-Zarr image.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Predict affinities first: folder that train wrote, or fibsem-isotropic or "
            "sstem-2d.",
        ),
    ] = None,
    threshold: Annotated[
        float,
        typer.Option(help="Affinity above which regions are one object, 0 to 1; lower joins more."),
    ] = 0.5,
    objects: Annotated[
        int | None, typer.Option(min=1, help="A number of objects in place of a threshold.")
    ] = None,
    linkage: Annotated[
        str, typer.Option(metavar="NAME", help=f"What is merged first: {_LINKAGES}.")
    ] = "mean",
    quantile: Annotated[
        float, typer.Option(min=0, max=1, help="Of --linkage quantile; 0.5 is the median.")
    ] = 0.5,
    fragments: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is merged: watershed, higra, distance (seeds far from membranes), voxels, "
            "or auto.",
        ),
    ] = "auto",
    min_size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Voxels that a fragment has at least; 0 leaves all. By default 25 for watershed "
            "and higra in volumes of more than 32^3 voxels, else 0.",
        ),
    ] = None,
    optimal: Annotated[
        bool,
        typer.Option("--optimal", help="Cut each part of the hierarchy where that costs least."),
    ] = False,
    stitch: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Of stacks: segment sections, and join objects of neighbouring ones whose overlap "
            "(or affinity across) is above this, 0 to 1. For models of sections.",
        ),
    ] = None,
    seeds: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS", help="Scribbles: objects get their ids, and no object has two."
        ),
    ] = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    level: options.Level = 0,
    time: options.TimePoint = None,
    channel: Annotated[
        int | None, typer.Option(min=0, help="Channel of the volume, from 0, with --model.")
    ] = None,
    device: options.Device = "auto",
    ome_zarr_version: options.OmeZarrOption = options.OmeZarr.V05,
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Segment a volume: affinities to fragments, their hierarchy, and objects cut from it.

    \b
    Examples:
      napari-implicitseg segment affinities.zarr --output neurons.tif --threshold 0.4
      napari-implicitseg segment em.tif --model fibsem-isotropic --output neurons.zarr
      napari-implicitseg segment affinities.h5 --seeds scribbles.tif --output neurons.tif
    """  # noqa: D301 - \b keeps the examples' lines
    unused = [
        *options.unused(context, ("threshold",), objects is None, "a cut by it"),
        *options.unused(context, ("quantile",), linkage == "quantile", "--linkage quantile"),
        *options.unused(context, ("channel", "device"), model is not None, "--model"),
    ]
    with one_line_errors():
        from napari_implicitseg.cli._volumes import volume_for
        from napari_implicitseg.models.folder import load_model
        from napari_implicitseg.volumes import check_output, write_labels

        inputs = (source,) if seeds is None else (source, seeds)
        check_output(output, inputs=inputs, overwrite=overwrite)
        with warnings.catch_warnings(record=True) as caught, progress_bar("segment") as progress:
            warnings.simplefilter("always", UserWarning)
            if model is None:
                affinities, grid = _read(source, spacing, unit)
            else:
                network = load_model(model)
                volume, grid = volume_for(
                    network,
                    source,
                    level=level,
                    time=time,
                    channel=channel,
                    spacing=spacing,
                    unit=unit,
                )
                affinities = _predict(volume, grid, network, device, progress)
            check_output(output, overwrite=overwrite, ndim=grid.ndim)
            from napari_implicitseg.api import segment_affinities

            labels = segment_affinities(
                affinities,
                linkage=linkage,  # type: ignore[arg-type]
                threshold=threshold,
                objects=objects,
                seeds=None if seeds is None else _seeds(seeds, affinities.shape),
                seed_threshold=threshold if options.is_given(context, "threshold") else None,
                cut="optimal" if optimal else "level",
                fragments=fragments,
                min_size=min_size,
                quantile=quantile,
                stitch=stitch,
                progress=progress,
            )
        import numpy as np

        largest, count = int(labels.max()), int(np.count_nonzero(np.unique(labels)))
        check_output(output, overwrite=overwrite, ndim=grid.ndim, largest=largest)
        write_labels(output, labels, grid, overwrite=overwrite, version=ome_zarr_version.value)
        told = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
        for text in [*unused, *told, *_advice(labels, count, min_size)]:
            warn(text)
        if json_report:
            shape = list(labels.shape)
            print(json.dumps({"output": str(output), "objects": count, "shape": shape}))
            return
        print(f"{output}: {count} objects in {labels.shape} voxels")


def _advice(labels: NDArray[Any], count: int, min_size: int | None) -> list[str]:
    """Say so where most objects are specks, which nobody wants."""
    import numpy as np

    if min_size is not None or count < _MANY:
        return []
    sizes = np.bincount(labels.reshape(-1))[1:]
    specks = int(np.count_nonzero((sizes > 0) & (sizes < _SPECK)))
    if 2 * specks < count:
        return []
    return [
        f"{specks} of {count} objects have fewer than {_SPECK} voxels: give --min-size {_SPECK}."
    ]


def _read(
    source: Path, spacing: tuple[float, ...] | None, unit: str | None
) -> tuple[Affinities, Grid]:
    """Read affinities, and the grid of their voxels."""
    from napari_implicitseg.cli._inputs import corrected_grid
    from napari_implicitseg.volumes.affinity_files import read_affinities, read_grid

    if source.suffix.lower() not in (".zarr", ".h5", ".hdf5", ".hdf"):
        raise InputError(
            f"'{source}' holds no affinities, which are .zarr or .h5 files of predict. Of a "
            "volume, predict them first, or give the network: --model fibsem-isotropic."
        )
    affinities = read_affinities(source)
    return affinities, corrected_grid(read_grid(source), spacing, unit, dropped=0)


def _predict(
    volume: Volume, grid: Grid, network: Any, device: str, progress: Progress | None
) -> Affinities:
    """Predict the affinities of a volume."""
    from napari_implicitseg.api import predict_affinities

    return predict_affinities(
        volume.data,
        network,
        spacing=grid.spacing_in(network.unit),
        channel_axis=volume.channel_axis,
        device=device,
        progress=progress,
    )


def _seeds(path: Path, shape: tuple[int, ...]) -> Any:
    """Read scribbles."""
    import numpy as np

    from napari_implicitseg.volumes import read_labels

    volume = read_labels(path)
    values = np.asarray(volume.data)
    if values.dtype.kind not in "iub":
        raise InputError(f"The seeds in '{path}' are {values.dtype}; give whole numbers.")
    # Labels are read without axes of length 1, which affinities have.
    long = tuple(n for n in shape if n > 1)
    return values.reshape(shape) if tuple(n for n in values.shape if n > 1) == long else values
