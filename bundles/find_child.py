"""Asks a remote place for a drop in a throw-away process, because a server may answer slowly, endlessly, or never.

    python -m bundles.find_child ORDER SECONDS

ORDER is JSON: {"source", "name", "files", "vocabularies"}, with no secret in it. Prints one line of JSON:
{"found": {...}} and exits 0, or {"error": {...}} and exits 1. Ends itself after SECONDS, and uses at most
MEMORY_BYTES_MAX of memory.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES_MAX = 1024**3
TOO_LARGE = {
    "reason": "drop.too_large",
    "message": "The listing of the source does not fit into memory.",
    "owner": "user",
    "details": {},
}


def main() -> int:
    """0 when a drop was found."""
    order, seconds = sys.argv[1:]
    # Also when nobody who would end it is left.
    signal.alarm(math.ceil(float(seconds)) + 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    answer = find(json.loads(order))
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 1 if "error" in answer else 0


def find(order: dict[str, Any]) -> dict[str, Any]:
    """What the line says."""
    # The libraries are loaded under the memory cap.
    from bundles import sources
    from bundles.errors import BundleError
    from bundles.places import source_from

    try:
        found = sources.find_here(source_from(order["source"]), order["name"], order["files"], order["vocabularies"])
    except BundleError as error:
        return {"error": sources.error_to_dict(error)}
    except MemoryError:
        return {"error": TOO_LARGE}
    return {"found": sources.to_dict(found)}


if __name__ == "__main__":
    sys.exit(main())
