"""Models of every kind, as users read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.models.folder import load_stored

if TYPE_CHECKING:
    import os

    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import ForeignModel
    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["load_model"]


def load_model(path: str | os.PathLike[str]) -> AffinityModel | SemanticModel | ForeignModel:
    """Read a model from a folder, one that is shipped by its name, or one from a package.

    Nothing is executed or unpickled; description and weights are checked against each
    other before anything is built.

    Parameters
    ----------
    path : path or str
        A folder with `model.json` and `weights.safetensors`, such as `train_affinities`
        and `train_semantic` write, or "fibsem-isotropic" or "sstem-2d"; or a package of the
        BioImage.IO, a .zip file or a folder with `rdf.yaml`, that needs no options of
        `import_bioimageio`.

    Returns
    -------
    AffinityModel, SemanticModel or ForeignModel

    Raises
    ------
    FileError
        If there is no such model, or it is damaged or another tool's.
    InputError
        If `path` is no path.
    """
    return load_stored(path)
