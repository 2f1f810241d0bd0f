"""Fits and repairs as users call them: from arrays to masks of a promised shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.call_checks import (
    as_array,
    check_choice,
    checked_config,
    checked_embedding,
    checked_spacing,
    image_array,
    named_source,
)
from napari_implicitseg.config import COUPLINGS, FitConfig, checked_seed
from napari_implicitseg.devices import find_device
from napari_implicitseg.errors import InputError
from napari_implicitseg.features import Reader, find_channel_axis
from napari_implicitseg.fit_setup import FitOptions, Start
from napari_implicitseg.fits import fit_image
from napari_implicitseg.ids import checked_ids, checked_labels
from napari_implicitseg.published_fits import fit_by_schedule
from napari_implicitseg.repairs import repair_labels, repair_slices
from napari_implicitseg.scribbles import read_scribbles
from napari_implicitseg.slice_fits import fit_slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.results import FitResult, Preview

__all__ = ["fit_scribbles", "project_labels"]

_SHAPES = ("convex", "connected", "star", "symmetric", "free")
_EVIDENCE_ALONE = "none"


def fit_scribbles(
    image: Any,
    scribbles: Any,
    *,
    shape: str = "convex",
    evidence: str | NDArray[Any] = "auto",
    coupling: str = "sequential",
    background: int = 1,
    spacing: Sequence[float] | None = None,
    channel_axis: int | None = None,
    warm_start: FitResult | None = None,
    embedding: Any = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    preview: Preview | None = None,
    config: FitConfig | None = None,
) -> FitResult:
    """Fit a mask of a guaranteed shape to every scribbled object of an image.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X), optionally with one channel axis
        NumPy, dask or zarr array of any real dtype; of a large one only the
        surroundings of the scribbles are read at full resolution. NaN and
        infinite voxels are not used.
    scribbles : array of integer, the image's spatial shape
        0 is unlabelled, `background` background, other positive values objects.
    shape : {"convex", "connected", "star", "symmetric", "free", "none"}
        What is promised of each mask: convex, one piece, star-shaped about a
        centre, equal to its mirror image (or what `config` says), or nothing.
        "none" fits no shape: the masks are where the evidence is over one half and
        hangs together with the strokes.
    evidence : str or array
        What tells object from background, one of

        - "histogram": colours under the strokes;
        - "geodesic": distance to the strokes along the image;
        - "pixel", "teacher", "cnn": a network trained on the strokes, per pixel, per
          pixel and wide, or with its neighbours;
        - "upsampler": the scribbles are sloppy outlines, filled or drawn around the
          objects of a 2D image; a network trained on this image makes them precise;
        - "none": position only;
        - "auto": colour and distance (and with an `embedding` a network, too), weighed
          by how well each predicts strokes left out.

        An array of the image's spatial shape is a layer of its own: fractions and
        booleans are the probability of object, 0 to 1; integers are labels, of which
        an object takes those that its strokes lie on with three voxels and 3 % or more.
    coupling : {"sequential", "joint"}
        Evidence first, then the shape; or a network and the shape together, each
        learning from the strokes and from the other. The network is that of the
        evidence, or one that corrects it; layers and outlines are taken as they are.
    background : int
        Label of background strokes.
    spacing : sequence of float, optional
        Voxel size per spatial axis, any unit; 1 by default.
    channel_axis : int, optional
        Axis of `image` that holds channels; found by comparing shapes if None.
    warm_start : FitResult, optional
        Result of an earlier fit of the same image with fewer strokes; the fit
        continues from its shapes. It starts anew where strokes were erased
        since, or where that fit could not satisfy all of them.
    embedding : array, shape (E, *S), optional
        Features of every voxel, such as `embed_image` makes; NumPy, dask or zarr.
        Networks see them beside colours, place and texture.
    seed : int
        Makes the result repeatable (for the models that start at random).
    device : {"auto", "cpu", "cuda", "mps"} or str
        Where torch computes. Fits are small, so "auto" is the CPU.
    progress : callable, optional
        Called as ``progress(fraction, message)``; may raise `Cancelled`.
    preview : callable, optional
        Called with results that are not yet the last, while a joint fit goes on.
    config : FitConfig, optional
        Model and its sizes; slice-by-slice fitting of a stack.

    Returns
    -------
    FitResult
        Labels with the ids of the scribbles, shapes, certificates and a report
        of strokes that no such mask could satisfy.

    Raises
    ------
    InputError
        If arrays or options do not fit together.
    ScribbleError
        If there is no object stroke, or a label is negative or over 2**32 - 1.
    Cancelled
        If `progress` asked to stop.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_implicitseg import fit_scribbles
    >>> image = np.zeros((64, 64)); image[16:48, 20:44] = 1
    >>> scribbles = np.zeros((64, 64), np.uint8)
    >>> scribbles[30, 26:38] = 2; scribbles[4, 4:60] = 1
    >>> result = fit_scribbles(image, scribbles)
    >>> result.certificates[2].holds
    True
    """
    check_choice("shape", shape, (*_SHAPES, _EVIDENCE_ALONE))
    check_choice("coupling", coupling, COUPLINGS)
    config = checked_config(config)
    image, scribbles = image_array(image), as_array(scribbles)
    if isinstance(scribbles, np.ma.MaskedArray):
        scribbles = scribbles.filled(0)
    ndim = len(scribbles.shape)
    if ndim not in (2, 3):
        raise InputError(f"The scribbles have {ndim} axes; this fit takes 2D or 3D images.")
    axis = find_channel_axis(tuple(image.shape), tuple(scribbles.shape), channel_axis)
    reader = Reader(image, axis)
    source, layer = named_source(evidence, reader.shape)
    if source == "given":
        reader = Reader.of_probability(layer)
    if embedding is not None:
        reader.embedding = Reader.of_embedding(checked_embedding(embedding, reader.shape))
    options = FitOptions(
        shape=shape,
        source=source,
        layer=layer if source == "labels" else None,
        coupling=coupling,
        spacing=checked_spacing(spacing, ndim),
        config=config,
        seed=checked_seed(seed),
        device=find_device(device),
    )
    if warm_start is not None and warm_start.labels.shape != reader.shape:
        raise InputError(
            f"warm_start has labels of shape {warm_start.labels.shape} but the image has "
            f"{reader.shape}. Pass the result of a fit of the same image, or None."
        )
    samples = read_scribbles(scribbles, background=background)
    if config.schedule != "default":
        return fit_by_schedule(reader, samples, options, progress=progress)
    if not config.per_slice:
        start = Start.of(warm_start, samples, source)
        return fit_image(reader, samples, options, start=start, progress=progress, preview=preview)
    return fit_slices(reader, samples, options, warm_start=warm_start, progress=progress)


def project_labels(
    labels: Any,
    *,
    shape: str = "convex",
    spacing: Sequence[float] | None = None,
    ids: Sequence[int] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    config: FitConfig | None = None,
) -> FitResult:
    """Repair masks: project every object of a label image onto a family of shapes.

    Each object becomes the mask of the shape that is nearest to it: chunks that
    are missing are filled, blobs that are attached cut off, spurious pieces
    dropped and cuts closed, as far as the family allows. Labels may come from
    any tool.

    Parameters
    ----------
    labels : array, shape (Y, X) or (Z, Y, X)
        Integers, 0 is background; or booleans or a floating-point probability
        map, 0 to 1, of one object, which gets the id 1.
    shape : {"convex", "connected", "star", "symmetric", "free"}
        What is promised of each mask; see `fit_scribbles`.
    spacing : sequence of float, optional
        Voxel size per axis, any unit; 1 by default.
    ids : sequence of int, optional
        Objects to repair; the others keep their voxels. All if None.
    seed : int
        Makes the result repeatable.
    device : {"auto", "cpu", "cuda", "mps"} or str
        Where torch computes.
    progress : callable, optional
        Called as ``progress(fraction, message)``; may raise `Cancelled`.
    config : FitConfig, optional
        Model and its sizes; slice-by-slice repair of a stack.

    Returns
    -------
    FitResult
        Labels with the ids they had, disjoint; shapes and certificates;
        `report.agreement` holds the IoU of each object before and after,
        `report.unchanged` the objects that were too small for any shape.

    Raises
    ------
    InputError
        If the labels are negative, no numbers or of another number of axes, a
        probability map leaves 0 to 1, or an id is not there.
    Cancelled
        If `progress` asked to stop.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_implicitseg import project_labels
    >>> labels = np.zeros((64, 64), np.uint8); labels[16:48, 20:44] = 7
    >>> labels[28:34, 20:26] = 0
    >>> result = project_labels(labels)
    >>> result.certificates[7].holds, bool(result.labels[30, 22] == 7)
    (True, True)
    """
    check_choice("shape", shape, _SHAPES)
    config = checked_config(config)
    values = checked_labels(as_array(labels))
    options = FitOptions(
        shape=shape,
        source="given",
        coupling="sequential",
        spacing=checked_spacing(spacing, values.ndim),
        config=config,
        seed=checked_seed(seed),
        device=find_device(device),
    )
    repair = repair_slices if config.per_slice else repair_labels
    return repair(values, options, ids=checked_ids(ids), progress=progress)
