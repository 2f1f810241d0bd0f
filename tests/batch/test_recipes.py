"""Recipes: what is written is read again, and what is ambiguous or none is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg import BatchConfig, FitConfig
from napari_implicitseg.batch.recipes import read_recipe, write_recipe
from napari_implicitseg.errors import FileError, InputError

JOBS = st.sampled_from(["predict", "segment", "repair", "scribble", "evaluate"])
COUNTS = st.none() | st.lists(st.integers(1, 2**40), min_size=1, max_size=3).map(tuple)
SIZES = st.floats(1e-9, 1e9, allow_nan=False)
NAMES = st.text(st.sampled_from("abcXYZ019_-"), min_size=1, max_size=9).filter(
    lambda name: name[0].isalnum()
)
PATHS = st.none() | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
)
OPTIONS = {
    "model": PATHS,
    "name": st.none() | NAMES,
    "block_shape": COUNTS,
    "halo": COUNTS,
    "threshold": st.floats(0, 1),
    "linkage": st.sampled_from(["mean", "single", "quantile"]),
    "min_size": st.none() | st.integers(0, 10**9),
    "dtype": st.sampled_from(["uint8", "float16"]),
    "level": st.integers(0, 9),
    "time": st.none() | st.integers(0, 9),
    "spacing": st.none() | st.lists(SIZES, min_size=1, max_size=3).map(tuple),
    "unit": PATHS,
    "shape": st.sampled_from(["convex", "connected", "star", "symmetric", "free"]),
    "ids": st.none() | st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=4).map(tuple),
    "scribbles": PATHS,
    "background": st.none() | st.integers(0, 2**64 - 1),
    "fit": st.builds(FitConfig, steps=st.none() | st.integers(1, 99), per_slice=st.booleans()),
    "seed": st.integers(0, 2**63 - 1),
    "truth": PATHS,
    "ignore": st.none() | st.integers(0, 2**64 - 1),
    "border": st.none() | st.floats(0, 1e9),
}


@given(st.data())
def test_a_recipe_is_read_as_it_was_written(tmp_path_factory, data):
    job = data.draw(JOBS)
    chosen = {name: data.draw(values, label=name) for name, values in OPTIONS.items()}
    needed = {"predict": "model", "evaluate": "truth"}.get(job)
    if needed and chosen[needed] is None:
        chosen[needed] = "some"
    config = BatchConfig(job=job, **chosen)
    source, target = data.draw(PATHS), data.draw(PATHS)
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    write_recipe(path, config, source=source, target=target)
    found = read_recipe(path)
    assert (found.source, found.target) == (source, target)
    again = found.config()
    for name in set(chosen) - set(config.unused()):
        assert getattr(again, name) == getattr(config, name), name
    assert again.matters() == config.matters()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("threshold: 0.1\nname: a\nthreshold: 0.2", "says 'threshold' twice"),
        ("block-shape: 8\nblock_shape: 16", "says 'block_shape' twice"),
        ("fit: {steps: 4, steps: 5}", "says 'steps' twice"),
        ("source: [a.zarr, b.zarr]", r"the source is \['a.zarr', 'b.zarr'\]; give a path"),
        ("target: 5", "the target is 5; give a path"),
        ("fit: [1]", r"fit is \[1\]"),
        ("fit: {fit: {steps: 3}}", "fit has the option 'fit'"),
        ("block_shape: &a [*a]", "block_shape is"),
        ("threshold: .nan", "threshold is nan"),
        ("ids: '3,7'", "ids is '3,7'"),
        ("ids: [18446744073709551616]", "ids holds 18446744073709551616; ids go up to"),
        ("background: 99999999999999999999", "background is 9{20}; give a whole number up to"),
        ("seed: 9223372036854775808", "seed is 9223372036854775808; give a whole number up to"),
        (f"name: {'a' * 300}", "name has 300 letters"),
        ("name: zarr.json", "name is 'zarr.json', which files beside the labels are called"),
        ("name: a.lock", "name is 'a.lock'"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("[" * 5000, "cannot be read as YAML"),
        ("a: " * 3, "cannot be read as YAML"),
    ],
)
def test_what_says_nothing_or_two_things_is_refused(tmp_path, text, words):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises((InputError, FileError)) as error:
        read_recipe(path).config()
    assert re.search(words, str(error.value))
