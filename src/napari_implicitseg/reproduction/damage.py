"""Common corruptions of images at severity 5, for colour images from 0 to 1.

References
----------
Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common
corruptions and perturbations": kinds and strengths, made for 224 x 224 pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv
from skimage.morphology import disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["DAMAGES"]

_SIDE = 224


def _scale(image: NDArray[np.float64]) -> float:
    """Size of an image against what the strengths were made for."""
    return float(max(image.shape[:2])) / _SIDE


def spatter(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Spatter with mud."""
    layer = ndimage.gaussian_filter(rng.normal(0.67, 0.4, image.shape[:2]), _scale(image))
    drops = ndimage.gaussian_filter((layer > 0.65).astype(float), 1.5 * _scale(image))
    drops = np.where(drops < 0.8, 0, drops)[..., None]
    mud = np.array([63, 42, 20]) / 255
    return np.asarray(image * (1 - drops) + mud * drops)


def contrast(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Keep a twentieth of the contrast."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray((image - mean) * 0.05 + mean)


def brightness(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Brighter by one half."""
    hsv = rgb2hsv(np.clip(image, 0, 1))
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.5, 0, 1)
    return np.asarray(hsv2rgb(hsv))


def impulse(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Salt and pepper on 27 % of the values."""
    chance = rng.random(image.shape)
    return np.where(chance < 0.135, 0.0, np.where(chance < 0.27, 1.0, image))


def shot(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Three photons at full light."""
    return np.asarray(rng.poisson(np.clip(image, 0, 1) * 3) / 3)


def gaussian(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise of deviation 0.38."""
    return np.asarray(image + rng.normal(0, 0.38, image.shape))


def defocus(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Blur by a disc of radius 10."""
    kernel = disk(max(1, round(10 * _scale(image)))).astype(float)
    return np.asarray(ndimage.convolve(image, kernel[..., None] / kernel.sum(), mode="nearest"))


def glass(image: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Blur, pixels swapped with neighbours up to 4 away, and blur again."""
    sigma = 1.5 * _scale(image)
    out = ndimage.gaussian_filter(image, (sigma, sigma, 0))
    reach = max(1, round(4 * _scale(image)))
    index = np.indices(image.shape[:2])
    for _ in range(2):
        moved = index + rng.integers(-reach, reach + 1, index.shape)
        y, x = (np.clip(at, 0, n - 1) for at, n in zip(moved, image.shape[:2], strict=True))
        out = out[y, x]
    return np.asarray(ndimage.gaussian_filter(out, (sigma, sigma, 0)))


DAMAGES: dict[str, Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]] = {
    "spatter": spatter,
    "contrast": contrast,
    "brightness": brightness,
    "impulse": impulse,
    "shot": shot,
    "Gaussian": gaussian,
    "defocus": defocus,
    "glass blur": glass,
}
"""Corruptions by name: functions of an image (Y, X, 3) from 0 to 1 and a generator."""
