"""Pictures of what was held out from a training: confusion matrix and worst images, as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._semantic_jobs import taken_down

if TYPE_CHECKING:
    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_jobs import Source

__all__ = ["PicturesRequest", "Saved", "pictures_request"]

_COUNT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """Pictures that were written."""

    folder: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesRequest:
    """Pictures of the held-out images, measured anew.

    Attributes
    ----------
    model : SemanticModel
    source : Source
        What it was trained with.
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
        from napari_implicitseg.semantic_jobs import evaluate_semantic
        from napari_implicitseg.semantic_pictures import WorstImages, write_confusion

        worst = WorstImages(_COUNT, len(self.model.classes))
        with taken_down([]):
            found = evaluate_semantic(
                self.model,
                self.source.images,
                self.source.masks,
                held_out=True,
                channel_axis=self.source.channel_axis,
                progress=progress,
                seen=worst,
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
        If there is no model, or nothing in folders.
    """
    if model is None:
        raise InputError("There is no model. Train one, or press Open model.")
    if source.name:
        raise InputError(
            "Pictures are of images that were held out. Choose the folders that the model was "
            "trained with in Learn from."
        )
    return PicturesRequest(model=model, source=source, folder=folder)
