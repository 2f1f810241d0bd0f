"""Scribbles to convex masks, measured beside peers in one run.

Run it by `make bench`, or `python benchmarks/scribble.py --quick`.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

# One thread, so that CPU times of all methods mean the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = (
    "napari-implicitseg",
    "numpy",
    "torch",
    "numba",
    "scikit-image",
    "opencv-python-headless",
    "PyMaxflow",
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases and few repetitions")
    parser.add_argument("--only", choices=("quality", "speed"), help="one half")
    parser.add_argument("--sets", default="wbc,dsb,btcv", help="of the quality half")
    parser.add_argument("--limit", type=int, help="cases per set")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    return parser.parse_args()


def _machine() -> list[str]:
    """Describe where and with what it was measured."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        f"- {date.today().isoformat()}, {os.cpu_count()} x {model}, {platform.system()}, "
        f"Python {platform.python_version()}",
        f"- {packages}",
        f"- `python benchmarks/scribble.py {' '.join(sys.argv[1:])}`",
        "- CPU time of one thread, medians; ratios are to this package unless said otherwise",
        "",
    ]


def main() -> None:
    """Measure and print; with --write also keep."""
    args = _arguments()
    import cv2

    import quality
    import speed

    cv2.setNumThreads(1)
    if args.memory:
        speed.memory_probe(args.memory)
        return
    # Speed first: in a process that has freed much memory, allocating is cheaper than in a fresh
    # one, and the graph cut takes little more than half its time.
    fast = speed.report(3 if args.quick else 7) if args.only != "quality" else []
    lines = ["# Scribbles to convex masks", "", *_machine()]
    if args.only != "speed":
        limit = args.limit or (10 if args.quick else None)
        lines += ["## Quality", "", *quality.report(quality.measure(args.sets.split(","), limit))]
    if fast:
        lines += ["## Speed", "", *fast]
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if args.write:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
