"""What a fit tells on the terminal."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from napari_implicitseg.cli._run import warn
from napari_implicitseg.errors import FileError
from napari_implicitseg.ids import count_voxels
from napari_implicitseg.volumes import unit_symbol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.results import FitResult
    from napari_implicitseg.volumes import Grid

__all__ = ["make", "make_repair", "show"]

# A terminal is not the place for hundreds of lines.
_MANY, _WORST = 50, 20
_MOST_WARNINGS = 20
_POWERS = {1: "", 2: "²", 3: "³"}


def make(result: FitResult, grid: Grid, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the report of a fit as a document that JSON can hold.

    Parameters
    ----------
    result : FitResult
    grid : Grid
        Voxel size and units of the labels.
    warnings : sequence of str
        What there is to say besides the report's own.

    Returns
    -------
    dict
        `objects` lists `id`, `voxels`, `size` (area or volume in `size_unit`),
        `kind`, `holds`, `components`, `repaired` and `detail`.
    """
    voxels = count_voxels(result.labels)
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
        "warnings": [*warnings, *report.warnings],
    }


def make_repair(
    result: FitResult, grid: Grid, before: Mapping[int, int], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the report of a repair as a document that JSON can hold.

    Parameters
    ----------
    result : FitResult
    grid : Grid
        Voxel size and units of the labels.
    before : mapping of int to int
        Voxels each object had.
    warnings : sequence of str
        What there is to say besides the report's own.

    Returns
    -------
    dict
        `objects` lists by `id` the `voxels_before` and `voxels_after`, `size_after`
        (area or volume in `size_unit`), `agreement` (IoU of before and after),
        `kind`, `holds`, `components`, `repaired` and `detail`; `unchanged` the ids
        that were too small.
    """
    after = count_voxels(result.labels)
    spacing = grid.spacing or grid.scale
    report = result.report
    return {
        "spacing": list(spacing),
        "unit": grid.unit,
        "size_unit": _size_unit(grid),
        "seconds": round(float(report.seconds), 4),
        "objects": [
            {
                "id": int(label),
                "voxels_before": before.get(int(label), 0),
                "voxels_after": after.get(int(label), 0),
                "size_after": after.get(int(label), 0) * math.prod(spacing),
                "agreement": round(float(report.agreement.get(label, 1.0)), 4),
                "kind": seen.kind,
                "holds": bool(seen.holds),
                "components": int(seen.components),
                "repaired": int(seen.repaired),
                "detail": seen.detail,
            }
            for label, seen in sorted(result.certificates.items())
        ],
        "unchanged": [int(label) for label in report.unchanged],
        "warnings": [*warnings, *report.warnings],
    }


def show(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a report: results on stdout, warnings on stderr."""
    for message in report["warnings"][:_MOST_WARNINGS]:
        warn(message)
    more = len(report["warnings"]) - _MOST_WARNINGS
    if more > 0:
        warn(f"{more} more warnings; --json lists all.")
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
    if "unchanged" in report:
        return _repair_text(report)
    lines = [_line(entry, report["size_unit"]) for entry in report["objects"]]
    return "\n".join([*lines, f"{_count(len(lines))} {_end(report)}"])


def _repair_text(report: Mapping[str, Any]) -> str:
    """Return a line per object, the least like it was first, and one for the whole."""
    left = set(report["unchanged"])
    objects = sorted(report["objects"], key=lambda entry: entry["agreement"])
    # Too small in some slices only is no reason to say nothing of the others.
    same = {e["id"] for e in objects if e["id"] in left and e["agreement"] == 1}
    lines = [_repair_line(entry, report["size_unit"], entry["id"] in same) for entry in objects]
    if len(lines) > _MANY:
        rest = f"... {len(lines) - _WORST} more, of agreement {objects[_WORST]['agreement']:.3f} "
        lines = [*lines[:_WORST], rest + "and above (--json lists all)"]
    summary = f"{_count(len(objects) - len(same))} repaired"
    gone = sum(not entry["voxels_after"] for entry in objects)
    if gone:
        summary += f", {gone} of them with nothing left"
    broken = sum(not entry["holds"] for entry in objects if entry["id"] not in same)
    if broken:
        summary += f", {broken} of them not as promised"
    if same:
        summary += f", {len(same)} too small and left as before"
    return "\n".join([*lines, f"{summary} {_end(report)}"])


def _repair_line(entry: Mapping[str, Any], unit: str, left: bool) -> str:
    """Say what became of an object."""
    if left:
        return f"{entry['id']}: {entry['voxels_after']} voxels, too small, left as before"
    if not entry["voxels_after"]:
        return f"{entry['id']}: agreement 0.000, {entry['voxels_before']} -> 0 voxels, NOTHING left"
    size = f", {entry['size_after']:.6g} {unit}" if unit else ""
    return (
        f"{entry['id']}: agreement {entry['agreement']:.3f}, "
        f"{entry['voxels_before']} -> {entry['voxels_after']} voxels{size}, {_promise(entry)}"
    )


def _count(number: int) -> str:
    """Say how many objects there are."""
    return f"{number} object{'' if number == 1 else 's'}"


def _end(report: Mapping[str, Any]) -> str:
    """Say how long it took and where the masks are."""
    return f"in {report['seconds']:.2f} s -> {report['output']}"


def _line(entry: Mapping[str, Any], unit: str) -> str:
    """Say what is known of an object."""
    size = f", {entry['size']:.6g} {unit}" if unit else ""
    return f"{entry['id']}: {entry['voxels']} voxels{size}, {_promise(entry)}"


def _promise(entry: Mapping[str, Any]) -> str:
    """Say whether an object is what was promised."""
    if entry["kind"] == "none":
        return f"no promise, {entry['components']} piece{'s' * (entry['components'] != 1)}"
    promise = f"{entry['kind']} {'holds' if entry['holds'] else 'does NOT hold'}"
    detail = f" ({entry['detail']})" if entry["detail"] else ""
    return f"{promise}{detail}, {entry['repaired']} repaired"


def _size_unit(grid: Grid) -> str:
    """Return the unit of areas or volumes, such as "µm²"; "" if there is none."""
    symbol = unit_symbol(grid.unit)
    if not symbol:
        return ""
    return symbol + _POWERS.get(grid.ndim, f"^{grid.ndim}")
