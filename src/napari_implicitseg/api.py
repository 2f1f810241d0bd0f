"""The functions of the package: what Python users, the command line and the widgets call."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from napari_implicitseg.config import FitConfig, TrainConfig
from napari_implicitseg.errors import Cancelled, ImplicitSegError
from napari_implicitseg.fit_jobs import fit_scribbles, project_labels
from napari_implicitseg.predictors.backbone import embed_image
from napari_implicitseg.results import FitReport, FitResult, UnsatisfiedStroke
from napari_implicitseg.shapes.certificate import Certificate, certify

if TYPE_CHECKING:
    from napari_implicitseg.affinities.malis import MalisCounts, malis_loss, malis_pair_counts
    from napari_implicitseg.affinities.ops import Affinities, labels_to_affinities
    from napari_implicitseg.affinity_jobs import predict_affinities, train_affinities
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.pipeline import run_batch
    from napari_implicitseg.batch.report import BatchReport
    from napari_implicitseg.evaluation import Evaluation, evaluate
    from napari_implicitseg.hierarchy.building import build_hierarchy
    from napari_implicitseg.hierarchy.segmentation import segment_affinities
    from napari_implicitseg.hierarchy.tree import Hierarchy
    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.loading import load_model
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.semantic.jobs import evaluate_semantic, train_semantic
    from napari_implicitseg.semantic_config import SemanticConfig
    from napari_implicitseg.training.examples import TrainingVolume
    from napari_implicitseg.volumes.converting import convert

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

# What fits do without is imported when it is asked for.
_LAZY = {
    "Affinities": "affinities.ops",
    "AffinityModel": "models.affinity",
    "BatchConfig": "batch.config",
    "BatchReport": "batch.report",
    "Evaluation": "evaluation",
    "Hierarchy": "hierarchy.tree",
    "MalisCounts": "affinities.malis",
    "SemanticConfig": "semantic_config",
    "SemanticModel": "models.semantic",
    "TrainingVolume": "training.examples",
    "build_hierarchy": "hierarchy.building",
    "convert": "volumes.converting",
    "evaluate": "evaluation",
    "evaluate_semantic": "semantic.jobs",
    "labels_to_affinities": "affinities.ops",
    "load_model": "models.loading",
    "malis_loss": "affinities.malis",
    "malis_pair_counts": "affinities.malis",
    "predict_affinities": "affinity_jobs",
    "run_batch": "batch.pipeline",
    "segment_affinities": "hierarchy.segmentation",
    "train_affinities": "affinity_jobs",
    "train_semantic": "semantic.jobs",
}


def __getattr__(name: str) -> object:
    """Import a name on first use."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"napari_implicitseg.{_LAZY[name]}")
    value: object = getattr(module, name)
    globals()[name] = value
    return value
