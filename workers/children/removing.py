"""`python -m workers.children.removing ORDER.json`: removes what indexes are made of outside their folders.

The order names the folders of indexes that are `going` and `staying`. Result: {"left"}: those of which something is
left, each with the reason for people. No file is touched.
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
    return {"left": {str(folder): why for folder, why in registry.remove(going, staying).items()}}


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
