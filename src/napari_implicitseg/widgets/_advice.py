"""What the scribble widget tells the user to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.widgets._scribble_fit import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.widgets._scribble_inputs import Inputs

__all__ = ["advise"]


def advise(inputs: Inputs, painted: Sequence[int], *, waits: bool, accepted: bool) -> str:
    """Say what the user can do now.

    Parameters
    ----------
    inputs : Inputs
    painted : sequence of int
        Ids with strokes in the region shown, as of the last fit.
    waits : bool
        Whether strokes wait for the user to ask for a fit.
    accepted : bool
        Whether the masks of the region shown are in the results layer.
    """
    scribbles = inputs.scribbles
    if inputs.image is None:
        return "Open an image, or try File > Open Sample > Implicit segmentation."
    if inputs.has_outlines:
        return _advise_outlines(inputs, painted, waits=waits, accepted=accepted)
    if scribbles is None:
        return 'Press "New scribbles" and paint on the image.'
    if not painted:
        return (
            f"Paint one stroke of background (label {BACKGROUND}) outside all objects, then "
            "press N and paint one stroke inside the first object."
        )
    objects = [i for i in painted if i != BACKGROUND]
    if not objects:
        if scribbles.selected_label > BACKGROUND:
            return f"Now paint one stroke inside the object (label {scribbles.selected_label})."
        return "Background is set. Press N, then paint one stroke inside the first object."
    if waits:
        return "The strokes have changed. Press Fit, or turn Live on."
    if scribbles.selected_label not in (*objects, BACKGROUND, 0):
        return f"Paint one stroke inside the next object (label {scribbles.selected_label})."
    if accepted:
        return "Accepted. Correct with further strokes, or press N for the next object."
    return "Correct with further strokes, press N for the next object, or K to accept."


def _advise_outlines(inputs: Inputs, painted: Sequence[int], *, waits: bool, accepted: bool) -> str:
    """Say what the user can do with sloppy outlines; they need no background."""
    if inputs.scribbles is None or (inputs.shapes is None and not painted):
        return 'Press "Sloppy outline" and draw around an object, roughly.'
    if waits:
        return "The outlines have changed. Press Fit, or turn Live on."
    if all(label == BACKGROUND for label in painted):
        return (
            "Draw around an object, roughly: hold the mouse button and go around it once. "
            "Polygons, rectangles and ellipses will do, too."
        )
    if accepted:
        return "Accepted. Draw around the next object, or move a vertex to correct."
    return "Draw around the next object, move a vertex to correct, or press K to accept."
