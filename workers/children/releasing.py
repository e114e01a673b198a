"""`python -m workers.children.releasing ORDER.json`: has servers of engines give back the memory of indexes.

The order names the folders of indexes that are `going` and `staying`. Result: {"left"}: those of which something may
still be loaded, each with the reason for people. Nothing is removed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engines import registry
from workers.children.program import Order, run, say_ready


def work(order: Order) -> dict[str, Any]:
    """Raises EngineError."""
    registry.import_errands()
    say_ready()
    going, staying = ([Path(folder) for folder in order[name]] for name in ("going", "staying"))
    return {"left": {str(folder): why for folder, why in registry.release(going, staying).items()}}


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
