"""How items may lie in a file: one module per format, found by the file's extension.

A new format is one module with the names of `batches.Format` and one line in `FORMATS`.
"""

from __future__ import annotations

from bundles.batches import Format
from bundles.errors import DropError
from bundles.formats import csv, jsonl, npy, parquet, word2vec

FORMATS: dict[str, Format] = {
    ".parquet": parquet,
    ".npy": npy,
    ".csv": csv,
    ".jsonl": jsonl,
    ".txt": word2vec,
}


def format_of(file_name: str) -> Format:
    """Raises DropError drop.unreadable for an extension that no format has."""
    for extension, reader in FORMATS.items():
        if file_name.endswith(extension):
            return reader
    known = ", ".join(FORMATS)
    message = f"{file_name} has no extension that is read here ({known})."
    raise DropError("drop.unreadable", message, {"file": file_name})
