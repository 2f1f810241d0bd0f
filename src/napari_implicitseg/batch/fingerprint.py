"""What tells that a source has changed since a job began."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime
from typing import Any

import numpy as np

__all__ = ["digest_of", "files_of"]

_SAMPLE = 16
_METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zmetadata")


def digest_of(path: str, data: Any) -> dict[str, Any]:
    """Describe a source so that a change of it shows.

    Parameters
    ----------
    path : str
    data : array
        Its voxels.

    Returns
    -------
    dict
        Shape, type and samples of the voxels; of files how many, their bytes, and when the last
        of them was written.
    """
    shape = tuple(int(n) for n in data.shape)
    samples = hashlib.sha256()
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        starts = [round(share * max(0, n - _SAMPLE)) for n in shape]
        window = tuple(slice(s, min(s + _SAMPLE, n)) for s, n in zip(starts, shape, strict=True))
        samples.update(np.ascontiguousarray(data[window]).tobytes())
    return {
        "path": os.path.realpath(path) if "://" not in path else path,
        "shape": list(shape),
        "dtype": str(np.dtype(data.dtype)),
        "samples": samples.hexdigest()[:16],
        **files_of(path),
    }


def files_of(path: str) -> dict[str, Any]:
    """Return how many files a source has, their bytes, and when the last of them was written.

    Of a zarr group its own arrays count, not the labels beside them, which may be painted still.
    """
    if "://" in path:
        return {}
    if os.path.isfile(path):
        return _summed([os.stat(path)])
    found = []
    for root, folders, names in os.walk(path):
        top = root == path
        folders[:] = [n for n in folders if not n.startswith(".") and not (top and n == "labels")]
        found += [os.stat(os.path.join(root, n)) for n in names if not (top and n in _METADATA)]
    return _summed(found)


def _summed(files: list[os.stat_result]) -> dict[str, Any]:
    """Sum up what is known of files."""
    last = max((file.st_mtime for file in files), default=0.0)
    return {
        "files": len(files),
        "bytes": sum(file.st_size for file in files),
        "written": datetime.fromtimestamp(last, UTC).isoformat(),
    }
