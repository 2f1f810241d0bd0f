"""Writing what commands make: all files or none."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid

__all__ = ["Outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files a command writes.

    Attributes
    ----------
    labels : Path
        Of the masks.
    name : str
        What the command calls that argument.
    save_result : Path or None
        Of the shapes, if they are wanted.
    inputs : tuple of Path
        Files that are read, which outputs must not replace.
    overwrite : bool
        Whether files that exist may be replaced.
    """

    labels: Path
    name: str
    save_result: Path | None
    inputs: tuple[Path, ...]
    overwrite: bool

    def check_names(self) -> None:
        """Refuse outputs that cannot be written, by their names."""
        from napari_implicitseg.volumes import check_output

        check_output(self.labels, inputs=self.inputs, overwrite=self.overwrite)
        if self.save_result is None:
            return
        if self.save_result.absolute() == self.labels.absolute():
            raise InputError(
                f"{self.name} and --save-result are both '{self.labels}'. Give two names."
            )
        check_output(
            self.save_result, inputs=self.inputs, overwrite=self.overwrite, any_extension=True
        )

    def check_content(self, grid: Grid, largest: Callable[[], int]) -> None:
        """Refuse outputs that cannot be written, by what they must hold.

        Parameters
        ----------
        grid : Grid
        largest : callable
            Returns the largest id; called where it matters.
        """
        from napari_implicitseg.volumes import check_output

        check_output(
            self.labels,
            overwrite=self.overwrite,
            ndim=grid.ndim,
            largest=largest() if self.labels.suffix.lower() == ".png" else None,
        )

    def write(self, grid: Grid, result: FitResult, *, version: str) -> None:
        """Write the masks, and the shapes if they are wanted: both or neither."""
        from napari_implicitseg.atomic import replace_file
        from napari_implicitseg.volumes import write_labels

        with ExitStack() as stack:
            if self.save_result is not None:
                temporary = stack.enter_context(
                    replace_file(self.save_result, overwrite=self.overwrite)
                )
                result.save(temporary)
            write_labels(
                self.labels,
                result.labels,
                grid,
                overwrite=self.overwrite,
                version=version,
                properties=_properties(result),
            )


def _properties(result: FitResult) -> Mapping[int, Mapping[str, Any]]:
    """Return what OME-Zarr is to say about each object."""
    agreement = result.report.agreement
    return {
        label: {
            "kind": seen.kind,
            "holds": bool(seen.holds),
            "repaired": int(seen.repaired),
            **({"agreement": round(float(agreement[label]), 4)} if label in agreement else {}),
        }
        for label, seen in result.certificates.items()
    }
