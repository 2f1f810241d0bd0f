"""Trees made in a process of their own are those made here."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from napari_implicitseg.errors import Cancelled, ImplicitSegError
from napari_implicitseg.hierarchy._apart import Problem, tree_of, tree_of_apart


def grid(linkage, side, seed=0):
    """Nodes of a square, random weights and features."""
    rng = np.random.default_rng(seed)
    ids = np.arange(side * side).reshape(side, side)
    across = np.stack([ids[:, :-1].ravel(), ids[:, 1:].ravel()], axis=1)
    down = np.stack([ids[:-1].ravel(), ids[1:].ravel()], axis=1)
    edges = np.concatenate([across, down])
    features = rng.random((ids.size, 3 if linkage == "ward" else 0))
    return Problem(
        linkage, rng.integers(1, 9, ids.size).astype(float), edges, rng.random(len(edges)), features
    )


@pytest.mark.parametrize("linkage", ["ward", "area", "volume", "dynamics"])
def test_a_tree_made_apart_is_the_same(linkage):
    problem = grid(linkage, 12)
    here, apart = tree_of(problem), tree_of_apart(problem, few=0)
    for one, other in zip(here, apart, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(here[0]) == 2 * 144 - 1


def test_few_nodes_are_merged_here(monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)
    assert len(tree_of_apart(grid("area", 5))[0]) == 49
    with pytest.raises(TypeError):
        tree_of_apart(grid("area", 5), few=24)


def test_a_process_that_fails_is_told_of():
    problem = grid("ward", 5)
    with pytest.raises(ImplicitSegError, match="Merging 25 fragments by ward failed .*fewer"):
        tree_of_apart(problem._replace(features=problem.features[:3]), few=0)


def test_nothing_is_imported_from_the_folder_it_happens_to_be_in(tmp_path, monkeypatch):
    (tmp_path / "higra.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    parents, _ = tree_of_apart(grid("area", 5), few=0)
    np.testing.assert_array_equal(parents, tree_of(grid("area", 5))[0])


def test_it_can_be_cancelled_while_it_runs():
    def check():
        raise Cancelled("enough")

    begin = time.monotonic()
    with pytest.raises(Cancelled):
        tree_of_apart(grid("ward", 300), check, few=0)
    assert time.monotonic() - begin < 20


def test_the_interpreter_goes_on_meanwhile():
    thread = threading.Thread(target=tree_of_apart, args=(grid("ward", 60),))
    thread.start()
    turns = 0
    while thread.is_alive():
        time.sleep(0.01)
        turns += 1
    assert turns > 10
