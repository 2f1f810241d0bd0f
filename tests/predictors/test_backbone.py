"""Embeddings of images: what they are, that tiles do not show, weights and the cache."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from safetensors.torch import load_file, save_file

from napari_implicitseg.errors import Cancelled, FileError, InputError
from napari_implicitseg.predictors.backbone import embed_image
from napari_implicitseg.predictors.pyramid_tiles import _main_axes, _spans


def declare_operators() -> torch.library.Library | None:
    """Let torchvision be imported where its operators cannot be loaded.

    Its wheel on PyPI wants CUDA's libraries, which a torch for CPUs lacks. timm
    imports it, but needs none of its operators.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or "torchvision" in sys.modules:
        return None
    try:
        for compiled in Path(spec.origin).parent.glob("_C.*"):
            torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


_OPERATORS = declare_operators()
timm = pytest.importorskip("timm")

_SMALL = "test_resnet"


def textures(shape=(96, 128), seed=0):
    """Fine noise on the left, coarse noise of the same strength on the right."""
    rng = np.random.default_rng(seed)
    fine = rng.normal(size=shape)
    coarse = np.kron(fine, np.ones((4, 4)))[..., : shape[-2], : shape[-1]]
    return np.where(np.arange(shape[-1]) < shape[-1] // 2, fine, coarse).astype(np.float32)


def embed(image, **options):
    return embed_image(image, **{"backbone": _SMALL, "device": "cpu", **options})


@pytest.mark.parametrize(
    ("shape", "channel_axis", "spatial"),
    [
        ((50, 70), None, (50, 70)),
        ((3, 40, 33), None, (3, 40, 33)),
        ((50, 70, 3), -1, (50, 70)),
        ((50, 70, 4), 2, (50, 70)),
        ((2, 50, 70), 0, (50, 70)),
        ((2, 1, 40, 33), 1, (2, 40, 33)),
        ((2, 2), None, (2, 2)),
        ((1, 1, 300), None, (1, 1, 300)),
    ],
)
def test_every_pixel_gets_its_components(shape, channel_axis, spatial):
    image = np.random.default_rng(0).random(shape)
    made = embed(image, channel_axis=channel_axis, components=5)
    assert made.shape == (5, *spatial)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert made.any() == (shape != (2, 2))


@pytest.mark.parametrize("backbone", ["test_convnext", "test_vit", "test_efficientnet_gn"])
def test_networks_of_all_kinds_serve(backbone):
    made = embed(textures((70, 200)), backbone=backbone)
    assert made.shape == (8, 70, 200)
    assert made[0].std() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("dtype", ["bool", "uint8", ">u2", "int64", "float16", "float64"])
def test_scale_and_type_of_the_intensities_do_not_matter(dtype):
    image = textures() > 0.3
    usual = embed(image.astype(np.float32))
    np.testing.assert_allclose(embed(image.astype(dtype)), usual, atol=1e-4)
    np.testing.assert_allclose(embed(image * 1e30 - 7e29), usual, atol=1e-4)


def test_an_image_of_the_widest_range_there_is():
    image = np.full((40, 40), -np.finfo(float).max)
    image[:, 20:] *= -1
    np.testing.assert_allclose(embed(image), embed(np.sign(image)), atol=1e-4)


def test_dask_and_zarr_are_read_like_numpy():
    image = (textures((4, 64, 80)) * 1000).astype(np.int16)
    usual = embed(image, tile=128)
    lazy = da.from_array(image, chunks=(1, 40, 40))
    np.testing.assert_array_equal(embed(lazy, tile=128), usual)
    stored = zarr.array(image, chunks=(2, 32, 32))
    np.testing.assert_array_equal(embed(stored, tile=128), usual)
    with_channels = da.from_array(np.moveaxis(image, 0, -1), chunks=16)
    np.testing.assert_array_equal(
        embed(with_channels, channel_axis=-1), embed(image, channel_axis=0)
    )


def test_only_the_first_three_channels_count():
    image = np.random.default_rng(1).random((40, 50, 5))
    np.testing.assert_array_equal(
        embed(image, channel_axis=-1), embed(image[..., :3], channel_axis=-1)
    )


def test_equal_slices_are_embedded_alike():
    image = np.stack([textures()] * 3)
    made = embed(image)
    np.testing.assert_allclose(made[:, 2], made[:, 0], atol=1e-5)
    np.testing.assert_allclose(np.abs(made[0, 0]), np.abs(embed(image[0])[0]), atol=1e-2)


def test_results_are_repeatable_and_leave_torchs_generator_alone():
    image = textures()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = embed(image, seed=1)
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(embed(image, seed=1), first)
    assert np.abs(embed(image, seed=2) - first).max() > 0.1


def test_textures_are_told_apart():
    made = embed(textures())
    left, right = made[:, :, :56].reshape(8, -1), made[:, :, 72:].reshape(8, -1)
    apart = np.abs(left.mean(axis=1) - right.mean(axis=1)) / (left.std(axis=1) + right.std(axis=1))
    assert apart.max() > 2


def test_the_edges_of_the_embedding_are_those_of_the_image():
    """Kernels look to one side by chance, so the image is turned, too."""
    image = textures((128, 256))
    found = []
    for turned in (image, image[::-1, ::-1], image.T, image.T[::-1, ::-1]):
        made = embed(turned, backbone="resnet18")
        profile = made.mean(axis=1 if turned.shape == image.shape else 2)
        left, right = profile[:, 16:66].mean(axis=1), profile[:, 190:240].mean(axis=1)
        along = (profile.T - (left + right) / 2) @ (right - left)
        found.append(np.interp(0, along[80:176], np.arange(80, 176) + 0.5))
    assert np.mean(found) == pytest.approx(128, abs=1.5)


def test_components_are_independent_and_get_smaller():
    made = embed(textures()).reshape(8, -1)
    deviations = made.std(axis=1)
    assert deviations[0] == pytest.approx(1, abs=0.05)
    assert (np.diff(deviations) < 0.05).all()
    assert np.abs(np.corrcoef(made[:4]) - np.eye(4)).max() < 0.2
    assert np.abs(made.mean(axis=1)).max() < 0.1


def test_axes_are_those_of_the_singular_value_decomposition():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(500, 60)) * 0.8 ** np.arange(60) @ rng.normal(size=(60, 60))
    values = (values - values.mean(axis=0)).astype(np.float32)
    axes = _main_axes(values, 6, rng)
    _, spread, expected = np.linalg.svd(values, full_matrices=False)
    size = np.sqrt(len(values)) / spread[0]
    np.testing.assert_allclose(np.abs(axes.T @ expected[:6].T), np.eye(6) * size, atol=0.01 * size)
    assert (values @ axes).std(axis=0)[0] == pytest.approx(1, rel=1e-3)
    assert (axes[np.abs(axes).argmax(axis=0), range(6)] > 0).all()


def test_components_the_features_do_not_have_are_0():
    made = embed(textures((12, 8)), components=40)
    assert made.shape == (40, 12, 8)
    assert not made[6:].any()
    values = np.outer(np.arange(30.0), [1, 2, 0, 1]).astype(np.float32)
    axes = _main_axes(values - values.mean(axis=0), 3, np.random.default_rng(0))
    assert axes[:, 0].any()
    assert not axes[:, 1:].any()


@pytest.mark.parametrize("value", [0, 7.5, np.nan])
def test_an_image_of_one_value_has_no_features(value):
    assert not embed(np.full((40, 50), value)).any()


def test_one_bright_pixel_is_seen():
    image = np.zeros((64, 64), np.uint8)
    image[40, 40] = 1
    assert np.abs(embed(image)).max() > 0.5


def test_pixels_that_are_not_finite_take_the_median():
    image = textures()
    image[10:14, 90:94] = np.median(image)
    holed = image.copy()
    holed[10:14, 90:94] = np.nan
    holed[11, 91] = np.inf
    made = embed(holed)
    assert np.isfinite(made).all()
    assert np.abs(made - embed(image)).max() < 0.3


@pytest.mark.parametrize("shape", [(256, 320), (2, 161, 300)])
def test_tiles_do_not_show(shape):
    image, tiles = textures(shape), []
    whole = embed(image, tile=1024)
    tiled = embed(image, tile=128, progress=lambda *message: tiles.append(message))
    assert len(tiles) > 5 * (len(shape) - 1)
    inner = (..., slice(32, -32), slice(32, -32))
    for one, other in zip(whole[inner][:2], tiled[inner][:2], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.97
    values = np.stack([*tiled[inner], np.ones_like(tiled[0][inner])]).reshape(9, -1).T
    expected = whole[inner][:4].reshape(4, -1).T
    left = values @ np.linalg.lstsq(values, expected, rcond=None)[0] - expected
    assert (left.var(axis=0) < 0.05 * expected.var(axis=0)).all()


@pytest.mark.parametrize(("length", "side", "halo"), [(128, 128, 32), (480, 160, 32), (992, 96, 0)])
def test_tiles_count_1_together(length, side, halo):
    total = np.zeros(length // 4)
    for start, weight in _spans(length, side, halo, 4):
        assert 0 <= start <= length - side
        total[start // 4 :][: len(weight)] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def network(name=_SMALL, seed=9, **options):
    torch.manual_seed(seed)
    return timm.create_model(name, **options)


@pytest.mark.parametrize("name", [_SMALL, "test_convnext", "test_vit"])
def test_weights_of_the_whole_network_are_taken_from_a_file(tmp_path, name):
    state = network(name).state_dict()
    save_file(state, tmp_path / "own.safetensors")
    wrapped = {f"module.{k}": v for k, v in state.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "own.pth")
    made = embed(textures(), backbone=name, weights=tmp_path / "own.safetensors")
    again = embed(textures(), backbone=name, weights=str(tmp_path / "own.pth"))
    np.testing.assert_array_equal(made, again)
    # Only the seed of the samples and of the noise is left to count.
    other = embed(textures(), backbone=name, seed=1, weights=tmp_path / "own.safetensors")
    assert abs(np.corrcoef(other[0].ravel(), made[0].ravel())[0, 1]) > 0.98
    assert np.abs(embed(textures(), backbone=name) - made).max() > 0.1


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(network("test_efficientnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.* fit \d+ of the \d+ tensors .* needed \("):
        embed(textures(), weights=tmp_path / "other.safetensors")
    state = network().state_dict()
    wider = {k: torch.zeros([n + 1 for n in v.shape]) for k, v in state.items()}
    torch.save(wider, tmp_path / "wider.pt")
    with pytest.raises(InputError, match=r"conv1.0.weight is \(\d+, 4, 4, 4\), needed \(\d+, 3"):
        embed(textures(), weights=tmp_path / "wider.pt")


def test_some_weights_may_be_missing(tmp_path, caplog):
    state = network().state_dict()
    some = {k: v for i, (k, v) in enumerate(sorted(state.items())) if i % 4}
    save_file(some, tmp_path / "some.safetensors")
    made = embed(textures(), weights=tmp_path / "some.safetensors")
    assert np.isfinite(made).all()
    assert "tensors stay random" in caplog.text
    np.testing.assert_array_equal(made, embed(textures(), weights=tmp_path / "some.safetensors"))


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_code_in_weights_is_run(tmp_path):
    torch.save(
        {"state_dict": network().state_dict(), "x": Trap(tmp_path / "run")}, tmp_path / "a.pt"
    )
    with pytest.raises(FileError, match="damaged or hold more than tensors"):
        embed(textures(), weights=tmp_path / "a.pt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 40, b"PK\3\4broken", b"\x80\x02}q."])
def test_damaged_weights_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((FileError, InputError), match=r"Weights '.*a\.(pth|safetensors)'"):
        embed(textures(), weights=tmp_path / name)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(FileError, match="Cannot read weights '.*none.pth': No such file"):
        embed(textures(), weights=tmp_path / "none.pth")


def test_weights_that_are_not_numbers(tmp_path):
    state = {k: v.float() * np.nan for k, v in network().state_dict().items()}
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(InputError, match="not finite: its weights are damaged"):
        embed(textures(), weights=tmp_path / "nan.safetensors")


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r'pip install "napari-implicitseg\[semantic\]"'):
        embed(textures())


def test_unknown_backbones_are_refused():
    with pytest.raises(InputError, match=r"'resnet19', which timm .* lacks. Did you mean .*18"):
        embed(textures(), backbone="resnet19")
    with pytest.raises(InputError, match="'hf-hub:timm/resnet18.a1_in1k', which timm .* lacks"):
        embed(textures(), backbone="hf-hub:timm/resnet18.a1_in1k")
    with pytest.raises(InputError, match="'resnet18.nope' cannot give its levels .*tag"):
        embed(textures(), backbone="resnet18.nope")


def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="weights of 'test_resnet' cannot be downloaded .*online"):
        embed(textures(), pretrained=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"components": 0}, "components is 0"),
        ({"components": 2.5}, "components is 2.5"),
        ({"tile": 8}, "tile is 8; give a whole number of at least 32"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "abacus"}, "device is 'abacus', which torch cannot use"),
        ({"channel_axis": 2}, "channel_axis is 2 but the image has 2 axes"),
        ({"pretrained": True, "weights": "a.pth"}, "give one of them"),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        embed(textures(), **options)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 5, 6, 7)), "needed is"),
        (np.zeros(9), "needed is"),
        (np.zeros((0, 9)), "empty"),
        (np.zeros((9, 9), complex), "real numbers"),
    ],
)
def test_images_that_cannot_be_embedded(image, words):
    with pytest.raises(InputError, match=words):
        embed(image)


def test_progress_is_told_and_may_cancel(tmp_path):
    told = []

    def progress(fraction, message):
        told.append(fraction)
        if len(told) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        embed(textures((200, 400)), tile=128, cache=tmp_path, progress=progress)
    assert list(tmp_path.iterdir()) == []
    embed(textures((200, 400)), tile=128, cache=tmp_path, progress=progress)
    assert told[4:] == sorted(told[4:])
    assert (told[4], told[-1]) == (0, 1)


def test_results_are_found_again(tmp_path, monkeypatch):
    folder = tmp_path / "new" / "folder"
    image = textures((2, 50, 77))
    made = embed(image, cache=folder)
    (file,) = folder.iterdir()
    assert file.suffix == ".safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(timm, "create_model", None)
        np.testing.assert_array_equal(embed(image.copy(), cache=folder), made)
        np.testing.assert_array_equal(embed(image[:, ::-1][:, ::-1], cache=folder), made)
    np.testing.assert_array_equal(embed(image), made)


def test_everything_that_counts_makes_another_result(tmp_path):
    image = textures((48, 64))
    changed = image.copy()
    changed[5, 5] += 1e-3
    save_file(network(seed=1).state_dict(), tmp_path / "w.safetensors")
    weighty = {"weights": tmp_path / "w.safetensors"}
    cases = [
        (image, {}),
        (changed, {}),
        (image.reshape(64, 48), {}),
        (image.view(np.int32), {}),
        (image.reshape(48, 32, 2), {"channel_axis": -1}),
        (image, {"seed": 1}),
        (image, {"components": 4}),
        (image, {"tile": 256}),
        (image, {"backbone": "test_convnext"}),
        (image, weighty),
    ]
    for i, (case, options) in enumerate(cases):
        embed(case, cache=tmp_path / "cache", **options)
        assert len(list((tmp_path / "cache").iterdir())) == i + 1
    save_file(network(seed=2).state_dict(), tmp_path / "w.safetensors")
    embed(image, cache=tmp_path / "cache", **weighty)
    assert len(list((tmp_path / "cache").iterdir())) == len(cases) + 1


@pytest.mark.parametrize("damage", ["cut", "nonsense", "empty", "other", "smaller", "nan"])
def test_damaged_results_are_replaced(tmp_path, damage):
    image = textures((48, 64))
    made = embed(image, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    good, stored = file.read_bytes(), load_file(file)
    if damage in ("other", "smaller", "nan"):
        grid = {"smaller": stored["grid"][:, :, 1:, 1:], "nan": stored["grid"] * np.nan}
        grid = grid.get(damage, stored["grid"].half())
        save_file({"grid": grid.contiguous(), "stride": stored["stride"]}, file)
    else:
        file.write_bytes({"cut": good[:-9], "nonsense": b"x" * 999, "empty": b""}[damage])
    np.testing.assert_array_equal(embed(image, cache=tmp_path), made)
    assert file.read_bytes() == good
    assert list(tmp_path.iterdir()) == [file]


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="Cannot write the cache '.*file'"):
        embed(textures(), cache=tmp_path / "file")


def test_a_photograph_is_embedded(data_dir):
    from PIL import Image

    with Image.open(data_dir / "photos" / "pets" / "Bengal_185_image.jpg") as photo:
        image = np.asarray(photo.convert("RGB").resize((256, 256)))
    made = embed(image, channel_axis=-1)
    assert made.shape == (8, 256, 256)
    assert made[0].std() == pytest.approx(1, abs=0.1)
