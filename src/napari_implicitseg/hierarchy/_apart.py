"""Trees of higra, made in a process of its own where they take long.

higra holds the interpreter lock from the beginning of a call to its end: in a thread of napari
that would stop the viewer. `python -m napari_implicitseg.hierarchy._apart FOLDER` makes the tree
of the graph that lies there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_implicitseg.errors import ImplicitSegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Problem", "tree_of", "tree_of_apart"]

_FEW = 2000
"""Nodes up to which a tree takes some milliseconds, and a process would take longer."""
_POLL = 0.1
"""Seconds between two looks whether it is done."""


class Problem(NamedTuple):
    """A connected graph and how its nodes are to be merged.

    Attributes
    ----------
    linkage : {"ward", "area", "dynamics", "volume"}
    sizes : ndarray of float64, shape (N,)
        Voxels of each node.
    edges : ndarray of int64, shape (E, 2)
    weights : ndarray of float64, shape (E,)
    features : ndarray of float64, shape (N, F)
        Of Ward's linkage; (N, 0) for others.
    """

    linkage: str
    sizes: NDArray[np.float64]
    edges: NDArray[np.int64]
    weights: NDArray[np.float64]
    features: NDArray[np.float64]


def tree_of(problem: Problem) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the parents and altitudes of higra's hierarchy: both of shape (2 N - 1,)."""
    import higra as hg

    linkage, sizes, edges, weights, features = problem
    graph = hg.UndirectedGraph(len(sizes))
    graph.add_edges(edges[:, 0], edges[:, 1])
    if linkage == "ward":
        tree, altitudes = hg.binary_partition_tree_ward_linkage(graph, features, sizes)
    elif linkage == "area":
        tree, altitudes = hg.watershed_hierarchy_by_area(graph, weights, sizes, False)
    elif linkage == "volume":
        tree, altitudes = hg.watershed_hierarchy_by_volume(graph, weights, sizes, False)
    else:
        tree, altitudes = hg.watershed_hierarchy_by_dynamics(graph, weights, False)
    return np.asarray(tree.parents(), np.int64), np.asarray(altitudes, np.float64)


def tree_of_apart(
    problem: Problem, check: Callable[[], object] | None = None, *, few: int = _FEW
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Do the same in a process of its own, unless there are few nodes.

    Parameters
    ----------
    problem : Problem
    check : callable, optional
        Called every now and then; if it raises, the process ends.
    few : int
        Nodes up to which it is done here.

    Raises
    ------
    ImplicitSegError
        If the process fails, as it may if memory runs out.
    """
    if len(problem.sizes) <= few:
        return tree_of(problem)
    with tempfile.TemporaryDirectory(prefix="implicitseg-") as folder:
        np.savez(Path(folder) / "problem.npz", **problem._asdict())
        command = [sys.executable, "-m", "napari_implicitseg.hierarchy._apart", folder]
        with (Path(folder) / "said.txt").open("w+", encoding="utf-8") as said:
            process = subprocess.Popen(
                command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=_environment()
            )
            try:
                _wait(process, check)
            finally:
                process.kill()
                process.wait()
        if process.returncode:
            text = (Path(folder) / "said.txt").read_text(encoding="utf-8", errors="replace")
            ended = f"it ended with {process.returncode}, perhaps for lack of memory"
            last = (text.strip().splitlines() or [ended])[-1]
            raise ImplicitSegError(
                f"Merging {len(problem.sizes)} fragments by {problem.linkage} failed ({last}). "
                'Make fewer fragments, by min_size, or use linkage="mean".'
            )
        with np.load(Path(folder) / "tree.npz", allow_pickle=False) as found:
            return found["parents"], found["altitudes"]


def _environment() -> dict[str, str]:
    """Let a process import what this one does, and nothing from the folder it happens to be in."""
    path = os.pathsep.join(folder for folder in sys.path if folder)
    return os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def _wait(process: subprocess.Popen[bytes], check: Callable[[], object] | None) -> None:
    """Wait until a process has ended."""
    while True:
        try:
            process.wait(_POLL)
        except subprocess.TimeoutExpired:
            if check is not None:
                check()
        else:
            return


def main(folder: str) -> None:
    """Make the tree of the graph in a folder."""
    with np.load(Path(folder) / "problem.npz", allow_pickle=False) as given:
        problem = Problem(str(given["linkage"]), *(given[name] for name in Problem._fields[1:]))
    parents, altitudes = tree_of(problem)
    np.savez(Path(folder) / "tree.npz", parents=parents, altitudes=altitudes)


if __name__ == "__main__":
    main(sys.argv[1])
