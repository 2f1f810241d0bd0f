"""`napari-implicitseg scribble`: an image and scribbles in files to masks in a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options
from napari_implicitseg.cli._outputs import Outputs
from napari_implicitseg.cli._run import one_line_errors, progress_bar, warn
from napari_implicitseg.config import EVIDENCE, NETWORKS, OUTLINES
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    from napari_implicitseg._types import TimeChoice
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid, Volume

__all__ = ["scribble"]

_LABELS = "labels:"
# A probability map without a voxel over this is something else.
_FAINT = 0.05
# Strokes leave most of an image unlabelled; grey levels do not.
_MOST_PAINTED = 0.8
_MANY_LABELS = 16
_USUAL_CHANNELS = 4


def scribble(
    context: typer.Context,
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
    shape: options.ScribbleShapeOption = options.ScribbleShape.CONVEX,
    model: options.ModelOption = options.Model.POLYTOPE,
    flow: options.FlowOption = options.Flow.LATTICE,
    symmetric_family: options.SymmetricFamilyOption = options.Family.CONNECTED,
    symmetry: options.SymmetryOption = options.Symmetry.MIRROR,
    order: options.OrderOption = None,
    steps: options.StepsOption = None,
    evidence: Annotated[
        str,
        typer.Option(
            help="What is taken from the image: auto, histogram, geodesic, a network trained on "
            "the strokes (pixel, cnn, teacher), upsampler (SCRIBBLES are sloppy outlines, made "
            "precise by a network trained on the image), none, the path of a probability map "
            "(fractions 0 to 1, or integers from 0 to their type's largest), or labels:PATH, a "
            "label image of any tool, of which an object takes what its strokes lie on."
        ),
    ] = "auto",
    coupling: options.CouplingOption = options.Coupling.SEQUENTIAL,
    schedule: options.ScheduleOption = options.Schedule.DEFAULT,
    teacher: options.TeacherOption = True,
    upsampler: options.UpsamplerOption = options.Upsampler.ENCODER_DECODER,
    upsampler_scale: options.UpsamplerScaleOption = 8,
    embedding: options.EmbeddingOption = None,
    backbone: options.BackboneOption = None,
    weights: options.WeightsOption = None,
    background: Annotated[int, typer.Option(min=1, help="Id of background strokes.")] = 1,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    channel_axis: Annotated[
        int | None,
        typer.Option(
            help="Axis of the image file's array that holds channels, from 0; -1 is the last. "
            "[default: found out]"
        ),
    ] = None,
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
    """Turn scribbles into one mask per object, with a promise about its shape.

    Prints one line per object: its id, its voxels and, if the voxel size is known,
    its area or volume, whether the promise holds on the voxels, how many voxels
    were added to keep it; then the seconds the fit took.

    \b
    Examples:
      napari-implicitseg scribble cells.tif strokes.tif masks.tif
      napari-implicitseg scribble em.zarr strokes.zarr em.zarr/labels/cells --spacing 40,4,4 --unit nm
      napari-implicitseg scribble neuron.tif strokes.tif masks.tif --shape connected
    """  # noqa: D301, E501 - \b keeps the examples' lines
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
        if backbone is not None and embedding is not None:
            raise InputError(
                f"--embedding is '{embedding}' and --backbone is {backbone}; give one of them."
            )
        job = _Job(
            image=image,
            scribbles=scribbles,
            evidence=_evidence_named(evidence),
            embedding=embedding,
            backbone=backbone,
            weights=weights,
        )
        config = replace(
            config,
            schedule=schedule.value,
            teacher=teacher,
            upsampler=upsampler.value,
            upsampler_scale=upsampler_scale,  # type: ignore[arg-type]  # it is checked
        )
        warnings += options.unused(
            context,
            ("upsampler", "upsampler_scale"),
            evidence == OUTLINES,
            "--evidence upsampler",
        )
        named = _needs_networks(evidence, coupling)
        for names, used, needed in (
            (("weights",), backbone is not None, "--backbone"),
            (("embedding", "backbone"), named, "networks: auto, pixel, cnn, teacher or joint fits"),
            (("coupling",), shape is not options.ScribbleShape.NONE, "shapes"),
        ):
            warnings += options.unused(context, names, used, needed)
        warnings += options.unused(
            context, ("teacher",), schedule is not options.Schedule.DEFAULT, "--schedule"
        )
        outputs = Outputs(
            labels=out,
            name="OUT",
            save_result=save_result,
            inputs=job.inputs,
            overwrite=overwrite,
        )
        outputs.check_names()
        data = _read(job, level=level, time=time, channel_axis=channel_axis)
        from napari_implicitseg.cli import _inputs, _report

        dropped = data.image.dropped
        data.grid = _inputs.corrected_grid(data.grid, spacing, unit, dropped=dropped)
        outputs.check_content(data.grid, data.largest_id)
        data.check_strokes(job)
        result = _fit(
            data,
            job,
            shape=shape.value,
            coupling=coupling.value,
            background=background,
            seed=seed,
            device=device,
            config=config,
        )
        outputs.write(data.grid, result, version=ome_zarr_version.value)
        report = _report.make(result, data.grid, warnings)
        report = {"image": str(image), "scribbles": str(scribbles), "output": str(out), **report}
        _report.show(report, as_json=json_report)


@dataclass(frozen=True, slots=True)
class LabelsPath:
    """Path of a label image that is evidence."""

    path: Path


def _needs_networks(evidence: str, coupling: options.Coupling) -> bool:
    """Whether a network sees the features of an embedding."""
    return coupling is options.Coupling.JOINT or evidence in ("auto", *NETWORKS)


def _evidence_named(text: str) -> str | Path | LabelsPath:
    """Tell a source of evidence from a path."""
    if text in EVIDENCE:
        return text
    if text.startswith(_LABELS):
        return LabelsPath(Path(text.removeprefix(_LABELS)))
    return Path(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The files that are read."""

    image: Path
    scribbles: Path
    evidence: str | Path | LabelsPath
    embedding: Path | None
    backbone: str | None
    weights: Path | None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """All of them."""
        evidence = self.evidence.path if isinstance(self.evidence, LabelsPath) else self.evidence
        named = (self.image, self.scribbles, evidence, self.embedding, self.weights)
        return tuple(path for path in named if isinstance(path, Path))


@dataclass(slots=True, kw_only=True)
class _Data:
    """What was read."""

    image: Volume
    scribbles: Volume
    channel_axis: int | None
    evidence: Any
    embedding: Any
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


def _read(job: _Job, *, level: int, time: TimeChoice, channel_axis: int | None) -> _Data:
    """Open image, scribbles and evidence, and see that they fit together."""
    from napari_implicitseg.cli._inputs import read_matching
    from napari_implicitseg.volumes import read_image, read_labels

    image = read_image(job.image, level=level, channel_axis=channel_axis, time=time)
    scribbles = read_matching(partial(read_labels, job.scribbles, name="scribbles"), level, time)
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
    return _Data(
        image=image,
        scribbles=scribbles,
        channel_axis=axis,
        evidence=_read_evidence(job, scribbles.shape, level, time),
        embedding=None if job.embedding is None else read_image(job.embedding).data,
        grid=image.grid(axis),
    )


def _read_evidence(job: _Job, shape: tuple[int, ...], level: int, time: TimeChoice) -> Any:
    """Read the layer that is evidence, or return the source's name."""
    from napari_implicitseg.cli._inputs import read_matching
    from napari_implicitseg.volumes import read_labels, read_probability

    if isinstance(job.evidence, str):
        return job.evidence
    labels = isinstance(job.evidence, LabelsPath)
    path = job.evidence.path if isinstance(job.evidence, LabelsPath) else job.evidence
    if labels and not path.exists():
        raise InputError(f"The label image '{path}' of --evidence does not exist. Check the path.")
    if not path.exists():
        raise InputError(
            f"--evidence is '{path}', which is neither a file nor one of "
            f"{', '.join(EVIDENCE)} or {_LABELS}FILE. Give one of these."
        )
    data: Any
    if labels:
        data = read_matching(partial(read_labels, path, name="evidence"), level, time).data
    else:
        data = read_matching(partial(read_probability, path), level, time)
    if tuple(data.shape) != shape:
        raise FileError(
            f"Evidence '{path}' has shape {tuple(data.shape)} but the scribbles have "
            f"{shape}. Save a layer of the same shape."
        )
    if not labels and data.max(initial=0) < _FAINT:
        warn(
            f"No voxel of '{path}' is over {data.max(initial=0):.2g}, as a probability. If it "
            f"holds labels, name it {_LABELS}{path}."
        )
    return data


def _channels(image: Volume) -> str:
    """Say which axis holds channels, for a message."""
    axis = image.channel_axis
    return "" if axis is None else f" with channels along axis {axis}"


def _fit(
    data: _Data,
    job: _Job,
    *,
    shape: str,
    coupling: str,
    background: int,
    seed: int,
    device: str,
    config: FitConfig,
) -> FitResult:
    """Fit, with a progress bar."""
    from napari_implicitseg.api import embed_image, fit_scribbles

    with progress_bar("scribble") as progress:
        embedding = data.embedding
        if job.backbone is not None:
            embedding = embed_image(
                data.image.data,
                backbone=job.backbone,
                weights=job.weights,
                pretrained=job.weights is None,
                channel_axis=data.channel_axis,
                seed=seed,
                device=device,
                cache=options.embedding_cache(),
                progress=progress,
            )
        return fit_scribbles(
            data.image.data,
            data.scribbles.data,
            shape=shape,
            evidence=data.evidence,
            coupling=coupling,
            embedding=embedding,
            background=background,
            spacing=data.grid.fit_spacing,
            channel_axis=data.channel_axis,
            seed=seed,
            device=device,
            progress=progress,
            config=config,
        )
