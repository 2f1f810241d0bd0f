"""Which mask goes with which image, by their names."""

from __future__ import annotations

import pytest

from napari_implicitseg.errors import FileError
from napari_implicitseg.semantic.pairing import images_without_masks, pair_files


def _named(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("a.jpg", "a.png"), {"a.jpg": "a.png"}),
        (("a.bmp", "a.tif", "b.JPEG", "b.png"), {"a.bmp": "a.tif", "b.JPEG": "b.png"}),
        (("a.jpg", "a_mask.png", "b.jpg", "b.png"), {"a.jpg": "a_mask.png", "b.jpg": "b.png"}),
        (("a.ome.tif", "a_mask.ome.tif"), {"a.ome.tif": "a_mask.ome.tif"}),
        (("a.ome.tif", "a_mask.png"), {"a.ome.tif": "a_mask.png"}),
        (("a.ome.tif", "a.tif", "a_mask.tif"), {"a.tif": "a_mask.tif"}),
        (("s.png", "s_seg.png", "s_1.png", "s_1_seg.png"),
         {"s.png": "s_seg.png", "s_1.png": "s_1_seg.png"}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:1 image has no mask")
def test_pairs_of_one_folder(tmp_path, names, wanted):
    found = pair_files(*[_named(tmp_path, *names)] * 2)
    assert {a.name: b.name for a, b in found} == wanted


def test_masks_of_ome_files_are_told_from_images(tmp_path):
    _named(tmp_path, "a.ome.tif", "a_mask.ome.tif")
    with pytest.warns(UserWarning, match="1 file is a mask of another by its name"):
        assert [p.name for p in images_without_masks(tmp_path)] == ["a.ome.tif"]


def test_two_masks_of_an_image_are_both_named(tmp_path):
    _named(tmp_path, "a.png", "a_mask.png", "a_mask.tif")
    with pytest.raises(FileError, match=r"just one mask .* a.png \(a_mask.png, a_mask.tif\)"):
        pair_files(tmp_path, tmp_path)
    _named(tmp_path, "b.png", "b_mask.png")
    said = r"^1 image has several masks and is left out: a.png \(a_mask.png, a_mask.tif\)"
    with pytest.warns(UserWarning, match=said) as told:
        assert len(pair_files(tmp_path, tmp_path)) == 1
    assert len(told) == 1


def test_three_files_of_one_name_are_not_guessed_at(tmp_path):
    _named(tmp_path, "a.jpg", "a.png", "a.tif")
    with pytest.raises(FileError, match=r"a.jpg \(a.png, a.tif\)"):
        pair_files(tmp_path, tmp_path)


def test_a_folder_without_masks_is_told_once(tmp_path):
    _named(tmp_path, "a.png", "b.png")
    with pytest.raises(FileError, match="has a mask there: it holds a.png, b.png"):
        pair_files(tmp_path, tmp_path)


def test_one_is_one(tmp_path):
    _named(tmp_path, "a.png", "a_mask.png", "b.png")
    with pytest.warns(UserWarning, match="^1 image has no mask and is left out: b.png"):
        pair_files(tmp_path, tmp_path)
