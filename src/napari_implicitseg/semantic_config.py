"""Options of learning classes, and their presets."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_implicitseg.config import NormKind, ZeroMeaning, checked_seed
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PRESETS", "SemanticConfig"]

ClassLoss = Literal["cross-entropy", "cross-entropy+dice"]
Schedule = Literal["cosine", "constant"]
Kept = Literal["best", "last"]
_Precision = Literal["auto", "float32", "bfloat16"]

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The network and the training of the report: nothing is added to it.
    "report-2024": {
        "ndim": 2,
        "widths": (64, 128, 256),
        "residual": False,
        "loss": "cross-entropy",
        "balanced_share": 0.0,
        "learning_rate": 1e-3,
        "schedule": "constant",
        "weight_decay": 0.0,
        "average": 0.0,
        "gradient_norm": None,
        "augment": False,
        "keep": "last",
    },
}
"""Options of each preset that differ from the defaults."""

_CHOICES: dict[str, tuple[Any, ...]] = {
    "norm": get_args(NormKind),
    "zero": get_args(ZeroMeaning),
    "loss": get_args(ClassLoss),
    "schedule": get_args(Schedule),
    "keep": get_args(Kept),
    "precision": get_args(_Precision),
}
_LEAST = {
    "depth": 1,
    "width": 1,
    "batch_size": 1,
    "steps": 1,
    "validate_every": 1,
    "checkpoint_every": 1,
    "workers": 0,
}
_MAY_BE_NONE = ("depth",)
_MOST_CLASSES = 255
_LARGEST = (1 << 63) - 1
_RANGES = {
    "balanced_share": (0.0, 1.0),
    "class_balance": (0.0, 1.0),
    "dice": (0.0, 100.0),
    "learning_rate": (1e-9, 10.0),
    "weight_decay": (0.0, 1.0),
    "average": (0.0, 0.999999),
    "held_out": (0.0, 0.9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticConfig:
    """How a network learns the class of every pixel.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes in the order of their numbers; by default "class 1" and so on.
    values : tuple of int or None
        What stands for each class in the masks; all else is unlabelled. By default the
        values there are, in ascending order: of masks with 0, 127 and 255 the
        classes are 127 and 255, and 0 too where `zero` says so. A colour is 0xRRGGBB.
    colours : bool
        Whether masks are read as colours also where they are palettes or grey. All files are
        where one of them is coloured; arrays only where this says so.
    zero : {"unlabelled", "background"}
        What 0 says in masks: nothing, or that it is a class, the first.
    ignore : int or None
        Another value that says nothing, such as 255 on borders.
    ndim : {2, 3} or None
        Axes of the network; 2 takes sections of stacks as images. None takes 2 for images
        and for stacks of thick sections, else 3.
    depth : int or None
        Levels of the U-Net. None takes 5 in 2D and 4 in 3D, fewer for small images or patches.
    width : int
        Features at full resolution; they double per level.
    widths : tuple of int or None
        Features of every level, in place of `depth` and `width`.
    residual : bool
        Whether a level adds what its first convolution gives to what its last one gives.
    norm : {"batch", "group", "none"}
        What follows a convolution.
    loss : {"cross-entropy+dice", "cross-entropy"}
        Cross-entropy of each pixel, alone or with soft Dice over the classes that are there.
    dice : float
        Weight of Dice beside the cross-entropy.
    class_balance : float
        Weights of classes in the cross-entropy are their shares to the power of minus this:
        0 weighs pixels alike, 1 classes.
    balanced_share : float
        Share of patches about a pixel of a class drawn at even odds, 0 to 1; others are about
        any labelled pixel.
    patch_shape : tuple of int or None
        Pixels of a patch; None takes what suits network and images.
    batch_size, steps : int
        Patches per step, and steps.
    learning_rate, weight_decay : float
        Of AdamW, which is Adam where `weight_decay` is 0.
    schedule : {"cosine", "constant"}
        The rate rises over the first steps and falls like a cosine, or stays.
    average : float
        Decay of the moving average of the weights that is kept; 0 keeps the weights.
    gradient_norm : float or None
        Length at which gradients are cut; None never does.
    augment : bool
        Vary patches: mirrored, turned, deformed, in contrast, noise, blur and colours.
    held_out : float
        Share of the images, by file, that is not learned from but measured on, 0 to 0.9.
    keep : {"best", "last"}
        Which weights: those of the best mean IoU on what is held out, or those of the end.
    validate_every, checkpoint_every : int
        Steps between.
    precision : {"auto", "float32", "bfloat16"}
        Of convolutions; "auto" takes the quicker one of the device.
    compile : bool
        Use `torch.compile`.
    workers : int
        Threads that prepare patches.
    seed : int
        Makes the training, and what is held out, repeatable.
    data, licence, attribution : str
        Of what the model is trained on, for its card.
    """

    classes: tuple[str, ...] = ()
    values: tuple[int, ...] | None = None
    colours: bool = False
    zero: ZeroMeaning = "unlabelled"
    ignore: int | None = None
    ndim: Literal[2, 3] | None = None
    depth: int | None = None
    width: int = 16
    widths: tuple[int, ...] | None = None
    residual: bool = True
    norm: NormKind = "batch"
    loss: ClassLoss = "cross-entropy+dice"
    dice: float = 1.0
    class_balance: float = 0.0
    balanced_share: float = 0.5
    patch_shape: tuple[int, ...] | None = None
    batch_size: int = 4
    steps: int = 1200
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    schedule: Schedule = "cosine"
    average: float = 0.99
    gradient_norm: float | None = 5.0
    augment: bool = True
    held_out: float = 0.2
    keep: Kept = "best"
    validate_every: int = 100
    checkpoint_every: int = 200
    precision: _Precision = "auto"
    compile: bool = False
    workers: int = 1
    seed: int = 0
    data: str = ""
    licence: str = ""
    attribution: str = ""

    @classmethod
    def preset(cls, name: str, **changes: Any) -> Self:
        """Return a preset, some options changed.

        Parameters
        ----------
        name : {"default", "report-2024"}
            "report-2024": 64-128-256, batch norm, max pooling, nearest upsampling; Adam at
            a constant rate, plain cross-entropy, no augmentation, the last weights.
        **changes
            Any options.

        Raises
        ------
        InputError
            If there is no such preset or option.
        """
        if name not in PRESETS:
            raise InputError(f"The preset is {name!r}; choose {' or '.join(PRESETS)}.")
        known = {field.name for field in fields(cls)}
        if unknown := [option for option in changes if option not in known]:
            raise InputError(
                f"There is no option {unknown[0]!r}; known are {', '.join(sorted(known))}."
            )
        return cls(**{**PRESETS[name], **changes})

    def __post_init__(self) -> None:
        """Refuse values no training can work with."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, choices))}."
                )
        if self.ndim not in (None, 2, 3):
            raise InputError(f"ndim is {self.ndim!r}; use 2, 3 or None.")
        for name in ("colours", "residual", "augment", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; use True or False.")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is None and name in _MAY_BE_NONE:
                continue
            if type(value) is not int or value < least:
                raise InputError(f"{name} is {value!r}; use a whole number, at least {least}.")
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"{name} is {value!r}; use a number.")
            if not low <= value <= high:
                raise InputError(f"{name} is {value!r}; use a number from {low:g} to {high:g}.")
        for name in ("data", "licence", "attribution"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} is {getattr(self, name)!r}; give text.")
        object.__setattr__(self, "seed", checked_seed(self.seed))
        self._check_lengths()
        self._check_classes()

    def _check_lengths(self) -> None:
        """Refuse widths, patches and lengths of gradients that are none."""
        for name in ("widths", "patch_shape"):
            value = getattr(self, name)
            if value is not None and not (_are_whole(value) and value and min(value) > 0):
                raise InputError(f"{name} is {value!r}; use positive whole numbers, or None.")
        patch = self.patch_shape
        if patch is not None and len(patch) not in ((self.ndim,) if self.ndim else (2, 3)):
            raise InputError(
                f"patch_shape is {patch!r}; use one positive whole number per axis of the network."
            )
        norm = self.gradient_norm
        if norm is not None and not (isinstance(norm, int | float) and norm > 0):
            raise InputError(f"gradient_norm is {norm!r}; use a positive number, or None.")

    def _check_classes(self) -> None:
        """Refuse names and values that do not go together."""
        names, values = self.classes, self.values
        if not isinstance(names, tuple) or not all(isinstance(n, str) and n for n in names):
            raise InputError(f"classes is {names!r}; give their names, such as ('cell', 'edge').")
        if len(set(names)) != len(names):
            raise InputError(f"classes is {names!r}; give each a name of its own.")
        if len(names) > _MOST_CLASSES:
            raise InputError(
                f"There are {len(names)} classes; at most {_MOST_CLASSES} are learned."
            )
        if self.ignore is not None and not _fits(self.ignore):
            raise InputError(
                f"ignore is {self.ignore!r}; give a whole number up to {_LARGEST}, or None."
            )
        if values is None:
            return
        if not _are_whole(values) or len(set(values)) != len(values) or len(values) < 2:
            raise InputError(f"values is {values!r}; give different whole numbers, two at least.")
        if not all(map(_fits, values)):
            raise InputError(f"values is {values!r}; give whole numbers up to {_LARGEST}.")
        if len(values) > _MOST_CLASSES:
            raise InputError(
                f"There are {len(values)} values; at most {_MOST_CLASSES} are learned."
            )
        if self.ignore in values:
            raise InputError(
                f"The value {self.ignore} is a class by values ({', '.join(map(str, values))}) and "
                "says nothing by ignore. Leave it out of one of them."
            )
        if names and len(names) != len(values):
            raise InputError(
                f"There are {len(names)} classes and {len(values)} values; give one of each."
            )


def _fits(value: object) -> bool:
    """Whether this is a whole number that a mask may hold."""
    return type(value) is int and abs(value) <= _LARGEST


def _are_whole(values: object) -> bool:
    """Whether these are whole numbers."""
    return isinstance(values, tuple) and all(type(n) is int for n in values)
