"""`napari-implicitseg segment`: affinities or a volume in, labels out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_implicitseg import evaluate, labels_to_affinities
from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.volumes import Grid, read_labels
from napari_implicitseg.volumes.affinity_files import write_affinities

from .command_line import run

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
GRID = Grid(
    axes=("z", "y", "x"),
    scale=(0.04, 0.004, 0.004),
    translate=(1.0, 0.0, 0.0),
    units=("micrometer",) * 3,
)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Eight boxes."""
    return np.kron(np.arange(1, 9).reshape(2, 2, 2), np.ones((4, 10, 12))).astype(np.uint32)


@pytest.fixture(scope="module")
def files(tmp_path_factory, truth):
    folder = tmp_path_factory.mktemp("segment")
    affinities = labels_to_affinities(truth, OFFSETS, spacing=(40, 4, 4))
    rng = np.random.default_rng(0)
    data = np.abs(affinities.data - 0.3 * rng.random(affinities.data.shape)).astype(np.float32)
    affinities = type(affinities)(data=data, offsets=OFFSETS, spacing=(40, 4, 4))
    for name in ("a.zarr", "a.h5"):
        write_affinities(folder / name, affinities, GRID)
    seeds = np.zeros(truth.shape, np.uint16)
    seeds[0, 0, 0], seeds[-1, -1, -1] = 7, 300
    tifffile.imwrite(folder / "seeds.tif", seeds)
    tifffile.imwrite(folder / "image.tif", truth.astype(np.uint8) * 20)
    tifffile.imwrite(folder / "truth.tif", truth)
    tifffile.imwrite(folder / "fractions.tif", seeds.astype(np.float32) + 0.5)
    return folder


@pytest.mark.parametrize("name", ["a.zarr", "a.h5"])
@pytest.mark.parametrize("linkage", ["mean", "single", "quantile"])
def test_objects_are_found_and_lie_where_the_volume_does(files, truth, tmp_path, name, linkage):
    out = tmp_path / "out.zarr"
    done = run("segment", files / name, "-o", out, "--linkage", linkage, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["objects"], report["shape"]) == (8, [8, 20, 24])
    found = read_labels(out)
    assert evaluate(np.asarray(found.data), truth)["voi"] == 0
    grid = found.grid(None)
    assert np.allclose(grid.spacing_in("nanometer"), (40, 4, 4))


def test_what_is_written_as_hdf5_and_as_zarr_is_read_alike(files, tmp_path):
    grids = []
    for name in ("a.zarr", "a.h5"):
        out = tmp_path / f"{name}.ome.tif"
        assert run("segment", files / name, "-o", out).returncode == 0
        grids.append(read_labels(out).grid(None).spacing_in("nanometer"))
    assert np.allclose(*grids)


def test_seeds_give_objects_their_ids(files, tmp_path):
    out = tmp_path / "out.tif"
    done = run("segment", files / "a.h5", "-o", out, "--seeds", files / "seeds.tif")
    assert done.returncode == 0, done.stderr
    labels = tifffile.imread(out)
    assert set(np.unique(labels)) == {7, 300}
    assert (labels[0, 0, 0], labels[-1, -1, -1]) == (7, 300)


def test_seeds_of_a_volume_one_voxel_thick_fit(tmp_path):
    truth = np.repeat([[[1] * 6 + [2] * 6]], 12, axis=1)
    edges = labels_to_affinities(truth, [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
    write_affinities(tmp_path / "thin.h5", edges, GRID)
    seeds = np.zeros((1, 12, 12), np.uint16)
    seeds[0, 3, 2], seeds[0, 3, 9] = 5, 9
    tifffile.imwrite(tmp_path / "seeds.tif", seeds)
    out = tmp_path / "out.tif"
    done = run("segment", tmp_path / "thin.h5", "-o", out, "--seeds", tmp_path / "seeds.tif")
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.squeeze(tifffile.imread(out)), np.where(truth[0] == 1, 5, 9))


@pytest.mark.parametrize(
    "options", [("--objects", "2", "--threshold", "0.2"), ("--quantile", "0.3"), ("--channel", "1")]
)
def test_options_without_effect_are_told_of(files, tmp_path, options):
    done = run("segment", files / "a.h5", "-o", tmp_path / "out.tif", *options)
    assert done.returncode == 0, done.stderr
    assert f"warning: {options[-2]} does nothing here" in done.stderr


def test_an_interruption_inside_compiled_code_is_one(files, tmp_path, monkeypatch):
    def merge(*_):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr("napari_implicitseg.hierarchy.linkages.merge_chains", merge)
    done = run("segment", files / "a.h5", "-o", tmp_path / "out.tif")
    assert done.returncode == 130
    assert done.stderr == "error: Interrupted.\n"


@pytest.mark.parametrize(
    ("options", "objects"), [(("--objects", "3"), 3), (("--optimal",), 8), (("--threshold", 0), 1)]
)
def test_a_hierarchy_may_be_cut_in_other_ways(files, tmp_path, options, objects):
    done = run("segment", files / "a.h5", "-o", tmp_path / "out.tif", "--json", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["objects"] == objects


def test_a_volume_is_predicted_first(files, tmp_path):
    out = tmp_path / "out.tif"
    done = run(
        "segment", files / "image.tif", "-o", out, "--model", "fibsem-isotropic",
        "--spacing", "10", "--unit", "nm",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tifffile.imread(out).shape == (8, 20, 24)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("image.tif", "-o", "x.tif"), "give the network: --model"),
        (("none.h5", "-o", "x.tif"), "'none.h5' does not exist"),
        (("a.h5", "-o", "x.tif", "--linkage", "best"), "linkage is 'best'; choose one of"),
        (("a.h5", "-o", "x.tif", "--fragments", "best"), "fragments is 'best'"),
        (("a.h5", "-o", "x.tif", "--threshold", "2"), "from 0 to 1"),
        (("a.h5", "-o", "x.tif", "--threshold", "nan"), "from 0 to 1"),
        (("a.h5", "-o", "x.tif", "--objects", "3", "--optimal"), "A number of objects"),
        (("a.h5", "-o", "x.tif", "--objects", "3", "--stitch", "0.5"), "A number of objects"),
        (("a.h5", "-o", "x.tif", "--seeds", "seeds.tif", "--optimal"), "no choice beside seeds"),
        (("a.h5", "-o", "x.tif", "--seeds", "seeds.tif", "--threshold", "7"), "from 0 to 1"),
        (("a.h5", "-o", "x.tif", "--seeds", "fractions.tif"), "fractions.tif"),
        (("a.h5", "-o", "truth.tif"), "already exists"),
        (("a.h5", "-o", "x.png"), "x.png"),
        (("truth.tif", "-o", "x.tif", "--model", "none"), "'none'"),
    ],
)
def test_what_cannot_be_segmented_is_told_in_one_line(files, arguments, message):
    done = run("segment", *arguments, cwd=files)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (files / "x.tif").exists()


def test_with_seeds_a_threshold_leaves_what_no_seed_reaches_apart(files, tmp_path):
    words = ("segment", files / "a.h5", "--seeds", files / "seeds.tif")
    everything, some = tmp_path / "all.tif", tmp_path / "some.tif"
    assert run(*words, "-o", everything).returncode == 0
    done = run(*words, "-o", some, "--threshold", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(np.unique(tifffile.imread(everything))) == 2
    found = tifffile.imread(some)
    assert len(np.unique(found)) == 8
    assert {7, 300} < set(np.unique(found).tolist())


def test_specks_are_advised_against(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.random((3, 12, 40, 40)).astype(np.float32)
    made = Affinities(data=data, offsets=OFFSETS, spacing=(1, 1, 1))
    write_affinities(tmp_path / "a.h5", made, GRID)
    words = ("segment", tmp_path / "a.h5", "--linkage", "single", "--threshold", "0.9")
    done = run(*words, "-o", tmp_path / "one.tif")
    assert "fewer than 25 voxels: give --min-size 25" in done.stderr
    done = run(*words, "-o", tmp_path / "two.tif", "--min-size", "25")
    assert done.stderr == ""
