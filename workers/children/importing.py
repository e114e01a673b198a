"""`python -m workers.children.importing ORDER.json`: a drop's rows become an artifact's data files.

A strange file can do no more here than end this process. Result: {"report", "queries", "queries_source"}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from bundles import layout
from bundles.drop import Drop, open_drop
from bundles.errors import DropError
from bundles.importing import import_items
from bundles.queries import load_queries
from bundles.schema import ImportSchema
from failpoints import failpoint
from workers.children.program import Order, RowsDone, run


def work(order: Order) -> dict[str, Any]:
    """Raises DropError."""
    failpoint("import_child.started")
    drop = _the_same_drop(order)
    schema = ImportSchema.from_spec(order["schema"], order["columns"])
    out_dir = Path(order["out_dir"])
    report = import_items(drop, schema, out_dir, progress=RowsDone())
    vectors = np.load(out_dir / layout.VECTORS, mmap_mode="r", allow_pickle=False)
    queries, source = load_queries(drop, schema, vectors[: report.searchable_items])
    np.save(out_dir / layout.QUERIES, queries, allow_pickle=False)
    failpoint("import_child.before_answer")
    return {"report": report.to_dict(), "queries": len(queries), "queries_source": source}


def _the_same_drop(order: Order) -> Drop:
    drop = open_drop(Path(order["source"]), order["drop"], files=order["files"], allow_unmarked=order["allow_unmarked"])
    if drop.fingerprint != order["fingerprint"]:
        message = f"Drop `{drop.name}` changed since the build began; write a drop completely before its marker."
        raise DropError("drop.changed_while_read", message, {"drop": drop.name})
    return drop


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
