"""The command line: one module per sub-command over `napari_implicitseg.api`.

Exit status: 0 done, 1 an error the user can mend (one line on stderr), 2 wrong
usage, 130 interrupted. Heavy modules are imported when a command runs, so that
`--help` is quick.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from napari_implicitseg.cli import (
    batch,
    convert,
    demo,
    evaluate,
    models,
    predict,
    repair,
    reproduce,
    scribble,
    segment,
    semantic,
    train,
)

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import NoReturn

__all__ = ["app", "main"]

_TRACEBACK = "IMPLICITSEG_TRACEBACK"

app = typer.Typer(
    name="napari-implicitseg",
    help="Scribbles, or masks from any tool, to masks that keep a promise about their shape.",
    no_args_is_help=True,
    add_completion=False,
    # Plain text: rich would swallow the line breaks of the examples.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("scribble")(scribble.scribble)
app.command("repair")(repair.repair)
app.command("train")(train.train)
app.command("predict")(predict.predict)
app.command("segment")(segment.segment)
app.add_typer(semantic.app, name="semantic")
app.command("evaluate")(evaluate.evaluate)
app.command("convert")(convert.convert)
app.command("batch")(batch.batch)
app.add_typer(models.app, name="models")
app.command("demo")(demo.demo)
app.command("reproduce")(reproduce.reproduce)


def _show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from napari_implicitseg import __version__

        print(f"napari-implicitseg {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Scribbles, or masks from any tool, to masks that keep a promise about their shape."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leave like an error would, so that temporary files are removed."""
    sys.exit(128 + number)


def _say_unexpected(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Tell about a bug in one line; the traceback is for those who ask for it."""
    if os.environ.get(_TRACEBACK):
        sys.__excepthook__(kind, error, trace)
        return
    text = " ".join(f"{kind.__name__}: {error}".split())
    print(
        f"error: {text}. This is a bug in napari-implicitseg: please report it, with what is "
        f"printed when {_TRACEBACK}=1 is set.",
        file=sys.stderr,
    )


def main() -> None:
    """Run the command line; leaves through SystemExit."""
    sys.excepthook = _say_unexpected
    signal.signal(signal.SIGTERM, _terminate)
    # Libraries would print their own opinion of a broken file next to ours.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal may have no "µ".
    # Calling the app itself would put typer's hook in the place of ours.
    typer.main.get_command(app)()
