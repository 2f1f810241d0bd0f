"""Measure the papers' tables and put them into reproduction.md, with their pictures.

Run `python docs/make_reproduction.py`, or a part by `python docs/make_reproduction.py corruptions`;
the other parts stay as they are. Some minutes each, half an hour for malis and for the U-Nets.
"""

from __future__ import annotations

import sys
from pathlib import Path

from typer.main import get_command

from napari_implicitseg.cli import app

HERE = Path(__file__).parent
FOLDER = HERE / "pictures" / "reproduction"
PAGE = HERE / "reproduction.md"
NAMES = (
    "path-connectedness",
    "implicit-convex",
    "corruptions",
    "single-image",
    "malis",
    "unet",
    "unet-parts",
)


def main(names: list[str]) -> None:
    """Measure some of the tables and write the page."""
    command = get_command(app)
    for name in names or NAMES:
        command(["reproduce", name, "--output", str(FOLDER)], standalone_mode=False)
        put_in(name)


def put_in(name: str) -> None:
    """Put a table that was measured into the page, between its marks."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    pictures = sorted(FOLDER.glob(f"{name}-*.png"))
    shown = [f"![{p.stem}](pictures/reproduction/{p.name})\n" for p in pictures]
    first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(first)
    _, after = rest.split(last)
    new = "\n".join([before + first, text, *shown, last + after])
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
