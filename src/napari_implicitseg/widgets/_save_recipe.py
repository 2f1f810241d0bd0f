"""*Save recipe*: what was tried in a panel, as a YAML file that batch jobs run on volumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_implicitseg.batch.config import BatchConfig
from napari_implicitseg.batch.recipes import write_recipe
from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._base import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.widgets._evaluate_inputs import EvaluateInputs
    from napari_implicitseg.widgets._neurons_jobs import Outcome, PredictRequest
    from napari_implicitseg.widgets._panel import SessionPanel
    from napari_implicitseg.widgets._repair_inputs import RepairInputs
    from napari_implicitseg.widgets._scribble_inputs import Inputs

__all__ = [
    "RecipeButton",
    "Settings",
    "Tried",
    "evaluate_settings",
    "neurons_settings",
    "repair_settings",
    "scribble_settings",
    "tried",
]

_LINKAGES = ("mean", "single", "quantile")
_FRAGMENTS = ("auto", "watershed", "distance")
_UNIT = "nanometer"


@dataclass(frozen=True, slots=True)
class Settings:
    """Options of a job, and what of the panel they do not hold.

    Attributes
    ----------
    config : BatchConfig
    note : str
        A sentence; empty if they hold all.
    """

    config: BatchConfig
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How neurons were made.

    Attributes
    ----------
    linkage, fragments : str
        Fragments as they were made, not "auto".
    min_size : int or None
    model : str or None
        What predicted the affinities; None if they were there.
    spacing : tuple of float or None
        Voxel size the model was told, in nanometres.
    level : int
        Of a multiscale image.
    """

    linkage: str
    fragments: str
    min_size: int | None
    model: str | None = None
    spacing: tuple[float, ...] | None = None
    level: int = 0


class RecipeButton(QPushButton):
    """Saves the settings of a panel as a recipe.

    Parameters
    ----------
    panel : SessionPanel
        Which says what was saved, or why that cannot be.
    settings : callable
        Returns the `Settings`; raises `InputError` for what a job over blocks cannot do.
    """

    def __init__(self, panel: SessionPanel, settings: Callable[[], Settings]) -> None:
        super().__init__("Save recipe...")
        self.setToolTip(
            "Save these settings as YAML: the Batch widget, or napari-implicitseg batch, runs them "
            "on a volume of any size."
        )
        self._panel, self._settings = panel, settings
        self.clicked.connect(self.save)

    @guarded("Saving a recipe")
    def save(self, *_: object) -> None:
        """Save the recipe where the user says."""
        self._panel.forget_problem()
        self._panel.accept_with(self._save)

    def _save(self) -> None:
        found = self._settings()
        path = self.ask_where_to_save(f"{found.config.job}.yaml")
        if not path:
            return
        # The dialog has asked whether to replace a file.
        write_recipe(path, found.config, overwrite=True)
        saved = f"The recipe is saved as '{Path(path).name}': open it in Batch."
        self._panel.tell(f"{saved} {found.note}".strip())

    def ask_where_to_save(self, name: str) -> str:
        """Ask for a file to write; empty if the user thinks better of it."""
        start = str(Path.home() / name)
        kinds = "Recipes (*.yaml *.yml)"
        path = str(QFileDialog.getSaveFileName(self, "Save recipe", start, kinds)[0])
        return f"{path}.yaml" if path and not Path(path).suffix else path


# Volume to neurons ------------------------------------------------------------


def tried(outcome: Outcome, predicted: PredictRequest | None, level: int) -> Tried | None:
    """Note how neurons were made.

    Parameters
    ----------
    outcome : Outcome
        Of *Segment*.
    predicted : PredictRequest or None
        What the affinities are from; None if the layer held them.
    level : int
        Of the image, of which that was.
    """
    from napari_implicitseg.hierarchy.building import smallest_fragments

    request: Any = outcome.request
    if outcome.work is None:
        return None
    size = request.min_size
    if size is None and outcome.fragments in ("distance", "watershed"):
        shape = outcome.work.hierarchy.fragments.shape
        # What is merged by default in a small crop is not what is in a volume.
        size = 0 if smallest_fragments(shape, outcome.fragments)[0] == 0 else None
    found = Tried(linkage=request.linkage, fragments=outcome.fragments, min_size=size)
    if predicted is None:
        return found
    sizes = predicted.spacing
    rounded = None if sizes is None else tuple(float(f"{s:.6g}") for s in sizes)
    return replace(found, model=predicted.model, spacing=rounded, level=level)


def neurons_settings(work: Proofreading | None, made: Tried | None) -> Settings:
    """Return what makes the neurons that are shown, but for corrections.

    Raises
    ------
    InputError
        If there are none, or no job over blocks makes such.
    """
    if work is None or made is None:
        raise InputError("There are no neurons yet. Press Segment, move the slider, then save.")
    if made.linkage not in _LINKAGES:
        raise InputError(
            f"The neurons are merged by {made.linkage}, which needs the volume as a whole; batch "
            'works in blocks. Choose "Merge by" median, mean or highest affinity, and Segment.'
        )
    if made.fragments not in _FRAGMENTS:
        raise InputError(
            f'The neurons are made of "{made.fragments}", which batch does not do in blocks. '
            'Choose Fragments "far from membranes", "watershed" or "automatic", and Segment.'
        )
    options: dict[str, Any] = {
        "linkage": made.linkage,
        "fragments": made.fragments,
        "min_size": made.min_size,
        "threshold": min(1.0, max(0.0, round(float(work.threshold), 6))),
    }
    if made.model is not None:
        options |= {"model": _whole_path(made.model), "level": made.level}
        options |= {} if made.spacing is None else {"spacing": made.spacing, "unit": _UNIT}
    count = len(work.edits)
    note = f"Your {count} corrections by hand are not part of it: save edits." if count else ""
    if count == 1:
        note = "Your correction by hand is not part of it: save edits."
    return Settings(BatchConfig(job="segment", **options), note)


def _whole_path(model: str) -> str:
    """Return the name of a shipped model as it is, a folder from the root."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


# The other panels -------------------------------------------------------------


def repair_settings(inputs: RepairInputs) -> Settings:
    """Return what is chosen in *Repair labels*, but for the ids.

    Raises
    ------
    InputError
        If no job over blocks does that.
    """
    source = inputs.source
    if source is not None and not isinstance(source, Labels):
        raise InputError(
            f"Layer '{source.name}' is a probability map; batch repairs label images. Choose a "
            "Labels layer as masks."
        )
    note = "" if inputs.ids == "all" else "It repairs all objects, not only the ids chosen here."
    fit = replace(inputs.config, per_slice=inputs.scope != "volume" and _is_deep(source))
    return Settings(BatchConfig(job="repair", shape=_shape(inputs.shape), fit=fit), note)


def scribble_settings(inputs: Inputs) -> Settings:
    """Return what is chosen in *Scribble to mask*; the strokes are found beside the volume.

    Raises
    ------
    InputError
        If no job over blocks does that.
    """
    if not isinstance(inputs.evidence, str):
        raise InputError(
            f"The evidence is the layer '{inputs.evidence.name}', which a recipe does not hold. "
            'Choose a method as evidence, such as "Automatic".'
        )
    if inputs.embedding is not None:
        raise InputError(
            f"The embedding is the layer '{inputs.embedding.name}', which a recipe does not hold. "
            'Choose "none" as embedding.'
        )
    notes = ["It reads scribbles from labels/scribbles of the volume: save yours there."]
    if inputs.shapes is not None:
        notes.append("Figures of a Shapes layer are not part of it: convert them to labels.")
    fit = replace(inputs.config, per_slice=inputs.scope != "volume" and _is_deep(inputs.image))
    config = BatchConfig(
        job="scribble",
        shape=_shape(inputs.shape),
        evidence=inputs.evidence,
        coupling=inputs.coupling,  # type: ignore[arg-type]  # BatchConfig checks it
        background=1,
        fit=fit,
    )
    return Settings(config, " ".join(notes))


def evaluate_settings(inputs: EvaluateInputs) -> Settings:
    """Return what is chosen in *Evaluate labels*, with the file of the truth.

    Raises
    ------
    InputError
        If the truth is in no file.
    """
    truth = inputs.truth
    if truth is None:
        raise InputError("Choose the layer of the truth, which a recipe names, then save.")
    path = truth.source.path
    if path is None:
        raise InputError(
            f"Layer '{truth.name}' is in no file, so no recipe can name it. Save it (File > Save "
            "Selected Layers), open the file, and choose that layer as truth."
        )
    config = BatchConfig(job="evaluate", truth=path, ignore=inputs.ignore, border=inputs.border)
    return Settings(config)


def _shape(shape: str) -> Any:
    """Refuse masks that no shape is fitted to."""
    if shape == "none":
        raise InputError(
            'The shape is "None (evidence alone)", which batch does not do. Choose a shape, such '
            'as "Free (no promise)".'
        )
    return shape


def _is_deep(layer: Any) -> bool:
    """Whether a layer has several slices."""
    return layer is not None and layer.ndim > 2
