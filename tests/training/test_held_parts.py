"""Which part of a single image is held out."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.errors import InputError
from napari_implicitseg.training import held_parts
from napari_implicitseg.training.held_parts import hold_part, part_of, split_name
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.value_counts import count_blocks

from .helpers import Recording


def _image(labels, name: str = "'a.png'", **more) -> TrainingVolume:
    raw = np.zeros((1, *labels.shape), np.uint8)
    return TrainingVolume(raw=raw, labels=labels, zero="unlabelled", name=name, **more)


def _counts(labels) -> list[int]:
    return np.bincount(np.asarray(labels).ravel(), minlength=4)[1:].tolist()


def test_the_far_end_of_the_longest_axis_is_taken_where_it_has_all():
    labels = np.tile(np.array([[1, 2, 3, 1]], np.uint8).repeat(5, axis=1), (60, 1))
    part = hold_part(_image(labels), 0.25, 3)
    assert part.place == "y 45 to 59"
    assert part.held.name == "'a.png' (y 45 to 59)"
    assert (part.taught.shape, part.held.shape) == ((45, 20), (15, 20))
    assert (part.unlearned, part.unmeasured) == ((), ())


@pytest.mark.parametrize(
    ("second", "turned", "place"),
    [
        (slice(20, 36), False, "x 32 to 39"),
        (slice(0, 20), False, "y 0 to 11"),
        (slice(0, 20), True, "x 0 to 11"),
    ],
)
def test_the_end_that_has_every_class_is_taken(second, turned, place):
    labels = np.ones((60, 40), np.uint8)
    labels[:, second] = 2
    labels[:20, 10:38] = 3  # Not at the far end of y.
    labels = labels.T if turned else labels
    part = hold_part(_image(labels), 0.2, 3)
    taught, held = _counts(part.taught.labels), _counts(part.held.labels)
    assert part.place == place
    assert min(taught) > 0
    assert min(held) >= 16
    assert [a + b for a, b in zip(taught, held, strict=True)] == _counts(labels)


def test_of_larger_images_a_box_is_taken_where_no_end_has_every_class():
    labels = np.ones((200, 160), np.uint8)
    labels[70:130, 60:100] = 2
    labels[95:105, 40:120] = 3
    image = _image(labels)
    part = hold_part(image, 0.2, 3)
    assert part.unmeasured == part.unlearned == ()
    assert "y " in part.place
    assert "x " in part.place
    assert part.taught.shape == labels.shape
    taught, held = _counts(part.taught.labels), _counts(part.held.labels)
    assert [a + b for a, b in zip(taught, held, strict=True)] == _counts(labels)
    assert min(held) > 16
    assert all(t > 0.4 * n for t, n in zip(taught, _counts(labels), strict=True))
    assert 0.15 < part.held.labels.size / labels.size < 0.25
    again = hold_part(image, 0.2, 3)
    assert again.place == part.place
    assert _counts(image.labels) == _counts(labels)


def test_a_class_that_cannot_be_in_both_is_learned_and_said_not_to_be_measured():
    labels = np.tile(np.array([[1, 2]], np.uint8).repeat(20, axis=1), (60, 1))
    labels[59, 5] = 3
    part = hold_part(_image(labels), 0.2, 3)
    assert (part.unlearned, part.unmeasured) == ((), (3,))
    assert _counts(part.taught.labels)[2] == 1


@pytest.mark.parametrize("marks", [{(3, 3): 1}, {(3, 3): 1, (50, 50): 2}, {}])
def test_too_few_labels_hold_nothing_out(marks):
    labels = np.zeros((60, 60), np.uint8)
    for place, value in marks.items():
        labels[place] = value
    assert hold_part(_image(labels), 0.2, 3) is None


def test_of_thick_sections_whole_ones_are_held_out():
    labels = np.random.default_rng(0).integers(1, 4, (10, 64, 64)).astype(np.uint8)
    part = hold_part(_image(labels, spacing=(10.0, 1.0, 1.0)), 0.2, 3)
    assert part.place == "z 8 to 9"


def test_large_masks_in_files_are_cut_along_their_blocks_and_not_read(monkeypatch):
    monkeypatch.setattr(held_parts, "_WHOLE", 1000)
    data = np.ones((600, 400), np.uint8)
    data[:, 200:] = 2
    mask = Recording(data, (128, 128))
    mask.counts = count_blocks(mask).of_classes((1, 2))
    part = hold_part(_image(mask), 0.2, 2)
    assert mask.voxels == data.size
    assert part.place == "y 512 to 599"
    assert part.taught.labels.counts.totals() == {1: 512 * 200, 2: 512 * 200}


def test_a_part_is_found_again_by_its_name():
    labels = np.ones((60, 40), np.uint8)
    image = _image(labels, "'odd (y 1 to 2).png'")
    part = part_of(image, (slice(4, 10), slice(0, 40)))
    assert split_name(part.name) == (image.name, {"y": (4, 9)})
    both = part_of(image, (slice(4, 10), slice(1, 40)))
    assert split_name(both.name)[1] == {"y": (4, 9), "x": (1, 39)}
    assert split_name("image 3") == ("image 3", {})
    with pytest.raises(InputError, match=r"has shape \(60, 40\), and the part y 50 to 69"):
        part_of(image, (slice(50, 70), slice(0, 40)))
