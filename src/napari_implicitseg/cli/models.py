"""`napari-implicitseg models`: what models there are, their cards, packages of the BioImage.IO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_implicitseg.cli import _options as options  # noqa: TC001 - typer reads it
from napari_implicitseg.cli._run import one_line_errors
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import ForeignModel

__all__ = ["app"]

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

_ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder that train wrote, a shipped model such as fibsem-isotropic, or a package.",
    ),
]


def parse_vectors(text: str) -> tuple[tuple[int, ...], ...]:
    """Parse "-1,0,0;0,-1,0"; for typer, which turns the error into one about usage."""
    try:
        return tuple(tuple(int(n) for n in one.split(",")) for one in text.split(";"))
    except ValueError:
        raise typer.BadParameter(f"{text!r} are no offsets such as -1,0,0;0,-1,0") from None


def parse_channels(text: str) -> tuple[int, ...]:
    """Parse "0,2"; for typer."""
    try:
        return tuple(int(n) for n in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of channels such as 0,2") from None


@app.callback(invoke_without_command=True)
def models(context: typer.Context, json_report: options.Json = False) -> None:
    """List models, show their cards, exchange them with other programs.

    Without a command it lists the models that come with the package.

    \b
    Examples:
      napari-implicitseg models
      napari-implicitseg models show fibsem-isotropic
      napari-implicitseg models export model --output model.zip --licence CC-BY-4.0
      napari-implicitseg models import theirs.zip --output theirs
    """  # noqa: D301 - \b keeps the examples' lines
    if context.invoked_subcommand is not None:
        return
    with one_line_errors():
        from napari_implicitseg.models.folder import load_model, shipped_models

        reports = [_report(load_model(name)) for name in shipped_models()]
        if json_report:
            print(json.dumps(reports))
            return
        for report in reports:
            print(_line(report))
        if not reports:
            print("No models come with this version; train one, or import a package.")


@app.command("show")
def show(model: _ModelArgument, json_report: options.Json = False) -> None:
    """Print the card of a model: what it does, what it learned from, how good it is.

    \b
    Examples:
      napari-implicitseg models show sstem-2d
      napari-implicitseg models show theirs.zip
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        found = _loaded(model)
        if json_report:
            print(json.dumps(_report(found), default=str))
            return
        print(_card(found), end="")


@app.command("export")
def export(
    model: _ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="ZIP", help="The package, a .zip file.")
    ],
    name: Annotated[str | None, typer.Option(help="[default: the model's]")] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="SPDX",
            help="Licence of the model, such as CC-BY-4.0. [default: that of its training data]",
        ),
    ] = None,
    author: Annotated[
        list[str] | None,
        typer.Option(help="Who made the model; may be given several times."),
    ] = None,
    description: Annotated[
        str | None, typer.Option(help="One or two sentences. [default: what the network does]")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="Image that comes with the package, to test with; its middle is taken. "
            "[default: a synthetic one]",
        ),
    ] = None,
    torchscript: Annotated[
        bool, typer.Option(help="Add TorchScript beside ONNX; some programs need it.")
    ] = True,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a model as a package that ilastik, deepImageJ and others of the BioImage.IO run.

    Needs the extra: pip install "napari-implicitseg[bioimageio]"

    \b
    Examples:
      napari-implicitseg models export model --output model.zip --licence CC-BY-4.0
      napari-implicitseg models export sstem-2d -o sstem.zip --author "A. Person" --sample em.tif
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.models.affinity import AffinityModel
        from napari_implicitseg.models.bioimage import PackageInfo, export_bioimageio

        found = _loaded(model)
        if not isinstance(found, AffinityModel):
            raise InputError(f"'{model}' is another program's model; share its package as it is.")
        given: dict[str, Any] = {"authors": tuple(author)} if author else {}
        info = PackageInfo(name=name, licence=licence, description=description, **given)
        raw = None if sample is None else _sample(sample)
        export_bioimageio(
            found, output, info=info, sample=raw, torchscript=torchscript, overwrite=overwrite
        )
        print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


@app.command("import")
def import_(
    package: Annotated[
        Path, typer.Argument(metavar="PACKAGE", help="A .zip file, or a folder with rdf.yaml.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Where the model is put."),
    ],
    offsets: Annotated[
        Any,
        typer.Option(
            parser=parse_vectors,
            metavar="Z,Y,X;...",
            help="Edges whose affinities the channels are. [default: the package's]",
        ),
    ] = None,
    channels: Annotated[
        Any,
        typer.Option(
            parser=parse_channels,
            metavar="0,1,2",
            help="Channels of the affinities, or the one of boundaries. [default: all, or the "
            "one that is named so]",
        ),
    ] = None,
    repulsive: Annotated[
        bool | None,
        typer.Option(
            "--repulsive/--attractive",
            help="Whether 1 says two objects or boundary; else one object or inside. "
            "[default: repulsive for boundaries and torch-em's affinities]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Read a package of the BioImage.IO into a folder that predict takes.

    Networks that predict affinities, or boundaries, run here if they are there as ONNX.
    Other formats are or hold programs, which are not run. Of boundaries b the affinity
    of two voxels p and q is 1 - max(b(p), b(q)).

    Needs the extra: pip install "napari-implicitseg[bioimageio]"

    \b
    Examples:
      napari-implicitseg models import membranes.zip --output membranes
      napari-implicitseg models import theirs.zip -o theirs --offsets "-1,0,0;0,-1,0;0,0,-1"
      napari-implicitseg predict em.tif --model membranes --output affinities.zarr
    """  # noqa: D301 - \b keeps the examples' lines
    with one_line_errors():
        from napari_implicitseg.models.bioimage import unpack_bioimageio

        model = unpack_bioimageio(
            package,
            output,
            offsets=offsets,
            channels=channels,
            repulsive=repulsive,
            overwrite=overwrite,
        )
        print(f"{output}: {_line(_report(model))}")


def _loaded(model: str) -> AffinityModel | ForeignModel:
    """Load a model, or one from a package."""
    from napari_implicitseg.models.bioimage import import_bioimageio, is_package
    from napari_implicitseg.models.folder import load_model

    is_own = (Path(model) / "model.json").is_file()
    return import_bioimageio(model) if is_package(model) and not is_own else load_model(model)


def _sample(path: Path) -> Any:
    """Read an image to test with, channels first."""
    import numpy as np

    from napari_implicitseg.volumes import read_image

    volume = read_image(path)
    data = np.asarray(volume.data)
    return data if volume.channel_axis is None else np.moveaxis(data, volume.channel_axis, 0)


def _card(model: AffinityModel | ForeignModel) -> str:
    """Return the card of a model, Markdown."""
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import foreign_card
    from napari_implicitseg.models.card import model_card

    return model_card(model) if isinstance(model, AffinityModel) else foreign_card(model)


def _report(model: AffinityModel | ForeignModel) -> dict[str, Any]:
    """Say of a model what fits on a line."""
    return {
        "name": model.name,
        "ndim": model.ndim,
        "channels": model.channels,
        "spacing": list(model.spacing),
        "unit": model.unit,
        "offsets": [list(offset) for offset in model.offsets],
        "metrics": dict(model.metrics),
        "training": dict(model.training),
    }


def _line(report: Mapping[str, Any]) -> str:
    """Say what a model is for in a line."""
    size = " x ".join(f"{length:g}" for length in report["spacing"])
    unit = f"{report['unit']} " if report["unit"] else ""
    name = report["name"] or "model"
    return f"{name}: {report['ndim']}D, voxels of {size} {unit}({len(report['offsets'])} offsets)"
