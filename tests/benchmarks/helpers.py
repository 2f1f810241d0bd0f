"""Masks and what is asked of them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def disc(size, centre, radius):
    y, x = np.indices(size)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def in_one_piece(mask):
    return ndimage.label(mask, np.ones((3,) * mask.ndim))[1] == 1


def clear_of_the_border(mask):
    inner = np.zeros_like(mask)
    inner[(slice(1, -1),) * mask.ndim] = True
    return not (mask & ~inner).any()
