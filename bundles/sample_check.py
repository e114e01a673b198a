"""What an import would make of a sample of a drop: first rows, judged by its own rules and kept nowhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bundles import formats, ids
from bundles.batches import BatchLimits, Flags, RawBatch
from bundles.errors import DropError
from bundles.files import ItemFile
from bundles.judging import Lengths, check_dimension, judge
from bundles.report import BAD_ROWS_SHOWN, BadRow, BadRowLog, shown_id
from bundles.schema import ImportSchema

# Of so many files, spread over the drop, the first rows; so many rows together, unless their vectors are larger.
FILES_MAX = 8
ROWS_MAX = 10_000
VECTOR_BYTES_MAX = 16 << 20
# No file is begun, and no batch read, after so long.
SECONDS_MAX = 8.0
BATCH = BatchLimits(rows=1_024, bytes=8 << 20)
FLOAT32_BYTES = 4
# Of an item's id beside its row: the sorted key and the row that it stands for.
ID_KEY_BYTES = 16
EXAMPLES_MAX = 3
EXAMPLE_CHARACTERS_MAX = 60


@dataclass(frozen=True)
class AttributeSeen:
    """An attribute in the good rows of the sample: rows without a value, different values, and the first of them."""

    name: str
    type: str
    nulls: int
    distinct: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class SampleCheck:
    """`rows` = `good_rows` + `bad_rows`, out of `files` files; `reasons` and `bad` are those of an ImportReport.

    `shortest`, `mean_norm`, `longest`: Euclidean lengths of the vectors of good rows as delivered, 0 without any; these
    and `attributes` count repeated ids too. `row_bytes`: what a row takes beside its vector, id included, on average.
    `problem`: what a build would fail with, as reason and message; None when nothing was found.
    """

    rows: int
    files: int
    good_rows: int
    bad_rows: int
    reasons: dict[str, int]
    bad: tuple[BadRow, ...]
    shortest: float
    mean_norm: float
    longest: float
    row_bytes: int
    attributes: tuple[AttributeSeen, ...]
    problem: dict[str, str] | None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def check_sample(item_files: Sequence[ItemFile], schema: ImportSchema) -> SampleCheck:
    """Judges the first rows of some of the files. What ends a build is told as `problem` and raised by nobody."""
    chosen = _spread(item_files)
    seen = _Seen(schema, until=time.monotonic() + SECONDS_MAX)
    rows_each = ceil(_rows_max(schema.dimension) / len(chosen))
    problem = None
    try:
        for item in chosen:
            seen.look(item, rows_each)
    except DropError as error:
        problem = {"reason": error.reason, "message": error.message}
    return seen.told(problem)


def _spread(item_files: Sequence[ItemFile]) -> list[ItemFile]:
    """At most FILES_MAX of them, the first and the last one included."""
    if len(item_files) <= FILES_MAX:
        return list(item_files)
    places = np.linspace(0, len(item_files) - 1, FILES_MAX).round().astype(int)
    return [item_files[place] for place in places]


def _rows_max(dimension: int) -> int:
    return max(1, min(ROWS_MAX, VECTOR_BYTES_MAX // (FLOAT32_BYTES * dimension)))


@dataclass
class _Seen:
    """What the sample has shown so far; `places` says where each good row came from."""

    schema: ImportSchema
    until: float
    rows: int = 0
    files: int = 0
    log: BadRowLog = field(default_factory=BadRowLog)
    places: list[tuple[int, str, int]] = field(default_factory=list)
    ids: list[pa.Array] = field(default_factory=list)
    norms: list[Lengths] = field(default_factory=list)
    attributes: list[Mapping[str, pa.Array]] = field(default_factory=list)

    def look(self, item: ItemFile, rows_max: int) -> None:
        """Takes the first rows of a file. Raises DropError."""
        if time.monotonic() > self.until:
            return
        self.files += 1
        left = rows_max
        for batch in formats.format_of(item.name).read(item, self.schema, BATCH):
            if batch.first_row == 1:
                check_dimension(batch, self.schema.dimension)
            self._take(batch, left)
            left -= min(left, len(batch.lengths))
            if not left or time.monotonic() > self.until:
                return

    def _take(self, batch: RawBatch, rows_max: int) -> None:
        norms, codes = judge(batch, self.schema)
        norms, codes = norms[:rows_max], codes[:rows_max]
        good = codes == 0
        self.log.add_batch(self.rows, batch.file, batch.first_row, codes, batch.shown_ids)
        indices = np.flatnonzero(good)
        self.places += [(self.rows + int(at), batch.file, batch.first_row + int(at)) for at in indices]
        self.ids.append(batch.ids.take(pa.array(indices)))
        self.norms.append(norms[good])
        self.attributes.append({name: column.take(pa.array(indices)) for name, column in batch.attributes.items()})
        self.rows += len(codes)

    def told(self, problem: dict[str, str] | None) -> SampleCheck:
        stored = len(self.places)
        row_ids = _together(self.ids, pa.int64() if self.schema.id_type == "int64" else pa.large_string())
        self._add_duplicates(row_ids)
        norms = np.concatenate(self.norms) if self.norms else np.empty(0)
        columns = {
            name: _together([each[name] for each in self.attributes], column_type)
            for name, column_type in _types(self.schema).items()
        }
        held = row_ids.nbytes + sum(column.nbytes for column in columns.values())
        return SampleCheck(
            rows=self.rows,
            files=self.files,
            good_rows=self.rows - self.log.count,
            bad_rows=self.log.count,
            reasons=dict(self.log.reasons),
            bad=self.log.first(),
            shortest=float(norms.min()) if stored else 0.0,
            mean_norm=float(norms.mean()) if stored else 0.0,
            longest=float(norms.max()) if stored else 0.0,
            row_bytes=ceil(held / max(1, stored)) + ID_KEY_BYTES,
            attributes=tuple(_seen(name, type_name, columns[name]) for name, type_name in self.schema.attributes),
            problem=problem,
        )

    def _add_duplicates(self, row_ids: pa.Array) -> None:
        texts = None if self.schema.id_type == "int64" else row_ids
        keys = row_ids.to_numpy(zero_copy_only=False) if texts is None else ids.text_keys(texts)
        everything: Flags = np.ones(len(keys), np.bool_)
        repeated = np.flatnonzero(~ids.arrange(keys, everything, texts).kept)
        first = [self._duplicate(int(at), row_ids) for at in repeated[:BAD_ROWS_SHOWN]]
        self.log.add_duplicates(len(repeated), first)

    def _duplicate(self, at: int, row_ids: pa.Array) -> tuple[int, BadRow]:
        position, file, row = self.places[at]
        return position, BadRow(file, row, "duplicate_id", shown_id(row_ids[at].as_py()))


def _together(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(list(arrays)) if arrays else pa.array([], kind)


def _types(schema: ImportSchema) -> dict[str, pa.DataType]:
    return {each.name: each.type for each in schema.attributes_schema()}


def _seen(name: str, type_name: str, column: pa.Array) -> AttributeSeen:
    values = pc.list_flatten(column) if pa.types.is_large_list(column.type) else column
    different = pc.unique(values.drop_null())
    examples = tuple(str(each)[:EXAMPLE_CHARACTERS_MAX] for each in different.slice(0, EXAMPLES_MAX).to_pylist())
    return AttributeSeen(name, type_name, column.null_count, len(different), examples)
