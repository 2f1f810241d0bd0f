"""`python -m napari_implicitseg.cli`."""

from __future__ import annotations

from napari_implicitseg.cli import main

main()
