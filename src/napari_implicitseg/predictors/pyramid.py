"""Networks of `timm` that give their levels, with weights, and where those levels look."""

from __future__ import annotations

import difflib
import importlib
import io
import logging
import math
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch.nn import functional

from napari_implicitseg.descent_steps import torch_threads
from napari_implicitseg.errors import FileError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["ODD", "Network", "brief", "fill", "find_device", "import_timm", "make", "read_content"]

_log = logging.getLogger(__name__)
# Pixels per cell of the common grid, at least.
_STRIDE = 4
ODD = (
    *(OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError),
    *(AssertionError, pickle.UnpicklingError, SafetensorError),
)
"""What damaged files, odd networks and libraries that do not match raise."""


def brief(error: BaseException) -> str:
    """First line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def import_timm() -> Any:
    """Import timm, which is an extra.

    Raises
    ------
    InputError
        If it is missing, or its torchvision was built for another torch.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise InputError(
            f"Embeddings need timm, which cannot be imported ({brief(error)}). Install it: "
            'pip install "napari-implicitseg[semantic]"'
        ) from error
    except ODD as error:
        raise InputError(
            f"timm cannot be imported ({brief(error)}). Its torchvision was built for another "
            f"torch than {torch.__version__}, most likely. Install both from one index, for "
            "instance with pip install --force-reinstall --no-deps torchvision "
            "--index-url https://download.pytorch.org/whl/cpu"
        ) from error


def find_device(name: str | torch.device) -> torch.device:
    """Return the torch device asked for; "auto" is CUDA where there is any."""
    try:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        return torch.zeros(1, device=name).device
    except ODD as error:
        raise InputError(f"device is {name!r}, which torch cannot use here; use 'cpu'.") from error


def make(timm: Any, name: str, *, pretrained: bool, seed: int) -> Any:
    """Make a network that returns its levels; torch's own generator is left alone.

    Raises
    ------
    InputError
        If timm does not know the name, the network has no levels, or its
        weights cannot be downloaded.
    """
    if not isinstance(name, str) or not timm.is_model(name):
        close = difflib.get_close_matches(str(name), timm.list_models(), n=4)
        advice = f"Did you mean {' or '.join(close)}?" if close else "See timm.list_models()."
        raise InputError(f"backbone is {name!r}, which timm {timm.__version__} lacks. {advice}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return timm.create_model(name, features_only=True, pretrained=pretrained)
    except (*ODD, ImportError) as error:
        if pretrained:
            raise InputError(
                f"The pretrained weights of '{name}' cannot be downloaded ({brief(error)}). Go "
                "online, or give a file with weights=..., or pretrained=False."
            ) from error
        raise InputError(
            f"Backbone '{name}' cannot give its levels ({brief(error)}). Take another, such as "
            "'resnet18'."
        ) from error


def read_content(weights: str | Path | None) -> bytes:
    """Read a file of weights, if there is one."""
    try:
        return b"" if weights is None else Path(weights).read_bytes()
    except OSError as error:
        raise FileError(
            f"Cannot read weights '{weights}': {error.strerror}. Check the path."
        ) from error


def fill(model: Any, content: bytes, path: str | Path) -> None:
    """Give a network the weights of a file that fit; the others stay, and a warning is logged.

    Parameters
    ----------
    model : torch.nn.Module
    content : bytes
        Of a safetensors file or of what `torch.save` made of tensors by name,
        perhaps under `state_dict` or `model`. No code in it is run.
    path : path
        Of the file, for its kind and for errors.

    Raises
    ------
    FileError
        If the file is damaged or holds more than tensors.
    InputError
        If fewer than half of the network's tensors are there in their shape.
    """
    given = _tensors(content, path)
    pairs = {k: (v, given.get(_plain(k))) for k, v in model.state_dict().items() if v.ndim}
    fitting = {k: b for k, (a, b) in pairs.items() if b is not None and a.shape == b.shape}
    if 2 * len(fitting) < len(pairs):
        wrong = [
            f"{k} is {'missing' if b is None else tuple(b.shape)}, needed {tuple(a.shape)}"
            for k, (a, b) in pairs.items()
            if k not in fitting
        ]
        wrong.sort(key=lambda text: " is missing" in text)
        raise InputError(
            f"Weights '{path}' fit {len(fitting)} of the {len(pairs)} tensors of the backbone; "
            f"half are needed ({'; '.join(wrong[:4])}{'; ...' * (len(wrong) > 4)}). "
            "Give weights of this backbone, or name theirs."
        )
    if len(fitting) < len(pairs):
        lacking = len(pairs) - len(fitting)
        _log.warning("%d of %d tensors stay random: '%s' lacks them", lacking, len(pairs), path)
    model.load_state_dict(fitting, strict=False)


def _tensors(content: bytes, path: str | Path) -> dict[str, Tensor]:
    """Tensors of a file by plain name."""
    try:
        if str(path).endswith(".safetensors"):
            given: Any = load_tensors(content)
        else:
            given = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        given = next((given[k] for k in ("state_dict", "model") if k in given), given)
        return {_plain(k): v for k, v in given.items() if torch.is_tensor(v)}
    except ODD as error:
        raise FileError(
            f"Weights '{path}' are damaged or hold more than tensors ({brief(error)}). Save them "
            "anew with safetensors.torch.save_file(network.state_dict(), path)."
        ) from error


def _plain(name: str) -> str:
    """Name of a tensor, however the network was wrapped or flattened."""
    return re.sub(r"^((module|model|backbone)\.)+", "", name.replace("_", "."))


class Network:
    """Levels of a network, and where they look.

    Parameters
    ----------
    model : torch.nn.Module
        Made by `make`.
    device : torch.device
    seed : int
        Of the noise that tells where the levels look.

    Attributes
    ----------
    stride : int
        Pixels per cell of the grid that all levels are brought to.
    step : int
        Sides of what the network is given are multiples of this.
    side : int or None
        Side of what it is given, if it takes one only.
    """

    def __init__(self, model: Any, device: torch.device, *, seed: int) -> None:
        self._model = model.to(device).eval().requires_grad_(False)
        self._pixels = [int(r) for r in model.feature_info.reduction()]
        self.stride = min((r for r in self._pixels if r >= _STRIDE), default=max(self._pixels))
        self.step = math.lcm(*self._pixels)
        given = model.pretrained_cfg
        self.side = int(given["input_size"][-1]) if given.get("fixed_input_size") else None
        self._mean, self._std = (
            torch.tensor(given[k], device=device)[:, None, None] for k in ("mean", "std")
        )
        # Transformers cut their input into cells without overlap: they look where they are.
        self._aside = [0.0] * len(self._pixels) if self.side else self._shifts(seed)

    def levels(self, pixels: NDArray[np.float32]) -> list[Tensor]:
        """Levels (C, h, w) of (3, H, W); of those finer than the grid the means of its cells."""
        look = (torch.from_numpy(pixels).to(self._mean) - self._mean) / self._std
        with torch.inference_mode(), torch_threads(16 * look.numel()):
            out = [
                functional.avg_pool2d(level, max(1, self.stride // r))[0]
                for level, r in zip(self._run(look[None]), self._pixels, strict=True)
            ]
        if not all(bool(level.isfinite().all()) for level in out):
            raise InputError(
                "The backbone gives numbers that are not finite: its weights are damaged, or it "
                "needs some. Give weights=..., or another backbone."
            )
        return out

    def seen(self, number: int, level: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """Interpolate a level (C, h, w), by its number, at coordinates (H, W) in pixels.

        The centre of the first pixel lies at 0.5.
        """
        pixels = max(self._pixels[number], self.stride)
        ends = ((x, level.shape[2]), (y, level.shape[1]))
        places = [2 * (at - self._aside[number]) / (n * pixels) - 1 for at, n in ends]
        grid = torch.stack(places, dim=-1)[None].to(level)
        return functional.grid_sample(
            level[None], grid, padding_mode="border", align_corners=False
        )[0]

    def _run(self, look: Tensor) -> list[Tensor]:
        """Levels with channels before space, where some networks have them last."""
        try:
            made = self._model(look)
        except (AssertionError, RuntimeError) as error:
            raise InputError(
                f"The backbone cannot take {look.shape[2]} x {look.shape[3]} pixels at once "
                f"({brief(error)}). Give another tile, device or backbone."
            ) from error
        levels = zip(made, self._model.feature_info.channels(), strict=True)
        return [level if level.shape[1] == c else level.movedim(-1, 1) for level, c in levels]

    def _shifts(self, seed: int) -> list[float]:
        """Pixels by which every level looks aside of its cells.

        Half of every stride by a kernel of odd length: 15 for the last level of
        a ResNet. Measured by how much the middle cell depends on every pixel of
        noise, because other networks pad or pool otherwise.
        """
        side = 7 * self.step
        noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(seed))
        noise = noise.to(self._mean).requires_grad_()
        out = []
        with torch.enable_grad(), torch_threads(16 * noise.numel()):
            for level, pixels in zip(self._run(noise), self._pixels, strict=True):
                cell = level.shape[-1] // 2
                middle = level[..., cell, cell].abs().sum()
                (slope,) = torch.autograd.grad(middle, noise, retain_graph=True)
                shift = _centre(slope[0]) - (cell + 0.5) * pixels
                out.append(min(max(shift, -pixels / 2), pixels / 2))
        return out


def _centre(slope: Tensor) -> float:
    """Centre, averaged over both axes, of what of (C, H, H) exceeds the median."""
    mass = slope.square().sum(dim=0).sqrt()
    # The same everywhere is what comes through a mean over the image.
    mass = (mass - mass.median()).clamp(min=1e-30)
    at = torch.arange(len(mass)).to(mass) + 0.5
    return float((mass.sum(dim=0) + mass.sum(dim=1)) @ at / (2 * mass.sum()))
