"""Pictures of an evaluation of classes: the confusion matrix, and the worst images."""

from __future__ import annotations

import colorsys
import heapq
import warnings
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_implicitseg.confusion import SemanticEvaluation
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = [
    "WorstImages",
    "class_colours",
    "draw_confusion",
    "draw_pictures",
    "side_by_side",
    "write_confusion",
]

_GAP = 4
_DPI, _DPI_PICTURES = 150, 100
_LONGEST, _LONGEST_TITLE = 40, 60
# Inches.
_WIDE = 8.0
_LARGEST = 1200
# Cells are labelled with numbers while there is room for them.
_MOST_NUMBERED = 20


def class_colours(count: int) -> NDArray[np.uint8]:
    """Return a colour for each class, and black for 0, shape (count + 1, 3)."""
    # By the golden section, so that neighbours differ however many there are.
    hues = [(0.58 + i * 0.618034) % 1 for i in range(count)]
    colours = [(0.0, 0.0, 0.0), *(colorsys.hsv_to_rgb(h, 0.65, 0.95) for h in hues)]
    return np.asarray(np.round(255 * np.asarray(colours)), np.uint8)


def write_confusion(
    path: Path, evaluation: SemanticEvaluation, *, title: str = "", overwrite: bool = False
) -> None:
    """Write the picture of `draw_confusion`.

    Parameters
    ----------
    path : Path
    evaluation, title
        See `draw_confusion`.
    overwrite : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    OutputExistsError, FileError
        If it cannot be written.
    """
    with replace_file(path, overwrite=overwrite) as temporary, temporary.open("wb") as file:
        draw_confusion(evaluation, title=title)(file)


def draw_confusion(
    evaluation: SemanticEvaluation, *, title: str = ""
) -> Callable[[IO[bytes]], None]:
    """Draw the confusion matrix as PNG: rows true, columns predicted, shares of each row.

    Parameters
    ----------
    evaluation : SemanticEvaluation
    title : str

    Returns
    -------
    callable
        Draws it into a file that is open for bytes.
    """

    def draw(file: IO[bytes]) -> None:
        from matplotlib.figure import Figure

        matrix, names = evaluation.matrix, [_short(name) for name in evaluation.classes]
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        side = 2.5 + 0.6 * min(len(names), 30)
        figure = Figure(figsize=(side + 1, side), layout="constrained")
        axes = figure.add_subplot()
        drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        # A name may have dollars, which mean mathematics otherwise.
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        rows = [
            f"{name} ({share:.1%})"
            for name, share in zip(names, evaluation.shares.values(), strict=True)
        ]
        axes.set_yticks(range(len(names)), rows, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true (share of pixels)")
        figure.colorbar(drawn, label="share of the true pixels")
        text = f"accuracy {evaluation.accuracy:.3f}, mean IoU {evaluation.iou:.3f}"
        full = f"{_short(title, _LONGEST_TITLE)}\n{text}" if title else text
        axes.set_title(full, fontsize="medium", parse_math=False)
        if len(names) <= _MOST_NUMBERED:
            for (row, column), share in np.ndenumerate(shares):
                shade = "white" if share > 0.5 else "black"
                label = f"{share:.2f}\n{matrix[row, column]:,}"
                axes.text(column, row, label, ha="center", va="center", color=shade, fontsize=7)
        _save(figure, file)

    return draw


def draw_pictures(pictures: Mapping[str, NDArray[np.uint8]]) -> Callable[[IO[bytes]], None]:
    """Draw pictures below each other as PNG, such as those of `side_by_side`.

    Parameters
    ----------
    pictures : mapping of str to ndarray of uint8, shape (Y, X, 3)
        By title.

    Returns
    -------
    callable
        Draws them into a file that is open for bytes.
    """

    def draw(file: IO[bytes]) -> None:
        from matplotlib.figure import Figure

        heights = [_WIDE * p.shape[0] / p.shape[1] + 0.3 for p in pictures.values()]
        figure = Figure(figsize=(_WIDE, sum(heights)), layout="constrained")
        places = figure.subplots(len(pictures), 1, squeeze=False, height_ratios=heights).ravel()
        for axes, (title, picture) in zip(places, pictures.items(), strict=True):
            axes.imshow(picture)
            axes.set_title(_short(title, _LONGEST_TITLE), fontsize="medium", parse_math=False)
            axes.set_axis_off()
        _save(figure, file, _DPI_PICTURES)

    return draw


def side_by_side(
    raw: NDArray[Any], truth: NDArray[Any], found: NDArray[Any], count: int
) -> NDArray[np.uint8]:
    """Return image, truth and prediction beside each other.

    Parameters
    ----------
    raw : ndarray, shape (C, *S)
        Of stacks the section with the most mistakes is shown.
    truth, found : ndarray of integers, shape (*S)
        Classes from 1. Where the truth is 0 it is black, and the prediction dark.
    count : int
        Of classes.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    if truth.ndim == 3:
        wrong = ((truth != found) & (truth != 0)).sum(axis=(1, 2))
        z = int(wrong.argmax())
        raw, truth, found = raw[:, z], truth[z], found[z]
    step = max(1, -(-max(truth.shape) // _LARGEST))
    raw, truth, found = raw[:, ::step, ::step], truth[::step, ::step], found[::step, ::step]
    palette = class_colours(count)
    predicted = palette[found]
    predicted[truth == 0] //= 3
    gap = np.full((len(truth), _GAP, 3), 255, np.uint8)
    return np.concatenate([_shown(raw), gap, palette[truth], gap, predicted], axis=1)


def _save(figure: Figure, file: IO[bytes], dpi: int = _DPI) -> None:
    """Draw a figure into a file."""
    with warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(file, format="png", dpi=dpi)


def _short(name: str, most: int = _LONGEST) -> str:
    """Cut a name that would leave no room for the picture."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


class WorstImages:
    """Keeps pictures of the images of the lowest mean IoU; `seen` of `evaluate_semantic`.

    Parameters
    ----------
    count : int
        How many.
    classes : int
    """

    def __init__(self, count: int, classes: int) -> None:
        self._count, self._classes = count, classes
        self._kept: list[tuple[float, int, str, NDArray[np.uint8]]] = []
        self._number = 0

    def __call__(
        self,
        volume: TrainingVolume,
        truth: NDArray[Any],
        found: NDArray[Any],
        figures: SemanticEvaluation,
    ) -> None:
        """Look at an image."""
        self._number += 1
        iou = figures.iou
        if len(self._kept) == self._count and -self._kept[0][0] <= iou:
            return
        raw = np.asarray(volume.raw[...])
        picture = side_by_side(raw, truth, found, self._classes)
        entry = (-iou, self._number, figures.images[0].name, picture)
        if len(self._kept) < self._count:
            heapq.heappush(self._kept, entry)
        else:
            heapq.heapreplace(self._kept, entry)

    def write(self, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Write the pictures, the worst first, and return their paths.

        Raises
        ------
        OutputExistsError, FileError
            If they cannot be written.
        """
        from PIL import Image

        paths = []
        order = sorted(self._kept, key=lambda entry: (-entry[0], entry[1]))
        for place, (_, _, name, picture) in enumerate(order, start=1):
            path = folder / f"worst_{place:02d}_{_plain(name)}.png"
            with replace_file(path, overwrite=overwrite) as temporary:
                Image.fromarray(picture).save(temporary, format="PNG")
            paths.append(path)
        return paths


def _shown(raw: NDArray[Any]) -> NDArray[np.uint8]:
    """Return grey levels or colours as a picture, stretched between percentiles."""
    channels = (raw[:3] if len(raw) >= 3 else np.repeat(raw[:1], 3, axis=0)).astype(np.float32)
    low, high = np.percentile(channels, (0.5, 99.5))
    scaled = (channels - low) / max(float(high - low), 1e-6)
    picture: NDArray[np.uint8] = np.moveaxis(np.clip(255 * scaled, 0, 255), 0, -1).astype(np.uint8)
    return picture


def _plain(name: str) -> str:
    """Make a name of a file of one of an image."""
    stem: Sequence[str] = name.strip("'").rsplit("/", 1)[-1].rsplit(".", 1)[:1]
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in stem[0])
