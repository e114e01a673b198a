"""`python -m workers.children.aliasing ORDER.json`: keeps names of live indexes at the servers of engines.

The order names services as [tenant, name, the folder of the live index or null]. Result: {"left"}: those whose name
does not stand as it should yet, as [tenant, name, the reason for people].
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from engines import registry
from engines.base import ServiceName
from workers.children.program import Order, run, say_ready


def work(order: Order) -> dict[str, Any]:
    registry.import_errands()
    say_ready()
    live = {
        ServiceName(tenant, name): None if folder is None else Path(folder) for tenant, name, folder in order["live"]
    }
    return {"left": [[*service, why] for service, why in registry.keep_aliases(live).items()]}


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
