"""Tests that *Train U-Net* speaks of its layers and controls, whatever the engine says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from napari_implicitseg import SemanticConfig, api
from napari_implicitseg.errors import Cancelled, ImplicitSegError, InputError
from napari_implicitseg.semantic.jobs import load_semantic
from napari_implicitseg.widgets._semantic_reading import Source
from napari_implicitseg.widgets._semantic_words import said_in_panel, with_layers

from .semantic_cases import picture

FOREIGN = re.compile(r"--\w|\b\w+=|`|SemanticConfig|numpy|np\.|astype|_semantic|channel_axis|resum")


def learn(images, masks, out, **options):
    """Begin a training, and leave it after its first step."""

    def stop(fraction, message):
        raise Cancelled("enough")

    config = {"steps": 4, "width": 4, "depth": 2, "batch_size": 2, "values": (1, 2), **options}
    resume = config.pop("resume", False)
    api.train_semantic(
        images, masks, config=SemanticConfig(**config), out=out, resume=resume, progress=stop
    )


def begun(folder, **options):
    """Begin a training on two images, and go on with other options."""
    images, masks = zip(*map(picture, range(2)), strict=True)
    with pytest.raises(Cancelled):
        learn(images, masks, folder / "mine")
    if options.pop("painted", False):
        masks = tuple(np.where(np.eye(48, dtype=bool), 1, mask) for mask in masks)
    learn(images, masks, folder / "mine", **options)


def unfinished(folder):
    """Open a model whose training has not finished."""
    with pytest.raises(Cancelled):
        learn(*picture(), folder / "mine", held_out=0)
    load_semantic(folder / "mine")


def bad(change, **options):
    """Begin a training on an image and a mask that were changed."""

    def act(folder):
        image, mask = change(*picture())
        learn(image, mask, folder / "mine", held_out=0, **options)

    return act


def broken_later(folder):
    """Begin a training on an image of which a window fails after a step."""
    image, mask = picture()

    class Failing:
        shape, dtype, ndim, reads = image.shape, image.dtype, 2, 0

        def __getitem__(self, index):
            Failing.reads += 1
            if Failing.reads > 20:
                raise InputError("It is broken.")
            return image[index]

    config = SemanticConfig(steps=50, width=4, depth=2, batch_size=1, workers=0, held_out=0)
    api.train_semantic(Failing(), mask, config=config, out=folder / "mine")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda f: begun(f), "tick 'Go on with the training that is there'"),
        (lambda f: begun(f, resume=True, steps=9), "Steps was another"),
        (lambda f: begun(f, resume=True, ndim=2), "Network was another"),
        (lambda f: begun(f, resume=True, dice=0.5), "Preset was another"),
        (lambda f: begun(f, resume=True, classes=("a", "b")), "names of classes was another"),
        (lambda f: begun(f, resume=True, painted=True), "something was painted"),
        (unfinished, "Choose that folder in Model, tick 'Go on"),
        (lambda f: load_semantic(f), "Choose the folder of a model"),
        (lambda f: load_semantic("sstem-2d"), "Open one that was trained for classes, here"),
        (lambda f: learn(*picture(), f / "m", ndim=3), "Choose 2D in Network under Advanced"),
        (bad(lambda i, m: (i, m.astype(float))), "to whole numbers"),
        (
            bad(lambda i, m: (i, np.arange(m.size).reshape(m.shape)), values=None),
            "have images and masks",
        ),
        (broken_later, "tick 'Go on with the training that is there', and press Train"),
        (bad(lambda i, m: (i, np.stack([m] * 3, -1))), "Learn from it as a file"),
        (bad(lambda i, m: (i * np.nan, m)), "Replace such"),
    ],
)
def test_errors_of_the_engine_name_controls(tmp_path, act, said):
    with pytest.raises(ImplicitSegError) as caught:
        act(tmp_path)
    error = said_in_panel(caught.value)
    assert type(error) is type(caught.value)
    assert said in str(error)
    assert not FOREIGN.search(str(error).replace(str(tmp_path), ""))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The mask of image 2 has shape (3, 3).", "Layer 'b classes' has shape (3, 3)."),
        ("All pixels of the mask of image 1 are 0.", "All pixels of layer 'a classes' are 0."),
        (
            "2 images are left out: image 1, image 2.",
            "2 images are left out: image 'a', image 'b'.",
        ),
        ("The image image 2 has 2 channels.", "Image 'b' has 2 channels."),
        ("The raw image of image 1 holds NaN.", "Image 'a' holds NaN."),
        ("The mask of image 3 is odd.", "The mask of image 3 is odd."),
    ],
)
def test_numbered_images_are_called_by_their_layers(text, said):
    assert with_layers(text, ("a", "b"), ("a classes", "b classes")) == said


def test_a_single_image_is_called_by_its_layer():
    text = "the held-out part of the image (y from 38) is measured on."
    assert with_layers(text, ("em",)).startswith("the held-out part of image 'em' (y from 38)")
    assert with_layers("The mask of the image is odd.", ("em",), ("m",)) == "Layer 'm' is odd."
    assert with_layers("The mask of the image is odd.", ()) == "The mask of the image is odd."


def test_what_is_wrong_with_one_of_several_layers_names_it():
    pairs = [picture(seed) for seed in range(2)]
    source = Source(
        images=tuple(image for image, _ in pairs),
        masks=(pairs[0][1], np.arange(48 * 48).reshape(48, 48)),
        names=("a", "b"),
        painted=("a classes", "b ids"),
        channel_axis=0,
    )
    with pytest.raises(InputError, match="Layer 'b ids' holds more than"):
        source.count(lambda fraction, message: None)
