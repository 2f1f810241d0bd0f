"""Files of a package of the BioImage.IO: a zip archive, or a folder with its description."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import explain
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    import os

__all__ = ["DESCRIPTIONS", "PackageFiles", "is_package"]

DESCRIPTIONS = ("rdf.yaml", "bioimageio.yaml", "model.yaml")
"""Names a description may have."""

_LONGEST_DESCRIPTION = 16 << 20
_MOST_BYTES = 8 << 30


def is_package(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a package, to go by its name or its content.

    Parameters
    ----------
    path : path
        A .zip file, a folder with `rdf.yaml`, or that file itself.
    """
    place = Path(path)
    if place.is_dir():
        return any((place / name).is_file() for name in DESCRIPTIONS)
    return place.suffix.lower() == ".zip" or place.name in DESCRIPTIONS


class PackageFiles:
    """Files of a package, which are only read: nothing is unpacked or executed.

    Parameters
    ----------
    path : path
        A .zip file, a folder with `rdf.yaml`, or that file itself.

    Attributes
    ----------
    path : Path
    names : frozenset of str
        Of files beside the description and below it.
    content : dict
        The description.

    Raises
    ------
    FileError
        If there is no package, or it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.name in DESCRIPTIONS and self.path.is_file():
            self.path = self.path.parent
        self._is_folder = self.path.is_dir()
        self._root, name, names = self._find(self._listed())
        self.names = frozenset(names)
        self.content = self._description(name)

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises
        ------
        FileError
            If it is not there, or damaged.
        """
        clean = str(PurePosixPath(name))
        if clean not in self.names:
            raise FileError(
                f"'{self.path}' has no file '{name}', which its description names. Get the whole "
                "package."
            )
        try:
            if self._is_folder:
                return (self.path / clean).read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                entry = archive.getinfo(f"{self._root}{clean}")
                if entry.file_size > _MOST_BYTES:
                    raise FileError(
                        f"'{clean}' in '{self.path}' has {entry.file_size:,} bytes; at most "
                        f"{_MOST_BYTES:,} are read."
                    )
                return archive.read(entry)
        except OSError as error:
            raise explain(error, self.path, "read") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise FileError(
                f"'{clean}' in '{self.path}' cannot be read: {error}. The package is damaged or "
                "encrypted; get it anew."
            ) from error

    def _listed(self) -> list[str]:
        """List all files by their paths."""
        if self._is_folder:
            found = [p for p in self.path.rglob("*") if p.is_file()]
            return [p.relative_to(self.path).as_posix() for p in found]
        if not self.path.is_file():
            raise FileError(f"The package '{self.path}' is not there. Check the path.")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        except OSError as error:
            raise explain(error, self.path, "read") from error
        except zipfile.BadZipFile as error:
            raise FileError(
                f"'{self.path}' is no zip archive, or cut off ({error}). Get the package anew."
            ) from error

    def _find(self, files: list[str]) -> tuple[str, str, list[str]]:
        """Return the folder of the description, its name, and what lies beside and below it."""
        found = [file for file in files if PurePosixPath(file).name in DESCRIPTIONS]
        if not found:
            raise FileError(
                f"'{self.path}' has no {' or '.join(DESCRIPTIONS)}: it is no package of the "
                "BioImage.IO. Give one, or a model folder."
            )
        file = min(found, key=lambda f: (f.count("/"), DESCRIPTIONS.index(PurePosixPath(f).name)))
        name = PurePosixPath(file).name
        root = file.removesuffix(name)
        return root, name, [f.removeprefix(root) for f in files if f.startswith(root)]

    def _description(self, name: str) -> dict[str, Any]:
        """Read the description."""
        import yaml

        data = self.read(name)
        if len(data) > _LONGEST_DESCRIPTION:
            raise FileError(f"'{name}' in '{self.path}' is too long to be a description.")
        try:
            content = yaml.safe_load(data)
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
            line = " ".join(str(error).split())
            raise FileError(
                f"'{name}' in '{self.path}' is no YAML: {line}. Get the package anew."
            ) from error
        kind = content.get("type") if isinstance(content, dict) else None
        if kind != "model":
            raise FileError(
                f"'{self.path}' describes a {kind or 'thing of no type'}; needed is a model."
            )
        return dict(content)
