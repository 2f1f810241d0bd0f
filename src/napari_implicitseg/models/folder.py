"""Models as folders: `model.json`, `weights.safetensors`, and the models that are shipped."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.document import (
    AnyDocument,
    ModelDocument,
    NormalisationDocument,
    SemanticDocument,
    WeightsDocument,
    parse_document,
)
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.models.semantic import SemanticModel
from napari_implicitseg.predictors.architectures import build_network, describe_network
from napari_implicitseg.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import nn

    from napari_implicitseg.models.bioimage import ForeignModel

__all__ = [
    "StoredModel",
    "check_storable",
    "load_model",
    "load_stored",
    "save_model",
    "shipped_models",
]

StoredModel: TypeAlias = AffinityModel | SemanticModel
"""What this package trains, and stores in folders of its own form."""

_DOCUMENT = "model.json"
_WEIGHTS = "weights.safetensors"
# Where a training keeps its state in the folder of its model; `training` is above this module.
_CHECKPOINT = Path("training", "checkpoint.safetensors")
_SHIPPED = Path(__file__).with_name("shipped")


def shipped_models() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    return tuple(sorted(folder.parent.name for folder in _SHIPPED.glob(f"*/{_DOCUMENT}")))


def save_model(model: StoredModel, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write a model into a folder, each file in one step.

    Parameters
    ----------
    model : AffinityModel or SemanticModel
    path : path
        The folder; it is made if it is not there. Other files in it stay.
    half : bool
        Store the weights with half the digits.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, folder, "write") from error
    # The weights go first: a description never speaks of weights that are not there.
    write_tensors(folder / _WEIGHTS, _stored(model.network, half), metadata={"format": "pt"})
    document = _document(model, _digest(folder / _WEIGHTS))
    with replace_file(folder / _DOCUMENT, overwrite=True) as temporary:
        temporary.write_text(document.model_dump_json(indent=1) + "\n", encoding="utf-8")


def check_storable(model: StoredModel) -> None:
    """Refuse a model that could not be saved, before it is trained.

    Raises
    ------
    InputError
        Names the first field that is wrong.
    """
    try:
        _document(model, "0" * 64).model_dump_json()
    except (ValidationError, PydanticSerializationError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"A model with these options cannot be saved: {text}") from error


def _document(model: StoredModel, digest: str) -> AnyDocument:
    """Describe a model whose weights have a digest."""
    rule = model.normalisation
    common: dict[str, Any] = {
        "name": model.name,
        "package_version": version("napari-implicitseg"),
        "architecture": describe_network(model.network),
        "spacing": model.spacing,
        "unit": model.unit,
        "normalisation": NormalisationDocument(kind=rule.kind, low=rule.low, high=rule.high),
        "training": dict(model.training),
        "metrics": dict(model.metrics),
        "weights": WeightsDocument(sha256=digest),
    }
    if isinstance(model, SemanticModel):
        return SemanticDocument(classes=model.classes, values=model.values, **common)
    return ModelDocument(offsets=model.offsets, **common)


def load_model(path: str | os.PathLike[str]) -> AffinityModel | ForeignModel:
    """Read a model of affinities; see `load_stored`.

    Raises
    ------
    FileError, InputError
        As `load_stored` does, and if it is a model of classes.
    """
    found = load_stored(path)
    if isinstance(found, SemanticModel):
        raise InputError(
            f"The model '{path}' predicts classes, not affinities. Use it by `semantic predict`, "
            "or give a model that `train` (train_affinities) has trained."
        )
    return found


def load_stored(path: str | os.PathLike[str]) -> StoredModel | ForeignModel:
    """Read a model from a folder, one that is shipped by its name, or one from a package.

    Nothing is executed or unpickled; description and weights are checked against each
    other before anything is built.

    Parameters
    ----------
    path : path or str
        A folder with `model.json` and `weights.safetensors`, such as `train_affinities`
        and `train_semantic` write, or "fibsem-isotropic" or "sstem-2d"; or a package of the
        BioImage.IO, a .zip file or a folder with `rdf.yaml`, that needs no options of
        `import_bioimageio`.

    Raises
    ------
    FileError
        If there is no such model, or it is damaged or another tool's.
    InputError
        If `path` is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(
            f"The model is {path!r}; give the path of its folder, the name of a shipped model, or "
            "a model."
        )
    if path not in shipped_models() and not (Path(path) / _DOCUMENT).is_file():
        from napari_implicitseg.models.bioimage import import_bioimageio, is_package

        if is_package(path):
            return import_bioimageio(path)
    folder = _folder(path)
    try:
        text = (folder / _DOCUMENT).read_text(encoding="utf-8")
    except OSError as error:
        raise explain(error, folder / _DOCUMENT, "read") from error
    except UnicodeDecodeError as error:
        raise FileError(f"'{folder / _DOCUMENT}' is no text. Train or copy it anew.") from error
    document = parse_document(text, folder / _DOCUMENT)
    try:
        return _built(document, folder)
    except InputError as error:
        raise FileError(
            f"'{folder}' holds no model that works: {error} Train or copy it anew."
        ) from error


def _folder(path: str | os.PathLike[str]) -> Path:
    """Folder of a model."""
    if isinstance(path, str) and path in shipped_models():
        return _SHIPPED / path
    folder = Path(path)
    if folder.name == _DOCUMENT:
        folder = folder.parent
    if not (folder / _DOCUMENT).is_file():
        if (folder / _CHECKPOINT).is_file():
            raise FileError(
                f"The model '{path}' is not there yet: its training has not finished. Go on with "
                "it by `train --resume`, or `semantic train --resume` if it is one of classes (in "
                "Python train_affinities or train_semantic with resume=True)."
            )
        names = ", ".join(map(repr, shipped_models())) or "none"
        what = "a folder without model.json" if folder.is_dir() else "not there"
        raise FileError(
            f"The model '{path}' is {what}. Give a folder that training wrote, or the name of a "
            f"shipped model: {names}."
        )
    return folder


def _built(document: AnyDocument, folder: Path) -> StoredModel:
    """Put the model together from a checked description."""
    path = folder / _WEIGHTS
    tensors, _ = read_tensors(path, wanted="the weights of a model")
    if _digest(path) != document.weights.sha256:
        raise FileError(
            f"'{path}' are not the weights that model.json describes. Writing was interrupted, or "
            "a file was replaced: resume the training, or copy both files anew."
        )
    with torch.device("meta"):
        network = build_network(document.architecture)
    _check_weights(tensors, network, path)
    network = network.to_empty(device="cpu")
    network.load_state_dict({name: _tensor(values) for name, values in tensors.items()})
    rule = document.normalisation
    common: dict[str, Any] = {
        "network": network.eval().requires_grad_(False),
        "spacing": document.spacing,
        "unit": document.unit,
        "normalisation": Normalisation(kind=rule.kind, low=rule.low, high=rule.high),
        "name": document.name or folder.resolve().name,
        "training": document.training,
        "metrics": document.metrics,
    }
    if isinstance(document, SemanticDocument):
        return SemanticModel(classes=document.classes, values=document.values, **common)
    return AffinityModel(offsets=document.offsets, **common)


def _check_weights(tensors: Mapping[str, NDArray[Any]], network: nn.Module, path: Path) -> None:
    """Compare names, shapes and values of the weights with what the architecture has."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: values.shape for name, values in tensors.items()}
    if odd := sorted(wanted.items() ^ found.items()):
        name = odd[0][0]
        raise FileError(
            f"'{path}' does not fit the architecture: {name} has shape "
            f"{found.get(name, 'none')}, needed is {wanted.get(name, 'none')}. It belongs to "
            "another model."
        )
    for name, values in tensors.items():
        if values.dtype.kind not in "fi" or not np.isfinite(values).all():
            raise FileError(
                f"'{path}' has weights that are no numbers ({name}). It is damaged, or the "
                "training diverged: train with a lower learning rate."
            )


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    """Weights as torch takes them; halves become float32, whole numbers stay."""
    dtype = np.float32 if values.dtype.kind == "f" else np.int64
    return torch.from_numpy(np.array(values, dtype))


def _stored(network: nn.Module, half: bool) -> dict[str, NDArray[Any]]:
    """Weights as they are written."""
    out = {}
    for name, tensor in network.state_dict().items():
        values = tensor.detach().cpu().contiguous().numpy()
        out[name] = values.astype(np.float16) if half and values.dtype.kind == "f" else values
    return out


def _digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
