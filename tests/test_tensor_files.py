"""Arrays in one file."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest

from napari_implicitseg.errors import FileError
from napari_implicitseg.tensor_files import read_tensors, write_tensors


def test_arrays_and_description_come_back(tmp_path):
    tensors = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(7), "c": np.zeros(0, np.int32)}
    write_tensors(tmp_path / "t", tensors, metadata={"what": "µ"})
    read, metadata = read_tensors(tmp_path / "t", wanted="a test")
    assert metadata == {"what": "µ"}
    for name, values in tensors.items():
        np.testing.assert_array_equal(read[name], values)
        assert read[name].dtype == values.dtype


@pytest.mark.skipif(os.name != "posix", reason="of permissions of POSIX")
def test_a_file_has_the_permissions_of_others(tmp_path):
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "t", {"a": np.zeros(1)}, metadata={})
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("usual", "t")]
    assert modes[0] == modes[1]
    (tmp_path / "t").chmod(0o640)
    write_tensors(tmp_path / "t", {"a": np.ones(1)}, metadata={})
    assert stat.S_IMODE((tmp_path / "t").stat().st_mode) == 0o640


def test_what_is_no_such_file_is_told(tmp_path):
    (tmp_path / "t").write_bytes(b"\x80\x04")
    with pytest.raises(FileError, match="cannot be read as a test: .*no safetensors file"):
        read_tensors(tmp_path / "t", wanted="a test")
    with pytest.raises(FileError, match="Cannot read"):
        read_tensors(tmp_path / "nothing", wanted="a test")
