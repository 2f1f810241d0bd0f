"""The whole state of a training in one file, written in one step."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from napari_implicitseg.atomic import explain
from napari_implicitseg.errors import FileError, OutputExistsError
from napari_implicitseg.tensor_files import read_tensors, write_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = [
    "CHECKPOINT",
    "Checkpoint",
    "check_folder",
    "optimizer_tensors",
    "restore_optimizer",
]

CHECKPOINT = Path("training", "checkpoint.safetensors")
"""Where it lies in the folder of a model."""

_FORMAT = "napari-implicitseg/training/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """State of a training between two steps.

    Attributes
    ----------
    step : int
        Steps that are done.
    plan : mapping
        Options and shapes, as JSON values; a training goes on only under the same.
    parts : mapping of str to mapping of str to Tensor
        "network", "average", "best", and "optimizer".
    history : list of mapping
        Figures so far.
    """

    step: int
    plan: Mapping[str, Any]
    parts: Mapping[str, Mapping[str, Tensor]]
    history: list[dict[str, Any]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Replace the file at once.

        Raises
        ------
        FileError
            If it cannot be written; the old one stays.
        """
        tensors = {
            f"{part}/{name}": tensor.detach().cpu().contiguous().numpy()
            for part, own in self.parts.items()
            for name, tensor in own.items()
        }
        about = {"step": self.step, "plan": dict(self.plan), "history": self.history}
        write_tensors(path, tensors, metadata={"format": _FORMAT, "training": json.dumps(about)})

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `write` wrote.

        Raises
        ------
        FileError
            If it is missing, damaged or another tool's.
        """
        tensors, metadata = read_tensors(path, wanted="a checkpoint")
        try:
            if metadata.get("format") != _FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {_FORMAT!r}")
            about = json.loads(metadata["training"])
            parts: dict[str, dict[str, Tensor]] = {}
            for name, values in tensors.items():
                part, _, rest = name.partition("/")
                parts.setdefault(part, {})[rest] = torch.from_numpy(values.copy())
            return cls(
                step=int(about["step"]),
                plan=about["plan"],
                parts=parts,
                history=list(about["history"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise FileError(
                f"'{path}' is no checkpoint of a training: {error}. Train anew without resuming."
            ) from error


def check_folder(out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds another training; make it where it is missing.

    Raises
    ------
    OutputExistsError
        If it holds a model and `resume` is false, or anything else.
    FileError
        If it cannot be made.
    """
    try:
        begun, finished = (out / CHECKPOINT).exists(), (out / "model.json").exists()
        if (begun or finished) and not resume:
            what = "a model" if finished else "a training that has not finished"
            raise OutputExistsError(
                f"'{out}' already holds {what}. Resume its training, or train into another folder."
            )
        if finished and not begun:
            raise OutputExistsError(
                f"'{out}' holds a model but not the checkpoint of its training, so there is "
                "nothing to resume. Train into another folder."
            )
        if not begun and out.is_dir() and {p.name for p in out.iterdir()} - {CHECKPOINT.parts[0]}:
            raise OutputExistsError(
                f"'{out}' holds other files; a model has a folder of its own. Give a new one."
            )
        (out / CHECKPOINT).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, out, "write") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """Moments of an optimiser by the names of the parameters."""
    out = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            out[f"{name}/{key}"] = torch.as_tensor(value)
    return out


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put the moments back where `optimizer_tensors` took them from."""
    parameters = dict(network.named_parameters())
    for name, tensor in tensors.items():
        owner, _, key = name.rpartition("/")
        parameter = parameters[owner]
        if key == "step":
            optimizer.state[parameter][key] = tensor
            continue
        # In the parameter's own order in memory: the fused step goes through both side by side.
        moment = torch.empty_like(parameter, requires_grad=False)
        optimizer.state[parameter][key] = moment.copy_(tensor)
