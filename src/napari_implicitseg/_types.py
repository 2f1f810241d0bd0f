"""Names of types shared by all modules."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoolArray", "FloatArray", "IntArray", "LabelArray", "Progress", "TimeChoice"]

BoolArray: TypeAlias = NDArray[np.bool_]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
IntArray: TypeAlias = NDArray[np.integer[Any]]
LabelArray: TypeAlias = NDArray[np.uint32]


class Progress(Protocol):
    """Callback that hears how far a job has come and may stop it.

    It is called from the thread the job runs in. To cancel the job, raise
    `napari_implicitseg.errors.Cancelled` from it.
    """

    def __call__(self, fraction: float, message: str, /) -> None:
        """Report progress.

        Parameters
        ----------
        fraction : float
            Share of the work done, 0 to 1.
        message : str
            What is being done now, for a person to read.
        """


TimeChoice: TypeAlias = int | Literal["all"] | None
"""Time point to take of a file; `"all"` keeps time as an axis, None takes the only one."""
