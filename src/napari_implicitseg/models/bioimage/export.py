"""Export to packages of the BioImage Model Zoo, which ilastik, deepImageJ and others run."""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial import KDTree

from napari_implicitseg.atomic import exists_error, probe_folder, replace_file
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.bioimage.exchange import (
    OPSET,
    Probabilities,
    to_onnx,
    to_torchscript,
)
from napari_implicitseg.models.bioimage.onnx_session import OnnxSession
from napari_implicitseg.models.bioimage.rdf import PackageInfo, least_shape, package_description
from napari_implicitseg.models.card import model_card
from napari_implicitseg.models.volume_checks import with_channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg.models.affinity import AffinityModel

__all__ = ["PackageInfo", "export_bioimageio"]

_OWN = ("model.json", "weights.safetensors")
_EPOCH = "SOURCE_DATE_EPOCH"
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_TOLERANCE = 1e-4
# Of the synthetic image: voxels of a cell across, grey levels.
_CELL, _INSIDE, _MEMBRANE, _NOISE = 12.0, 160.0, 60.0, 8.0


def export_bioimageio(
    model: AffinityModel,
    path: str | os.PathLike[str],
    *,
    info: PackageInfo | None = None,
    sample: ArrayLike | None = None,
    torchscript: bool = True,
    overwrite: bool = False,
) -> Path:
    """Write a model as a package of the BioImage.IO.

    It holds the network as ONNX and TorchScript, with its normalisation as
    preprocessing, the sigmoid inside and auxiliary outputs left off; a test image and
    what the network makes of it; a card; and the files of the model itself, so that
    `load_model` gives back the same model. The spatial sizes of inputs are multiples of
    the network's stride, and the halo that programs leave off at the borders of tiles
    is the network's. Beyond the borders of an image, where this package sees zeros,
    other programs mirror it: affinities differ there. Of a stack that a network of two
    axes works on, they scale the grey levels of each section by itself.

    Parameters
    ----------
    model : AffinityModel
    path : path
        A .zip file.
    info : PackageInfo, optional
        Name, authors, licence, papers. A licence is needed if the model has none.
    sample : array, shape (*S) or (C, *S), optional
        Image to test with, at least as large as a tile may be; its middle is taken. A
        synthetic one by default.
    torchscript : bool
        Whether to add TorchScript, which doubles the size.
    overwrite : bool
        Whether an existing package may be replaced.

    Returns
    -------
    Path
        The package.

    Raises
    ------
    InputError
        If the extra "bioimageio" is not installed, there is no licence, something in
        `info` is not allowed, or the sample does not fit.
    FileError
        If the package cannot be written.
    OutputExistsError
        If it exists and `overwrite` is false.

    References
    ----------
    Ouyang et al. (2022), "BioImage Model Zoo: a community-driven resource for accessible
    deep learning in bioimage analysis", bioRxiv.
    """
    info = PackageInfo() if info is None else info
    target = Path(path)
    if target.suffix.lower() != ".zip":
        raise InputError(f"The package is named '{target}'; packages end in .zip. Add it.")
    if target.exists() and not overwrite:
        raise exists_error(target)
    require_bioimageio()
    raw = _synthetic(model) if sample is None else _middle(sample, model)
    # What may be refused is, before seconds or minutes are spent.
    _validate(_description(model, info, dict.fromkeys(_names(torchscript), b"")))
    probe_folder(target.parent, target)
    files = _weights(model, torchscript)
    files["test_input.npy"] = _npy(raw[None])
    files["test_output.npy"] = _npy(_checked_output(model, raw, files["weights.onnx"]))
    files["README.md"] = (info.documentation or model_card(model)).encode()
    with replace_file(target, overwrite=overwrite) as temporary:
        _write(temporary, _description(model, info, files), files)
    return target


def require_bioimageio() -> None:
    """Raise `InputError` unless the extra "bioimageio" is installed."""
    try:
        import bioimageio.spec  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"This needs {error.name}, which is not installed. Run: "
            'pip install "napari-implicitseg[bioimageio]"'
        ) from error


def _description(
    model: AffinityModel, info: PackageInfo, files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Describe a package with these files."""
    return package_description(
        model,
        info,
        licence=_licence(model, info),
        timestamp=_timestamp(info),
        weights=_entries(files),
        attachments=[_entry(name, files[name]) for name in _OWN],
    )


def _names(torchscript: bool) -> tuple[str, ...]:
    """Names of the files that hold weights."""
    return (*_OWN, "weights.onnx", *(["weights.pt"] if torchscript else []))


def _licence(model: AffinityModel, info: PackageInfo) -> str:
    """Return the licence as an SPDX identifier."""
    from bioimageio.spec.model.v0_5 import LicenseId
    from pydantic import ValidationError

    given = info.licence or str(model.training.get("licence") or "")
    if not given:
        raise InputError(
            f"The model '{model.name}' has no licence and a package needs one. Give it: "
            'licence="CC-BY-4.0", or another SPDX identifier, as the data allow.'
        )
    joined = re.sub(r"[\s_]+", "-", given.strip())
    for guess in (given, joined, joined.upper(), joined.title(), f"{joined.upper()}-1.0"):
        try:
            return str(LicenseId(guess))
        except ValidationError:
            continue
    raise InputError(
        f"The licence is {given!r}, which is no SPDX identifier. Give one: "
        'licence="CC-BY-4.0", or another of https://spdx.org/licenses, as the data allow.'
    )


def _timestamp(info: PackageInfo) -> str:
    """When the package was made."""
    given, epoch = info.timestamp, os.environ.get(_EPOCH, "")
    if given is None:
        given = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return given.isoformat(timespec="seconds")


def _weights(model: AffinityModel, torchscript: bool) -> dict[str, bytes]:
    """Return the network in all formats, by file name."""
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        for name in _OWN:
            files[name] = Path(folder, name).read_bytes()
    module = Probabilities(model.network, len(model.offsets))
    files["weights.onnx"] = to_onnx(module)
    if torchscript:
        files["weights.pt"] = to_torchscript(module)
    return files


def _entries(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Describe the weights that other programs run."""
    version = str(torch.__version__).split("+")[0]
    entries: dict[str, Any] = {}
    onnx = {**_entry("weights.onnx", files["weights.onnx"]), "opset_version": OPSET}
    if "weights.pt" in files:
        script = _entry("weights.pt", files["weights.pt"])
        entries["torchscript"] = {**script, "pytorch_version": version}
        onnx["parent"] = "torchscript"
    return {"onnx": onnx, **entries}


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"source": name, "sha256": hashlib.sha256(content).hexdigest()}


def _middle(sample: ArrayLike, model: AffinityModel) -> NDArray[np.float32]:
    """Cut the middle of a sample, of the smallest shape the package allows."""
    raw = np.asarray(sample)
    raw = with_channel(raw) if raw.ndim == model.ndim else raw
    least = least_shape(model)
    fits = raw.ndim == model.ndim + 1 and raw.shape[0] == model.channels
    if not fits or any(n < m for n, m in zip(raw.shape[1:], least, strict=True)):
        raise InputError(
            f"The sample has shape {raw.shape}; needed are {model.channels} channels of at least "
            f"{least} voxels. Give a larger one, or none."
        )
    starts = [(n - m) // 2 for n, m in zip(raw.shape[1:], least, strict=True)]
    parts = tuple(slice(a, a + m) for a, m in zip(starts, least, strict=True))
    return np.ascontiguousarray(raw[(slice(None), *parts)], np.float32)


def _synthetic(model: AffinityModel) -> NDArray[np.float32]:
    """Draw cells with dark membranes between them, the same each time."""
    shape, rng = least_shape(model), np.random.default_rng(0)
    count = max(2, round(float(np.prod([n / _CELL for n in shape]))))
    centres = rng.uniform(0, shape, (count, len(shape)))
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    distances, _ = KDTree(centres).query(points, k=2)
    inside = np.clip((distances[..., 1] - distances[..., 0]) / 3, 0, 1)
    grey = _MEMBRANE + (_INSIDE - _MEMBRANE) * inside
    raw = np.round(grey + rng.normal(0, _NOISE, (model.channels, *shape)))
    if model.normalisation.kind == "range":
        low, high = model.normalisation.low, model.normalisation.high
        raw = low + (high - low) * raw / 255
    return np.asarray(raw, np.float32)


def _checked_output(
    model: AffinityModel, raw: NDArray[np.float32], onnx: bytes
) -> NDArray[np.float32]:
    """Predict the test image by the network itself, and see that ONNX gives the same."""
    scaled = model.normalisation.scaling(raw, "sample")(raw)[None]
    module = Probabilities(model.network, len(model.offsets))
    with torch.no_grad():
        out = module(torch.from_numpy(scaled)).numpy()
    (other,) = OnnxSession(onnx, "weights.onnx").run(scaled)
    difference = float(np.abs(out - other).max())
    if not difference <= _TOLERANCE:
        raise InputError(
            f"The network as ONNX differs by {difference:.2g} from itself, allowed are "
            f"{_TOLERANCE:g}. Its weights may be damaged or huge: train it anew, and please report "
            "this."
        )
    return np.asarray(out, np.float32)


def _npy(values: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def _write(path: Path, content: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Write a zip archive that is the same each time."""
    import yaml

    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (("rdf.yaml", text.encode()), *sorted(files.items())):
            entry = zipfile.ZipInfo(name, _ZIP_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)


def _validate(content: Mapping[str, Any]) -> None:
    """Check a description by the rules of the BioImage.IO, offline and without its files."""
    from bioimageio.spec import InvalidDescr, ValidationContext, build_description

    made = build_description(dict(content), context=ValidationContext(perform_io_checks=False))
    if isinstance(made, InvalidDescr):
        found = made.validation_summary.errors[0]
        where = ".".join(str(part) for part in found.loc)
        raise InputError(f"The BioImage.IO does not allow this package: {where}: {found.msg}.")
