"""What a job does once, between its stages: make arrays, number, merge, publish."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.hierarchy.building import has_membranes, smallest_fragments
from napari_implicitseg.volumes.block_arrays import load_arrays, save_arrays
from napari_implicitseg.volumes.block_source import ABOUT, BYTE, FORMAT, open_raw
from napari_implicitseg.volumes.blocks import chunks_in
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.ledger import flush_tree
from napari_implicitseg.volumes.pyramid import Level
from napari_implicitseg.volumes.stitch import Contacts, chosen_leanings, merge_all
from napari_implicitseg.volumes.volume import Axis
from napari_implicitseg.volumes.zarr_write import Multiscale, axes_of, create_image, create_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_implicitseg.volumes.stages import BlockJob
    from napari_implicitseg.volumes.volume import Grid

__all__ = [
    "choose_fragments",
    "merge_blocks",
    "number_fragments",
    "prepare_affinities",
    "prepare_fragments",
    "prepare_labels",
    "publish_affinities",
    "publish_labels",
    "write_report",
    "zarr_group",
]

_ONCE = "once"
_LOOKED_AT = 128


def prepare_affinities(job: BlockJob, voxels: Grid) -> BlockJob:
    """Measure the grey levels of the volume, and make the array of affinities."""
    from napari_implicitseg.models.normalise import Scaling

    assert job.raw is not None
    name = f"volume '{job.raw.path}'"
    done = job.ledger.get(_ONCE, "affinities")
    if done is None:
        raw, _, model = open_raw(job.raw)
        scaling = model.normalisation.scaling(raw, name)
        root = job.affinities.path
        _remove(root / "0", root / "zarr.json")
        _forget(job, "predict")
        made = _create_affinities(job, voxels)
        flush_tree(root / "0")
        done = {
            "low": list(scaling.low),
            "high": list(scaling.high),
            "attributes": dict(made.attributes),
        }
        job.ledger.record(_ONCE, "affinities", done)
    scaling = Scaling(low=tuple(done["low"]), high=tuple(done["high"]), name=name)
    return replace(job, scaling=scaling)


def _create_affinities(job: BlockJob, voxels: Grid) -> Multiscale:
    """Make the image of affinities, which nobody takes for one before it is published."""
    store, axes = job.affinities, (Axis(name="c", kind="channel"), *axes_of(voxels))
    shape = (len(store.offsets), *store.shape)
    level = Level(
        shape=shape,
        scale=tuple(axis.scale for axis in axes),
        translate=tuple(axis.translate for axis in axes),
    )
    block = job.grid.block_shape
    about: dict[str, Any] = {"format": FORMAT, "offsets": [list(o) for o in store.offsets]}
    if job.config.dtype == "uint8":
        about["scale"] = BYTE
    return create_image(
        store.path,
        shape,
        job.config.dtype,
        axes,
        name=store.path.stem,
        layout=Layout(chunks=(1, *chunks_in(block)), shards=(1, *block)),
        levels=[level],
        about={ABOUT: about},
        publish=False,
    )


def publish_affinities(job: BlockJob) -> None:
    """Write the metadata that make the affinities an image."""
    done = job.ledger.get(_ONCE, "affinities")
    assert done is not None
    _publish(job.affinities.path, done["attributes"])


def choose_fragments(job: BlockJob) -> BlockJob:
    """Decide how fragments are made: the same way in all blocks."""
    method, config = str(job.config.fragments), job.config
    if method == "auto":
        done = job.ledger.get(_ONCE, "fragments")
        if done is None:
            sides = [min(n, _LOOKED_AT) for n in job.grid.shape]
            starts = [(n - side) // 2 for n, side in zip(job.grid.shape, sides, strict=True)]
            middle = tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))
            found = has_membranes(job.affinities.read(middle))
            done = {"method": "distance" if found else "watershed"}
            job.ledger.record(_ONCE, "fragments", done)
        method = str(done["method"])
    if config.min_size is not None:
        return replace(job, method=method, min_size=config.min_size)
    shape = job.grid.shape
    size, affinity = smallest_fragments(shape, method)
    return replace(job, method=method, min_size=size, min_affinity=affinity)


def prepare_fragments(job: BlockJob) -> None:
    """Make the array of fragments."""
    import zarr
    from zarr.codecs import BloscCodec

    if job.ledger.get(_ONCE, "array") is not None:
        return
    _remove(job.fragments)
    _forget(job, "fragments")
    block = job.grid.block_shape
    # Shards are whole blocks, also where the volume ends before.
    zarr.create_array(
        job.fragments,
        shape=job.grid.shape,
        dtype=np.uint32,
        chunks=chunks_in(block),
        shards=block,
        fill_value=0,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4),
    )
    flush_tree(job.fragments)
    job.ledger.record(_ONCE, "array", {})


def number_fragments(job: BlockJob, counts: Sequence[int]) -> None:
    """Write how many fragments there are before each block, in C order; last, how many in all."""
    firsts = np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])
    save_arrays(job.firsts, firsts=firsts)


def merge_blocks(job: BlockJob) -> int:
    """Merge the fragments of all blocks, and write the label of each; the number of objects."""
    done = job.ledger.get(_ONCE, "merged")
    if done is not None:
        return int(done["objects"])
    parts, joins, leanings, sizes = [], [], [], []
    for place in job.grid:
        arrays = load_arrays(job.graph(place))
        joins.append(arrays.pop("joins"))
        leanings.append(arrays.pop("leanings"))
        sizes.append(arrays.pop("sizes"))
        parts.append(Contacts(**arrays))
    config = job.config
    voxels, agreed = np.concatenate(sizes), np.concatenate(joins)
    more = chosen_leanings(np.concatenate(leanings), agreed, len(voxels))
    found = merge_all(
        Contacts.added(parts),
        np.concatenate([agreed, more]),
        voxels,
        linkage=config.linkage,
        quantile=config.quantile,
    )
    save_arrays(job.folder / "tree.npz", **found.arrays())
    lookup = found.lookup(config.threshold)
    with replace_file(job.lookup, overwrite=True) as temporary, temporary.open("wb") as file:
        np.save(file, lookup)
    objects = int(lookup.max(initial=0))
    job.ledger.record(_ONCE, "merged", {"objects": objects})
    return objects


def prepare_labels(job: BlockJob, voxels: Grid) -> Multiscale:
    """Make the label image, or open the one that was made."""
    done = job.ledger.get(_ONCE, "labels")
    if done is not None:
        group: Any = zarr_group(job.labels)
        arrays = tuple(group[str(n)] for n in range(int(done["levels"])))
        return Multiscale(group=group, arrays=arrays, method="mode", attributes=done["attributes"])
    zarr_group(job.labels.parent.parent)
    zarr_group(job.labels.parent)
    _remove(job.labels)
    _forget(job, "relabel", "coarsen")
    block = job.grid.block_shape
    made = create_labels(
        job.labels,
        job.grid.shape,
        np.uint32,
        axes_of(voxels),
        name=job.labels.name,
        layout=Layout(chunks=chunks_in(block), shards=block),
        inside=job.raw is not None,
        publish=False,
    )
    flush_tree(job.labels)
    content = {"levels": len(made.arrays), "attributes": dict(made.attributes)}
    job.ledger.record(_ONCE, "labels", content)
    return made


def publish_labels(job: BlockJob, made: Multiscale) -> None:
    """Write the metadata that make the labels an image, and list them in their group."""
    _publish(job.labels, made.attributes)
    folder = job.labels.parent
    listed = zarr_group(folder).attrs.asdict().get("ome", {})
    names = list(listed.get("labels", []))
    if job.labels.name not in names:
        _publish(folder, {"ome": {"version": "0.5", **listed, "labels": [*names, job.labels.name]}})


def zarr_group(path: Path) -> Any:
    """Open a group for writing, or make it."""
    import zarr

    if not (path / "zarr.json").exists():
        zarr.create_group(path, zarr_format=3)
    return zarr.open_group(path, mode="r+")


def write_report(job: BlockJob, document: Mapping[str, Any]) -> None:
    """Keep what a run says beside its records."""
    with replace_file(job.folder / "report.json", overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _publish(folder: Path, attributes: Mapping[str, Any]) -> None:
    """Set attributes of a group in one step, so that it is never without its metadata."""
    path = folder / "zarr.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise explain(error, path, "read") from error
    document["attributes"] = {**document.get("attributes", {}), **attributes}
    with replace_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _remove(*paths: Path) -> None:
    """Remove what an interrupted run, or an earlier one, left."""
    for path in paths:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise explain(error, path, "write") from error


def _forget(job: BlockJob, *stages: str) -> None:
    """Forget the records of stages whose array is made anew."""
    done = job.folder / "done"
    for folder in done.iterdir() if done.is_dir() else ():
        if folder.name.split(":", maxsplit=1)[0] in stages:
            _remove(folder)
