"""Packages this package exports: valid, run by bioimageio.core, and read back as they were."""

from __future__ import annotations

import io
import socket
import sys
import warnings
import zipfile
from datetime import UTC, datetime

import numpy as np
import pytest
import yaml

from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.errors import FileError, InputError, OutputExistsError
from napari_implicitseg.models.affinity import AffinityModel
from napari_implicitseg.models.bioimage import (
    ForeignModel,
    PackageInfo,
    export_bioimageio,
    import_bioimageio,
)
from napari_implicitseg.models.normalise import Normalisation
from napari_implicitseg.predictors.cnn import CNN, CNNConfig
from napari_implicitseg.predictors.unet import UNet, UNetConfig

pytest.importorskip("bioimageio.core", reason='needs the extra "bioimageio"')

WHEN = datetime(2025, 3, 4, tzinfo=UTC)
OURS = ("model.json", "weights.safetensors")


def unet_3d() -> AffinityModel:
    """Return an anisotropic network with outputs that are no affinities."""
    config = UNetConfig(
        ndim=3,
        in_channels=1,
        out_channels=5,
        widths=(3, 4),
        kernels=((1, 3, 3), (3, 3, 3)),
        poolings=((1, 2, 2),),
        convolutions=(1, 1),
        norm="group",
        residual=True,
    )
    return AffinityModel(
        network=UNet(config, seed=2),
        offsets=neighbourhood("direct", ndim=3),
        spacing=(40.0, 4.0, 4.0),
        unit="nm",
        name="µ/small",
        training={"licence": "CC BY 3.0", "data": "a volume", "config": {"loss": "malis"}},
        metrics={"voi": 0.75},
    )


def cnn_2d() -> AffinityModel:
    """Return a network of two channels and a fixed range of grey levels."""
    return AffinityModel(
        network=CNN(CNNConfig(in_channels=2, features=(4, 3), kernel=3), seed=1),
        offsets=((-1, 0), (0, -1), (-3, 2)),
        spacing=(1.0, 1.0),
        normalisation=Normalisation(kind="range", low=20, high=200),
        name="flat",
        training={"licence": "MIT"},
    )


MODELS = {"3d": unet_3d, "2d": cnn_2d}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse any connection."""

    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def package(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "package.zip"
    info = PackageInfo(timestamp=WHEN)
    return export_bioimageio(model, path, info=info, torchscript=model.ndim == 3)


@pytest.fixture
def foreign(package, tmp_path):
    """Return the package without the files of the model itself, as any program's."""
    path = tmp_path / "foreign.zip"
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(path, "w") as target:
        for name in set(source.namelist()) - set(OURS):
            target.writestr(name, source.read(name))
    return path


def description(path):
    with zipfile.ZipFile(path) as archive:
        return yaml.safe_load(archive.read("rdf.yaml"))


def unpacked(path):
    """Unpack a package beside it: bioimageio.core leaves archives open."""
    folder = path.with_suffix("")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder / "rdf.yaml"


def image(model, rng, shape):
    """Return a smooth volume with the channels of a model."""
    raw = rng.random((model.channels, *shape))
    raw = sum(np.roll(raw, i, axis=axis) for axis in range(1, raw.ndim) for i in range(3))
    return (raw * 30).astype(np.uint8)


def interior(model, shape):
    """Return slices of the voxels that see nothing beyond the borders."""
    axes = zip(model.network.config.halo, shape, strict=True)
    return (slice(None), *(slice(halo, n - halo) for halo, n in axes))


def test_a_package_passes_the_tests_of_bioimageio_core(model, package):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import test_model

        summary = test_model(unpacked(package))
    assert summary.status == "passed", summary.format()
    tested = {d.name for d in summary.details if "Reproduce test outputs" in d.name}
    assert len(tested) == (2 if model.ndim == 3 else 1)


@pytest.mark.parametrize("odd", [0, 1])
def test_a_package_is_read_back_as_the_model_it_was(model, package, rng, odd):
    shape = (5 + odd, 23, 26)[3 - model.ndim :]
    raw = image(model, rng, shape)
    found = import_bioimageio(package)
    assert isinstance(found, AffinityModel)
    assert (found.offsets, found.spacing) == (model.offsets, model.spacing)
    assert (found.normalisation, found.training) == (model.normalisation, model.training)
    before, after = model.predict(raw), found.predict(raw)
    np.testing.assert_allclose(after.data, before.data, atol=1e-6)
    assert after.offsets == before.offsets


def test_reading_it_back_needs_no_extra(package, monkeypatch):
    for name in ("bioimageio", "bioimageio.spec", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    assert isinstance(import_bioimageio(package), AffinityModel)


@pytest.mark.parametrize("odd", [0, 1])
def test_the_network_in_it_gives_the_same_as_the_model_away_from_borders(model, foreign, rng, odd):
    halo = model.network.config.halo
    shape = tuple(2 * h + 9 + odd for h in halo)
    raw = image(model, rng, shape)
    found = import_bioimageio(foreign)
    assert isinstance(found, ForeignModel)
    inside = interior(model, shape)
    before, after = model.predict(raw), found.predict(raw, tile_shape=(6,) * model.ndim)
    np.testing.assert_allclose(after.data[inside], before.data[inside], atol=1e-4)
    assert after.offsets == before.offsets
    assert after.spacing == before.spacing
    assert found.unit in ("", "nanometer")


def test_bioimageio_core_predicts_what_is_predicted_here(model, foreign, rng):
    shape = (12, 40, 36)[3 - model.ndim :]
    raw = image(model, rng, shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import Sample, Tensor, create_prediction_pipeline, load_model

        described = load_model(unpacked(foreign), perform_io_checks=False)
        axes = ("batch", "channel", *"zyx"[3 - model.ndim :])
        tensor = Tensor.from_numpy(raw[None], dims=axes)
        with create_prediction_pipeline(described, weights_format="onnx") as pipeline:
            sample = Sample(members={"raw": tensor}, stat={}, id="sample")
            done = pipeline.predict_sample_with_blocking(sample, ns=8)
    theirs = done.members["affinities"].data.to_numpy()[0]
    ours = import_bioimageio(foreign).predict(raw)
    np.testing.assert_allclose(theirs, ours.data, atol=1e-5)


def test_the_description_tells_sizes_halo_and_voxels_of_the_network(model, package):
    content, config = description(package), model.network.config
    given = [a for a in content["inputs"][0]["axes"] if a["type"] == "space"]
    made = [a for a in content["outputs"][0]["axes"] if a["type"] == "space"]
    assert [a["id"] for a in given] == list("zyx"[3 - model.ndim :])
    for axis, out, stride, halo in zip(given, made, config.stride, config.halo, strict=True):
        kept = out.get("halo", 0)
        assert axis["size"]["step"] == stride
        assert kept >= halo
        assert kept % stride == 0
        assert axis["size"]["min"] - 2 * kept >= 1
    assert tuple(a["scale"] for a in given) == model.spacing
    assert {a.get("unit") for a in given} == {"nanometer" if model.unit else None}


def test_channels_are_named_by_offsets_and_extra_outputs_are_left_off(model, package):
    content = description(package)
    names = content["outputs"][0]["axes"][1]["channel_names"]
    assert len(names) == len(model.offsets)
    assert names[0] == ("offset_z_minus_1" if model.ndim == 3 else "offset_y_minus_1")
    assert model.ndim == 3 or names[2] == "offset_y_minus_3_x_2"
    noted = content["config"]["napari-implicitseg"]["offsets"]
    assert tuple(map(tuple, noted)) == model.offsets


def test_a_package_tells_licence_authors_papers_and_figures(package):
    content = description(package)
    assert content["license"] in ("CC-BY-3.0", "MIT")
    assert content["authors"] == [{"name": "napari-implicitseg developers"}]
    assert all(paper["doi"] for paper in content["cite"])
    assert content["timestamp"] == "2025-03-04T00:00:00+00:00"
    with zipfile.ZipFile(package) as archive:
        card = archive.read("README.md").decode()
    assert "## Validation" in card
    assert ("0.75" in card) == ("small" in card)


def test_a_package_says_nothing_of_the_machine_it_was_made_on(package):
    import napari_implicitseg

    home = napari_implicitseg.__path__[0].encode()
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            parts = [data]
            if name.endswith(".pt"):
                with zipfile.ZipFile(io.BytesIO(data)) as inner:
                    parts = [inner.read(entry) for entry in inner.namelist()]
            assert not any(home in part for part in parts), name


def test_equal_models_make_equal_packages(tmp_path):
    info = PackageInfo(timestamp=WHEN)
    made = [
        export_bioimageio(cnn_2d(), tmp_path / f"{i}.zip", info=info, torchscript=False)
        for i in range(2)
    ]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_the_middle_of_a_sample_and_the_epoch_of_a_build_are_taken(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    raw = rng.integers(0, 255, (2, 30, 31)).astype(np.uint8)
    path = tmp_path / "package.zip"
    path.write_text("older")
    export_bioimageio(cnn_2d(), path, sample=raw, torchscript=False, overwrite=True)
    content = description(path)
    assert content["timestamp"] == "1970-01-02T00:00:00+00:00"
    assert set(content["weights"]) == {"onnx"}
    with zipfile.ZipFile(path) as archive:
        tested = np.load(io.BytesIO(archive.read("test_input.npy")))
    assert tested.shape == (1, 2, 5, 5)
    np.testing.assert_array_equal(tested[0], raw[:, 12:17, 13:18])


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"training": {}}, 'no licence and a package needs one.*licence="CC-BY-4.0"'),
        ({"training": {"licence": "ask me"}}, "'ask me', which is no SPDX identifier"),
    ],
)
def test_a_licence_that_is_not_known_is_asked_for(tmp_path, changes, match):
    model = cnn_2d()
    fields = {name: getattr(model, name) for name in ("network", "offsets", "spacing", "name")}
    with pytest.raises(InputError, match=match):
        export_bioimageio(AffinityModel(**fields, **changes), tmp_path / "package.zip")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="packages end in .zip"):
        export_bioimageio(cnn_2d(), tmp_path / "package")
    with pytest.raises(InputError, match=r"shape \(2, 3, 30\); needed are 2 channels of at least"):
        export_bioimageio(cnn_2d(), tmp_path / "package.zip", sample=np.zeros((2, 3, 30)))
    author = {"name": "A", "orcid": "not one"}
    info = PackageInfo(authors=(author,))
    with pytest.raises(InputError, match="does not allow this package: authors"):
        export_bioimageio(cnn_2d(), tmp_path / "package.zip", info=info)
    with pytest.raises(FileError, match="Cannot write"):
        export_bioimageio(cnn_2d(), tmp_path / "nowhere" / "package.zip")
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_there_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "package.zip"
    path.write_text("precious")
    with pytest.raises(OutputExistsError):
        export_bioimageio(cnn_2d(), path, torchscript=False)
    assert path.read_text() == "precious"


@pytest.mark.parametrize("module", ["bioimageio.spec", "onnxruntime", "onnxscript"])
def test_without_the_extra_the_command_that_installs_it_is_told(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r'pip install "napari-implicitseg\[bioimageio\]"'):
        export_bioimageio(cnn_2d(), tmp_path / "package.zip")


def test_a_damaged_model_in_a_package_is_refused_by_the_name_of_the_package(package, tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(package) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, data[:-4] if name == "weights.safetensors" else data)
    with pytest.raises(FileError, match="damaged.zip"):
        import_bioimageio(path)
    with pytest.raises(InputError, match="tells its offsets; leave out"):
        import_bioimageio(package, offsets=[(-1, 0)])
