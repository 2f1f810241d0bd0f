"""Tables of the benchmarks, on less than they are made for."""

from __future__ import annotations

import pytest

from .helpers import disc


def test_overlap_leaves_ignored_pixels_out(load):
    common = load("common")
    truth = disc((50, 50), (25, 25), 15)
    mask = disc((50, 50), (25, 25), 18)
    assert common.overlap(mask, truth) < 0.8
    assert common.overlap(mask, truth, mask & ~truth) == 1
    assert common.overlap(truth & False, truth & False) == 1


def test_goals_say_whether_they_are_reached(load):
    common = load("common")
    assert common.at_least("a", 0.5, 0.4) == "- reached: a: +0.500 (goal +0.400)"
    assert common.at_least("a", 0.3, 0.4).startswith("- MISSED: a")
    assert common.at_most("b", 2, 3) == "- reached: b: 2.00 (goal at most 3)"
    assert common.at_most("b", 4, 3).startswith("- MISSED: b")
    # What could not be measured reaches no goal.
    assert "MISSED" in common.at_most("b", float("nan"), 3)
    assert "MISSED" in common.at_least("b", float("nan"), 3)


def test_a_part_that_is_run_leaves_the_other_sections_as_they_are(load):
    run = load("run")
    text = run.merged("", {"quality": ["old", "", "### sub", "", "| a |"], "repair": ["as it was"]})
    assert run.merged(text, {}) == text
    again = run.merged(text, {"quality": ["new"]})
    assert again == text.replace("old\n\n### sub\n\n| a |", "new")
    more = run.merged(again, {"shapes": ["between"]})
    headings = [line[3:] for line in more.splitlines() if line.startswith("## ")]
    assert headings == [run.HEADINGS[part] for part in ("quality", "shapes", "repair")]
    assert "as it was" in more


def test_the_results_file_has_the_sections_that_are_replaced(load):
    run = load("run")
    text = run.RESULTS.read_text(encoding="utf-8")
    assert run.merged(text, {}) == text
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert set(headings) <= set(run.HEADINGS.values())


def test_unknown_parts_are_refused(load, capsys):
    with pytest.raises(SystemExit):
        load("run").main(["--only", "shapes,repairs"])
    said = capsys.readouterr().err
    assert "repairs is no part; use any of quality, speed, shapes, repair, evidence" in said


def test_tables_of_shapes(peers, load, data_dir):
    shapes = load("shapes")
    plan = shapes.Plan(
        size=64, solid_size=16, forms=("C",), paper_epochs=1, photos=("grabcut",), limit=1
    )
    lines = shapes.report(plan)
    assert [line for line in lines if line.startswith("### ")] == [
        "### From full masks, 64 x 64",
        "### Beside the paper's recipe",
        "### In 3D, 16^3",
        "### From strokes on photographs",
    ]
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows.count("C") == 3
    assert {*shapes.METHODS, "ellipsoid", "helix", "neurite"} <= set(rows)
    assert "300 epochs are cut off after 1" in "\n".join(lines)
    assert sum("one piece" in line and line.startswith("- reached") for line in lines) == 4


def test_tables_of_repair(peers, load):
    repair = load("repair")
    lines = repair.report(repair.Plan(size=128, count=4, rounds=1, volume=False))
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert rows.count("input") == 2
    assert rows.count("convex repair") == 2
    assert rows.count("connected repair") == 1
    assert sum(line.startswith(("- reached", "- MISSED")) for line in lines) == 7


@pytest.mark.slow
def test_tables_of_evidence(peers, load, data_dir, monkeypatch):
    evidence = load("evidence")
    monkeypatch.setattr(evidence, "NAMES", ("btcv",))
    monkeypatch.setattr(evidence, "_SIDE", 128)
    lines = evidence.report(limit=1, repeats=1)
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert set(evidence.METHODS) <= set(rows)
    assert sum(line.startswith(("- reached", "- MISSED")) for line in lines) == 6
