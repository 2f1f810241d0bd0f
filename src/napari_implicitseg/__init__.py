"""Shape-guaranteed segmentation from scribbles, for napari, Python and the shell.

The functions live in `napari_implicitseg.api` and are re-exported lazily:
importing the package imports neither torch, napari nor Qt.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version as _version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_implicitseg.api import (
        Affinities,
        AffinityModel,
        BatchConfig,
        BatchReport,
        Cancelled,
        Certificate,
        Evaluation,
        FitConfig,
        FitReport,
        FitResult,
        Hierarchy,
        ImplicitSegError,
        MalisCounts,
        SemanticConfig,
        SemanticModel,
        TrainConfig,
        TrainingVolume,
        UnsatisfiedStroke,
        build_hierarchy,
        certify,
        convert,
        embed_image,
        evaluate,
        evaluate_semantic,
        fit_scribbles,
        labels_to_affinities,
        load_model,
        malis_loss,
        malis_pair_counts,
        predict_affinities,
        project_labels,
        run_batch,
        segment_affinities,
        train_affinities,
        train_semantic,
    )

__all__ = [
    "Affinities",
    "AffinityModel",
    "BatchConfig",
    "BatchReport",
    "Cancelled",
    "Certificate",
    "Evaluation",
    "FitConfig",
    "FitReport",
    "FitResult",
    "Hierarchy",
    "ImplicitSegError",
    "MalisCounts",
    "SemanticConfig",
    "SemanticModel",
    "TrainConfig",
    "TrainingVolume",
    "UnsatisfiedStroke",
    "build_hierarchy",
    "certify",
    "convert",
    "embed_image",
    "evaluate",
    "evaluate_semantic",
    "fit_scribbles",
    "labels_to_affinities",
    "load_model",
    "malis_loss",
    "malis_pair_counts",
    "predict_affinities",
    "project_labels",
    "run_batch",
    "segment_affinities",
    "train_affinities",
    "train_semantic",
]

__version__ = _version("napari-implicitseg")


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module("napari_implicitseg.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
