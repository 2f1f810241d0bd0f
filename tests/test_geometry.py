"""Tests of the geometry drawn in Shapes layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError, ScribbleError
from napari_implicitseg.geometry import Figure, add_figures, draw_figures, voxels_of

BOX = np.array([[10.0, 20.0], [10.0, 40.0], [30.0, 40.0], [30.0, 20.0]])


def mask_of(figure, shape, **kwargs):
    mask = np.zeros(shape, bool)
    mask[tuple(voxels_of(figure, shape, **kwargs).T)] = True
    return mask


@pytest.mark.parametrize("kind", ["rectangle", "polygon"])
def test_filled_figures_cover_their_inside(kind):
    mask = mask_of(Figure(kind=kind, vertices=BOX, label=2), (64, 64))
    assert mask[11:30, 21:40].all()
    mask[10:31, 20:41] = False
    assert not mask.any()


def test_an_ellipse_covers_the_ellipse_of_its_box():
    mask = mask_of(Figure(kind="ellipse", vertices=BOX, label=2), (64, 64))
    row, column = np.indices(mask.shape)
    radius = np.hypot((row - 20) / 10, (column - 30) / 10)
    assert mask[radius < 0.95].all()
    assert not mask[radius > 1.0].any()


def test_a_rotated_ellipse_follows_its_corners():
    turn = np.array([[np.cos(0.6), -np.sin(0.6)], [np.sin(0.6), np.cos(0.6)]])
    corners = (np.array([[-20, -8], [-20, 8], [20, 8], [20, -8]]) @ turn.T) + 32
    mask = mask_of(Figure(kind="ellipse", vertices=corners, label=2), (64, 64))
    local = (np.argwhere(mask) - 32) @ turn
    assert (np.hypot(local[:, 0] / 20, local[:, 1] / 8) <= 1.0).all()
    assert mask.sum() == pytest.approx(np.pi * 20 * 8, rel=0.03)


@pytest.mark.parametrize("kind", ["line", "path"])
@pytest.mark.parametrize("width", [1.0, 3.0, 6.0])
def test_strokes_are_as_wide_as_their_edge(kind, width):
    figure = Figure(kind=kind, vertices=[[32, 10], [32, 50]], label=2, width=width)
    mask = mask_of(figure, (64, 64))
    rows = np.flatnonzero(mask[:, 30])
    assert abs(len(rows) - width) <= 1
    assert rows.mean() == pytest.approx(32)
    assert mask[32, 10:51].all()


def test_a_path_follows_all_its_vertices():
    figure = Figure(kind="path", vertices=[[5, 5], [5, 30], [40, 30]], label=3, width=1)
    mask = mask_of(figure, (64, 64))
    assert mask[5, 5:31].all()
    assert mask[5:41, 30].all()
    assert mask.sum() == 26 + 35


def test_a_path_of_one_vertex_is_a_dot():
    mask = mask_of(Figure(kind="path", vertices=[[7, 9]], label=2, width=1), (16, 16))
    assert np.argwhere(mask).tolist() == [[7, 9]]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "path"])
def test_figures_drawn_in_a_slice_stay_in_it(axis, kind):
    vertices = np.insert(BOX / 2, axis, 7.0, axis=1)
    mask = mask_of(Figure(kind=kind, vertices=vertices, label=2, width=3), (32, 32, 32))
    index = [slice(None)] * 3
    index[axis] = 7
    assert mask[tuple(index)].sum() == mask.sum() > 50


def test_a_path_through_a_volume_is_round_in_physical_units():
    vertices = [[2, 16, 16], [12, 16, 16]]
    figure = Figure(kind="path", vertices=vertices, label=2, width=7)
    mask = mask_of(figure, (16, 32, 32), spacing=(4, 1, 1))
    assert mask[7].sum() == pytest.approx(np.pi * 3.5**2, rel=0.2)
    assert mask[7, 16].sum() == 7
    # Half the width is less than one slice of 4 units, so the tube has flat ends.
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == list(range(2, 13))


def test_an_oblique_polygon_lies_in_its_plane():
    vertices = [[0, 4, 4], [0, 4, 28], [24, 28, 28], [24, 28, 4]]
    coords = voxels_of(Figure(kind="polygon", vertices=vertices, label=2), (32, 32, 32))
    assert len(coords) > 400
    assert np.abs(coords[:, 0] - (coords[:, 1] - 4)).max() <= 1


def test_a_bent_polygon_is_refused_by_name():
    vertices = [[0, 4, 4], [9, 4, 28], [0, 28, 28], [9, 28, 4]]
    figure = Figure(kind="polygon", vertices=vertices, label=2, name="Shape 3 of 'rois'")
    with pytest.raises(ScribbleError, match=r"Shape 3 of 'rois'.*plane.*within one slice"):
        voxels_of(figure, (32, 32, 32))


def test_figures_outside_the_image_are_cut_off():
    mask = mask_of(Figure(kind="rectangle", vertices=BOX - 20, label=2), (64, 64))
    assert mask[:10, :20].any()
    far = Figure(kind="rectangle", vertices=BOX + 1000, label=2)
    assert len(voxels_of(far, (64, 64))) == 0
    line = Figure(kind="line", vertices=[[-50, 5], [-10, 5]], label=2)
    assert len(voxels_of(line, (64, 64))) == 0


def test_a_figure_smaller_than_a_voxel_still_marks_one():
    tiny = Figure(kind="rectangle", vertices=BOX / 200 + 10.2, label=2)
    assert voxels_of(tiny, (64, 64)).tolist() == [[10, 10]]


def test_two_ids_claiming_a_voxel_are_named_with_a_position():
    figures = [
        Figure(kind="rectangle", vertices=BOX, label=2),
        Figure(kind="rectangle", vertices=BOX + 15, label=5),
    ]
    with pytest.raises(ScribbleError, match=r"labels 2 and 5 both claim the voxel at \(2"):
        draw_figures(figures, (64, 64))


def test_figures_of_one_id_may_overlap():
    figures = [Figure(kind="rectangle", vertices=BOX + shift, label=2) for shift in (0, 5)]
    coords, ids = draw_figures(figures, (64, 64))
    assert set(ids.tolist()) == {2}
    assert len(np.unique(coords, axis=0)) == len(coords)


def test_figures_are_added_to_painted_labels():
    labels = np.zeros((64, 64), np.uint8)
    labels[0, :] = 1
    drawn = add_figures(labels, [Figure(kind="rectangle", vertices=BOX, label=300)])
    assert drawn.dtype == np.uint16
    assert (drawn[0] == 1).all()
    assert drawn[20, 30] == 300
    assert labels.max() == 1


def test_no_figures_leave_the_labels_alone():
    labels = np.arange(16, dtype=np.int32).reshape(4, 4)
    drawn = add_figures(labels, [])
    assert np.array_equal(drawn, labels)
    assert drawn is not labels
    assert draw_figures([], (4, 4))[0].shape == (0, 2)


def test_a_figure_over_another_paint_is_refused_with_both_ids():
    labels = np.zeros((64, 64), np.uint16)
    labels[20, 30] = 7
    with pytest.raises(ScribbleError, match=r"'strokes'.*labels 2 and 7.*\(20, 30\).*1 voxels"):
        add_figures(labels, [Figure(kind="rectangle", vertices=BOX, label=2)], name="strokes")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"kind": "circle"}, InputError, "'circle'; only rectangle"),
        ({"label": 0}, ScribbleError, "label 0; labels must be 1 or more"),
        ({"vertices": [[np.nan, 1.0]]}, InputError, "finite coordinates"),
        ({"vertices": np.zeros((0, 2))}, InputError, "vertices of shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        Figure(**{"kind": "polygon", "vertices": BOX, "label": 2} | change)


def test_figures_of_another_dimension_are_refused():
    with pytest.raises(InputError, match="2 axes but the image has 3"):
        voxels_of(Figure(kind="polygon", vertices=BOX, label=2), (8, 64, 64))


def test_an_ellipse_needs_its_box():
    with pytest.raises(InputError, match="four corners"):
        voxels_of(Figure(kind="ellipse", vertices=BOX[:3], label=2), (64, 64))


@given(
    start=st.tuples(*[st.floats(-20, 60)] * 3),
    stop=st.tuples(*[st.floats(-20, 60)] * 3),
    width=st.floats(0.1, 9),
)
def test_strokes_stay_inside_and_near_their_segment(start, stop, width):
    shape = (12, 40, 30)
    figure = Figure(kind="line", vertices=np.array([start, stop]), label=2, width=width)
    coords = voxels_of(figure, shape)
    assert ((coords >= 0) & (coords < np.array(shape))).all()
    assert len(np.unique(coords, axis=0)) == len(coords)
    one, other = np.array(start), np.array(stop)
    along = other - one
    share = np.clip(((coords - one) @ along) / max(float(along @ along), 1e-12), 0, 1)
    away = np.linalg.norm(coords - (one + share[:, None] * along), axis=1)
    assert (away <= max(width, 1.0) / 2 + 1.0).all()
