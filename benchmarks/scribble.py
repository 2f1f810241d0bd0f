"""The parts of `run.py` about convex masks from strokes alone, quality and speed.

It takes the same options; `--only` picks one of the two.
"""

from __future__ import annotations

import sys

from run import main

if __name__ == "__main__":
    main(["--only", "quality,speed", *sys.argv[1:]])
