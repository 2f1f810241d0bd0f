from __future__ import annotations

import importlib
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_implicitseg import certify

FOLDER = Path(__file__).parents[1] / "benchmarks"
# The benchmarks are scripts that import one another by their file names.
MODULES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture
def load(monkeypatch):
    """Import a module of the benchmarks, and forget it after the test."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def simulate(load):
    return load("simulate")


@pytest.fixture
def peers(load):
    pytest.importorskip("cv2", reason="the peers need the dependency group bench")
    pytest.importorskip("maxflow", reason="the peers need the dependency group bench")
    return load("peers")


def disc(size, centre, radius):
    y, x = np.indices(size)
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def bent():
    """A ring with a gap: its middle and the line between its ends lie outside."""
    ring = disc((120, 120), (60, 60), 45) & ~disc((120, 120), (60, 60), 25)
    ring[55:66, 60:] = False
    return ring


MASKS = {
    "disc": disc((80, 90), (40, 45), 25),
    "tiny": disc((30, 30), (15, 15), 1),
    "pixel": disc((30, 30), (15, 15), 0),
    "corner": disc((60, 60), (0, 0), 30),
    "long": np.pad(np.ones((4, 70), bool), 15),
    "bent": bent(),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("seed", range(5))
def test_object_strokes_lie_inside(simulate, name, seed):
    mask = MASKS[name]
    stroke = simulate.object_stroke(mask, np.random.default_rng(seed))
    assert stroke.any()
    assert stroke.shape == mask.shape
    assert not (stroke & ~mask).any()


@pytest.mark.parametrize("seed", range(10))
def test_an_object_stroke_is_one_thin_piece_off_the_boundary(simulate, seed):
    mask = MASKS["disc"]
    stroke = simulate.object_stroke(mask, np.random.default_rng(seed))
    assert ndimage.label(stroke, np.ones((3, 3)))[1] == 1
    assert stroke.sum() < 0.2 * mask.sum()
    # Deeper than 35 % of the radius, less the sag and the stroke's own width.
    assert ndimage.distance_transform_edt(mask)[stroke].min() > 2


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("seed", range(5))
def test_background_arcs_keep_clear_of_the_object(simulate, name, seed):
    mask = MASKS[name]
    stroke = simulate.background_arc(mask, np.random.default_rng(seed))
    assert stroke.sum() >= 10
    assert ndimage.distance_transform_edt(~mask)[stroke].min() > 2


@pytest.mark.parametrize("seed", range(5))
def test_a_background_arc_is_an_arc_and_no_ring(simulate, seed):
    mask = MASKS["disc"]
    stroke = simulate.background_arc(mask, np.random.default_rng(seed))
    y, x = np.argwhere(stroke).T
    angles = np.sort(np.degrees(np.arctan2(y - 40, x - 45)))
    widest = np.diff(np.append(angles, angles[0] + 360)).max()
    assert 90 - 10 < 360 - widest < 220 + 10


def test_a_tight_image_still_gets_background(simulate):
    mask = np.ones((40, 40), bool)
    mask[:4, :4] = False
    stroke = simulate.background_arc(mask, np.random.default_rng(0))
    assert stroke.any()
    assert not (stroke & mask).any()


@pytest.mark.parametrize("seed", range(5))
def test_background_waves_keep_clear_of_all_objects(simulate, seed):
    objects = disc((200, 200), (50, 60), 25) | disc((200, 200), (140, 130), 30)
    stroke = simulate.background_waves(objects, np.random.default_rng(seed))
    assert stroke.sum() > 60
    assert ndimage.distance_transform_edt(~objects)[stroke].min() > 2


@pytest.mark.parametrize("rule", ["object_stroke", "background_arc", "background_waves"])
def test_strokes_depend_on_the_seed_alone(simulate, rule):
    draw = getattr(simulate, rule)
    mask = MASKS["disc"]
    first, again, other = (draw(mask, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_fair_keeps_the_touched_components_and_fills_holes(peers):
    mask = disc((80, 160), (40, 40), 30) & ~disc((80, 160), (40, 40), 8)
    mask |= disc((80, 160), (40, 120), 20)
    strokes = np.zeros_like(mask)
    strokes[20, 35:45] = True
    np.testing.assert_array_equal(peers.fair(mask, strokes), disc((80, 160), (40, 40), 30))


def test_fair_keeps_the_strokes_and_is_empty_without_them(peers):
    mask = disc((60, 60), (30, 30), 10)
    strokes = np.zeros_like(mask)
    assert not peers.fair(mask, strokes).any()
    strokes[2, 2:6] = True
    np.testing.assert_array_equal(peers.fair(mask, strokes), strokes)


@pytest.fixture
def case(load, scene):
    """The scene with a second object, as the peers get it."""
    pytest.importorskip("cv2", reason="the peers need the dependency group bench")
    return load("data").Case(
        name="scene", image=scene.image, scribbles=scene.scribbles, truth=scene.truth * 2
    )


# The walker is run as fast as it goes, which costs it some precision.
@pytest.mark.filterwarnings("ignore:The probability range is outside:UserWarning")
def test_peers_find_an_easy_object_in_one_piece(peers, case):
    evidence = 1 / (1 + np.exp(-20 * (case.image - 0.25)))
    found = [
        peers.walker(case),
        peers.grab_cut(case),
        peers.graph_cut(case, evidence.astype(np.float32)),
    ]
    truth = case.truth == 2
    for labels in found:
        mask = labels == 2
        assert (mask & truth).sum() / (mask | truth).sum() > 0.85
        assert mask[case.scribbles == 2].all()
        assert not mask[case.scribbles == 1].any()
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)


@pytest.fixture
def forms(load):
    return load("forms")


@pytest.fixture
def corruption(load):
    return load("corruption")


def cut_to_box(mask):
    return mask[ndimage.find_objects(mask.astype(int))[0]]


def in_one_piece(mask):
    return ndimage.label(mask, np.ones((3,) * mask.ndim))[1] == 1


def clear_of_the_border(mask):
    inner = np.zeros_like(mask)
    inner[(slice(1, -1),) * mask.ndim] = True
    return not (mask & ~inner).any()


@pytest.mark.parametrize("angle", [0, 37, 90, 215])
def test_flat_forms_are_one_piece_inside_the_image_and_not_convex(forms, angle):
    assert list(forms.FLAT) == ["C", "star", "crescent", "L", "ring", "neurite", "spiral"]
    for name, form in forms.FLAT.items():
        mask = forms.draw(form, 128, angle=angle)
        assert mask.shape == (128, 128), name
        assert in_one_piece(mask), name
        assert clear_of_the_border(mask), name
        assert not certify(mask, kind="convex").holds, name


def test_forms_keep_their_area_at_any_size_and_turn(forms):
    for name, form in forms.FLAT.items():
        fine = forms.draw(form, 400).mean()
        assert forms.draw(form, 200).mean() == pytest.approx(fine, rel=0.03), name
        assert forms.draw(form, 400, angle=37).mean() == pytest.approx(fine, rel=0.02), name
        assert forms.draw(form, 400, scale=0.5).mean() == pytest.approx(fine / 4, rel=0.05), name


def test_a_quarter_turn_is_that_of_the_array(forms):
    for form in forms.FLAT.values():
        straight, turned = (forms.draw(form, 101, angle=a) for a in (0, 90))
        # Angles are measured on the image: from the last axis on to the one before it.
        assert (np.rot90(straight, -1) != turned).mean() < 0.003


def test_solid_forms_are_one_piece_inside_the_volume(forms):
    for name, form in forms.SOLID.items():
        mask = forms.draw(form, 48, ndim=3)
        assert mask.shape == (48, 48, 48), name
        assert in_one_piece(mask), name
        assert clear_of_the_border(mask), name
        assert certify(mask, kind="convex").holds == (name == "ellipsoid"), name


def test_a_tube_is_all_that_is_near_its_line(forms):
    y, x = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40), indexing="ij")
    line = [(0.2, 0.2), (0.8, 0.3), (0.5, 0.8)]
    fine = np.concatenate([np.linspace(a, b, 2000) for a, b in itertools.pairwise(line)])
    away = np.min([np.hypot(y - a, x - b) for a, b in fine], axis=0)
    np.testing.assert_array_equal(forms.tube((y, x), line, 0.1), away < 0.1)


def test_convex_objects_are_convex_and_some_touch(corruption):
    labels = corruption.convex_objects(256, 16)
    assert np.unique(labels).tolist() == list(range(17))
    for label in range(1, 17):
        assert certify(labels == label, kind="convex").holds
    larger = ndimage.maximum_filter(labels, 3)
    assert ((labels > 0) & (larger != labels)).any()


def test_bent_objects_are_one_piece_and_not_convex(corruption):
    labels = corruption.bent_objects(256, 12)
    assert np.unique(labels).tolist() == list(range(13))
    for label in range(1, 13):
        mask = labels == label
        assert in_one_piece(mask)
        assert not certify(mask, kind="convex").holds


@pytest.mark.parametrize("make", ["convex_objects", "bent_objects"])
def test_damage_depends_on_the_seed_alone_and_keeps_all_ids(corruption, make):
    truth = getattr(corruption, make)(256, 16, seed=2)
    untouched = truth.copy()
    first, again, other = (corruption.corrupt(truth, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(truth, untouched)
    assert (first != other).any()
    assert np.unique(first).tolist() == np.unique(truth).tolist()
    for label in range(1, 17):
        assert ((first == label) != (truth == label)).any()
    # What one object gained belonged to no other, unless that one lost it.
    gained = (first != truth) & (first > 0)
    assert (np.isin(truth[gained], 0) | (first[gained] != truth[gained])).all()


def test_damage_keeps_ids_with_holes(corruption):
    truth = corruption.convex_objects(128, 4)
    truth[truth > 0] = truth[truth > 0] * 7 + 1
    assert np.unique(corruption.corrupt(truth)).tolist() == [0, 8, 15, 22, 29]


def test_each_kind_of_damage_does_what_it_is_called(corruption):
    mask = disc((120, 120), (60, 60), 30)
    for seed in range(5):
        damaged = {
            name: kind(mask, mask, 30.0, np.random.default_rng(seed))
            for name, kind in corruption.KINDS.items()
        }
        assert (damaged["chunk"] < mask).any()
        assert not (damaged["chunk"] & ~mask).any()
        assert (damaged["blob"] > mask).any()
        assert not (mask & ~damaged["blob"]).any()
        assert in_one_piece(damaged["blob"])
        assert not (damaged["cut"] & ~mask).any()
        assert ndimage.label(damaged["cut"])[1] == 2
        assert not (mask & ~damaged["pieces"]).any()
        assert not in_one_piece(damaged["pieces"])
        assert (damaged["rough"] & ~mask).any()
        assert (mask & ~damaged["rough"]).any()


def test_a_volume_has_all_its_objects(corruption):
    labels = corruption.volume(48, 27)
    assert labels.dtype == np.uint16
    assert np.unique(labels).tolist() == list(range(28))
    for label in range(1, 28):
        assert in_one_piece(labels == label)
    np.testing.assert_array_equal(labels, corruption.volume(48, 27))


@pytest.mark.parametrize("labelled", [None, 600])
def test_the_papers_recipe_learns_a_disc_whole_and_from_a_sample(load, monkeypatch, labelled):
    recipe = load("paper_recipe")
    # A disc of few pixels takes fewer steps than an image: they have to be longer.
    monkeypatch.setattr(recipe, "_RATE", 0.005)
    mask = disc((40, 40), (20, 20), 12)
    before = torch.random.get_rng_state()
    outcome = recipe.fit(mask, labelled=labelled, epochs=100)
    assert outcome.steps == 2 * 100
    assert (outcome.mask & mask).sum() / (outcome.mask | mask).sum() > 0.9
    assert (torch.random.get_rng_state() == before).all()


def test_the_papers_network_is_convex_after_its_flow(load):
    recipe = load("paper_recipe")
    torch.manual_seed(1)
    network = recipe.ConvexNetwork(2)
    a, b = torch.randn(2, 500, 2)
    with torch.no_grad():
        middle, ends = network((a + b) / 2), (network(a) + network(b)) / 2
    assert (middle <= ends + 1e-5).all()


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
    assert (
        "repairs is no part; use any of quality, speed, shapes, repair" in capsys.readouterr().err
    )


@pytest.fixture
def photos(load, data_dir):
    return load("photos")


def test_photographs_have_both_strokes_and_one_object(photos):
    for name, count in (("grabcut", 10), ("pets", 13)):
        cases = photos.PHOTOS[name]()
        assert len(cases) == count
        for case in cases:
            assert case.image.shape == (*case.truth.shape, 3)
            assert np.unique(case.scribbles).tolist() == [0, 1, 2]
            assert np.unique(case.truth).tolist() == [0, 2]
            assert not (case.ignore & (case.truth == 2)).any()


def test_pets_strokes_keep_clear_of_the_border_and_repeat(photos):
    for first, again in zip(photos.pets(), photos.pets(), strict=True):
        np.testing.assert_array_equal(first.scribbles, again.scribbles)
        assert not (first.ignore & (first.scribbles == 1)).any()
        assert (first.truth[first.scribbles == 2] == 2).all()
        assert first.ignore.any()


def test_tables_of_shapes(peers, load, photos):
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


def test_the_largest_piece_is_kept_and_filled(peers, load):
    repair = load("repair")
    mask = disc((60, 90), (30, 30), 20) & ~disc((60, 90), (30, 30), 6)
    mask |= disc((60, 90), (30, 75), 8)
    np.testing.assert_array_equal(repair.largest_filled(mask), disc((60, 90), (30, 30), 20))
