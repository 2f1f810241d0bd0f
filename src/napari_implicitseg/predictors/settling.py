"""Evidence that agrees with its neighbourhood, but for the edges of the image.

Single cells that look like the object are not the object. A convex shape
passes over them; shapes that can bend would follow them. So the evidence is
smoothed across cells that look alike, and not across edges.

References
----------
Grady 2005, "Multilabel random walks: image segmentation using prior models".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["settle"]

# Weight of a step between neighbours against a cell's own evidence, and how steeply it falls
# with the step of the features, in units of the mean one.
_STIFFNESS = 30.0
_EDGE = 0.7
_LEAST_LINK = 1e-3
_LEAST_TRUST = 0.02
_TOLERANCE = 1e-3
_MOST_STEPS = 200


def settle(
    probability: NDArray[np.float32],
    features: NDArray[np.float32],
    pitch: Sequence[float],
) -> NDArray[np.float32]:
    """Smooth a probability along what looks alike.

    Minimises ``sum_i |2 p_i - 1| (u_i - sign(2 p_i - 1))^2 + stiffness *
    sum_ij w_ij (u_i - u_j)^2`` over grid neighbours i, j with
    ``w_ij = exp(-edge |f_i - f_j|^2 / mean)``, by conjugate gradients.

    Parameters
    ----------
    probability : ndarray of float32, shape (*S)
    features : ndarray of float32, shape (F, *S)
    pitch : sequence of float
        Cell size per axis; closer neighbours are tied more.

    Returns
    -------
    ndarray of float32, shape (*S)
        ``(u + 1) / 2``.
    """
    if probability.size < 2:
        return probability
    from scipy import sparse
    from scipy.sparse.linalg import cg

    count = probability.size
    index = np.arange(count).reshape(probability.shape)
    steps = [np.square(np.diff(features, axis=a + 1)).sum(0) for a in range(probability.ndim)]
    mean = max(float(np.mean(np.concatenate([s.ravel() for s in steps]))), 1e-12)
    links = sparse.csr_matrix((count, count))
    for axis, step in enumerate(steps):
        weight = np.exp(-_EDGE * step / mean) + _LEAST_LINK
        weight *= (min(pitch) / pitch[axis]) ** 2
        first = np.delete(index, -1, axis).ravel()
        second = np.delete(index, 0, axis).ravel()
        links = links + sparse.csr_matrix((weight.ravel(), (first, second)), (count, count))
    links = _STIFFNESS * (links + links.T)
    odds = (2 * probability - 1).ravel().astype(np.float64)
    trust = np.abs(odds) + _LEAST_TRUST
    diagonal = np.asarray(links.sum(axis=1)).ravel() + trust
    matrix = sparse.diags(diagonal) - links
    settled, _ = cg(
        matrix,
        trust * np.sign(odds),
        x0=odds,
        rtol=_TOLERANCE,
        maxiter=_MOST_STEPS,
        M=sparse.diags(1 / diagonal),
    )
    return np.asarray(np.clip((settled.reshape(probability.shape) + 1) / 2, 0, 1), dtype=np.float32)
