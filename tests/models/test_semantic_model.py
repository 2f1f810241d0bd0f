"""A model of classes: tiles against the whole, channels of any order, its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_implicitseg import SemanticModel, load_model
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.models.class_values import ClassValues, packed_colours
from napari_implicitseg.models.folder import load_model as load_affinity_model
from napari_implicitseg.models.semantic import class_objects
from napari_implicitseg.predictors.unet import UNet, UNetConfig


def _model(ndim: int = 2, channels: int = 1, **options) -> SemanticModel:
    config = UNetConfig(ndim=ndim, in_channels=channels, out_channels=3, widths=(4, 6))
    network = UNet(config, seed=3)
    with torch.no_grad():  # Statistics of norms as after a training.
        for part in network.modules():
            if hasattr(part, "running_mean"):
                part.running_mean.uniform_(-0.3, 0.3)
                part.running_var.uniform_(0.5, 1.5)
    return SemanticModel(
        network=network.eval().requires_grad_(False),
        classes=("sky", "tree", "cat"),
        spacing=(1.0,) * ndim,
        **options,
    )


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (45, 61)).astype(np.uint8)


def test_probabilities_are_the_softmax_of_the_network(image):
    model = _model()
    raw = model.normalisation.scaling(image[None])(image[None])
    with torch.inference_mode():
        wanted = model.network(torch.from_numpy(raw)[None]).softmax(dim=1)[0].numpy()
    found = model.predict_proba(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    classes = model.predict(image)
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, wanted.argmax(axis=0) + 1)


@pytest.mark.parametrize("ndim", [2, 3])
def test_tiles_make_no_difference(ndim):
    model = _model(ndim)
    volume = np.random.default_rng(1).normal(size=(37, 29, 41)[-ndim:])
    whole = model.predict_proba(volume)
    tiled = model.predict_proba(volume, tile_shape=(8,) * ndim)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_a_stack_is_taken_section_by_section(image):
    model = _model()
    stack = np.stack([image, image[::-1], image])
    found = model.predict(stack)
    assert found.shape == stack.shape
    # Grey levels are scaled for the stack as a whole, which here are those of each section.
    np.testing.assert_array_equal(found[0], model.predict(image))
    np.testing.assert_array_equal(found[1], model.predict(image[::-1]))


def test_colours_may_come_first_or_last_with_transparency_or_as_grey(image):
    model = _model(channels=3)
    colours = np.stack([image, image // 2, 255 - image], axis=-1)
    wanted = model.predict(colours)
    assert wanted.shape == image.shape
    np.testing.assert_array_equal(model.predict(np.moveaxis(colours, -1, 0)), wanted)
    opaque = np.concatenate([colours, np.full((*image.shape, 1), 255, np.uint8)], axis=-1)
    np.testing.assert_array_equal(model.predict(opaque), wanted)
    grey = np.stack([image] * 3, axis=-1)
    np.testing.assert_array_equal(model.predict(image), model.predict(grey))
    single = _model()
    np.testing.assert_array_equal(single.predict(grey), single.predict(image))
    with pytest.raises(InputError, match="has 3 channels; needed is 1"):
        single.predict(colours)


def test_sixteen_bits_are_like_eight(image):
    model = _model()
    np.testing.assert_array_equal(
        model.predict(image.astype(np.uint16) * 257), model.predict(image)
    )


def test_what_is_lazy_is_read_in_tiles(image):
    class Lazy:
        shape, dtype, ndim = image.shape, image.dtype, 2
        most = 0

        def __getitem__(self, index):
            found = image[index]
            Lazy.most = max(Lazy.most, found.size)
            return found

    model = _model()
    big = np.zeros(image.shape, np.uint8)
    wanted = model.predict(image)
    assert model.predict(Lazy(), tile_shape=(8, 8), out=big) is big
    np.testing.assert_array_equal(big, wanted)


def test_evidence_and_objects_of_a_class(image):
    model = _model()
    probability = model.predict_proba(image)
    np.testing.assert_array_equal(model.evidence(image, "tree"), probability[1])
    np.testing.assert_array_equal(model.evidence(image, 3), probability[2])
    objects = model.objects(image, "tree")
    assert objects.dtype == np.uint32
    np.testing.assert_array_equal(objects > 0, model.predict(image) == 2)
    for bad in ("dog", 0, 4, True):
        with pytest.raises(InputError, match="has no class"):
            model.evidence(image, bad)


def test_pieces_touch_across_faces_and_small_ones_are_left_out():
    classes = np.array([[2, 2, 0, 2], [0, 0, 2, 0], [2, 0, 0, 0]])
    assert class_objects(classes, 2).tolist() == [[1, 1, 0, 2], [0, 0, 3, 0], [4, 0, 0, 0]]
    assert class_objects(classes, 2, min_size=2).tolist() == [[1, 1, 0, 0], [0] * 4, [0] * 4]


def test_a_folder_gives_back_the_same_model(image, tmp_path):
    model = _model(values=(0, 128, 255), metrics={"iou": 0.5}, unit="micrometer")
    model.save(tmp_path / "m")
    read = load_model(tmp_path / "m")
    assert isinstance(read, SemanticModel)
    assert (read.classes, read.values, read.unit) == (model.classes, (0, 128, 255), "micrometer")
    assert read.metrics == {"iou": 0.5}
    np.testing.assert_array_equal(read.predict_proba(image), model.predict_proba(image))
    with pytest.raises(InputError, match="predicts classes, not affinities"):
        load_affinity_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("classes", ["a", "b"], "does not predict the 2 classes"),
        ("classes", ["a", "b", "a"], "give each a name of its own"),
        ("values", [1, 2], "3 classes, but 2 values"),
        ("kind", "shapes", "no valid model: kind"),
        ("offsets", [[0, 1]], "no valid model: offsets"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, field, value, message):
    _model().save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(FileError, match=message):
        load_model(tmp_path / "m")


def test_measuring_leaves_unlabelled_pixels_out(image):
    model = _model()
    truth = model.predict(image).astype(int)
    assert model.evaluate([image], [truth]).iou == 1
    holes = truth.copy()
    holes[::2] = 0
    assert model.evaluate([image], [holes]).table.total == np.count_nonzero(holes)
    wrong = truth.copy()
    wrong[:10] = wrong[:10] % 3 + 1
    found = model.evaluate([image, image], [truth, wrong])
    assert found.accuracy == pytest.approx(1 - 10 / 90)
    with pytest.raises(InputError, match=r"has shape \(44, 61\) but the image \(45, 61\)"):
        model.evaluate([image], [truth[:-1]])


def test_values_map_to_classes_and_odd_ones_are_refused():
    meaning = ClassValues(values=(0, 255, 128), ignored=(7,))
    mask = np.array([[0, 128], [255, 7]], np.uint8)
    assert meaning(mask).tolist() == [[1, 3], [2, 0]]
    with pytest.raises(InputError, match="The mask of x holds 9, which is no class"):
        meaning(np.array([9]), "mask of x")
    loose = ClassValues(values=(0, 255), strict=False)
    assert loose(np.array([0, 9, 255])).tolist() == [1, 0, 2]
    assert packed_colours([[255, 0, 1]]).tolist() == [0xFF0001]


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("x.png", {}, "The image is 'x.png', which is no array of numbers"),
        (None, {}, "The image is None, which is no array"),
        (np.float32(3), {}, "has 0 axes"),
        (np.zeros(9), {}, "has 1 axis, shape"),
        (np.zeros((9, 9), complex), {}, "dtype complex128"),
        (np.zeros((9, 9, 3)), {"channel_axis": "c"}, "channel_axis is 'c'; give the number"),
        (np.zeros((9, 9)), {"device": "abacus"}, "device is 'abacus'"),
        (np.full((9, 9), np.nan), {"name": "'a.tif'"}, "^The image 'a.tif' is NaN"),
        (np.full((9, 9), np.nan), {"name": "the image"}, "^The image is NaN"),
        (np.zeros((40, 50, 2)), {}, "^The image has 2 channels; needed are 3"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(image, options, message):
    with pytest.raises(InputError, match=message):
        _model(channels=3).predict(image, **options)


def test_a_network_for_volumes_takes_no_image(image):
    with pytest.raises(InputError, match=r"has 2 axes, shape \(45, 61\); the model .* volumes"):
        _model(3).predict(image)


def test_the_short_axis_holds_channels(image):
    model, grey = _model(channels=3), _model()
    wanted = model.predict(image)
    np.testing.assert_array_equal(model.predict(image[..., None]), wanted)
    stack = np.stack([np.stack([image, image // 2, image // 3], -1)] * 6)
    with pytest.raises(InputError, match="has 3 channels; needed is 1"):
        grey.predict(stack)
    assert grey.predict(np.stack([stack[..., 0]] * 3, -1)).shape == (6, *image.shape)


def test_devices_and_classes_may_be_named_in_any_way(image):
    model = _model()
    wanted = model.predict_proba(image, device=torch.device("cpu"))
    np.testing.assert_array_equal(model.predict_proba(image, device="auto"), wanted)
    np.testing.assert_array_equal(model.evidence(image, np.int64(2)), wanted[1])
    with pytest.raises(InputError, match="has no class 4"):
        model.number_of(np.int64(4))


def test_a_pixel_size_of_no_unit_is_told_without_one(image):
    with pytest.warns(UserWarning, match=r"learned from \(1.0, 1.0\)\. Results may be poor"):
        _model().predict(image, spacing=(9, 9))


@pytest.mark.parametrize(("images", "masks"), [(2, 1), (1, 2)])
def test_images_without_masks_are_not_measured(image, images, masks):
    model = _model()
    truth = model.predict(image)
    with pytest.raises(InputError, match="There are 1 (masks|images) but more"):
        model.evaluate([image] * images, [truth] * masks)
    with pytest.raises(InputError, match="mask of image 1 has dtype float64; classes are integers"):
        model.evaluate([image], [truth + 0.7])


def test_values_beyond_those_of_masks_are_refused(tmp_path):
    for value in (2**63, 2**70, -(2**63)):
        with pytest.raises(InputError, match="use numbers up to 9223372036854775807"):
            ClassValues(values=(1, value))
    huge = np.array([[2**63 + 5, 1]], np.uint64)
    assert ClassValues(values=(1, 2), strict=False)(huge).tolist() == [[0, 1]]
    with pytest.raises(InputError, match="holds 9223372036854775813, which is no class"):
        ClassValues(values=(1, 2))(huge)
    _model().save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "values": [2**70, 1, 2]}))
    with pytest.raises(FileError, match="holds no model that works"):
        load_model(tmp_path / "m")
