"""The decisions of a cut that were closest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.proofreading import Proofreading

from .hierarchy_cases import LINKAGES, VOLUMES, hierarchy_of, levels, row_of


def test_the_closest_decisions_come_first():
    work = Proofreading(row_of([0.9, 0.45, 0.52, 0.1]), 0.5)
    first, second, third, fourth = work.uncertain()
    assert first.score == pytest.approx(0.52)
    assert (first.joined, first.objects, first.voxel) == (True, (3, 3), (0, 2))
    assert second.score == pytest.approx(0.45)
    assert (second.joined, second.objects, second.voxel) == (False, (1, 3), (0, 1))
    assert second.margin == pytest.approx(0.05)
    assert third.score == pytest.approx(0.9)
    assert fourth.score == pytest.approx(0.1)
    assert work.uncertain(2) == [first, second]
    assert work.uncertain(0) == []


def test_what_is_decided_is_not_asked():
    work = Proofreading(row_of([0.9, 0.45, 0.52, 0.1]), 0.5)
    work.merge((0, 1), (0, 2))
    assert [round(d.score, 2) for d in work.uncertain()] == [0.52, 0.9, 0.1]
    work.freeze((0, 2))
    assert [round(d.score, 2) for d in work.uncertain()] == []
    other = Proofreading(row_of([0.9, 0.45, 0.52, 0.1]), 0.5)
    other.split([[(0, 2)], [(0, 3)]])
    assert [round(d.score, 2) for d in other.uncertain()] == [0.45, 0.9, 0.1]


def test_small_regions_need_not_be_asked_about():
    hierarchy = row_of([0.9, 0.45, 0.9, 0.52, 0.1], [1, 1, 2, 2, 3, 4])
    work = Proofreading(hierarchy, 0.5)
    assert [round(d.score, 2) for d in work.uncertain(min_size=2)] == [0.45]
    assert len(work.uncertain(min_size=1)) == 3


def test_contacts_of_a_cut_fragment_are_told_by_its_parts():
    hierarchy = row_of([0.9, 0.3, 0.9, 0.45, 0.9], [1, 1, 1, 1, 2, 2])
    work = Proofreading(hierarchy, 0.5)
    work.split([[(0, 0)], [(0, 3)]])
    (decision,) = work.uncertain()
    assert decision.voxel == (0, 3)
    assert decision.objects == (3, 2) or decision.objects == (2, 3)


@settings(deadline=None, max_examples=60)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_every_decision_is_one_of_the_cut(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    for threshold in levels(hierarchy):
        work = Proofreading(hierarchy, threshold)
        found = work.uncertain(1000)
        assert [d.margin for d in found] == sorted(d.margin for d in found)
        assert len(found) == np.isfinite(hierarchy.altitudes[hierarchy.size :]).sum()
        for decision in found:
            assert (decision.objects[0] == decision.objects[1]) == decision.joined
            assert work.object_at(decision.voxel) in decision.objects
            level = hierarchy.level_of(threshold)
            height = 1 - decision.score if hierarchy.by_affinity else decision.score
            assert decision.margin == pytest.approx(abs(height - level), abs=1e-12)


@pytest.mark.parametrize("value", [-1, 1.5, True, "many", None])
def test_numbers_of_decisions_are_whole(value):
    work = Proofreading(row_of([0.9, 0.1]), 0.5)
    with pytest.raises(InputError, match="limit is .*whole number from 0"):
        work.uncertain(value)
    with pytest.raises(InputError, match="min_size is .*whole number from 0"):
        work.uncertain(min_size=value)
