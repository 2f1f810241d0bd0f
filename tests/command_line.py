"""The command line in this process, which is quick, and as the shell runs it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import typer.testing

from napari_implicitseg.cli import app


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process; bugs and warnings are raised."""
    words = [str(a) for a in arguments]
    with contextlib.chdir(cwd or Path.cwd()):
        done = typer.testing.CliRunner().invoke(app, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def shell(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with warnings as they come."""
    command = [sys.executable, "-m", "napari_implicitseg.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, encoding="utf-8", cwd=cwd, env=environment, timeout=300
    )
