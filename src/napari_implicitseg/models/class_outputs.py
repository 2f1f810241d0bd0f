"""What becomes of probabilities that come tile by tile: classes, one of them, its pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["OneClass", "Winners", "class_objects"]


def class_objects(classes: Any, number: int, *, min_size: int = 1) -> NDArray[np.uint32]:
    """Return the connected pieces of one class of a prediction.

    Parameters
    ----------
    classes : array of integers, shape (*S)
    number : int
        Of the class.
    min_size : int
        Smaller pieces are left out, in pixels.

    Returns
    -------
    ndarray of uint32, shape (*S)
        Ids from 1; pieces touch across faces, not corners.
    """
    from scipy import ndimage

    found, count = ndimage.label(np.asarray(classes) == number)
    sizes = np.bincount(found.ravel(), minlength=count + 1)
    kept = sizes >= min_size
    kept[0] = False
    ids = np.where(kept, np.cumsum(kept), 0).astype(np.uint32)
    labels: NDArray[np.uint32] = ids[found]
    return labels


class Winners:
    """Takes probabilities tile by tile and keeps the most probable class, from 1.

    Parameters
    ----------
    out : array of integers, optional
        Where it is written.
    """

    def __init__(self, out: Any = None) -> None:
        self.shape: tuple[int, ...] = ()
        self.classes: Any = out

    def start(self, shape: tuple[int, ...]) -> None:
        """Get ready for probabilities of a shape."""
        self.shape = shape
        if self.classes is None:
            self.classes = np.empty(shape[1:], np.uint8)
        elif tuple(self.classes.shape) != shape[1:]:
            raise InputError(f"out has shape {tuple(self.classes.shape)}; needed is {shape[1:]}.")

    def __setitem__(self, key: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Take a tile."""
        self.classes[key[1:]] = block.argmax(axis=0).astype(np.uint8) + np.uint8(1)


class OneClass:
    """Takes probabilities tile by tile and keeps those of one class."""

    def __init__(self, chosen: int) -> None:
        self.shape: tuple[int, ...] = ()
        self._chosen = chosen
        self.values = np.empty(0, np.float32)

    def start(self, shape: tuple[int, ...]) -> None:
        """Get ready for probabilities of a shape."""
        self.shape = shape
        self.values = np.empty(shape[1:], np.float32)

    def __setitem__(self, key: tuple[slice, ...], block: NDArray[np.float32]) -> None:
        """Take a tile."""
        self.values[key[1:]] = block[self._chosen]
