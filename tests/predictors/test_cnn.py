"""Plain convolutional networks, and networks by description."""

from __future__ import annotations

import json

import pytest
import torch

from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.architectures import build_network, describe_network
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.local_norms import NORMS
from napari_implicitseg.predictors.unet import UNet, UNetConfig


def noise(*shape):
    return torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))


def experienced(**fields):
    network = CNN(CNNConfig(**fields))
    with torch.no_grad():
        network(2 * noise(*(20,) * network.config.ndim) + 1)
    return network.eval()


def test_the_default_is_the_network_of_the_report():
    config = CNNConfig()
    ways = [(1, 8), (8, 32), (32, 32), (32, 32), (32, 8), (8, 2)]
    expected = sum(25 * a * b for a, b in ways) + 2 * (8 + 3 * 32 + 8) + 2
    assert config.parameter_count == expected
    assert expected == sum(p.numel() for p in CNN(config).parameters())
    assert config.receptive_field == (25, 25)
    assert config.stride == (1, 1)
    with torch.no_grad():
        assert CNN(config)(noise(30, 40)).shape == (1, 2, 30, 40)


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_convolutions_norms_and_relus(norm):
    network, x = experienced(norm=norm, features=(3, 4, 2)), noise(14, 15)
    with torch.no_grad():
        expected = x
        for i, conv in enumerate(network.convs):
            if i:
                expected = torch.relu(network.norms[i - 1](expected))
            expected = conv(expected)
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(network.folded()(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_part_is_what_is_cut_out_of_the_whole(ndim):
    network = experienced(ndim=ndim, features=(3, 4, 2), kernel=3)
    x = noise(*(13, 16, 12)[:ndim])
    with torch.no_grad():
        whole = network(x)
        for keep in ([(4, 6), (0, 7), (5, 6)], [(0, 13), (15, 16), (1, 11)]):
            part = tuple(slice(*k) for k in keep[:ndim])
            torch.testing.assert_close(network(x, part), whole[(..., *part)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_receptive_field_is_that_of_the_gradient(kernel):
    config = CNNConfig(features=(2, 2, 1), kernel=kernel, norm="none")
    network, x = CNN(config), torch.ones(1, 1, 31, 31, requires_grad=True)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 15, 15], x)
    rows = torch.nonzero(gradient[0, 0].sum(dim=1))[:, 0]
    assert int(rows[-1] - rows[0]) + 1 == config.receptive_field[0]
    assert 15 - int(rows[0]) == config.halo[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ndim": 1}, "ndim is 1"),
        ({"features": []}, "features is"),
        ({"features": [8, None]}, r"features\[1\] is None"),
        ({"kernel": 4}, "kernel is 4.*odd"),
        ({"kernel": 99}, "kernel is 99"),
        ({"norm": 3}, "norm is 3"),
        ({"in_channels": "1"}, "in_channels is '1'"),
        ({"padding": 2}, "unknown field 'padding'"),
    ],
)
def test_bad_descriptions_are_refused_and_the_field_is_named(change, message):
    with pytest.raises(InputError, match=message):
        CNNConfig.from_json(CNNConfig().to_json() | change)


@pytest.mark.parametrize(
    "network",
    [
        CNN(CNNConfig(features=(3, 2), norm="group")),
        UNet(UNetConfig.from_spacing((5, 1, 1), out_channels=4, depth=2, width=3, residual=True)),
    ],
)
def test_networks_are_built_from_their_description(network):
    description = json.loads(json.dumps(describe_network(network)))
    made = build_network(description)
    assert type(made) is type(network)
    assert made.config == network.config
    made.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({}, "architecture is 'None'; known are cnn, unet"),
        ({"architecture": "os.system"}, "architecture is 'os.system'"),
        ({"architecture": ["unet"]}, "architecture is"),
        ({"architecture": "unet"}, "lacks 'ndim'"),
        ("unet", "of type str"),
        (
            {"architecture": "cnn"} | CNNConfig(features=(4096,) * 9, kernel=5).to_json(),
            "3,[0-9,]* parameters; at most 500,000,000",
        ),
    ],
)
def test_what_describes_no_network_is_refused(description, message):
    with pytest.raises(InputError, match=message):
        build_network(description)


def test_foreign_networks_have_no_description():
    with pytest.raises(InputError, match="A Linear cannot be described"):
        describe_network(torch.nn.Linear(1, 1))
