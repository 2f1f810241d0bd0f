"""Widgets for the napari viewer. The only part of the package that knows Qt and napari."""
