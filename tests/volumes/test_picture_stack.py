"""A folder of pictures as a stack."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import read_image, read_labels


def _write(folder, planes, names):
    folder.mkdir()
    for plane, name in zip(planes, names, strict=True):
        Image.fromarray(plane).save(folder / name)


@pytest.fixture
def planes():
    return np.random.default_rng(0).integers(0, 255, (3, 8, 10)).astype(np.uint8)


def test_sections_are_in_the_order_of_their_numbers(tmp_path, planes):
    _write(tmp_path / "s", planes, ["s9.png", "s10.png", "s100.png"])
    volume = read_image(tmp_path / "s")
    np.testing.assert_array_equal(volume.data, planes)
    assert volume.grid().axes == ("z", "y", "x")


def test_labels_of_a_folder_are_whole_numbers(tmp_path, planes):
    _write(tmp_path / "s", planes, ["0.png", "1.png", "2.png"])
    np.testing.assert_array_equal(read_labels(tmp_path / "s").data, planes)


def test_colours_are_channels(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (2, 8, 10, 3)).astype(np.uint8)
    _write(tmp_path / "s", colours, ["0.png", "1.png"])
    volume = read_image(tmp_path / "s")
    assert volume.shape == (2, 8, 10, 3)
    assert volume.channel_axis == 3


def test_other_files_of_the_folder_are_left_out(tmp_path, planes):
    _write(tmp_path / "s", planes, ["0.png", "1.png", "2.png"])
    Image.fromarray(planes[0, :4]).save(tmp_path / "s" / "thumbnail.jpg")
    (tmp_path / "s" / "notes.txt").write_text("x")
    Image.fromarray(planes[0, :4]).save(tmp_path / "s" / ".hidden.png")
    assert read_image(tmp_path / "s").shape == (3, 8, 10)


def test_sections_of_different_sizes_are_refused(tmp_path, planes):
    _write(tmp_path / "s", [planes[0], planes[1, :4]], ["0.png", "1.png"])
    with pytest.raises(FileError, match=r"1.png' has shape \(4, 10\).*'0.png' has \(8, 10\)"):
        read_image(tmp_path / "s")


def test_a_damaged_section_is_named(tmp_path, planes):
    _write(tmp_path / "s", planes, ["0.png", "1.png", "2.png"])
    (tmp_path / "s" / "1.png").write_bytes(b"no picture")
    with pytest.raises(FileError, match="1.png"):
        read_image(tmp_path / "s")


def test_a_folder_has_no_levels(tmp_path, planes):
    _write(tmp_path / "s", planes, ["0.png", "1.png", "2.png"])
    with pytest.raises(InputError, match="only level 0"):
        read_image(tmp_path / "s", level=1)


def test_a_folder_without_pictures_is_no_image(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(FileError):
        read_image(tmp_path / "s")
