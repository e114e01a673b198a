"""Good rows on their way to disk: appended as they are read, put into their final order at the end.

Vectors of the first partition go straight into `vectors.npy`, those of each other one and those of rows that are not
searchable into files beside it (their shelves) that are appended in the end; only when rows have to go again (repeated
ids) are they moved up, in place. Ids and attributes wait in Arrow
files in read order and are gathered one column at a time. In memory at once: a batch, 8 bytes of key per row and
the sorting of those, and a single text or attribute column.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy_format

from bundles import ids, layout
from bundles.batches import Flags, Float32, Int64
from bundles.schema import ImportSchema

WORK_FOLDER = "import.tmp"
MOVED_ROWS = 65_536
COPY_BYTES = 8 << 20
ROW_BYTES = 4


class Spool:
    """The data files of one import, under `out_dir`; scratch files go with the end of the `with` block."""

    def __init__(self, out_dir: Path, schema: ImportSchema, partitions: int = 1) -> None:
        self.out_dir = out_dir
        self.schema = schema
        self.partitions = partitions
        self.work_dir = out_dir / WORK_FOLDER
        self.rows = 0
        self._keys: list[Int64] = []
        self._searchable: list[Flags] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        # A step can run twice: nothing of an earlier run may stay.
        shutil.rmtree(self.work_dir, ignore_errors=True)
        self.work_dir.mkdir(parents=True)
        for name in layout.IMPORTED:
            (self.out_dir / name).unlink(missing_ok=True)
        self._shelves = [self._create(self._shelf(number)) for number in range(self.partitions + 1)]
        self._shelves[0].write(npy_header((0, self.schema.dimension), "<f4"))
        self._texts = self._arrow("texts", _TEXT_IDS) if self.schema.id_type == "string" else None
        attributes = self.schema.attributes_schema()
        self._attributes = self._arrow("attributes", attributes) if self.schema.attributes else None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def append(
        self, *, row_ids: pa.Array, vectors: Float32, attributes: Mapping[str, pa.Array], searchable: Flags
    ) -> None:
        """Good rows only, in the order in which they were read; all of one length."""
        self.rows += len(vectors)
        keys = ids.text_keys(row_ids) if self._texts else row_ids.to_numpy().astype(np.int64)
        self._keys.append(keys)
        self._searchable.append(searchable)
        if self._texts:
            self._texts.write_batch(pa.record_batch([row_ids], schema=_TEXT_IDS))
        if self._attributes:
            schema = self.schema.attributes_schema()
            self._attributes.write_batch(pa.record_batch([attributes[name] for name in schema.names], schema=schema))
        shelves = ids.shelves(keys, searchable, self.partitions)
        for number in np.unique(shelves):
            mine = shelves == number
            _write_rows(self._shelves[number], vectors if mine.all() else vectors[mine])

    def arrange(self) -> ids.Arrangement:
        """Finds repeated ids and decides the final order; nothing can be appended from here on."""
        self._open.close()
        self._on_shelf = _joined(self._searchable, np.bool_)
        self._read_keys = _joined(self._keys, np.int64)
        self._keys, self._searchable = [], []
        self._read_texts = self._column("texts", 0) if self._texts else None
        return ids.arrange(self._read_keys, self._on_shelf, self._read_texts, self.partitions)

    def id_at(self, stored: int) -> int | str:
        """The id of a row by its read order, after `arrange`."""
        if self._read_texts is not None:
            return str(self._read_texts[stored].as_py())
        return int(self._read_keys[stored])

    def finish(self, arrangement: ids.Arrangement) -> None:
        """Writes the final data files."""
        self._finish_vectors(arrangement)
        np.save(self.out_dir / layout.ID_KEYS, arrangement.keys)
        np.save(self.out_dir / layout.ID_ROWS, arrangement.rows)
        if self._read_texts is not None:
            texts = self._read_texts.take(pa.array(arrangement.order))
            _write_arrow(self.out_dir / layout.IDS_ARROW, _TEXT_IDS, [texts])
        else:
            np.save(self.out_dir / layout.IDS_NPY, self._read_keys[arrangement.order])
        if self._attributes:
            self._finish_attributes(arrangement.order)

    def _finish_vectors(self, arrangement: ids.Arrangement) -> None:
        dimension, kept = self.schema.dimension, arrangement.kept
        header = npy_header((len(arrangement.order), dimension), "<f4")
        shelves = ids.shelves(self._read_keys, self._on_shelf, self.partitions)
        for number in range(self.partitions + 1):
            header_bytes = 0 if number else len(header)
            _keep_rows(self._shelf(number), header_bytes, dimension, kept[shelves == number])
        with self._shelf(0).open("r+b") as file:
            file.write(header)
            file.seek(0, io.SEEK_END)
            for number in range(1, self.partitions + 1):
                with self._shelf(number).open("rb") as shelf:
                    shutil.copyfileobj(shelf, file, COPY_BYTES)
                self._shelf(number).unlink()

    def _finish_attributes(self, order: Int64) -> None:
        """One record batch, so that a mapped column is one piece and rows are found in it at once."""
        schema = self.schema.attributes_schema()
        columns = []
        for number in range(len(schema)):
            column = self._column("attributes", number).take(pa.array(order))
            path = self.work_dir / f"column-{number}.arrow"
            _write_arrow(path, pa.schema([schema.field(number)]), [column])
            del column
            # Mapped: the file is then put together without a second column in memory.
            columns.append(_mapped_column(path))
        _write_arrow(self.out_dir / layout.ATTRIBUTES, schema, columns)

    def _column(self, name: str, number: int) -> pa.Array:
        chunks = pa.ipc.open_file(pa.memory_map(str(self._scratch(name)))).read_all().column(number)
        return pa.concat_arrays(chunks.chunks) if chunks.num_chunks else pa.array([], chunks.type)

    def _shelf(self, number: int) -> Path:
        """Where the vectors of a shelf are gathered: those of the first one where all of them will lie."""
        return self.work_dir / f"shelf-{number}.vectors" if number else self.out_dir / layout.VECTORS

    def _create(self, path: Path) -> BinaryIO:
        return self._open.enter_context(path.open("wb"))

    def _arrow(self, name: str, schema: pa.Schema) -> pa.RecordBatchFileWriter:
        sink = self._open.enter_context(pa.OSFile(str(self._scratch(name)), "wb"))
        return self._open.enter_context(pa.ipc.new_file(sink, schema))

    def _scratch(self, name: str) -> Path:
        return self.work_dir / f"{name}.arrow"


_TEXT_IDS = pa.schema([("id", pa.large_string())])


def npy_header(shape: tuple[int, ...], descr: str) -> bytes:
    """The header of an npy file; of one length for any number of rows, so that it can be written over."""
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _write_rows(file: BinaryIO, rows: Float32) -> None:
    if len(rows):
        file.write(np.ascontiguousarray(rows, "<f4").data)


def _keep_rows(path: Path, header_bytes: int, dimension: int, kept: Flags) -> None:
    """Moves the kept rows of a matrix up over the others and cuts the file after them."""
    if kept.all():
        return
    rows = np.memmap(path, "<f4", "r+", offset=header_bytes, shape=(len(kept), dimension))
    end = int(np.argmin(kept))
    for start in range(end, len(kept), MOVED_ROWS):
        moved = rows[start : start + MOVED_ROWS][kept[start : start + MOVED_ROWS]]
        rows[end : end + len(moved)] = moved
        end += len(moved)
    rows.flush()
    del rows
    with path.open("r+b") as file:
        file.truncate(header_bytes + end * dimension * ROW_BYTES)


def _joined(parts: list[np.ndarray[Any, Any]], dtype: type) -> np.ndarray[Any, Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _write_arrow(path: Path, schema: pa.Schema, columns: list[pa.Array]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))


def _mapped_column(path: Path) -> pa.Array:
    return pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).column(0)
