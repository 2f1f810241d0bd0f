from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import npe2
import pytest

import napari_implicitseg

ROOT = Path(__file__).parents[1]
HEAVY = (
    "PyQt5",
    "PyQt6",
    "PySide6",
    "dask",
    "magicgui",
    "napari",
    "numba",
    "numpy",
    "qtpy",
    "scipy",
    "skimage",
    "superqt",
    "torch",
    "zarr",
)
BINDINGS = {"pyqt5", "pyqt6", "pyside2", "pyside6"}


def python(code, *args):
    """What a fresh interpreter prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def loaded_after(code):
    modules = python(f"import json, sys\n{code}\nprint(json.dumps(list(sys.modules)))")
    return {name.split(".")[0] for name in modules}


def test_importing_the_package_is_quick_and_imports_nothing_heavy():
    code = """
import json, sys, time
begin = time.process_time()
import napari_implicitseg
print(json.dumps([time.process_time() - begin, list(sys.modules)]))
"""
    runs = [python(code) for _ in range(4)]
    assert min(seconds for seconds, _ in runs) < 0.3
    loaded = {name.split(".")[0] for name in runs[0][1]}
    assert "napari_implicitseg" in loaded
    assert not loaded & set(HEAVY)


def test_the_facade_brings_neither_napari_nor_qt():
    loaded = loaded_after("from napari_implicitseg import fit_scribbles")
    assert "torch" in loaded
    assert not loaded & {"PyQt5", "PyQt6", "PySide6", "magicgui", "napari", "qtpy", "superqt"}


def test_public_names_are_sorted_and_found():
    names = napari_implicitseg.__all__
    assert names == sorted(names)
    assert len(names) == len(set(names))
    for name in names:
        found = getattr(napari_implicitseg, name)
        assert found.__name__ == name
        assert found.__doc__
        assert found.__module__.startswith("napari_implicitseg.")


def test_star_import_and_dir_show_the_public_names():
    space = {}
    exec("from napari_implicitseg import *", space)
    assert set(napari_implicitseg.__all__) == set(space) - {"__builtins__"}
    assert set(dir(napari_implicitseg)) >= {*napari_implicitseg.__all__, "__version__"}


def test_the_facade_module_has_the_same_names():
    from napari_implicitseg import api

    assert set(napari_implicitseg.__all__) <= set(api.__all__)


def test_version_is_that_of_the_metadata():
    assert napari_implicitseg.__version__ == importlib.metadata.version("napari-implicitseg")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", napari_implicitseg.__version__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fit_scribble'"):
        napari_implicitseg.fit_scribble  # noqa: B018
    assert not hasattr(napari_implicitseg, "__wrapped__")


def test_types_are_shipped():
    assert importlib.resources.files("napari_implicitseg").joinpath("py.typed").is_file()


def manifest():
    return npe2.PluginManifest.from_distribution("napari-implicitseg")


def test_the_manifest_is_found_and_valid():
    found = manifest()
    assert found.name == "napari-implicitseg"
    assert found.package_version == napari_implicitseg.__version__
    found.validate_imports()


def test_every_contribution_names_a_command_that_is_there():
    found = manifest().contributions
    commands = {command.id for command in found.commands}
    parts = (*found.widgets, *found.sample_data, *found.readers, *found.writers)
    named = {part.command for part in parts}
    named |= {item.command for items in found.menus.values() for item in items}
    assert named == commands
    names = [w.display_name for w in found.widgets]
    assert names == [
        "Scribble to mask",
        "Repair labels",
        "Volume to neurons",
        "Evaluate labels",
        "Batch",
        "Train U-Net",
    ]
    assert "napari/layers/annotate" in found.menus


def test_the_manifest_at_the_root_is_the_one_in_the_package():
    at_root = ROOT / "napari.yaml"
    inside = ROOT / "src" / "napari_implicitseg" / "napari.yaml"
    assert at_root.is_symlink()
    assert not Path(os.readlink(at_root)).is_absolute()
    assert at_root.resolve() == inside.resolve()
    assert npe2.PluginManifest.from_file(at_root).name == "napari-implicitseg"


def test_every_command_can_be_imported_without_a_screen():
    for command in manifest().contributions.commands:
        if "sample_data" in command.python_name:
            assert callable(npe2.manifest.utils.import_python_name(command.python_name))


def requirements():
    """Name and marker of each requirement in the metadata."""
    out = []
    for line in importlib.metadata.requires("napari-implicitseg"):
        requirement, _, marker = line.partition(";")
        name = re.match(r"[A-Za-z0-9._-]+", requirement).group().lower()
        out.append((name, requirement.strip(), marker.strip()))
    return out


def test_no_requirement_brings_a_qt_binding():
    plain = [(name, text) for name, text, marker in requirements() if "extra" not in marker]
    assert {"napari", "numpy", "torch"} <= {name for name, _ in plain}
    assert not BINDINGS & {name for name, _ in plain}
    # napari's extras bring a binding.
    assert not [text for name, text in plain if name == "napari" and "[" in text]


def test_the_extra_all_brings_napari_with_all_and_its_reader_of_ome_zarr():
    extra = [text for _, text, marker in requirements() if re.search(r"extra == .all.", marker)]
    assert len(extra) == 2
    assert any(text.startswith("napari[all]") for text in extra)
    assert any(text.startswith("napari-ome-zarr") for text in extra)
    metadata = importlib.metadata.metadata("napari-implicitseg")
    assert metadata.get_all("Provides-Extra") == ["all", "bioimageio", "mutex", "s3", "semantic"]


def test_metadata_say_what_napari_hub_needs():
    found = importlib.metadata.metadata("napari-implicitseg")
    classifiers = found.get_all("Classifier")
    assert "Framework :: napari" in classifiers
    assert f"Programming Language :: Python :: {sys.version_info[0]}.{sys.version_info[1]}" in (
        classifiers
    )
    assert found["License-Expression"] == "BSD-3-Clause"
    assert found["Requires-Python"] == ">=3.11"
    entries = importlib.metadata.distribution("napari-implicitseg").entry_points
    assert {e.group for e in entries} == {"console_scripts", "napari.manifest"}


def console_script():
    """The script that pip wrote next to this interpreter."""
    suffix = ".exe" if os.name == "nt" else ""
    return Path(sysconfig.get_path("scripts")) / f"napari-implicitseg{suffix}"


@pytest.mark.parametrize("way", ["module", "script"])
def test_the_command_line_starts(way):
    start = {
        "module": [sys.executable, "-m", "napari_implicitseg.cli"],
        "script": [str(console_script())],
    }[way]
    done = subprocess.run([*start, "--help"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert "scribble" in done.stdout
    assert "demo" in done.stdout
    shown = subprocess.run([*start, "--version"], capture_output=True, text=True, timeout=300)
    assert shown.stdout.split() == ["napari-implicitseg", napari_implicitseg.__version__]


@pytest.mark.parametrize("command", [[], ["scribble"], ["demo"]])
def test_help_imports_nothing_heavy(command):
    code = f"""
from napari_implicitseg.cli import main
import contextlib, io
sys.argv = ["napari-implicitseg", *{command!r}, "--help"]
with contextlib.redirect_stdout(io.StringIO()) as out:
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, end.code
assert "Usage" in out.getvalue()
"""
    assert not loaded_after(code) & (set(HEAVY) - {"numpy"})
