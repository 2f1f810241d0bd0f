"""What a fit tells on the terminal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.cli._run import warn
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes import unit_symbol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid

__all__ = ["make", "show"]

_POWERS = {1: "", 2: "²", 3: "³"}


def make(result: FitResult, grid: Grid) -> dict[str, Any]:
    """Return the report of a fit as a document that JSON can hold.

    Parameters
    ----------
    result : FitResult
    grid : Grid
        Voxel size and units of the labels.

    Returns
    -------
    dict
        `objects` lists `id`, `voxels`, `size` (area or volume in `size_unit`),
        `kind`, `holds`, `components`, `repaired` and `detail`.
    """
    ids, counts = np.unique(result.labels[result.labels > 0], return_counts=True)
    voxels = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    spacing = grid.spacing or grid.scale
    report = result.report
    return {
        "spacing": list(spacing),
        "unit": grid.unit,
        "size_unit": _size_unit(grid),
        "seconds": round(float(report.seconds), 4),
        "evidence_weights": {k: round(float(v), 4) for k, v in report.evidence_weights.items()},
        "ignored_voxels": int(report.ignored_voxels),
        "objects": [
            {
                "id": int(label),
                "voxels": voxels.get(int(label), 0),
                "size": voxels.get(int(label), 0) * math.prod(spacing),
                "kind": seen.kind,
                "holds": bool(seen.holds),
                "components": int(seen.components),
                "repaired": int(seen.repaired),
                "detail": seen.detail,
            }
            for label, seen in sorted(result.certificates.items())
        ],
        "unsatisfied": [
            {
                "label": int(stroke.label),
                "got": int(stroke.got),
                "voxels": int(stroke.voxels),
                "position": [int(i) for i in stroke.position],
                "message": str(stroke),
            }
            for stroke in report.unsatisfied
        ],
        "warnings": list(report.warnings),
    }


def show(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a report: results on stdout, warnings on stderr."""
    for message in report["warnings"]:
        warn(message)
    text = json.dumps(report, ensure_ascii=False) if as_json else _text(report)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise  # The reader has heard enough; typer leaves quietly.
    except OSError as error:
        raise FileError(
            f"The report cannot be printed: {error.strerror}. "
            f"The masks are in '{report['output']}'."
        ) from error


def _text(report: Mapping[str, Any]) -> str:
    """Return a line per object and one for the whole."""
    lines = [_line(entry, report["size_unit"]) for entry in report["objects"]]
    count = f"{len(lines)} object{'' if len(lines) == 1 else 's'}"
    return "\n".join([*lines, f"{count} in {report['seconds']:.2f} s -> {report['output']}"])


def _line(entry: Mapping[str, Any], unit: str) -> str:
    """Say what is known of an object."""
    size = f", {entry['size']:.6g} {unit}" if unit else ""
    promise = f"{entry['kind']} {'holds' if entry['holds'] else 'does NOT hold'}"
    detail = f" ({entry['detail']})" if entry["detail"] else ""
    return (
        f"{entry['id']}: {entry['voxels']} voxels{size}, {promise}{detail}, "
        f"{entry['repaired']} repaired"
    )


def _size_unit(grid: Grid) -> str:
    """Return the unit of areas or volumes, such as "µm²"; "" if there is none."""
    symbol = unit_symbol(grid.unit)
    if not symbol:
        return ""
    return symbol + _POWERS.get(grid.ndim, f"^{grid.ndim}")
