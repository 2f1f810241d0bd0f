"""Tests of the scribble widget on all kinds of layers: slices, volumes, RGB, shapes."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import dask.array
import numpy as np
import pytest
import zarr

from napari_implicitseg.widgets.demo import Heartbeat

from .helpers import disks, drag, iou, settle

SLICES = 7


def ball_volume():
    """Make a noisy ball in a volume, and its truth."""
    z, y, x = np.indices((SLICES, 64, 64))
    truth = ((z - 3) * 5) ** 2 + (y - 32) ** 2 + (x - 30) ** 2 <= 18**2
    noise = np.random.default_rng(0).normal(0, 0.08, truth.shape)
    return (truth + noise).astype(np.float32), truth


def scribble_slice(widget, z, label=2):
    """Paint background and the ball on a slice."""
    layer = widget.scribbles_box.layer
    widget.viewer.dims.set_point(0, z * layer.scale[0])
    layer.brush_size = 4
    layer.selected_label = 1
    scale = layer.scale
    for row in (4, 60):
        drag(layer, tuple(scale * (z, row, 4)), tuple(scale * (z, row, 60)))
    layer.selected_label = label
    drag(layer, tuple(scale * (z, 32, 26)), tuple(scale * (z, 32, 34)))


@pytest.fixture
def in_volume(open_widget, qtbot):
    """Open the widget on the ball, with new scribbles."""

    def make(image=None, **kwargs):
        data, truth = ball_volume()
        place = {"name": "ball", "scale": (5.0, 1.0, 1.0), "units": ("um",) * 3}
        viewer, widget = open_widget((data if image is None else image, place | kwargs, "image"))
        widget.new_button.click()
        settle(qtbot, widget)
        return viewer, widget, truth

    return make


def preview(viewer, name="ball"):
    return viewer.layers[f"{name} preview"].data


def test_the_current_slice_is_fitted_alone(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    scribble_slice(widget, 3)
    settle(qtbot, widget)
    assert iou(preview(viewer)[3] == 2, truth[3]) > 0.85
    assert not np.delete(preview(viewer), 3, axis=0).any()
    assert widget.table.item(0, 1).text().endswith("µm²")


def test_slices_fitted_one_after_another_are_accepted_together(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    for z in (3, 4):
        scribble_slice(widget, z)
        settle(qtbot, widget)
    widget.accept_button.click()
    result = viewer.layers["ball masks"].data
    assert iou(result[3] == 2, truth[3]) > 0.85
    assert iou(result[4] == 2, truth[4]) > 0.85
    scribble_slice(widget, 2)
    settle(qtbot, widget)
    widget.accept_button.click()
    assert iou(result[3] == 2, truth[3]) > 0.85
    assert iou(result[2] == 2, truth[2]) > 0.85


def test_moving_to_a_slice_with_strokes_fits_it(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    layer = widget.scribbles_box.layer
    layer.data[5, 4, 4:60] = 1
    layer.data[5, 32, 28:33] = 2
    layer.refresh()
    settle(qtbot, widget)
    assert not preview(viewer).any()
    viewer.dims.set_point(0, 25.0)
    settle(qtbot, widget)
    assert iou(preview(viewer)[5] == 2, truth[5]) > 0.7
    version = widget.session._version
    viewer.dims.set_point(0, 0.0)
    viewer.dims.set_point(0, 25.0)
    settle(qtbot, widget)
    assert widget.session._version == version


def test_all_slices_are_fitted_one_by_one(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    widget.scope_box.value = "slices"
    for z in (2, 4):
        scribble_slice(widget, z)
    settle(qtbot, widget)
    assert iou(preview(viewer)[2] == 2, truth[2]) > 0.85
    assert iou(preview(viewer)[4] == 2, truth[4]) > 0.85
    assert not preview(viewer)[3].any()


def test_a_volume_is_fitted_as_one_body(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    widget.scope_box.value = "volume"
    for z in (1, 3, 5):
        scribble_slice(widget, z)
    settle(qtbot, widget)
    assert iou(preview(viewer) == 2, truth) > 0.7
    assert preview(viewer)[2].any()
    assert preview(viewer)[4].any()
    volume = float(widget.table.item(0, 1).text().split()[0].replace(",", ""))
    assert volume == pytest.approx(5 * (preview(viewer) == 2).sum(), rel=0.01)
    assert widget.table.item(0, 1).text().endswith("µm³")


def test_changing_the_scope_starts_afresh(in_volume, qtbot):
    viewer, widget, _ = in_volume()
    scribble_slice(widget, 3)
    settle(qtbot, widget)
    widget.scope_box.value = "slices"
    settle(qtbot, widget)
    assert preview(viewer)[3].any()
    viewer.dims.set_point(0, 0.0)
    widget.scope_box.value = "slice"
    settle(qtbot, widget)
    assert "ball preview" not in viewer.layers or not preview(viewer).any()


def test_a_turned_volume_is_cut_as_it_is_shown(in_volume, qtbot):
    viewer, widget, truth = in_volume()
    viewer.dims.order = (2, 0, 1)
    viewer.dims.set_point(2, 30.0)
    layer = widget.scribbles_box.layer
    layer.data[0, 4:60, 30] = 1
    layer.data[6, 4:60, 30] = 1
    layer.data[3, 28:36, 30] = 2
    layer.refresh()
    settle(qtbot, widget)
    assert iou(preview(viewer)[:, :, 30] == 2, truth[:, :, 30]) > 0.3
    assert not np.delete(preview(viewer), 30, axis=2).any()


@pytest.mark.parametrize("kind", ["dask", "zarr"])
def test_lazy_volumes_work(in_volume, qtbot, tmp_path, kind):
    data, _ = ball_volume()
    if kind == "dask":
        lazy = dask.array.from_array(data, chunks=(1, 32, 32))
    else:
        lazy = zarr.create_array(
            tmp_path / "v.zarr", shape=data.shape, chunks=(1, 32, 32), dtype=data.dtype
        )
        lazy[...] = data
    viewer, widget, truth = in_volume(lazy)
    scribble_slice(widget, 3)
    settle(qtbot, widget)
    assert iou(preview(viewer)[3] == 2, truth[3]) > 0.85
    assert viewer.layers["ball"].data is lazy


@pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "float16", "int64"])
def test_any_dtype_works(open_widget, qtbot, dtype):
    image, truth = disks()
    data = (image > 0.5) if dtype == "bool" else np.clip(100 * image, 0, 120)
    viewer, widget = open_widget((data.astype(dtype), {"name": "disks"}, "image"))
    scribble_disks(widget)
    settle(qtbot, widget)
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85


def scribble_disks(widget):
    """Paint background and the first disk."""
    widget.new_button.click()
    layer = widget.scribbles_box.layer
    layer.brush_size = 4
    scale, offset = np.asarray(layer.scale), np.asarray(layer.translate)
    factor = 96 / layer.data.shape[0]

    def at(*point):
        return tuple(offset + scale * np.array(point) / factor)

    drag(layer, at(8, 8), at(8, 118))
    drag(layer, at(86, 8), at(86, 118))
    widget.next_button.click()
    drag(layer, at(46, 28), at(46, 44))


def test_rgb_images_work(open_widget, qtbot):
    image, truth = disks()
    colour = np.stack([0.5 + 0 * image, 0.9 - 0.6 * image, 0.2 + 0.6 * image], axis=-1)
    data = np.clip(255 * colour, 0, 255).astype(np.uint8)
    viewer, widget = open_widget((data, {"name": "disks", "rgb": True}, "image"))
    scribble_disks(widget)
    settle(qtbot, widget)
    assert preview(viewer, "disks").shape == truth.shape
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85


def test_a_multiscale_image_is_fitted_on_the_level_shown(open_widget, qtbot):
    image, truth = disks((1536, 2048), ((736, 576, 320), (736, 1472, 272)))
    levels = [image, image[::2, ::2], image[::4, ::4]]
    kwargs = {"name": "disks", "multiscale": True, "scale": (0.5, 0.5)}
    viewer, widget = open_widget((levels, kwargs, "image"))
    level = viewer.layers["disks"].data_level
    assert level > 0
    scribble_disks(widget)
    settle(qtbot, widget)
    layer = viewer.layers["disks preview"]
    assert layer.data.shape == levels[level].shape
    step = 2**level
    assert iou(layer.data == 2, truth[::step, ::step] == 2) > 0.85
    widget.accept_button.click()
    result = viewer.layers["disks masks"]
    centre = result.data_to_world(np.argwhere(result.data == 2).mean(axis=0))
    assert np.allclose(centre, (368, 288), atol=4)


def test_shapes_are_strokes(open_widget, qtbot):
    image, truth = disks()
    viewer, widget = open_widget((image, {"name": "disks"}, "image"))
    widget.new_button.click()
    shapes = viewer.add_shapes(
        [
            [[4, 4], [4, 120], [14, 120], [14, 4]],
            [[46, 28], [46, 44]],
            [[38, 84], [38, 100], [54, 100], [54, 84]],
        ],
        shape_type=["rectangle", "path", "ellipse"],
        edge_width=3,
        features={"label": [1, 2, 3]},
        name="rois",
    )
    widget.shapes_box.layer = shapes
    settle(qtbot, widget)
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85
    assert iou(preview(viewer, "disks") == 3, truth == 3) > 0.85
    shapes.selected_data = {1}
    shapes.remove_selected()
    settle(qtbot, widget)
    assert not (preview(viewer, "disks") == 2).any()
    assert iou(preview(viewer, "disks") == 3, truth == 3) > 0.85


def test_a_shape_against_a_stroke_is_told_once_and_recovers(open_widget, qtbot, notes):
    image, truth = disks()
    viewer, widget = open_widget((image, {"name": "disks"}, "image"))
    scribble_disks(widget)
    settle(qtbot, widget)
    shapes = viewer.add_shapes(
        [[[40, 30], [40, 40], [50, 40], [50, 30]]],
        shape_type="rectangle",
        features={"label": [3]},
        name="rois",
    )
    widget.shapes_box.layer = shapes
    settle(qtbot, widget)
    assert len(notes) == 1
    assert "labels 2 and 3 both claim the voxel" in notes[0]
    assert "Move or delete" in widget.advice.text()
    drag(widget.scribbles_box.layer, (46, 28), (46, 43))
    settle(qtbot, widget)
    assert len(notes) == 1
    shapes.features = {"label": [2]}
    settle(qtbot, widget)
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85


def test_scribbles_of_another_shape_are_told_with_what_to_do(open_widget, qtbot, notes):
    image, _ = disks()
    viewer, widget = open_widget((image, {"name": "disks"}, "image"))
    layer = viewer.add_labels(np.zeros((10, 10), np.uint8), name="small")
    assert widget.scribbles_box.layer is None
    widget.scribbles_box.layer = layer
    settle(qtbot, widget)
    assert "Layer 'small' has shape (10, 10) but image 'disks' has (96, 128)" in notes[0]
    assert "New scribbles" in widget.advice.text()
    widget.new_button.click()
    settle(qtbot, widget)
    assert len(notes) == 1
    assert "background" in widget.advice.text()


def test_pressing_buttons_too_early_says_what_comes_first(open_widget, qtbot, notes):
    _, widget = open_widget()
    widget.new_button.click()
    assert "There is no image" in notes[-1]
    widget.viewer.add_image(disks()[0], name="disks")
    widget.next_label()
    assert 'Press "New scribbles" first' in notes[-1]
    widget.accept_button.click()
    assert "no new mask to accept" in notes[-1]
    widget.new_button.click()
    widget.accept_button.click()
    settle(qtbot, widget)
    assert "no new mask to accept" in notes[-1]


def test_nan_pixels_are_counted_in_the_notes(open_widget, qtbot):
    image, truth = disks()
    image[20:22, 60:70] = np.nan
    viewer, widget = open_widget((image, {"name": "disks", "contrast_limits": (0, 1)}, "image"))
    scribble_disks(widget)
    settle(qtbot, widget)
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85
    assert "20 voxels are NaN or infinite" in widget.notes.text()


def test_only_object_strokes_work_with_advice(open_widget, qtbot):
    image, _ = disks()
    viewer, widget = open_widget((image, {"name": "disks"}, "image"))
    widget.new_button.click()
    widget.next_button.click()
    drag(widget.scribbles_box.layer, (46, 28), (46, 44))
    settle(qtbot, widget)
    assert (preview(viewer, "disks") == 2).any()
    assert "background" in widget.notes.text()


def test_many_channels_in_one_viewer_are_ignored_until_chosen(open_widget, qtbot):
    image, truth = disks()
    viewer, widget = open_widget(
        (np.zeros_like(image), {"name": "empty"}, "image"), (image, {"name": "disks"}, "image")
    )
    assert widget.image_box.layer.name == "disks"
    scribble_disks(widget)
    settle(qtbot, widget)
    assert iou(preview(viewer, "disks") == 2, truth == 2) > 0.85


def kept_waiting():
    """Seconds that threads of this process could have run but for others on the cores, so far."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):  # Linux only
        with suppress(OSError):  # The thread has ended.
            total += int(path.read_text().split()[1])
    return total / 1e9


class OwnHeartbeat(Heartbeat):
    """Counts the part of a stall that is not due to other processes."""

    def restart(self):
        super().restart()
        self._waited = kept_waiting()

    def _beat(self):
        now, waited = time.perf_counter(), kept_waiting()
        own = now - self._last - max(0.0, waited - self._waited)
        self.longest = max(self.longest, own)
        self._last, self._waited = now, waited


def test_the_interface_does_not_stall(open_widget, qtbot):
    image, _ = disks((1024, 1024), ((400, 300, 120), (600, 700, 150)))
    _, widget = open_widget((image, {"name": "disks"}, "image"), show=True)
    widget.new_button.click()
    layer = widget.scribbles_box.layer
    drag(layer, (50, 50), (50, 950))
    drag(layer, (950, 50), (950, 950))
    widget.next_button.click()
    drag(layer, (400, 260), (400, 340))
    widget.next_button.click()
    drag(layer, (600, 650), (600, 750))
    settle(qtbot, widget)
    stalls = []
    for number in range(20):
        layer.selected_label = 2 + number % 2
        row, column = ((400, 260), (600, 640))[number % 2]
        with layer.block_history():
            for step in range(12):
                point = (row + 2 * number, column + 5 * step)
                layer.paint(point, layer.selected_label, refresh=False)
            layer.paint((row + 2 * number, column + 60), layer.selected_label)
            qtbot.wait(30)
            # From here on, that is from the release of the mouse button.
            heartbeat = OwnHeartbeat().__enter__()
        settle(qtbot, widget)
        heartbeat.__exit__()
        stalls.append(heartbeat.longest)
    assert (widget.table.rowCount(), len(stalls)) == (2, 20)
    assert np.median(stalls) < 0.05
