"""Patches for classes: about pixels of each, of images of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.training.arrays import Blocks
from napari_implicitseg.training.augment import Augmentation
from napari_implicitseg.training.patches import Patch, move_patch, place_patch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.models.normalise import Normalisation, Scaling
    from napari_implicitseg.training.augment import Margins
    from napari_implicitseg.training.labelled import TrainingVolume
    from napari_implicitseg.training.value_counts import BlockCounts

__all__ = ["ClassPlaces", "ClassSampler"]


class ClassPlaces:
    """Where the pixels of each class lie in one mask, counted block by block.

    Parameters
    ----------
    labels : array of integers, shape S
        Classes from 1; 0 is unlabelled. What it has counted already, its `counts`, is not
        counted again.
    classes : int
        How many there are.
    flat : bool
        Patches lie in one section.

    Attributes
    ----------
    counts : ndarray of int64, shape (classes,)
        Pixels of each class.
    """

    def __init__(self, labels: Any, classes: int, *, flat: bool) -> None:
        self._blocks = Blocks(labels, flat=flat)
        self._classes = classes
        known: BlockCounts | None = getattr(labels, "counts", None)
        self._totals: NDArray[np.int64] | None = None
        self.counts: NDArray[np.int64]
        if known is None:
            self._totals = self._counted()
            self.counts = self._totals[-1]
            return
        self.counts = known.table.sum(axis=0)
        if known.block == self._blocks.block:  # Otherwise in these blocks when one is wanted.
            self._totals = np.cumsum(known.table, axis=0)

    def choose(self, rng: np.random.Generator, number: int) -> tuple[int, ...]:
        """Choose a pixel of a class, from 0, all at even odds."""
        if self._totals is None:
            self._totals = self._counted()
        totals = self._totals[:, number]
        chosen = int(rng.integers(totals[-1]))
        block = int(np.searchsorted(totals, chosen, side="right"))
        labels = self._blocks.read(block)
        before = int(totals[block - 1]) if block else 0
        flat = np.flatnonzero(labels == number + 1)[chosen - before]
        place = np.unravel_index(int(flat), labels.shape)
        window = self._blocks.window(block)
        return tuple(part.start + int(i) for part, i in zip(window, place, strict=True))

    def _counted(self) -> NDArray[np.int64]:
        """Pixels of each class up to the end of each block."""
        each = np.zeros((len(self._blocks), self._classes), np.int64)
        for number in range(len(self._blocks)):
            found = np.bincount(self._blocks.read(number).ravel(), minlength=self._classes + 1)
            each[number] = found[1 : self._classes + 1]
        return np.cumsum(each, axis=0)


class ClassSampler:
    """Chooses, reads and augments patches; each depends on seed, step and item alone.

    May be used from several threads at a time. Images smaller than a patch are mirrored at
    their borders; what is mirrored teaches nothing.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        Labels are classes from 1, 0 unlabelled.
    patch_shape : sequence of int
        With two axes, the sections of stacks are samples.
    classes : int
        How many there are.
    seed : int
    augmentation : Augmentation, optional
        By default none.
    balanced_share : float
        Share of the patches about a pixel of a class that is drawn at even odds; others are
        about any labelled pixel of an image drawn at even odds.
    normalise : Normalisation
        How grey levels become what the network sees.

    Raises
    ------
    InputError
        If nothing is labelled.
    """

    def __init__(
        self,
        volumes: Sequence[TrainingVolume],
        patch_shape: Sequence[int],
        *,
        classes: int,
        seed: int,
        normalise: Normalisation,
        augmentation: Augmentation | None = None,
        balanced_share: float = 0.5,
    ) -> None:
        self._volumes = tuple(volumes)
        self.patch_shape = tuple(int(n) for n in patch_shape)
        self._seed, self._balanced = seed, balanced_share
        self._augmentation = augmentation or Augmentation.none()
        self._normalise = normalise
        self._scalings: dict[int, Scaling] = {}
        ndim = len(self.patch_shape)
        self._places = [
            ClassPlaces(v.labels, classes, flat=len(v.shape) > ndim) for v in self._volumes
        ]
        self.counts = np.stack([places.counts for places in self._places])
        if not self.counts.any():
            raise InputError("No pixel of any mask is labelled. Label some.")

    def sample(self, step: int, item: int = 0) -> Patch:
        """Return a patch.

        Parameters
        ----------
        step, item : int
            Which one: step of the training, and place in its batch, from 0.

        Raises
        ------
        InputError
            If there is NaN or infinity in the image.
        FileError
            If a file cannot be read.
        """
        rng = np.random.default_rng([self._seed, step, item])
        number, which = self._choose(rng)
        volume, ndim = self._volumes[number], len(self.patch_shape)
        centre = self._places[number].choose(rng, which)
        section, inside = centre[: len(centre) - ndim], centre[-ndim:]
        plan = self._augmentation.draw(rng, self.patch_shape, volume.voxel_size[-ndim:])
        room = volume.shape[-ndim:]
        lacking = [max(0, p - n) for p, n in zip(self.patch_shape, room, strict=True)]
        before = [int(rng.integers(lack + 1)) for lack in lacking]
        start, _ = place_patch(
            rng,
            [c + b for c, b in zip(inside, before, strict=True)],
            self.patch_shape,
            [n + lack for n, lack in zip(room, lacking, strict=True)],
            (0,) * ndim,
        )
        # Also beyond the image, which may be as small as the patch.
        margins = tuple((m, m) for m in plan.margin)
        raw, labels = self._read(number, section, start, margins, before)
        raw, labels = move_patch(plan, raw, labels, margins, unlabelled=True)
        return Patch(
            raw=np.ascontiguousarray(plan.paint(raw, rng), np.float32),
            labels=labels,
            known=labels != 0,
            volume=number,
            start=(*section, *start),
        )

    def _choose(self, rng: np.random.Generator) -> tuple[int, int]:
        """Choose an image and a class that it has."""
        if rng.random() < self._balanced:
            there = np.flatnonzero(self.counts.any(axis=0))
            which = int(there[rng.integers(len(there))])
            # Of an image with few pixels of a class not all patches need to be.
            odds = np.sqrt(self.counts[:, which].astype(np.float64))
            return int(rng.choice(len(odds), p=odds / odds.sum())), which
        usable = np.flatnonzero(self.counts.any(axis=1))
        number = int(usable[rng.integers(len(usable))])
        odds = self.counts[number].astype(np.float64)
        return number, int(rng.choice(len(odds), p=odds / odds.sum()))

    def _scaling(self, number: int) -> Scaling:
        """Measure the grey levels of an image, once, when it is there to be read anyway."""
        scaling = self._scalings.get(number)
        if scaling is None:
            volume = self._volumes[number]
            scaling = self._normalise.scaling(volume.raw, volume.name)
            self._scalings[number] = scaling
        return scaling

    def _read(
        self,
        number: int,
        section: Sequence[int],
        start: Sequence[int],
        margins: Margins,
        before: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Read a window that may reach beyond the image, and scale it."""
        volume = self._volumes[number]
        window, missing = [slice(z, z + 1) for z in section], []
        room = volume.shape[len(section) :]
        for s, p, (low, high), b, n in zip(
            start, self.patch_shape, margins, before, room, strict=True
        ):
            first, last = s - low - b, s + p + high - b
            window.append(slice(max(0, first), min(n, last)))
            missing.append((max(0, -first), max(0, last - n)))
        labels = volume.read_labels(tuple(window))
        labels = labels.reshape(labels.shape[len(section) :]).astype(np.int32)
        raw = self._scaling(number)(volume.read_raw(tuple(window)))
        raw = raw.reshape(-1, *labels.shape)
        if any(map(any, missing)):
            raw = np.pad(raw, [(0, 0), *missing], mode="symmetric")
            labels = np.pad(labels, missing)
        return raw, labels
