"""`napari-implicitseg demo`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from napari_implicitseg.cli._run import one_line_errors
from napari_implicitseg.errors import InputError

__all__ = ["demo"]

_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def demo(
    headless: Annotated[
        bool, typer.Option("--headless", help="Use a virtual screen even if there is a real one.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the label image, the picture of the window and the report "
            "of a headless run; [default: demo-output]."
        ),
    ] = None,
) -> None:
    """Open napari on a sample with scribbles and fit it.

    Without a screen, the same runs through the widget under a virtual one and
    its results are written to a folder.

    \b
    Example:
      napari-implicitseg demo --headless --output demo-output
    """  # noqa: D301 - \b keeps the example's lines
    with one_line_errors():
        if not any(importlib.util.find_spec(name) for name in _BINDINGS):
            raise InputError(
                "The demo needs napari with a Qt binding and found none of "
                f'{", ".join(_BINDINGS)}. Install one: pip install "napari-implicitseg[all]"'
            )
        # A process of its own: the command line imports no Qt.
        command = [sys.executable, "-m", "napari_implicitseg.widgets.demo"]
        if headless:
            command.append("--headless")
        if output is not None:
            command += ["--output", str(output)]
        status = subprocess.run(command, check=False).returncode
    # A process ended by a signal has a negative status; shells say 128 + number.
    raise typer.Exit(status if status >= 0 else 128 - status)
