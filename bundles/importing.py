"""The import: every row of a drop is read once, judged, and either stored or reported.

Reading is streaming and memory is bounded (see `spool`): what grows with the drop is 8 bytes of key per row and the
sorting of those, not the vectors.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bundles import formats, ids
from bundles.batches import DEFAULT_LIMITS, BatchLimits, Flags, Float32, RawBatch
from bundles.drop import Drop, count_rows
from bundles.errors import DropError
from bundles.judging import check_dimension, judge
from bundles.report import BAD_ROWS_SHOWN, BadRow, BadRowLog, ImportReport, shown_id
from bundles.schema import ImportSchema
from bundles.spool import Spool
from failpoints import failpoint

# The size of all vectors as float32, beyond which a drop is refused.
VECTOR_BYTES_MAX = 256 << 30
FLOAT32_BYTES = 4

Progress = Callable[[int, int], None]


def no_progress(_done: int, _expected: int) -> None:
    """Reports to nobody."""


def import_items(
    drop: Drop,
    schema: ImportSchema,
    out_dir: Path,
    *,
    partitions: int = 1,
    progress: Progress = no_progress,
    limits: BatchLimits = DEFAULT_LIMITS,
    vector_bytes_max: int = VECTOR_BYTES_MAX,
) -> ImportReport:
    """Writes the good rows of a drop as the data files of an artifact and says which rows were bad.

    Rows are ordered by partition: an item is in that of its id modulo `partitions` (1 to 255; of a text, its key's).
    `progress` gets rows read and rows expected (0: not known). Vectors are float32, of length 1 when the schema
    says so. Can run twice on one `out_dir`. Raises DropError.
    """
    started = time.monotonic()
    work = _Work(schema, vector_bytes_max)
    expected = drop.count if drop.count is not None else count_rows(drop) or 0
    work.check_size(expected)
    with Spool(out_dir, schema, partitions) as spool:
        for batch in _batches(drop, schema, limits):
            work.take(batch, spool)
            failpoint("import_child.within_rows")
            progress(work.rows, expected)
        drop.check_unchanged()
        arrangement = spool.arrange()
        work.report_duplicates(arrangement.kept, spool)
        report = work.report(drop, arrangement, started)
        _check_counts(drop, report)
        spool.finish(arrangement)
    return report


@dataclass(frozen=True)
class _Origin:
    """Where the good rows of a batch came from; `good` is packed bits, one for each row of the batch."""

    stored_before: int
    position: int
    file: str
    first_row: int
    good: np.ndarray[Any, np.dtype[np.uint8]]


@dataclass
class _Work:
    """What an import knows so far."""

    schema: ImportSchema
    vector_bytes_max: int
    rows: int = 0
    norm_sum: float = 0.0
    log: BadRowLog = field(default_factory=BadRowLog)
    origins: list[_Origin] = field(default_factory=list)

    def take(self, batch: RawBatch, spool: Spool) -> None:
        """Judges the rows of a batch, stores the good ones and notes the bad ones."""
        if batch.first_row == 1:
            check_dimension(batch, self.schema.dimension)
        norms, codes = judge(batch, self.schema)
        good = codes == 0
        self.log.add_batch(self.rows, batch.file, batch.first_row, codes, batch.shown_ids)
        self.origins.append(_Origin(spool.rows, self.rows, batch.file, batch.first_row, np.packbits(good)))
        self.norm_sum += float(norms[good].sum())
        self.rows += len(codes)
        self.check_size(self.rows)
        _store(batch, norms, good, self.schema, spool)

    def check_size(self, rows: int) -> None:
        """Raises DropError drop.too_large."""
        size = rows * self.schema.dimension * FLOAT32_BYTES
        if size > self.vector_bytes_max:
            message = f"{rows} rows of {self.schema.dimension} dimensions need {size} bytes; the limit is "
            message += f"{self.vector_bytes_max}."
            raise DropError("drop.too_large", message, {"rows": rows, "bytes": size, "limit": self.vector_bytes_max})

    def report_duplicates(self, kept: Flags, spool: Spool) -> None:
        repeated = np.flatnonzero(~kept)
        first = [self._duplicate(int(stored), spool) for stored in repeated[:BAD_ROWS_SHOWN]]
        self.log.add_duplicates(len(repeated), first)

    def _duplicate(self, stored: int, spool: Spool) -> tuple[int, BadRow]:
        origin = self.origins[bisect_right(self.origins, stored, key=lambda each: each.stored_before) - 1]
        offset = int(np.flatnonzero(np.unpackbits(origin.good))[stored - origin.stored_before])
        row = BadRow(origin.file, origin.first_row + offset, "duplicate_id", shown_id(spool.id_at(stored)))
        return origin.position + offset, row

    def report(self, drop: Drop, arrangement: ids.Arrangement, started: float) -> ImportReport:
        items, stored = len(arrangement.order), len(arrangement.kept)
        return ImportReport(
            rows=self.rows,
            good_rows=items,
            items=items,
            searchable_items=arrangement.searchable,
            partition_rows=arrangement.partition_rows,
            bad_rows=self.log.count,
            bad=self.log.first(),
            reasons=dict(self.log.reasons),
            files=len(drop.item_files),
            bytes=drop.bytes,
            mean_norm=self.norm_sum / stored if stored else 0.0,
            seconds=time.monotonic() - started,
        )


def _batches(drop: Drop, schema: ImportSchema, limits: BatchLimits) -> Iterator[RawBatch]:
    for item in drop.item_files:
        yield from formats.format_of(item.name).read(item, schema, limits)
        item.check_unchanged()


def _store(
    batch: RawBatch, norms: np.ndarray[Any, np.dtype[np.float64]], good: Flags, schema: ImportSchema, spool: Spool
) -> None:
    vectors, attributes, row_ids, searchable = batch.vectors, batch.attributes, batch.ids, batch.searchable
    if not good.all():
        chosen = pa.array(good)
        vectors, norms, searchable = vectors[good], norms[good], searchable[good]
        row_ids = row_ids.filter(chosen)
        attributes = {name: column.filter(chosen) for name, column in attributes.items()}
    if schema.normalized:
        vectors = normalized(vectors, norms)
    spool.append(row_ids=row_ids, vectors=vectors, attributes=attributes, searchable=searchable)


def normalized(vectors: Float32, norms: np.ndarray[Any, np.dtype[np.float64]]) -> Float32:
    """Each row divided by its length, float32 [n, d]."""
    return (vectors / norms[:, np.newaxis]).astype(np.float32)


def _check_counts(drop: Drop, report: ImportReport) -> None:
    details = {"report": report.to_dict()}
    if drop.count is not None and drop.count != report.rows:
        message = (
            f"The manifest promises {drop.count:,} rows (`count`); the files hold {report.rows:,}. "
            "Deliver the missing files, or correct `count`."
        )
        raise DropError("drop.count_mismatch", message, {**details, "expected": drop.count, "found": report.rows})
    if not report.items:
        none = f"None of the {report.rows:,} rows of the drop is good." if report.rows else "The drop has no rows."
        raise DropError("drop.empty", none, details)
    if not report.searchable_items:
        message = f"None of the {report.items} items of the drop is searchable."
        raise DropError("drop.empty", message, details)
