"""Pictures of what was held out from a training: confusion matrix and worst images, as files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._semantic_reading import taken_down
from napari_implicitseg.widgets._semantic_words import of_layers

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_reading import Source

__all__ = ["PicturesRequest", "Saved", "pictures_request"]

_COUNT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Pictures that were written."""

    folder: str
    count: int

    def say(self) -> str:
        """Say where they are."""
        return f"Confusion matrix and {self.count} worst images are in '{self.folder}'."


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesRequest:
    """Pictures of the held-out images, measured anew.

    Attributes
    ----------
    model : SemanticModel
    source : Source
        Folders it was trained with, or the layers that were held out.
    folder : str
        Where pictures are written.
    """

    model: SemanticModel
    source: Source
    folder: str

    doing = "Saving pictures"

    def run(self, progress: Progress) -> Saved:
        """Predict and write; in the worker thread.

        Raises
        ------
        ImplicitSegError
            If none of the images was held out, or pictures cannot be written.
        """
        from napari_implicitseg.semantic.jobs import evaluate_semantic
        from napari_implicitseg.semantic.pictures import WorstImages, write_confusion

        source = self.source
        worst = WorstImages(_COUNT, len(self.model.classes))

        def keep(volume: Any, truth: Any, found: Any, figures: Any) -> None:
            name = source.image_name(figures.images[0].name)
            images = (replace(figures.images[0], name=name),)
            worst(volume, truth, found, replace(figures, images=images))

        with taken_down([]), of_layers(source.names, source.painted):
            found = evaluate_semantic(
                self.model,
                source.images,
                source.masks,
                held_out=not source.names,  # Of layers there are no others.
                channel_axis=source.channel_axis,
                progress=lambda done, said: progress(done, source.say(said)),
                seen=keep,
            )
        folder = Path(self.folder)
        paths = worst.write(folder, overwrite=True)
        write_confusion(
            folder / "confusion.png", found, title=self.model.name or "model", overwrite=True
        )
        return Saved(folder=self.folder, count=len(paths))


def pictures_request(model: SemanticModel | None, source: Source, folder: str) -> PicturesRequest:
    """Ask for pictures.

    Raises
    ------
    InputError
        If there is no model.
    """
    if model is None:
        raise InputError("There is no model. Train one, or press Open model.")
    return PicturesRequest(model=model, source=source, folder=folder)
