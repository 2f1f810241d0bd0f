"""`python -m napari_implicitseg`: the command line."""

from napari_implicitseg.cli import main

main()
