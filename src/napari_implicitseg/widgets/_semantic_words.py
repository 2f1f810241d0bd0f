"""What the engine says, in the words of the panel: its layers and controls, no flags, no Python."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_implicitseg.errors import Cancelled, ImplicitSegError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["in_panel", "of_layers", "said_in_panel", "with_layers"]

_GO_ON = "tick 'Go on with the training that is there'"
_CONTROLS = {
    "steps": "Steps",
    "held_out": "Held out",
    "seed": "Seed",
    "ndim": "Network",
    "zero": "'0 is a class, too'",
    "classes": "names of classes",
    "values": "classes in the masks",
    "colours": "classes in the masks",
}
"""Options of a training, and what they are called in the panel; others are of the preset."""

_ANOTHER = re.compile(
    r"The training in '(?P<where>.+)' had (?P<what>[\w ]+) = (?P<old>.*), now it is (?P<new>.*)\. "
    r"Resume it with what it had, or train into another folder\."
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(found), said)
    for found, said in (
        (
            r"Resume its training, or train into another folder",
            f"To go on, {_GO_ON}; or choose another folder in Model",
        ),
        (r"Train (anew )?into another folder", "Choose another folder in Model"),
        (r"Train anew without resuming", "Choose another folder in Model"),
        (
            r", or hold (fewer|less) out( \(held_out, --held-out\))?",
            ", or lower Held out under Advanced",
        ),
        (
            r"if (0|it) is a class, say that 0 is background",
            "if 0 is a class, tick '0 is a class, too'",
        ),
        (
            r"Give stacks, or train a network with ndim=2 \(--ndim 2\)",
            "Choose 2D in Network under Advanced, or learn from stacks",
        ),
        (
            r"Use a smaller width, depth or batch size",
            "Close other programs, or choose 2D in Network under Advanced",
        ),
        (
            r"Use larger patches, more of them in a batch, less depth or norm='group'",
            "Learn from larger images",
        ),
        (
            r"Train anew with a learning rate below [^ ]*\w",
            "Choose another folder in Model, and another Seed or Preset under Advanced, and press "
            "Train",
        ),
        (
            r"Give a mask of classes; images come first, masks second\. If they are classes, name "
            r"them \(--classes\) or say which values they are \(--values, --colours\)\.",
            "Choose masks of classes; have images and masks changed places?",
        ),
        (
            r"mend this, and resume it \(resume=True, --resume\)",
            f"mend this, {_GO_ON}, and press Train",
        ),
        (r" To measure all, evaluate the model with held_out=True \(--held-out\)\.", ""),
        (r", without held_out \(--held-out\)", ""),
        (
            r"If they are colours, say colours=True in the SemanticConfig; otherwise give",
            "Learn from it as a file if they are colours; otherwise give",
        ),
        (r", for instance by (mask|labels)\.astype\('\w+'\)", " to whole numbers"),
        (r"(,)? for instance by (numpy|np)\.nan_to_num", ""),
        (
            r"(if it is a class, )?say (so by|what 0 means:) zero='background' "
            r"\(--zero background\)( makes it a class)?",
            "tick '0 is a class, too' if it is one",
        ),
        (
            r"Give one that (`semantic train` \(train_semantic\) has trained|was trained for "
            r"classes, on images and masks)",
            "Open one that was trained for classes, here",
        ),
        (
            r"Go on with it by `train --resume`.*",
            f"Choose that folder in Model, {_GO_ON}, and press Train.",
        ),
        (
            r"Give a folder that training wrote, or the name of a shipped model: .*",
            "Choose the folder of a model that was trained here.",
        ),
        (
            r"Choose one( from \d+ to \d+)?( time point)?( with)? \(?--time N\)?(, or make .*)?\.",
            "Open one time point of it as a layer, or save it as a file of its own.",
        ),
        (r"Correct the mask, or have the value ignored \(--ignore\)", "Correct the mask"),
        (r"Give the images it was trained with, or measure all", "Choose those in Learn from"),
        (r"Give several images", "Learn from several"),
        (r"Give more images of it", "Learn from more images of it"),
        # What is left of other uses.
        (r"\s*\([^()]*--[^()]*\)", ""),
    )
)


def in_panel(text: str) -> str:
    """Say something of the engine in terms of the panel."""
    other = _ANOTHER.search(text)
    if other is not None:
        return _say_other(other)
    for found, said in _RULES:
        text = found.sub(said, text)
    return text


def with_layers(text: str, names: Sequence[str], painted: Sequence[str] = ()) -> str:
    """Call images by their layers, which the engine has numbered.

    Parameters
    ----------
    text : str
    names : sequence of str
        Of the image layers; none if images are files.
    painted : sequence of str
        Of the layers of their classes.
    """
    if not names:
        return text
    one = len(names) == 1
    image = r"the image\b" if one else r"image (?P<number>\d+)\b"

    def say(match: re.Match[str], what: str, called: Sequence[str]) -> str:
        number = 0 if one else int(match["number"]) - 1
        if number >= len(called):
            return match[0]
        starts = match.start() == 0 or match[0][0].isupper()
        return f"{what.capitalize() if starts else what} '{called[number]}'"

    if painted:
        masks = rf"\b(?:[Tt]he )?(?:mask|labels) of {image}"
        text = re.sub(masks, lambda match: say(match, "layer", painted), text)
    images = rf"\b(?:(?:[Tt]he )?(?:raw image of|image) )?{image}"
    return re.sub(images, lambda match: say(match, "image", names), text)


def said_in_panel(error: Exception) -> Exception:
    """Return an error that speaks of the panel; what is none of ours stays."""
    if not isinstance(error, ImplicitSegError) or isinstance(error, Cancelled):
        return error
    text = in_panel(str(error))
    return error if text == str(error) else type(error)(text)


@contextmanager
def of_layers(names: Sequence[str], painted: Sequence[str]) -> Iterator[None]:
    """Have what is refused speak of layers."""
    try:
        yield
    except Cancelled:
        raise
    except ImplicitSegError as error:
        text = with_layers(str(error), names, painted)
        if text == str(error):
            raise
        raise type(error)(text) from error


def _say_other(match: re.Match[str]) -> str:
    """Say that a training was begun with something else."""
    where, what = match["where"], match["what"]
    name = what.removeprefix("option ").removesuffix(" found")
    if name.startswith("volume "):
        return (
            f"Images or classes are not the ones that the training in '{where}' was begun with: "
            "something was painted, added or removed. Choose another folder in Model to learn "
            "anew."
        )
    control = _CONTROLS.get(name, "Preset")
    was = f" ({match['old']}, now {match['new']})" if name in ("steps", "seed", "held_out") else ""
    return (
        f"{control} was another when the training in '{where}' was begun{was}. Set it back to go "
        "on, or choose another folder in Model to learn anew."
    )
