"""napari opens affinities and lists of edits, and saves labels as OME-Zarr."""

from __future__ import annotations

import numpy as np
import pytest

from napari_implicitseg import labels_to_affinities
from napari_implicitseg.hierarchy.edits import EditFile, Freeze, Merge, Split
from napari_implicitseg.napari_files import reader_of
from napari_implicitseg.volumes import Grid, read_labels, write_labels
from napari_implicitseg.volumes.affinity_files import write_affinities

NAME = "napari-implicitseg"
LABELS = np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((3, 5, 6))).astype(np.uint32)
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
GRID = Grid(axes=("z", "y", "x"), scale=(40, 4, 4), translate=(80, 0, 12), units=("nanometer",) * 3)


@pytest.mark.parametrize("name", ["a.zarr", "a.h5"])
def test_affinities_open_where_they_were(make_napari_viewer, tmp_path, name):
    from napari_implicitseg.widgets._neurons_affinities import offsets_of

    affinities = labels_to_affinities(LABELS, OFFSETS, spacing=(40, 4, 4))
    write_affinities(tmp_path / name, affinities, GRID)
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / name), plugin=NAME)
    np.testing.assert_array_equal(layer.data, affinities.data)
    np.testing.assert_allclose(layer.scale, (1, 40, 4, 4))
    np.testing.assert_allclose(layer.translate, (0, 80, 0, 12))
    assert [str(unit) for unit in layer.units][1:] == ["nanometer"] * 3
    assert offsets_of(layer) == OFFSETS


def test_edits_open_as_points(make_napari_viewer, tmp_path):
    edits = (
        Merge(voxels=((0, 0, 0), (5, 5, 5))),
        Split(scribbles=(((1, 1, 1), (1, 1, 2)), ((2, 2, 2),))),
        Freeze(voxels=((3, 3, 3),)),
    )
    document = EditFile(shape=(6, 10, 12), threshold=0.5, edits=edits)
    (tmp_path / "edits.json").write_text(document.model_dump_json())
    viewer = make_napari_viewer()
    (layer,) = viewer.open(str(tmp_path / "edits.json"), plugin=NAME)
    assert len(layer.data) == 6
    assert list(layer.features["kind"]) == ["merge"] * 2 + ["split"] * 3 + ["freeze"]
    assert list(layer.features["stroke"]) == [0, 0, 0, 0, 1, 0]
    np.testing.assert_array_equal(layer.data[1], (5, 5, 5))


def test_other_files_are_left_to_other_readers(tmp_path):
    write_labels(tmp_path / "l.zarr", LABELS, GRID)
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / "a.h5").write_bytes(b"no")
    for name in ("l.zarr", "a.json", "a.h5", "none.zarr"):
        assert reader_of(str(tmp_path / name)) is None
    assert reader_of([str(tmp_path / "l.zarr")]) is None


def test_labels_are_saved_where_they_lie(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    layer = viewer.add_labels(
        LABELS, scale=GRID.scale, translate=GRID.translate, units=GRID.units, axis_labels=GRID.axes
    )
    layer.save(str(tmp_path / "l.zarr"), plugin=NAME)
    found = read_labels(tmp_path / "l.zarr")
    np.testing.assert_array_equal(found.data, LABELS)
    assert found.grid() == GRID
