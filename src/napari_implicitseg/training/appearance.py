"""Changes of a raw patch that leave labels where they are: contrast, noise, blur, sections.

All strengths are relative to the patch: to the range or the standard deviation of its values,
so they do not depend on how it is normalised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "add_noise",
    "blank_sections",
    "blur",
    "change_colours",
    "change_contrast",
    "change_sections",
]

# At most this share of the sections of a patch is blank.
_MOST_BLANK = 0.25


def change_contrast(
    raw: NDArray[np.float32], rng: np.random.Generator, *, gain: float, offset: float, gamma: float
) -> NDArray[np.float32]:
    """Change the contrast of a patch, all of its channels alike.

    Parameters
    ----------
    raw : ndarray of float32, shape (C, *P)
    rng : numpy.random.Generator
    gain, gamma : float
        Largest change of the logarithm of the slope, and of the exponent.
    offset : float
        Largest shift, as a share of the range of values.

    Returns
    -------
    ndarray of float32
    """
    exponent = np.exp(rng.uniform(-gamma, gamma))
    slope = np.exp(rng.uniform(-gain, gain))
    shift = rng.uniform(-offset, offset)
    changed = np.empty_like(raw)
    for channel, out in zip(raw, changed, strict=True):
        low, high = float(channel.min()), float(channel.max())
        width = high - low
        if not width:
            out[...] = channel
            continue
        np.subtract(channel, np.float32(low), out=out)
        if gamma:
            out *= np.float32(1 / width)
            np.power(out, np.float32(exponent), out=out)
            out *= np.float32(width)
        middle = float(out.mean())
        out *= np.float32(slope)
        out += np.float32(low + middle * (1 - slope) + shift * width)
    return changed


def change_colours(
    raw: NDArray[np.float32], rng: np.random.Generator, *, strength: float
) -> NDArray[np.float32]:
    """Change the contrast and the mean of each channel by itself.

    `strength` is the largest change of the logarithm of the slope, and of the mean as a
    share of the channel's range.
    """
    changed = np.empty_like(raw)
    for channel, out in zip(raw, changed, strict=True):
        slope = np.float32(np.exp(rng.uniform(-strength, strength)))
        shift = np.float32(rng.uniform(-strength, strength) * float(np.ptp(channel)))
        middle = channel.mean()
        np.multiply(channel - middle, slope, out=out)
        out += middle + shift
    return changed


def add_noise(
    raw: NDArray[np.float32], rng: np.random.Generator, *, strength: float
) -> NDArray[np.float32]:
    """Add Gaussian noise, of at most `strength` standard deviations of the patch."""
    noise = rng.standard_normal(raw.shape, np.float32)
    noise *= np.float32(rng.uniform(0, strength) * float(raw.std()))
    noise += raw
    return noise


def blur(
    raw: NDArray[np.float32],
    rng: np.random.Generator,
    *,
    strength: float,
    spacing: Sequence[float],
) -> NDArray[np.float32]:
    """Blur by a Gaussian of at most `strength` voxels of the finest axis."""
    from scipy import ndimage

    sigma = rng.uniform(0, strength) * min(spacing)
    # Less than a fifth of a voxel changes nothing.
    widths = [sigma / s if sigma / s > 0.2 else 0.0 for s in spacing]
    return np.stack([ndimage.gaussian_filter(c, widths, truncate=3.0) for c in raw])


def blank_sections(
    raw: NDArray[np.float32], rng: np.random.Generator, *, probability: float
) -> NDArray[np.float32]:
    """Make each section across the first axis blank with some probability, a quarter at most."""
    blank = np.flatnonzero(rng.random(raw.shape[1]) < probability)
    blank = rng.permutation(blank)[: int(raw.shape[1] * _MOST_BLANK)]
    if not blank.size:
        return raw
    low, high = float(raw.min()), float(raw.max())
    # Mostly black, as sections that are missing are in most data sets.
    values = np.where(rng.random(blank.size) < 0.5, low, rng.uniform(low, high, blank.size))
    changed = raw.copy()
    for z, value in zip(blank, values, strict=True):
        changed[:, z] = value
    return changed


def change_sections(
    raw: NDArray[np.float32], rng: np.random.Generator, *, probability: float, strength: float
) -> NDArray[np.float32]:
    """Change the contrast of each section across the first axis with some probability.

    `strength` is the largest change of the logarithm of its contrast, and of its mean as
    a share of the range of values.
    """
    chosen = np.flatnonzero(rng.random(raw.shape[1]) < probability)
    if not chosen.size:
        return raw
    changed = raw.copy()
    width = float(raw.max()) - float(raw.min())
    for z in chosen:
        section = changed[:, z]
        middle = section.mean()
        slope = np.float32(np.exp(rng.uniform(-strength, strength)))
        shift = np.float32(rng.uniform(-strength, strength) * width)
        changed[:, z] = (section - middle) * slope + (middle + shift)
    return changed
