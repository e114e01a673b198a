"""A child's program that takes memory which no cap on private memory counts: shared pages."""

from __future__ import annotations

import mmap
import sys
import time
from typing import Any

from workers.children.program import run

HELD: list[mmap.mmap] = []


def work(order: dict[str, Any]) -> dict[str, Any]:
    held = mmap.mmap(-1, order["bytes"])
    for start in range(0, order["bytes"], mmap.PAGESIZE):
        held[start] = 1
    HELD.append(held)
    time.sleep(order["sleep"])
    return {}


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
