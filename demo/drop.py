"""The demo's drop, put into a source as a training job would: items first, the manifest last."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

FILE = Path(__file__).with_name("fashion-mnist-64.parquet")
ITEMS = 10_000
NAME_FORMAT = "%Y%m%dT%H%M%S.%fZ"
ITEMS_NAME, MANIFEST_NAME = "items-000.parquet", "manifest.json"


def name_at(when: datetime) -> str:
    """Names sort by time, so that the newest drop is the greatest; `when` is in UTC."""
    return when.strftime(NAME_FORMAT)


def deliver(folder: Path) -> None:
    """Makes `folder` a complete drop of every item; one that is complete is left as it is. Raises OSError.

    Two that do this at once write the same bytes.
    """
    if (folder / MANIFEST_NAME).is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{ITEMS_NAME}.{os.getpid()}"
    shutil.copyfile(FILE, new)
    os.replace(new, folder / ITEMS_NAME)
    finish(folder, ITEMS)


def deliver_without(folder: Path, category: str) -> None:
    """The drop of a bad day: every item of `category` is missing."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(FILE)
    table = table.filter(pc.not_equal(table["category"], category))
    folder.mkdir(parents=True)
    pq.write_table(table, folder / ITEMS_NAME)
    finish(folder, table.num_rows)


def finish(folder: Path, count: int) -> None:
    """Writes the manifest, which completes the drop."""
    new = folder / f".{MANIFEST_NAME}.{os.getpid()}"
    new.write_text(json.dumps({"items": ["items-*.parquet"], "count": count}))
    os.replace(new, folder / MANIFEST_NAME)
