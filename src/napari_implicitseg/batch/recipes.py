"""Recipes: the options of a job over blocks in a YAML file, as the widgets write them."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import replace_file
from napari_implicitseg.batch.config import BatchConfig
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    import os

__all__ = ["Recipe", "read_recipe", "write_recipe"]

_WHERE = ("source", "target")
_KNOWN_BY_MORE = ("model", "block_shape", "halo", "truth")
"""Options that a job knows by more than their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a YAML file says of a job.

    Attributes
    ----------
    options : dict
        By names of `BatchConfig`.
    source, target : str or None
    """

    options: dict[str, Any]
    source: str | None = None
    target: str | None = None

    def config(self, **more: Any) -> BatchConfig:
        """Return the options of the job; those given go before those of the file."""
        return BatchConfig(**{**self.options, **more})


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a YAML file with the options of a job by the names of `BatchConfig`.

    It may name the `source` and the `target`, too; such paths count from where the command runs.

    Raises
    ------
    FileError
        If it cannot be read, or is no mapping.
    InputError
        If it has an option that is not known.
    """
    import yaml

    if not Path(path).is_file():
        raise FileError(f"The recipe '{path}' does not exist. Check the name and the folder.")
    try:
        text = Path(path).read_text(encoding="utf-8")
        document = yaml.safe_load(text)
        twice = _said_twice(yaml.compose(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise FileError(f"'{path}' is no text, and so no recipe. Choose a YAML file.") from error
    except (OSError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"'{path}' cannot be read as YAML: {reason}. Mend it.") from error
    if not isinstance(document, dict):
        raise FileError(
            f"'{path}' holds no options; write lines such as 'job: segment' and 'threshold: 0.5'."
        )
    if twice:
        raise FileError(f"'{path}' says '{twice}' twice. Take one of them out.")
    known = {field.name for field in fields(BatchConfig)}
    options = {str(k).replace("-", "_"): v for k, v in document.items()}
    unknown = sorted(set(options) - known - set(_WHERE))
    if unknown:
        near = difflib.get_close_matches(unknown[0], [*known, *_WHERE], 1)
        meant = f"did you mean '{near[0]}'?" if near else "batch --help lists all."
        raise InputError(f"'{path}' has the option '{unknown[0]}', which no job knows: {meant}")
    where = {name: options.pop(name, None) for name in _WHERE}
    for name, value in where.items():
        if not isinstance(value, str | None):
            raise InputError(f"'{path}' says that the {name} is {value!r}; give a path.")
    return Recipe(options=options, **where)


def _said_twice(node: Any) -> str:
    """Name an option that a document, or what is nested in it, gives twice; "" if there is none."""
    if getattr(node, "id", "") != "mapping":
        return ""
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value).replace("-", "_")
        found = name if name in seen else _said_twice(value)
        if found:
            return found
        seen.add(name)
    return ""


def write_recipe(
    path: str | os.PathLike[str],
    config: BatchConfig,
    *,
    source: str | None = None,
    target: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write the options of a job into a YAML file: those that it looks at, also the default ones.

    Parameters
    ----------
    path : path
    config : BatchConfig
    source, target : str, optional
        Named in the file if they are given.
    overwrite : bool
        Whether a file that is there is replaced.

    Raises
    ------
    OutputExistsError
        If the file is there.
    FileError
        If it cannot be written.
    """
    import yaml

    document = {"job": config.job, "source": source, "target": target, **_options(config)}
    # What is None by default need not be said.
    usual = {field.name: field.default for field in fields(BatchConfig)}
    said = {k: v for k, v in document.items() if v is not None or usual.get(k) is not None}
    text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True)
    file = Path(path)
    with replace_file(file, overwrite=overwrite) as temporary:
        temporary.write_text(
            f"# Run it with: napari-implicitseg batch {file.name} {_places(config)}\n{text}",
            encoding="utf-8",
        )


def _places(config: BatchConfig) -> str:
    """Return the flags a command needs beside a recipe."""
    if config.job == "evaluate":
        return "--source LABELS --target FIGURES.json"
    what = "LABELS" if config.job == "repair" else "VOLUME"
    return f"--source {what} --target RESULT.zarr"


def _options(config: BatchConfig) -> dict[str, Any]:
    """Return the options the job looks at, as YAML writes them best."""
    known = [name for name in _KNOWN_BY_MORE if name not in config.unused()]
    chosen = {**config.matters(), **{name: getattr(config, name) for name in known}}
    chosen = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items() if k != "job"}
    if "fit" in chosen:
        usual = asdict(BatchConfig().fit)
        fit = {k: v for k, v in asdict(config.fit).items() if v != usual[k]}
        chosen["fit"] = {k: list(v) if isinstance(v, tuple) else v for k, v in fit.items()}
    return chosen
