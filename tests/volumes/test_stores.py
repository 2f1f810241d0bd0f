"""Zarr by URL: a web server, memory, and S3 as moto plays it."""

from __future__ import annotations

import functools
import http.server
import importlib
import sys
import threading
from typing import TYPE_CHECKING

import fsspec
import numpy as np
import pytest
import zarr

from napari_implicitseg import BatchConfig, convert, run_batch
from napari_implicitseg.errors import FileError, OutputExistsError
from napari_implicitseg.volumes import Layout, read_image, read_labels, write_labels
from napari_implicitseg.volumes.stores import is_url, url_store

from ..command_line import shell
from .test_ome_zarr import GRID, LABELS, make_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EM = np.random.default_rng(0).integers(0, 255, (6, 600, 700)).astype(np.uint8)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a web server for the test's folder."""
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture
def memory() -> Iterator[str]:
    """Address of a folder in memory."""
    yield "memory://folder"
    system = fsspec.filesystem("memory")
    if system.exists("/folder"):
        system.rm("/folder", recursive=True)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, object]]:
    """Options for a bucket called "bucket"."""
    pytest.importorskip("s3fs", reason="needs s3fs (extra s3)")
    moto = pytest.importorskip("moto.server", reason="needs moto[server]")
    served = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    options = {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}"}
    fsspec.filesystem("s3", **options).mkdir("bucket")
    yield options
    served.stop()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("s3://b/a.zarr", True),
        ("https://x.org/a.zarr", True),
        ("memory://a", True),
        ("a.zarr", False),
        ("/a/b:/c", False),
        ("C:\\a.zarr", False),
        ("a.h5:/raw", False),
    ],
)
def test_urls_are_told_from_paths(path: str, expected: bool) -> None:
    assert is_url(path) is expected


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_and_labels_are_read_from_a_web_server(tmp_path, server, version) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", version, levels=2)
    write_labels(tmp_path / "l.zarr", LABELS, GRID, version=version)
    volume = read_image(f"{server}/i.zarr", level=1)
    np.testing.assert_array_equal(volume.data, LABELS[::2, ::2, ::2])
    assert volume.grid().scale == (1, 1, 1)
    assert read_image(f"{server}/i.zarr/s1").grid().scale == (1, 1, 1)
    labels = read_labels(f"{server}/l.zarr")
    np.testing.assert_array_equal(labels.data, LABELS)
    assert labels.grid() == GRID


def test_plain_arrays_are_read_from_a_web_server(tmp_path, server) -> None:
    zarr.create_array(tmp_path / "a", data=LABELS)
    np.testing.assert_array_equal(read_image(f"{server}/a").data, LABELS)


def test_what_is_on_a_web_server_is_converted(tmp_path, server) -> None:
    make_image(tmp_path / "i.zarr", LABELS, "zyx", "0.4")
    convert(f"{server}/i.zarr", tmp_path / "b.zarr", kind="image")
    np.testing.assert_array_equal(read_image(tmp_path / "b.zarr").data, LABELS)
    assert read_image(tmp_path / "b.zarr").grid().spacing_in("micrometer") == (0.5, 0.5, 0.5)


def test_addresses_without_a_zarr_are_told(server) -> None:
    with pytest.raises(FileError, match=r"Cannot read '.*/none.zarr'.*nothing at that address"):
        read_image(f"{server}/none.zarr")
    with pytest.raises(FileError, match=r"Cannot read 'http://127.0.0.1:1/a.zarr'"):
        read_image("http://127.0.0.1:1/a.zarr")
    with pytest.raises(FileError, match=r"Cannot read 'nonsense://a.zarr'"):
        read_image("nonsense://a.zarr")


def _image(tmp_path: Path, data: np.ndarray = EM) -> Path:
    path = tmp_path / f"{data[0, 0, 0]}.zarr"
    make_image(path, data, "zyx", "0.4")
    return path


def check_writing(tmp_path: Path, folder: str, options: dict[str, object]) -> None:
    """Write, refuse, replace, fail and label at a URL."""
    target = f"{folder}/a.zarr"
    system, _ = fsspec.url_to_fs(folder, **options)

    def names() -> list[str]:
        system.invalidate_cache()
        return sorted(p.rstrip("/").rpartition("/")[2] for p in system.ls(folder, detail=False))

    def content() -> np.ndarray:
        group = zarr.open_group(url_store(target, options), mode="r")
        assert "ome" in group.attrs
        assert group["1"].shape == (3, 300, 350)
        return group["0"][...]

    convert(_image(tmp_path), target, storage_options=options)
    np.testing.assert_array_equal(content(), EM)
    other = np.roll(EM, 1, 1)
    other[0, 0, 0] += 1
    source = _image(tmp_path, other)
    with pytest.raises(OutputExistsError, match="already exists"):
        convert(source, target, storage_options=options)

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.3:
            raise RuntimeError("stop")

    for place in (target, f"{folder}/new.zarr"):
        with pytest.raises(RuntimeError, match="stop"):
            convert(source, place, storage_options=options, overwrite=True, progress=stop)
    assert names() == ["a.zarr"]
    np.testing.assert_array_equal(content(), EM)
    convert(source, target, storage_options=options, overwrite=True)
    np.testing.assert_array_equal(content(), other)
    assert names() == ["a.zarr"]
    convert(target, tmp_path / "back.zarr", storage_options=options, layout=Layout(version="0.4"))
    np.testing.assert_array_equal(read_image(tmp_path / "back.zarr").data, other)


def test_zarrs_are_written_to_memory(tmp_path, memory) -> None:
    check_writing(tmp_path, memory, {})


def test_what_cannot_be_swapped_is_not_lost(tmp_path, memory, monkeypatch) -> None:
    convert(_image(tmp_path), f"{memory}/a.zarr")
    system = fsspec.filesystem("memory")

    def fail(*_: object, **__: object) -> None:
        raise OSError("connection lost")

    monkeypatch.setattr(type(system), "copy", fail)
    other = EM[:, ::-1].copy()
    other[0, 0, 0] = EM[0, 0, 0] + 1
    with pytest.raises(FileError, match=r"connection lost. The new one lies at '(.*)'") as told:
        convert(_image(tmp_path, other), f"{memory}/a.zarr", overwrite=True)
    place = str(told.value).split("lies at '")[1].split("'")[0]
    np.testing.assert_array_equal(read_image(f"memory://{place.lstrip('/')}").data, other)


def test_zarrs_are_written_to_s3(tmp_path, s3) -> None:
    check_writing(tmp_path, "s3://bucket/folder", s3)


def test_a_target_is_not_its_source(tmp_path, memory) -> None:
    convert(_image(tmp_path), f"{memory}/a.zarr")
    for source, target in (
        ("a.zarr", "a.zarr"),
        ("a.zarr/0", "a.zarr"),
        ("a.zarr", "a.zarr/b.zarr"),
    ):
        with pytest.raises(FileError, match="overlap"):
            convert(f"{memory}/{source}", f"{memory}/{target}", overwrite=True)
    with pytest.raises(FileError, match=r"must end in \.zarr"):
        convert(_image(tmp_path / "b"), f"{memory}/a")


def test_what_is_no_zarr_is_not_replaced(tmp_path, memory) -> None:
    with fsspec.open(f"{memory}/a.zarr/notes.txt", "w") as file:
        file.write("mine")
    with pytest.raises(FileError, match="is no zarr"):
        convert(_image(tmp_path), f"{memory}/a.zarr", overwrite=True)


def test_missing_credentials_are_told(s3, monkeypatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(s3["endpoint_url"]))
    with pytest.raises(FileError, match=r"s3://bucket/x.zarr.*Give credentials: AWS_ACCESS_KEY_ID"):
        read_image("s3://bucket/x.zarr")


def test_missing_s3fs_is_told(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "s3fs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    known = importlib.import_module("fsspec.registry").__dict__["_registry"]
    monkeypatch.delitem(known, "s3", raising=False)
    with pytest.raises(FileError, match=r"pip install s3fs, or napari-implicitseg\[s3\]"):
        read_image("s3://bucket/x.zarr")


def predicted_in_blocks(source: object, target: Path) -> np.ndarray:
    config = BatchConfig(job="predict", model="sstem-2d", block_shape=(3, 64, 64), workers=0)
    assert run_batch(source, target, config=config).ok
    return np.asarray(zarr.open_array(target / "0", mode="r"))


def test_a_job_over_blocks_reads_from_a_web_server_and_from_s3(tmp_path, server, s3, monkeypatch):
    zarr.create_array(tmp_path / "em", data=EM[:, :96, :96])
    convert(tmp_path / "em", tmp_path / "em.zarr", spacing=(50, 4, 4))
    expected = predicted_in_blocks(tmp_path / "em.zarr", tmp_path / "local.zarr")
    found = predicted_in_blocks(f"{server}/em.zarr", tmp_path / "web.zarr")
    np.testing.assert_array_equal(found, expected)
    monkeypatch.setenv("AWS_ENDPOINT_URL", str(s3["endpoint_url"]))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    fsspec.filesystem("s3", **s3).put(str(tmp_path / "em.zarr"), "bucket/em.zarr", recursive=True)
    # In a process of its own, as this one may keep a connection without credentials.
    words = ("--source", "s3://bucket/em.zarr", "--target", tmp_path / "s3.zarr", "--workers", 0)
    options = ("--job", "predict", "--model", "sstem-2d", "--block-shape", "3,64,64")
    done = shell("batch", *words, *options)
    assert done.returncode == 0, done.stderr
    found = np.asarray(zarr.open_array(tmp_path / "s3.zarr" / "0", mode="r"))
    np.testing.assert_array_equal(found, expected)


def test_a_job_over_blocks_does_not_write_to_an_address(tmp_path, memory):
    zarr.create_array(tmp_path / "em", data=EM[:, :96, :96])
    config = BatchConfig(job="predict", model="sstem-2d", workers=0)
    with pytest.raises(FileError, match="is a URL; blocks are written to a folder"):
        run_batch(tmp_path / "em", f"{memory}/out.zarr", config=config)
