"""Training: what it learns, and that stopping and resuming makes no difference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from safetensors.numpy import load_file

from napari_implicitseg import TrainConfig, TrainingVolume, load_model, train_affinities
from napari_implicitseg.errors import Cancelled, FileError, InputError, OutputExistsError
from napari_implicitseg.training import trainer
from napari_implicitseg.training.checkpoint import Checkpoint
from napari_implicitseg.training.journal import Journal
from napari_implicitseg.training.objective import learning_rate

SMALL = TrainConfig(
    ndim=2,
    depth=2,
    width=4,
    patch_shape=(32, 32),
    steps=24,
    validate_every=8,
    checkpoint_every=5,
    workers=0,
    precision="float32",
)


def _cells(size: int = 96, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bright cells with dark walls between: an image and its labels."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    markers = np.zeros((size, size), np.int32)
    places = rng.integers(0, size, (size * size // 300, 2))
    markers[tuple(places.T)] = np.arange(1, len(places) + 1)
    _, nearest = ndimage.distance_transform_edt(markers == 0, return_indices=True)
    labels = markers[tuple(nearest)]
    wall = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        wall |= np.roll(labels, 1, axis) != labels
    image = np.where(wall, 60, 180) + rng.normal(0, 12, labels.shape)
    return np.clip(image, 0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def cells():
    return _cells()


def _weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "weights.safetensors")


def _equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


class _StopAfter:
    """Progress that asks to stop after so many calls."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, fraction: float, message: str, /) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise Cancelled("enough")


@pytest.mark.parametrize("loss", ["malis", "cross-entropy", "dice", "pairwise-malis"])
def test_training_makes_the_held_out_part_better(cells, tmp_path, loss):
    config = dataclasses.replace(
        SMALL, loss=loss, steps=120, validate_every=120, patch_shape=(48, 48)
    )
    model = train_affinities(cells, config=config, out=tmp_path / "m")
    untrained = dataclasses.replace(config, steps=1, learning_rate=1e-6)
    before = train_affinities(cells, config=untrained, out=tmp_path / "before")
    assert model.metrics["voi"] < 0.6 * before.metrics["voi"]


def test_the_folder_holds_what_is_returned(cells, tmp_path):
    model = train_affinities(cells, config=SMALL, out=tmp_path / "m")
    read = load_model(tmp_path / "m")
    raw = cells[0][:40, :40]
    np.testing.assert_array_equal(model.predict(raw).data, read.predict(raw).data)
    assert read.metrics == model.metrics
    assert read.training["config"]["steps"] == SMALL.steps
    assert {"voi", "voi_split", "voi_merge", "adapted_rand_error"} <= set(read.metrics)


def test_equal_seeds_give_equal_weights_and_others_give_others(cells, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_affinities(cells, config=dataclasses.replace(SMALL, seed=seed), out=tmp_path / name)
    a, b, c = (_weights(tmp_path / name) for name in "abc")
    assert _equal(a, b)
    assert not _equal(a, c)


@pytest.mark.parametrize("stop", [1, 4, 5, 8, 13, 23])
def test_a_training_that_was_stopped_and_resumed_ends_with_the_same_weights(cells, tmp_path, stop):
    train_affinities(cells, config=SMALL, out=tmp_path / "whole")
    with pytest.raises(Cancelled):
        train_affinities(cells, config=SMALL, out=tmp_path / "m", progress=_StopAfter(stop))
    model = train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "m"))
    assert model.metrics == load_model(tmp_path / "whole").metrics


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("stop", [3, 5])
def test_resuming_is_exact_in_every_order_of_axes_in_memory(tmp_path, ndim, precision, stop):
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 3**ndim + 1).reshape((3,) * ndim), np.ones((8,) * ndim, int))
    raw = (labels * 9 % 200 + rng.normal(0, 3, labels.shape)).astype(np.float32)
    config = dataclasses.replace(
        SMALL,
        ndim=ndim,
        patch_shape=(16,) * ndim,
        precision=precision,
        steps=10,
        checkpoint_every=3,
        validate_every=5,
    )
    train_affinities((raw, labels), config=config, out=tmp_path / "whole")
    with pytest.raises(Cancelled):
        train_affinities(
            (raw, labels), config=config, out=tmp_path / "m", progress=_StopAfter(stop)
        )
    train_affinities((raw, labels), config=config, out=tmp_path / "m", resume=True)
    path = Path("training", "checkpoint.safetensors")
    assert _equal(load_file(tmp_path / "whole" / path), load_file(tmp_path / "m" / path))


def test_a_model_without_checkpoint_is_not_replaced_by_resuming(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    (tmp_path / "m" / "training" / "checkpoint.safetensors").unlink()
    before = _weights(tmp_path / "m")
    with pytest.raises(OutputExistsError, match="nothing to resume"):
        train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)
    assert _equal(before, _weights(tmp_path / "m"))


@pytest.mark.parametrize("kill", [2, 7, 12])
def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(
    cells, tmp_path, kill, monkeypatch
):
    train_affinities(cells, config=SMALL, out=tmp_path / "whole")

    class Killed(BaseException):
        pass

    taken = trainer._Training._take
    steps = []

    def take(self, batch):
        steps.append(1)
        if len(steps) > kill:
            raise Killed
        taken(self, batch)

    monkeypatch.setattr(trainer._Training, "_take", take)
    with pytest.raises(Killed):
        train_affinities(cells, config=SMALL, out=tmp_path / "m")
    monkeypatch.undo()
    train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)
    assert _equal(_weights(tmp_path / "whole"), _weights(tmp_path / "m"))


def test_the_number_of_threads_that_prepare_patches_makes_no_difference(cells, tmp_path):
    for workers in (0, 3):
        config = dataclasses.replace(SMALL, workers=workers)
        train_affinities(cells, config=config, out=tmp_path / str(workers))
    assert _equal(_weights(tmp_path / "0"), _weights(tmp_path / "3"))


def test_a_finished_training_that_is_resumed_is_left_as_it_is(cells, tmp_path):
    model = train_affinities(cells, config=SMALL, out=tmp_path / "m")
    again = train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)
    assert again.metrics == model.metrics


def test_resuming_under_other_options_names_the_difference(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    for change, name in (({"steps": 30}, "option steps"), ({"width": 5}, "option width")):
        with pytest.raises(FileError, match=f"had {name} = "):
            train_affinities(
                cells, config=dataclasses.replace(SMALL, **change), out=tmp_path / "m", resume=True
            )
    with pytest.raises(FileError, match="had volume 1 = "):
        train_affinities(_cells(80), config=SMALL, out=tmp_path / "m", resume=True)


def test_a_model_is_not_replaced_unasked(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    with pytest.raises(OutputExistsError, match="already holds a model"):
        train_affinities(cells, config=SMALL, out=tmp_path / "m")


def test_a_folder_with_other_files_is_not_trained_into(cells, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds other files"):
        train_affinities(cells, config=SMALL, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_name_that_is_too_long_is_told(cells, tmp_path):
    with pytest.raises(FileError, match="x{300}"):
        train_affinities(cells, config=SMALL, out=tmp_path / ("x" * 300))


def test_what_the_caller_has_set_in_torch_makes_no_difference(cells, tmp_path):
    config = dataclasses.replace(SMALL, steps=4, validate_every=4)
    train_affinities(cells, config=config, out=tmp_path / "usual")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            train_affinities(cells, config=config, out=tmp_path / "odd")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert _equal(_weights(tmp_path / "usual"), _weights(tmp_path / "odd"))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # Raised inside torch.
def test_a_missing_compiler_is_told(cells, tmp_path, monkeypatch):
    from torch._dynamo.exc import BackendCompilerFailed

    class NoCompiler(BackendCompilerFailed):
        def __init__(self):
            RuntimeError.__init__(self, "no C++ compiler\nat all")

    def fail(self, batch):
        raise NoCompiler

    monkeypatch.setattr(trainer._Training, "_take", fail)
    config = dataclasses.replace(SMALL, compile=True)
    with pytest.raises(InputError, match=r"no C\+\+ compiler.*Train without compiling"):
        train_affinities(cells, config=config, out=tmp_path / "m")


def test_a_training_starts_from_a_model(cells, tmp_path):
    first = train_affinities(cells, config=SMALL, out=tmp_path / "first")
    config = dataclasses.replace(SMALL, steps=1, learning_rate=1e-9, average=0.0, width=9)
    for start in (first, tmp_path / "first"):
        out = tmp_path / f"then-{isinstance(start, Path)}"
        then = train_affinities(cells, config=config, out=out, start=start)
        assert then.network.config == first.network.config
        assert then.training["started_from"] == "first"
        for name, tensor in first.network.state_dict().items():
            if tensor.is_floating_point() and "running" not in name:
                torch.testing.assert_close(then.network.state_dict()[name], tensor)
    other = train_affinities(cells, config=dataclasses.replace(SMALL, steps=1), out=tmp_path / "o")
    with pytest.raises(FileError, match="had start = "):
        train_affinities(cells, config=config, out=out, resume=True, start=other)


@pytest.mark.parametrize(
    ("start", "options", "message"),
    [
        (5, {}, "The model to start from is int"),
        ("none", {}, "not there"),
        ("first", {"descriptors": True}, "has not learned descriptors"),
    ],
)
def test_models_that_no_training_can_start_from_are_refused(
    cells, tmp_path, monkeypatch, start, options, message
):
    monkeypatch.chdir(tmp_path)
    train_affinities(cells, config=dataclasses.replace(SMALL, steps=1), out="first")
    config = dataclasses.replace(SMALL, **options)
    with pytest.raises((InputError, FileError), match=message):
        train_affinities(cells, config=config, out=tmp_path / "then", start=start)


def test_image_and_labels_that_were_swapped_are_warned_about(cells, tmp_path):
    raw, labels = cells
    with pytest.warns(UserWarning, match="are they swapped"):
        train_affinities(
            (labels, raw), config=dataclasses.replace(SMALL, steps=1), out=tmp_path / "m"
        )


def test_membranes_are_learned_in_sections_unless_asked_otherwise(tmp_path):
    raw, _ = _cells(64)
    mask = np.stack([(raw > 120).astype(np.uint8) * 255] * 12)
    config = dataclasses.replace(
        SMALL, ndim=None, patch_shape=None, steps=1, labels="membranes", depth=1
    )
    model = train_affinities((np.stack([raw] * 12), mask), config=config, out=tmp_path / "m")
    assert model.ndim == 2


def test_the_model_says_what_was_held_out_and_not_where_files_lie(cells, tmp_path):
    raw, labels = cells
    for name, values in (("raw", raw), ("labels", labels.astype(np.uint16))):
        tifffile.imwrite(tmp_path / f"{name}.tif", values)
    model = train_affinities(
        (tmp_path / "raw.tif", tmp_path / "labels.tif"),
        config=dataclasses.replace(SMALL, steps=1),
        out=tmp_path / "m",
    )
    assert model.training["held_out"] == ["the held-out part of 'raw.tif' (y from 72)"]
    assert model.training["volumes"][0]["name"] == "'raw.tif'"
    assert (model.unit, model.spacing) == ("", (1.0, 1.0))
    with pytest.raises(InputError, match="how large a voxel is"):
        train_affinities(
            (tmp_path / "raw.tif", tmp_path / "labels.tif"),
            config=dataclasses.replace(SMALL, unit="nm"),
            out=tmp_path / "n",
        )


def test_units_are_known_by_their_short_names(cells, tmp_path):
    volume = TrainingVolume(raw=cells[0], labels=cells[1], spacing=(4, 4))
    config = dataclasses.replace(SMALL, steps=1, unit="nm")
    assert train_affinities(volume, config=config, out=tmp_path / "m").unit == "nanometer"


def test_a_damaged_checkpoint_is_told(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    path = tmp_path / "m" / "training" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(FileError, match="cannot be read as a checkpoint"):
        train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)


def test_a_model_half_written_is_mended_by_resuming(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    good = _weights(tmp_path / "m")
    path = tmp_path / "m" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(FileError):
        load_model(tmp_path / "m")
    train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)
    assert _equal(good, _weights(tmp_path / "m"))
    load_model(tmp_path / "m")


@pytest.mark.parametrize(
    "damage",
    [
        {"step": 99},
        {"step": -1},
        {"parts": {}},
        {"parts": {"network": {}, "average": {}, "optimizer": {}}},
    ],
)
def test_a_checkpoint_that_was_edited_is_told(cells, tmp_path, damage):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    path = tmp_path / "m" / "training" / "checkpoint.safetensors"
    dataclasses.replace(Checkpoint.read(path), **damage).write(path)
    with pytest.raises(FileError, match="The checkpoint in .* is damaged"):
        train_affinities(cells, config=SMALL, out=tmp_path / "m", resume=True)


def test_resuming_on_other_voxels_is_refused(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    raw, labels = cells
    other = TrainingVolume(raw=raw, labels=labels, spacing=(2, 2))
    background = TrainingVolume(raw=raw, labels=labels, zero="background")
    for volume in ((255 - raw, labels), (raw, labels[::-1]), other, background):
        with pytest.raises(FileError, match="had volume 1 = "):
            train_affinities(volume, config=SMALL, out=tmp_path / "m", resume=True)


def test_patches_of_one_voxel_at_the_lowest_level_are_refused_by_batch_norm(cells, tmp_path):
    config = dataclasses.replace(SMALL, depth=6, patch_shape=(32, 32))
    with pytest.raises(InputError, match="too few for batch norm"):
        train_affinities(cells, config=config, out=tmp_path / "m")
    train_affinities(
        cells, config=dataclasses.replace(config, norm="group", steps=2), out=tmp_path / "m"
    )


def test_options_that_could_not_be_saved_are_refused_before_training(cells, tmp_path):
    with pytest.raises(InputError, match="cannot be saved: .*unit"):
        train_affinities(
            cells, config=dataclasses.replace(SMALL, unit="m" * 80), out=tmp_path / "m"
        )
    assert not (tmp_path / "m" / "model.json").exists()


def test_a_log_that_cannot_be_written_is_done_without(cells, tmp_path, monkeypatch):
    from torch.utils import tensorboard

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard, "SummaryWriter", full)
    assert train_affinities(cells, config=SMALL, out=tmp_path / "m").metrics["voi"] >= 0


def test_a_training_that_diverges_is_told(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(
        trainer.Objective, "__call__", lambda self, logits, batch, step: logits.sum() * np.nan
    )
    with pytest.raises(InputError, match="diverged at step 0.*learning rate below"):
        train_affinities(cells, config=SMALL, out=tmp_path / "m")


def test_with_too_little_memory_patches_become_smaller(cells, tmp_path, monkeypatch):
    taken = trainer._Training._take
    seen = []

    def take(self, batch):
        seen.append(tuple(batch.raw.shape[2:]))
        if batch.raw[0, 0].numel() > 16 * 16:
            raise torch.OutOfMemoryError("out of memory")
        taken(self, batch)

    monkeypatch.setattr(trainer._Training, "_take", take)
    with pytest.warns(UserWarning, match="not enough memory for patches"):
        model = train_affinities(cells, config=SMALL, out=tmp_path / "m")
    assert seen[:3] == [(32, 32), (16, 32), (16, 16)]
    assert model.training["patch_shape"] == [16, 16]


def test_too_little_memory_for_any_patch_is_an_error(cells, tmp_path, monkeypatch):
    def take(self, batch):
        raise MemoryError

    monkeypatch.setattr(trainer._Training, "_take", take)
    with (
        pytest.warns(UserWarning, match="not enough memory"),
        pytest.raises(InputError, match="Use a smaller width"),
    ):
        train_affinities(cells, config=SMALL, out=tmp_path / "m")


def test_sparse_labels_will_do(tmp_path):
    raw, labels = _cells()
    painted = np.zeros_like(labels)
    painted[10:30] = labels[10:30]
    painted[70:90, 20:60] = labels[70:90, 20:60]
    model = train_affinities((raw, painted), config=SMALL, out=tmp_path / "m")
    assert model.metrics["voi"] >= 0


def test_without_labels_in_the_held_out_part_the_last_weights_are_kept(tmp_path):
    raw, labels = _cells()
    labels = labels.copy()
    labels[40:] = 0
    labels[:, 40:] = 0
    with pytest.warns(UserWarning, match="too few labels to hold some out"):
        model = train_affinities((raw, labels), config=SMALL, out=tmp_path / "m")
    assert "voi" not in model.metrics
    assert load_model(tmp_path / "m").training["steps"] == SMALL.steps


def test_membranes_are_turned_into_objects(tmp_path):
    raw, _ = _cells()
    inside = np.where(raw > 120, 255, 0).astype(np.uint8)
    stack, masks = (
        np.stack([raw, raw[::-1], raw.T, raw]),
        np.stack([inside, inside[::-1], inside.T, inside]),
    )
    config = dataclasses.replace(SMALL, labels="membranes", ndim=None)
    volume = TrainingVolume(raw=stack, labels=masks, kind="membranes", spacing=(50, 4, 4))
    model = train_affinities(volume, config=config, out=tmp_path / "m")
    assert model.ndim == 2
    assert model.spacing == (4, 4)


def test_a_volume_is_learned_in_three_dimensions(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.kron(np.arange(1, 28).reshape(3, 3, 3), np.ones((8, 8, 8), int))
    raw = (labels * 9 % 200 + rng.normal(0, 3, labels.shape)).astype(np.float32)
    config = dataclasses.replace(SMALL, ndim=None, patch_shape=None, steps=6, descriptors=True)
    model = train_affinities((raw, labels), config=config, out=tmp_path / "m")
    wanted = dataclasses.replace(config, patch_shape=(64, 64, 64))
    with pytest.warns(UserWarning, match="patches of .* are reduced"):
        train_affinities((raw, labels), config=wanted, out=tmp_path / "reduced")
    assert model.predict(raw).data.shape == (3, 24, 24, 24)
    assert model.network.config.out_channels == 13


def test_the_report_s_network_is_learned(cells, tmp_path):
    config = dataclasses.replace(SMALL, network="cnn", loss="pairwise-malis")
    model = train_affinities(cells, config=config, out=tmp_path / "m")
    assert model.network.config.features == (8, 32, 32, 32, 8, 2)


def test_progress_tells_step_loss_figures_and_time(cells, tmp_path):
    lines = []
    train_affinities(
        cells, config=SMALL, out=tmp_path / "m", progress=lambda f, m: lines.append((f, m))
    )
    assert [f for f, _ in lines] == pytest.approx(np.arange(1, 25) / 24)
    assert lines[-1][1].startswith("step 24 of 24, loss ")
    assert "held out: VOI" in lines[-1][1]
    assert lines[-1][1].endswith("left")


def test_tensorboard_s_log_is_written(cells, tmp_path):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    assert list((tmp_path / "m" / "training" / "tensorboard").glob("events*"))


def test_without_tensorboard_there_is_none(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def fake(name, *rest):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fake)
    journal = Journal(tmp_path, 10)
    journal.step(1, 0.5, 0.1, 1.0)
    journal.close()
    assert not list(tmp_path.iterdir())


def test_no_file_is_left_half_when_the_disk_is_full(cells, tmp_path, monkeypatch):
    train_affinities(cells, config=SMALL, out=tmp_path / "m")
    from safetensors import SafetensorError, numpy

    def full(*args, **kwargs):
        raise SafetensorError("No space left on device")

    before = {p: p.read_bytes() for p in (tmp_path / "m").iterdir() if p.is_file()}
    monkeypatch.setattr(numpy, "save_file", full)
    with pytest.raises(FileError, match="No space left"):
        load_model(tmp_path / "m").save(tmp_path / "m")
    assert before == {p: p.read_bytes() for p in (tmp_path / "m").iterdir() if p.is_file()}


def test_the_rate_rises_and_falls():
    config = TrainConfig(steps=1000, learning_rate=0.1)
    rates = [learning_rate(config, step) for step in range(1000)]
    assert np.argmax(rates) in (99, 100)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001, rel=0.02)
    assert all(np.diff(rates[:100]) > 0)
    assert all(np.diff(rates[101:]) < 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": "mse"}, "loss is 'mse'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": True}, "steps is True"),
        ({"ndim": 4}, "ndim is 4"),
        ({"patch_shape": (8,)}, "patch_shape is"),
        ({"patch_shape": [8, 8]}, "patch_shape is"),
        ({"ndim": 3, "patch_shape": (8, 8)}, "patch_shape is"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"held_out": 0.95}, "held_out is 0.95"),
        ({"augment": 1}, "augment is 1"),
        ({"widths": (4, 0)}, "widths is"),
        ({"widths": ()}, "widths is"),
    ],
)
def test_options_that_cannot_work_are_refused(values, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace("[", r"\[")):
        TrainConfig(**values)


def test_options_survive_json():
    config = TrainConfig(patch_shape=(8, 8), neighbourhood=((-1, 0), (0, -1)), ndim=2)
    read = json.loads(json.dumps(dataclasses.asdict(config)))
    assert read["neighbourhood"] == [[-1, 0], [0, -1]]
