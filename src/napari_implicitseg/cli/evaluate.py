"""`napari-implicitseg evaluate`: how far a segmentation is from the truth."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._run import one_line_errors, parse_label, progress_bar, warn
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.evaluation import Evaluation
    from napari_implicitseg.mistakes import Mistake
    from napari_implicitseg.volumes import Volume

__all__ = ["evaluate"]


def evaluate(
    context: typer.Context,
    labels: Annotated[
        Path,
        typer.Argument(metavar="LABELS", help="The segmentation: TIFF, HDF5, zarr, PNG; integers."),
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="The truth, of the same shape; integers.")
    ],
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Figures with commas between, such as voi,rand,iou,ap_50; a wrong name lists all.",
        ),
    ] = "all",
    ignore: Annotated[
        Any,
        typer.Option(
            parser=parse_label,
            metavar="<int|none>",
            help="Label of TRUTH whose voxels are left out; none where 0 means that there is no "
            "object, as in images of cells.",
        ),
    ] = "0",
    border: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Leave out voxels up to this distance from a border in their section of TRUTH, "
            "in --unit; the CREMI challenge took 25 nm.",
        ),
    ] = None,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    background: Annotated[
        int | None,
        typer.Option(
            help="Label of LABELS whose voxels are objects of their own for the adapted Rand "
            "error; challenges take 0. [default: none]"
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(min=0, help="List so many of the worst splits and merges.")
    ] = 0,
    level: options.Level = 0,
    time: options.Time = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the report there, as JSON; its figures as CSV if FILE ends in .csv.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Compare a segmentation with the truth: splits, merges, overlap, matched objects.

    VOI is in bits and 0 where both are the same, as are the adapted Rand error and the
    CREMI score; the other figures are shares from 0 to 1, and 1 where both are the same.
    Volumes in zarr and HDF5 are compared block by block.

    \b
    Examples:
      napari-implicitseg evaluate segmentation.tif neurons.tif --worst 10
      napari-implicitseg evaluate out.zarr truth.h5 --border 25 --spacing 40,4,4 --unit nm
      napari-implicitseg evaluate nuclei.png truth.png --ignore none --metrics ap,ap_50 --json
    """  # noqa: D301 - \b keeps the examples' lines
    unused = options.unused(context, ("spacing", "unit"), border is not None, "--border")
    left_out = None if ignore == "none" else ignore
    with one_line_errors():
        if output is not None:
            _check_output(output, (labels, truth), overwrite=overwrite)
        segments, objects = _read(labels, truth, level, time)
        sizes = None if border is None else _sizes(objects, spacing, unit)
        with progress_bar("evaluate") as progress:
            from napari_implicitseg.evaluation import evaluate as compare

            found = compare(
                segments.data,
                objects.data,
                metrics=_names(metrics),
                ignore=left_out,
                border=border,
                spacing=sizes,
                background=background,
                progress=progress,
            )
            mistakes = (*found.worst_splits(worst), *found.worst_merges(worst))
            places = _places(segments, objects, mistakes, progress)
        notes = (note.replace("ignore=None", "--ignore none") for note in found.notes)
        warnings = [*unused, *notes]
        if border is not None and spacing is None and unit is None and not objects.grid().unit:
            warnings.append(
                f"The border of {border:g} is in voxels: '{truth}' does not say how large one is. "
                "Give --spacing and --unit for a distance."
            )
        from napari_implicitseg.evaluation_report import figure_rows, report_of, write

        report = report_of(
            found,
            mistakes,
            places,
            listed=worst > 0,
            labels=str(labels),
            truth=str(truth),
            shape=list(objects.shape),
            ignore=left_out,
            border=border,
            spacing=None if sizes is None else list(sizes),
            background=background,
        )
        report["warnings"] = warnings
        if output is not None:
            write(output, report, figure_rows(found), overwrite=overwrite)
        if json_report:
            print(json.dumps(report, ensure_ascii=False))
            return
        for message in warnings:
            warn(message)
        _show(found, mistakes, places)


def _read(labels: Path, truth: Path, level: int, time: Any) -> tuple[Volume, Volume]:
    """Open both files."""
    from napari_implicitseg.volumes import read_labels

    segments = read_labels(labels, level=level, time=time)
    objects = read_labels(truth, level=level, time=time, name="truth")
    if segments.shape != objects.shape:
        raise FileError(
            f"The labels '{labels}' have shape {segments.shape} but the truth '{truth}' has "
            f"{objects.shape}; compare volumes of the same voxels."
        )
    return segments, objects


def _sizes(truth: Volume, spacing: Any, unit: str | None) -> tuple[float, ...]:
    """Size of a voxel of the truth, in the unit of the border."""
    from napari_implicitseg.cli._inputs import corrected_grid
    from napari_implicitseg.volumes import unit_name

    grid = truth.grid()
    if spacing is not None:
        return corrected_grid(grid, spacing, unit, dropped=truth.dropped).scale
    if unit is None:
        return grid.spacing or grid.scale
    sizes = grid.spacing_in(unit_name(unit))
    if sizes is None:
        raise InputError(
            f"--unit is {unit!r}, but '{truth.path}' does not say the size of a voxel in a unit of "
            "length; give it by --spacing Z,Y,X."
        )
    return sizes


def _names(text: str) -> str | list[str]:
    """Split the names of figures."""
    names = [name.strip().replace("-", "_") for name in text.split(",") if name.strip()]
    return "all" if names == ["all"] else names


def _places(
    labels: Volume, truth: Volume, mistakes: Sequence[Mistake], progress: Any
) -> list[tuple[int, ...] | None]:
    """Find where mistakes are, if there are some."""
    if not mistakes:
        return []
    from napari_implicitseg.places import find_places

    return find_places(labels.data, truth.data, mistakes, progress=progress)


def _show(
    found: Evaluation, mistakes: Sequence[Mistake], places: Sequence[tuple[int, ...] | None]
) -> None:
    """Print tables for people."""
    from napari_implicitseg.cli._evaluation_tables import print_figures, print_mistakes

    print_figures(found)
    for kind in ("split", "merge"):
        rows = [row for row in zip(mistakes, places, strict=True) if row[0].kind == kind]
        print_mistakes(kind, rows)


def _check_output(path: Path, inputs: tuple[Path, ...], *, overwrite: bool) -> None:
    """Refuse a report that cannot be written, before the work."""
    from napari_implicitseg.volumes import check_output

    check_output(path, inputs=inputs, overwrite=overwrite, any_extension=True)
