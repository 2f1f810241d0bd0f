"""What a model of classes tells of its own training: how masks were read, what was held out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.training.held_parts import part_of, split_name
from napari_implicitseg.training.image_names import KnownNames
from napari_implicitseg.training.semantic_split import list_some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = ["Past"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The training of a model, as far as it matters for measuring.

    Attributes
    ----------
    model : str
        Its name.
    colours : bool
        Whether masks were colours.
    ignore : int or None
        What said nothing in them.
    has_values : bool
        Whether it was said which values are classes; others said nothing, then.
    held : tuple of str
        Short names of what was held out.
    taught : tuple of str
        Of what was learned from.
    """

    model: str
    colours: bool
    ignore: int | None
    has_values: bool
    held: tuple[str, ...]
    taught: tuple[str, ...]

    @classmethod
    def of(cls, model: SemanticModel) -> Past:
        """Read what a model tells, which may have been edited.

        Raises
        ------
        FileError
            If it is not what a training writes.
        """
        told = model.training
        config = _checked(model, "config", told.get("config") or {}, dict)
        held = _checked(model, "held_out", told.get("held_out") or [], list | tuple)
        taught = _checked(model, "volumes", told.get("volumes") or [], list | tuple)
        return cls(
            model=model.name,
            colours=_checked(model, "config.colours", config.get("colours") or False, bool),
            ignore=_checked(model, "config.ignore", config.get("ignore"), int | None),
            has_values=_checked(model, "config.values", config.get("values"), list | tuple | None)
            is not None,
            held=tuple(_checked(model, "held_out", name, str) for name in held),
            taught=tuple(
                str(_checked(model, "volumes", volume, dict).get("name", "")) for volume in taught
            ),
        )

    def held_among(self, names: Sequence[str]) -> list[str]:
        """List those of some images that the training held out, whole or in part.

        Parameters
        ----------
        names : sequence of str
            Paths in quotes, or numbers of arrays.

        Raises
        ------
        InputError
            If there is none, or names do not tell which.
        """
        return [*self._windows(names)]

    def parts(
        self, volumes: Sequence[TrainingVolume], names: Sequence[str]
    ) -> tuple[TrainingVolume, ...]:
        """Return what was held out of images that `held_among` has listed."""
        windows = self._windows(names)
        parts = []
        for volume in volumes:
            cuts = windows[volume.name]
            axes = zip("zyx"[-len(volume.shape) :], volume.shape, strict=True)
            spans = (cuts.get(axis, (0, n - 1)) for axis, n in axes)
            window = tuple(slice(first, last + 1) for first, last in spans)
            parts.append(part_of(volume, window) if cuts else volume)
        return tuple(parts)

    def _windows(self, names: Sequence[str]) -> dict[str, dict[str, tuple[int, int]]]:
        """Return which images were held out, and which part of them."""
        learned, known = Counter(self.taught), KnownNames(names)
        found: dict[str, dict[str, tuple[int, int]]] = {}
        for told in self.held:
            whole, cuts = split_name(told)
            may_be = known.matching(whole)
            # The rest of an image of which a part is held out is learned from.
            if may_be and learned[whole] > bool(cuts):
                raise InputError(
                    f"The training of '{self.model}' held out {whole}, and learned from another "
                    "image of this name. Give what was held out by itself, without held_out "
                    "(--held-out)."
                )
            if len(may_be) > 1:
                raise InputError(
                    f"The training of '{self.model}' held out {whole}, which may be "
                    f"{' or '.join(may_be)}. Give the images it was trained with, or that one by "
                    "itself, without held_out (--held-out)."
                )
            found |= {name: cuts for name in may_be}
        if not found:
            held = list_some(sorted(split_name(told)[0] for told in self.held))
            what = (
                "The image is not one"
                if len(names) == 1
                else f"None of the {len(names)} images is one"
            )
            raise InputError(
                f"{what} that the training of '{self.model}' held out "
                f"({held or 'it held out none'}). Give the images it was trained with, or measure "
                "all."
            )
        return found


def _checked(model: SemanticModel, field: str, value: Any, wanted: Any) -> Any:
    """Return a field of a description, if it is of the type that a training writes."""
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise FileError(
            f"The model '{model.name}' is damaged: training.{field} in its description is "
            f"{value!r:.80}. Train or copy it anew."
        )
    return value
