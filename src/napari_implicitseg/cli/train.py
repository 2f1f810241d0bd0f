"""`napari-implicitseg train`: a network for affinities from volumes with labels."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import (
    Stopper,
    one_line_errors,
    parse_counts,
    progress_bar,
    stoppable,
    warn,
)
from napari_implicitseg.config import (
    LabelKind,
    LossKind,
    NetworkKind,
    TrainConfig,
    ZeroMeaning,
)
from napari_implicitseg.errors import FileError, InputError

__all__ = ["train"]

_FRACTIONS = (
    "average",
    "border_share",
    "held_out",
    "learning_rate",
    "positive_weight",
    "start_weight",
    "weight_decay",
)
_DEFAULTS = TrainConfig()


def train(
    context: typer.Context,
    image: Annotated[
        Path, typer.Argument(metavar="IMAGE", help="Volume or image: TIFF, HDF5, zarr, PNG.")
    ],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS",
            help="Of the same shape: ids of objects, or with --labels membranes 255 inside cells "
            "and 0 on membranes.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="The model; its checkpoint is kept there too."
        ),
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="IMAGE,LABELS", help="Another volume to learn from; may be repeated."),
    ] = None,
    kind: Annotated[
        LabelKind, typer.Option("--labels", help="Whether LABELS are ids or insides of membranes.")
    ] = _DEFAULTS.labels,
    zero: Annotated[
        ZeroMeaning,
        typer.Option(help="What label 0 says: nothing yet, or that there is no object."),
    ] = _DEFAULTS.zero,
    network: Annotated[
        NetworkKind,
        typer.Option(help="unet, or cnn: six layers, for sections and images only (2D)."),
    ] = _DEFAULTS.network,
    ndim: Annotated[
        int | None,
        typer.Option(
            min=2, max=3, help="2 learns sections as images. [default: by the voxel size]"
        ),
    ] = None,
    loss: Annotated[
        LossKind, typer.Option(help="What is trained after a start by cross-entropy.")
    ] = _DEFAULTS.loss,
    neighbourhood: Annotated[
        str,
        typer.Option(
            help="Edges: direct, or direct+long-range: edges to farther voxels, too, which make "
            "the training steadier and which a mutex watershed needs; slower."
        ),
    ] = "direct",
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = _DEFAULTS.steps,
    patch: Annotated[
        Any,
        typer.Option(
            parser=parse_counts,
            metavar="Z,Y,X",
            help="Voxels of a training patch. [default: what suits the network]",
        ),
    ] = None,
    depth: Annotated[
        int,
        typer.Option(
            min=1,
            help="Levels of the U-Net, most often 3 to 5: each more about doubles how far it sees; "
            "predicting takes longer.",
        ),
    ] = _DEFAULTS.depth,
    width: Annotated[
        int,
        typer.Option(
            min=1,
            help="Its features at full resolution, most often 8 to 32: twice as many are often "
            "better and take more than twice the time; if memory is short, take fewer.",
        ),
    ] = _DEFAULTS.width,
    spacing: options.Spacing = None,
    unit: options.Unit = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML or JSON with any options of TrainConfig; those given here come first.",
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Go on from a model, a folder or fibsem-isotropic or sstem-2d: its network, edges "
            "and weights are taken over.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in FOLDER.")
    ] = False,
    licence: Annotated[str, typer.Option(help="Of the volumes, for the model's card.")] = "",
    seed: options.Seed = 0,
    device: options.Device = "auto",
    json_report: options.Json = False,
) -> None:
    """Train a network that predicts affinities, with MALIS.

    A quarter of each volume, at its end, is held out, to choose the best weights and to
    say how good they are. Ctrl-C stops with a checkpoint; --resume goes on from there
    and ends with the same weights as if it had not been stopped.

    \b
    Examples:
      napari-implicitseg train raw.tif neurons.tif --output model --spacing 10 --unit nm
      napari-implicitseg train em.h5 painted.tif --output model --steps 2000
      napari-implicitseg train stack.tif membranes.tif --labels membranes --ndim 2 -o model
    """  # noqa: D301 - \b keeps the examples' lines
    given = {
        "labels": kind,
        "zero": zero,
        "network": network,
        "ndim": ndim,
        "loss": loss,
        "neighbourhood": neighbourhood,
        "steps": steps,
        "patch_shape": patch,
        "depth": depth,
        "width": width,
        "licence": licence,
        "seed": seed,
    }
    with one_line_errors():
        chosen = _config(context, config, given)
        pairs = [(image, labels), *map(_pair, also or ())]
        from napari_implicitseg.api import train_affinities
        from napari_implicitseg.cli._volumes import no_time_series

        volumes = [_volume(pair, spacing) for pair in pairs]
        files = no_time_series([path for pair in pairs for path in pair])
        with files, stoppable() as stop, progress_bar("train") as bar:
            if spacing is not None or unit is not None:
                chosen = dataclasses.replace(chosen, unit=_unit(image, unit))
            model = train_affinities(
                volumes,
                config=chosen,
                out=output,
                start=start,
                resume=resume,
                device=device,
                progress=Stopper(stop, bar),
            )
        report = {"model": str(output), "offsets": model.offsets, **dict(model.metrics)}
        if json_report:
            print(json.dumps(report))
        else:
            print(_line(output, dict(model.metrics)))
            if model.metrics.get("voi_merge") and not model.metrics["voi_split"]:
                warn(
                    "the network tells no objects apart yet: at its best threshold all that is "
                    "held out is one. Train for more steps, and check that image and labels "
                    "belong together."
                )


def _line(output: Path, figures: dict[str, Any]) -> str:
    """Say in a line what has been trained."""
    if "voi" not in figures:
        return f"{output}: trained; nothing was held out to measure it on."
    return (
        f"{output}: held out: VOI {figures['voi']:.3f} bits (split {figures['voi_split']:.3f}, "
        f"merge {figures['voi_merge']:.3f}), adapted Rand error "
        f"{figures['adapted_rand_error']:.3f}, at threshold {figures['threshold']:.2f}"
    )


def _config(context: typer.Context, path: Path | None, given: dict[str, Any]) -> TrainConfig:
    """Options from the file, with those of the command line over them."""
    names = {"labels": "kind", "patch_shape": "patch"}
    values = {} if path is None else _read_config(path)
    for name, value in given.items():
        source = context.get_parameter_source(names.get(name, name))
        if source is not None and source.name == "COMMANDLINE":
            values[name] = value
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    if unknown := [name for name in values if name not in known]:
        raise InputError(
            f"'{path}' has the option {unknown[0]!r}; known are {', '.join(sorted(known))}."
        )
    return TrainConfig(**{name: _plain(name, value) for name, value in values.items()})


def _read_config(path: Path) -> dict[str, Any]:
    """Read options from YAML or JSON."""
    import yaml

    from napari_implicitseg.atomic import explain

    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise FileError(
            f"Cannot read the options: the file '{path}' does not exist. Check the path."
        ) from error
    except OSError as error:
        raise explain(error, path, "read") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise FileError(f"Cannot read the options in '{path}': {text}.") from error
    if not isinstance(values, dict):
        raise FileError(f"'{path}' holds no options; needed are lines such as 'steps: 2000'.")
    return values


def _plain(name: str, value: Any) -> Any:
    """Return lists as tuples, and as numbers what YAML takes for text, such as 1e-3."""
    if isinstance(value, list):
        if not all(type(v) is int or isinstance(v, list) for v in value):
            raise InputError(f"{name} is {value!r}; use lists of whole numbers.")
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    if isinstance(value, str) and name in _FRACTIONS:
        with suppress(ValueError):
            return float(value)
    return value


def _pair(text: str) -> tuple[Path, Path]:
    """Split IMAGE,LABELS."""
    parts = text.split(",")
    if len(parts) != 2:
        raise InputError(f"--also is {text!r}; give two files with a comma between: IMAGE,LABELS.")
    return Path(parts[0]), Path(parts[1])


def _volume(pair: tuple[Path, Path], spacing: tuple[float, ...] | None) -> Any:
    """Return a volume to learn from, with the voxel size the user gave."""
    if spacing is None:
        return pair
    return {"raw": pair[0], "labels": pair[1], "spacing": spacing, "name": f"'{pair[0]}'"}


def _unit(image: Path, unit: str | None) -> str:
    """Return the unit of a voxel size that was given: the one given too, or the file's."""
    from napari_implicitseg.volumes import read_image, unit_name

    if unit is not None:
        return unit_name(unit)
    volume = read_image(image)
    return volume.grid(volume.channel_axis).units[-1]
