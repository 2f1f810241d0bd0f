"""What a fit returns: labels, shapes, certificates and a report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.fitting.problem import Look
from napari_implicitseg.shapes.certificate import Certificate
from napari_implicitseg.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["FitReport", "FitResult", "Preview", "UnsatisfiedStroke"]

_FORMAT = "napari-implicitseg/fit-result/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsatisfiedStroke:
    """A stroke that the fitted mask contradicts.

    Attributes
    ----------
    label : int
        Id the user painted.
    got : int
        Id the result has there; 0 is background.
    voxels : int
        How many voxels of the stroke are contradicted.
    position : tuple of int
        Array index of one of them, in the order of the image's axes.
    """

    label: int
    got: int
    voxels: int
    position: tuple[int, ...]

    def __str__(self) -> str:
        """Say it in a sentence."""
        voxels = f"{self.voxels} voxel{'s' * (self.voxels != 1)}"
        painted = f"{voxels} painted {self.label} near {self.position}"
        return f"{painted} came out as {self.got or 'background'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What a fit has to say besides its masks.

    Attributes
    ----------
    seconds : float
        Wall time of the fit.
    ignored_voxels : int
        NaN or infinite voxels of the image that were not used as evidence.
    evidence_weights : mapping of str to float
        Share of each source in the blended evidence; they sum to 1.
    unsatisfied : tuple of UnsatisfiedStroke
        Strokes no mask of the wanted shape could agree with.
    warnings : tuple of str
        Advice for the user, in whole sentences.
    digest : str
        Tells the strokes and options of one fit from those of another.
    strokes : mapping of int to int
        Voxels painted with each label, that of the background too.
    looks : mapping of int to Look
        Where each object was looked at, and at which level of the evidence.
    agreement : mapping of int to float
        Of a repair the IoU of each object's mask before and after.
    unchanged : tuple of int
        Of a repair the objects that were too small for any shape.
    """

    seconds: float = 0.0
    ignored_voxels: int = 0
    evidence_weights: Mapping[str, float] = field(default_factory=dict)
    unsatisfied: tuple[UnsatisfiedStroke, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: str = ""
    strokes: Mapping[int, int] = field(default_factory=dict)
    looks: Mapping[int, Look] = field(default_factory=dict)
    agreement: Mapping[int, float] = field(default_factory=dict)
    unchanged: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """Masks with a shape guarantee, and the implicit shapes behind them.

    Attributes
    ----------
    labels : ndarray of uint32, like the image's spatial shape
        0 is background, every other value the id of an object.
    shapes : mapping of int to ImplicitShape
        The fitted shape of each object id.
    certificates : mapping of int to Certificate
        What was checked on the voxels of each object's mask.
    evidence : ndarray of float32 or None, like the image's spatial shape
        Probability that a voxel is object (any of them), 0 to 1; 0 where it
        was not looked at.
    history : mapping of str to list of float
        Loss per step, one entry per object (`"loss/2"`).
    spacing : tuple of float
        Voxel size per axis the fit worked with.
    report : FitReport
        Time, ignored voxels, unsatisfied strokes, advice.
    networks : mapping of str to mapping of str to ndarray
        Weights of the networks trained on the strokes, by kind.
    slices : mapping of int to FitResult
        Of a slice-by-slice fit the result of every slice, for a warm start;
        not saved.
    """

    labels: LabelArray
    shapes: Mapping[int, ImplicitShape]
    certificates: Mapping[int, Certificate]
    evidence: NDArray[np.float32] | None
    history: Mapping[str, list[float]]
    spacing: tuple[float, ...] = ()
    report: FitReport = field(default_factory=FitReport)
    networks: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(
        default_factory=dict, repr=False
    )
    slices: Mapping[int, FitResult] = field(default_factory=dict, repr=False)

    def save(self, path: str | Path) -> None:
        """Write the result to one safetensors file; nothing is pickled.

        Parameters
        ----------
        path : path
            Replaced if it exists; on a failure the old file stays.

        Raises
        ------
        FileError
            If the disk is full or the file cannot be written.
        """
        tensors: dict[str, NDArray[Any]] = {"labels": np.ascontiguousarray(self.labels)}
        if self.evidence is not None:
            tensors["evidence"] = np.ascontiguousarray(self.evidence)
        for label, shape in self.shapes.items():
            for name, tensor in shape.state_dict().items():
                values = tensor.detach().cpu().numpy()
                tensors[f"shapes/{label}/{name}"] = np.ascontiguousarray(values)
        for kind, weights in self.networks.items():
            tensors.update({f"networks/{kind}/{name}": w for name, w in weights.items()})
        metadata = {"format": _FORMAT, "result": json.dumps(self._description())}
        write_tensors(Path(path), tensors, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a result that `save` wrote.

        Raises
        ------
        FileError
            If the file is missing, damaged or was not written by `save`.
        """
        tensors, description = _read(Path(path))
        try:
            return cls._built(tensors, description)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FileError(
                f"'{path}' holds no complete fit result ({type(error).__name__}: {error}). It is "
                "damaged or was edited; fit again and save it anew."
            ) from error

    @classmethod
    def _built(cls, tensors: dict[str, NDArray[Any]], description: dict[str, Any]) -> Self:
        """Put a result together from what was read."""
        return cls(
            labels=tensors["labels"],
            shapes=_shapes(description["shapes"], tensors),
            certificates={int(k): Certificate(**c) for k, c in description["certificates"].items()},
            evidence=tensors.get("evidence"),
            history=description["history"],
            spacing=tuple(description["spacing"]),
            report=_report(description["report"]),
            networks=_networks(tensors),
        )

    def _description(self) -> dict[str, Any]:
        """Everything but the arrays, as JSON values."""
        return {
            "shapes": {str(k): s.description() for k, s in self.shapes.items()},
            "certificates": {str(k): asdict(c) for k, c in self.certificates.items()},
            "history": dict(self.history),
            "spacing": list(self.spacing),
            "report": asdict(self.report),
        }


class Preview(Protocol):
    """Callback that hears of results on the way, from the thread the fit runs in."""

    def __call__(self, result: FitResult, /) -> None:
        """Take a result of which nothing is promised yet: it has no certificates."""


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and description of a saved result."""
    tensors, metadata = read_tensors(path, wanted="a fit result")
    if metadata.get("format") != _FORMAT:
        raise FileError(
            f"'{path}' is not a fit result of this package ({_FORMAT}). "
            "Give a file that FitResult.save or --save-result wrote."
        )
    try:
        return tensors, json.loads(metadata["result"])
    except (KeyError, ValueError) as error:
        raise FileError(
            f"'{path}' cannot be read as a fit result: {error}. It is damaged; fit again and "
            "save it anew."
        ) from error


def _shapes(
    descriptions: dict[str, Any], tensors: dict[str, NDArray[Any]]
) -> dict[int, ImplicitShape]:
    """Build the shapes from their descriptions and arrays."""
    import torch

    from napari_implicitseg.shapes import build_shape

    out = {}
    for label, description in descriptions.items():
        prefix = f"shapes/{label}/"
        own = {
            name.removeprefix(prefix): torch.from_numpy(values.copy())
            for name, values in tensors.items()
            if name.startswith(prefix)
        }
        out[int(label)] = build_shape(description, own)
    return out


def _networks(tensors: dict[str, NDArray[Any]]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Weights of networks by kind."""
    out: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name, values in tensors.items():
        if name.startswith("networks/"):
            _, kind, weight = name.split("/")
            out.setdefault(kind, {})[weight] = values
    return out


def _report(values: dict[str, Any]) -> FitReport:
    """Report from its JSON values."""
    strokes = (
        UnsatisfiedStroke(**{**stroke, "position": tuple(stroke["position"])})
        for stroke in values["unsatisfied"]
    )
    return FitReport(
        **{
            **values,
            "unsatisfied": tuple(strokes),
            "warnings": tuple(values["warnings"]),
            "strokes": {int(k): int(n) for k, n in values.get("strokes", {}).items()},
            "looks": {int(k): _look(v) for k, v in values.get("looks", {}).items()},
            "agreement": {int(k): float(v) for k, v in values.get("agreement", {}).items()},
            "unchanged": tuple(values.get("unchanged", ())),
        }
    )


def _look(values: dict[str, Any]) -> Look:
    """Look from its JSON values."""
    return Look(tuple(values["start"]), tuple(values["stop"]), float(values["level"]))
