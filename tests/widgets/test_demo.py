"""Tests of the demonstration as a person starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from skimage import io

from napari_implicitseg.sample_data import coins_truth
from napari_implicitseg.widgets import demo

from .helpers import WAIT

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Xvfb is for Linux")


def run(*arguments, **changes):
    """Run the demonstration in a process of its own."""
    environment = {**os.environ, **changes}
    environment.pop("DISPLAY", None)
    environment.pop("WAYLAND_DISPLAY", None)
    return subprocess.run(
        [sys.executable, "-m", "napari_implicitseg.widgets.demo", *arguments],
        capture_output=True, text=True, timeout=300, env=environment, check=False,
    )  # fmt: skip


@linux
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="needs Xvfb")
def test_without_a_screen_it_writes_labels_a_picture_and_a_report(tmp_path):
    done = run("--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    labels = tifffile.imread(tmp_path / "out" / "labels.tif")
    assert labels.shape == coins_truth().shape
    assert set(np.unique(labels)) == {0, *range(2, 26)}
    picture = io.imread(tmp_path / "out" / "window.png")
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 20
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["objects"] == report["convex"] == 24
    assert report["mean_iou"] > 0.9
    assert f"mean {report['mean_iou']:.3f}" in (tmp_path / "out" / "report.md").read_text()
    assert f"mean {report['mean_iou']:.3f}" in done.stdout


@linux
def test_without_xvfb_it_says_what_to_install(tmp_path):
    done = run("--output", str(tmp_path / "out"), PATH=str(tmp_path))
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.splitlines() if x.strip()]
    assert "apt-get install xvfb" in line


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert demo.main(["--headless", "--output", str(tmp_path / "file" / "out")]) == 1
    assert f"Cannot make the folder {tmp_path / 'file' / 'out'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "headless"),
    [
        ({"HEADLESS": "1", "DISPLAY": ":5"}, True),
        ({"HEADLESS": "0", "DISPLAY": ":5"}, False),
        ({"WAYLAND_DISPLAY": "wayland-0"}, False),
        ({}, sys.platform.startswith("linux")),
    ],
)
def test_it_sees_whether_there_is_a_screen(monkeypatch, variables, headless):
    for name in ("HEADLESS", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert demo._is_headless() is headless


def test_a_heartbeat_notices_a_stall(qtbot, monkeypatch):
    now = [10.0]
    monkeypatch.setattr(demo, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    with demo.Heartbeat() as heartbeat:
        for _ in range(5):
            now[0] += 0.01
            qtbot.waitUntil(lambda: heartbeat._last == now[0], timeout=WAIT)
        assert heartbeat.longest == pytest.approx(0.01)
        now[0] += 0.2
        qtbot.waitUntil(lambda: heartbeat._last == now[0], timeout=WAIT)
        now[0] += 0.01
    assert heartbeat.longest == pytest.approx(0.2)
