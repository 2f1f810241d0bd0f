"""The peers: random walker, GrabCut and graph cut, from the same strokes.

GrabCut and graph cut are taken in their fair version: only the components that
the object's strokes touch, with holes filled. For several objects they run once
per object, the strokes of all others being background.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import cv2
import maxflow
import numpy as np
from scipy import ndimage
from skimage.segmentation import random_walker

from napari_implicitseg.predictors.histogram import ColourModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_implicitseg.reproduction.cases import Case

__all__ = ["colour_evidence", "fair", "grab_cut", "graph_cut", "walker"]

_HARD = 1e6
# Weight of the edges against the evidence, chosen as the best of 0.5, 1, 2, 4, 8 over the sets.
_SMOOTHNESS = 2.0


def fair(mask: NDArray[np.bool_], strokes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Components of a mask that the strokes touch, holes filled."""
    labels, _ = ndimage.label(mask | strokes)
    touched = np.unique(labels[strokes])
    return ndimage.binary_fill_holes(np.isin(labels, touched[touched > 0]))


def _scaled(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Image as (Y, X, C) between 0 and 1, by its 0.5 and 99.5 percentiles."""
    values = image.astype(np.float32)
    values = values[..., None] if values.ndim == 2 else values
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)


def walker(case: Case) -> NDArray[np.int32]:
    """Random walker (Grady 2006) of scikit-image, all labels at once."""
    image = _scaled(case.image)
    with warnings.catch_warnings():
        # Its probabilities overshoot a little at this tolerance; the labels are the same.
        warnings.simplefilter("ignore", UserWarning)
        labels = random_walker(
            image, case.scribbles, beta=130, mode="cg_j", tol=1e-3, channel_axis=-1
        )
    out = np.zeros(labels.shape, np.int32)
    for label in np.unique(case.scribbles)[2:]:
        out[fair(labels == label, case.scribbles == label)] = label
    return out


def grab_cut(case: Case) -> NDArray[np.int32]:
    """GrabCut (Rother et al. 2004) of OpenCV, 5 iterations, unlabelled pixels open."""
    image = (_scaled(case.image) * 255).astype(np.uint8)
    image = np.ascontiguousarray(np.broadcast_to(image[..., :3], (*image.shape[:2], 3)))
    out = np.zeros(case.scribbles.shape, np.int32)
    for label in np.unique(case.scribbles)[2:]:
        own = case.scribbles == label
        mask = np.full(own.shape, cv2.GC_PR_BGD, np.uint8)
        mask[case.scribbles > 0] = cv2.GC_BGD
        mask[own] = cv2.GC_FGD
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(image, mask, None, *models, 5, cv2.GC_INIT_WITH_MASK)
        out[fair((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD), own)] = label
    return out


def colour_evidence(case: Case) -> NDArray[np.float32]:
    """Probability of object by smoothed histograms of the stroke colours, as people take them."""
    channels = np.moveaxis(_scaled(case.image), -1, 0)
    model = ColourModel.fit(channels[:, case.scribbles > 1], channels[:, case.scribbles == 1])
    return model.predict(channels)


def graph_cut(
    case: Case, evidence: NDArray[np.float32], levels: Mapping[int, float] | None = None
) -> NDArray[np.int32]:
    """Graph cut (Boykov and Jolly 2001) on given evidence, by PyMaxflow.

    `levels` are log odds to take off the evidence, per object.
    """
    image = _scaled(case.image)
    odds = np.log(np.clip(evidence, 0.01, 0.99) / (1 - np.clip(evidence, 0.01, 0.99)))
    steps = [((np.diff(image, axis=a)) ** 2).sum(-1) for a in (0, 1)]
    beta = 1 / (2 * max(float(np.mean(np.concatenate([s.ravel() for s in steps]))), 1e-9))
    out = np.zeros(case.scribbles.shape, np.int32)
    for label in np.unique(case.scribbles)[2:]:
        own = case.scribbles == label
        graph = maxflow.Graph[float]()
        nodes = graph.add_grid_nodes(own.shape)
        for axis, step in enumerate(steps):
            weights = np.zeros(own.shape)
            weights[tuple(slice(0, n) for n in step.shape)] = _SMOOTHNESS * np.exp(-beta * step)
            structure = np.zeros((3, 3))
            structure[(2, 1) if axis == 0 else (1, 2)] = 1
            graph.add_grid_edges(nodes, weights, structure, symmetric=True)
        own_odds = odds - (levels or {}).get(label, 0.0)
        source, sink = np.maximum(own_odds, 0), np.maximum(-own_odds, 0)
        source[own], sink[(case.scribbles > 0) & ~own] = _HARD, _HARD
        graph.add_grid_tedges(nodes, source, sink)
        graph.maxflow()
        out[fair(~graph.get_grid_segments(nodes), own)] = label
    return out
