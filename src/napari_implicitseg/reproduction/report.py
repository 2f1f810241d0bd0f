"""What a reproduction has to say: tables, sentences, settings and pictures."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING, Any

from napari_implicitseg.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Finding", "Report", "Table", "number", "signed"]


def number(value: float | None) -> str:
    """Three digits, or a dash for what the paper does not say."""
    return "-" if value is None else f"{value:.3f}"


def signed(value: float) -> str:
    """Three digits and a sign."""
    return f"{value:+.3f}"


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : tuple of tuple of str
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        return "\n".join([f"### {self.title}", "", *(f"| {' | '.join(c)} |" for c in lines), ""])


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence on what was claimed or wanted, and whether it held.

    Attributes
    ----------
    text : str
    holds : bool
    """

    text: str
    holds: bool

    def __str__(self) -> str:
        """Say it with its mark."""
        return f"{'holds' if self.holds else 'DOES NOT HOLD'}: {self.text}"


@dataclass(slots=True, kw_only=True)
class Report:
    """What a reproduction came to.

    Attributes
    ----------
    name, title : str
    settings : mapping of str to str
        What it was measured on, and how.
    tables : list of Table
    findings : list of Finding
    figures : dict of str to float
        Every number, by a name that stays.
    plots : dict of str to callable
        What draws each picture into a file, as PNG.
    """

    name: str
    title: str
    settings: Mapping[str, str]
    tables: list[Table] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    plots: dict[str, Callable[[IO[bytes]], None]] = field(default_factory=dict)

    def find(self, text: str, holds: bool) -> None:
        """Add a finding."""
        self.findings.append(Finding(text, bool(holds)))

    def markdown(self) -> str:
        """Return all but the pictures as Markdown."""
        lines = [f"## {self.title}", ""]
        lines += [f"- {name}: {value}" for name, value in self.settings.items()]
        lines += ["", *(table.markdown() for table in self.tables)]
        lines += [f"- {finding}" for finding in self.findings]
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return all but the pictures as JSON values."""
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "figures": self.figures,
            "findings": [asdict(finding) for finding in self.findings],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write Markdown, JSON and PNGs into a folder; returns the paths.

        Raises
        ------
        FileError
            If the folder cannot be written.
        """
        files = {
            f"{self.name}.md": self.markdown().encode(),
            f"{self.name}.json": (json.dumps(self.as_json(), indent=1) + "\n").encode(),
        }
        # All is drawn before anything is written.
        files |= {f"{name}.png": _drawn(draw) for name, draw in self.plots.items()}
        written = []
        for name, content in files.items():
            with replace_file(folder / name, overwrite=True) as temporary:
                temporary.write_bytes(content)
            written.append(folder / name)
        return written


def _drawn(draw: Callable[[IO[bytes]], None]) -> bytes:
    """Draw a picture; returns its PNG."""
    buffer = io.BytesIO()
    draw(buffer)
    return buffer.getvalue()
