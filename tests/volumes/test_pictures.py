"""PNG, JPEG and BMP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes import (
    Grid,
    check_output,
    read_image,
    read_labels,
    read_probability,
    write_labels,
)

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (20, 30)).astype(np.uint8)
COLOURS = RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.bmp"])
def test_colours_are_channels(tmp_path: Path, name: str) -> None:
    Image.fromarray(COLOURS).save(tmp_path / name)
    volume = read_image(tmp_path / name)
    np.testing.assert_array_equal(volume.data, COLOURS)
    assert volume.channel_axis == 2
    assert volume.channel_axis_for((20, 30)) == 2


def test_jpeg_is_read(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 250, 30), (20, 1)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.JPG", format="JPEG", quality=95)
    data = read_image(tmp_path / "a.JPG").data
    assert np.abs(data.astype(int) - smooth).max() < 12


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").data, GREY)


def test_transparency_is_left_out(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 255, (20, 30, 1)).astype(np.uint8)
    Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)).save(tmp_path / "rgba.png")
    Image.fromarray(np.concatenate([GREY[..., None], alpha], axis=2)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png").data, COLOURS)
    np.testing.assert_array_equal(read_image(tmp_path / "la.png").data, GREY)


def test_a_palette_is_colours_in_an_image_and_ids_in_labels(tmp_path: Path) -> None:
    ids = (GREY % 4).astype(np.uint8)
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 200, 0], [0, 0, 99]], np.uint8)
    picture = Image.fromarray(ids, mode=None).convert("P")
    picture.putdata(ids.ravel().tolist())
    picture.putpalette(table.ravel().tolist())
    picture.save(tmp_path / "p.png", transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").data, table[ids])
    np.testing.assert_array_equal(read_labels(tmp_path / "p.png").data, ids)


def test_sixteen_bits_and_bool_keep_their_values(tmp_path: Path) -> None:
    deep = RNG.integers(0, 65535, (20, 30)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(GREY > 100).save(tmp_path / "bool.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png").data, deep)
    np.testing.assert_array_equal(read_image(tmp_path / "bool.png").data, GREY > 100)


def test_labels_survive_a_round_trip(tmp_path: Path) -> None:
    labels = RNG.integers(0, 65536, (20, 30)).astype(np.uint32)
    write_labels(tmp_path / "a.png", labels, Grid.plain(2))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data, labels)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode.startswith("I;16")


def test_ids_beyond_sixteen_bits_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="up to 65535 but the labels go up to 65536"):
        write_labels(tmp_path / "a.png", np.full((4, 4), 65536, np.uint32), Grid.plain(2))
    with pytest.raises(FileError, match="largest is 70000"):
        check_output(tmp_path / "a.png", ndim=2, largest=70000)
    assert list(tmp_path.iterdir()) == []


def test_three_axes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="2 axes but the labels have 3"):
        write_labels(tmp_path / "a.png", np.zeros((2, 4, 4), np.uint32), Grid.plain(3))
    with pytest.raises(FileError, match="holds 2 axes, the result has 3"):
        check_output(tmp_path / "a.png", ndim=3)


def test_grey_scribbles_saved_as_colours_are_labels(tmp_path: Path) -> None:
    Image.fromarray(np.stack([GREY] * 3, axis=2)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").data, GREY)


def test_coloured_scribbles_are_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(FileError, match="strokes .*a.png' has 3 different channels.*label image"):
        read_labels(tmp_path / "a.png", name="strokes")


def test_probabilities_are_fractions(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    Image.fromarray(GREY > 9).save(tmp_path / "b.png")
    np.testing.assert_allclose(read_probability(tmp_path / "a.png"), GREY / 255, rtol=1e-6)
    assert set(np.unique(read_probability(tmp_path / "b.png"))) == {0.0, 1.0}


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg"])
@pytest.mark.parametrize("keep", [1, 12, 60, 0.5, 0.9])
def test_cut_off_pictures_are_file_errors(tmp_path: Path, name: str, keep: float) -> None:
    Image.fromarray(COLOURS).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: keep if keep >= 1 else int(len(data) * keep)])
    with pytest.raises(FileError, match=name):
        read_image(tmp_path / name)


def test_missing_empty_wrong_and_unknown_files_are_file_errors(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "a.docx").write_text("not a picture")
    for name, match in [
        ("none.png", "does not exist"),
        ("empty.png", "is empty"),
        ("text.png", "cannot be read as a picture"),
        ("a.docx", r"extension '\.docx'; needed is \.tif"),
    ]:
        with pytest.raises(FileError, match=match):
            read_image(tmp_path / name)


def test_a_picture_has_no_levels(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="only level 0"):
        read_image(tmp_path / "a.png", level=1)
