"""Options of learning classes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import SemanticConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.unet_config import UNetConfig
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.semantic_examples import class_examples
from napari_implicitseg.training.semantic_task import SemanticTask


def test_the_network_of_the_report_is_the_one_it_describes():
    config = SemanticConfig.preset("report-2024", held_out=0)
    mask = np.kron([[1, 2], [3, 1]], np.ones((32, 32), int))
    volume = TrainingVolume(raw=np.zeros((3, 64, 64)), labels=mask, name="x")
    task = SemanticTask(class_examples([volume], config), config)
    assert task.network == UNetConfig.preset("report-2024", 3, 3)
    assert [task.rate(step) for step in (0, 5, 1000)] == [1e-3] * 3
    assert task.gradient_norm == float("inf")
    assert (config.loss, config.augment, config.average) == ("cross-entropy", False, 0.0)


@pytest.mark.parametrize(
    ("shape", "options", "depth"),
    [
        ((64, 64), {}, 5),
        ((200, 20), {}, 3),
        ((5, 9), {}, 1),
        ((2, 64, 64), {"ndim": 2}, 5),
        ((64, 64, 64), {}, 4),
        ((64, 64), {"patch_shape": (32, 32)}, 4),
        ((64, 64), {"depth": 2}, 2),
    ],
)
def test_a_network_sees_no_farther_than_patches_reach(shape, options, depth):
    config = SemanticConfig(held_out=0.0, **options)
    mask = np.ones(shape, int)
    mask[..., 0] = 2
    volume = TrainingVolume(raw=np.zeros((1, *shape)), labels=mask, name="x")
    task = SemanticTask(class_examples([volume], config), config)
    assert task.network.widths == tuple(16 * 2**level for level in range(depth))


def test_presets_take_changes():
    assert SemanticConfig.preset("default") == SemanticConfig()
    assert SemanticConfig.preset("report-2024", steps=3, augment=True).augment


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0; use a whole number, at least 1"),
        ({"steps": True}, "steps is True"),
        ({"held_out": 0.95}, "held_out is 0.95; use a number from 0 to 0.9"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; use a number"),
        ({"zero": "nothing"}, "zero is 'nothing'; use 'unlabelled' or 'background'"),
        ({"ndim": 4}, "ndim is 4"),
        ({"augment": 1}, "augment is 1; use True or False"),
        ({"classes": "cell"}, "classes is 'cell'"),
        ({"classes": ("a", "a")}, "name of its own"),
        ({"values": (1, 1)}, "give different whole numbers"),
        ({"values": (1, 2), "classes": ("a", "b", "c")}, "3 classes and 2 values"),
        ({"ignore": 1.5}, "ignore is 1.5"),
        ({"ignore": 2**63}, "ignore is 9223372036854775808; give a whole number up to"),
        ({"values": (1, -(2**63))}, "give whole numbers up to"),
        ({"values": (1, 2), "ignore": 2}, "2 is a class by values .* says nothing by ignore"),
        ({"values": tuple(range(256))}, "There are 256 values; at most 255"),
        ({"classes": tuple(map(str, range(256)))}, "There are 256 classes; at most 255"),
        ({"patch_shape": (64,)}, "patch_shape is"),
        ({"patch_shape": (8, 8), "ndim": 3}, "patch_shape is"),
        ({"widths": ()}, "widths is"),
        ({"gradient_norm": 0}, "gradient_norm is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"data": 3}, "data is 3; give text"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SemanticConfig(**options)


def test_unknown_presets_and_options_are_refused():
    with pytest.raises(InputError, match="choose default or report-2024"):
        SemanticConfig.preset("best")
    with pytest.raises(InputError, match="no option 'stepz'"):
        SemanticConfig.preset("default", stepz=3)
