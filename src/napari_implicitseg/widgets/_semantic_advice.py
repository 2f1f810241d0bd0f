"""What *Train U-Net* tells its user to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_implicitseg.widgets._semantic_inputs import SemanticInputs
    from napari_implicitseg.widgets._semantic_jobs import Opened
    from napari_implicitseg.widgets._semantic_reading import Counted

__all__ = ["next_step", "say_opened"]


def next_step(inputs: SemanticInputs, found: Counted | None, *, has_model: bool) -> str:
    """Say what the user can do now.

    Parameters
    ----------
    inputs : SemanticInputs
    found : Counted or None
        The classes there are, if that is known.
    has_model : bool
    """
    missing = _missing(inputs, found)
    if missing:
        return missing
    if has_model:
        return "Press Predict to see what the model says, or Train to learn anew."
    return "Press Train. More steps learn more; 1200 take some minutes."


def say_opened(outcome: Opened) -> str:
    """Say what a model is that can be used now, and how good."""
    model = outcome.model
    if outcome.source is None:
        return f"The model '{model.name}' tells {_listed(model.classes)}."
    figures = model.metrics
    told = (
        f"Trained: mean IoU {figures['iou']:.3f}, accuracy {figures['accuracy']:.3f} on what "
        "was held out."
        if "iou" in figures
        else "Trained; nothing was held out to measure it on."
    )
    return f"{told} Press Predict to see its classes."


def _missing(inputs: SemanticInputs, found: Counted | None) -> str:
    """Say what is missing before a training."""
    if inputs.origin == "files":
        chosen = bool(inputs.images)
        return "" if chosen else "Choose a folder of images, and one of masks of the same names."
    if not any(pair.image for pair in inputs.pairs):
        return "Open an image, or learn from folders."
    empty = [p.image for p in inputs.pairs if p.image and not p.labels]
    if empty:
        first = inputs.image if inputs.image in empty else empty[0]
        where = f" of '{first.name}'" if first and len(inputs.pairs) > 1 else ""
        return f"Press Paint classes and paint a little of each class{where}, label by label."
    if found is not None and len(found.pixels) < 2:
        return (
            "Paint a little of each class: one label for each, two classes at least. What is not "
            "painted teaches nothing."
        )
    return ""


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    """List names, the first of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
