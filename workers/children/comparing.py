"""`python -m workers.children.comparing ORDER.json`: imported items beside those of the live version.

Everything is mapped and read in chunks, so that memory does not grow with the items. Result: {"items", "live_items",
"shared", "not_compared", "attributes"}; `attributes` holds for each of the schema its type as stored, and the share of
nulls in percent, here and (where it has the attribute) in the live version.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundles import layout
from failpoints import failpoint
from workers.children.program import Order, RowsDone, run

CHUNK_KEYS = 1 << 20

Keys = NDArray[np.int64]


def work(order: Order) -> dict[str, Any]:
    """A live version whose files cannot be read is not compared with, and the result says why."""
    failpoint("compare_child.started")
    new_dir, live_dir = Path(order["new_dir"]), Path(order["live_dir"])
    try:
        live_keys, live_attributes = _keys(live_dir), _attributes(live_dir)
    except (OSError, ValueError, pa.ArrowException) as error:
        return {"not_compared": f"The files of the live version cannot be read: {error}"}
    keys = _keys(new_dir)
    return {
        "not_compared": "",
        "items": len(keys),
        "live_items": len(live_keys),
        "shared": shared_keys(keys, live_keys, RowsDone()),
        "attributes": _compared(_attributes(new_dir), live_attributes),
    }


def shared_keys(keys: Keys, others: Keys, said: RowsDone) -> int:
    """How many of the sorted `keys` are among the sorted `others`.

    Two texts with one key would count as one id: of 2^64 keys that is nothing beside a percentage.
    """
    shared = 0
    for start in range(0, len(keys), CHUNK_KEYS):
        chunk = keys[start : start + CHUNK_KEYS]
        low, high = np.searchsorted(others, chunk[0]), np.searchsorted(others, chunk[-1], side="right")
        shared += int(np.isin(chunk, others[low:high], assume_unique=True, kind="sort").sum())
        said(start + len(chunk), len(keys))
    return shared


def _keys(folder: Path) -> Keys:
    keys: Keys = np.load(folder / layout.ID_KEYS, mmap_mode="r", allow_pickle=False)
    return keys


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
