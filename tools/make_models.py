"""Train the models that come with the package, and measure them on what they have not seen.

    python tools/make_models.py fibsem-isotropic    # or sstem-2d, or both by default

The training resumes where it was stopped: its folder is `build/models/NAME`. When it is done, the
weights go to `src/napari_implicitseg/models/shipped/NAME` in half precision, with a card.
`--keep` writes the best so far without training on.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_implicitseg.api import AffinityModel, TrainConfig, load_model, train_affinities
from napari_implicitseg.atomic import replace_file
from napari_implicitseg.models.card import model_card
from napari_implicitseg.reproduction.em_cases import HELD_OUT, fib25, isbi2012
from napari_implicitseg.training.validation import Validation

if TYPE_CHECKING:
    from napari_implicitseg.reproduction.em_cases import EmSet

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "models"
SHIPPED = ROOT / "src" / "napari_implicitseg" / "models" / "shipped"
_TELL_EVERY = 60.0

MODELS = {
    "fibsem-isotropic": (
        fib25,
        TrainConfig(
            ndim=3,
            widths=(16, 32, 64, 96),
            patch_shape=(64, 64, 64),
            descriptors=True,
            steps=12000,
            validate_every=1000,
            unit="nanometer",
            data="FIB-25 training cube 2: fly medulla, FIB-SEM, 10 nm isotropic, 250^3 voxels",
            licence="CC-BY-3.0",
            attribution="Janelia FlyEM; Takemura et al., PNAS 112(44), 2015",
        ),
    ),
    "sstem-2d": (
        isbi2012,
        TrainConfig(
            ndim=2,
            # The sections held out are noisier than those learned from; a small network, much
            # noise and few steps did best there of eight recipes.
            widths=(12, 24, 48, 48),
            patch_shape=(224, 224),
            batch_size=2,
            noise=1.0,
            steps=1500,
            validate_every=250,
            unit="nanometer",
            data="ISBI 2012 challenge: fly ventral nerve cord, ssTEM, 4 x 4 x 50 nm, 20 sections",
            licence="for research",
            attribution="Cardona et al., PLoS Biology 8(10), 2010; Arganda-Carreras et al., "
            "Frontiers in Neuroanatomy 9, 2015",
        ),
    ),
}
_COMMAND = "python tools/make_models.py {}"


def main() -> None:
    """Train and ship the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*MODELS, []], help="default: all")
    parser.add_argument("--steps", type=int, help="in place of what the recipe says")
    parser.add_argument("--keep", action="store_true", help="ship what there is")
    args = parser.parse_args()
    for name in args.names or MODELS:
        em_set, config = MODELS[name]
        em = em_set()
        config = replace(config, steps=args.steps or config.steps, held_out=HELD_OUT)
        if args.keep:
            model = load_model(BUILD / name)
        else:
            model = train_affinities(
                em.volume(config.ndim),
                config=config,
                out=BUILD / name,
                resume=True,
                progress=_Teller(name),
            )
        ship(name, model, em, config)


def ship(name: str, model: AffinityModel, em: EmSet, recipe: TrainConfig) -> None:
    """Measure a model on the whole held-out part and write it into the package."""
    _, held = em.parts(model.ndim)
    whole = Validation([held], model.ndim, voxels=sys.maxsize)
    finished = replace(
        model,
        name=name,
        metrics={**whole(model, torch.device("cpu")), "step": model.metrics["step"]},
        training={
            **model.training,
            "data": recipe.data,
            "licence": recipe.licence,
            "attribution": recipe.attribution,
            "command": _COMMAND.format(name),
            "held_out": f"the last {HELD_OUT:.0%} of the sections; the weights were chosen by the "
            "variation of information there",
        },
    )
    finished.save(SHIPPED / name, half=True)
    with replace_file(SHIPPED / name / "README.md", overwrite=True) as temporary:
        temporary.write_text(model_card(finished), encoding="utf-8")
    print(name, finished.metrics, flush=True)


class _Teller:
    """Progress as a line a minute."""

    def __init__(self, name: str) -> None:
        self._name, self._told = name, 0.0

    def __call__(self, fraction: float, message: str, /) -> None:
        """Print it, if the last was a minute ago."""
        if fraction == 1 or time.monotonic() - self._told > _TELL_EVERY:
            self._told = time.monotonic()
            print(f"{self._name}: {message}", flush=True)


if __name__ == "__main__":
    main()
