"""All measurements, beside peers in the same run.

Run all by `make bench`, or a part by
`python benchmarks/run.py --only shapes,repair --quick`.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

# One thread, so that CPU times of all methods mean the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

RESULTS = Path(__file__).with_name("RESULTS.md")
TITLE = "# Measurements"
# In the order of the file. They run in the order of `_ORDER`.
HEADINGS = {
    "quality": "Quality of convex masks from strokes",
    "speed": "Speed of convex masks from strokes",
    "shapes": "Shapes of one piece",
    "repair": "Repair",
    "evidence": "Evidence, everything at default",
    "malis": "MALIS",
    "predict": "Prediction tile by tile",
    "regions": "Fragments and region graphs",
    "neurons": "From affinities to neurons",
    "stalls": "Stalls of napari",
    "evaluation": "Evaluation",
    "batch": "Block by block",
}
# Speed first: in a process that has freed much memory, allocating is cheaper than in a fresh
# one, and the graph cut takes little more than half its time.
_ORDER = (
    "speed",
    "repair",
    "shapes",
    "quality",
    "evidence",
    "malis",
    "predict",
    "regions",
    "neurons",
    "stalls",
    "evaluation",
    "batch",
)
PACKAGES = (
    "napari-implicitseg",
    "numpy",
    "torch",
    "numba",
    "scikit-image",
    "opencv-python-headless",
    "PyMaxflow",
    "higra",
)


def _parts(text: str) -> list[str]:
    """Parts from a list with commas."""
    chosen = text.split(",")
    unknown = [part for part in chosen if part not in HEADINGS]
    if unknown:
        known = ", ".join(HEADINGS)
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} is no part; use any of {known}")
    return chosen


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few cases and few repetitions")
    parser.add_argument(
        "--only", type=_parts, default=list(HEADINGS), help=f"any of {','.join(HEADINGS)}"
    )
    parser.add_argument("--sets", default="wbc,dsb,btcv", help="of the part quality")
    parser.add_argument("--limit", type=int, help="cases per set")
    parser.add_argument(
        "--paper-minutes",
        type=float,
        default=0,
        help="time for the paper's recipe, about 10 minutes a shape; one shape at least",
    )
    parser.add_argument("--write", action="store_true", help=f"write these parts of {RESULTS.name}")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def machine(command: str) -> list[str]:
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
        f"- `{command}`",
        "- CPU time of one thread, medians; ratios are to this package unless said otherwise",
        "",
    ]


def merged(text: str, sections: dict[str, list[str]]) -> str:
    """Replace sections of a results file, or add them; the others stay as they are.

    Parameters
    ----------
    text : str
        The file as it is; empty if there is none.
    sections : dict
        Lines under the heading of each part.
    """
    kept = {}
    for block in re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]:
        heading, _, body = block.partition("\n")
        kept[heading.removeprefix("## ").strip()] = body.strip("\n")
    for part, lines in sections.items():
        kept[HEADINGS[part]] = "\n".join(lines).strip("\n")
    order = [h for h in HEADINGS.values() if h in kept] + [
        h for h in kept if h not in HEADINGS.values()
    ]
    return "\n\n".join([TITLE, *(f"## {h}\n\n{kept[h]}" for h in order)]) + "\n"


def _measure(part: str, args: argparse.Namespace) -> list[str]:
    """Lines of one part."""
    if part == "speed":
        import speed

        return speed.report(3 if args.quick else 7)
    if part == "quality":
        import quality

        limit = args.limit or (10 if args.quick else None)
        return quality.report(quality.measure(args.sets.split(","), limit))
    if part == "shapes":
        import shapes

        return shapes.report(_shapes_plan(args))
    if part == "evidence":
        import evidence

        return evidence.report(args.limit or (3 if args.quick else None), 2 if args.quick else 5)
    if part == "malis":
        import malis

        return malis.report(malis.Plan(sides=((64, 3), (128, 3))) if args.quick else malis.Plan())
    if part == "predict":
        import predict

        return predict.report(*((1, predict.CASES[-1:]) if args.quick else ()))
    if part == "regions":
        import region_graph

        small = region_graph.Plan(sides=((64, 3), (128, 3)))
        return region_graph.report(small if args.quick else region_graph.Plan())
    if part == "neurons":
        import neurons

        quick = neurons.Plan(sides=((64, 3), (128, 3)), slow=64, quality=False)
        return neurons.report(quick if args.quick else neurons.Plan())
    if part == "stalls":
        import stalls

        return stalls.report(stalls.Plan(side=64, rounds=1) if args.quick else stalls.Plan())
    if part == "evaluation":
        import evaluation

        return evaluation.report(evaluation.Plan(side=128, rounds=3) if args.quick else None)
    if part == "batch":
        import batch

        return batch.report(batch.QUICK if args.quick else batch.Plan())
    import repair

    return repair.report(
        repair.Plan(rounds=1, volume_size=128, volume_count=64) if args.quick else repair.Plan()
    )


def _shapes_plan(args: argparse.Namespace):
    import shapes

    if args.quick:
        # One shape and a hundredth of the paper's schedule: seconds, not minutes.
        return shapes.Plan(forms=("C", "neurite"), paper_epochs=3, limit=args.limit or 3)
    return shapes.Plan(paper_minutes=args.paper_minutes, limit=args.limit)


def _probe(name: str) -> None:
    """Measure memory, in this process."""
    if name.startswith("volume,"):
        import repair

        repair.memory_probe(*(int(v) for v in name.split(",")[1:]))
    else:
        import speed

        speed.memory_probe(name)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print; with --write also keep."""
    args = _arguments(arguments)
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    if args.memory:
        _probe(args.memory)
        return
    given = sys.argv[1:] if arguments is None else arguments
    head = machine(" ".join(["python benchmarks/run.py", *given]))
    for part in _ORDER:
        if part not in args.only:
            continue
        lines = [*head, *_measure(part, args)]
        print("\n".join([f"## {HEADINGS[part]}", "", *lines]), flush=True)
        if args.write:
            # After each part, so that a later one that stops takes none with it.
            text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
            RESULTS.write_text(merged(text, {part: lines}), encoding="utf-8")


if __name__ == "__main__":
    main()
