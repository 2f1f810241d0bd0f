"""What a package of another program says of its model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_implicitseg.models.bioimage.foreign import ForeignModel

__all__ = ["foreign_card"]


def foreign_card(model: ForeignModel) -> str:
    """Write the card of a model of another program, as far as its package tells.

    Parameters
    ----------
    model : ForeignModel

    Returns
    -------
    str
        Markdown.
    """
    told = model.training
    parts = [f"# {model.name}", str(told.get("description", "")), "## Network"]
    parts.append("\n".join(f"- {name}: {value}" for name, value in _network(model)))
    parts.append("## Origin")
    parts.append("\n".join(f"- {name}: {value}" for name, value in _origin(told)))
    return "\n\n".join(part for part in parts if part) + "\n"


def _network(model: ForeignModel) -> Iterator[tuple[str, str]]:
    """Tell what the network takes and gives."""
    meaning = model.meaning
    size = " x ".join(f"{length:g}" for length in model.spacing)
    kind = "affinities"
    if meaning.boundaries:
        kind = "boundaries, from which affinities are made"
    yield "Axes", ", ".join(model.given.spatial)
    yield "Channels of the image", str(model.channels)
    yield "Voxel size", f"{size} {model.unit}" if model.unit else "not told"
    yield "Output", f"{kind}, of channel {', '.join(map(str, meaning.channels))}"
    yield "Offsets", ", ".join(map(str, meaning.offsets))
    yield "1 means", _ones(model)


def _ones(model: ForeignModel) -> str:
    if model.meaning.boundaries:
        return "boundary" if model.meaning.repulsive else "inside"
    return "two objects" if model.meaning.repulsive else "one object"


def _origin(told: Any) -> Iterator[tuple[str, str]]:
    """Tell who made the model, under which licence."""
    authors = [a.get("name", "") for a in told.get("authors", ()) if isinstance(a, dict)]
    yield "Authors", ", ".join(authors) or "not told"
    yield "Licence", str(told.get("license", "not told"))
    for paper in told.get("cite", ()):
        if isinstance(paper, dict):
            yield "Paper", f"{paper.get('text', '')} {paper.get('doi') or paper.get('url', '')}"
