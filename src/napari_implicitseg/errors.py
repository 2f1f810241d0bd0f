"""The errors this package raises towards its users.

Every message says what was got, what was needed and what to do, and names the
layer or file it speaks of, so that the widget and the command line can show it
as it is.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "FileError",
    "ImplicitSegError",
    "InputError",
    "OutputExistsError",
    "ScribbleError",
]


class ImplicitSegError(Exception):
    """Base of all errors a user of this package can mend."""


class InputError(ImplicitSegError, ValueError):
    """An array or an option has the wrong shape, type or value."""


class ScribbleError(InputError):
    """The scribbles cannot be fitted: none, only background, contradictory."""


class FileError(ImplicitSegError):
    """A file cannot be read or written."""


class OutputExistsError(FileError):
    """The output is already there and overwriting was not asked for."""


class Cancelled(ImplicitSegError):
    """A progress callback asked to stop; nothing was written."""
