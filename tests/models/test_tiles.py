"""Tiles: prediction by parts equals prediction of the whole, whatever the parts are."""

from __future__ import annotations

import math
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.models import tile_plan
from napari_implicitseg.models.precision import memory_format
from napari_implicitseg.models.tile_plan import TileGrid, available_memory, usual_tile
from napari_implicitseg.models.tiles import predict_tiles
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig

CPU = torch.device("cpu")


def experienced(network):
    """A network in evaluation mode whose norms have seen something."""
    config, generator = network.config, torch.Generator().manual_seed(0)
    shape = [max(8, 4 * s) // s * s for s in config.stride]
    with torch.no_grad():
        for _ in range(2):
            x = torch.randn(1, config.in_channels, *shape, generator=generator)
            network(2 * x + 1)
    return network.eval()


def unet(norm="batch", ndim=3, **fields):
    fields = {"in_channels": 1, "out_channels": 2, "widths": (2, 3, 4)} | fields
    return experienced(UNet(UNetConfig(ndim=ndim, norm=norm, **fields)))


def volume_of(*shape, channels=1):
    return np.random.default_rng(0).normal(size=(channels, *shape)).astype(np.float32)


def reader(volume):
    return lambda box: volume[(slice(None), *box)]


def whole(network, volume):
    with torch.no_grad():
        return torch.sigmoid(network(torch.from_numpy(volume)[None]))[0].numpy()


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize(
    ("shape", "tile"),
    [
        ((31, 40, 29), (16, 16, 16)),
        ((31, 40, 29), (9, 40, 13)),
        ((17, 50, 45), (4, 24, 28)),
        ((5, 3, 60), (8, 8, 8)),
        ((1, 1, 1), (4, 4, 4)),
    ],
)
def test_tiles_equal_the_whole(norm, shape, tile):
    network, volume = unet(norm, convolutions=(1, 2, 1)), volume_of(*shape)
    made = predict_tiles(network, reader(volume), shape, tile_shape=tile)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=1e-5)


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_tiles_of_any_shape_equal_the_whole_for_networks_of_any_build(data):
    ndim = data.draw(st.integers(2, 3))
    axes = st.tuples(*(st.sampled_from((1, 2, 3)),) * ndim)
    network = unet(
        data.draw(st.sampled_from(("batch", "group", "none"))),
        ndim,
        poolings=(data.draw(axes), data.draw(axes)),
        kernels=tuple(tuple(2 * k - 1 for k in data.draw(axes)) for _ in range(3)),
        residual=data.draw(st.booleans()),
    )
    shape = tuple(data.draw(st.integers(1, 40)) for _ in range(ndim))
    tile = tuple(data.draw(st.integers(6, 30)) for _ in range(ndim))
    volume = volume_of(*shape)
    made = predict_tiles(network, reader(volume), shape, tile_shape=tile)
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=1e-5)


def test_tiles_of_a_plain_network_equal_the_whole():
    network = experienced(CNN(CNNConfig(features=(3, 4, 2))))
    volume = volume_of(37, 50)
    made = predict_tiles(network, reader(volume), (37, 50), tile_shape=(10, 17))
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=1e-5)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_box_is_what_is_cut_out_of_the_whole(data):
    network, shape = unet(ndim=2), (37, 30)
    volume = volume_of(*shape)
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    box = tuple(
        slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True)
    )
    made = predict_tiles(network, reader(volume), shape, box, tile_shape=(12, 16))
    np.testing.assert_allclose(made, whole(network, volume)[:, *box], rtol=0, atol=1e-5)


@pytest.mark.parametrize("box", [(slice(0, 4),), (slice(3, 3), slice(None)), (slice(0, 9, 2),) * 2])
def test_boxes_that_are_none_are_refused(box):
    with pytest.raises(InputError, match="box is"):
        predict_tiles(unet(ndim=2), reader(volume_of(9, 9)), (9, 9), box)


@pytest.mark.parametrize("tile", [None, (16, 16), (3, 16, 16), (5, 40, 40)])
def test_stacks_are_predicted_section_by_section(tile):
    network, volume = unet(ndim=2, in_channels=2), volume_of(5, 33, 30, channels=2)
    made = predict_tiles(network, reader(volume), (5, 33, 30), tile_shape=tile)
    expected = [whole(network, volume[:, z]) for z in range(5)]
    np.testing.assert_allclose(made, np.stack(expected, axis=1), rtol=0, atol=1e-5)


def test_half_precision_is_close():
    network, volume = unet(widths=(8, 8)), volume_of(20, 24, 30)
    made = predict_tiles(
        network, reader(volume), volume.shape[1:], tile_shape=(16,) * 3, precision="bfloat16"
    )
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=0.03)


def test_the_first_outputs_alone_can_be_asked_for():
    network, volume = unet(out_channels=5), volume_of(12, 12, 12)
    made = predict_tiles(network, reader(volume), (12,) * 3, channels=2, tile_shape=(8, 8, 8))
    np.testing.assert_allclose(made, whole(network, volume)[:2], rtol=0, atol=1e-5)


def test_the_network_is_left_as_it_is():
    network, volume = unet().train(), volume_of(12, 12, 12)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    predict_tiles(network, reader(volume), (12,) * 3, precision="bfloat16")
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_results_are_written_where_they_are_wanted(tmp_path):
    network, volume = unet(), volume_of(20, 21, 22)
    out = zarr.create_array(
        tmp_path / "out.zarr", shape=(2, 20, 21, 22), chunks=(2, 8, 8, 8), dtype="float32"
    )
    source = zarr.create_array(tmp_path / "raw.zarr", data=volume, chunks=(1, 7, 7, 7))
    made = predict_tiles(network, reader(source), (20, 21, 22), tile_shape=(8,) * 3, out=out)
    assert made is out
    np.testing.assert_allclose(out[:], whole(network, volume), rtol=0, atol=1e-5)
    with pytest.raises(InputError, match=r"out has shape \(2, 20, 21, 22\)"):
        predict_tiles(network, reader(volume), (20, 21, 23), out=out)


def test_each_tile_reads_its_halo_and_no_more_and_not_in_this_thread():
    network, shape, seen = unet(), (64, 64, 64), []
    volume = volume_of(*shape)

    def read(box):
        seen.append((box, threading.get_ident()))
        return volume[(slice(None), *box)]

    predict_tiles(network, read, shape, tile_shape=(32, 32, 32))
    assert len(seen) == 8
    halo = [-(-h // s) * s for h, s in zip(network.config.halo, network.config.stride, strict=True)]
    for box, thread in seen:
        assert thread != threading.get_ident()
        for part, length, margin in zip(box, shape, halo, strict=True):
            assert 0 <= part.start < part.stop <= length
            assert part.stop - part.start <= 32 + margin


def test_progress_grows_to_the_end_and_can_cancel():
    network, volume, heard, reads = unet(), volume_of(40, 12, 12), [], []

    def read(box):
        reads.append(box)
        return volume[(slice(None), *box)]

    def progress(fraction, message):
        heard.append(fraction)

    predict_tiles(network, read, (40, 12, 12), tile_shape=(8, 12, 12), progress=progress)
    assert heard == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    reads.clear()

    def cancel(fraction, message):
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        predict_tiles(network, read, (40, 12, 12), tile_shape=(8, 12, 12), progress=cancel)
    assert len(reads) <= 2


class Greedy(torch.nn.Module):
    """A network that has no memory for inputs of more than some voxels."""

    def __init__(self, network, most, error):
        super().__init__()
        self.network, self.config, self.most, self.error = network, network.config, most, error

    def folded(self):
        return self

    def forward(self, x, keep):
        if x.numel() > self.most:
            raise self.error
        return self.network(x, keep)


SHORTAGES = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you ..."),
]


@pytest.mark.parametrize("error", SHORTAGES)
def test_tiles_that_do_not_fit_are_halved_with_a_warning(error):
    network, volume = unet(), volume_of(60, 61, 62)
    greedy = Greedy(network, 60**3, error)
    with pytest.warns(UserWarning, match="60 x 64 x 64 .*does not fit into memory; going on with"):
        made = predict_tiles(greedy, reader(volume), (60, 61, 62), tile_shape=(64, 64, 64))
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=1e-5)


def test_memory_that_runs_out_on_the_way_costs_nothing_done_before():
    network, volume, reads = unet(), volume_of(96, 20, 20), []
    greedy = Greedy(network, math.inf, MemoryError())

    def read(box):
        reads.append(box[0])
        return volume[(slice(None), *box)]

    def progress(fraction, message):
        if fraction > 0.3:
            greedy.most = 60 * 20 * 20

    with pytest.warns(UserWarning, match="does not fit"):
        made = predict_tiles(greedy, read, (96, 20, 20), tile_shape=(48, 20, 20), progress=progress)
    np.testing.assert_allclose(made, whole(network, volume), rtol=0, atol=1e-5)
    assert sum(part.start == 0 for part in reads) == 1


def test_when_no_tile_fits_the_user_hears_what_to_do():
    greedy = Greedy(unet(), 10, MemoryError())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="ran out of memory, even .* 16 x 16 x 16.*smaller"):
            predict_tiles(greedy, reader(volume_of(60, 60, 60)), (60, 60, 60))


def test_results_too_large_for_the_memory_are_refused():
    with pytest.raises(InputError, match="no memory for a result of 2 x 10000000 .* give `out`"):
        predict_tiles(unet(), reader(volume_of(1, 1, 1)), (10**7,) * 3, tile_shape=(8, 8, 8))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    greedy = Greedy(unet(), 10, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        predict_tiles(greedy, reader(volume_of(20, 20, 20)), (20, 20, 20))


def test_what_reading_raises_arrives():
    def read(box):
        raise InputError("The volume is NaN at (0, 0, 0).")

    with pytest.raises(InputError, match="is NaN at"):
        predict_tiles(unet(), read, (20, 20, 20))


def test_networks_that_give_nan_are_named():
    network = unet()
    with torch.no_grad():
        network.classifier.bias.fill_(float("nan"))
    with pytest.raises(InputError, match="The network gives NaN in"):
        predict_tiles(network, reader(volume_of(20, 20, 20)), (20, 20, 20))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8), {}, "A network with 3 axes|with 3 axes predicts"),
        ((8, 0, 8), {}, "not empty"),
        ((8, 8, 8), {"tile_shape": (8, 8)}, r"tile_shape is \(8, 8\)"),
        ((8, 8, 8), {"tile_shape": (8, 8, 0)}, r"tile_shape is \(8, 8, 0\)"),
        ((8, 8, 8), {"precision": "int8"}, "precision is 'int8'"),
        ((8, 8, 8), {"channels": 3}, "channels is 3; the network has 2"),
        ((9, 8, 8), {}, r"read gave .*\(1, 8, 8, 8\)"),
    ],
)
def test_bad_input_is_refused(shape, options, message):
    volume = volume_of(8, 8, 8)
    with pytest.raises(InputError, match=message):
        predict_tiles(unet(), reader(volume), shape, **options)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_boxes_cover_once_and_windows_start_at_strides(data):
    ndim = data.draw(st.integers(1, 3))
    numbers = lambda low, high: tuple(data.draw(st.integers(low, high)) for _ in range(ndim))  # noqa: E731
    grid = TileGrid(shape=numbers(1, 40), halo=numbers(0, 9), stride=numbers(1, 4))
    tile = grid.fitted(numbers(1, 50))
    whole = tuple(slice(data.draw(st.integers(0, n - 1)), n) for n in grid.shape)
    count = np.zeros(grid.shape, int)
    for box in grid.split(whole, tile):
        count[box] += 1
        seen, kept = grid.window(box)
        for b, w, s, k, t, length, halo, step in zip(
            box, whole, seen, kept, tile, grid.shape, grid.halo, grid.stride, strict=True
        ):
            assert b.stop - b.start <= t
            assert (b.start - w.start) % step == s.start % step == 0
            assert 0 <= s.start <= max(0, b.start - halo)
            assert min(length, b.stop + halo) <= s.stop <= length
            assert (s.start + k.start, s.start + k.stop) == (b.start, b.stop)
        assert math.prod(s.stop - s.start for s in seen) <= grid.window_size(tile)
    assert count.sum() == count[whole].sum() == count[whole].size
    assert (count <= 1).all()


def test_usual_tiles_are_cubes_or_shaped_like_the_halo():
    cube = TileGrid(shape=(500,) * 3, halo=(22,) * 3, stride=(4,) * 3)
    assert usual_tile(cube, 3, 1, CPU) == (128, 128, 128)
    flat = TileGrid(shape=(500,) * 3, halo=(3, 22, 22), stride=(1, 4, 4))
    z, y, x = usual_tile(flat, 3, 1, CPU)
    assert z < 60 < 180 < y == x
    assert math.prod((z, y, x)) == pytest.approx(128**3, rel=0.1)
    thin = TileGrid(shape=(10, 500, 500), halo=(22,) * 3, stride=(4,) * 3)
    z, y, x = usual_tile(thin, 3, 1, CPU)
    assert z == 12
    assert y == x > 400
    stack = TileGrid(shape=(100, 256, 256), halo=(0, 22, 22), stride=(1, 4, 4))
    assert usual_tile(stack, 2, 1, CPU) == (16, 256, 256)


def test_usual_tiles_shrink_with_the_memory_there_is(monkeypatch):
    grid = TileGrid(shape=(500,) * 3, halo=(22,) * 3, stride=(4,) * 3)
    for free in (1 << 30, 1 << 28):
        monkeypatch.setattr(tile_plan, "available_memory", lambda device, free=free: free)
        tile = usual_tile(grid, 3, 100, CPU)
        assert grid.window_size(tile) * 100 <= free / 2
        assert max(tile) < 128
    monkeypatch.setattr(tile_plan, "available_memory", lambda device: 0)
    assert grid.halved(usual_tile(grid, 3, 100, CPU)) is None


def test_free_memory_is_known_or_guessed(monkeypatch):
    assert available_memory(CPU) > 1 << 20
    monkeypatch.setattr(tile_plan, "_free_of_system", lambda: None)
    monkeypatch.setattr(tile_plan, "_free_of_group", lambda: None)
    assert available_memory(CPU) == 4 << 30
    accelerator = SimpleNamespace(type="mps")
    assert available_memory(accelerator) == 4 << 30


@pytest.mark.parametrize(
    "config", [UNetConfig(ndim=3, in_channels=1, out_channels=3, widths=(8, 16, 16)), CNNConfig()]
)
def test_configurations_know_their_need_of_memory(config):
    """Within a factor: what torch allocates on top of the input."""
    network = (UNet if isinstance(config, UNetConfig) else CNN)(config).folded()
    network.to(memory_format=memory_format(config.ndim))
    x = torch.zeros(1, 1, *(64,) * config.ndim)
    with torch.inference_mode(), torch.profiler.profile(profile_memory=True) as profile:
        network(x)
    held = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    assert 0.4 < most / 4 / x.numel() / config.features_held < 1.2
