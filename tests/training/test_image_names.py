"""Short names of images, and images found by them."""

from __future__ import annotations

import pytest

from napari_implicitseg.training.image_names import KnownNames, ToldNames


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("'/d/a.png'", "'/d/b.png'"), ("'a.png'", "'b.png'")),
        (("'/d/a/x.png'", "'/d/b/x.png'"), ("'a/x.png'", "'b/x.png'")),
        (("'/p/a/x.png'", "'/q/a/x.png'", "'/q/y.png'"), ("'p/a/x.png'", "'q/a/x.png'", "'y.png'")),
        (("'x.png'", "'a/x.png'"), ("'x.png'", "'a/x.png'")),
        (("'C:\\\\a\\\\x.png'", "'C:\\\\b\\\\x.png'"), ("'a/x.png'", "'b/x.png'")),
        (("'s3://k/a/x.zarr'", "'s3://k/b/x.zarr'"), ("'a/x.zarr'", "'b/x.zarr'")),
        (("image 1", "image 2"), ("image 1", "image 2")),
    ],
)
def test_names_are_as_short_as_tells_them_apart(names, told):
    say = ToldNames(names)
    assert tuple(map(say, names)) == told
    for name, short in zip(names, told, strict=True):
        assert say(f"{name} (y 3 to 9)") == f"{short} (y 3 to 9)"
        found = KnownNames(names).matching(short)
        # What has no folder may be any of its name.
        assert found == [name] or (short == "'x.png'" and name in found)


def test_what_is_not_known_is_told_without_its_folder():
    assert ToldNames(())("'/a/b.png' (x 1 to 2)") == "'b.png' (x 1 to 2)"
    files = KnownNames(("'/a/x.png'", "'/b/x.png'", "image 3", "image 2", "'image 2'"))
    assert files.matching("'x.png'") == ["'/a/x.png'", "'/b/x.png'"]
    assert files.matching("'b/x.png'") == ["'/b/x.png'"]
    assert files.matching("'c/a/x.png'") == []
    assert files.matching("image 3") == ["image 3"]
    assert files.matching("'image 2'") == ["'image 2'"]
    assert KnownNames(("'/ba/x.png'",)).matching("'a/x.png'") == []
