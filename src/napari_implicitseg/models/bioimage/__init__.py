"""Packages of the BioImage Model Zoo: this package's models in other programs, and theirs here."""

from __future__ import annotations

from napari_implicitseg.models.bioimage.export import PackageInfo, export_bioimageio
from napari_implicitseg.models.bioimage.files import is_package
from napari_implicitseg.models.bioimage.foreign import ForeignModel
from napari_implicitseg.models.bioimage.foreign_card import foreign_card
from napari_implicitseg.models.bioimage.importing import import_bioimageio, unpack_bioimageio

__all__ = [
    "ForeignModel",
    "PackageInfo",
    "export_bioimageio",
    "foreign_card",
    "import_bioimageio",
    "is_package",
    "unpack_bioimageio",
]
