"""Arrays in files are read only where they are looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes import read_image, volume
from napari_implicitseg.volumes.lazy import FileArray

BASE = np.arange(4 * 5 * 6 * 7).reshape(4, 5, 6, 7)


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[object, ...]:
    """Draw an index of integers, slices and at most one Ellipsis."""
    parts: list[object] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        if draw(st.booleans()):
            parts.append(draw(st.integers(-n, n - 1)))
        else:
            bound = st.none() | st.integers(-n - 1, n + 1)
            parts.append(slice(draw(bound), draw(bound), draw(st.none() | st.integers(1, 3))))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), Ellipsis)
    return tuple(parts)


@given(index=indices((5, 5, 7)))
def test_a_view_indexes_like_the_array_it_views(index: tuple[object, ...]) -> None:
    view = FileArray(BASE, (2, slice(0, 5), slice(1, 6), slice(0, 7)), path=Path("a"), kind="array")
    np.testing.assert_array_equal(view[index], BASE[2, :, 1:6][index])


def test_a_view_has_the_attributes_of_an_array() -> None:
    view = FileArray(BASE, (0, slice(0, 5), slice(0, 6), 3), path=Path("a.tif"), kind="TIFF")
    assert (view.shape, view.ndim, view.size, len(view)) == ((5, 6), 2, 30, 5)
    assert view.dtype == BASE.dtype
    np.testing.assert_array_equal(np.asarray(view), BASE[0, :, :, 3])
    assert "a.tif" in repr(view)


@pytest.mark.parametrize("index", [(0, 0, 0), 9, slice(None, None, -1)])
def test_a_bad_index_is_an_index_error(index: object) -> None:
    view = FileArray(BASE, (0, slice(0, 5), slice(0, 6), 3), path=Path("a"), kind="array")
    with pytest.raises(IndexError):
        view[index]


def test_a_small_window_of_a_large_zarr_reads_few_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(256, 256), chunks=(32, 32), dtype="uint8")
    array[...] = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    monkeypatch.setattr(volume, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.zarr")
    # All chunks but the one looked at are broken: reading any of them raises.
    for chunk in (tmp_path / "a.zarr" / "c").rglob("*"):
        if chunk.is_file() and chunk.parts[-2:] != ("2", "3"):
            chunk.write_bytes(b"broken")
    np.testing.assert_array_equal(image.data[64:70, 96:100], [[96, 97, 98, 99]] * 6)
    with pytest.raises(FileError, match=r"a\.zarr' cannot be read as zarr"):
        image.data[:70, :100]


@pytest.mark.parametrize("options", [{}, {"tile": (64, 64)}, {"compression": "zlib"}])
def test_a_large_tiff_stays_in_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    data = np.random.default_rng(0).integers(0, 255, (5, 200, 150)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "ZYX"}, **options)
    monkeypatch.setattr(volume, "EAGER_BYTES", 0)
    image = read_image(tmp_path / "a.tif")
    assert isinstance(image.data, FileArray)
    assert len(image.data.chunks) == 3
    np.testing.assert_array_equal(image.data[1:3, 10:30, 140:], data[1:3, 10:30, 140:])
    np.testing.assert_array_equal(np.asarray(image.data), data)
