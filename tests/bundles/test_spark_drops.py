"""Folders as Spark leaves them are read as they are."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.drop import inspect, newest_complete, open_drop
from bundles.errors import DropError
from bundles.importing import import_items
from bundles.inspection import Wanted
from bundles.schema import ImportSchema
from tests.bundles.making import vectors

COLUMNS = {"id": "item_id", "vector": "features"}
SCHEMA = ImportSchema("int64", 4, "ip", attributes=(("genre", "string"),), columns=COLUMNS)
JOB = "4f0c9b2e-7d1c-4c53-9e1b-0a8f3f2f6c11-c000"


def write_part(folder: Path, number: int, ids: list[int]) -> Path:
    """A part with Spark's names, types and codec: a list of nullable doubles, called `element`."""
    path = folder / f"part-{number:05}-{JOB}.snappy.parquet"
    features = pa.list_(pa.field("element", pa.float64()))
    table = pa.table(
        {
            "item_id": pa.array(ids, pa.int64()),
            "features": pa.array([row.tolist() for row in vectors(len(ids), seed=number)], features),
            "genre": pa.array([None if each % 2 else "sf" for each in ids], pa.string()),
        }
    )
    pq.write_table(table, path, compression="snappy")
    (folder / f".{path.name}.crc").write_bytes(b"crc\0")
    return path


@pytest.fixture
def spark(drop: Path) -> Path:
    """Two parts with rows, an empty one between them, and what Spark leaves beside them."""
    write_part(drop, 0, [1, 2, 3])
    write_part(drop, 1, [])
    write_part(drop, 2, [4, 5])
    (drop / "_SUCCESS").touch()
    (drop / "._SUCCESS.crc").write_bytes(b"crc\0")
    (drop / "_metadata").write_bytes(b"PAR1")
    return drop


def test_a_spark_folder_is_complete_and_read_as_it_is(spark: Path, out: Path) -> None:
    assert newest_complete(spark.parent).marker == "_SUCCESS"
    report = import_items(open_drop(spark.parent, spark.name, files=["items-*.parquet", "part-*.parquet"]), SCHEMA, out)
    assert (report.items, report.bad_rows, report.files) == (5, 0, 3)
    found = inspect(spark.parent, wanted=Wanted(files=("part-*.parquet",)))
    assert (found.complete, found.rows, found.columns, found.source_files) == (True, 5, COLUMNS, ["part-*.parquet"])


def test_the_folder_of_one_job_can_be_the_source_itself(spark: Path) -> None:
    assert newest_complete(spark).path == spark
    assert len(open_drop(spark, spark.name, files=["part-*.parquet"]).item_files) == 3


@pytest.mark.parametrize(("pattern", "files"), [("*.parquet", 3), ("*part*.parquet", 3), ("*/part-*.parquet", 1)])
def test_hidden_files_and_folders_match_no_pattern_but_their_own(spark: Path, pattern: str, files: int) -> None:
    for folder in ("_temporary", ".staging", "genre=sf"):
        (spark / folder).mkdir()
        write_part(spark / folder, 9, [9])
    (spark / "_part-9.parquet").write_bytes(b"half written")
    (spark / ".part-9.parquet").write_bytes(b"half written")
    found = [item.name for item in open_drop(spark.parent, spark.name, files=[pattern]).item_files]
    assert len(found) == files
    assert not any(part.startswith(("_", ".")) for name in found for part in name.split("/"))


def test_a_pattern_may_name_what_is_hidden(spark: Path) -> None:
    (spark / "_parts").mkdir()
    write_part(spark / "_parts", 7, [7])
    found = open_drop(spark.parent, spark.name, files=["_*/part-*.parquet"]).item_files
    assert [item.name.split("/")[0] for item in found] == ["_parts"]
    assert len(open_drop(spark.parent, spark.name, files=["_parts/*"]).item_files) == 1


def test_a_spark_job_that_has_not_ended_is_not_taken(spark: Path) -> None:
    (spark / "_SUCCESS").unlink()
    with pytest.raises(DropError) as caught:
        newest_complete(spark.parent)
    assert caught.value.reason == "drop.incomplete"
