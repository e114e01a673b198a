"""For random rows, good and bad, an import equals a plain reading of the rules, row by row."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from bundles.batches import BatchLimits
from bundles.errors import DropError
from bundles.schema import ImportSchema
from tests.bundles.making import NAN, complete, imported, write_parquet

DIMENSION = 3
BATCH_ROWS = 5
FLOAT32_MAX = float(np.finfo(np.float32).max)

numbers = st.sampled_from([0.0, 1.0, -2.5, 3.25, NAN, math.inf, 1e30, 1e200])
good_vectors = st.lists(st.sampled_from([1.0, -2.5, 3.25]), min_size=DIMENSION, max_size=DIMENSION)
any_vectors = st.one_of(
    good_vectors,
    good_vectors,
    st.none(),
    st.just([0.0] * DIMENSION),
    st.lists(numbers, min_size=DIMENSION, max_size=DIMENSION),
    st.lists(numbers, max_size=5),
)
rows = st.tuples(
    st.one_of(st.none(), st.integers(0, 12)),
    any_vectors,
    st.sampled_from([True, True, False, None]),
    st.sampled_from([1979.0, 7.0, 1.5, None]),
)
drops = st.lists(st.lists(rows, max_size=14), min_size=1, max_size=3)


@dataclass
class Expected:
    """What the rules say about a drop."""

    searchable: list[tuple[Any, list[float], Any]] = field(default_factory=list)
    others: list[tuple[Any, list[float], Any]] = field(default_factory=list)
    bad: list[tuple[str, int, str]] = field(default_factory=list)


@settings(max_examples=150, deadline=None)
@given(
    files=drops,
    metric=st.sampled_from(["ip", "cosine", "l2"]),
    text=st.booleans(),
    partitions=st.sampled_from([1, 3, 5]),
)
def test_an_import_equals_its_rules(
    files: list[list[tuple[Any, ...]]], metric: str, text: bool, partitions: int
) -> None:
    schema = ImportSchema("string" if text else "int64", DIMENSION, metric, attributes=(("year", "int64"),))
    with tempfile.TemporaryDirectory() as folder:
        drop = Path(folder) / "films" / "1"
        drop.mkdir(parents=True)
        write(drop, files, text)
        reason = reason_to_fail(files, metric)
        event(reason or "imported")
        if reason:
            with pytest.raises(DropError) as caught:
                imported(drop, Path(folder) / "out", schema, limits=BatchLimits(rows=BATCH_ROWS))
            assert caught.value.reason == reason
            return
        found = imported(drop, Path(folder) / "out", schema, limits=BatchLimits(rows=BATCH_ROWS), partitions=partitions)
    expected = by_the_rules(files, metric, text)
    runs = [
        [item for item in expected.searchable if partition_of(item[0], partitions) == number]
        for number in range(partitions)
    ]
    items = [item for run in runs for item in run] + expected.others
    assert found.ids == [item[0] for item in items]
    np.testing.assert_allclose(found.vectors, [item[1] for item in items], rtol=1e-6)
    assert found.attributes["year"] == [item[2] for item in items]
    assert [(file, row, reason) for file, row, reason, _ in found.reasons()] == expected.bad[:50]
    assert found.report.reasons == Counter(reason for _, _, reason in expected.bad)
    assert found.report.searchable_items == len(expected.searchable)
    assert found.report.partition_rows == tuple(map(len, runs))
    assert found.report.rows == len(items) + len(expected.bad) == sum(map(len, files))


def partition_of(item_id: int | str, partitions: int) -> int:
    """Of a text, by the first eight bytes of its digest."""
    if isinstance(item_id, int):
        return item_id % partitions
    return int.from_bytes(blake2b(item_id.encode()).digest()[:8], "little", signed=True) % partitions


def write(drop: Path, files: list[list[tuple[Any, ...]]], text: bool) -> None:
    for number, file in enumerate(files):
        ids, vectors, searchable, years = zip(*file, strict=True) if file else ((), (), (), ())
        typed = [None if each is None else f"film-{each}" for each in ids] if text else ids
        write_parquet(
            drop / f"items-{number}.parquet",
            pa.array(typed, pa.string() if text else pa.int64()),
            vectors,
            pa.list_(pa.float64()),
            searchable=pa.array(searchable, pa.bool_()),
            year=pa.array(years, pa.float64()),
        )
    complete(drop)


def reason_to_fail(files: list[list[tuple[Any, ...]]], metric: str) -> str | None:
    for file in files:
        lengths = [len(vector) for _, vector, _, _ in file if vector is not None]
        # The footer gives the average, a null or empty list counting as one value.
        values = sum(max(1, len(vector or [])) for _, vector, _, _ in file)
        first = [len(vector) for _, vector, _, _ in file[:BATCH_ROWS] if vector is not None]
        if lengths and values > 2 * DIMENSION * len(file):
            return "drop.dimension_mismatch"
        if first and DIMENSION not in first:
            return "drop.dimension_mismatch"
    expected = by_the_rules(files, metric, text=False)
    return None if expected.searchable else "drop.empty"


def by_the_rules(files: list[list[tuple[Any, ...]]], metric: str, text: bool) -> Expected:
    expected = Expected()
    taken = set()
    for number, file in enumerate(files):
        for row, (item_id, vector, searchable, year) in enumerate(file, start=1):
            reason = why_bad(item_id, vector, year, metric) or ("duplicate_id" if item_id in taken else None)
            if reason:
                expected.bad.append((f"items-{number}.parquet", row, reason))
                continue
            taken.add(item_id)
            shown = f"film-{item_id}" if text else item_id
            shelf = expected.others if searchable is False else expected.searchable
            shelf.append((shown, stored(vector, metric), None if year is None else int(year)))
    return expected


def why_bad(item_id: Any, vector: list[float] | None, year: float | None, metric: str) -> str | None:
    if item_id is None:
        return "bad_id"
    if vector is None:
        return "null_vector"
    if len(vector) != DIMENSION:
        return "wrong_dimension"
    squares = sum(number * number for number in vector)
    too_large = any(abs(number) > FLOAT32_MAX for number in vector) or (metric != "cosine" and squares > FLOAT32_MAX)
    if not math.isfinite(squares) or too_large:
        return "nan"
    if metric == "cosine" and squares == 0:
        return "zero_norm"
    return "bad_attribute" if year is not None and year != int(year) else None


def stored(vector: list[float], metric: str) -> list[float]:
    norm = math.sqrt(sum(number * number for number in vector)) if metric == "cosine" else 1.0
    return [number / norm for number in vector]
