"""Tests of reading napari layers and of placing new ones."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr
from napari.layers import Image, Labels, Shapes

from napari_implicitseg.errors import InputError, ScribbleError
from napari_implicitseg.widgets._layers import (
    Region,
    figures_of,
    level_matching,
    like,
    region_of,
    size_unit,
)

VOLUME = np.arange(4 * 5 * 6).reshape(4, 5, 6)


def test_the_current_slice_is_the_plane_shown():
    region = region_of("slice", VOLUME.shape, (0, 1, 2), (2.2, 0, 0))
    assert np.array_equal(region.take(VOLUME), VOLUME[2])
    turned = region_of("slice", VOLUME.shape, (1, 2, 0), (0, 3, 0))
    assert np.array_equal(turned.take(VOLUME), VOLUME[:, 3])


def test_slices_come_first_whichever_way_the_volume_is_turned():
    assert region_of("slices", VOLUME.shape, (0, 1, 2), (0, 0, 0)).take(VOLUME) is VOLUME
    region = region_of("slices", VOLUME.shape, (2, 0, 1), (0, 0, 0))
    assert np.array_equal(region.take(VOLUME), np.moveaxis(VOLUME, 2, 0))
    assert region.of((1.0, 2.0, 3.0)) == (3.0, 1.0, 2.0)


def test_a_volume_of_a_time_series_is_the_one_shown():
    series = np.stack([VOLUME, VOLUME + 1000])
    region = region_of("volume", series.shape, (0, 1, 2, 3), (1, 0, 0, 0))
    assert np.array_equal(region.take(series), series[1])


def test_positions_outside_are_clipped():
    assert region_of("slice", VOLUME.shape, (0, 1, 2), (99, 0, 0)).index[0] == 3
    assert region_of("slice", VOLUME.shape, (0, 1, 2), (-5, 0, 0)).index[0] == 0


def test_channels_come_along():
    image = np.random.default_rng(0).random((4, 5, 6, 3))
    region = region_of("slice", image.shape[:3], (1, 0, 2), (0, 3, 0))
    assert np.array_equal(region.take(image), image[:, 3])


def test_what_is_written_to_a_region_is_written_to_the_array():
    data = VOLUME.copy()
    region = region_of("slices", data.shape, (2, 0, 1), (0, 0, 0))
    region.take(data)[3] = -1
    assert (data[:, :, 3] == -1).all()
    assert region.place((slice(1, 2), slice(0, 3), slice(2, 4))) == np.s_[0:3, 2:4, 1:2]


def test_lazy_arrays_stay_lazy(tmp_path):
    reads = []

    class Watched(zarr.Array):
        def __getitem__(self, key):
            reads.append(key)
            return super().__getitem__(key)

    stored = zarr.create_array(
        tmp_path / "v.zarr", shape=VOLUME.shape, chunks=(1, 5, 6), dtype="i8"
    )
    stored[...] = VOLUME
    watched = Watched(stored._async_array)
    cut = Region((1, 2), (2, None, None)).take(watched)
    assert isinstance(cut, dask.array.Array)
    assert not reads
    assert np.array_equal(cut.compute(), VOLUME[2])
    lazy = dask.array.from_array(VOLUME)
    assert isinstance(Region((1, 2), (1, None, None)).take(lazy), dask.array.Array)


def pyramid(name="pyramid"):
    base = np.random.default_rng(0).random((64, 96)).astype(np.float32)
    levels = [base, base[::2, ::2], base[::4, ::4]]
    return Image(levels, name=name, multiscale=True, scale=(2, 3), translate=(5, 7), rotate=30)


def test_scribbles_find_their_level():
    image = pyramid()
    assert level_matching(image, Labels(np.zeros((32, 48), np.uint8))) == 1
    assert level_matching(image, Labels(np.zeros((64, 96), np.uint8))) == 0


def test_scribbles_of_another_shape_are_refused_by_name():
    image = Image(np.zeros((128, 128)), name="em")
    labels = Labels(np.zeros((64, 64), np.uint8), name="strokes")
    with pytest.raises(InputError, match=r"'strokes' has shape \(64, 64\) but image 'em'.*New"):
        level_matching(image, labels)


def test_multiscale_labels_are_refused():
    levels = [np.zeros((64, 64), np.uint8), np.zeros((32, 32), np.uint8)]
    labels = Labels(levels, name="strokes", multiscale=True)
    with pytest.raises(InputError, match="'strokes' is multiscale; napari cannot paint"):
        level_matching(Image(levels), labels)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_layer_on_a_level_covers_the_image(level):
    image = pyramid()
    layer = Labels(np.zeros(image.data[level].shape, np.uint8), **like(image, level))
    corner = np.array([-0.5, -0.5])
    far = np.array([63.5, 95.5])
    factor = 2**level
    assert np.allclose(image.data_to_world(corner), layer.data_to_world(corner))
    assert np.allclose(image.data_to_world(far), layer.data_to_world((far + 0.5) / factor - 0.5))


def test_units_of_sizes_are_read():
    image = Image(np.zeros((8, 8, 8)), units=("nm", "um", "um"))
    assert size_unit(image, (1, 2)) == "µm²"
    assert size_unit(Image(np.zeros((8, 8, 8)), units=("nm",) * 3), (0, 1, 2)) == "nm³"
    assert size_unit(Image(np.zeros((8, 8))), (0, 1)) == "px"
    assert size_unit(Image(np.zeros((8, 8)), scale=(2, 2)), (0, 1)) == "px²"
    assert size_unit(Image(np.zeros((8, 8, 8))), (0, 1, 2)) == "voxels"


BOX = np.array([[10.0, 20.0], [10.0, 40.0], [30.0, 40.0], [30.0, 20.0]])
WHOLE = Region((0, 1), (None, None))


def test_shapes_are_read_in_the_coordinates_of_the_scribbles():
    labels = Labels(np.zeros((64, 64), np.uint8), scale=(2, 2), translate=(1, 3))
    shapes = Shapes([BOX], shape_type="rectangle", edge_width=4, features={"label": [5]})
    (figure,) = figures_of(shapes, labels, WHOLE, [2])
    assert figure.kind == "rectangle"
    assert figure.label == 5
    assert np.allclose(figure.vertices, (BOX - (1, 3)) / 2)
    assert figure.width == 2


def test_without_a_label_column_each_shape_is_an_object():
    labels = Labels(np.zeros((64, 64), np.uint8))
    shapes = Shapes([BOX, BOX + 5], shape_type="polygon")
    assert [f.label for f in figures_of(shapes, labels, WHOLE, [4, 5])] == [4, 5]


@pytest.mark.parametrize("wrong", [np.nan, 0, 1.5, "left"])
def test_labels_of_shapes_must_be_positive_integers(wrong):
    labels = Labels(np.zeros((64, 64), np.uint8))
    shapes = Shapes([BOX], shape_type="polygon", features={"label": [wrong]}, name="rois")
    with pytest.raises(ScribbleError, match=r"Shape 0 of layer 'rois'.*whole number"):
        figures_of(shapes, labels, WHOLE, [2])


def test_flat_shapes_lie_in_the_slice_worked_on():
    labels = Labels(np.zeros((8, 64, 64), np.uint8))
    shapes = Shapes([BOX], shape_type="ellipse", name="rois")
    (figure,) = figures_of(shapes, labels, Region((1, 2), (3, None, None)), [2])
    assert (figure.vertices[:, 0] == 3).all()
    assert np.allclose(figure.vertices[:, 1:], BOX)
    with pytest.raises(ScribbleError, match=r"'rois' has 2 axes.*current slice"):
        figures_of(shapes, labels, Region((0, 1, 2), (None,) * 3), [2])


def test_shapes_with_more_axes_than_the_image_are_refused():
    labels = Labels(np.zeros((64, 64), np.uint8), name="strokes")
    shapes = Shapes([np.insert(BOX, 0, 2, axis=1)], shape_type="polygon", name="rois")
    with pytest.raises(ScribbleError, match="'rois' has 3 axes but 'strokes' only 2"):
        figures_of(shapes, labels, WHOLE, [2])
