"""`napari-implicitseg repair`: a label image from any tool to masks of a family of shapes."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._outputs import Outputs
from napari_implicitseg.cli._run import one_line_errors, parse_ids, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid

__all__ = ["repair"]


def repair(
    context: typer.Context,
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help="Label image from any tool (TIFF, PNG, OME-Zarr): 0 background, one id per "
            "object. Fractions from 0 to 1 are the probability map of one object, of id 1.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Masks, with the ids of LABELS: .tif, .ome.tif, .png (16-bit, 2D), .zarr "
            "(OME-Zarr), or IMAGE.zarr/labels/NAME to add them to an OME-Zarr image.",
        ),
    ],
    shape: options.ShapeOption = options.Shape.CONVEX,
    ids: Annotated[
        Any,
        typer.Option(
            parser=parse_ids,
            metavar="3,7-9",
            help="Objects to repair; the others stay as they are. [default: all]",
        ),
    ] = None,
    model: options.ModelOption = options.Model.POLYTOPE,
    flow: options.FlowOption = options.Flow.LATTICE,
    symmetric_family: options.SymmetricFamilyOption = options.Family.CONNECTED,
    symmetry: options.SymmetryOption = options.Symmetry.MIRROR,
    order: options.OrderOption = None,
    steps: options.StepsOption = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    per_slice: options.PerSlice = False,
    level: options.Level = 0,
    time: options.Time = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    ome_zarr_version: options.OmeZarrOption = options.OmeZarr.V05,
    save_result: options.SaveResult = None,
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Repair masks: bring each object of a label image into a shape.

    Missing chunks are filled, attached blobs cut off, spurious pieces dropped and
    cuts closed, as far as the shape allows. Ids stay, and so do objects that are
    too small for any shape.

    Prints one line per object, the least like it was first: its id, the agreement
    (intersection over union, 0 to 1) of its masks before and after, its voxels
    before and after and, if the voxel size is known, its area or volume, whether
    the promise holds on the voxels, how many voxels were added to keep it. Of more
    than 50 objects only the first 20 are printed; --json has all.

    \b
    Examples:
      napari-implicitseg repair cells.tif --output repaired.tif
      napari-implicitseg repair em.zarr/labels/raw --output em.zarr/labels/neurons --shape connected
      napari-implicitseg repair probability.tif --output mask.png --shape star --spacing 4 --unit nm
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        config, warnings = options.fit_config(
            context,
            shape=shape,
            model=model,
            flow=flow,
            symmetric_family=symmetric_family,
            symmetry=symmetry,
            order=order,
            steps=steps,
            per_slice=per_slice,
        )
        outputs = Outputs(
            labels=output,
            name="--output",
            save_result=save_result,
            inputs=(labels,),
            overwrite=overwrite,
        )
        outputs.check_names()
        from napari_implicitseg.cli import _inputs, _report
        from napari_implicitseg.ids import count_voxels, present

        data = _inputs.read_objects(labels, level=level, time=time)
        grid = _inputs.corrected_grid(data.grid, spacing, unit, dropped=data.dropped)
        before = count_voxels(data.values)
        outputs.check_content(grid, lambda: max(before, default=0))
        result = _project(
            data.values,
            grid,
            shape=shape.value,
            ids=None if ids is None else present(ids, data.values),
            seed=seed,
            device=device,
            config=config,
        )
        outputs.write(grid, result, version=ome_zarr_version.value)
        report = _report.make_repair(result, grid, before, [*warnings, *data.warnings])
        report = {"labels": str(labels), "output": str(output), "shape": shape.value, **report}
        _report.show(report, as_json=json_report)


def _project(
    values: NDArray[Any],
    grid: Grid,
    *,
    shape: str,
    ids: Sequence[int] | None,
    seed: int,
    device: str,
    config: FitConfig,
) -> FitResult:
    """Repair, with a progress bar."""
    from napari_implicitseg.api import project_labels

    with progress_bar("repair") as progress:
        return project_labels(
            values,
            shape=shape,
            spacing=grid.fit_spacing,
            ids=ids,
            seed=seed,
            device=device,
            progress=progress,
            config=config,
        )
