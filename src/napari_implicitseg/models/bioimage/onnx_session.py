"""Running ONNX models: their only code is operators that the runtime knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["OnnxSession", "complete_model"]

_PROVIDERS = {"cuda": "CUDAExecutionProvider"}
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


class OnnxSession:
    """A network that is ready to run.

    Parameters
    ----------
    model : bytes
        An ONNX model that is complete in itself.
    name : str
        Of the file, for messages.
    device : torch.device
        Where to compute; the CPU if the runtime that is installed knows no other.

    Raises
    ------
    FileError
        If it is no ONNX model, or of operators the runtime does not know.
    """

    def __init__(self, model: bytes, name: str, device: torch.device | str = "cpu") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # What is wrong is raised.
        wanted = (_PROVIDERS.get(torch.device(device).type), "CPUExecutionProvider")
        providers = [p for p in onnxruntime.get_available_providers() if p in wanted]
        self._name = name
        self._errors = _errors()
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=providers)
        except self._errors as error:
            raise FileError(
                f"'{name}' cannot be run: {_first_line(error)}. It is damaged, or needs a newer "
                "onnxruntime."
            ) from error
        self.inputs = [i.name for i in self._session.get_inputs()]
        self._type = _TYPES.get(self._session.get_inputs()[0].type) if self.inputs else None
        if len(self.inputs) != 1 or self._type is None:
            raise FileError(
                f"'{name}' takes {self.inputs or 'nothing'}; needed is a network of one input, "
                "an image of numbers."
            )

    def run(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        """Compute all outputs.

        Raises
        ------
        InputError
            If the network refuses the input, or memory is short.
        """
        given = np.ascontiguousarray(values, self._type)
        try:
            return [np.asarray(v) for v in self._session.run(None, {self.inputs[0]: given})]
        except self._errors as error:
            raise InputError(
                f"'{self._name}' does not run on an input of shape {given.shape}: "
                f"{_first_line(error)}. Its description may be wrong; if memory is short, give a "
                "smaller tile_shape."
            ) from error


def _errors() -> tuple[type[Exception], ...]:
    """Errors of the runtime, which have no base in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = (value for value in vars(state).values() if isinstance(value, type))
    return tuple(value for value in found if issubclass(value, Exception))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200].rstrip(".")


def complete_model(model: bytes, beside: bytes | None, name: str) -> bytes:
    """Return an ONNX model with its weights inside.

    Parameters
    ----------
    model : bytes
    beside : bytes, optional
        The file that holds its weights.
    name : str
        Of the file, for messages.

    Raises
    ------
    FileError
        If it is no ONNX model, or asks for files that are not given: the runtime would
        look for them all over the disk.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise FileError(f"'{name}' is no ONNX model, or cut off. Get the package anew.") from error
    outside = [t for t in _tensors(proto.graph) if t.data_location == onnx.TensorProto.EXTERNAL]
    if not outside:
        return model
    for tensor in outside:
        place = {entry.key: entry.value for entry in tensor.external_data}
        start = int(place.get("offset", 0))
        stop = start + int(place.get("length", 0) or len(beside or b"") - start)
        if beside is None or not 0 <= start < stop <= len(beside):
            raise FileError(
                f"'{name}' keeps weights in '{place.get('location')}', which its description does "
                "not name, or which is cut off. Get the whole package."
            )
        tensor.raw_data = beside[start:stop]
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return bytes(proto.SerializeToString())


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph and of those inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
