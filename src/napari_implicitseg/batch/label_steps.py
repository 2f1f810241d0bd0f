"""The label image a job makes: its arrays, coarser levels, and metadata once it is complete."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.batch.block_arrays import clear_left, in_memory, place_files
from napari_implicitseg.batch.blocks import BlockGrid, chunks_in, size_of
from napari_implicitseg.batch.ledger import flush_tree
from napari_implicitseg.batch.lock import locked
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.zarr_write import Multiscale, axes_of, create_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_implicitseg.batch.jobs import Job, Place
    from napari_implicitseg.volumes.volume import Grid

__all__ = [
    "COARSEN",
    "ONCE",
    "coarsen_block",
    "coarser_grids",
    "forget",
    "is_coarser",
    "prepare_labels",
    "publish",
    "publish_labels",
    "remove",
    "write_report",
    "writing",
    "zarr_group",
]

ONCE = "once"
"""Stage of the records of what is done once."""
COARSEN = "coarsen"
"""Stage of coarser levels; their number follows a colon."""

_LISTING = "labels.lock"
"""Of what jobs of one target share."""


def is_coarser(stage: str) -> bool:
    """Whether a stage writes a coarser level."""
    return stage.startswith(f"{COARSEN}:")


def prepare_labels(
    job: Job, voxels: Grid, *, writers: str, dtype: Any = np.uint32, inside: bool = False
) -> Multiscale:
    """Make the label image, or open the one that was made.

    Parameters
    ----------
    job : Job
    voxels : Grid
        Voxel size, position and units.
    writers : str
        The stage that writes its blocks, whose records an image made anew makes void.
    dtype : dtype
    inside : bool
        Whether the target is an image of which these are the labels.
    """
    done = job.ledger.get(ONCE, "labels")
    # Somebody may have removed them since.
    if done is not None and (job.labels / "zarr.json").is_file():
        group: Any = zarr_group(job.labels)
        arrays = tuple(group[str(n)] for n in range(int(done["levels"])))
        return Multiscale(group=group, arrays=arrays, method="mode", attributes=done["attributes"])
    with locked(job.folder.with_name(_LISTING), wait=True), writing(job.labels):
        zarr_group(job.labels.parent.parent)
        zarr_group(job.labels.parent)
    remove(job.labels)
    forget(job, writers, COARSEN)
    block = job.grid.block_shape
    with writing(job.labels):
        made = create_labels(
            job.labels,
            job.grid.shape,
            dtype,
            axes_of(voxels),
            name=job.labels.name,
            layout=Layout(chunks=chunks_in(block), shards=block),
            inside=inside,
            publish=False,
        )
        flush_tree(job.labels)
    content = {"levels": len(made.arrays), "attributes": dict(made.attributes)}
    job.ledger.record(ONCE, "labels", content)
    return made


def coarser_grids(made: Multiscale) -> Iterator[tuple[str, BlockGrid]]:
    """Yield the stages that write the coarser levels, and their blocks."""
    for level in range(1, len(made.arrays)):
        shape, unit = made.arrays[level].shape, made.unit(level)
        yield (
            f"{COARSEN}:{level}",
            BlockGrid(shape=shape, block_shape=unit, halo=(0,) * len(shape)),
        )


def coarsen_block(labels: Path, stage: str, place: Place) -> dict[str, Any]:
    """Write a block of a coarser level of a label image."""
    import zarr

    level = int(stage.partition(":")[2])
    group = zarr.open_group(labels, mode="r+")
    arrays: list[Any] = [group[str(n)] for n in range(level + 1)]
    memory, files = in_memory(arrays[level])
    made = Multiscale(group=group, arrays=(*arrays[:level], memory), method="mode")
    parts = zip(place, made.unit(level), memory.shape, strict=True)
    block = tuple(slice(i * u, min((i + 1) * u, n)) for i, u, n in parts)
    made.write_coarser(level, block)
    size = place_files(labels / str(level), memory, files, block)
    return {"voxels": size_of(block), "bytes": size}


def publish_labels(job: Job, made: Multiscale) -> None:
    """Write the metadata that make the labels an image, and list them in their group."""
    publish(job.labels, made.attributes)
    folder = job.labels.parent
    with locked(job.folder.with_name(_LISTING), wait=True):
        listed = zarr_group(folder).attrs.asdict().get("ome", {})
        names = list(listed.get("labels", []))
        if job.labels.name not in names:
            names.append(job.labels.name)
            publish(folder, {"ome": {"version": "0.5", **listed, "labels": names}})


def zarr_group(path: Path) -> Any:
    """Open a group for writing, or make it."""
    import zarr

    if not (path / "zarr.json").exists():
        zarr.create_group(path, zarr_format=3)
    return zarr.open_group(path, mode="r+")


def write_report(job: Job, document: Mapping[str, Any]) -> None:
    """Keep what a run says beside its records, where the disk still has room for it."""
    with (
        contextlib.suppress(FileError),
        replace_file(job.folder / "report.json", overwrite=True) as temporary,
    ):
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def publish(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a group in one step, so that it is never without its metadata."""
    path = folder / "zarr.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise explain(error, path, "read") from error
    document["attributes"] = {**document.get("attributes", {}), **attributes}
    clear_left(path)
    with replace_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in words what goes wrong with the disk while something is made there."""
    try:
        yield
    except OSError as error:
        raise explain(error, path, "write") from error


def remove(*paths: Path) -> None:
    """Remove what an interrupted run, or an earlier one, left."""
    for path in paths:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise explain(error, path, "write") from error


def forget(job: Job, *stages: str) -> None:
    """Forget the records of stages whose array is made anew."""
    done = job.folder / "done"
    for folder in done.iterdir() if done.is_dir() else ():
        if folder.name.split(":", maxsplit=1)[0] in stages:
            remove(folder)
