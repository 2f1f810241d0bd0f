"""Steps before and after a network that descriptions of the BioImage.IO name.

All figures a step needs, such as percentiles, are measured on the image as it is
before the first step: `bioimageio.core`, by which authors test their packages, does
the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_implicitseg.errors import FileError

__all__ = ["Apply", "Step", "fit_steps", "read_steps"]

Apply: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
"""From (C, *S) to (C, *S)."""

_MEASURED = ("scale_range", "zero_mean_unit_variance")
_KNOWN = (
    "binarize",
    "clip",
    "ensure_dtype",
    "fixed_zero_mean_unit_variance",
    "scale_linear",
    "scale_range",
    "sigmoid",
    "softmax",
    "zero_mean_unit_variance",
)
_DTYPES = (
    *("float16", "float32", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_EPSILON = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes
    ----------
    kind : str
        Its name in the format.
    options : mapping
        Its `kwargs`.
    """

    kind: str
    options: Mapping[str, Any]

    @property
    def is_measured(self) -> bool:
        """Whether it needs figures of the image."""
        percentiles = ("min_percentile", "max_percentile")
        clips = self.kind == "clip" and any(self.options.get(p) is not None for p in percentiles)
        return self.kind in _MEASURED or clips

    @property
    def over_all(self) -> bool:
        """Whether these figures are of all images together, not of each."""
        axes = self.options.get("axes")
        return self.is_measured and (axes is None or "batch" in axes)


def read_steps(
    described: Sequence[Mapping[str, Any]],
    *,
    tensor: str,
    axes: Sequence[str],
    measured: bool,
    source: str,
) -> tuple[Step, ...]:
    """Read the steps of a tensor.

    Parameters
    ----------
    described : sequence of mapping
        With "id" and "kwargs", as the format has them.
    tensor : str
        Name of the tensor.
    axes : sequence of str
        Its spatial axes.
    measured : bool
        Whether steps may measure the tensor.
    source : str
        The package, for messages.

    Raises
    ------
    FileError
        If a step is not known here, runs the package's own code, or measures what
        cannot be measured.
    """
    steps = []
    for one in described:
        step = Step(kind=str(one.get("id")), options=dict(one.get("kwargs") or {}))
        _check(step, tensor, axes, measured, source)
        steps.append(step)
    return tuple(steps)


def _check(step: Step, tensor: str, axes: Sequence[str], measured: bool, source: str) -> None:
    """Refuse a step that cannot be taken."""
    options, problem = step.options, ""
    if step.kind not in _KNOWN:
        problem = "is not one that is known here"
        if step.kind == "custom":
            problem = "runs Python code of the package, which is not done"
    elif step.is_measured and not measured:
        problem = "measures the whole output of the network, which is not done"
    elif step.is_measured and not set(axes) <= set(options.get("axes") or axes):
        problem = f"measures axes {options['axes']}; needed are all of {tuple(axes)}"
    elif options.get("reference_tensor") not in (None, tensor):
        problem = f"measures another tensor, {options['reference_tensor']!r}"
    elif options.get("axis") not in (None, "channel"):
        problem = f"goes along the axis {options['axis']!r}; needed is 'channel'"
    elif step.kind == "ensure_dtype" and options.get("dtype") not in _DTYPES:
        problem = f"asks for the type {options.get('dtype')!r}"
    if problem:
        raise FileError(
            f"'{source}': the step {step.kind!r} of the tensor {tensor!r} {problem}. Run this "
            "model by bioimageio.core, and read the affinities it gives."
        )


def fit_steps(
    steps: Sequence[Step],
    samples: Sequence[NDArray[Any]] = (),
    over_all: Sequence[NDArray[Any]] = (),
) -> Apply:
    """Measure an image, and return what takes all steps.

    Parameters
    ----------
    steps : sequence of Step
    samples, over_all : sequence of ndarray
        Values of each channel, as many as make its percentiles known, of the image and
        of all images; none if no step measures.

    Returns
    -------
    callable
        From an array (C, *S) to another.
    """
    fitted = [_FITS[s.kind](s.options, over_all if s.over_all else samples) for s in steps]

    def apply(values: NDArray[Any]) -> NDArray[Any]:
        for one in fitted:
            values = one(values)
        return values

    return apply


def _column(values: Any, ndim: int) -> Any:
    """One number, or one for each channel of (C, *S)."""
    found = np.asarray(values, np.float64)
    if found.size == 1:
        return np.float32(found.item())
    return found.astype(np.float32).reshape(-1, *(1,) * (ndim - 1))


def _measured(
    options: Mapping[str, Any],
    samples: Sequence[NDArray[Any]],
    measure: Callable[[NDArray[Any]], float],
) -> list[float]:
    """Measure each channel, or all together."""
    axes = options.get("axes")
    if axes is None or "channel" in axes:
        return [measure(np.concatenate(samples))]
    return [measure(sample) for sample in samples]


def _percentiles(
    options: Mapping[str, Any], samples: Sequence[NDArray[Any]], share: float, method: str
) -> list[float]:
    """Measure a percentile of each channel, or of all together."""

    def measure(values: NDArray[Any]) -> float:
        return float(np.percentile(values, share, method=method))  # type: ignore[call-overload]

    return _measured(options, samples, measure)


def _linear(offset: Any, scale: Any) -> Apply:
    """Make (values - offset) / scale."""

    def apply(values: NDArray[Any]) -> NDArray[Any]:
        low, size = _column(offset, values.ndim), _column(scale, values.ndim)
        return np.asarray((values.astype(np.float32) - low) / size)

    return apply


def _scale_range(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    low = _percentiles(options, samples, options.get("min_percentile", 0.0), "linear")
    high = _percentiles(options, samples, options.get("max_percentile", 100.0), "linear")
    return _linear(low, np.subtract(high, low) + options.get("eps", _EPSILON))


def _zero_mean(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    mean = _measured(options, samples, lambda v: float(v.mean(dtype=np.float64)))
    spread = _measured(options, samples, lambda v: float(v.std(dtype=np.float64)))
    return _linear(mean, np.add(spread, options.get("eps", _EPSILON)))


def _fixed_zero_mean(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    return _linear(options["mean"], np.add(options["std"], _EPSILON))


def _scale_linear(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    gain, offset = options.get("gain", 1.0), options.get("offset", 0.0)

    def apply(values: NDArray[Any]) -> NDArray[Any]:
        scaled = values.astype(np.float32) * _column(gain, values.ndim)
        return np.asarray(scaled + _column(offset, values.ndim))

    return apply


def _clip(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    bounds: list[Any] = []
    for name in ("min", "max"):
        share, bound = options.get(f"{name}_percentile"), options.get(name)
        if share is not None:
            # The bound is a value of the image, as in bioimageio.core.
            bound = _percentiles(options, samples, share, "inverted_cdf")
        bounds.append(bound)

    def apply(values: NDArray[Any]) -> NDArray[Any]:
        low, high = (None if b is None else _column(b, values.ndim) for b in bounds)
        return np.asarray(np.clip(values, low, high))

    return apply


def _binarize(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    return lambda values: values > _column(options["threshold"], values.ndim)


def _ensure_dtype(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    return lambda values: values.astype(np.dtype(options["dtype"]), copy=False)


def _sigmoid(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    # By tanh, which does not overflow.
    return lambda values: np.asarray(0.5 + 0.5 * np.tanh(0.5 * values.astype(np.float32)))


def _softmax(options: Mapping[str, Any], samples: Sequence[NDArray[Any]]) -> Apply:
    def apply(values: NDArray[Any]) -> NDArray[Any]:
        powers = np.exp(values.astype(np.float32) - values.max(axis=0, keepdims=True))
        return np.asarray(powers / powers.sum(axis=0, keepdims=True))

    return apply


_FITS: Mapping[str, Callable[[Mapping[str, Any], Sequence[NDArray[Any]]], Apply]] = {
    "binarize": _binarize,
    "clip": _clip,
    "ensure_dtype": _ensure_dtype,
    "fixed_zero_mean_unit_variance": _fixed_zero_mean,
    "scale_linear": _scale_linear,
    "scale_range": _scale_range,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "zero_mean_unit_variance": _zero_mean,
}
