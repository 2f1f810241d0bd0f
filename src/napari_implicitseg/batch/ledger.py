"""What of a job is done: a record for each block and stage, written after its data is safe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import explain, flush_file, flush_folder, replace_file
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Ledger", "flush", "flush_tree"]

_ABOUT = "config.json"
_FORMAT = "napari-implicitseg/job/1"
_MOST_NAMED = 4
_NONE: Mapping[str, Any] = MappingProxyType({})


class Ledger:
    """Records of a job in a folder, which workers of any machine may write to.

    A record is a small JSON file with a digest of itself: one that is torn, or of something
    else, counts as not there, and so its block is done again.

    Parameters
    ----------
    folder : path
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def begin(
        self, about: Mapping[str, Any], *, restart: bool = False, late: Mapping[str, Any] = _NONE
    ) -> bool:
        """Begin a job, or go on with it.

        Parameters
        ----------
        about : mapping
            What the result depends on: options and source, as JSON can hold it.
        restart : bool
            Forget what was done; all of it, unless nothing but `late` options changed.
        late : mapping of str to sequence of str
            Options that early stages do not depend on, such as "config.threshold", and the
            records that do: "STAGE" or "STAGE/NAME".

        Returns
        -------
        bool
            Whether there was such a job before.

        Raises
        ------
        InputError
            If the job there depends on something else; the difference is named.
        FileError
            If the folder cannot be written.
        """
        wanted = json.loads(json.dumps(about))
        path = self.folder / _ABOUT
        found = _read(path)
        changes = self.changes(about)
        if restart and found is not None:
            changed = [text.split(" ", maxsplit=1)[0] for text in changes]
            if changed and set(changed) <= set(late):
                self._forget({record for option in changed for record in late[option]})
                _write(path, wanted)
                return True
        # Without this document nobody knows what the records are of.
        if self.folder.exists() and (restart or found is None):
            self._empty()
            found = None
        if found is not None:
            if changes:
                raise InputError(
                    f"'{self.folder}' was begun with another configuration or source: "
                    f"{'; '.join(changes[:_MOST_NAMED])}. Use those, write to another target, or "
                    "begin anew with restart (--restart)."
                )
            return True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, self.folder, "write") from error
        _write(path, wanted)
        return False

    def changes(self, about: Mapping[str, Any]) -> list[str]:
        """Return how a job differs from the one that was begun here; empty if none was."""
        found = _read(self.folder / _ABOUT)
        return [] if found is None else _differences(found, json.loads(json.dumps(about)))

    def _empty(self) -> None:
        """Remove all that is there but the folder, by which the job is known.

        The document goes first: whatever an interruption leaves counts as nothing then.
        """
        path = self.folder / _ABOUT
        try:
            path.unlink(missing_ok=True)
            flush([self.folder])
            for entry in list(self.folder.iterdir()):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as error:
            raise explain(error, self.folder, "write") from error

    def _forget(self, records: Iterable[str]) -> None:
        """Remove records of stages, with what follows a colon in their names, or single ones."""
        for record in records:
            stage, _, name = record.partition("/")
            done = self.folder / "done"
            for folder in done.iterdir() if done.is_dir() else ():
                if folder.name.split(":", maxsplit=1)[0] != stage:
                    continue
                try:
                    if name:
                        (folder / f"{name}.json").unlink(missing_ok=True)
                    else:
                        shutil.rmtree(folder)
                except OSError as error:
                    raise explain(error, folder, "write") from error

    def about(self) -> dict[str, Any]:
        """Return what the job that was begun depends on; nothing if none was."""
        return _read(self.folder / _ABOUT) or {}

    def get(self, stage: str, name: str) -> dict[str, Any] | None:
        """Return the record of a block, or None if it is not done."""
        return _read(self.folder / "done" / stage / f"{name}.json")

    def all(self, stage: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the records of those of some blocks that are done."""
        folder = self.folder / "done" / stage
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        found = {n: _read(folder / f"{n}.json") for n in names if f"{n}.json" in there}
        return {name: record for name, record in found.items() if record is not None}

    def record(self, stage: str, name: str, content: Mapping[str, Any]) -> None:
        """Write down that a block is done; its data must be on the disk by now."""
        folder = self.folder / "done" / stage
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain(error, folder, "write") from error
        _write(folder / f"{name}.json", content)


def flush(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Wait until files or folders, and their names, are on the disk; others are left out."""
    folders = set()
    for path in map(Path, paths):
        if path.is_dir():
            folders.add(path)
        elif path.exists():
            flush_file(path)
        else:
            continue
        folders.add(path.parent)
    for folder in folders:
        flush_folder(folder)


def flush_tree(folder: str | os.PathLike[str]) -> None:
    """Wait until all files below a folder are on the disk."""
    flush(Path(root, name) for root, _, names in os.walk(folder) for name in names)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document with its digest in one step."""
    plain = json.loads(json.dumps(content))
    document = {"format": _FORMAT, "digest": _digest(plain), "content": plain}
    with replace_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a document, or None if it is not there, torn or something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        content = document["content"]
        whole = document["format"] == _FORMAT and document["digest"] == _digest(content)
    except (OSError, ValueError, TypeError, LookupError):
        return None
    return content if whole and isinstance(content, dict) else None


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Name what differs between two documents."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        return [
            text
            for key in keys
            for text in _differences(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if found == wanted else [f"{name} was {_short(found)}, now {_short(wanted)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
