"""Steps before and after a network, sizes and axes of tensors: by reference and by law."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_implicitseg.errors import FileError
from napari_implicitseg.models.bioimage.files import PackageFiles
from napari_implicitseg.models.bioimage.importing import import_bioimageio
from napari_implicitseg.models.bioimage.processing import Step, fit_steps, read_steps
from napari_implicitseg.models.bioimage.tensors import AxisOrder, Windows

pytest.importorskip("bioimageio.core", reason='needs the extra "bioimageio"')

from . import packages

SPACE = ["y", "x"]
STEPS = {
    "binarize": {"threshold": 90.0},
    "clip": {"min": 40.0, "max": 120.5},
    "clip percentiles": {"min_percentile": 5, "max_percentile": 90, "axes": SPACE},
    "fixed_zero_mean_unit_variance": {"mean": 50.0, "std": 12.0},
    "fixed_zero_mean_unit_variance channels": {
        "mean": [50.0, 60.0],
        "std": [2.0, 12.0],
        "axis": "channel",
    },
    "scale_linear": {"gain": 0.5, "offset": -3.0},
    "scale_linear channels": {"gain": [0.5, 2.0], "offset": [1.0, -3.0], "axis": "channel"},
    "scale_range": {"axes": ["channel", *SPACE]},
    "scale_range channels": {"axes": SPACE, "min_percentile": 3.0, "max_percentile": 98.5},
    "zero_mean_unit_variance": {"axes": ["channel", *SPACE]},
    "zero_mean_unit_variance channels": {"axes": SPACE, "eps": 1e-3},
    "sigmoid": {},
    "softmax": {"axis": "channel"},
    "ensure_dtype": {"dtype": "uint8"},
}


@pytest.fixture
def raw(rng):
    """Return an image of two channels of different brightness."""
    return np.stack([rng.normal(40, 20, (11, 14)), rng.normal(90, 30, (11, 14))]).clip(0, 255)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_gives_what_bioimageio_core_gives(tmp_path, raw, name):
    raw = np.round(raw).astype(np.float32)
    if name in ("sigmoid", "softmax"):
        raw = raw / 100
    step = {"id": name.split()[0], **({"kwargs": STEPS[name]} if STEPS[name] else {})}
    content = packages.description()
    tensor = content["inputs"][0]
    tensor["axes"][1] = packages.channel(["a", "b"])
    tensor["preprocessing"] = [step, {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}}]
    model = packages.network(np.zeros((1, 2, 3, 3), np.float32))
    content["weights"] = packages.description(model)["weights"]
    path = packages.write(tmp_path / "package", content, {"weights.onnx": model})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import Sample, Tensor, create_prediction_pipeline, load_model

        pipeline = create_prediction_pipeline(load_model(path, perform_io_checks=False))
        values = Tensor.from_numpy(raw[None], dims=("batch", "channel", *SPACE))
        sample = Sample(members={"raw": values}, stat={}, id="sample")
        pipeline.apply_preprocessing(sample)
    theirs = sample.members["raw"].data.to_numpy()[0]
    ours = fit_steps(import_bioimageio(path).before, [c.ravel() for c in raw])(raw)
    # A step's own eps is not heeded by bioimageio.core, which the format defines.
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)
    assert ours.dtype == np.float32


def test_each_channel_may_have_a_threshold(raw):
    step = Step(kind="binarize", options={"threshold": [20.0, 90.0], "axis": "channel"})
    np.testing.assert_array_equal(fit_steps([step])(raw), [raw[0] > 20, raw[1] > 90])


def test_figures_are_those_of_the_image_before_the_first_step(raw):
    steps = (
        Step(kind="scale_linear", options={"gain": 10.0, "offset": 0.0}),
        Step(kind="zero_mean_unit_variance", options={"axes": SPACE, "eps": 0.0}),
    )
    samples = [c.ravel() for c in raw]
    wanted = [(10 * c - c.mean()) / c.std() for c in raw]
    np.testing.assert_allclose(fit_steps(steps, samples)(raw), wanted, rtol=1e-4)


def test_figures_over_batches_are_those_of_all_images(raw):
    one = Step(kind="zero_mean_unit_variance", options={"axes": ["batch", "channel", *SPACE]})
    each = Step(kind="zero_mean_unit_variance", options={"axes": ["channel", *SPACE]})
    assert one.over_all
    assert not each.over_all
    samples, others = [c.ravel() for c in raw], [c.ravel() + 7 for c in raw]
    shifted = fit_steps([one], samples, others)(raw + 7)
    np.testing.assert_allclose(shifted, fit_steps([each], samples)(raw), atol=1e-5)


def test_a_sigmoid_of_large_numbers_does_not_overflow():
    values = np.array([[-1e4, 0, 1e4]], np.float32)
    step = fit_steps([Step(kind="sigmoid", options={})])
    np.testing.assert_array_equal(step(values), [[0, 0.5, 1]])


@pytest.mark.parametrize(
    ("kind", "options", "match"),
    [
        ("stardist", {}, "is not one that is known here"),
        ("scale_linear", {"axis": "y"}, "goes along the axis 'y'"),
        ("ensure_dtype", {"dtype": "object"}, "asks for the type 'object'"),
        ("scale_range", {"reference_tensor": "other"}, "measures another tensor, 'other'"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(kind, options, match):
    with pytest.raises(FileError, match=f"'a.zip': the step {kind!r} of the tensor 'raw' {match}"):
        read_steps(
            [{"id": kind, "kwargs": options}],
            tensor="raw",
            axes=("y", "x"),
            measured=True,
            source="a.zip",
        )


@given(st.permutations(["batch", "channel", "z", "y", "x"]), st.data())
def test_tensors_are_turned_there_and_back(names, data):
    kept = tuple(n for n in names if n in "yx" or data.draw(st.booleans()))
    order = AxisOrder(names=kept)
    shape = (3 if "channel" in kept else 1, *(4, 5, 6)[3 - len(order.spatial) :])
    values = np.arange(np.prod(shape)).reshape(shape)
    packed = order.packed(values)
    assert packed.ndim == len(kept)
    for axis, name in enumerate(kept):
        size = {"batch": 1, "channel": shape[0], **dict(zip("xyz", shape[::-1], strict=False))}
        assert packed.shape[axis] == size[name]
    np.testing.assert_array_equal(order.unpacked(packed), values)


AXIS = st.tuples(
    st.integers(1, 60), st.integers(0, 20), st.integers(0, 25), st.integers(1, 200)
).filter(lambda a: a[1] or a[0] > 2 * a[2])


@given(st.lists(AXIS, min_size=2, max_size=3), st.booleans())
def test_windows_are_of_sizes_a_network_takes_and_hold_what_is_kept(axes, coupled):
    least, step, margin, tile = zip(*axes, strict=True)
    least = tuple(  # As `read_windows` gives them: something is always left.
        n + (max(0, -(-(2 * m + 1 - n) // s)) * s if s else 0)
        for n, s, m in zip(least, step, margin, strict=True)
    )
    window = Windows(least=least, step=step, margin=margin, coupled=coupled).fitted(tile)
    counts = set()
    for size, block, (_, s, m, t), low in zip(window.sizes, window.block, axes, least, strict=True):
        assert 1 <= block <= size - 2 * m
        assert size >= low
        if s:
            assert (size - low) % s == 0
            assert block % s == 0 or block < s
            assert size - 2 * m >= min(t, size - 2 * m)
            if not coupled:
                assert size == low or size - s - 2 * m < t
            counts.add((size - low) // s)
        else:
            assert size == low
    assert not coupled or len(counts) <= 1


def test_only_files_of_the_package_are_read(tmp_path):
    (tmp_path / "secret").write_text("secret")
    path = packages.boundary_package(tmp_path / "package")
    files = PackageFiles(path)
    for name in ("../secret", str(tmp_path / "secret"), "https://example.org/weights.onnx"):
        with pytest.raises(FileError, match="has no file"):
            files.read(name)
