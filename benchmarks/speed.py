"""How fast the fit is: against peers, warm, with size and with the number of objects.

All times are CPU seconds of one thread, medians of interleaved runs in one
process; memory is measured in a fresh process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch
from skimage.draw import ellipse
from skimage.transform import resize

from common import at_most, timed
from napari_implicitseg import fit_scribbles
from napari_implicitseg.reproduction.cases import SETS, Case
from peers import grab_cut, graph_cut

__all__ = ["memory_probe", "report"]


def _cpu(function, *args, **options) -> float:
    return timed(function, *args, **options)[1]


def coin(size: int) -> Case:
    """Enlarge the photograph of coins to a size, with strokes on one of them."""
    image = resize(skimage.data.coins()[:303, :303], (size, size), order=1, preserve_range=True)
    scribbles = np.zeros((size, size), np.int32)
    unit = size / 303
    at = [int(v * unit) for v in (42, 46, 30, 48, 10, 12, 70, 290)]
    scribbles[at[0] : at[1], at[2] : at[3]] = 2
    scribbles[at[4] : at[5], at[6] : at[7]] = 1
    return Case(f"coin {size}", image.astype(np.uint8), scribbles, scribbles)


def cells(size: int, count: int) -> list[Case]:
    """White blood cells enlarged to a size."""
    cases = []
    for case in SETS["wbc"].cases()[:count]:
        image = resize(case.image, (size, size), order=1, preserve_range=True).astype(np.uint8)
        scribbles = resize(case.scribbles, (size, size), order=0, preserve_range=True)
        cases.append(Case(case.name, image, scribbles.astype(np.int32), case.truth))
    return cases


def discs(size: int, count: int, radius: float) -> Case:
    """Textured ellipses on a grid; each has a stroke, the rows between them are background."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 8, (size, size))
    scribbles = np.zeros((size, size), np.int32)
    side = int(np.ceil(np.sqrt(count)))
    pitch = size // side
    for k in range(count):
        y, x = (np.array(divmod(k, side)) * pitch + pitch // 2).tolist()
        rows, columns = ellipse(
            y, x, radius, 0.7 * radius, shape=image.shape, rotation=rng.uniform(0, 3)
        )
        image[rows, columns] += 60
        scribbles[y - 1 : y + 2, x - int(radius / 3) : x + int(radius / 3)] = k + 2
    scribbles[2:5, 10:-10] = 1
    for k in range(1, side):
        scribbles[k * pitch : k * pitch + 2, 10:-10] = 1
    return Case(f"{count} in {size}", np.clip(image, 0, 255).astype(np.uint8), scribbles, scribbles)


def _fit(case: Case, **options):
    return fit_scribbles(case.image, case.scribbles, **options)


def against_peers(rounds: int) -> list[str]:
    """Cold and warm fits of one object on 512 x 512 beside graph cut and GrabCut."""
    lines = [
        "| 512 x 512 | cold ms | warm ms | warm / cold | graph cut ms | cold / graph cut "
        "| GrabCut ms | cold / GrabCut |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ratios = []
    for case in [coin(512), discs(512, 1, 90), *cells(512, 5)]:
        first = _fit(case)
        more = Case(case.name, case.image, case.scribbles.copy(), case.truth)
        free = np.argwhere((first.labels == 0) & (case.scribbles == 0))
        y, x = free[len(free) // 3]
        more.scribbles[y : y + 3, x : x + 3] = np.where(
            first.labels[y : y + 3, x : x + 3] == 0, 1, more.scribbles[y : y + 3, x : x + 3]
        )
        runs = np.array(
            [
                [
                    _cpu(_fit, more),
                    _cpu(_fit, more, warm_start=first),
                    _cpu(graph_cut, more, first.evidence),
                    _cpu(grab_cut, more),
                ]
                for _ in range(rounds)
            ]
        )
        cold, warm, cut, grab = np.median(runs, axis=0)
        ratios.append((cold / cut, cold / grab, warm / cold))
        lines.append(
            f"| {case.name} | {1e3 * cold:.0f} | {1e3 * warm:.0f} | {warm / cold:.2f} "
            f"| {1e3 * cut:.0f} | {cold / cut:.2f} | {1e3 * grab:.0f} | {cold / grab:.2f} |"
        )
    middle = np.median(ratios, axis=0)
    lines.append("")
    for text, got, most in zip(
        ("cold fit over graph cut", "cold fit over GrabCut", "warm fit over cold"),
        middle,
        (1.5, 0.25, 0.6),
        strict=True,
    ):
        lines.append(at_most(f"{text} (median of the images)", got, most))
    return [*lines, ""]


def by_objects(rounds: int) -> list[str]:
    """Time against the number of objects in one image of 1024 x 1024."""
    cases = {n: discs(1024, 100, 30) for n in (1, 3, 10, 30, 100)}
    for n, case in cases.items():
        case.scribbles[case.scribbles > n + 1] = 0
    runs = {n: [] for n in cases}
    for _ in range(rounds):
        for n, case in cases.items():
            runs[n].append(_cpu(_fit, case))
    times = {n: float(np.median(r)) for n, r in runs.items()}
    lines = ["| objects in 1024 x 1024 | CPU ms | over one |", "|---|---|---|"]
    lines += [f"| {n} | {1e3 * t:.0f} | {t / times[1]:.1f} |" for n, t in times.items()]
    return [*lines, "", at_most("100 objects over one", times[100] / times[1], 12), ""]


def by_size(rounds: int) -> list[str]:
    """Time against the size of the image: the scene enlarged, and the same object in more of it."""
    sizes = (256, 512, 1024, 2048, 4096)
    scenes = {
        "coins enlarged": {n: coin(n) for n in sizes},
        "disc enlarged": {n: discs(n, 1, 90 * n / 512) for n in sizes},
        "same disc": {n: discs(n, 1, 45) for n in sizes},
    }
    lines = [
        "| one object | " + " | ".join(f"{n}^2 ms" for n in sizes) + " | 4096 over 512 |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    goals = []
    for name, cases in scenes.items():
        runs = np.array([[_cpu(_fit, case) for case in cases.values()] for _ in range(rounds)])
        times = np.median(runs, axis=0)
        ratio = float(times[-1] / times[1])
        figures = " | ".join(f"{1e3 * t:.0f}" for t in times)
        lines.append(f"| {name} | {figures} | {ratio:.2f} |")
        goals.append(at_most(f"{name}, 4096 over 512", ratio, 2))
    peak = max(
        float(
            subprocess.run(
                [sys.executable, Path(__file__).with_name("run.py"), "--memory", name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for name in ("coin", "disc")
    )
    goals.append(at_most("MB above the image for 4096 x 4096", peak, 300))
    return [*lines, "", *goals, ""]


def memory_probe(name: str) -> None:
    """Print by how many MB a fit at 4096 x 4096 raises the peak of this process."""
    make = coin if name == "coin" else (lambda n: discs(n, 1, 720 * n / 4096))
    # Imports and compiled code are no part of it: a small fit first.
    _fit(make(256))
    case = make(4096)
    image, scribbles = case.image, case.scribbles.astype(np.uint8)
    del case
    # Making the scene took more than the fit will: measure from what is resident now.
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    Path("/proc/self/clear_refs").write_text("5")
    result = fit_scribbles(image, scribbles)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    assert result.labels.any()
    print((peak - resident) / 2**20)


def report(rounds: int) -> list[str]:
    """Markdown lines of all tables."""
    torch.set_num_threads(1)
    return [
        "### One object on 512 x 512",
        "",
        *against_peers(rounds),
        "### Number of objects",
        "",
        *by_objects(max(3, rounds // 2)),
        "### Size of the image",
        "",
        *by_size(max(3, rounds // 2)),
    ]
