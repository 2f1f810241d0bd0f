"""Options of a job over the blocks of a volume, in Python and in YAML."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from napari_implicitseg.errors import FileError, InputError

__all__ = ["BatchConfig", "BatchFile", "JobKind", "read_batch_file"]

JobKind = Literal["predict", "segment"]
"""What is done to the volume."""

_CHOICES: dict[str, tuple[object, ...]] = {
    "job": get_args(JobKind),
    "linkage": ("mean", "single", "quantile"),
    "fragments": ("auto", "watershed", "distance"),
    "dtype": ("uint8", "float16"),
    "precision": ("float32", "bfloat16", "float16"),
}
_LEAST = {"min_size": 0, "level": 0, "time": 0, "channel": 0, "workers": 0, "retries": 0}
_SHARES = ("threshold", "quantile")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_APART = ("workers", "scheduler", "retries", "restart", "model", "block_shape", "halo")
"""How a job is run, which the result does not depend on, and what is known by more than a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """Options of a job over the blocks of a volume.

    Attributes
    ----------
    job : {"segment", "predict"}
        Labels of objects, or affinities.
    model : str, optional
        Folder of a model, or the name of a shipped one: needed to predict, and to segment a
        volume that does not hold affinities.
    name : str
        Of the labels: they lie in the target's ``labels/NAME``.
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
    name: str = "neurons"
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
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise InputError(f"{name} is {value!r}; give a number from 0 to 1.")
        for name, least in (("block_shape", 1), ("halo", 0)):
            object.__setattr__(self, name, _counts(name, getattr(self, name), least))
        object.__setattr__(self, "spacing", _sizes(self.spacing))
        for name in ("model", "name", "device", "unit", "scheduler"):
            value = getattr(self, name)
            optional = name in ("model", "unit", "scheduler")
            if isinstance(value, os.PathLike) and name == "model":
                object.__setattr__(self, name, os.fspath(value))
            elif not isinstance(value, str) and not (value is None and optional):
                raise InputError(f"{name} is {value!r}; give text.")
        if not _NAME.fullmatch(self.name) or ".." in self.name:
            raise InputError(
                f"name is {self.name!r}; give the labels a plain name of letters, digits, '-', "
                "'_' and '.', such as neurons."
            )
        if not isinstance(self.restart, bool):
            raise InputError(f"restart is {self.restart!r}; use True or False.")
        if self.job == "predict" and self.model is None:
            raise InputError(
                "The job predict needs a model: a folder, or the name of a shipped one such as "
                "fibsem-isotropic (--model)."
            )

    def _check_whole(self, name: str, least: int) -> None:
        """Refuse what is no whole number."""
        value = getattr(self, name)
        none = name in ("min_size", "time", "channel", "workers")
        if value is None and none:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is {value!r}; give a whole number from {least}.")

    def matters(self) -> dict[str, Any]:
        """Return the options the result depends on."""
        return {name: v for name, v in asdict(self).items() if name not in _APART}

    @property
    def job_name(self) -> str:
        """Name of the folder its records lie in."""
        return self.job if self.job == "predict" else f"{self.job}-{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFile:
    """What a YAML file says of a job.

    Attributes
    ----------
    options : dict
        By names of `BatchConfig`.
    source, target : str or None
    """

    options: dict[str, Any]
    source: str | None
    target: str | None


def read_batch_file(path: str | os.PathLike[str]) -> BatchFile:
    """Read a YAML file with the options of a job by the names of `BatchConfig`.

    It may name the `source` and the `target`, too; such paths count from where the command runs.

    Raises
    ------
    FileError
        If it cannot be read, or is no mapping.
    InputError
        If it has an option that is not known.
    """
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"'{path}' cannot be read as YAML: {reason}. Mend it.") from error
    if not isinstance(document, dict):
        raise FileError(
            f"'{path}' holds no options; write lines such as 'job: segment' and 'threshold: 0.5'."
        )
    known = {field.name for field in fields(BatchConfig)}
    options = {str(k).replace("-", "_"): v for k, v in document.items()}
    unknown = sorted(set(options) - known - {"source", "target"})
    if unknown:
        raise InputError(
            f"'{path}' has the option '{unknown[0]}', which no job knows; there are "
            f"source, target, {', '.join(sorted(known))}."
        )
    source, target = options.pop("source", None), options.pop("target", None)
    return BatchFile(
        options=options,
        source=None if source is None else str(source),
        target=None if target is None else str(target),
    )


def _counts(name: str, value: Any, least: int) -> tuple[int, ...] | None:
    """Return whole numbers, one per axis."""
    if value is None:
        return None
    parts = (value,) if isinstance(value, int) else value
    fine = isinstance(parts, list | tuple) and len(parts) in (1, 2, 3)
    if not fine or any(isinstance(n, bool) or not isinstance(n, int) or n < least for n in parts):
        raise InputError(f"{name} is {value!r}; give a whole number from {least} per axis.")
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
