"""What `semantic` reads from its options, prints and writes."""

from __future__ import annotations

import json
import re
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from napari_implicitseg.cli._run import warn
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.volumes import Grid, Volume

__all__ = [
    "Mirrored",
    "Model",
    "as_mask_values",
    "class_name",
    "figures_in_words",
    "make_folder",
    "open_for",
    "parse_colours",
    "parse_names",
    "parse_values",
    "probability_path",
    "told_at_once",
    "write_probability",
    "write_report",
]

Model = Annotated[str, typer.Option(metavar="MODEL", help="Folder that semantic train wrote.")]
"""Option of what is applied."""

Mirrored = Annotated[
    bool,
    typer.Option(
        "--mirrored",
        help="Take the mean over all mirror images: 4 times the time in 2D, 8 in 3D, and a little "
        "fewer mistakes.",
    ),
]
"""Option of how it is."""

_COLOUR = re.compile(r"#?([0-9a-fA-F]{6})")
_PROBABILITY = (".tif", ".tiff", ".zarr")


def class_name(text: str) -> str | int:
    """Return a class as it is named: by its name, or by its number."""
    return int(text) if text.isdigit() else text


def make_folder(path: Path, option: str) -> None:
    """Make a folder for what is written.

    Raises
    ------
    FileError
        If it cannot be made, such as where a file is.
    """
    from napari_implicitseg.atomic import explain

    if path.exists() and not path.is_dir():
        raise FileError(f"{option} is '{path}', which is a file. Name a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path, "write") from error


def as_mask_values(labels: NDArray[np.uint8], values: tuple[int, ...]) -> NDArray[np.integer[Any]]:
    """Return what stood for classes in the masks, in the smallest type that holds it.

    Raises
    ------
    InputError
        If there are negative values, which labels cannot hold.
    """
    if min(values) < 0:
        raise InputError(
            f"The masks had {min(values)} for a class, which label images cannot hold. Leave out "
            "--mask-values: classes are 1, 2, ... then."
        )
    table = np.array((0, *values))
    written: NDArray[np.integer[Any]] = table.astype(np.min_scalar_type(max(values)))[labels]
    return written


def parse_names(text: str | None) -> tuple[str, ...]:
    """Read names with commas between."""
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise InputError(f"--classes is {text!r}; give names with commas between: cell,nucleus.")
    return names


def parse_values(text: str | None) -> tuple[int, ...] | None:
    """Read the values of classes in masks, with commas between."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"--values is {text!r}; give whole numbers with commas between, one per class: "
            "0,128,255."
        ) from None


def parse_colours(text: str | None) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Read NAME=RRGGBB with commas between: names, and colours as numbers."""
    if text is None:
        return (), None
    pairs = [part.partition("=") for part in text.split(",")]
    found = [(name.strip(), _COLOUR.fullmatch(colour.strip())) for name, _, colour in pairs]
    if not all(name and colour for name, colour in found):
        raise InputError(
            f"--colours is {text!r}; give names with colours, such as "
            "background=000000,cat=800000,dog=008000."
        )
    return (
        tuple(name for name, _ in found),
        tuple(int(colour.group(1), 16) for _, colour in found if colour),
    )


@contextmanager
def told_at_once() -> Iterator[list[str]]:
    """Print warnings of the package as they come, each once; also yields them."""
    told: list[str] = []

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = str(message)
        if issubclass(category, UserWarning) and text not in told:
            told.append(text)
            warn(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield told


def figures_in_words(figures: Mapping[str, Any]) -> str:
    """Return accuracy, mean IoU, IoU and share of each class, and the confusion matrix."""
    shares, ious = figures["class_shares"], figures["iou_per_class"]
    names = list(figures["classes"])
    wide = max(len("class"), *(len(name) for name in names))
    lines = [
        f"accuracy {figures['accuracy']:.4f}, mean IoU {figures['iou']:.4f}, "
        f"{len(figures['images'])} image{'' if len(figures['images']) == 1 else 's'}",
        f"{'class':<{wide}}  {'IoU':>6}  {'share':>6}  predicted as (share of its pixels)",
    ]
    matrix = np.asarray(figures["confusion"], np.float64)
    for name, row in zip(names, matrix, strict=True):
        parts = row / max(1.0, row.sum())
        iou = f"{ious[name]:.4f}" if name in ious else "-"
        split = "  ".join(f"{other} {part:.3f}" for other, part in zip(names, parts, strict=True))
        lines.append(f"{name:<{wide}}  {iou:>6}  {shares[name]:>6.1%}  {split}")
    return "\n".join(lines)


def write_report(path: Path, report: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write figures as JSON."""
    from napari_implicitseg.atomic import replace_file

    with replace_file(path, overwrite=overwrite) as temporary:
        temporary.write_text(
            json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )


def open_for(
    model: SemanticModel, path: Path, *, level: int, time: int | None
) -> tuple[Volume, int | None, Grid]:
    """Open an image for a model; also return its axis of channels, and the grid without it."""
    from napari_implicitseg.cli._volumes import read_volume
    from napari_implicitseg.models.channels import find_channels

    volume = read_volume(path, level=level, time=time)
    axis = volume.channel_axis
    if axis is None and not all(one.kind == "space" for one in volume.axes):
        axis = find_channels(volume.shape, model.channels, model.ndim)
    return volume, axis, volume.grid(axis)


def probability_path(path: Path) -> Path:
    """Return where probabilities go that lie beside labels."""
    suffix = path.suffix.lower()
    return path.with_name(f"{path.stem}_probability{'.tif' if suffix == '.png' else path.suffix}")


def write_probability(
    path: Path,
    probability: NDArray[np.float32],
    grid: Grid,
    classes: tuple[str, ...],
    *,
    overwrite: bool,
) -> None:
    """Write probabilities (C, *S) as TIFF or OME-Zarr, classes as channels.

    Raises
    ------
    FileError
        If the extension is another, or it cannot be written.
    OutputExistsError
        If it is there and `overwrite` is false.
    """
    suffix = path.suffix.lower()
    if suffix not in _PROBABILITY:
        raise FileError(
            f"Probabilities cannot be written to '{path}'; use a name that ends in "
            f"{', '.join(_PROBABILITY)}."
        )
    if suffix == ".zarr":
        _write_zarr(path, probability, grid, classes, overwrite=overwrite)
        return
    import tifffile

    from napari_implicitseg.atomic import replace_file

    axes = ("CYX", "ZCYX")[probability.ndim - 3]
    data = probability if probability.ndim == 3 else np.moveaxis(probability, 0, 1)
    with replace_file(path, overwrite=overwrite) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            imagej=True,
            photometric="minisblack",
            metadata={"axes": axes, "Labels": list(classes) * (1 if axes == "CYX" else len(data))},
        )


def _write_zarr(
    path: Path,
    probability: NDArray[np.float32],
    grid: Grid,
    classes: tuple[str, ...],
    *,
    overwrite: bool,
) -> None:
    """Write an OME-Zarr image of one level."""
    from napari_implicitseg.atomic import replace_folder
    from napari_implicitseg.volumes.pyramid import Level
    from napari_implicitseg.volumes.volume import Axis
    from napari_implicitseg.volumes.zarr_write import axes_of, create_image

    axes = (Axis(name="c", kind="channel"), *axes_of(grid))
    level = Level(
        shape=probability.shape,
        scale=tuple(axis.scale for axis in axes),
        translate=tuple(axis.translate for axis in axes),
    )
    about = {"napari-implicitseg": {"classes": list(classes)}}
    with replace_folder(path, overwrite=overwrite) as folder:
        made = create_image(
            folder,
            probability.shape,
            "float32",
            axes,
            name=path.stem,
            levels=[level],
            about=about,
        )
        for number, values in enumerate(probability):
            made.arrays[0][number] = values
