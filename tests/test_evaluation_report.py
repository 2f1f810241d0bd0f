"""Evaluations as tables and files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from napari_implicitseg.errors import InputError, OutputExistsError
from napari_implicitseg.evaluation import METRICS, evaluate, evaluate_table
from napari_implicitseg.evaluation_report import (
    MEANINGS,
    figure_rows,
    report_of,
    write,
)
from napari_implicitseg.metrics import contingency
from napari_implicitseg.places import find_places


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 9, (6, 7)), np.ones((6, 6), int))
    return np.roll(truth, 1, 1), truth


def test_every_figure_has_a_meaning_and_knows_what_is_better(pair):
    assert set(MEANINGS) == set(METRICS)
    worse = evaluate(*pair)
    perfect = evaluate(pair[1], pair[1])
    for row, best in zip(figure_rows(worse), figure_rows(perfect), strict=True):
        assert row.name == best.name
        if row.meaning.better == "lower":
            assert best.value < row.value
        elif row.meaning.better == "higher":
            assert best.value > row.value or best.value == row.value == 1


@pytest.mark.parametrize("ignore", [0, None, 3])
def test_figures_of_a_table_are_those_of_the_arrays(pair, ignore):
    labels, truth = pair
    found = evaluate_table(contingency(labels, truth, ignore=ignore), ignore=ignore)
    assert found.as_dict() == evaluate(labels, truth, ignore=ignore).as_dict()


def test_notes_and_errors_of_a_table_are_those_of_the_arrays():
    labels, truth = np.array([0, 0, 0]), np.array([0, 1, 1])
    found = evaluate_table(contingency(labels, truth))
    assert found.notes == evaluate(labels, truth).notes
    assert len(found.notes) == 2
    with pytest.raises(InputError, match="no voxel to compare"):
        evaluate_table(contingency(labels, truth * 0))


def test_a_report_holds_context_figures_and_mistakes(pair):
    found = evaluate(*pair)
    mistakes = (*found.worst_splits(2), *found.worst_merges(3))
    places = find_places(*pair, mistakes)
    report = report_of(found, mistakes, places, labels="a", border=None)
    assert list(report)[:3] == ["labels", "border", "figures"]
    assert report["figures"] == found.as_dict()
    assert [one["id"] for one in report["worst_splits"]] == [m.id for m in mistakes[:2]]
    assert report["worst_merges"][0]["place"] == list(places[2])
    assert "worst_splits" not in report_of(found, listed=False)


def test_reports_are_written_as_json_and_csv(pair, tmp_path):
    found = evaluate(*pair)
    report, rows = report_of(found), figure_rows(found)
    write(tmp_path / "r.json", report, rows)
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(json.dumps(report))
    write(tmp_path / "r.CSV", report, rows)
    with (tmp_path / "r.CSV").open(newline="") as file:
        lines = list(csv.DictReader(file))
    values = {line["figure"]: float(line["value"]) for line in lines}
    assert values["voi"] == found["voi"]
    assert values["matches/0.5/tp"] == found["matches"][0.5].tp
    assert values["iou_per_class/3"] == found["iou_per_class"][3]
    assert {line["figure"]: line["better"] for line in lines}["cremi"] == "lower"


def test_a_report_replaces_a_file_only_if_that_is_allowed(pair, tmp_path):
    found = evaluate(*pair)
    path = tmp_path / "r.json"
    path.write_text("mine")
    with pytest.raises(OutputExistsError):
        write(path, report_of(found), figure_rows(found))
    assert path.read_text() == "mine"
    write(path, report_of(found), figure_rows(found), overwrite=True)
    assert "figures" in path.read_text()
