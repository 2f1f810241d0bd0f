"""What the channels of a network of another program are: affinities, or boundaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import checked_offsets, edge_slices, neighbourhood
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.bioimage.rdf import CONFIG_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Meaning", "Wishes", "find_meaning"]

_BOUNDARY_WORDS = ("boundar", "membrane", "border", "contour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What the channels of an output are.

    Attributes
    ----------
    offsets : tuple of tuple of int
        Edges whose affinities are wanted, in the axes of the network.
    channels : tuple of int
        Channels that hold affinities, one for each offset, or the one that holds
        boundaries.
    boundaries : bool
        Whether it is a map of boundaries. The affinity of an edge is then one minus the
        larger of the boundary probabilities at its ends.
    repulsive : bool
        Whether 1 says boundary, or two objects; else 1 says inside, or one object.
    """

    offsets: tuple[tuple[int, ...], ...]
    channels: tuple[int, ...]
    boundaries: bool = False
    repulsive: bool = False

    def attraction(self, output: NDArray[Any]) -> NDArray[np.float32]:
        """Channels that are wanted, of (C, *S); 1 says inside or one object."""
        values = np.asarray(output[list(self.channels)], np.float32)
        return 1 - values if self.repulsive else values

    def affinities(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Affinities (K, *S) of a volume from its attraction."""
        if not self.boundaries:
            return values
        (inside,) = values
        lead = inside.ndim - len(self.offsets[0])
        out = np.zeros((len(self.offsets), *inside.shape), np.float32)
        for k, offset in enumerate(self.offsets):
            here, there = edge_slices(inside.shape, (*(0,) * lead, *offset))
            out[k][here] = np.minimum(inside[here], inside[there])
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a user says of the channels; see `import_bioimageio`."""

    offsets: Sequence[Sequence[int]] | None = None
    channels: Sequence[int] | None = None
    repulsive: bool | None = None


def find_meaning(
    wishes: Wishes,
    config: Mapping[str, Any],
    *,
    names: Sequence[str],
    ndim: int,
    source: str,
) -> Meaning:
    """Find out what the channels of an output are.

    Parameters
    ----------
    wishes : Wishes
        What the user says, which counts most.
    config : mapping
        What programs have noted down in the package.
    names : sequence of str
        Of the channels.
    ndim : int
        Axes of the network.
    source : str
        The package, for messages.

    Raises
    ------
    InputError
        If it cannot be told, or the user's offsets and channels do not fit.
    FileError
        If what the package notes down does not fit.
    """
    noted = {} if wishes.offsets or wishes.channels else _noted(config)
    try:
        offsets = wishes.offsets if wishes.offsets is not None else noted.get("offsets")
        vectors = None if offsets is None else checked_offsets(offsets, ndim)
        channels = wishes.channels if wishes.channels is not None else noted.get("channels")
        chosen = _chosen(channels, vectors, names, source, from_end=noted.get("from_end") is True)
    except InputError as error:
        if noted:
            raise FileError(f"'{source}' notes down what does not fit: {error}") from error
        raise
    boundaries = len(chosen) == 1 and (vectors is None or len(vectors) > 1)
    repulsive = noted.get("repulsive", boundaries)
    return Meaning(
        offsets=neighbourhood("direct", ndim=ndim) if vectors is None else vectors,
        channels=chosen,
        boundaries=boundaries,
        repulsive=bool(repulsive if wishes.repulsive is None else wishes.repulsive),
    )


def _noted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a package notes down: by this program, or by torch-em."""
    own, mutex = config.get(CONFIG_KEY), config.get("mws")
    if isinstance(own, dict) and own.get("offsets"):
        keys = ("offsets", "channels", "repulsive")
        return {key: own[key] for key in keys if own.get(key) is not None}
    if isinstance(mutex, dict) and mutex.get("offsets"):
        # torch-em learns 1 where an edge parts objects; foreground may come first.
        return {"offsets": mutex["offsets"], "repulsive": True, "from_end": True}
    return {}


def _chosen(
    channels: Any,
    offsets: tuple[tuple[int, ...], ...] | None,
    names: Sequence[str],
    source: str,
    *,
    from_end: bool,
) -> tuple[int, ...]:
    """Return the channels that are wanted."""
    count = len(names)
    wanted = 1 if offsets is None else len(offsets)
    listed = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
    if channels is not None:
        chosen = tuple(channels) if isinstance(channels, list | tuple) else (channels,)
        if not all(type(c) is int and 0 <= c < count for c in chosen):
            raise InputError(f"channels is {channels!r}; '{source}' has {count} ({listed}).")
        if len(chosen) not in (1, wanted):
            raise InputError(
                f"There are {len(chosen)} channels for {wanted} offsets; give one channel for each "
                "offset, or the one that holds boundaries."
            )
        return chosen
    if count in (1, wanted) and (offsets is not None or count == 1):
        return tuple(range(count))
    if offsets is not None and from_end and count > wanted:
        return tuple(range(count - wanted, count))
    named = [i for i, n in enumerate(names) if any(w in n.lower() for w in _BOUNDARY_WORDS)]
    if offsets is None and len(named) == 1:
        return (named[0],)
    raise InputError(
        f"It cannot be told which of the {count} channels of '{source}' ({listed}) hold "
        f"{'boundaries' if offsets is None else f'the affinities of {wanted} offsets'}. Say which "
        "by channels; if they are affinities, their edges by offsets."
    )
