"""What all jobs over blocks plan alike: a target that may be written, blocks, and a beginning."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch.blocks import BlockGrid
from napari_implicitseg.batch.ledger import Ledger
from napari_implicitseg.errors import FileError, InputError, OutputExistsError
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.batch.jobs import Job
    from napari_implicitseg.volumes.volume import Grid

__all__ = ["RECORDS", "Plan", "begin", "block_grid", "check_places", "checked_target", "per_axis"]

RECORDS = ".implicitseg"
"""Folder in the target in which jobs keep their records and intermediate results."""
_BLOCK = {2: 1024, 3: 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job that could begin.

    Attributes
    ----------
    job : Job
    target : Path
    voxels : Grid
        Voxel size, position and units of the results.
    about : dict
        What the result depends on.
    makes : tuple of Path
        What the job makes in its target.
    late : mapping of str to sequence of str
        Options that early stages do not depend on; see `Ledger.begin`.
    warnings : tuple of str
        What does not fit well.
    """

    job: Job
    target: Path
    voxels: Grid
    about: dict[str, Any]
    makes: tuple[Path, ...]
    late: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """What a job in the target must have begun with for this one to go on with it."""
        makes = [path.name for path in self.makes]
        return {**self.about, "voxels": asdict(self.voxels), "makes": makes}

    def changes(self) -> list[str]:
        """Return how it differs from the job begun in the target, if one was."""
        return Ledger(self.job.folder).changes(self.identity)


def begin(plan: Plan) -> bool:
    """Begin a job in its target, or go on with it; whether it was there before.

    Raises
    ------
    InputError
        If it was begun with something else.
    OutputExistsError
        If there is a result that is not of this job.
    """
    job = plan.job
    # A restart, too, replaces nothing but what this job has made.
    if not job.folder.is_dir():
        for path in plan.makes:
            if os.path.lexists(path):
                raise OutputExistsError(
                    f"'{path}' already exists and is not of this job. Write to another target, or "
                    "give the labels another name (--name)."
                )
    _check_others(plan, [p.name for p in plan.makes])
    return Ledger(job.folder).begin(plan.identity, restart=job.config.restart, late=plan.late)


def _check_others(plan: Plan, makes: Sequence[str]) -> None:
    """Refuse to make what another job in the same target has begun to make."""
    folder = plan.job.folder
    if folder.parent.name != RECORDS or not folder.parent.is_dir():
        return
    for other in sorted(folder.parent.iterdir()):
        if other == folder or not other.is_dir():
            continue
        same = sorted({*Ledger(other).about().get("makes", ())} & {*makes})
        if same:
            raise OutputExistsError(
                f"'{same[0]}' of '{plan.target}' is what the job '{other.name}' makes there. Write "
                "to another target, or give the labels another name (--name); or remove what that "
                f"job keeps, if it is done with: '{other}'."
            )


def check_places(plan: Plan) -> None:
    """Refuse a target that lies in what is read, or that leads out of itself.

    Raises
    ------
    FileError
        If it does.
    """
    config = plan.job.config
    for name in ("truth", "scribbles", "model"):
        given = getattr(config, name)
        if given is None or is_url(given):
            continue
        read = Path(os.path.realpath(given))
        if read == plan.target or read in plan.target.parents:
            raise FileError(
                f"The target '{plan.target}' lies in the {name} '{given}', which is read. Give the "
                "target another name."
            )
    for path in (plan.job.folder, *plan.makes):
        real = os.path.realpath(path)
        if real != str(path):
            raise FileError(
                f"'{path}' is written to, but a link leads from there to '{real}'. Remove the "
                "link, or write to another target."
            )


def checked_target(source: str, target: str, *, suffix: str = ".zarr") -> Path:
    """Refuse a target that cannot hold the results; return where it is.

    Raises
    ------
    FileError, OutputExistsError
        If it cannot be written, is something else, or lies in the source.
    """
    if is_url(target):
        raise FileError(
            f"The target '{target}' is a URL; blocks are written to a folder of this machine, or "
            "one that all workers share. Copy the result afterwards (napari-implicitseg convert)."
        )
    place = Path(target)
    if place.suffix.lower() != suffix:
        kind = "OME-Zarr" if suffix == ".zarr" else "JSON"
        raise FileError(
            f"The target '{target}' is written as {kind}: let its name end in {suffix}."
        )
    real = Path(os.path.realpath(place))
    if not is_url(source):
        read = Path(os.path.realpath(source))
        if not read.exists():
            raise FileError(f"'{source}' does not exist. Check the name and the folder.")
        same = real.exists() and os.path.samefile(real, read)
        if same or real == read or real in read.parents or read in real.parents:
            raise FileError(
                f"The target '{target}' and the source '{source}' lie in each other. Give the "
                "target another name."
            )
    if not real.parent.is_dir():
        raise FileError(f"The folder of '{target}' does not exist. Make it: '{real.parent}'.")
    if suffix == ".zarr":
        _check_zarr(real, target)
    from napari_implicitseg.atomic import probe_folder

    probe_folder(real if real.is_dir() else real.parent, place)
    # Workers may start elsewhere.
    return real


def _check_zarr(real: Path, target: str) -> None:
    """Refuse what is there and is no zarr that labels can be added to."""
    ours = (real / RECORDS).is_dir() or (real / "zarr.json").is_file()
    if real.exists() and not ours and (not real.is_dir() or any(real.iterdir())):
        raise OutputExistsError(
            f"'{target}' already exists and is no zarr of format 3. Give another name."
        )
    if ours and not _may_hold_groups(real):
        raise OutputExistsError(
            f"'{target}' already exists and is no group of zarr that labels could lie in. Give "
            "another name."
        )
    if real.is_dir() and not os.access(real, os.W_OK):
        raise FileError(f"'{target}' is read-only. Write to a folder you may write to.")


def _may_hold_groups(real: Path) -> bool:
    """Whether a folder is a group of zarr, or nothing yet."""
    try:
        document = json.loads((real / "zarr.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("node_type") == "group"


def block_grid(
    shape: tuple[int, ...], config: BatchConfig, halo: Sequence[int] | None = None
) -> BlockGrid:
    """Choose blocks.

    Parameters
    ----------
    shape : tuple of int
    config : BatchConfig
    halo : sequence of int, optional
        Voxels the job sees around its blocks, unless options say otherwise; none by default.

    Raises
    ------
    InputError
        If there is no voxel, or options are of other numbers of axes.
    """
    ndim = len(shape)
    if 0 in shape:
        raise InputError(f"The source has shape {shape}: there is no voxel in it.")
    if ndim not in _BLOCK:
        raise InputError(f"The source has shape {shape}; needed are 2 or 3 axes of space.")
    block = per_axis("block_shape", config.block_shape or (_BLOCK[ndim],), ndim)
    if halo is None:
        halo = (0,) * ndim
    elif config.halo is not None:
        halo = per_axis("halo", config.halo, ndim)
    return BlockGrid(shape=shape, block_shape=block, halo=tuple(halo))


def per_axis(name: str, values: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return one number per axis; one serves all."""
    if len(values) == 1:
        return tuple(values) * ndim
    if len(values) != ndim:
        raise InputError(f"{name} is {tuple(values)}, but the volume has {ndim} axes.")
    return tuple(values)
