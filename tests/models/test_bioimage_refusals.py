"""Packages and volumes that cannot be run are refused, and nothing of them is executed."""

from __future__ import annotations

import pickle
import socket
import sys
import zipfile

import numpy as np
import pytest

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.bioimage import import_bioimageio

pytest.importorskip("bioimageio.core", reason='needs the extra "bioimageio"')

from . import packages


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse any connection."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def image(rng, shape):
    return rng.integers(0, 60, shape).astype(np.uint8)


def test_volumes_that_do_not_fit_are_refused(tmp_path, rng):
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip"))
    raw = image(rng, (9, 9)).astype(np.float32)
    raw[2, 7] = np.nan
    with pytest.raises(InputError, match=r"volume is NaN or infinite at \(2, 7\)"):
        model.predict(raw, tile_shape=(6, 6))
    with pytest.raises(InputError, match=r"at \(1, 2, 7\)"):
        model.predict(np.stack([np.zeros_like(raw), raw]), tile_shape=(6, 6))
    with pytest.raises(InputError, match="1 axes"):
        model.predict(raw[0])
    with pytest.raises(InputError, match="2 channels; the model 'theirs' was trained on 1"):
        model.predict(np.zeros((2, 9, 9)), channel_axis=0)
    with pytest.raises(InputError, match="there is no voxel"):
        model.predict(raw[:0])
    with pytest.raises(InputError, match="tile_shape is"):
        model.predict(raw, tile_shape=(3,))


def test_outputs_that_are_no_probabilities_are_refused(tmp_path, rng):
    model = packages.network(packages.kernel(2, 1) * 100, sigmoid=False)
    path = packages.write(
        tmp_path / "theirs.zip", packages.description(model), {"weights.onnx": model}
    )
    with pytest.raises(InputError, match="probabilities lie from 0 to 1: a sigmoid may be missing"):
        import_bioimageio(path).predict(image(rng, (9, 9)))


def test_a_network_unlike_its_description_is_refused(tmp_path, rng):
    model = packages.network(packages.kernel(2, 1), pad=False)
    path = packages.write(
        tmp_path / "theirs.zip", packages.description(model), {"weights.onnx": model}
    )
    found = import_bioimageio(path)  # The halo makes up for what the network cuts off.
    assert found.predict(image(rng, (9, 9))).shape == (9, 9)
    few = packages.description(model, channels=4)
    path = packages.write(tmp_path / "few.zip", few, {"weights.onnx": model})
    with pytest.raises(InputError, match="of 1 channels, but its description tells more"):
        import_bioimageio(path, channels=[3]).predict(image(rng, (9, 9)))


@pytest.mark.parametrize(
    ("wishes", "match"),
    [
        ({}, "cannot be told which of the 3 channels .*0: channel0.* hold boundaries"),
        ({"offsets": [(-1, 0, 0)]}, "hold the affinities of 1 offsets"),
        ({"offsets": [(-1, 0)] * 3}, r"\(-1, 0\) has 2 numbers, but the volume has 3 axes"),
        ({"channels": [7]}, r"channels is \[7\]; .* has 3"),
        ({"channels": [0, 1]}, "2 channels for 1 offsets"),
    ],
)
def test_channels_that_nobody_knows_are_asked_for(tmp_path, wishes, match):
    path = packages.affinity_package(tmp_path / "theirs.zip")
    with pytest.raises(InputError, match=match):
        import_bioimageio(path, **wishes)


def test_only_onnx_is_run(tmp_path):
    content = packages.description()
    content["weights"] = {
        "torchscript": {"source": "weights.pt", "pytorch_version": "2.0"},
        "keras_hdf5": {"source": "w.h5", "tensorflow_version": "2.0", "parent": "torchscript"},
    }
    files = {"weights.pt": b"nothing", "w.h5": b"nothing"}
    path = packages.write(tmp_path / "theirs.zip", content, files)
    match = "keras_hdf5, torchscript; needed is onnx.*bioimageio add-weights"
    with pytest.raises(FileError, match=match):
        import_bioimageio(path)


def _step(where, step):
    content = packages.description()
    content[where][0]["preprocessing" if where == "inputs" else "postprocessing"] = [step]
    return {where: content[where]}


def _axis(axis):
    content = packages.description()
    content["inputs"][0]["axes"].append(axis)
    return {"inputs": content["inputs"]}


def _twice(where):
    content = packages.description()
    tensors = content[where]
    names = {where: [*tensors, {**tensors[0], "id": "second"}]}
    return names


STATISTICS = {"id": "scale_range", "kwargs": {"axes": ["channel", "y", "x"]}}
CUSTOM = {"id": "custom", "source": "steps.py", "callable": "step", "kwargs": {}}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"type": "dataset"}, "describes a dataset; needed is a model"),
        ({"name": None}, "has a description that is not valid: "),
        (_twice("outputs"), r"has 2 outputs \(affinities, second\); needed is one"),
        (_twice("inputs"), r"has 2 inputs \(raw, second\); needed is one"),
        (_step("outputs", STATISTICS), "measures the whole output"),
        (
            _step("inputs", {"id": "scale_range", "kwargs": {"axes": ["x"]}}),
            "measures axes .*needed are all of",
        ),
        (_step("outputs", CUSTOM), "runs Python code of the package"),
        (_axis({"type": "time", "id": "time", "size": 1}), "has the axis 'time' of type 'time'"),
        (_axis({"type": "space", "id": "w", "size": 1}), "has the axis 'w'"),
        ({"config": {"mws": {"offsets": [[-1]]}}}, "notes down what does not fit"),
    ],
)
def test_what_cannot_be_run_as_described_is_refused(tmp_path, changes, match):
    path = packages.boundary_package(tmp_path / "theirs.zip", **changes)
    with pytest.raises(FileError, match=match):
        import_bioimageio(path)


def test_models_that_work_on_other_models_are_refused_without_asking_the_internet(tmp_path):
    content = packages.description()
    content["inputs"][0]["output_of"] = "some-model"
    path = packages.boundary_package(tmp_path / "theirs.zip", inputs=content["inputs"])
    with pytest.raises(FileError, match="works on what the model 'some-model' gives"):
        import_bioimageio(path)


def test_damaged_packages_are_refused(tmp_path):
    good = packages.boundary_package(tmp_path / "good.zip")
    model = packages.network(packages.kernel(2, 1))
    bad = tmp_path / "bad.zip"
    bad.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(FileError, match="no zip archive, or cut off"):
        import_bioimageio(bad)
    with pytest.raises(FileError, match="is not there"):
        import_bioimageio(tmp_path / "none.zip")
    flipped = bytearray(good.read_bytes())
    flipped[flipped.index(model) + len(model) // 2] ^= 255
    bad.write_bytes(flipped)
    with pytest.raises(FileError, match=r"'weights.onnx' in .* cannot be read"):
        import_bioimageio(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FileError, match=r"has no rdf.yaml or bioimageio.yaml"):
        import_bioimageio(bad)
    with zipfile.ZipFile(bad, "w") as archive:
        archive.writestr("rdf.yaml", "a: [")
    with pytest.raises(FileError, match="is no YAML"):
        import_bioimageio(bad)
    packages.write(bad, packages.description(model), {})
    with pytest.raises(FileError, match="no file 'weights.onnx', which its description names"):
        import_bioimageio(bad)
    packages.write(bad, packages.description(model), {"weights.onnx": model + b" "})
    with pytest.raises(FileError, match="is not the file that its description tells of"):
        import_bioimageio(bad)


@pytest.mark.parametrize("junk", [b"junk that is no network", pickle.dumps([1])])
def test_what_is_no_onnx_is_refused(tmp_path, junk):
    path = packages.write(
        tmp_path / "theirs.zip", packages.description(junk), {"weights.onnx": junk}
    )
    with pytest.raises(FileError, match=r"weights.onnx' (is no ONNX model|cannot be run)"):
        import_bioimageio(path)


@pytest.mark.parametrize("module", ["bioimageio.spec", "onnxruntime"])
def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path, monkeypatch, module):
    path = packages.boundary_package(tmp_path / "theirs.zip")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "napari-implicitseg\[bioimageio\]"'):
        import_bioimageio(path)
