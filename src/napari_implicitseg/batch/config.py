"""Options of a job over the blocks of a volume."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

from napari_implicitseg.config import COUPLINGS, EVIDENCE, FitConfig
from napari_implicitseg.errors import InputError

__all__ = ["BatchConfig", "JobKind"]

JobKind = Literal["predict", "segment", "repair", "scribble", "semantic", "evaluate"]
"""What is done to the volume."""

_CHOICES: dict[str, tuple[object, ...]] = {
    "job": get_args(JobKind),
    "linkage": ("mean", "single", "quantile"),
    "fragments": ("auto", "watershed", "distance"),
    "dtype": ("uint8", "float16"),
    "precision": ("float32", "bfloat16", "float16"),
    "shape": ("convex", "connected", "star", "symmetric", "free"),
    "evidence": EVIDENCE,
    "coupling": COUPLINGS,
}
_LEAST = {
    "min_size": 0,
    "level": 0,
    "time": 0,
    "channel": 0,
    "workers": 0,
    "retries": 0,
    "seed": 0,
    "ignore": 0,
    "background": 0,
    "most_voxels": 1,
}
_MOST_ID = 2**64 - 1
_MOST = {"ignore": _MOST_ID, "background": _MOST_ID, "seed": 2**63 - 1}
_UNSET = ("min_size", "time", "channel", "workers", "ignore", "background")
"""Numbers that may be None."""
_SHARES = ("threshold", "quantile")
_LONGEST_NAME = 100
_NOT_NAMES = ("zarr.json", ".lock")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_TEXTS = ("model", "name", "device", "unit", "scheduler", "scribbles", "truth")
_PATHS = ("model", "scribbles", "truth")
_APART = ("workers", "scheduler", "retries", "restart", "model", "block_shape", "halo", "truth")
"""How a job is run, which the result does not depend on, and what is known by more than a name."""
_GENERAL = ("job", "name", "level", "time", "spacing", "unit", *_APART)
_NETWORK = ("dtype", "precision", "device", "channel")
_FITS = ("shape", "fit", "seed", "device", "most_voxels")
_USED: dict[str, tuple[str, ...]] = {
    "predict": _NETWORK,
    "segment": (*_NETWORK, "threshold", "linkage", "quantile", "fragments", "min_size"),
    "repair": (*_FITS, "ids"),
    "scribble": (*_FITS, "channel", "scribbles", "evidence", "coupling", "background"),
    "semantic": ("precision", "device", "channel"),
    "evaluate": ("ignore", "border", "background"),
}
"""Options that only some jobs look at."""
_ONLY = {"model": ("predict", "segment", "semantic"), "truth": ("evaluate",)}
_NAMED = {"repair": "repaired", "scribble": "objects", "semantic": "classes"}
_NEURONS = "neurons"
_FIT = FitConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """Options of a job over the blocks of a volume.

    Attributes
    ----------
    job : {"segment", "predict", "repair", "scribble", "semantic", "evaluate"}
        Labels of objects, by affinities; affinities; labels whose objects have a shape; objects
        of a shape from scribbles; classes; or figures of how far labels are from the truth.
    model : str, optional
        Folder of a model, or the name of a shipped one: needed to predict, and to segment a
        volume that does not hold affinities.
    name : str, optional
        Of the labels: they lie in the target's ``labels/NAME``. By default "neurons", of repaired
        labels "repaired", of scribbles "objects", of classes "classes".
    block_shape : tuple of int, optional
        Voxels of a block along each axis; by default 128, in 2D 1024. Blocks are the files
        of the results.
    halo : tuple of int, optional
        Voxels around a block that its fragments are made from; one number serves all axes. By
        default 32 of the finest axis: of FIB-25 blocks differed from the whole by 0.002 bits at
        most then.
    threshold : float
        Affinity above which regions are one object, 0 to 1.
    linkage : {"mean", "single", "quantile"}
        What is merged first; see `build_hierarchy`.
    quantile : float
        Of the linkage by quantile, 0 to 1.
    fragments : {"auto", "watershed", "distance"}
        What is merged; see `build_hierarchy`. "auto" looks at the middle of the volume.
    min_size : int, optional
        Voxels a fragment has at least; see `build_hierarchy`.
    dtype : {"uint8", "float16"}
        Of predicted affinities on the disk: steps of 1/255, or three digits.
    precision : {"float32", "bfloat16", "float16"}
        Of the convolutions.
    device : str
        Where torch computes; "auto" takes a GPU if there is one.
    level, time, channel : int
        Which of them to take of a source that has several.
    spacing : tuple of float, optional
        Voxel size per axis, in `unit`; by default the source's own.
    unit : str, optional
        Of `spacing`.
    shape : {"convex", "connected", "star", "symmetric", "free"}
        What is promised of each object that is repaired, or fitted to scribbles.
    ids : tuple of int, optional
        Objects to repair; all by default.
    scribbles : str, optional
        Label image of the scribbles; by default ``labels/scribbles`` of the source.
    evidence, coupling : str
        See `fit_scribbles`; evidence is one of its names.
    background : int, optional
        Label of background scribbles, by default 1. To evaluate, see `evaluate`.
    fit : FitConfig
        Of repairs and scribbles; a mapping with its options serves, too.
    seed : int
        Of repairs and scribbles.
    most_voxels : int
        Of the surroundings of an object that is repaired or fitted, which are in memory as a
        whole; larger objects are left as they are, and named.
    truth : str, optional
        Label image the source is compared with; needed to evaluate.
    ignore : int, optional
        Label of the truth whose voxels are left out; None leaves out none.
    border : float, optional
        Voxels up to this distance from a border of the truth are left out, too, in `unit`.
    workers : int, optional
        Processes; 0 works in this one, None chooses by cores and memory. The result is the same.
    scheduler : str, optional
        Address of a dask scheduler whose workers are used.
    retries : int
        How often a block that failed is tried again.
    restart : bool
        Begin anew, forgetting what was done; where nothing but the threshold changed, from the
        merging of fragments on.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    job: JobKind = "segment"
    model: str | None = None
    name: str | None = None
    block_shape: tuple[int, ...] | None = None
    halo: tuple[int, ...] | None = None
    threshold: float = 0.5
    linkage: Literal["mean", "single", "quantile"] = "mean"
    quantile: float = 0.5
    fragments: Literal["auto", "watershed", "distance"] = "auto"
    min_size: int | None = None
    dtype: Literal["uint8", "float16"] = "uint8"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"
    level: int = 0
    time: int | None = None
    channel: int | None = None
    spacing: tuple[float, ...] | None = None
    unit: str | None = None
    shape: Literal["convex", "connected", "star", "symmetric", "free"] = "convex"
    ids: tuple[int, ...] | None = None
    scribbles: str | None = None
    evidence: str = "auto"
    coupling: Literal["sequential", "joint"] = "sequential"
    background: int | None = None
    fit: FitConfig = _FIT
    seed: int = 0
    most_voxels: int = 1 << 26
    truth: str | None = None
    ignore: int | None = 0
    border: float | None = None
    workers: int | None = None
    scheduler: str | None = None
    retries: int = 2
    restart: bool = False

    def __post_init__(self) -> None:
        """Refuse values no job can work with."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                listed = ", ".join(map(str, choices))
                raise InputError(f"{name} is {getattr(self, name)!r}; choose one of {listed}.")
        for name, least in _LEAST.items():
            self._check_whole(name, least)
        for name in _SHARES:
            _check_share(name, getattr(self, name))
        for name, least, axes in (("block_shape", 1, 3), ("halo", 0, 3), ("ids", 1, None)):
            object.__setattr__(self, name, _counts(name, getattr(self, name), least, axes))
        object.__setattr__(self, "spacing", _sizes(self.spacing))
        object.__setattr__(self, "fit", _fit(self.fit))
        if self.name is None:
            object.__setattr__(self, "name", _NAMED.get(self.job, _NEURONS))
        for name in _TEXTS:
            self._check_text(name)
        if not _NAME.fullmatch(str(self.name)) or ".." in str(self.name):
            raise InputError(
                f"name is {self.name!r}; give the labels a plain name of letters, digits, '-', "
                "'_' and '.', such as neurons."
            )
        if not isinstance(self.restart, bool):
            raise InputError(f"restart is {self.restart!r}; use True or False.")
        if self.ids is not None and max(self.ids) > _MOST_ID:
            raise InputError(f"ids holds {max(self.ids)}; ids go up to {_MOST_ID}.")
        if len(str(self.name)) > _LONGEST_NAME:
            raise InputError(f"name has {len(str(self.name))} letters; give up to {_LONGEST_NAME}.")
        if str(self.name).lower().endswith(_NOT_NAMES):
            raise InputError(
                f"name is {self.name!r}, which files beside the labels are called; give another."
            )
        _check_border(self.border)
        self._check_needed()

    def _check_needed(self) -> None:
        """Refuse a job that lacks what it cannot do without."""
        if self.job == "predict" and self.model is None:
            raise InputError(
                "The job predict needs a model: a folder, or the name of a shipped one such as "
                "fibsem-isotropic (--model)."
            )
        if self.job == "semantic" and self.model is None:
            raise InputError(
                "The job semantic needs a model: a folder that semantic train wrote (--model)."
            )
        if self.job == "evaluate" and self.truth is None:
            raise InputError(
                "The job evaluate needs the truth: a label image like the source (--truth)."
            )

    def _check_text(self, name: str) -> None:
        """Refuse what is no text."""
        value = getattr(self, name)
        if isinstance(value, os.PathLike) and name in _PATHS:
            object.__setattr__(self, name, os.fspath(value))
        elif not isinstance(value, str) and not (value is None and name not in ("name", "device")):
            raise InputError(f"{name} is {value!r}; give text.")

    def _check_whole(self, name: str, least: int) -> None:
        """Refuse what is no whole number."""
        value = getattr(self, name)
        if value is None and name in _UNSET:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}; give a whole number from {least}.")
        most = _MOST.get(name)
        if most is not None and value > most:
            raise InputError(f"{name} is {value}; give a whole number up to {most}.")

    def matters(self) -> dict[str, Any]:
        """Return the options the result depends on."""
        used = (*_GENERAL, *_USED[self.job])
        return {k: v for k, v in asdict(self).items() if k in used and k not in _APART}

    def unused(self) -> tuple[str, ...]:
        """Return the names of options that are not as by default, and that the job ignores."""
        used = {*_GENERAL, *_USED[self.job]}
        used -= {name for name, jobs in _ONLY.items() if self.job not in jobs}
        return tuple(
            field.name
            for field in fields(self)
            if field.name not in used and getattr(self, field.name) != _default(field)
        )

    @property
    def job_name(self) -> str:
        """Name of the folder its records lie in."""
        alone = self.job in ("predict", "evaluate")
        return self.job if alone else f"{self.job}-{self.name}"


def _default(field: Any) -> Any:
    """Return the default of a field."""
    return None if field.default is MISSING else field.default


def _check_share(name: str, value: Any) -> None:
    """Refuse what is no number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}; give a number from 0 to 1.")


def _check_border(value: Any) -> None:
    """Refuse what is no distance."""
    if value is None:
        return
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if not number or not math.isfinite(value) or value < 0:
        raise InputError(f"border is {value!r}; give a distance from 0 up.")


def _fit(value: Any) -> FitConfig:
    """Return the options of fits."""
    if isinstance(value, FitConfig):
        return value
    if value is None:
        return _FIT
    known = {field.name for field in fields(FitConfig)}
    if not isinstance(value, Mapping):
        raise InputError(f"fit is {value!r}; give options by name, such as per_slice: true.")
    unknown = sorted(set(map(str, value)) - known)
    if unknown:
        raise InputError(
            f"fit has the option '{unknown[0]}', which no fit knows; there are "
            f"{', '.join(sorted(known))}."
        )
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    return FitConfig(**options)


def _counts(name: str, value: Any, least: int, most: int | None) -> tuple[int, ...] | None:
    """Return whole numbers, one per axis or any number of them."""
    if value is None:
        return None
    parts = (value,) if isinstance(value, int) else value
    fine = isinstance(parts, list | tuple) and 1 <= len(parts) <= (most or len(parts))
    if not fine or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in parts):
        each = "per axis" if most else "for each"
        raise InputError(f"{name} is {value!r}; give a whole number from {least} {each}.")
    return tuple(parts)


def _sizes(value: Any) -> tuple[float, ...] | None:
    """Return voxel sizes."""
    if value is None:
        return None
    parts = (value,) if isinstance(value, int | float) else value
    fine = isinstance(parts, list | tuple) and len(parts) > 0
    if not fine or any(isinstance(s, bool) or not isinstance(s, int | float) for s in parts):
        raise InputError(f"spacing is {value!r}; give a positive number per axis.")
    if not all(math.isfinite(s) and s > 0 for s in parts):
        raise InputError(f"spacing is {value!r}; give a positive number per axis.")
    return tuple(float(s) for s in parts)
