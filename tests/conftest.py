"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_ROOT = Path(__file__).parents[1]
_DATA = _ROOT.parent / "shared" / "data"

if _worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Processes that run tests side by side must not write the same files: numba may store the
    # code of one under the name of another.
    _own = _ROOT / ".pytest_cache" / "workers" / _worker
    os.environ["NUMBA_CACHE_DIR"] = str(_own / "numba")
    os.environ["NAPARI_CONFIG"] = str(_own / "napari.yaml")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real images; the test is skipped where it is missing."""
    folder = Path(os.environ.get("IMPLICITSEG_DATA", _DATA))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set IMPLICITSEG_DATA to run this test")
    return folder


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """More threads than one only slow these small fits down."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Scene:
    """A noisy bright ellipse, a stroke in it and a stroke of background."""

    def __init__(self, size: int = 96, *, turn: float = 0.5, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        along, across = np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y
        self.truth = (along / (0.32 * size)) ** 2 + (across / (0.2 * size)) ** 2 <= 1
        self.image: NDArray[np.float32] = rng.normal(0, 0.05, (size, size)).astype(np.float32)
        self.image[self.truth] += 0.5
        self.scribbles = np.zeros((size, size), np.uint8)
        middle, reach = size // 2, size // 10
        self.scribbles[middle, middle - reach : middle + reach] = 2
        self.scribbles[3, 4 : size - 4] = 1


@pytest.fixture
def scene() -> Scene:
    return Scene()


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((mask & truth).sum() / (mask | truth).sum())
