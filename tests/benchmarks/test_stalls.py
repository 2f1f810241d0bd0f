"""Volumes that the event loop is watched on, and the watch itself."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from napari_implicitseg.hierarchy.building import build_hierarchy, has_membranes
from napari_implicitseg.widgets._neurons_jobs import direct_offsets


@pytest.fixture
def stalls(load):
    return load("stalls")


def test_each_kind_of_affinities_makes_its_kind_of_fragments(stalls):
    from napari_implicitseg.affinities.ops import Affinities

    labels = stalls.cells(49)
    assert labels.shape == (49, 49, 49)
    for kind, thickness in stalls.KINDS.items():
        values = stalls.affinities(labels, thickness)
        assert values.dtype == np.float32
        assert values.min() >= 0
        assert values.max() <= 1
        offsets = direct_offsets(3, 3)
        found = Affinities(data=values, offsets=offsets, spacing=(1.0,) * 3)
        assert has_membranes(found) == (kind == "membranes")
        assert build_hierarchy(found).size >= 10


def test_the_clock_sees_what_stops_the_loop(stalls, qapp):
    clock = stalls.Clock(qapp)
    calm = clock.longest(lambda: clock.rest(0.1), 0.1)
    busy = clock.longest(lambda: time.sleep(0.3), 0.1)
    assert busy >= 300 > calm


def test_the_report_says_what_misses_the_goal(stalls, monkeypatch):
    calls = []

    def fake(path, linkage, rounds):
        calls.append((path.stem, linkage, rounds, np.load(path).shape))
        found = {"nothing": 99.0, "Segment": 20.0 + 40 * len(calls), "merge": 7.0}
        return json.loads(json.dumps({"stalls": found, "fragments": 1234, "seconds": 1.0}))

    monkeypatch.setattr(stalls, "_run", fake)
    plan = stalls.Plan(side=20, cases=(("edges", "mean"), ("membranes", "area")), rounds=2)
    text = "\n".join(stalls.report(plan))
    shape = (3, 20, 20, 20)
    assert calls == [("edges", "mean", 2, shape), ("membranes", "area", 2, shape)]
    assert "| Segment | 60 | 100 |" in text
    assert "| fragments | 1,234 | 1,234 |" in text
    assert "- MISSED: Segment, ms: 100.00 (goal at most 50)" in text
    assert "- reached: merge, ms: 7.00" in text
    assert "nothing, ms" not in text
