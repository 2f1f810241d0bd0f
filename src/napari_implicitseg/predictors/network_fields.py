"""Reading descriptions of networks: every field checked, nothing executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_implicitseg.errors import InputError

__all__ = ["axis_tuples", "check_choice", "check_count", "check_counts", "take_fields"]


def take_fields(
    data: Any, what: str, needed: Sequence[str], optional: Sequence[str]
) -> dict[str, Any]:
    """Return the fields of a description, lists turned into tuples.

    Parameters
    ----------
    data : Mapping
    what : str
        What it describes, for messages.
    needed, optional : sequence of str
        Names of fields.

    Raises
    ------
    InputError
        If it is no mapping, a field is missing or there is one too many.
    """
    if not isinstance(data, Mapping):
        raise InputError(
            f"The description of a {what} is {_shown(data)}; needed is a mapping of its fields."
        )
    missing = [name for name in needed if name not in data]
    if missing:
        raise InputError(f"The description of a {what} lacks '{missing[0]}'. Add it.")
    unknown = [name for name in data if name not in (*needed, *optional)]
    if unknown:
        known = ", ".join((*needed, *optional))
        raise InputError(
            f"The description of a {what} has the unknown field {_shown(unknown[0])}; known are "
            f"{known}. It may come from a newer version."
        )
    return {name: _frozen(value) for name, value in data.items()}


def check_count(name: str, value: Any, low: int, high: int) -> int:
    """Return a whole number in a range, or raise `InputError` naming the field."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} is {_shown(value)}; needed is a whole number, {low} to {high}.")
    return value


def check_counts(name: str, value: Any, length: int | None, low: int, high: int) -> tuple[int, ...]:
    """Return a tuple of whole numbers in a range, of a given length if any."""
    if not isinstance(value, tuple | list) or not value or length not in (None, len(value)):
        count = "some" if length is None else length
        raise InputError(f"{name} is {_shown(value)}; needed are {count} whole numbers.")
    return tuple(check_count(f"{name}[{i}]", n, low, high) for i, n in enumerate(value))


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `InputError` naming the field unless the value is one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name} is {_shown(value)}; choose one of {', '.join(choices)}.")


def axis_tuples(
    name: str, value: Any, count: int, ndim: int, *, low: int, high: int, odd: bool = False
) -> tuple[tuple[int, ...], ...]:
    """Return one tuple of `ndim` numbers for each of `count` levels."""
    if not isinstance(value, tuple | list) or len(value) != count:
        raise InputError(
            f"{name} is {_shown(value)}; needed are {count}, each with one number for each of "
            f"{ndim} axes."
        )
    out = tuple(check_counts(f"{name}[{i}]", v, ndim, low, high) for i, v in enumerate(value))
    for i, sides in enumerate(out):
        if odd and any(side % 2 == 0 for side in sides):
            raise InputError(f"{name}[{i}] is {sides}; the sides of kernels are odd.")
    return out


def _frozen(value: Any) -> Any:
    """Turn lists into tuples, all the way down."""
    return tuple(_frozen(v) for v in value) if isinstance(value, list | tuple) else value


def _shown(value: Any) -> str:
    """Show a value in a message, cut short."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
