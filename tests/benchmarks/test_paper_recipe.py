"""The recipe of the path-connectedness paper."""

from __future__ import annotations

import pytest
import torch

from .helpers import disc


@pytest.mark.parametrize("labelled", [None, 600])
def test_the_papers_recipe_learns_a_disc_whole_and_from_a_sample(load, monkeypatch, labelled):
    recipe = load("paper_recipe")
    # A disc of few pixels takes fewer steps than an image: they have to be longer.
    monkeypatch.setattr(recipe, "RATE", 0.005)
    mask = disc((40, 40), (20, 20), 12)
    before = torch.random.get_rng_state()
    outcome = recipe.fit(mask, labelled=labelled, epochs=100)
    assert outcome.steps == 2 * 100
    assert (outcome.mask & mask).sum() / (outcome.mask | mask).sum() > 0.9
    assert (torch.random.get_rng_state() == before).all()
