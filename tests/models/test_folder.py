"""Models in folders: what is written is what is read, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors.numpy import load_file, save_file

from napari_implicitseg import load_model
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.folder import shipped_models
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def _model(**changes) -> AffinityModel:
    config = UNetConfig.from_spacing((1, 1, 1), out_channels=3, depth=2, width=4)
    values = {
        "network": UNet(config, seed=3).eval(),
        "offsets": OFFSETS,
        "spacing": (10.0, 10.0, 10.0),
        "unit": "nanometer",
        "name": "small",
        "training": {"licence": "CC0"},
        "metrics": {"voi": 0.5},
    }
    return AffinityModel(**{**values, **changes})


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    _model().save(path)
    return path


def _edit(folder, **fields):
    path = folder / "model.json"
    document = json.loads(path.read_text())
    document.update(fields)
    path.write_text(json.dumps(document))


def test_a_model_that_is_read_predicts_what_the_one_that_was_written_does(folder, rng):
    raw = rng.integers(0, 255, (10, 12, 14)).astype(np.uint8)
    before, after = _model().predict(raw), load_model(folder).predict(raw)
    np.testing.assert_array_equal(before.data, after.data)
    assert after.offsets == OFFSETS


def test_everything_that_belongs_to_a_model_is_kept(tmp_path):
    model = _model(normalisation=Normalisation(kind="range", low=0, high=255))
    model.save(tmp_path / "m")
    read = load_model(tmp_path / "m")
    for name in ("offsets", "spacing", "unit", "name", "normalisation", "training", "metrics"):
        assert getattr(read, name) == getattr(model, name), name


def test_half_the_digits_take_half_the_room_and_hardly_change_what_is_predicted(tmp_path, rng):
    model, raw = _model(), rng.random((8, 8, 8)).astype(np.float32)
    for name, half in (("whole", False), ("half", True)):
        model.save(tmp_path / name, half=half)
    sizes = [(tmp_path / n / "weights.safetensors").stat().st_size for n in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    got = load_model(tmp_path / "half").predict(raw).data
    np.testing.assert_allclose(got, model.predict(raw).data, atol=2e-3)


def test_a_model_may_be_named_by_its_json(folder):
    assert load_model(folder / "model.json").name == "small"


def test_a_plain_network_of_two_axes_is_kept_too(tmp_path, rng):
    network = CNN(CNNConfig(), seed=1).eval()
    model = _model(network=network, offsets=((-1, 0), (0, -1)), spacing=(4.0, 4.0))
    model.save(tmp_path / "cnn")
    stack = rng.random((2, 20, 24)).astype(np.float32)
    got = load_model(tmp_path / "cnn").predict(stack)
    assert got.offsets == ((0, -1, 0), (0, 0, -1))
    np.testing.assert_array_equal(got.data, model.predict(stack).data)


def test_other_files_of_the_folder_stay(folder):
    (folder / "notes.txt").write_text("mine")
    _model().save(folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_missing_model_is_told_with_the_names_of_those_that_are_shipped(tmp_path):
    with pytest.raises(FileError, match="is not there.*shipped model"):
        load_model(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileError, match="a folder without model.json"):
        load_model(tmp_path / "empty")


@pytest.mark.parametrize("name", ["", "model.json"])
def test_a_training_that_was_interrupted_before_a_model_was_written_is_told(tmp_path, name):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(FileError, match="its training has not finished.*`train --resume`"):
        load_model(tmp_path / name)


def test_a_finished_model_is_read_though_it_has_a_checkpoint(folder):
    (folder / "training").mkdir()
    (folder / "training" / "checkpoint.safetensors").write_bytes(b"half")
    assert load_model(folder).name == "small"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "of format None"),
        ('{"format": "other/1"}', "format 'other/1'"),
        ("[" * 100_000, "is no JSON"),
        ('{"format": "napari-implicitseg/model/1"}', "no valid model: package_version"),
    ],
)
def test_a_damaged_description_is_refused(folder, text, message):
    (folder / "model.json").write_text(text)
    with pytest.raises(FileError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spacing": [1, 1, -1]}, "spacing.2"),
        ({"spacing": [1, 1]}, "does not predict|spacing"),
        ({"offsets": []}, "offsets"),
        ({"offsets": [[0, 0, 0], [0, -1, 0], [0, 0, -1]]}, "offset"),
        ({"extra": 1}, "extra"),
        ({"spacing": ["10", "10", "10"]}, "spacing.0"),
        ({"offsets": [[True, 0, 0], [0, -1, 0], [0, 0, -1]]}, "offsets.0.0"),
        ({"architecture": {"architecture": "eval"}}, "architecture is 'eval'"),
        ({"normalisation": {"kind": "percentiles", "low": 50, "high": 2}}, "low must be less"),
        ({"weights": {"file": "../x", "sha256": "0" * 64}}, "weights.file"),
    ],
)
def test_a_field_that_is_wrong_is_named(folder, fields, message):
    _edit(folder, **fields)
    with pytest.raises(FileError, match=message):
        load_model(folder)


@pytest.mark.parametrize("path", [None, 5, b"abc"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match="give the path of its folder"):
        load_model(path)


def test_a_pickle_with_the_name_of_weights_is_not_opened(folder):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle ran')",))

    (folder / "weights.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileError, match="no safetensors file"):
        load_model(folder)


def test_weights_that_were_cut_off_are_refused(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileError, match="damaged, cut off"):
        load_model(folder)


def test_weights_of_another_model_are_refused(folder, tmp_path):
    config = UNetConfig.from_spacing((1, 1, 1), out_channels=3, depth=2, width=6)
    _model(network=UNet(config)).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "weights.safetensors", folder)
    with pytest.raises(FileError, match="not the weights that model.json describes"):
        load_model(folder)


def test_an_architecture_that_the_weights_do_not_fit_is_refused_before_it_is_built(folder):
    config = UNetConfig.from_spacing((1, 1, 1), out_channels=3, depth=2, width=256).to_json()
    _edit(folder, architecture={"architecture": "unet", **config})
    with pytest.raises(FileError, match="does not fit the architecture"):
        load_model(folder)


def _describe_weights(folder):
    """Put the digest of the weights into the description."""
    digest = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    _edit(folder, weights={"file": "weights.safetensors", "sha256": digest})


def test_weights_of_a_type_numpy_does_not_know_are_refused(folder):
    path = folder / "weights.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = next(name for name, values in tensors.items() if values.ndim > 1)
    safetensors.torch.save_file({**tensors, name: tensors[name].to(torch.float8_e4m3fn)}, path)
    _describe_weights(folder)
    with pytest.raises(FileError, match="cannot be read as the weights of a model"):
        load_model(folder)


def test_weights_that_are_no_numbers_are_refused(folder):
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    name = next(name for name, values in tensors.items() if values.dtype.kind == "f")
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, path)
    _describe_weights(folder)
    with pytest.raises(FileError, match="no numbers"):
        load_model(folder)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write"):
        _model().save(tmp_path / "file" / "model")


def test_loading_leaves_the_state_of_torch_as_it_was(folder):
    state = torch.random.get_rng_state()
    load_model(folder)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.get_default_device() == torch.device("cpu")


@pytest.mark.parametrize("name", shipped_models())
def test_shipped_models_are_small_and_say_what_they_are(name):
    model = load_model(name)
    assert model.name == name
    assert model.training["licence"]
    assert model.training["data"]
    assert model.metrics["voi"] > 0
    from napari_implicitseg.models.folder import _SHIPPED

    files = list((_SHIPPED / name).iterdir())
    assert sum(path.stat().st_size for path in files) < 2.5e6
    assert (_SHIPPED / name / "README.md").is_file()
