"""The benchmark from affinities to neurons: tables, goals, and what it calls different."""

from __future__ import annotations

import numpy as np


def test_tables_of_neurons(load, monkeypatch):
    neurons = load("neurons")
    names = ("watershed, mean", "higra, mean", "given fragments, mean")
    monkeypatch.setattr(neurons, "METHODS", {name: neurons.METHODS[name] for name in names})
    lines = neurons.report(neurons.Plan(sides=((16, 1),), quality=False))
    rows = [line.split("|")[2].strip() for line in lines if line.startswith("| 16^3")]
    assert rows == [*names]
    assert sum(line.startswith(("- reached", "- MISSED")) for line in lines) == 5


def test_objects_differ_unless_they_are_the_same_voxels(load):
    neurons = load("neurons")
    one = np.array([[1, 1, 2], [3, 3, 2]])
    assert neurons.different(one, one + 7) == 0
    assert neurons.different(one, np.array([[5, 5, 5], [3, 3, 5]])) == 2
    assert neurons.different(one, np.array([[5, 6, 7], [3, 3, 7]])) == 1


def test_thresholds_are_chosen_on_one_half_and_scored_on_the_other(load, monkeypatch, tmp_path):
    quality = load("neurons_quality")
    monkeypatch.setattr(quality, "THRESHOLDS", (0.2, 0.8))
    truth = np.repeat([[1, 2, 3, 4]], 8, axis=0)
    # The first is right on the left, the second on the right, where it matters more.
    np.save(tmp_path / "0.2.npy", np.repeat([[1, 2, 3, 3]], 8, axis=0))
    np.save(tmp_path / "0.8.npy", np.repeat([[1, 1, 3, 4]], 8, axis=0))
    figures, thresholds = quality._scored(tmp_path, truth)
    assert thresholds == [0.2, 0.8]
    assert figures == [1.0, 1.0]
