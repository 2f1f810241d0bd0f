"""Images and label images in files: TIFF, PNG, JPEG, BMP, HDF5, OME-Zarr and zarr."""

from __future__ import annotations

from napari_implicitseg.volumes.files import (
    read_image,
    read_labels,
    read_probability,
    write_labels,
)
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.outputs import check_output
from napari_implicitseg.volumes.volume import Axis, Grid, Volume, unit_name, unit_symbol

__all__ = [
    "Axis",
    "Grid",
    "Layout",
    "Volume",
    "check_output",
    "read_image",
    "read_labels",
    "read_probability",
    "unit_name",
    "unit_symbol",
    "write_labels",
]
