"""Looks into a drop in a throw-away process, because its files are anybody's.

    python -m bundles.inspect_child ORDER

ORDER is JSON: {"source": a places.Source, which holds no secret, "rows": how many to show, "wanted": an
inspection.Wanted}. Prints one line of JSON: {"inspection": {...}} and exits 0, or {"error": {"reason", "message"}} and
exits 1. In the sample, lists are cut after LIST_ITEMS_MAX values and texts after
TEXT_CHARACTERS_MAX characters. Uses at most MEMORY_BYTES_MAX of memory.
"""

from __future__ import annotations

import json
import math
import resource
import signal
import sys
from collections.abc import Mapping
from typing import Any

MEMORY_BYTES_MAX = 1024**3
# Ends the process even when nobody who would is left.
LIFE_SECONDS_MAX = 30
LIST_ITEMS_MAX = 16
TEXT_CHARACTERS_MAX = 200
TOO_LARGE = {"reason": "drop.too_large", "message": "A sample of the drop does not fit into memory."}


def main() -> int:
    """0 when the drop could be looked into."""
    order = json.loads(sys.argv[1])
    signal.alarm(LIFE_SECONDS_MAX)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    answer = look(order)
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
    return 1 if "error" in answer else 0


def look(order: dict[str, Any]) -> dict[str, Any]:
    """What the line says."""
    # Arrow is loaded under the memory cap.
    from bundles.errors import BundleError
    from bundles.inspection import Wanted
    from bundles.places import source_from
    from bundles.sources import inspect

    try:
        inspection = inspect(source_from(order["source"]), order["rows"], Wanted.from_dict(order["wanted"])).to_dict()
    except BundleError as error:
        return {"error": {"reason": error.reason, "message": error.message}}
    except MemoryError:
        return {"error": TOO_LARGE}
    return {"inspection": {**inspection, "sample": _as_json(inspection["sample"])}}


def _as_json(value: Any) -> Any:
    """Whatever a column may hold, as JSON; what is no number there is null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_as_json(each) for each in value[:LIST_ITEMS_MAX]]
    if isinstance(value, Mapping):
        return {str(name): _as_json(each) for name, each in value.items()}
    return str(value)[:TEXT_CHARACTERS_MAX]


if __name__ == "__main__":
    sys.exit(main())
