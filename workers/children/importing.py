"""`python -m workers.children.importing ORDER.json`: a drop's rows and query model become an artifact's data files.

The files of a remote drop are brought here first, and are gone when they have been read. A strange file or a server
that does not answer can do no more here than end this process. Result: {"report", "queries", "queries_source"}.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bundles import layout, places
from bundles.catalogue import Catalogue
from bundles.drop import Drop, open_drop
from bundles.errors import DropError
from bundles.fetching import fetch_drop
from bundles.importing import import_items
from bundles.queries import load_queries
from bundles.schema import ImportSchema
from failpoints import failpoint
from querymodel.delivery import deliver
from querymodel.spec import ModelSpec, vocabularies_of
from workers.children.program import BytesDone, Order, RowsDone, run


def work(order: Order) -> dict[str, Any]:
    """Raises DropError, SourceError."""
    failpoint("import_child.started")
    try:
        result = _import(order)
    except DropError:
        # It will not get better by another try.
        shutil.rmtree(order["spool"], ignore_errors=True)
        raise
    shutil.rmtree(order["spool"], ignore_errors=True)
    return result


def _import(order: Order) -> dict[str, Any]:
    drop = _the_same_drop(order)
    schema, model = ImportSchema.from_spec(order["schema"], order["columns"]), ModelSpec.of(order["schema"])
    out_dir = Path(order["out_dir"])
    report = import_items(drop, schema, out_dir, partitions=order["partitions"], progress=RowsDone())
    catalogue = Catalogue.of(out_dir)
    queries, source = load_queries(
        drop,
        schema,
        catalogue.vectors[: report.searchable_items],
        catalogue=catalogue,
        features=[each.name for each in model.inputs] if model else [],
    )
    if model is not None:
        deliver(drop, model, out_dir)
    np.save(out_dir / layout.QUERIES, queries, allow_pickle=False)
    failpoint("import_child.before_answer")
    return {"report": report.to_dict(), "queries": len(queries), "queries_source": source}


def _the_same_drop(order: Order) -> Drop:
    location = places.locate(places.source_from(order["source"]))
    if not isinstance(location, Path):
        return fetch_drop(
            location,
            order["drop"],
            order["fingerprint"],
            Path(order["spool"]),
            files=order["files"],
            vocabularies=vocabularies_of(order["schema"]),
            previous=Path(order["previous_spool"]) if order["previous_spool"] else None,
            progress=BytesDone(),
        )
    drop = open_drop(
        location,
        order["drop"],
        files=order["files"],
        vocabularies=vocabularies_of(order["schema"]),
        allow_unmarked=order["allow_unmarked"],
    )
    if drop.fingerprint != order["fingerprint"]:
        message = f"Drop `{drop.name}` changed since the build began; write a drop completely before its marker."
        raise DropError("drop.changed_while_read", message, {"drop": drop.name})
    return drop


if __name__ == "__main__":
    sys.exit(run(work, sys.argv[1:]))
