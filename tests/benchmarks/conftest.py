"""The benchmarks are scripts that import one another by their file names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks, and forget it after the test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def peers(load):
    pytest.importorskip("cv2", reason="the peers need the dependency group bench")
    pytest.importorskip("maxflow", reason="the peers need the dependency group bench")
    return load("peers")


@pytest.fixture
def corruption(load):
    return load("corruption")
