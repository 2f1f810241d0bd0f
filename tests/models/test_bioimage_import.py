"""Packages of other programs: run as described, and nothing in them executed."""

from __future__ import annotations

import hashlib
import pickle
import socket
import zipfile

import numpy as np
import pytest
from scipy import ndimage

from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.errors import Cancelled, FileError, OutputExistsError
from napari_implicitseg.models.bioimage import (
    ForeignModel,
    foreign_card,
    import_bioimageio,
    is_package,
    unpack_bioimageio,
)

pytest.importorskip("bioimageio.core", reason='needs the extra "bioimageio"')

from . import packages


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse any connection."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def expected(raw, outputs, mode="reflect"):
    """Return what `packages.network` gives, (outputs, *S), by another convolution."""
    weights = packages.kernel(raw.ndim, outputs)[:, 0]
    made = [ndimage.correlate(raw.astype(np.float64), w, mode=mode) for w in weights]
    return 1 / (1 + np.exp(-np.stack(made)))


def boundaries_to_affinities(boundaries, offsets):
    """Return 1 - max of both ends, voxel by voxel."""
    out = np.zeros((len(offsets), *boundaries.shape))
    for k, offset in enumerate(offsets):
        for here in np.ndindex(boundaries.shape):
            there = tuple(np.add(here, offset))
            if all(0 <= i < n for i, n in zip(there, boundaries.shape, strict=True)):
                out[k][here] = 1 - max(boundaries[here], boundaries[there])
    return out


def image(rng, shape):
    return rng.integers(0, 60, shape).astype(np.uint8)


@pytest.mark.parametrize(("ndim", "shape"), [(2, (13, 18)), (3, (7, 9, 12)), (2, (3, 2))])
def test_boundaries_become_affinities_of_neighbours(tmp_path, rng, ndim, shape):
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip", ndim))
    raw = image(rng, shape)
    found = model.predict(raw)
    assert found.offsets == model.offsets == neighbourhood("direct", ndim=ndim)
    wanted = boundaries_to_affinities(expected(raw, 1)[0], found.offsets)
    np.testing.assert_allclose(found.data, wanted, atol=1e-6)
    assert found.data.dtype == np.float32


def test_channels_are_affinities_of_offsets(tmp_path, rng):
    path = packages.affinity_package(tmp_path / "theirs.zip")
    offsets = [(-1, 0, 0), (0, -2, 0), (0, 0, -3)]
    raw = image(rng, (6, 11, 9))
    found = import_bioimageio(path, offsets=offsets).predict(raw)
    assert found.offsets == tuple(offsets)
    np.testing.assert_allclose(found.data, expected(raw, 3), atol=1e-6)
    turned = import_bioimageio(path, offsets=offsets, repulsive=True).predict(raw)
    np.testing.assert_allclose(turned.data, 1 - found.data, atol=1e-6)
    some = import_bioimageio(path, offsets=offsets[:2], channels=[2, 0]).predict(raw)
    np.testing.assert_array_equal(some.data, found.data[[2, 0]])


def test_affinities_of_torch_em_are_known_by_their_note(tmp_path, rng):
    config = {"mws": {"offsets": [[-1, 0], [0, -1]]}}
    path = packages.affinity_package(tmp_path / "theirs.zip", 2, 3, config=config)
    model = import_bioimageio(path)
    raw = image(rng, (12, 11))
    np.testing.assert_allclose(model.predict(raw).data, 1 - expected(raw, 3)[1:], atol=1e-6)
    assert model.offsets == ((-1, 0), (0, -1))


def test_the_channel_that_is_named_so_holds_boundaries(tmp_path, rng):
    content = {"outputs": packages.description(channels=2)["outputs"]}
    content["outputs"][0]["axes"][1]["channel_names"] = ["foreground", "Boundaries"]
    path = packages.affinity_package(tmp_path / "theirs.zip", 2, 2, **content)
    raw = image(rng, (12, 11))
    wanted = boundaries_to_affinities(expected(raw, 2)[1], ((-1, 0), (0, -1)))
    np.testing.assert_allclose(import_bioimageio(path).predict(raw).data, wanted, atol=1e-6)
    inside = import_bioimageio(path, channels=[0], repulsive=False, offsets=[(-1, 0), (0, -2)])
    wanted = boundaries_to_affinities(1 - expected(raw, 2)[0], ((-1, 0), (0, -2)))
    np.testing.assert_allclose(inside.predict(raw).data, wanted, atol=1e-6)


@pytest.mark.parametrize("tile", [(1, 1), (5, 7), (6, 100), (4, 4, 4)])
def test_tiles_make_no_difference(tmp_path, rng, tile):
    ndim = len(tile)
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip", ndim))
    raw = image(rng, (9, 14, 17)[3 - ndim :])
    whole = model.predict(raw, tile_shape=(64,) * ndim)
    parts = model.predict(raw, tile_shape=tile)
    np.testing.assert_allclose(parts.data, whole.data, atol=1e-6)


def test_a_stack_is_predicted_section_by_section_each_with_its_own_figures(tmp_path, rng):
    content = packages.description()
    content["inputs"][0]["preprocessing"] = [
        {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}
    ]
    path = packages.boundary_package(tmp_path / "theirs.zip", inputs=content["inputs"])
    model = import_bioimageio(path)
    raw = image(rng, (3, 12, 15)) * np.array([1, 2, 3], np.uint8)[:, None, None]
    found = model.predict(raw)
    assert found.offsets == ((0, -1, 0), (0, 0, -1))
    assert found.spacing == (1, 1, 1)
    for z, section in enumerate(raw):
        np.testing.assert_array_equal(found.data[:, z], model.predict(section).data)
    assert np.abs(found.data[:, 0] - found.data[:, 1]).max() > 0.01


class Lazy:
    """An array that is read by windows only."""

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype
        self.most = 0

    def __getitem__(self, index):
        found = self._values[index]
        self.most = max(self.most, found.size)
        return found


@pytest.mark.parametrize("ndim", [2, 3])
def test_lazy_volumes_are_read_by_tiles(tmp_path, rng, ndim):
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip", ndim))
    raw = image(rng, (9, 40, 40))
    lazy = Lazy(raw)
    found = model.predict(lazy, tile_shape=(6,) * ndim)
    np.testing.assert_array_equal(found.data, model.predict(raw, tile_shape=(6,) * ndim).data)
    assert lazy.most <= 8**3


@pytest.mark.parametrize("order", ["byxc", "cyx", "yx", "bxyc"])
def test_axes_may_have_any_order(tmp_path, rng, order):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    plain = packages.network(packages.kernel(2, 1))
    present = [a for a in "bcyx" if a in order]
    missing = [i for i, a in enumerate("bcyx") if a not in order]
    to_ours = [order.index(a) for a in present]
    to_theirs = [present.index(a) for a in order]
    inner = onnx.load_model_from_string(plain).graph
    axes = numpy_helper.from_array(np.array(missing, np.int64), "axes")
    grow, shrink = ("Unsqueeze", "Squeeze") if missing else ("Identity", "Identity")
    also = ["axes"] if missing else []
    nodes = [
        helper.make_node("Transpose", ["theirs"], ["ours"], perm=to_ours),
        helper.make_node(grow, ["ours", *also], ["raw"]),
        *inner.node,
        helper.make_node(shrink, ["affinities", *also], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["out"], perm=to_theirs),
    ]
    value = helper.make_tensor_value_info
    free = [f"s{i}" for i in range(len(order))]
    graph = helper.make_graph(
        nodes,
        "turned",
        [value("theirs", TensorProto.FLOAT, free)],
        [value("out", TensorProto.FLOAT, None)],
        [*inner.initializer, axes],
    )
    model = packages.finished(graph)
    content = packages.description(model)
    for tensor in (*content["inputs"], *content["outputs"]):
        named = dict(zip("bcyx", tensor["axes"], strict=True))
        tensor["axes"] = [named[a] for a in order]
    path = packages.write(tmp_path / "theirs.zip", content, {"weights.onnx": model})
    raw = image(rng, (11, 16))
    wanted = boundaries_to_affinities(expected(raw, 1)[0], ((-1, 0), (0, -1)))
    np.testing.assert_allclose(import_bioimageio(path).predict(raw).data, wanted, atol=1e-6)


@pytest.mark.parametrize("fixed", [True, False])
def test_networks_that_lose_their_borders_or_take_one_size_cover_all(tmp_path, rng, fixed):
    model = packages.network(packages.kernel(2, 1), pad=False)
    content = packages.description(model)
    for given, made in zip(
        content["inputs"][0]["axes"][2:], content["outputs"][0]["axes"][2:], strict=True
    ):
        made.pop("halo")
        made["size"]["offset"] = -2
        if fixed:
            given["size"] = 9
    path = packages.write(tmp_path / "theirs.zip", content, {"weights.onnx": model})
    raw = image(rng, (20, 13))
    wanted = boundaries_to_affinities(expected(raw, 1)[0], ((-1, 0), (0, -1)))
    found = import_bioimageio(path).predict(raw, tile_shape=(5, 5))
    np.testing.assert_allclose(found.data, wanted, atol=1e-6)


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_beyond_the_borders_is_what_the_package_says(tmp_path, rng, mode):
    content = packages.description()
    content["inputs"][0]["pad"] = {"mode": mode}
    path = packages.boundary_package(tmp_path / "theirs.zip", inputs=content["inputs"])
    raw = image(rng, (9, 9))
    boundaries = expected(raw, 1, {"edge": "nearest"}.get(mode, mode))[0]
    wanted = boundaries_to_affinities(boundaries, ((-1, 0), (0, -1)))
    np.testing.assert_allclose(import_bioimageio(path).predict(raw).data, wanted, atol=1e-6)


def test_voxel_size_and_origin_are_those_of_the_package(tmp_path, rng):
    content = packages.description()
    for tensor in ("inputs", "outputs"):
        for axis, size in zip(content[tensor][0]["axes"][2:], (5.0, 4.0), strict=True):
            axis.update(scale=size, unit="nanometer")
    parts = {name: content[name] for name in ("inputs", "outputs")}
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip", **parts))
    assert (model.spacing, model.unit, model.name) == ((5.0, 4.0), "nanometer", "theirs")
    raw = image(rng, (8, 8))
    assert model.predict(raw).spacing == (5.0, 4.0)
    with pytest.warns(UserWarning, match="has learned from"):
        model.predict(raw, spacing=(20, 20))
    card = foreign_card(model)
    for text in ("theirs", "Somebody", "MIT", "10.1000/182", "5 x 4 nanometer", "boundaries"):
        assert text in card


def test_a_description_of_the_older_format_is_understood(tmp_path, rng):
    model = packages.network(packages.kernel(2, 1))
    tensor = {"axes": "bcyx", "data_type": "float32"}
    shape = {"reference_tensor": "raw", "scale": [1.0] * 4, "offset": [0.0] * 4}
    content = {
        "format_version": "0.4.9",
        "type": "model",
        "name": "older",
        "description": "Older.",
        "authors": [{"name": "Somebody"}],
        "maintainers": [{"name": "Somebody", "github_user": "somebody"}],
        "license": "MIT",
        "cite": [{"text": "A paper", "doi": "10.1000/182"}],
        "documentation": "README.md",
        "tags": [],
        "timestamp": "2022-05-06T07:08:09",
        "inputs": [
            {
                "name": "raw",
                **tensor,
                "shape": {"min": [1, 1, 8, 8], "step": [0, 0, 2, 2]},
                "preprocessing": [
                    {
                        "name": "zero_mean_unit_variance",
                        "kwargs": {"mode": "per_sample", "axes": "yx"},
                    }
                ],
            }
        ],
        "outputs": [{"name": "made", **tensor, "shape": shape, "halo": [0, 0, 1, 1]}],
        "test_inputs": ["in.npy"],
        "test_outputs": ["out.npy"],
        "weights": {"onnx": {"source": "weights.onnx", "opset_version": 17}},
    }
    shape["offset"] = [0.0, 0.5, 0.0, 0.0]  # This is how one channel is told.
    shape["scale"] = [1.0, 0.0, 1.0, 1.0]
    files = {"weights.onnx": model, "README.md": b"# Validation"}
    for name in ("in.npy", "out.npy"):
        np.save(tmp_path / name, np.zeros((1, 1, 8, 8), np.float32))
        files[name] = (tmp_path / name).read_bytes()
    found = import_bioimageio(packages.write(tmp_path / "older.zip", content, files))
    raw = image(rng, (10, 12)).astype(np.float64)
    wanted = expected((raw - raw.mean()) / (raw.std() + 1e-6), 1)[0]
    wanted = boundaries_to_affinities(wanted, ((-1, 0), (0, -1)))
    np.testing.assert_allclose(found.predict(raw).data, wanted, atol=1e-5)


def test_weights_beside_the_network_are_found_only_if_the_description_names_them(tmp_path, rng):
    import onnx

    proto = onnx.load_model_from_string(packages.network(packages.kernel(2, 1)))
    tensor = proto.graph.initializer[0]
    data, tensor.raw_data = tensor.raw_data, b""
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = tensor.external_data.add()
    place.key, place.value = "location", "weights.onnx.data"
    model = proto.SerializeToString()
    content = packages.description(model)
    files = {"weights.onnx": model, "weights.onnx.data": data}
    with pytest.raises(FileError, match="keeps weights in 'weights.onnx.data', which its descri"):
        import_bioimageio(packages.write(tmp_path / "unnamed.zip", content, files))
    content["weights"]["onnx"]["external_data"] = {"source": "weights.onnx.data"}
    found = import_bioimageio(packages.write(tmp_path / "named.zip", content, files))
    raw = image(rng, (9, 9))
    plain = import_bioimageio(packages.boundary_package(tmp_path / "plain.zip"))
    np.testing.assert_array_equal(found.predict(raw).data, plain.predict(raw).data)


@pytest.mark.parametrize("as_folder", [False, True])
def test_an_unpacked_package_keeps_what_was_said_of_it_and_drops_programs(tmp_path, rng, as_folder):
    model = packages.network(packages.kernel(3, 3))
    content = packages.description(model, ndim=3, channels=3)
    content["weights"]["pytorch_state_dict"] = {
        "source": "weights.pt",
        "architecture": {"source": "network.py", "callable": "Network", "kwargs": {}},
        "pytorch_version": "2.0",
    }
    content["weights"]["onnx"]["parent"] = "pytorch_state_dict"
    files = {
        "weights.onnx": model,
        "weights.pt": pickle.dumps(1),
        "network.py": b"raise SystemExit",
    }
    path = packages.write(tmp_path / ("theirs" + ".zip" * (not as_folder)), content, files)
    folder = tmp_path / "ours"
    offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -5)]
    before = unpack_bioimageio(path, folder, offsets=offsets, repulsive=True)
    assert {p.name for p in folder.iterdir()} == {"rdf.yaml", "weights.onnx"}
    assert is_package(folder)
    after = import_bioimageio(folder / "rdf.yaml")
    raw = image(rng, (5, 8, 9))
    np.testing.assert_array_equal(after.predict(raw).data, before.predict(raw).data)
    assert after.offsets == tuple(offsets)
    with pytest.raises(OutputExistsError):
        unpack_bioimageio(path, folder, offsets=offsets)
    unpack_bioimageio(path, folder, channels=[0], overwrite=True)
    assert import_bioimageio(folder).offsets == neighbourhood("direct", ndim=3)


def test_progress_is_told_and_may_cancel(tmp_path, rng):
    model = import_bioimageio(packages.boundary_package(tmp_path / "theirs.zip"))
    seen = []
    model.predict(
        image(rng, (3, 30, 30)), tile_shape=(10, 10), progress=lambda f, _: seen.append(f)
    )
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0, 1)
    assert len(seen) > 9

    def cancel(fraction, message):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):
        model.predict(image(rng, (9, 9)), progress=cancel)


def test_a_package_may_lie_in_a_folder_of_its_archive(tmp_path, rng):
    good = packages.boundary_package(tmp_path / "good.zip")
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(nested, "w") as target:
        for name in source.namelist():
            target.writestr(f"theirs-1.0/{name}", source.read(name))
    assert isinstance(import_bioimageio(nested), ForeignModel)


def test_a_package_is_not_changed_by_being_read(tmp_path, rng):
    path = packages.boundary_package(tmp_path / "theirs.zip")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    import_bioimageio(path).predict(image(rng, (9, 9)))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.zip"]
