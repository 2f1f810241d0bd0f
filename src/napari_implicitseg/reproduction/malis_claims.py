"""What the report on MALIS claims, and what is wanted; each held against the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_implicitseg.reproduction.em_scores import Scores
    from napari_implicitseg.reproduction.report import Report

__all__ = ["REPORT", "TITLES", "VIEWS", "find_claims"]

VIEWS = {2: "sections", 3: "volume"}
"""How objects are scored, by the number of axes in which they hang together."""

TITLES = {
    "thresholding": "thresholding",
    "thresholding-grown": "thresholding, grown",
    "cnn": "6-layer CNN, pairwise MALIS",
    "unet-cross-entropy": "U-Net, cross-entropy",
    "unet-malis": "U-Net, MALIS",
    "shipped": "shipped model",
}
"""Names of the methods."""

REPORT = {
    ("isbi2012", 2, "thresholding"): "0.28 (text), 0.248 (later table)",
    ("isbi2012", 2, "cnn"): "0.24 / 0.27",
    ("fib25", 2, "cnn"): "0.39 / 0.47 (CREMI)",
    ("fib25", 3, "unet-malis"): "0.17 / 0.20 (CREMI)",
}
"""1 - score as the report has it, by set, axes and method."""

# Its scores on what was held out.
_SCORES = {
    ("isbi2012", 2, "cnn"): ("on the same kind of sections", 0.73),
    ("fib25", 2, "cnn"): ("on CREMI", 0.53),
    ("fib25", 3, "unet-malis"): ("on CREMI", 0.80),
}
_GOALS = {"isbi2012": 0.06}
# What is claimed to be better, than what, and who says so.
_CLAIMS = (
    ("cnn", "thresholding", "the report's claim"),
    ("cnn", "thresholding-grown", "the report's claim at the same growing"),
    ("unet-malis", "thresholding", "MALIS beats thresholding"),
    ("unet-malis", "thresholding-grown", "MALIS beats thresholding at the same growing"),
    ("unet-malis", "unet-cross-entropy", "MALIS helps at equal steps"),
    ("unet-malis", "cnn", "the continuation's claim"),
)


def find_claims(
    report: Report,
    name: str,
    ndim: int,
    where: str,
    held: Mapping[str, Scores],
    bounds: Mapping[str, Scores],
) -> None:
    """Say of each claim and goal whether it holds on the held-out part.

    Parameters
    ----------
    report : Report
        It gets the findings.
    name : str
        Of the set.
    ndim : {2, 3}
        How it was scored.
    where : str
        Set and view, for people.
    held : mapping of str to Scores
        By method, at the threshold chosen on the train part: these decide.
    bounds : mapping of str to Scores
        The best there are over thresholds: they are told.
    """
    for better, worse, claim in _CLAIMS:
        if better in held and worse in held:
            a, b = held[better], held[worse]
            report.find(
                f"{where}: {claim}: {TITLES[better]} before {TITLES[worse]} (adapted Rand error, "
                f"held out, {a.adapted_rand_error:.3f} against {b.adapted_rand_error:.3f}; VOI "
                f"{a.voi:.2f} against {b.voi:.2f} bits; errors at the best thresholds "
                f"{bounds[better].adapted_rand_error:.3f} against "
                f"{bounds[worse].adapted_rand_error:.3f})",
                a.adapted_rand_error < b.adapted_rand_error,
            )
    for key, scores in held.items():
        if (name, ndim, key) in _SCORES:
            which, theirs = _SCORES[name, ndim, key]
            ours = 1 - scores.adapted_rand_error
            report.find(
                f"{where}: {TITLES[key]} reaches the report's score, held out ({ours:.3f} here, "
                f"{theirs:.2f} there {which}: {ours - theirs:+.3f})",
                ours >= theirs,
            )
    if name in _GOALS and "shipped" in held:
        error = held["shipped"].adapted_rand_error
        report.find(
            f"{where}: goal: the shipped model has an adapted Rand error of at most "
            f"{_GOALS[name]:.2f}, held out ({error:.3f}; at the best threshold "
            f"{bounds['shipped'].adapted_rand_error:.3f})",
            error <= _GOALS[name],
        )
