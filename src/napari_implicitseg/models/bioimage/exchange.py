"""Networks in formats that other programs run: ONNX and TorchScript.

Both take grey levels that are normalised and give probabilities. They know only
inputs whose sides are multiples of the network's stride, but any number of those.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import ModelProto
    from torch import Tensor

    from napari_implicitseg.predictors.architectures import Network

__all__ = ["OPSET", "Probabilities", "to_onnx", "to_torchscript"]

OPSET = 18
"""Version of the ONNX operators."""

# The oldest version of the file format with these operators: old runtimes read it too.
_IR_VERSION = 8
_ORIGIN = (1980, 1, 1, 0, 0, 0)


class Probabilities(nn.Module):
    """A network and the sigmoid after it, without auxiliary outputs.

    Parameters
    ----------
    network : CNN or UNet
        From grey levels to logits.
    channels : int
        How many of its outputs are wanted, from the first.

    Notes
    -----
    The copy that is made lies on the CPU, in evaluation mode, its norms folded into
    its convolutions.
    """

    def __init__(self, network: Network, channels: int) -> None:
        super().__init__()
        self.network = network.folded().to("cpu", torch.float32).requires_grad_(False)
        self.channels = channels
        self.eval()

    def forward(self, raw: Tensor) -> Tensor:
        """Predict (B, channels, *S), 0 to 1, from (B, C, *S)."""
        return torch.sigmoid(self.network(raw)[:, : self.channels])

    def example(self) -> Tensor:
        """Make an input, two samples of two cells along each axis."""
        config = self.network.config
        shape = (2, config.in_channels, *(2 * stride for stride in config.stride))
        return torch.zeros(shape)


def to_onnx(module: Probabilities) -> bytes:
    """Convert a network to ONNX.

    Parameters
    ----------
    module : Probabilities

    Returns
    -------
    bytes
        A model with the input "raw" and the output "affinities"; batch and spatial
        sizes are free. It is the same each time and says nothing of the machine it was
        made on.

    Raises
    ------
    InputError
        If the extra "bioimageio" is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            "Packages of the BioImage.IO are made with onnx and onnxscript, which are not "
            'installed. Run: pip install "napari-implicitseg[bioimageio]"'
        ) from error
    sizes = {0: torch.export.Dim("batch", min=1)}
    for axis, stride in enumerate(module.network.config.stride, start=2):
        cells = torch.export.Dim(f"cells_{axis}", min=1)
        sizes[axis] = stride * cells if stride > 1 else cells
    with _quiet():
        program = torch.onnx.export(
            module,
            (module.example(),),
            dynamo=True,
            dynamic_shapes=(sizes,),
            input_names=["raw"],
            output_names=["affinities"],
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _strip(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def to_torchscript(module: Probabilities) -> bytes:
    """Convert a network to TorchScript.

    Torch calls the format deprecated; deepImageJ and ilastik run it.

    Parameters
    ----------
    module : Probabilities

    Returns
    -------
    bytes
        What `torch.jit.load` reads.
    """
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(module, module.example(), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(torch.jit.freeze(traced), buffer)
    return _without_paths(buffer)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warnings that torch addresses to itself from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _strip(proto: ModelProto) -> None:
    """Take out what exporters note down for debugging, among it paths of source files."""
    proto.ir_version = _IR_VERSION
    proto.producer_version = ""
    graph = proto.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    for part in (proto, graph, *graph.node, *graph.initializer, *values):
        part.doc_string = ""
        del part.metadata_props[:]


def _without_paths(archive: io.BytesIO) -> bytes:
    """Take the tables that lead back to lines of source files out of TorchScript."""
    out = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(zipfile.ZipInfo(entry.filename, _ORIGIN), source.read(entry))
    return out.getvalue()
