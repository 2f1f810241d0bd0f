"""What the tests of conversion share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile
import zarr

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
EM = RNG.integers(0, 255, (9, 70, 80)).astype(np.uint8)
VERSIONS = ("0.4", "0.5")


def array(path: Path, level: int = 0) -> zarr.Array:
    return zarr.open_array(path / str(level), mode="r")


def ome(path: Path) -> dict:
    found = zarr.open_group(path, mode="r").attrs.asdict()
    return found.get("ome", found)


def save_imagej(path: Path, data: np.ndarray = EM, **options: object) -> Path:
    tifffile.imwrite(
        path,
        data,
        imagej=True,
        resolution=(1 / 4, 1 / 4),
        metadata={"axes": "ZYX", "spacing": 40, "unit": "nm"},
        **options,
    )
    return path
