"""From a volume to neurons: what is done once, between the stages over blocks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import replace_file
from napari_implicitseg.batch.affinity_store import BYTE
from napari_implicitseg.batch.block_arrays import load_arrays, save_arrays
from napari_implicitseg.batch.blocks import chunks_in
from napari_implicitseg.batch.label_steps import ONCE, forget, publish, remove, writing
from napari_implicitseg.batch.ledger import flush_tree
from napari_implicitseg.batch.merging import merge_all
from napari_implicitseg.batch.predicting import measured, scaled
from napari_implicitseg.batch.stitch import Contacts, chosen_leanings
from napari_implicitseg.hierarchy.building import has_membranes, smallest_fragments
from napari_implicitseg.volumes.affinity_files import ABOUT, FORMAT
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.pyramid import Level
from napari_implicitseg.volumes.volume import Axis
from napari_implicitseg.volumes.zarr_write import Multiscale, axes_of, create_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.batch.neuron_stages import NeuronJob
    from napari_implicitseg.volumes.volume import Grid

__all__ = [
    "choose_fragments",
    "merge_blocks",
    "number_fragments",
    "prepare_affinities",
    "prepare_fragments",
    "publish_affinities",
]

_LOOKED_AT = 128


def prepare_affinities(job: NeuronJob, voxels: Grid) -> NeuronJob:
    """Measure the grey levels of the volume, and make the array of affinities."""
    done = job.ledger.get(ONCE, "affinities")
    if done is None:
        levels = measured(job)
        root = job.affinities.path
        remove(root / "0", root / "zarr.json")
        forget(job, "predict")
        with writing(root):
            made = _create_affinities(job, voxels)
            flush_tree(root / "0")
        done = {**levels, "attributes": dict(made.attributes)}
        job.ledger.record(ONCE, "affinities", done)
    return scaled(job, done)


def _create_affinities(job: NeuronJob, voxels: Grid) -> Multiscale:
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


def publish_affinities(job: NeuronJob) -> None:
    """Write the metadata that make the affinities an image."""
    done = job.ledger.get(ONCE, "affinities")
    assert done is not None
    publish(job.affinities.path, done["attributes"])


def choose_fragments(job: NeuronJob) -> NeuronJob:
    """Decide how fragments are made: the same way in all blocks."""
    method, config = str(job.config.fragments), job.config
    if method == "auto":
        done = job.ledger.get(ONCE, "fragments")
        if done is None:
            sides = [min(n, _LOOKED_AT) for n in job.grid.shape]
            starts = [(n - side) // 2 for n, side in zip(job.grid.shape, sides, strict=True)]
            middle = tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))
            found = has_membranes(job.affinities.read(middle))
            done = {"method": "distance" if found else "watershed"}
            job.ledger.record(ONCE, "fragments", done)
        method = str(done["method"])
    if config.min_size is not None:
        return replace(job, method=method, min_size=config.min_size)
    shape = job.grid.shape
    size, affinity = smallest_fragments(shape, method)
    return replace(job, method=method, min_size=size, min_affinity=affinity)


def prepare_fragments(job: NeuronJob) -> None:
    """Make the array of fragments."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    if job.ledger.get(ONCE, "array") is not None:
        return
    remove(job.fragments)
    forget(job, "fragments")
    block = job.grid.block_shape
    # Shards are whole blocks, also where the volume ends before.
    with writing(job.fragments):
        zarr.create_array(
            job.fragments,
            shape=job.grid.shape,
            dtype=np.uint32,
            chunks=chunks_in(block),
            shards=block,
            fill_value=0,
            compressors=(
                BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=4),
                Crc32cCodec(),
            ),
        )
        flush_tree(job.fragments)
    job.ledger.record(ONCE, "array", {})


def number_fragments(job: NeuronJob, counts: Sequence[int]) -> None:
    """Write how many fragments there are before each block, in C order; last, how many in all."""
    firsts = np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])
    save_arrays(job.firsts, firsts=firsts)


def merge_blocks(job: NeuronJob) -> int:
    """Merge the fragments of all blocks, and write the label of each; the number of objects."""
    done = job.ledger.get(ONCE, "merged")
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
    job.ledger.record(ONCE, "merged", {"objects": objects})
    return objects
