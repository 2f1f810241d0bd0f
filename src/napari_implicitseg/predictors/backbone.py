"""What every pixel shows, in a few numbers: features of a network of `timm`, reduced.

Its levels are computed tile by tile, reduced to principal components on one
grid and enlarged to the image. Needs the extra `semantic`.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.nn import functional

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.features import iter_blocks
from napari_implicitseg.predictors.pyramid import (
    ODD,
    Network,
    brief,
    fill,
    find_device,
    import_timm,
    make,
    read_content,
)
from napari_implicitseg.predictors.pyramid_tiles import Source, Tiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress

__all__ = ["embed_image"]

_FORMAT = "napari-implicitseg/embedding/1"


def embed_image(
    image: Any,
    *,
    backbone: str = "resnet18",
    weights: str | Path | None = None,
    pretrained: bool = False,
    components: int = 8,
    channel_axis: int | None = None,
    tile: int = 512,
    seed: int = 0,
    device: str | torch.device = "auto",
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Describe every pixel by what a network sees there.

    Parameters
    ----------
    image : array, shape (Y, X) or (Z, Y, X), and channels
        NumPy, dask or zarr, of any real dtype; 3D goes slice by slice. Each
        channel is stretched between its percentiles 0.5 and 99.5; what is not
        finite takes the median.
    backbone : str
        Network of `timm`: `resnet18`, `convnext_tiny`, `resnet50.a1_in1k`, ...
    weights : path, optional
        Your own weights for it, a `.safetensors` or what `torch.save` made of a
        state dict; only tensors are read, no code. Up to half of the tensors
        may be missing and stay random; a warning is logged.
    pretrained : bool
        Download the weights `timm` knows. A network without any is random: it
        tells textures, but knows no objects.
    components : int
        Principal components of the levels, each of which weighs the same. Those
        the features do not have, such as all of a constant image, are 0.
    channel_axis : int, optional
        Axis of the channels; None means there are none, whatever the shape. One
        is repeated, two get their mean as a third, of more the first three are
        used.
    tile : int
        Side in pixels of what the network sees at once, rounded up to its
        strides, at least four of the largest; bounds the memory. Tiles overlap
        by a quarter and are blended. Attention and statistics over the image
        (group or instance norm) see one tile only. Networks of one input size,
        as most transformers, take tiles of that.
    seed : int
        For random weights and sampling; torch's own generator is left alone.
    device : str or torch.device
        "auto" is CUDA where there is any.
    cache : path, optional
        Folder for results, made if need be. They are found again by the content
        and chunks of the image, the content of the weights and the options but
        the device. A damaged file is replaced.
    progress : callable, optional
        Called before every tile; may raise `Cancelled`, then nothing is kept.

    Returns
    -------
    ndarray of float32, shape (components, *S)
        The first has deviation 1, the others theirs in proportion, so that
        distances are those of the features. Whitening would blow up noise.

    Raises
    ------
    InputError
        If the image or an option is wrong, timm is missing or broken, or the
        backbone or its weights cannot be had.
    FileError
        If the weights cannot be read or the cache cannot be written.

    References
    ----------
    Halko, Martinsson and Tropp (2011), Finding structure with randomness, SIAM
    Review 53(2), for the components.
    """
    source = Source(image, channel_axis)
    _check(weights, pretrained, components=components, tile=tile, seed=seed)
    timm, content = import_timm(), read_content(weights)
    options = [timm.__version__, backbone, bool(pretrained), weights is None]
    options += [int(n) for n in (components, tile, seed)]
    path = None if cache is None else _cache_file(Path(cache), source, content, options)
    found = None if path is None else _load(path, components, source.sides)
    if found is None:
        model = make(timm, backbone, pretrained=pretrained, seed=seed)
        if weights is not None:
            fill(model, content, weights)
        network = Network(model, find_device(device), seed=seed)
        tiles = Tiles(source, network, tile, progress)
        found = tiles.components(components, seed), network.stride
        if path is not None:
            _store(path, *found)
    if progress is not None:
        progress(1.0, "Embedded the image")
    return _enlarged(*found, source.sides).reshape(components, *source.shape)


def _check(weights: str | Path | None, pretrained: bool, **numbers: int) -> None:
    """Refuse options that are wrong whatever the image."""
    least = {"components": 1, "tile": 32, "seed": 0}
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or not least[name] <= value < 1 << 63:
            raise InputError(f"{name} is {value!r}; give a whole number of at least {least[name]}.")
    if weights is not None and pretrained:
        raise InputError(f"weights is '{weights}' and pretrained is set; give one of them.")


def _enlarged(
    grid: NDArray[np.float32], stride: int, sides: tuple[int, ...]
) -> NDArray[np.float32]:
    """Enlarge cells (count, Z, h, w) to pixels (count, *sides)."""
    out = np.empty((len(grid), *sides), np.float32)
    for k, z in np.ndindex(grid.shape[:2]):
        cells = torch.from_numpy(grid[k, z])[None, None]
        whole = functional.interpolate(cells, scale_factor=float(stride), mode="bilinear")
        out[k, z] = whole[0, 0, : sides[1], : sides[2]].numpy()
    return out


def _cache_file(folder: Path, source: Source, content: bytes, options: list[Any]) -> Path:
    """Name the file for a result in a folder, which is made."""
    image = source.image
    about = [_FORMAT, *options, source.axis, tuple(image.shape), np.dtype(image.dtype).str]
    digest = hashlib.blake2b(repr(about).encode(), digest_size=20)
    digest.update(hashlib.blake2b(content).digest())
    for origin, block in iter_blocks(image):
        digest.update(repr((origin, block.shape)).encode())
        digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder / f"{digest.hexdigest()}.safetensors"


def _load(path: Path, count: int, sides: tuple[int, ...]) -> tuple[NDArray[np.float32], int] | None:
    """Read what was stored; None if it is not there, damaged or of another kind."""
    try:
        found = load_file(path)
        grid, stride = found["grid"], int(found["stride"][0])
    except ODD:
        return None
    fits = (
        grid.dtype == np.float32
        and grid.ndim == 4
        and grid.shape[:2] == (count, sides[0])
        and all(n * stride >= side for n, side in zip(grid.shape[2:], sides[1:], strict=True))
        and bool(np.isfinite(grid).all())
    )
    return (grid, stride) if fits else None


def _store(path: Path, grid: NDArray[np.float32], stride: int) -> None:
    """Write the components on the grid, which take less room than those of the pixels."""
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}.tmp")
    try:
        save_file({"grid": grid, "stride": np.array([stride])}, temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise _unwritable(path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(folder: Path, error: Exception) -> FileError:
    """Error for a cache that cannot be written."""
    return FileError(
        f"Cannot write the cache '{folder}': {brief(error)}. Free some space, or give another "
        "folder."
    )
