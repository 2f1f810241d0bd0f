"""Measurements in processes of their own: CPU seconds, and memory beyond the inputs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["measured", "probe", "python_with"]


def measured(
    call: Callable[[], Any], rounds: int, clock: Callable[[], float] = time.process_time
) -> tuple[dict[str, Any], Any]:
    """Call a function some times; seconds of each, peak of the first, and what came last.

    The seconds are of the CPU, or of another clock. The peak is of resident bytes, over those
    before the call. A result that is a dict with `seconds` says these itself.
    """
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")
    seconds, found, peak = [], None, 0
    for turn in range(rounds):
        begin = clock()
        found = call()
        spent = clock() - begin
        seconds.append(found.pop("seconds", spent) if isinstance(found, dict) else spent)
        if turn == 0:
            status = Path("/proc/self/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024 - resident
    return {"seconds": seconds, "peak": peak}, found


def python_with(method: str, modules: Mapping[str, str]) -> str | None:
    """Name the Python that measures a method; None where it has not the peer.

    Parameters
    ----------
    method : str
    modules : mapping of str to str
        Module of each peer, by a part of the names of its methods.
    """
    peer = next((module for name, module in modules.items() if name in method), None)
    if peer is None:
        return sys.executable
    python = os.environ.get("PEERS_PYTHON", sys.executable)
    done = subprocess.run([python, "-c", f"import {peer}"], capture_output=True, check=False)
    return python if done.returncode == 0 else None


def probe(python: str, script: str, *arguments: object) -> dict[str, Any]:
    """Run a script and return the JSON of its last line; peers print what they do before it."""
    done = subprocess.run(
        [python, script, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
