"""Where the images lie that a model was measured on: layers of the viewer, or files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari.layers import Image

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._semantic_inputs import source_of
from napari_implicitseg.widgets._semantic_looking import (
    LookRequest,
    is_file,
    short_name,
    whole_name,
)
from napari_implicitseg.widgets._semantic_pairs import Pair, classes_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_inputs import SemanticInputs
    from napari_implicitseg.widgets._semantic_reading import Source

__all__ = ["HeldOut"]


class HeldOut:
    """Knows what the model in use was trained with, as far as that can be known.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._source: Source | None = None
        self._pairs: dict[str, Pair] = {}

    def remember(self, source: Source | None, pairs: tuple[Pair, ...]) -> None:
        """Note what a model was trained with just now; None of one that was opened."""
        self._source = source
        names = () if source is None else source.names
        self._pairs = dict(zip(names, pairs, strict=True)) if names else {}

    def look(
        self, model: SemanticModel, name: str, inputs: SemanticInputs
    ) -> tuple[LookRequest, Pair | None, int]:
        """Ask for a look at an image.

        Parameters
        ----------
        model : SemanticModel
        name : str
            As the figures call it.
        inputs : SemanticInputs
            What is chosen now; of a model that was opened the images are looked for there.

        Returns
        -------
        request : LookRequest
        pair : Pair or None
            The layers it is in; None of a file.
        level : int
            Of a multiscale image.

        Raises
        ------
        InputError
            If it is not to be found.
        """
        if is_file(name):
            source = self._files(name, inputs)
            return LookRequest(model=model, name=name, source=source), None, 0
        pair = self._pair(name, inputs)
        source = source_of(replace(inputs, origin="layers", pairs=(pair,)), copied=True)
        level = 0
        if pair.image is not None and pair.image.multiscale:
            shapes = _layers.level_shapes(pair.image)
            size = tuple(source.masks[0].shape)
            level = next(i for i, one in enumerate(shapes) if one[len(one) - len(size) :] == size)
        return LookRequest(model=model, name=name, source=source), pair, level

    def pictures(self, model: SemanticModel, inputs: SemanticInputs) -> Source:
        """Return what pictures are to be made of: folders, or the layers that were held out.

        Raises
        ------
        InputError
            If it is not to be found.
        """
        names = [str(one["name"]) for one in model.metrics.get("images") or ()]
        if any(map(is_file, names)) or not names:
            return self._files(names[0] if names else "'the images'", inputs)
        pairs = tuple(self._pair(name, inputs) for name in names)
        return source_of(replace(inputs, origin="layers", pairs=pairs), copied=True)

    def _files(self, name: str, inputs: SemanticInputs) -> Source:
        """Return the folders that hold a file."""
        if self._source is not None and not self._source.names:
            return self._source
        if inputs.origin == "files" and inputs.images:
            return source_of(inputs)
        raise InputError(
            f"'{short_name(name)}' is a file. Choose 'folders or files' in Learn from, and there "
            "the images and masks that the model was trained with."
        )

    def _pair(self, name: str, inputs: SemanticInputs) -> Pair:
        """Return the layers of an image that was learned from, as they are now."""
        name = whole_name(name)
        pair = self._pairs.get(name)
        if pair is None:
            chosen = [one for one in inputs.pairs if one.image and one.image.name == name]
            images = [one for one in self._viewer.layers if isinstance(one, Image)]
            named = [one for one in images if one.name == name]
            pair = chosen[0] if chosen else Pair(named[0] if named else None)
        if pair.image not in self._viewer.layers:
            raise InputError(
                f"The viewer has no image '{name}' any more. Open it, with its painted classes."
            )
        if pair.labels not in self._viewer.layers:
            labels = classes_of(self._viewer, pair.image)
            if labels is None:
                raise InputError(
                    f"The classes of image '{name}' are not in the viewer any more. Open them as "
                    "a Labels layer, and choose it in Classes."
                )
            pair = Pair(pair.image, labels)
        return pair
