"""U-Nets: what they compute, what a part of them depends on, how they are described."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors import unet
from napari_implicitseg.predictors.cpu_kernels import convolve, max_pool
from napari_implicitseg.predictors.local_norms import NORMS, LocalGroupNorm
from napari_implicitseg.predictors.unet import UNet, UNetConfig


@st.composite
def configs(draw, *, norms=NORMS, ndim=None):
    """Small networks of any build."""
    ndim = draw(st.integers(2, 3)) if ndim is None else ndim
    depth = draw(st.integers(1, 3))

    def axes(choices, count):
        return tuple(
            tuple(draw(st.sampled_from(choices)) for _ in range(ndim)) for _ in range(count)
        )

    return UNetConfig(
        ndim=ndim,
        in_channels=draw(st.integers(1, 2)),
        out_channels=2,
        widths=tuple(draw(st.integers(1, 4)) for _ in range(depth)),
        kernels=axes((1, 3, 3, 5), depth),
        poolings=axes((1, 2, 2, 3), depth - 1),
        convolutions=tuple(draw(st.integers(1, 3)) for _ in range(depth)),
        decoder_convolutions=tuple(draw(st.integers(1, 2)) for _ in range(depth - 1)),
        norm=draw(st.sampled_from(norms)),
        residual=draw(st.booleans()),
    )


def experienced(config, seed=0):
    """A network in evaluation mode whose norms have seen something."""
    network = UNet(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    shape = [max(8, 4 * s) // s * s for s in config.stride]
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(1, config.in_channels, *shape, generator=generator) * 2 + 1)
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def textbook(network, x):
    """The same network as it stands in papers: enlarge, join, convolve."""
    convolution = functional.conv2d if x.ndim == 4 else functional.conv3d
    pool = functional.max_pool2d if x.ndim == 4 else functional.max_pool3d

    def stage(part, x):
        first = None
        for i, (conv, norm) in enumerate(zip(part.convs, part.norms, strict=True)):
            x = norm(convolution(x, conv.weight, conv.bias, padding=conv.padding))
            if part.residual and i and i + 1 == len(part.convs):
                x = x + first
            x = torch.relu(x)
            first = x if i == 0 else first
        return x

    skips = []
    for level, part in enumerate(network.encoder):
        x = stage(part, pool(x, network.config.poolings[level - 1]) if level else x)
        skips.append(x)
    for level in reversed(range(len(network.decoder))):
        scale = [float(p) for p in network.config.poolings[level]]
        large = functional.interpolate(x, scale_factor=scale, mode="nearest")
        x = stage(network.decoder[level], torch.cat([large, skips[level]], dim=1))
    last = network.classifier
    return convolution(x, last.weight, last.bias)


def noise(config, shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, config.in_channels, *shape, generator=generator)


@given(config=configs(), cells=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_network_is_the_textbook_one(config, cells):
    network = experienced(config)
    x = noise(config, [cells * s for s in config.stride])
    torch.testing.assert_close(network(x), textbook(network, x), rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), textbook(network, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_its_gradients_are_those_of_the_textbook_one(norm):
    config = UNetConfig.from_spacing((4, 1, 1), out_channels=2, depth=3, width=3, norm=norm)
    network = UNet(config)
    x = noise(config, (3, 8, 16))
    grads = []
    for forward in (network, lambda x: textbook(network, x)):
        network.zero_grad()
        forward(x).square().sum().backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*grads, rtol=1e-2, atol=1e-3)


@given(data=st.data(), config=configs())
@settings(max_examples=60, deadline=None)
def test_a_part_is_what_is_cut_out_of_the_whole(data, config):
    network = experienced(config)
    shape = [data.draw(st.integers(1, 30)) for _ in range(config.ndim)]
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    stops = [data.draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    keep = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    x = noise(config, shape)
    with torch.no_grad():
        part, whole = network(x, keep), network(x)
    assert whole.shape[2:] == tuple(shape)
    torch.testing.assert_close(part, whole[(..., *keep)], rtol=1e-5, atol=1e-5)


@given(data=st.data(), config=configs())
@settings(max_examples=40, deadline=None)
def test_parts_computed_slab_by_slab_are_the_same(data, config):
    network = experienced(config)
    shape = [data.draw(st.integers(1, 40)), *(9, 10)[: config.ndim - 1]]
    start = data.draw(st.integers(0, shape[0] - 1))
    keep = (slice(start, data.draw(st.integers(start + 1, shape[0]))), *(slice(1, 8),) * 2)
    x = noise(config, shape)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        whole = network(x)
        patch.setattr(unet, "_SLAB_BYTES", 1)
        patch.setattr(unet, "_LEAST_PLANES", data.draw(st.integers(1, 6)))
        part = network(x, keep[: config.ndim])
    expected = whole[(..., *keep[: config.ndim])]
    torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "keep", [(slice(0, 4),), (slice(3, 3), slice(0, 4)), (slice(0, 4, 2),) * 2]
)
def test_parts_that_are_none_are_refused(keep):
    config = UNetConfig(ndim=2, in_channels=1, out_channels=1, widths=(2, 2))
    with pytest.raises(ValueError, match="keep"):
        UNet(config)(noise(config, (8, 8)), keep)


@given(config=configs(norms=("none",)))
@settings(max_examples=40, deadline=None)
def test_receptive_field_and_halo_are_those_found_by_changing_the_input(config):
    network = UNet(config)
    with torch.no_grad():
        for parameter in network.parameters():
            # Nothing cancels, so that every change that can be seen is.
            parameter.fill_(0.1 if parameter.ndim > 1 else 0)
    for axis in range(config.ndim):
        step, halo = config.stride[axis], config.halo[axis]
        middle = -(-halo // step) * step
        length = 2 * middle + step
        x = torch.zeros(length, config.in_channels, *config.stride)
        x = x.repeat_interleave(length // step, dim=axis + 2)
        for i in range(length):
            x.select(0, i).select(axis + 1, i).fill_(1)
        with torch.no_grad():
            seen = network(x).movedim(axis + 2, 1).flatten(2).abs().sum(dim=2) > 0
        reaches = []
        for at in range(middle, middle + step):
            found = torch.nonzero(seen[:, at])[:, 0]
            reaches.append((at - int(found[0]), int(found[-1]) - at))
        assert max(max(r) for r in reaches) == halo
        assert max(a + b + 1 for a, b in reaches) == config.receptive_field[axis]


def test_the_preset_of_the_report_has_its_layers():
    config = UNetConfig.preset("report-2024", 3, 4)
    ways = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    ways += [(384, 128), (128, 128), (192, 64), (64, 64)]
    expected = sum(9 * a * b + 2 * b for a, b in ways) + 64 * 4 + 4
    assert config.parameter_count == expected == 1_884_612
    assert config.norm == "batch"
    assert config.stride == (4, 4)
    with pytest.raises(InputError, match="preset is 'report'"):
        UNetConfig.preset("report", 3, 4)


@given(config=configs())
@settings(max_examples=30, deadline=None)
def test_descriptions_and_counts_are_true(config):
    assert UNetConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    network = UNet(config)
    assert config.parameter_count == sum(p.numel() for p in network.parameters())


GOOD = {"ndim": 2, "in_channels": 1, "out_channels": 2, "widths": [4, 8]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ndim": 4}, "ndim is 4"),
        ({"ndim": True}, "ndim is True"),
        ({"in_channels": 0}, "in_channels is 0"),
        ({"out_channels": 2.0}, "out_channels is 2.0"),
        ({"widths": []}, "widths is"),
        ({"widths": [4, -1]}, r"widths\[1\] is -1"),
        ({"widths": [4] * 9}, "number of widths is 9"),
        ({"widths": "12"}, "widths is '12'"),
        ({"kernels": [[3, 3]]}, "kernels is .*needed are 2"),
        ({"kernels": [[3, 3], [2, 3]]}, r"kernels\[1\] is \(2, 3\).*odd"),
        ({"poolings": [[2]]}, r"poolings\[0\] is"),
        ({"poolings": [[2, 0]]}, r"poolings\[0\]\[1\] is 0"),
        ({"convolutions": [2]}, "convolutions is"),
        ({"decoder_convolutions": [2, 2]}, "decoder_convolutions is"),
        ({"norm": "layer"}, "norm is 'layer'; choose one of batch, group, none"),
        ({"residual": 1}, "residual is 1"),
        ({"dropout": 0.5}, "unknown field 'dropout'"),
    ],
)
def test_bad_descriptions_are_refused_and_the_field_is_named(change, message):
    with pytest.raises(InputError, match=message):
        UNetConfig.from_json(GOOD | change)


def test_incomplete_descriptions_are_refused():
    with pytest.raises(InputError, match="lacks 'widths'"):
        UNetConfig.from_json({k: v for k, v in GOOD.items() if k != "widths"})
    with pytest.raises(InputError, match="mapping"):
        UNetConfig.from_json([GOOD])


def test_coarse_axes_are_left_alone_until_voxels_are_cubes():
    config = UNetConfig.from_spacing((40, 4, 4), out_channels=3, depth=5, width=4, growth=1.5)
    assert config.poolings == ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    assert config.kernels == (*((1, 3, 3),) * 3, (3, 3, 3), (3, 3, 3))
    assert config.widths == (4, 6, 9, 14, 20)
    isotropic = UNetConfig.from_spacing((8, 8, 10), out_channels=3, depth=2)
    assert isotropic.poolings == ((2, 2, 2),)
    assert isotropic.kernels == ((3, 3, 3),) * 2
    flat = UNetConfig.from_spacing((50, 4, 4), out_channels=3, depth=2)
    assert flat.kernels == ((1, 3, 3), (3, 3, 3))
    assert flat.receptive_field[0] > 1


@pytest.mark.parametrize("spacing", [(1,), (1, 0), (1, 1, float("nan")), (1, 1, 1, 1), (1, -2)])
def test_spacings_that_are_none_are_refused(spacing):
    with pytest.raises(InputError, match="spacing is"):
        UNetConfig.from_spacing(spacing, out_channels=1)


@given(config=configs())
@settings(max_examples=20, deadline=None)
def test_folded_norms_change_nothing(config):
    network = experienced(config)
    before = copy.deepcopy(network.state_dict())
    x = noise(config, [2 * s for s in config.stride])
    with torch.no_grad():
        folded = network.folded()
        torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-4)
    assert folded.config.norm == "none"
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_group_norm_is_that_of_torch_in_training_and_local_in_evaluation():
    generator = torch.Generator().manual_seed(0)
    norm = LocalGroupNorm(6, 2)
    torch.nn.init.normal_(norm.weight, generator=generator)
    for _ in range(300):
        x = torch.randn(2, 6, 5, 7, generator=generator) * 3 + 2
        made = norm(x)
        torch.testing.assert_close(
            made, functional.group_norm(x, 2, norm.weight, norm.bias), rtol=1e-5, atol=1e-5
        )
    torch.testing.assert_close(norm.running_mean, torch.full((2,), 2.0), rtol=0, atol=0.1)
    torch.testing.assert_close(norm.running_var, torch.full((2,), 9.0), rtol=0, atol=0.5)
    norm.eval()
    torch.testing.assert_close(norm(x)[..., 2:4], norm(x[..., 2:4].contiguous()))


def test_group_norm_forgets_its_start_at_once():
    norm = LocalGroupNorm(2, 1)
    x = torch.randn(1, 2, 40, 40, generator=torch.Generator().manual_seed(0)) + 100
    norm(x)
    torch.testing.assert_close(norm.running_mean, torch.full((1,), 100.0), rtol=0, atol=0.1)


def test_weights_follow_the_seed_and_nothing_else_does():
    config = UNetConfig(ndim=2, in_channels=1, out_channels=1, widths=(4, 8))
    state = torch.get_rng_state()
    first, again, other = (UNet(config, seed=s).state_dict() for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    name = "encoder.0.convs.0.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_untrained_features_keep_their_size_through_the_levels():
    config = UNetConfig(ndim=2, in_channels=4, out_channels=8, widths=(32, 64, 64), norm="none")
    x = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert 0.2 < float(UNet(config)(x).std()) < 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (3, 3, 3), (3, 1, 5), (1, 1, 1)])
def test_ways_round_slow_convolutions_give_the_same(kernel, channels):
    make = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *(7, 9, 8)[: len(kernel)], generator=make)
    weight = torch.randn(4, channels, *kernel, generator=make)
    weight.requires_grad_(True)
    bias = torch.randn(4, generator=make)
    plain = functional.conv2d if len(kernel) == 2 else functional.conv3d
    for padding in (tuple(k // 2 for k in kernel), (0,) * len(kernel)):
        grads = []
        for apply in (convolve, lambda *a: plain(*a[:3], padding=a[3])):
            made = apply(x, weight, bias, padding)
            grads.append((made, *torch.autograd.grad(made.square().sum(), weight)))
        torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-3)  # Sums of up to 500 terms.


def test_the_largest_of_every_cell_is_that_of_torch():
    x = torch.randn(2, 3, 12, 6, 8)
    with torch.inference_mode():
        for factors in ((2, 2, 2), (1, 2, 4), (3, 1, 2)):
            assert torch.equal(max_pool(x.clone(), factors), functional.max_pool3d(x, factors))


def test_half_precision_and_channels_last_are_close():
    config = UNetConfig(ndim=3, in_channels=1, out_channels=3, widths=(8, 16))
    network, x = experienced(config), noise(config, (12, 16, 16))
    with torch.no_grad():
        expected = network(x)
        network = network.to(memory_format=torch.channels_last_3d)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            assert (network(x).float() - expected).abs().max() < 0.1 * expected.std()
        half = network.folded().to(torch.bfloat16)(x.to(torch.bfloat16))
    assert (half.float() - expected).abs().max() < 0.1 * expected.std()


def exported(network, x):
    side = [4 * torch.export.Dim(f"n{i}", min=2, max=64) for i in range(x.ndim - 2)]
    program = torch.export.export(
        network, (x,), dynamic_shapes=({2 + i: n for i, n in enumerate(side)},)
    )
    return program.module()


# Both are deprecated inside torch.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_networks_are_traced_and_exported_for_inputs_of_any_size():
    config = UNetConfig(ndim=3, in_channels=1, out_channels=2, widths=(2, 3, 4), norm="group")
    network = experienced(config)
    small, large = noise(config, (8, 12, 16)), noise(config, (16, 8, 20))
    with torch.no_grad():
        for made in (torch.jit.trace(network, small), exported(network, small)):
            torch.testing.assert_close(made(large), network(large), rtol=1e-4, atol=1e-5)


def test_networks_are_compiled_in_one_piece():
    config = UNetConfig(ndim=2, in_channels=1, out_channels=2, widths=(2, 3), norm="group")
    network, x = experienced(config), noise(config, (8, 12))
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), network(x), rtol=1e-4, atol=1e-5)
        keep = (slice(2, 5), slice(1, 12))
        torch.testing.assert_close(compiled(x, keep), network(x, keep), rtol=1e-4, atol=1e-5)
