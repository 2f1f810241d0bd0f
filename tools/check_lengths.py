"""Fail if a file of the package has grown over 400 lines."""

import sys
from pathlib import Path

MOST = 400

found = [
    f"{path}: {count} lines, at most {MOST}"
    for path in sorted(Path("src").rglob("*.py"))
    if (count := len(path.read_text(encoding="utf-8").splitlines())) > MOST
]
print("\n".join(found) or f"No file of the package is over {MOST} lines.")
sys.exit(bool(found))
