"""Options of the fits, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from napari_implicitseg.errors import InputError

__all__ = ["COUPLINGS", "EVIDENCE", "FEATURES", "NETWORKS", "OUTLINES", "FitConfig"]

NETWORKS = ("pixel", "cnn", "teacher")
"""Networks that are trained on strokes."""
OUTLINES = "upsampler"
"""The evidence whose strokes are sloppy outlines."""
EVIDENCE = ("auto", "histogram", "geodesic", *NETWORKS, OUTLINES, "none")
"""Where the evidence of a fit may come from."""
FEATURES: Final = ("colour", "multiscale", "position")
"""What networks are told of a voxel, besides an embedding."""
COUPLINGS = ("sequential", "joint")
"""How evidence and shape are fitted."""

_CHOICES = {
    "model": ("polytope", "icnn"),
    "flow": ("lattice", "realnvp"),
    "symmetric_family": ("convex", "connected", "star", "free"),
    "symmetry": ("mirror", "rotation"),
    "schedule": ("default", "path-connectedness"),
    "upsampler": ("encoder-decoder", "original"),
    "upsampler_scale": (4, 8, 16),
}
_LEAST = {"planes": 4, "layers": 1, "width": 1, "steps": 1, "upsampler_steps": 1}
_OPTIONAL = ("planes", "steps", "upsampler_steps")
_LEAST_ORDER = {"mirror": 1, "rotation": 2}
_MOST_ORDER = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """How a shape is fitted to evidence.

    Attributes
    ----------
    model : {"polytope", "icnn"}
        Of convex shapes: `polytope` is a log-sum-exp of planes fitted by
        Gauss-Newton, for live use; `icnn` is an input-convex network fitted by
        gradient descent.
    per_slice : bool
        Fit every slice along the first axis on its own, in 2D, instead of one
        body in 3D. Only slices with object scribbles are fitted.
    planes : int or None
        Number of planes of the polytope; None takes 16 in 2D and 40 in 3D.
    layers, width : int
        Hidden layers and units per layer of the input-convex network.
    steps : int or None
        Gradient steps of what is fitted by gradient descent; None takes 120 for
        the input-convex network and star-shaped sets, 440 for connected ones, 200
        for symmetric and free ones; fewer for many objects but for the network.
    learning_rate : float
        Peak learning rate of the input-convex network.
    flow : {"lattice", "realnvp"}
        Of connected shapes: `lattice` maps the box of the object onto itself, so
        the mask is one piece inside it; `realnvp` acts on the whole space, as in
        the paper on path-connectedness, and may fall into pieces.
    symmetric_family : {"convex", "connected", "star", "free"}
        Of symmetric shapes: what is made symmetric.
    symmetry : {"mirror", "rotation"}
        Of symmetric shapes: the kind of symmetry.
    order : int or None
        Of symmetric shapes: number of mirrors, 1 or more, or of equal turns that
        make a full one, 2 or more. None takes the least.
    features : tuple of {"colour", "multiscale", "position"}
        Of evidence by a network: what it sees of a voxel, besides an embedding;
        `multiscale` are Gaussians, edges and the structure tensor's eigenvalues.
    upsampler : {"encoder-decoder", "original"}
        Of the evidence "upsampler": a network that sees the image and follows its
        edges, or the one first published, from 10 x 10 to 100 x 100 pixels.
    upsampler_scale : {4, 8, 16}
        Pixels per side of a cell that an outline is downscaled to; the depth of the
        encoder-decoder follows.
    upsampler_steps : int or None
        Training steps; None takes 20, of the original 300.
    schedule : {"default", "path-connectedness"}
        `path-connectedness` trains the networks of the paper of that name (convex or
        connected) by its schedule, for comparison: minutes, and no promise kept.
    teacher : bool
        Of that schedule: whether a teacher, a network per pixel, is trained on the
        strokes and guides the shape where there are none.
    """

    model: Literal["polytope", "icnn"] = "polytope"
    per_slice: bool = False
    planes: int | None = None
    layers: int = 3
    width: int = 32
    steps: int | None = None
    learning_rate: float = 0.05
    flow: Literal["lattice", "realnvp"] = "lattice"
    symmetric_family: Literal["convex", "connected", "star", "free"] = "connected"
    symmetry: Literal["mirror", "rotation"] = "mirror"
    order: int | None = None
    features: tuple[Literal["colour", "multiscale", "position"], ...] = FEATURES
    upsampler: Literal["encoder-decoder", "original"] = "encoder-decoder"
    upsampler_scale: Literal[4, 8, 16] = 8
    upsampler_steps: int | None = None
    schedule: Literal["default", "path-connectedness"] = "default"
    teacher: bool = True

    def __post_init__(self) -> None:
        """Refuse values no fit can work with."""
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if type(value) is not type(choices[0]) or value not in choices:
                listed = " or ".join(map(repr, choices))
                raise InputError(f"{name} is {value!r}; use {listed}.")
        for name in ("per_slice", "teacher"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; use True or False.")
        self._check_features()
        for name, least in _LEAST.items():
            self._check_whole(name, least)
        least = _LEAST_ORDER[self.symmetry]
        whole = isinstance(self.order, int) and not isinstance(self.order, bool)
        if self.order is not None and not (whole and least <= self.order <= _MOST_ORDER):
            raise InputError(
                f"order is {self.order!r}; a {self.symmetry} symmetry has {least} to {_MOST_ORDER}."
            )
        rate = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise InputError(f"learning_rate is {rate!r}; use a number over 0, at most 1.")

    def _check_features(self) -> None:
        """Refuse features that are not known, and none at all."""
        features = self.features
        known = isinstance(features, tuple) and all(f in FEATURES for f in features)
        if not known or not features:
            listed = ", ".join(map(repr, FEATURES))
            raise InputError(f"features is {features!r}; use a tuple of some of {listed}.")

    def _check_whole(self, name: str, least: int) -> None:
        """Refuse what is no whole number, or too small."""
        value = getattr(self, name)
        if value is None and name in _OPTIONAL:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            none = ", or None" if name in _OPTIONAL else ""
            raise InputError(f"{name} is {value!r}; use a whole number, at least {least}{none}.")

    @property
    def symmetry_order(self) -> int:
        """The order, or the least of the symmetry."""
        return self.order or _LEAST_ORDER[self.symmetry]
