"""Edits on disk: a round trip, and everything that can be wrong with a file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import FileError, InputError, OutputExistsError
from napari_implicitseg.hierarchy.edits import (
    EditFile,
    Freeze,
    Merge,
    Seeds,
    Split,
    check_lifts,
    read_edits,
    write_edits,
)

SHAPE = (4, 5, 6)
KINDS = ((Split, "scribbles"), (Seeds, "seeds"))
VOXELS = st.tuples(*(st.integers(0, n - 1) for n in SHAPE))
GOOD = {
    "format": "napari-implicitseg/edits/1",
    "shape": [4, 5, 6],
    "threshold": 0.5,
    "edits": [
        {"kind": "split", "scribbles": [[[0, 0, 0]], [[0, 0, 2], [0, 0, 3]]]},
        {"kind": "merge", "voxels": [[0, 0, 0], [3, 4, 5]], "lifts": [0]},
        {"kind": "freeze", "voxels": [[0, 0, 0]], "frozen": True},
        {"kind": "seeds", "seeds": [[[1, 0, 0], [1, 0, 4]], [[2, 0, 0]]], "lifts": [0]},
    ],
}


@st.composite
def documents(draw):
    edits = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["merge", "split", "freeze", "seeds"]))
        voxels = draw(st.lists(VOXELS, min_size=2, max_size=6, unique=True))
        splits = [k for k, edit in enumerate(edits) if isinstance(edit, Split | Seeds)]
        lifts = draw(st.lists(st.sampled_from(splits), unique=True)) if splits else []
        if kind == "merge":
            edits.append(Merge(voxels=tuple(voxels), lifts=tuple(lifts)))
        elif kind == "split":
            edits.append(Split(scribbles=((voxels[0],), tuple(voxels[1:]))))
        elif kind == "seeds":
            edits.append(Seeds(seeds=((voxels[0],), tuple(voxels[1:])), lifts=tuple(lifts)))
        else:
            edits.append(Freeze(voxels=tuple(voxels), frozen=draw(st.booleans())))
    threshold = draw(st.floats(0, 1e300, allow_nan=False))
    return EditFile(shape=SHAPE, threshold=threshold, edits=tuple(edits))


def written(tmp_path, content):
    path = tmp_path / "edits.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


@settings(deadline=None, max_examples=60)
@given(documents())
def test_edits_come_back_as_they_were_saved(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("edits") / "edits.json"
    write_edits(path, document)
    assert read_edits(path) == document
    assert read_edits(str(path), shape=SHAPE) == document
    assert json.loads(path.read_text())["format"] == "napari-implicitseg/edits/1"


def test_a_file_is_readable_and_may_be_written_by_hand(tmp_path):
    document = read_edits(written(tmp_path, GOOD))
    assert [edit.kind for edit in document.edits] == ["split", "merge", "freeze", "seeds"]
    assert document.edits[1].lifts == (0,)
    assert document.edits[3] == Seeds(seeds=(((1, 0, 0), (1, 0, 4)), ((2, 0, 0),)), lifts=(0,))
    flat = {"format": GOOD["format"], "shape": [5, 6], "threshold": 1}
    assert read_edits(written(tmp_path, flat), shape=(5, 6)).edits == ()


def test_files_are_not_overwritten_unless_told_to(tmp_path):
    path = written(tmp_path, "mine")
    document = EditFile(shape=SHAPE, threshold=0.5)
    with pytest.raises(OutputExistsError, match="already exists"):
        write_edits(path, document)
    assert path.read_text() == "mine"
    write_edits(path, document, overwrite=True)
    assert read_edits(path) == document
    with pytest.raises(FileError):
        write_edits(tmp_path / "none" / "edits.json", document)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no JSON"),
        ('{"format": "napari-impl', "is no JSON"),
        ("\x00\x01", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "format None; needed is 'napari-implicitseg/edits/1'"),
        ("null", "format None"),
        ('{"format": "other/1"}', "format 'other/1'"),
        ('{"format": ["a"]}', "format"),
        (GOOD | {"format": "napari-implicitseg/edits/2"}, "needed is 'napari-implicitseg/edits/1'"),
    ],
)
def test_files_of_others_and_half_files_are_refused(tmp_path, content, message):
    with pytest.raises(FileError, match=message):
        read_edits(written(tmp_path, content))


def changed(edits=None, **top):
    return GOOD | top | ({} if edits is None else {"edits": edits})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(shape=[4]), "shape"),
        (changed(shape=[4, 5, 6, 7]), "shape"),
        (changed(shape=[4, 5, 0]), "shape.2"),
        (changed(shape=[4, 5, "6"]), "shape.2"),
        (changed(threshold=-1), "threshold"),
        (changed(threshold="half"), "threshold"),
        (changed(threshold=None), "threshold"),
        (changed(more=1), "more"),
        (changed([{"kind": "paint"}]), "edits.0"),
        (changed(["merge"]), "edits.0"),
        (changed([{"kind": "merge", "voxels": [[0, 0, 0]]}]), "edits.0.merge.voxels"),
        (changed([{"kind": "merge", "voxels": [[0, 0, 0], [0, 0, 1.5]]}]), "voxels.1.2"),
        (changed([{"kind": "merge", "voxels": [[0, 0, 0], [0]]}]), "voxels.1"),
        (changed([{"kind": "merge", "voxels": [[0, 0, 0], [0, 0, 1]], "x": 1}]), "edits.0.merge.x"),
        (changed([{"kind": "freeze", "voxels": []}]), "edits.0.freeze.voxels"),
        (changed([{"kind": "freeze", "voxels": [[0, 0, 0]], "frozen": 1}]), "frozen"),
        (changed([{"kind": "split", "scribbles": [[[0, 0, 0]]]}]), "split.scribbles"),
        (changed([{"kind": "split", "scribbles": [[[0, 0, 0]], []]}]), "scribbles.1"),
        (
            changed([{"kind": "split", "scribbles": [[[0, 0, 0]], [[0, 0, 1], [0, 0, 0]]]}]),
            r"voxel \(0, 0, 0\) is in two scribbles",
        ),
        (changed([{"kind": "seeds", "seeds": []}]), "edits.0.seeds.seeds"),
        (changed([{"kind": "seeds", "seeds": [[]]}]), "edits.0.seeds.seeds.0"),
        (
            changed([{"kind": "seeds", "seeds": [[[0, 0, 0]], [[0, 0, 0]]]}]),
            r"voxel \(0, 0, 0\) is in two seeds",
        ),
        (changed([{"kind": "seeds", "seeds": [[[0, 9, 0]]]}]), "outside a volume"),
        (
            changed([{"kind": "seeds", "seeds": [[[0, 0, 0]]], "lifts": [0]}]),
            "edit 0 lifts edit 0",
        ),
        (
            changed([{"kind": "freeze", "voxels": [[0, 0, 6]]}]),
            r"edit 0 names voxel \(0, 0, 6\), outside a volume of \(4, 5, 6\)",
        ),
        (changed([{"kind": "freeze", "voxels": [[-1, 0, 0]]}]), "outside a volume"),
        (changed([{"kind": "freeze", "voxels": [[0, 0]]}]), "outside a volume"),
        (changed([{"kind": "freeze", "voxels": [[0, 0, 10**30]]}]), "outside a volume|edits"),
        (
            changed([{"kind": "merge", "voxels": [[0, 0, 0], [0, 0, 1]], "lifts": [0]}]),
            "edit 0 lifts edit 0, which is no split before it",
        ),
        (
            changed([{"kind": "merge", "voxels": [[0, 0, 0], [0, 0, 1]], "lifts": [-1]}]),
            "lifts.0",
        ),
    ],
)
def test_files_with_a_mistake_are_refused_and_it_is_named(tmp_path, content, message):
    with pytest.raises(FileError, match=message) as caught:
        read_edits(written(tmp_path, content))
    assert "edits.json" in str(caught.value)


def test_nan_is_no_threshold(tmp_path):
    text = json.dumps(GOOD).replace("0.5", "NaN")
    with pytest.raises(FileError, match="threshold|edits.json"):
        read_edits(written(tmp_path, text))


def test_files_that_are_not_there_are_told(tmp_path):
    with pytest.raises(FileError, match="Cannot read"):
        read_edits(tmp_path / "none.json")
    with pytest.raises(FileError, match="Cannot read"):
        read_edits(tmp_path)
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(FileError, match="is no JSON"):
        read_edits(binary)


def test_edits_of_another_volume_are_refused(tmp_path):
    path = written(tmp_path, GOOD)
    with pytest.raises(InputError, match=r"of \(4, 5, 6\); this one has \(4, 5, 7\)"):
        read_edits(path, shape=(4, 5, 7))


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (Merge, {"voxels": ((0, 0),)}, "This is no Merge: voxels: .* at least 2 items"),
        (Merge, {}, "This is no Merge: voxels: Field required"),
        (Split, {"scribbles": (((0, 0),), ((0, 0),))}, "no Split: .* in two scribbles"),
        (Freeze, {"voxels": ((0, 0),), "frozen": 1}, "This is no Freeze: frozen"),
        (Seeds, {"seeds": (((0, 0),), ((0, 0.5),))}, r"This is no Seeds: seeds\.1\.0\.1"),
        (Seeds, {"seeds": (((0, 0),), ((0, 1), (0, 0)))}, "in two seeds"),
        (EditFile, {"shape": (2, 2), "threshold": -1}, "This is no EditFile: threshold"),
    ],
)
def test_edits_are_what_they_say(make, fields, message):
    with pytest.raises(InputError, match=message):
        make(**fields)


def test_only_earlier_splits_and_seeds_are_lifted():
    merge = Merge(voxels=((0, 0), (0, 1)), lifts=(0,))
    split, seeds = (kind(**{name: (((0, 0),), ((0, 1),))}) for kind, name in KINDS)
    check_lifts([split, merge])
    check_lifts([seeds, merge, seeds.model_copy(update={"lifts": (0,)})])
    for edits in ([merge], [Freeze(voxels=((0, 0),)), merge]):
        with pytest.raises(InputError, match="lifts edit 0, which is no split"):
            check_lifts(edits)
