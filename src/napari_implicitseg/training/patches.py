"""Patches of volumes, each a function of the seed and the step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.batches import Batch, Prefetcher
from napari_implicitseg.training.centres import Centres

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.models.normalise import Normalisation
    from napari_implicitseg.training.arrays import Window
    from napari_implicitseg.training.augment import Margins, Plan
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = [
    "Batch",
    "Patch",
    "PatchSampler",
    "Prefetcher",
    "dense_ids",
    "fitting_patch",
    "move_patch",
    "place_patch",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """A piece of a volume.

    Attributes
    ----------
    raw : ndarray of float32, shape (C, *P)
    labels : ndarray of int32, shape P
        Ids of this patch, from 1 without gaps; 0 is none.
    known : ndarray of bool, shape P
        Where the labels say something: false is unlabelled. Background is known.
    volume : int
        Which volume it comes from.
    start : tuple of int
        Its first voxel there, before it was deformed, mirrored and turned.
    """

    raw: NDArray[np.float32]
    labels: NDArray[np.int32]
    known: BoolArray
    volume: int
    start: tuple[int, ...]


def fitting_patch(
    patch_shape: Sequence[int], volumes: Sequence[TrainingVolume], stride: int | Sequence[int] = 1
) -> tuple[int, ...]:
    """Return the largest patch, at most the one wanted, that all volumes hold.

    Parameters
    ----------
    patch_shape : sequence of int
        Wanted, 2 or 3 axes.
    volumes : sequence of TrainingVolume
    stride : int or sequence of int
        The lengths have to be multiples of it.

    Returns
    -------
    tuple of int

    Warns
    -----
    UserWarning
        If it is smaller than the one wanted.

    Raises
    ------
    InputError
        If a volume is smaller than the stride.
    """
    wanted = tuple(int(n) for n in patch_shape)
    ndim = len(wanted)
    strides = tuple(int(s) for s in np.broadcast_to(stride, ndim))
    least = tuple(min(v.shape[-ndim:][a] for v in volumes) for a in range(ndim))
    fitting = tuple(min(w, n) // s * s for w, n, s in zip(wanted, least, strides, strict=True))
    if 0 in fitting:
        small = "patches" if all(n >= s for n, s in zip(least, strides, strict=True)) else "volumes"
        raise InputError(
            f"Patches of {wanted} voxels are wanted, and the smallest volume has {least}; patches "
            f"are multiples of {strides} here. Give larger {small}, or a network that pools less."
        )
    if fitting != wanted:
        warnings.warn(
            f"The patches of {wanted} voxels are reduced to {fitting}: the smallest volume has "
            f"{least}, and lengths are multiples of {strides}.",
            stacklevel=2,
        )
    return fitting


class PatchSampler:
    """Chooses, reads and augments patches; each depends on seed, step and item alone.

    May be used from several threads at a time.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        As `checked_volumes` returns them.
    patch_shape : sequence of int
        Voxels per axis; with two axes, the sections of stacks are samples.
    seed : int
    augmentation : Augmentation, optional
        By default none.
    border_share : float
        Share of the patches that are centred near where two labels meet, 0 to 1; the
        others are inside. Where there is no border, all are.
    normalise : Normalisation, optional
        How grey levels of a volume become what the network sees; by default those of
        integers are divided by the largest value of their type.

    Raises
    ------
    InputError
        If a patch does not fit into a volume. `fitting_patch` finds one that does.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        patch_shape: Sequence[int],
        *,
        seed: int,
        augmentation: Augmentation | None = None,
        border_share: float = 0.5,
        normalise: Normalisation | None = None,
    ) -> None:
        self._volumes = tuple(volumes)
        self.patch_shape = tuple(int(n) for n in patch_shape)
        _check_patch(self.patch_shape, self._volumes)
        if not 0 <= border_share <= 1:
            raise InputError(f"border_share is {border_share}; give a share from 0 to 1.")
        self._seed = seed
        self._augmentation = augmentation or Augmentation.none()
        self._border_share = border_share
        self._scalings = [
            normalise.scaling(v.raw, v.name) if normalise else None for v in self._volumes
        ]
        ndim = len(self.patch_shape)
        self._centres = [
            Centres(v.labels, flat=len(v.shape) > ndim, background=v.zero == "background")
            for v in self._volumes
        ]
        self._shares = _shares(self._centres)

    def sample(self, step: int, item: int = 0) -> Patch:
        """Return a patch.

        Parameters
        ----------
        step, item : int
            Which one: step of the training, and place in its batch, from 0.

        Raises
        ------
        InputError
            If there is NaN or infinity in the raw image, a negative label, or no label at all.
        FileError
            If a file cannot be read.
        """
        rng = np.random.default_rng([self._seed, step, item])
        number = int(np.searchsorted(self._shares, rng.random(), side="right"))
        volume = self._volumes[number]
        centre = self._centres[number].choose(rng, border=rng.random() < self._border_share)
        if centre is None:
            raise InputError(f"No voxel of {volume.name} is labelled. Label some, or leave it out.")
        ndim = len(self.patch_shape)
        plan = self._augmentation.draw(rng, self.patch_shape, volume.voxel_size[-ndim:])
        start, margins = place_patch(
            rng, centre[-ndim:], self.patch_shape, volume.shape[-ndim:], plan.margin
        )
        section = centre[: len(centre) - ndim]
        window = _window(section, start, self.patch_shape, margins)
        ids = dense_ids(volume.read_labels(window))
        ids = ids.reshape(ids.shape[len(section) :])
        raw = self._read_raw(number, window).reshape(-1, *ids.shape)
        raw, ids = move_patch(plan, raw, ids, margins, unlabelled=volume.zero != "background")
        ids = dense_ids(ids)
        known = np.ones(ids.shape, bool) if volume.zero == "background" else ids != 0
        painted = plan.paint(raw, rng)
        return Patch(
            raw=np.ascontiguousarray(painted, np.float32),
            labels=ids,
            known=known,
            volume=number,
            start=(*section, *start),
        )

    def _read_raw(self, number: int, window: Window) -> NDArray[np.float32]:
        """Read a window as the network is to see it."""
        raw = self._volumes[number].read_raw(window)
        scaling = self._scalings[number]
        if scaling is not None:
            return scaling(raw)
        most = np.iinfo(raw.dtype).max if raw.dtype.kind in "iu" else 1
        return raw.astype(np.float32) / np.float32(most)


def dense_ids(labels: NDArray[Any]) -> NDArray[np.int32]:
    """Renumber the ids of a patch from 1, smaller ids first; 0 stays 0.

    Parameters
    ----------
    labels : ndarray of integers, any shape

    Returns
    -------
    ndarray of int32, of the same shape
    """
    flat = labels.ravel()
    if not flat.size:
        return np.zeros(labels.shape, np.int32)
    # Objects are long runs along the last axis: their values are few and quickly sorted.
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    values, inverse = np.unique(flat[starts], return_inverse=True)
    if values[0] != 0:
        inverse = inverse + 1
    lengths = np.diff(starts, append=flat.size)
    return np.repeat(inverse.astype(np.int32), lengths).reshape(labels.shape)


def _check_patch(patch: tuple[int, ...], volumes: Sequence[TrainingVolume]) -> None:
    """Refuse patches that are none, or larger than a volume."""
    if len(patch) not in (2, 3) or min(patch) < 1:
        raise InputError(f"patch_shape is {patch}; give 2 or 3 positive lengths.")
    if not volumes:
        raise InputError("There are no volumes to take patches from. Give at least one.")
    for volume in volumes:
        shape = volume.shape
        if volume.kind != "instances" or len(shape) < len(patch):
            raise InputError(
                f"{volume.name or 'A volume'} has {volume.kind} and {len(shape)} axes; needed are "
                f"instances and {len(patch)}. Pass the volumes through checked_volumes."
            )
        room = shape[-len(patch) :]
        if any(p > n for p, n in zip(patch, room, strict=True)):
            raise InputError(
                f"Patches of {patch} voxels do not fit into {volume.name or 'a volume'}, which "
                f"has {room}. Choose smaller patches, or give a larger volume."
            )


def _shares(centres: Sequence[Centres]) -> NDArray[np.float64]:
    """Upper ends of the intervals of [0, 1] that belong to each volume."""
    if len(centres) == 1:
        return np.ones(1)
    sizes = np.array([c.labelled() for c in centres])
    shares = np.cumsum(sizes) / sizes.sum()
    shares[-1] = 1.0
    return np.asarray(shares, np.float64)


def place_patch(
    rng: np.random.Generator,
    centre: Sequence[int],
    patch: Sequence[int],
    room: Sequence[int],
    margin: Sequence[int],
) -> tuple[tuple[int, ...], Margins]:
    """Place a patch about a voxel, inside the volume, and as far from its faces as it can be.

    Parameters
    ----------
    rng : Generator
    centre, patch, room : sequence of int
        The voxel, voxels of the patch, and of the volume, per axis.
    margin : sequence of int
        What is wanted around the patch.

    Returns
    -------
    start : tuple of int
    margins : tuple of (int, int)
        What can be read around it, at most `margin`.
    """
    starts, margins = [], []
    for c, p, n, m in zip(centre, patch, room, margin, strict=True):
        start = c - p // 2 + int(rng.integers(-(p // 4), p // 4 + 1))
        wide = min(m, (n - p) // 2)
        start = min(max(start, wide), n - p - wide)
        # The voxel it was chosen for stays in, a little off its faces.
        slack = min(p // 8, c, n - 1 - c)
        start = min(max(start, c + slack - p + 1, 0), c - slack, n - p)
        starts.append(start)
        margins.append((min(m, start), min(m, n - p - start)))
    return tuple(starts), tuple(margins)


def _window(
    section: Sequence[int], start: Sequence[int], patch: Sequence[int], margins: Margins
) -> Window:
    """Where a patch and its margins lie in the volume."""
    inside = (
        slice(s - low, s + p + high)
        for s, p, (low, high) in zip(start, patch, margins, strict=True)
    )
    return (*(slice(z, z + 1) for z in section), *inside)


def move_patch(
    plan: Plan,
    raw: NDArray[np.float32],
    ids: NDArray[np.int32],
    margins: Margins,
    *,
    unlabelled: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Deform raw image and labels, unless the few labelled voxels would be lost by that.

    Parameters
    ----------
    plan : Plan
    raw : ndarray of float32, shape (C, *P), and labels of shape P
        With margins.
    margins : tuple of (int, int)
        What of them lies around the patch, per axis.
    unlabelled : bool
        Whether 0 says nothing.

    Returns
    -------
    raw, labels : ndarray
        Of the patch alone.
    """
    moved, labels = plan.move(raw, ids, margins)
    if unlabelled and not labels.any():
        return plan.undeformed().move(raw, ids, margins)
    return moved, labels
