"""`python -m workers.children.comparing ORDER.json`: imported items beside those of the live version.

Everything is mapped and read in chunks, so that memory does not grow with the items. Result: {"items", "live_items",
"shared", "samples", "not_compared", "attributes"}; `samples` are some ids that were added, removed and kept;
`attributes` holds for each of the schema its type as stored, and the share of nulls in percent, here and (where it has
the attribute) in the live version.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from bundles import layout
from bundles.catalogue import Lookup
from failpoints import failpoint
from workers.children import id_sets
from workers.children.program import Order, RowsDone, run


def work(order: Order) -> dict[str, Any]:
    """A live version whose files cannot be read is not compared with, and the result says why."""
    failpoint("compare_child.started")
    new_dir, live_dir = Path(order["new_dir"]), Path(order["live_dir"])
    try:
        live, live_attributes = Lookup.of(live_dir), _attributes(live_dir)
    except (OSError, ValueError, pa.ArrowException) as error:
        return {"not_compared": f"The files of the live version cannot be read: {error}"}
    new = Lookup.of(new_dir)
    sets = id_sets.compare(new, live, RowsDone())
    return {
        "not_compared": "",
        "items": len(new.keys),
        "live_items": len(live.keys),
        "shared": sets.kept,
        "samples": sets.samples,
        "attributes": _compared(_attributes(new_dir), live_attributes),
    }


def _attributes(folder: Path) -> dict[str, tuple[str, float]]:
    """Of each attribute its type and its share of nulls in percent; one batch is looked at after the other."""
    path = folder / layout.ATTRIBUTES
    if not path.is_file():
        return {}
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        nulls, rows = dict.fromkeys(reader.schema.names, 0), 0
        for position in range(reader.num_record_batches):
            batch = reader.get_batch(position)
            rows += batch.num_rows
            for name in nulls:
                nulls[name] += batch.column(name).null_count
        types = {name: str(reader.schema.field(name).type) for name in nulls}
    return {name: (types[name], 100.0 * count / max(1, rows)) for name, count in nulls.items()}


def _compared(
    new: dict[str, tuple[str, float]], live: dict[str, tuple[str, float]]
) -> dict[str, dict[str, str | float | None]]:
    return {
        name: {
            "type": kind,
            "null_percent": null_percent,
            "live_type": live[name][0] if name in live else None,
            "live_null_percent": live[name][1] if name in live else None,
        }
        for name, (kind, null_percent) in new.items()
    }


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
