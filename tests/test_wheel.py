"""The wheel as a user gets it: built, installed without a Qt binding, run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_implicitseg import certify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")
# What pip says where there is no index, as against a package that is missing on one.
_OFFLINE = (
    "NewConnectionError",
    "Name or service not known",
    "Temporary failure in name resolution",
)


def run(*command, **options):
    """Run a command; its output is told if it fails."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "QT_"))}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=environment | {"OMP_NUM_THREADS": "1"},
        **options,
    )
    if done.returncode and any(sign in done.stderr + done.stdout for sign in _OFFLINE):
        pytest.skip(f"pip reaches no index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory, wheel):
    """Folder of programs of an environment with nothing but the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("clean") / "environment"
    venv.create(folder, with_pip=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(programs / "python", "-m", "pip", "install", *quiet, "-c", ROOT / "constraints.txt", wheel)
    return programs


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    (info,) = tops - {"napari_implicitseg"}
    assert info.endswith(".dist-info")
    package = ROOT / "src" / "napari_implicitseg"
    sources = {
        f"napari_implicitseg/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {n for n in names if n.startswith("napari_implicitseg/")} == sources
    assert {"napari_implicitseg/napari.yaml", "napari_implicitseg/py.typed"} <= names
    assert f"{info}/licenses/LICENSE" in names


def test_the_manifest_in_the_wheel_is_a_file_and_not_a_link(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("napari_implicitseg/napari.yaml").decode()
    assert text.startswith("name: napari-implicitseg")
    assert text == (ROOT / "napari.yaml").read_text()


def test_the_metadata_of_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (info,) = (n for n in archive.namelist() if n.endswith("/entry_points.txt"))
        entries = archive.read(info).decode()
        metadata = Parser().parsestr(
            archive.read(info.replace("entry_points.txt", "METADATA")).decode()
        )
    assert "[napari.manifest]\nnapari-implicitseg = napari_implicitseg:napari.yaml" in entries
    assert "napari-implicitseg = napari_implicitseg.cli:main" in entries
    assert metadata["Name"] == "napari-implicitseg"
    assert "Framework :: napari" in metadata.get_all("Classifier")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text("utf-8").strip()


def test_no_qt_binding_is_there(clean):
    code = (
        "import importlib.util, json; "
        f"print(json.dumps([n for n in {BINDINGS!r} if importlib.util.find_spec(n)]))"
    )
    assert json.loads(run(clean / "python", "-c", code)) == []


def test_the_package_imports_without_qt(clean):
    code = """
import json, napari_implicitseg as package
names = {name: getattr(package, name).__module__ for name in package.__all__}
print(json.dumps([package.__file__, names]))
"""
    file, names = json.loads(run(clean / "python", "-W", "error", "-c", code))
    assert Path(file).is_relative_to(clean.parent)
    assert "fit_scribbles" in names


def test_npe2_finds_the_manifest(clean):
    assert "napari_implicitseg" in run(clean / "npe2", "parse", "napari-implicitseg")
    run(clean / "npe2", "validate", "napari-implicitseg")


def test_dependencies_agree(clean):
    assert "No broken requirements" in run(clean / "python", "-m", "pip", "check")


def test_help_works_without_qt(clean):
    for command in ((), ("scribble",), ("demo",)):
        assert "Usage" in run(clean / "napari-implicitseg", *command, "--help")


def test_scribble_works_without_qt(clean, scene, tmp_path):
    scaled = np.clip((scene.image + 0.5) * 127, 0, 255).astype(np.uint8)
    Image.fromarray(scaled).save(tmp_path / "image.png")
    Image.fromarray(scene.scribbles).save(tmp_path / "strokes.png")
    run(
        clean / "napari-implicitseg",
        "scribble",
        "image.png",
        "strokes.png",
        "out.tif",
        cwd=tmp_path,
    )
    mask = tifffile.imread(tmp_path / "out.tif") == 2
    assert (mask & scene.truth).sum() / (mask | scene.truth).sum() > 0.9
    assert certify(mask, kind="convex").holds
