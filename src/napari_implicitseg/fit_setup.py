"""What a fit of one image is given: options, an earlier fit, and who hears how far it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.config import OUTLINES
from napari_implicitseg.fitting.sequential import Earlier

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.scribbles import Samples

__all__ = ["FitOptions", "Start", "Ticker", "count_strokes", "fit_digest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What a fit needs besides the image and the strokes.

    Attributes
    ----------
    shape : str
        Family of shapes.
    source : str
        One of `config.EVIDENCE`, "given" for a probability map, "labels" for a layer
        of labels.
    layer : array or None
        The labels.
    coupling : str
    spacing : tuple of float
    config : FitConfig
    seed : int
    device : torch.device
    """

    shape: str
    source: str
    layer: Any = field(default=None, repr=False)
    coupling: str
    spacing: tuple[float, ...]
    config: FitConfig
    seed: int
    device: torch.device


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a fit takes over from an earlier one.

    Attributes
    ----------
    objects : mapping of int to Earlier
    weights : mapping of str to float or None
        Blend of the evidence; found anew if None.
    networks : mapping of str to mapping
        Weights of the networks by kind.
    """

    objects: Mapping[int, Earlier] = field(default_factory=dict)
    weights: Mapping[str, float] | None = None
    networks: Mapping[str, Mapping[str, NDArray[np.float32]]] = field(default_factory=dict)

    @classmethod
    def of(cls, earlier: FitResult | None, samples: Samples, source: str) -> Start:
        """Start from an earlier fit of the same image, unless it would lead astray.

        A fit that could not satisfy its strokes, or one with strokes that were
        erased since, has learned from what was wrong.
        """
        if earlier is None:
            return cls()
        now = count_strokes(samples)
        erased = any(now.get(label, 0) < n for label, n in earlier.report.strokes.items())
        if erased or earlier.report.unsatisfied:
            # What outlines are answered by knows the image, and nothing of the strokes.
            known = earlier.networks.get(OUTLINES)
            return cls(networks={OUTLINES: known} if known else {})
        weights = dict(earlier.report.evidence_weights)
        weighed = source == "auto" and set(weights) == {"histogram", "geodesic"}
        looks = earlier.report.looks
        objects = {k: Earlier(s, looks[k]) for k, s in earlier.shapes.items() if k in looks}
        return cls(objects=objects, weights=weights if weighed else None, networks=earlier.networks)


class Ticker:
    """Reports progress towards an end whose distance is only guessed."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._ticks = 0

    def __call__(self, message: str = "Fitting shapes") -> None:
        """Report one more step; the callback may raise to cancel."""
        self._ticks += 1
        self._report(message)

    def stay(self) -> None:
        """Report that one of many small steps is done; the callback may raise to cancel."""
        self._report("Looking at the objects")

    def _report(self, message: str) -> None:
        """Tell the callback how far the fit has come."""
        if self._progress is not None:
            self._progress(1 - 1 / (1 + self._ticks / 20), message)


def count_strokes(samples: Samples) -> dict[int, int]:
    """Count the voxels painted with each label."""
    labels, counts = np.unique(samples.ids, return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def fit_digest(samples: Samples, options: FitOptions) -> str:
    """Tell the strokes and options of one fit from those of another."""
    parts = samples.coords.tobytes(), samples.ids.tobytes(), repr(options).encode()
    return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
