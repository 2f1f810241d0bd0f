"""Options of the fits, as frozen dataclasses."""

from __future__ import annotations

import contextlib
import operator
from dataclasses import dataclass
from typing import Final, Literal, get_args

from napari_implicitseg.errors import InputError

__all__ = [
    "COUPLINGS",
    "EVIDENCE",
    "FEATURES",
    "NETWORKS",
    "OUTLINES",
    "FitConfig",
    "LabelKind",
    "LossKind",
    "NetworkKind",
    "NormKind",
    "PairLoss",
    "TrainConfig",
    "ZeroMeaning",
    "checked_seed",
]

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
            _check_choice(name, getattr(self, name), choices)
        for name in ("per_slice", "teacher"):
            _check_flag(name, getattr(self, name))
        self._check_features()
        for name, least in _LEAST.items():
            _check_whole(name, getattr(self, name), least, optional=name in _OPTIONAL)
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

    @property
    def symmetry_order(self) -> int:
        """The order, or the least of the symmetry."""
        return self.order or _LEAST_ORDER[self.symmetry]


NetworkKind = Literal["unet", "cnn"]
"""Architectures that learn affinities."""
NormKind = Literal["batch", "group", "none"]
"""What may follow a convolution."""
LossKind = Literal["malis", "pairwise-malis", "cross-entropy", "dice"]
"""What is trained after a start by the cross-entropy of each edge."""
PairLoss = Literal["squared", "cross-entropy"]
"""How the maximin affinity of a pair of voxels is compared with the truth."""
LabelKind = Literal["instances", "membranes"]
"""What labels are: ids of objects, or masks of their insides."""
ZeroMeaning = Literal["unlabelled", "background"]
"""What label 0 says: nothing yet, or that there is no object."""
_Precision = Literal["auto", "float32", "bfloat16"]
_TRAIN_CHOICES = {
    "network": get_args(NetworkKind),
    "norm": get_args(NormKind),
    "loss": get_args(LossKind),
    "pair_loss": get_args(PairLoss),
    "labels": get_args(LabelKind),
    "zero": get_args(ZeroMeaning),
    "precision": get_args(_Precision),
}
_TRAIN_LEAST = {
    "depth": 1,
    "width": 1,
    "batch_size": 1,
    "steps": 1,
    "start_steps": 0,
    "validate_every": 1,
    "checkpoint_every": 1,
    "workers": 0,
}
# Name: the least and the most, and whether the least itself will do.
_TRAIN_RANGES = {
    "learning_rate": (0.0, 1.0, False),
    "weight_decay": (0.0, 1.0, True),
    "average": (0.0, 0.99999, True),
    "positive_weight": (0.0, 1.0, True),
    "start_weight": (0.0, 1e6, True),
    "border_share": (0.0, 1.0, True),
    "noise": (0.0, 10.0, True),
    "held_out": (0.0, 0.9, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How a network learns affinities.

    Attributes
    ----------
    network : {"unet", "cnn"}
        A U-Net, or the convolutional network of six layers for 2D affinities.
    ndim : {2, 3} or None
        2 takes sections as images; None takes 2 for images and for stacks whose voxels
        are more than three times as long in z as in y, else 3.
    depth, width : int
        Levels of the U-Net, and its features at full resolution; they double per level.
    widths : tuple of int or None
        Features of every level, in place of `depth` and `width`.
    norm : {"batch", "group", "none"}
        What follows a convolution.
    neighbourhood : str or tuple of tuple of int
        "direct", "direct+long-range", or offsets of edges in voxels.
    loss : {"malis", "pairwise-malis", "cross-entropy", "dice"}
        What is trained after a start by cross-entropy: MALIS in two constrained passes,
        or on sampled pairs, or losses of each edge on its own.
    start_steps : int or None
        Steps by cross-entropy before `loss`; None takes half of them.
    start_weight : float
        Weight of the cross-entropy that goes on beside `loss`.
    pair_loss : {"squared", "cross-entropy"}
        Of MALIS: what a pair costs.
    positive_weight : float
        Of MALIS: weight of the pairs inside objects, 0 to 1; that of pairs between
        objects is the rest.
    descriptors : bool
        Learn local shape descriptors beside affinities; they are not kept.
    labels : {"instances", "membranes"}
        Ids of objects, or masks of their insides, 2D components of which are objects.
    zero : {"unlabelled", "background"}
        What label 0 says. Of membrane masks it is background.
    patch_shape : tuple of int or None
        Voxels of a patch; None takes what suits the network.
    batch_size : int
        Patches per step.
    steps : int
        Training steps.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises over the first steps and falls like a cosine.
    average : float
        Decay of the moving average of the weights that is kept; 0 keeps the weights.
    border_share : float
        Share of patches about borders of objects, 0 to 1; the others lie anywhere.
    augment : bool
        Vary patches by what suits the voxel size.
    noise : float
        Largest noise that is added to patches then, in standard deviations of their values;
        more makes a network fit for noisier images than it learned from.
    held_out : float
        Share of each volume, at its end, that is not learned from but validated on.
    validate_every, checkpoint_every : int
        Steps between.
    precision : {"auto", "float32", "bfloat16"}
        Of convolutions; "auto" takes the quicker one of the device.
    compile : bool
        Use `torch.compile`.
    workers : int
        Threads that prepare patches.
    seed : int
        Makes the training repeatable.
    unit : str
        Of the volumes' voxel size, such as "nanometer".
    data, licence, attribution : str
        Of what the model is trained on, for its card.
    """

    network: NetworkKind = "unet"
    ndim: Literal[2, 3] | None = None
    depth: int = 4
    width: int = 12
    widths: tuple[int, ...] | None = None
    norm: NormKind = "batch"
    neighbourhood: str | tuple[tuple[int, ...], ...] = "direct"
    loss: LossKind = "malis"
    start_steps: int | None = None
    start_weight: float = 1.0
    pair_loss: PairLoss = "squared"
    positive_weight: float = 0.5
    descriptors: bool = False
    labels: LabelKind = "instances"
    zero: ZeroMeaning = "unlabelled"
    patch_shape: tuple[int, ...] | None = None
    batch_size: int = 1
    steps: int = 4000
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    average: float = 0.998
    border_share: float = 0.5
    augment: bool = True
    noise: float = 0.6
    held_out: float = 0.25
    validate_every: int = 500
    checkpoint_every: int = 250
    precision: _Precision = "auto"
    compile: bool = False
    workers: int = 1
    seed: int = 0
    unit: str = ""
    data: str = ""
    licence: str = ""
    attribution: str = ""

    def __post_init__(self) -> None:
        """Refuse values no training can work with."""
        for name, choices in _TRAIN_CHOICES.items():
            _check_choice(name, getattr(self, name), choices)
        if self.ndim is not None:
            _check_choice("ndim", self.ndim, (2, 3))
        for name in ("descriptors", "augment", "compile"):
            _check_flag(name, getattr(self, name))
        for name in ("unit", "data", "licence", "attribution"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {getattr(self, name)!r}; give text.")
        for name, least in _TRAIN_LEAST.items():
            _check_whole(name, getattr(self, name), least, optional=name == "start_steps")
        for name, (low, high, closed) in _TRAIN_RANGES.items():
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (low < value <= high or (closed and value == low)):
                bound = "at least" if closed else "over"
                raise InputError(
                    f"{name} is {value!r}; use a number {bound} {low:g}, at most {high:g}."
                )
        object.__setattr__(self, "seed", checked_seed(self.seed))
        self._check_patch()
        if self.widths is not None and not (_are_positive(self.widths) and self.widths):
            raise InputError(
                f"widths is {self.widths!r}; use one positive whole number per level, or None."
            )

    def _check_patch(self) -> None:
        """Refuse what is no shape of a patch."""
        patch = self.patch_shape
        if patch is None:
            return
        if (
            not _are_positive(patch)
            or len(patch) not in (2, 3)
            or len(patch) != (self.ndim or len(patch))
        ):
            raise InputError(
                f"patch_shape is {patch!r}; use one positive whole number per axis of the network."
            )


def checked_seed(seed: object) -> int:
    """Return a seed that torch and NumPy take."""
    with contextlib.suppress(TypeError):
        number = -1 if isinstance(seed, bool) else operator.index(seed)  # type: ignore[arg-type]
        if 0 <= number < 1 << 63:
            return number
    raise InputError(f"seed is {seed!r}; give a whole number from 0 to 2**63 - 1.")


def _are_positive(values: object) -> bool:
    """Whether these are positive whole numbers."""
    return isinstance(values, tuple) and all(type(n) is int and n > 0 for n in values)


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Refuse what is none of the choices; True is not 1."""
    if type(value) is not type(choices[0]) or value not in choices:
        listed = " or ".join(map(repr, choices))
        raise InputError(f"{name} is {value!r}; use {listed}.")


def _check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; use True or False.")


def _check_whole(name: str, value: object, least: int, *, optional: bool) -> None:
    """Refuse what is no whole number, or too small."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        none = ", or None" if optional else ""
        raise InputError(f"{name} is {value!r}; use a whole number, at least {least}{none}.")
