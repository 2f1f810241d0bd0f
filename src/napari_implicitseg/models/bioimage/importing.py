"""Import of packages of the BioImage Model Zoo: affinity and boundary models of other programs.

Nothing of a package is executed. Its network has to be there as ONNX, a list of
operators that the runtime knows. Formats that are programs, or may hold some, are
refused: pickled and Keras models, Python source, and TorchScript, which the security
policy of PyTorch says to treat like code.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import exists_error, replace_folder
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.bioimage.export import require_bioimageio
from napari_implicitseg.models.bioimage.files import PackageFiles
from napari_implicitseg.models.bioimage.foreign import ForeignModel
from napari_implicitseg.models.bioimage.meaning import Wishes, find_meaning
from napari_implicitseg.models.bioimage.onnx_session import OnnxSession, complete_model
from napari_implicitseg.models.bioimage.processing import read_steps
from napari_implicitseg.models.bioimage.rdf import CONFIG_KEY
from napari_implicitseg.models.bioimage.tensors import read_order, read_windows
from napari_implicitseg.models.folder import load_model

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage.tensors import AxisOrder

__all__ = ["import_bioimageio", "unpack_bioimageio"]

_ATTACHED = ("model.json", "weights.safetensors")


def import_bioimageio(
    path: str | os.PathLike[str],
    *,
    offsets: Sequence[Sequence[int]] | None = None,
    channels: Sequence[int] | None = None,
    repulsive: bool | None = None,
) -> AffinityModel | ForeignModel:
    """Read a model from a package of the BioImage.IO.

    One that this package has exported comes back as it was. Of another program's the
    network, its steps before and after and its halo are used as described.

    Parameters
    ----------
    path : path
        A .zip file, or a folder with `rdf.yaml`.
    offsets : sequence of sequence of int, optional
        Edges of the affinities, one for each channel of the output, in the axes of the
        network. Not needed if the package tells them (this package's and torch-em's
        do), nor for boundaries.
    channels : sequence of int, optional
        Channels of the output that hold the affinities; or the one that holds
        boundaries. By default all, or the one that is named so.
    repulsive : bool, optional
        Whether 1 says that two voxels are of two objects, or that a voxel is of a
        boundary; else it says one object, or inside. By default true of boundaries and
        of torch-em's affinities.

    Returns
    -------
    AffinityModel or ForeignModel
        What `predict_affinities` takes.

    Raises
    ------
    FileError
        If there is no such package, it is damaged, no model, has no ONNX, several
        inputs or outputs, or steps that are not known.
    InputError
        If the extra "bioimageio" is not installed, or it cannot be told what the
        channels of the output are.

    Notes
    -----
    Of a map b of boundaries the affinity of an edge from p to q is 1 - max(b(p), b(q)).
    """
    files = PackageFiles(path)
    wishes = Wishes(offsets=offsets, channels=channels, repulsive=repulsive)
    if _is_attached(files):
        if wishes != Wishes():
            raise InputError(
                f"'{files.path}' tells its offsets; leave out offsets, channels and repulsive."
            )
        return _attached(files)
    require_bioimageio()
    return _foreign(files, wishes)


def unpack_bioimageio(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    offsets: Sequence[Sequence[int]] | None = None,
    channels: Sequence[int] | None = None,
    repulsive: bool | None = None,
    overwrite: bool = False,
) -> AffinityModel | ForeignModel:
    """Write the model of a package into a folder that `load_model` reads.

    Of another program's the description, the ONNX network and what belongs to them are
    written, with what the channels of the output are.

    Parameters
    ----------
    path, offsets, channels, repulsive : see `import_bioimageio`
    folder : path
    overwrite : bool
        Whether the folder may be replaced.

    Returns
    -------
    AffinityModel or ForeignModel

    Raises
    ------
    FileError, InputError
        As `import_bioimageio`, or if the folder cannot be written.
    OutputExistsError
        If the folder exists and `overwrite` is false.
    """
    target = Path(folder)
    if target.exists() and not overwrite:
        raise exists_error(target)
    model = import_bioimageio(path, offsets=offsets, channels=channels, repulsive=repulsive)
    with replace_folder(target, overwrite=overwrite) as temporary:
        if isinstance(model, ForeignModel):
            _write(PackageFiles(path), model, temporary)
        else:
            model.save(temporary)
    return model


def _is_attached(files: PackageFiles) -> bool:
    """Whether a package holds a model of this package as it was."""
    own = _config(files.content).get(CONFIG_KEY)
    told = isinstance(own, dict) and own.get("attached") is True
    return told and files.names.issuperset(_ATTACHED)


def _attached(files: PackageFiles) -> AffinityModel | ForeignModel:
    """Read the model itself."""
    with tempfile.TemporaryDirectory() as folder:
        for name in _ATTACHED:
            Path(folder, name).write_bytes(files.read(name))
        try:
            return load_model(folder)
        except FileError as error:
            raise FileError(str(error).replace(folder, str(files.path))) from error


def _foreign(files: PackageFiles, wishes: Wishes) -> ForeignModel:
    """Read a network that another program runs."""
    source = str(files.path)
    model = _described(files)
    given, made = _only(model.inputs, "inputs", source), _only(model.outputs, "outputs", source)
    before, after = (read_order(t.axes, tensor=str(t.id), source=source) for t in (given, made))
    if before.spatial != after.spatial:
        raise FileError(
            f"'{source}' turns the axes {before.spatial} into {after.spatial}; needed are the same."
        )
    onnx = _network(files, model)
    spacing, unit = _spacing(given, before)
    pad = getattr(given, "pad", None)
    padding = {"mode": getattr(pad, "mode", "symmetric")}
    if padding["mode"] == "constant":
        padding["constant_values"] = pad.value  # type: ignore[union-attr]
    return ForeignModel(
        onnx=onnx,
        given=before,
        made=after,
        windows=read_windows(model, before, source=source),
        padding=padding,
        before=_steps(given.preprocessing, given, before, source, measured=True),
        after=_steps(made.postprocessing, made, after, source, measured=False),
        meaning=find_meaning(
            wishes,
            _config(files.content),
            names=_channels(made, source),
            ndim=len(before.spatial),
            source=source,
        ),
        channels=len(_channels(given, source)),
        spacing=spacing,
        unit=unit,
        name=str(model.name),
        training=_origin(files.content),
    )


def _described(files: PackageFiles) -> Any:
    """Read the description by the rules of the BioImage.IO, newest version, offline."""
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    for tensor in files.content.get("inputs") or ():
        # To check it the library would look for the other model in the internet.
        if isinstance(tensor, dict) and tensor.get("output_of") is not None:
            raise FileError(
                f"'{files.path}' works on what the model '{tensor['output_of']}' gives; needed is "
                "one that works on images."
            )
    with contextlib.ExitStack() as stack:
        root: Any = files.path
        if not root.is_dir():
            root = stack.enter_context(zipfile.ZipFile(root))
        context = ValidationContext(root=root, perform_io_checks=False)
        try:
            model = build_description(files.content, context=context, format_version="latest")
        except (ValueError, TypeError, LookupError, NotImplementedError, AssertionError) as error:
            raise FileError(
                f"'{files.path}' has a description that cannot be read: {error}. Bring it to the "
                "newest version: bioimageio update-format"
            ) from error
    if isinstance(model, InvalidDescr):
        found = model.validation_summary.errors[0]
        where = ".".join(str(part) for part in found.loc)
        raise FileError(
            f"'{files.path}' has a description that is not valid: {where}: {found.msg}. Ask its "
            "authors, or mend it."
        )
    return model


def _only(tensors: Sequence[Any], what: str, source: str) -> Any:
    """Return the tensor, of which there has to be one."""
    if len(tensors) != 1:
        names = ", ".join(str(tensor.id) for tensor in tensors)
        raise FileError(f"'{source}' has {len(tensors)} {what} ({names}); needed is one.")
    return tensors[0]


def _network(files: PackageFiles, model: Any) -> bytes:
    """Read the network, which has to be there as ONNX."""
    weights = model.weights.onnx
    if weights is None:
        found = ", ".join(sorted(files.content.get("weights") or ())) or "nothing"
        raise FileError(
            f"'{files.path}' has its network as {found}; needed is onnx. The others are programs, "
            "or may hold some, and are not run. If you trust the package, convert it: "
            f'bioimageio add-weights "{files.path}" FOLDER --target-format onnx'
        )
    name, external = str(weights.source), getattr(weights, "external_data", None)
    data = files.read(name)
    if weights.sha256 is not None and hashlib.sha256(data).hexdigest() != str(weights.sha256):
        raise FileError(
            f"'{name}' in '{files.path}' is not the file that its description tells of. Get the "
            "package anew."
        )
    beside = None if external is None else files.read(str(external.source))
    network = complete_model(data, beside, f"{files.path}: {name}")
    OnnxSession(network, f"{files.path}: {name}")  # So that what cannot run is told now.
    return network


def _steps(
    steps: Sequence[Any], tensor: Any, order: AxisOrder, source: str, *, measured: bool
) -> Any:
    """Read the steps before or after the network."""
    return read_steps(
        [step.model_dump(mode="json") for step in steps],
        tensor=str(tensor.id),
        axes=order.spatial,
        measured=measured,
        source=source,
    )


def _channels(tensor: Any, source: str) -> list[str]:
    """Names of the channels of a tensor; one without a name if it has no such axis."""
    for axis in tensor.axes:
        if str(axis.type) == "channel":
            if not isinstance(axis.channel_names, list | tuple):
                raise FileError(f"'{source}' does not tell the channels of {str(tensor.id)!r}.")
            return [str(name) for name in axis.channel_names]
    return [""]


def _spacing(tensor: Any, order: AxisOrder) -> tuple[tuple[float, ...], str]:
    """Voxel size and unit, if the package tells one for all axes."""
    axes = {str(axis.id): axis for axis in tensor.axes}
    found = [axes[name] for name in order.spatial]
    units = {axis.unit for axis in found}
    unit = units.pop() if len(units) == 1 else None
    return tuple(float(axis.scale) for axis in found), str(unit or "")


def _origin(content: dict[str, Any]) -> dict[str, Any]:
    """Return what a package tells of its origin."""
    told = ("description", "authors", "license", "cite", "training_data")
    return {name: content[name] for name in told if content.get(name)}


def _config(content: dict[str, Any]) -> dict[str, Any]:
    config = content.get("config")
    return config if isinstance(config, dict) else {}


def _write(files: PackageFiles, model: ForeignModel, folder: Path) -> None:
    """Write what is needed of a package."""
    import yaml

    meaning = model.meaning
    content = {k: v for k, v in files.content.items() if k not in ("attachments", "covers")}
    content["weights"] = {"onnx": {**files.content["weights"]["onnx"]}}
    content["weights"]["onnx"].pop("parent", None)
    content["config"] = {
        **_config(content),
        CONFIG_KEY: {
            "kind": "boundaries" if meaning.boundaries else "affinities",
            "offsets": [list(offset) for offset in meaning.offsets],
            "channels": list(meaning.channels),
            "repulsive": meaning.repulsive,
        },
    }
    for name in sorted(set(_texts(content)) & files.names):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files.read(name))
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "rdf.yaml").write_text(text, encoding="utf-8")


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a description; some are names of files."""
    if isinstance(value, str):
        yield value.removeprefix("./")
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
