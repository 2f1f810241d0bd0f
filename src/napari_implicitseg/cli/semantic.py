"""`napari-implicitseg semantic`: networks that tell the class of every pixel."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import (
    Stopper,
    one_line_errors,
    parse_counts,
    parse_numbers,
    progress_bar,
    stoppable,
)
from napari_implicitseg.cli._semantic import (
    Mirrored,
    Model,
    figures_in_words,
    make_folder,
    parse_colours,
    parse_names,
    parse_values,
    told_at_once,
    write_report,
)
from napari_implicitseg.cli._semantic_predict import predict
from napari_implicitseg.config import ZeroMeaning  # noqa: TC001 - typer reads it
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["app"]

_WORST = 5

app = typer.Typer(
    name="semantic",
    help="Train a U-Net that tells the class of every pixel, apply it, and measure it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Preset(StrEnum):
    """Networks and how they are trained."""

    DEFAULT = "default"
    REPORT_2024 = "report-2024"


_Images = Annotated[
    Path, typer.Argument(metavar="IMAGES", help="An image, a folder of images, or an OME-Zarr.")
]
_Masks = Annotated[
    Path,
    typer.Argument(
        metavar="MASKS",
        help="Its mask, or a folder of masks: NAME.png, NAME_mask.png, NAME_label.png or "
        "NAME_truth.png goes with NAME.jpg. It may be the folder of the images.",
    ),
]


@app.command("train")
def train(
    images: _Images,
    masks: _Masks,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="MODEL", help="Folder for model and checkpoint."),
    ],
    classes: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Names of the classes, in the order of values."),
    ] = None,
    zero: Annotated[
        ZeroMeaning,
        typer.Option(help="What 0 says in masks: nothing yet, or that it is the first class."),
    ] = "unlabelled",
    ignore: Annotated[
        int | None, typer.Option(help="Another value of masks that says nothing.")
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            metavar="N,...",
            help="Values of masks that are the classes, in this order; others say nothing. "
            "[default: those there are, ascending]",
        ),
    ] = None,
    colours: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=RRGGBB,...",
            help="Masks are colours; these are the classes, others say nothing.",
        ),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Network and training.")] = Preset.DEFAULT,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. [default: 1200]")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Patches per step.")] = 4,
    ndim: Annotated[
        int | None,
        typer.Option(
            min=2, max=3, help="2 learns sections as images. [default: by axes and voxel size]"
        ),
    ] = None,
    patch: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Y,X",
            help="Pixels of a training patch. [default: what suits]",
        ),
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Features at full resolution. [default: 16]")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1, help="Levels of the U-Net. [default: 5 in 2D, 4 in 3D, fewer of small images]"
        ),
    ] = None,
    held_out: Annotated[
        float,
        typer.Option(
            min=0, max=0.9, help="Share of the images that is measured on, not learned from."
        ),
    ] = 0.2,
    validate_every: Annotated[int, typer.Option(min=1, help="Steps between measurements.")] = 100,
    spacing: Annotated[
        Any,
        typer.Option(
            parser=parse_numbers,
            metavar="Z,Y,X",
            help="Pixel size per axis; one number serves all axes. [default: the files', else 1]",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in MODEL.")
    ] = False,
    licence: Annotated[str, typer.Option(help="Of the images, for the model's card.")] = "",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json_report: options.Json = False,
) -> None:
    """Train a network on images with masks.

    A part of the images, chosen by --seed, is held out: it chooses the best weights and
    says how good they are. Ctrl-C stops with a checkpoint; --resume goes on from there.
    Values of masks that are not 1, 2, ... become classes in ascending order, which is said.

    \b
    Examples:
      napari-implicitseg semantic train images masks --output model --steps 1000
      napari-implicitseg semantic train wbc wbc -o model --zero background --classes bg,cell,nucleus
      napari-implicitseg semantic train em.zarr em.zarr/labels/tissue -o model --ndim 2
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.api import SemanticConfig, train_semantic

        names, packed = parse_colours(colours)
        chosen = {
            "classes": parse_names(classes) or names,
            "zero": zero,
            "ignore": ignore,
            "values": packed if colours else parse_values(values),
            "colours": colours is not None,
            "steps": steps,
            "batch_size": batch_size,
            "ndim": ndim,
            "patch_shape": patch,
            "width": width,
            "depth": depth,
            "held_out": held_out,
            "validate_every": validate_every,
            "licence": licence,
            "seed": seed,
        }
        if colours and values:
            raise InputError("--values and --colours say the same twice. Give one of them.")
        given = {name: value for name, value in chosen.items() if value is not None}
        if width is not None or depth is not None:
            given["widths"] = None  # A preset may have its own.
        config = SemanticConfig.preset(preset.value, **given)
        with told_at_once() as told, stoppable() as stop, progress_bar("semantic train") as bar:
            model = train_semantic(
                images,
                masks,
                config=config,
                out=output,
                spacing=spacing,
                resume=resume,
                device=device,
                progress=Stopper(stop, bar),
            )
        if json_report:
            print(json.dumps({**_about(output, model), **dict(model.metrics), "warnings": told}))
            return
        pairs = zip(model.shown_values, model.classes, strict=True)
        mapping = ", ".join(f"{i} {name} ({v})" for i, (v, name) in enumerate(pairs, start=1))
        print(f"{output}: classes (and their values in the masks): {mapping}")
        if model.metrics:
            print(f"held out: {figures_in_words(model.metrics)}")
        else:
            print("Nothing was held out to measure it on.")


def _about(output: Path, model: SemanticModel) -> dict[str, Any]:
    """Say which model it is."""
    return {"model": str(output), "values": list(model.values), "classes": list(model.classes)}


app.command("predict")(predict)


@app.command("evaluate")
def evaluate(
    images: _Images,
    masks: _Masks,
    model: Model,
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write confusion.png, report.json and the worst images: image, truth and "
            "prediction beside each other.",
        ),
    ] = None,
    worst: Annotated[int, typer.Option(min=0, help="How many images are shown.")] = _WORST,
    ignore: Annotated[
        int | None, typer.Option(help="A value of masks that is left out, too.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Only the images that the training held out."),
    ] = False,
    mirrored: Mirrored = False,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    json_report: options.Json = False,
) -> None:
    """Measure a model: accuracy, IoU of each class, confusion matrix, the worst images.

    Images the model has learned from flatter it: give others, or say --held-out.

    \b
    Examples:
      napari-implicitseg semantic evaluate images masks --model model
      napari-implicitseg semantic evaluate images masks --model model --pictures report --json
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.api import evaluate_semantic
        from napari_implicitseg.semantic.jobs import load_semantic
        from napari_implicitseg.semantic.pictures import WorstImages, write_confusion

        network = load_semantic(model)
        kept = WorstImages(worst, len(network.classes))
        if pictures is not None:
            make_folder(pictures, "--pictures")
            _check_pictures(pictures, overwrite=overwrite)
        with told_at_once() as told, progress_bar("semantic evaluate") as bar:
            found = evaluate_semantic(
                network,
                images,
                masks,
                ignore=ignore,
                held_out=held_out,
                mirrored=mirrored,
                device=device,
                progress=bar,
                seen=kept if pictures is not None and worst else None,
            )
        report = {"model": model, **found.as_dict(), "warnings": told}
        report["worst"] = [image.name for image in found.worst(worst)]
        if pictures is not None:
            write_confusion(
                pictures / "confusion.png", found, title=network.name, overwrite=overwrite
            )
            for old in set(_worst_pictures(pictures)) - set(kept.write(pictures, overwrite=True)):
                old.unlink()
            write_report(pictures / "report.json", report, overwrite=overwrite)
        if json_report:
            print(json.dumps(report))
            return
        print(figures_in_words(report))
        for image in found.worst(worst):
            print(f"{image.name}: mean IoU {image.iou:.4f}, accuracy {image.accuracy:.4f}")


def _worst_pictures(folder: Path) -> list[Path]:
    """List the pictures of worst images that an evaluation wrote."""
    return sorted(folder.glob("worst_[0-9][0-9]_*.png"))


def _check_pictures(folder: Path, *, overwrite: bool) -> None:
    """Refuse to replace figures before anything is computed."""
    from napari_implicitseg.atomic import exists_error

    written = (folder / "confusion.png", folder / "report.json", *_worst_pictures(folder))
    for path in written if not overwrite else ():
        if path.exists():
            raise exists_error(path)
