"""The sets of images that the tables are made from."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg.errors import FileError
from napari_implicitseg.reproduction import cases


def test_photographs_have_both_strokes_and_one_object(data_dir):
    for name, count in (("grabcut", 10), ("pets", 13)):
        found = cases.SETS[name].cases()
        assert len(found) == count
        for case in found:
            assert case.image.shape == (*case.truth.shape, 3)
            assert np.unique(case.scribbles).tolist() == [0, 1, 2]
            assert np.unique(case.truth).tolist() == [0, 2]
            assert not (case.ignore & (case.truth == 2)).any()


def test_pets_strokes_keep_clear_of_the_border_and_repeat(data_dir):
    for first, again in zip(cases.pets(), cases.pets(), strict=True):
        np.testing.assert_array_equal(first.scribbles, again.scribbles)
        assert not (first.ignore & (first.scribbles == 1)).any()
        assert (first.truth[first.scribbles == 2] == 2).all()
        assert first.ignore.any()


@pytest.mark.parametrize("name", ["btcv", "medical-wbc"])
def test_medical_images_have_the_strokes_of_three_people(data_dir, name):
    found = cases.SETS[name].cases()
    assert len(found) == 15
    for case in found:
        assert case.image.shape == case.truth.shape == (256, 256)
        assert np.unique(case.scribbles).tolist() == [0, 1, 2]


def test_a_missing_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("IMPLICITSEG_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileError, match="There is no data folder '.*nowhere'"):
        cases.data_folder()


def test_a_missing_set_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("IMPLICITSEG_DATA", str(tmp_path))
    with pytest.raises(FileError, match=r"Cannot read '.*btcv.npz'"):
        cases.organs()


def test_an_empty_or_damaged_folder_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("IMPLICITSEG_DATA", str(tmp_path))
    with pytest.raises(FileError, match="holds nothing of the set 'white blood cells"):
        cases.SETS["wbc"].cases()
    (tmp_path / "cells" / "wbc").mkdir(parents=True)
    (tmp_path / "cells" / "wbc" / "001.bmp").write_bytes(b"BM")
    with pytest.raises(FileError, match="cannot be read from"):
        cases.SETS["wbc"].cases()
    (tmp_path / "cells" / "wbc" / "001_mask.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(FileError, match="cannot be read from"):
        cases.SETS["wbc"].cases()
