"""Options of the fits, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_implicitseg.errors import InputError

__all__ = ["FitConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How a shape is fitted to evidence.

    Attributes
    ----------
    model : {"polytope", "icnn"}
        `polytope` is a log-sum-exp of planes fitted by Gauss-Newton, for live
        use; `icnn` is an input-convex network fitted by gradient descent.
    per_slice : bool
        Fit every slice along the first axis on its own, in 2D, instead of one
        body in 3D. Only slices with object scribbles are fitted.
    planes : int or None
        Number of planes of the polytope; None takes 16 in 2D and 40 in 3D.
    layers, width : int
        Hidden layers and units per layer of the input-convex network.
    steps : int
        Gradient steps of the input-convex network.
    learning_rate : float
        Peak learning rate of the input-convex network.
    """

    model: Literal["polytope", "icnn"] = "polytope"
    per_slice: bool = False
    planes: int | None = None
    layers: int = 3
    width: int = 32
    steps: int = 120
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        """Refuse values no fit can work with."""
        if self.model not in ("polytope", "icnn"):
            raise InputError(f"model is {self.model!r}; use 'polytope' or 'icnn'.")
        if self.planes is not None and self.planes < 4:
            raise InputError(f"planes is {self.planes}; a bounded shape needs at least 4.")
        for name in ("layers", "width", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; use at least 1.")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}; use a positive number.")
