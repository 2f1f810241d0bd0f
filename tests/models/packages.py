"""Packages of the BioImage.IO as other programs write them, small and quick to make."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHARP = 0.02
"""Slope of the sigmoid of `network`."""


def kernel(ndim: int, outputs: int, side: int = 3) -> NDArray[np.float32]:
    """Return weights (outputs, 1, *K) without any symmetry."""
    rng = np.random.default_rng(ndim)
    return rng.normal(0, SHARP, (outputs, 1, *(side,) * ndim)).astype(np.float32)


def network(weights: NDArray[np.float32], *, pad: bool = True, sigmoid: bool = True) -> bytes:
    """Return ONNX of one convolution and a sigmoid."""
    ndim = weights.ndim - 2
    pads = [weights.shape[-1] // 2 if pad else 0] * (2 * ndim)
    last = "made" if sigmoid else "affinities"
    nodes = [
        helper.make_node("Conv", ["raw", "w"], [last], pads=pads),
        *([helper.make_node("Sigmoid", ["made"], ["affinities"])] if sigmoid else []),
    ]
    free = [f"n{axis}" for axis in range(ndim)]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, ["b", weights.shape[1], *free])],
        [helper.make_tensor_value_info("affinities", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w")],
    )
    return finished(graph)


def finished(graph: onnx.GraphProto) -> bytes:
    """Return a model of a graph, as a file has it."""
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def description(
    onnx_model: bytes | None = None, *, ndim: int = 2, channels: int = 1, **changes: Any
) -> dict[str, Any]:
    """Describe `network`, which needs a halo of 1."""
    space = [{"type": "space", "id": axis} for axis in "zyx"[3 - ndim :]]
    given = [{**axis, "size": {"min": 8, "step": 2}} for axis in space]
    made = [
        {**axis, "size": {"tensor_id": "raw", "axis_id": axis["id"]}, "halo": 1} for axis in space
    ]
    names = [f"channel{i}" for i in range(channels)]
    content = {
        "format_version": "0.5.3",
        "type": "model",
        "name": "theirs",
        "description": "Made for a test.",
        "authors": [{"name": "Somebody"}],
        "license": "MIT",
        "cite": [{"text": "A paper", "doi": "10.1000/182"}],
        "timestamp": "2024-05-06T07:08:09",
        "inputs": [
            {
                "id": "raw",
                "axes": [{"type": "batch"}, channel(["raw"]), *given],
                "data": {"type": "float32"},
                "preprocessing": [],
            }
        ],
        "outputs": [
            {
                "id": "affinities",
                "axes": [{"type": "batch"}, channel(names), *made],
                "data": {"type": "float32"},
                "postprocessing": [],
            }
        ],
        "weights": {},
    }
    if onnx_model is not None:
        digest = hashlib.sha256(onnx_model).hexdigest()
        content["weights"] = {
            "onnx": {"source": "weights.onnx", "sha256": digest, "opset_version": 17}
        }
    return {**content, **changes}


def channel(names: list[str]) -> dict[str, Any]:
    """Describe an axis of channels."""
    return {"type": "channel", "channel_names": names}


def write(path: Path, content: dict[str, Any], files: dict[str, bytes]) -> Path:
    """Write a package as a zip archive, or as a folder."""
    text = yaml.safe_dump(content, sort_keys=False).encode()
    everything = {"rdf.yaml": text, **files}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in everything.items():
                archive.writestr(name, data)
        return path
    path.mkdir()
    for name, data in everything.items():
        (path / name).write_bytes(data)
    return path


def boundary_package(path: Path, ndim: int = 2, **changes: Any) -> Path:
    """Write a package of `network` with one output."""
    model = network(kernel(ndim, 1))
    return write(path, description(model, ndim=ndim, **changes), {"weights.onnx": model})


def affinity_package(path: Path, ndim: int = 3, channels: int = 3, **changes: Any) -> Path:
    """Write a package of `network` with several outputs."""
    model = network(kernel(ndim, channels))
    content = description(model, ndim=ndim, channels=channels, **changes)
    return write(path, content, {"weights.onnx": model})
