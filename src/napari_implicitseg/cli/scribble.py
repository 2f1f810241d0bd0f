"""`napari-implicitseg scribble`: an image and scribbles in files to masks in a file."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from napari_implicitseg.cli._run import one_line_errors, parse_numbers, progress_bar, warn
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid, Volume

__all__ = ["scribble"]

_T = TypeVar("_T")


class Shape(StrEnum):
    """Promises about the shape."""

    CONVEX = "convex"


class Model(StrEnum):
    """Models of a convex shape."""

    POLYTOPE = "polytope"
    ICNN = "icnn"


class OmeZarr(StrEnum):
    """OME-Zarr versions that can be written."""

    V05 = "0.5"
    V04 = "0.4"


# Strokes leave most of an image unlabelled; grey levels do not.
_MOST_PAINTED = 0.8
_MANY_LABELS = 16
_USUAL_CHANNELS = 4
_EVIDENCE = ("auto", "histogram", "geodesic", "none")


def scribble(
    image: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGE",
            help="Image: TIFF, PNG, JPEG, BMP, or an OME-Zarr or zarr folder.",
        ),
    ],
    scribbles: Annotated[
        Path,
        typer.Argument(
            metavar="SCRIBBLES",
            help="Label image of the same shape (TIFF, PNG, OME-Zarr): 0 unlabelled, "
            "1 background, 2 and more one id per object.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Masks: .tif, .ome.tif, .png (16-bit, 2D), .zarr (OME-Zarr), or "
            "IMAGE.zarr/labels/NAME to add them to an OME-Zarr image.",
        ),
    ],
    shape: Annotated[Shape, typer.Option(help="What every mask must be.")] = Shape.CONVEX,
    model: Annotated[
        Model, typer.Option(help="polytope is fast; icnn is an input-convex network.")
    ] = Model.POLYTOPE,
    evidence: Annotated[
        str,
        typer.Option(
            help="What is taken from the image: auto, histogram, geodesic, none, or the path of "
            "a probability map (fractions 0 to 1, or integers from 0 to their type's largest)."
        ),
    ] = "auto",
    background: Annotated[int, typer.Option(min=1, help="Id of background strokes.")] = 1,
    spacing: Annotated[
        Any,
        typer.Option(
            parser=parse_numbers,
            metavar="Z,Y,X",
            help="Voxel size per axis, in --unit; one number serves all axes. "
            "[default: the file's, else 1]",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Unit of the voxel size, such as nm or µm. [default: the file's]"),
    ] = None,
    channel_axis: Annotated[
        int | None,
        typer.Option(
            help="Axis of the image file's array that holds channels, from 0; -1 is the last. "
            "[default: found out]"
        ),
    ] = None,
    per_slice: Annotated[
        bool, typer.Option("--per-slice", help="Fit each z slice by itself, in 2D.")
    ] = False,
    level: Annotated[
        int, typer.Option(min=0, help="Level of a multiscale image; 0 is full resolution.")
    ] = 0,
    time: Annotated[
        int | None,
        typer.Option(
            help="Time point to fit, from 0; needed if the image has several. [default: the one]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Makes the result repeatable.")] = 0,
    device: Annotated[
        str, typer.Option(help="Where to compute: auto, cpu, cuda, cuda:0, mps.")
    ] = "auto",
    ome_zarr_version: Annotated[
        OmeZarr, typer.Option(help="Version of an OME-Zarr written on its own.")
    ] = OmeZarr.V05,
    save_result: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also save the fitted shapes, for FitResult.load (safetensors)."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    json_report: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn scribbles into one mask per object, with a promise about its shape.

    Prints one line per object: its id, its voxels and, if the voxel size is known,
    its area or volume, whether the promise holds on the voxels, how many voxels
    were added to keep it; then the seconds the fit took.

    \b
    Examples:
      napari-implicitseg scribble cells.tif strokes.tif masks.tif
      napari-implicitseg scribble em.zarr strokes.zarr em.zarr/labels/cells --spacing 40,4,4 --unit nm
    """  # noqa: D301, E501 - \b keeps the examples' lines
    with one_line_errors():
        job = _Job(
            image=image,
            scribbles=scribbles,
            out=out,
            evidence=evidence if evidence in _EVIDENCE else Path(evidence),
            save_result=save_result,
            overwrite=overwrite,
        )
        job.check()
        data = _read(job, level=level, time=time, channel_axis=channel_axis)
        data.grid = _corrected(data, spacing, unit)
        job.check(data)
        data.check_strokes(job)
        result = _fit(
            data,
            shape=shape.value,
            background=background,
            seed=seed,
            device=device,
            model=model.value,
            per_slice=per_slice,
        )
        _write(job, data.grid, result, version=ome_zarr_version.value)
        from napari_implicitseg.cli import _report

        report = _report.make(result, data.grid)
        report = {"image": str(image), "scribbles": str(scribbles), "output": str(out), **report}
        _report.show(report, as_json=json_report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The files of a run."""

    image: Path
    scribbles: Path
    out: Path
    evidence: str | Path
    save_result: Path | None
    overwrite: bool

    def check(self, data: _Data | None = None) -> None:
        """Refuse outputs that cannot be written, by their names or by what they must hold."""
        from napari_implicitseg.volumes import check_output

        inputs: list[str | Path] = [self.image, self.scribbles]
        if isinstance(self.evidence, Path):
            inputs.append(self.evidence)
        if data is None:
            check_output(self.out, inputs=inputs, overwrite=self.overwrite)
            if self.save_result is not None:
                if self.save_result.absolute() == self.out.absolute():
                    raise InputError(
                        f"OUT and --save-result are both '{self.out}'. Give two names."
                    )
                check_output(
                    self.save_result,
                    inputs=inputs,
                    overwrite=self.overwrite,
                    any_extension=True,
                )
        else:
            check_output(
                self.out,
                overwrite=self.overwrite,
                ndim=data.grid.ndim,
                largest=data.largest_id() if self.out.suffix.lower() == ".png" else None,
            )


@dataclass(slots=True, kw_only=True)
class _Data:
    """What was read."""

    image: Volume
    scribbles: Volume
    channel_axis: int | None
    evidence: str | NDArray[np.float32]
    grid: Grid

    def check_strokes(self, job: _Job) -> None:
        """Refuse what looks like an image instead of strokes."""
        import numpy as np

        data = self.scribbles.data
        if not isinstance(data, np.ndarray):
            data = data[len(data) // 2 : len(data) // 2 + 1]  # Large: one slice will tell.
        labels = np.asarray(data)
        share = np.count_nonzero(labels) / max(labels.size, 1)
        if share < _MOST_PAINTED:
            return
        count = len(np.unique(labels[labels != 0]))
        if count >= _MANY_LABELS:
            raise InputError(
                f"{share:.0%} of '{job.scribbles}' are labelled, with {count} labels: that looks "
                "like an image, not like strokes. Are IMAGE and SCRIBBLES swapped?"
            )

    def largest_id(self) -> int:
        """Return the largest id painted."""
        import numpy as np

        return int(np.max(self.scribbles.data, initial=0))


def _read(job: _Job, *, level: int, time: int | None, channel_axis: int | None) -> _Data:
    """Open image, scribbles and evidence, and see that they fit together."""
    from napari_implicitseg.volumes import read_image, read_labels, read_probability

    image = read_image(job.image, level=level, channel_axis=channel_axis, time=time)
    scribbles = _matching(partial(read_labels, job.scribbles, name="scribbles"), level, time)
    try:
        axis = image.channel_axis_for(scribbles.shape, chosen=channel_axis is not None)
    except InputError as error:
        raise FileError(
            f"Scribbles '{job.scribbles}' have shape {scribbles.shape} but image '{job.image}' "
            f"has {image.shape}{_channels(image)}. Save scribbles of the same height and width "
            "(and depth) as the image; --channel-axis says which axis holds channels."
        ) from error
    if axis is not None and image.channel_axis is None and image.shape[axis] > _USUAL_CHANNELS:
        warn(
            f"Axis {axis} of '{job.image}', of length {image.shape[axis]}, is taken for channels. "
            "If it is slices, give scribbles with the same slices."
        )
    evidence: Any = job.evidence
    if isinstance(evidence, Path):
        if not evidence.exists():
            raise InputError(
                f"--evidence is '{evidence}', which is neither a file nor one of "
                f"{', '.join(_EVIDENCE)}. Give one of these."
            )
        evidence = _matching(partial(read_probability, evidence), level, time)
        if evidence.shape != scribbles.shape:
            raise FileError(
                f"Evidence '{job.evidence}' has shape {evidence.shape} but the scribbles have "
                f"{scribbles.shape}. Save a probability map of the same shape."
            )
    return _Data(
        image=image,
        scribbles=scribbles,
        channel_axis=axis,
        evidence=evidence,
        grid=image.grid(axis),
    )


def _matching(read: Callable[..., _T], level: int, time: int | None) -> _T:
    """Read a file at the image's level and time point, or as it is if it has no such."""
    for choice in ((level, time), (level, None), (0, time)):
        try:
            return read(level=choice[0], time=choice[1])
        except InputError:
            continue
    return read()


def _channels(image: Volume) -> str:
    """Say which axis holds channels, for a message."""
    axis = image.channel_axis
    return "" if axis is None else f" with channels along axis {axis}"


def _corrected(data: _Data, spacing: tuple[float, ...] | None, unit: str | None) -> Grid:
    """Return the grid with the voxel size the user gave."""
    if spacing is not None and 1 < len(spacing) == data.grid.ndim + data.image.dropped:
        spacing = spacing[-data.grid.ndim :]  # An axis of length 1 was left out.
    if spacing is None and unit is None:
        return data.grid
    return data.grid.with_spacing(spacing or data.grid.spacing or data.grid.scale, unit)


def _fit(
    data: _Data,
    *,
    shape: str,
    background: int,
    seed: int,
    device: str,
    model: Any,
    per_slice: bool,
) -> FitResult:
    """Fit, with a progress bar."""
    from napari_implicitseg.api import fit_scribbles
    from napari_implicitseg.config import FitConfig

    with progress_bar() as progress:
        return fit_scribbles(
            data.image.data,
            data.scribbles.data,
            shape=shape,
            evidence=data.evidence,
            background=background,
            spacing=data.grid.spacing or data.grid.scale,
            channel_axis=data.channel_axis,
            seed=seed,
            device=device,
            progress=progress,
            config=FitConfig(model=model, per_slice=per_slice),
        )


def _write(job: _Job, grid: Grid, result: FitResult, *, version: str) -> None:
    """Write the masks, and the shapes if they are wanted: both or neither."""
    from napari_implicitseg.volumes import write_labels
    from napari_implicitseg.volumes.atomic import replace_file

    properties = {
        label: {"kind": seen.kind, "holds": bool(seen.holds), "repaired": int(seen.repaired)}
        for label, seen in result.certificates.items()
    }
    with ExitStack() as stack:
        if job.save_result is not None:
            temporary = stack.enter_context(replace_file(job.save_result, overwrite=job.overwrite))
            result.save(temporary)
        write_labels(
            job.out,
            result.labels,
            grid,
            overwrite=job.overwrite,
            version=version,
            properties=properties,
        )
