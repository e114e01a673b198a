"""What an inspection proposes for each format, and how it judges a sample of a drop by the rules of the import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles import sample_check
from bundles.drop import inspect
from bundles.inspection import Wanted
from bundles.schema import ImportSchema
from tests.bundles.making import NAN, complete, imported, vectors, write_csv, write_parquet

UNIT = [[0.6, 0.8], [1.0, 0.0], [0.0, 1.0]]


def write_parquet_drop(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2, 3], UNIT, title=["a", "b", "c"])
    complete(drop)


def write_npy_drop(drop: Path) -> None:
    np.save(drop / "items.npy", np.array(UNIT, np.float32))
    np.save(drop / "ids.npy", np.array([1, 2, 3]))
    complete(drop)


def write_csv_drop(drop: Path) -> None:
    write_csv(drop / "items.csv", ["id", "title", "v0", "v1"], "1,a,0.6,0.8", "2,b,1,0", "3,c,0,1")
    complete(drop)


def write_jsonl_drop(drop: Path) -> None:
    rows = [{"id": at + 1, "vector": row, "title": "abc"[at]} for at, row in enumerate(UNIT)]
    (drop / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    complete(drop)


def write_word2vec_drop(drop: Path) -> None:
    (drop / "items.txt").write_text("3 2\n1 0.6 0.8\n2 1 0\n3 0 1\n")
    complete(drop)


def write_spark_drop(drop: Path) -> None:
    for part, row in enumerate(UNIT):
        write_parquet(drop / f"part-0000{part}-c000.snappy.parquet", [part + 1], [row], title=["abc"[part]])
        (drop / f".part-0000{part}-c000.snappy.parquet.crc").write_bytes(b"crc")
    (drop / "_SUCCESS").touch()


@pytest.mark.parametrize(
    ("write", "format_name", "has_title"),
    [
        (write_parquet_drop, "parquet", True),
        (write_npy_drop, "npy", False),
        (write_csv_drop, "csv", True),
        (write_jsonl_drop, "jsonl", True),
        (write_word2vec_drop, "txt", False),
        (write_spark_drop, "parquet", True),
    ],
)
def test_every_format_has_a_proposal_whose_sample_is_good_and_which_imports(
    drop: Path, out: Path, write, format_name: str, has_title: bool
) -> None:
    write(drop)
    found = inspect(drop.parent)
    assert (found.drops, found.drop, found.complete, found.format) == (("2026-11-21",), "2026-11-21", True, format_name)
    schema = found.suggested_schema
    assert (schema["dimension"], schema["metric"]) == (2, "ip")
    assert "of length 1" in found.why
    assert found.names == tuple(found.found)
    assert {tuple(row) for row in found.sample} == {found.names}
    assert schema["attributes"] == ([{"name": "title", "type": "string"}] if has_title else [])
    check = found.check
    assert (check.rows, check.good_rows, check.bad_rows, check.problem) == (3, 3, 0, None)
    assert (check.shortest, check.longest) == pytest.approx((1, 1))
    assert [(each.distinct, each.nulls, each.examples) for each in check.attributes] == (
        [(3, 0, ("a", "b", "c"))] if has_title else []
    )
    assert imported(drop, out, ImportSchema.from_spec(schema, found.columns)).report.items == 3


def test_a_sample_names_each_bad_row_as_an_import_would(drop: Path, out: Path) -> None:
    rows = [[3.0, 4.0], [NAN, 1.0], None, [1.0], [0.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    write_parquet(drop / "items-0.parquet", [1, 2, 3, 4, 5, 1, None], rows)
    check = inspect(drop.parent).check
    assert [(bad.file, bad.row, bad.reason, bad.id) for bad in check.bad] == [
        ("items-0.parquet", 2, "nan", 2),
        ("items-0.parquet", 3, "null_vector", 3),
        ("items-0.parquet", 4, "wrong_dimension", 4),
        ("items-0.parquet", 5, "zero_norm", 5),
        ("items-0.parquet", 6, "duplicate_id", 1),
        ("items-0.parquet", 7, "bad_id", None),
    ]
    assert (check.rows, check.good_rows, check.bad_rows) == (7, 1, 6)
    assert (check.shortest, check.longest) == pytest.approx((1, 5))
    report = imported(drop, out, ImportSchema("int64", 2, "cosine")).report
    assert (report.bad, report.reasons) == (check.bad, check.reasons)


def test_texts_that_stand_twice_are_one_id(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", ["a", "b", "a"], UNIT)
    assert [(bad.row, bad.reason, bad.id) for bad in inspect(drop.parent).check.bad] == [(3, "duplicate_id", "a")]


def test_what_is_decided_judges_the_sample_instead_of_what_is_suggested(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2], [[0.0, 0.0], [1.0, 2.0]], other=[7, 7], year=["1979", "x"])
    plain = Wanted({"id_type": "int64", "dimension": 2, "metric": "ip"}, {"id": "id", "vector": "vector"})
    assert inspect(drop.parent, wanted=plain).check.bad_rows == 0
    by_other = Wanted({"id_type": "int64", "dimension": 2, "metric": "ip"}, {"id": "other", "vector": "vector"})
    assert inspect(drop.parent, wanted=by_other).check.reasons == {"duplicate_id": 1}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"id_type": "int64", "dimension": 3, "metric": "ip"}, "drop.dimension_mismatch"),
        ({"id_type": "string", "dimension": 2, "metric": "ip"}, "drop.bad_id_type"),
        (
            {"id_type": "int64", "dimension": 2, "metric": "ip", "attributes": [{"name": "at", "type": "int64"}]},
            "drop.missing_column",
        ),
    ],
)
def test_what_would_end_a_build_is_told_beside_the_proposal(drop: Path, schema, reason: str) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2, 3], UNIT)
    found = inspect(drop.parent, wanted=Wanted(schema, {"id": "id", "vector": "vector"}))
    assert found.check.problem is not None
    assert found.check.problem["reason"] == reason
    assert found.suggested_schema["dimension"] == 2


def test_a_file_that_is_cut_off_is_told_as_the_build_would_tell_it(drop: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2, 3], UNIT)
    whole = (drop / "items-0.parquet").read_bytes()
    (drop / "items-1.parquet").write_bytes(whole[: len(whole) // 2])
    complete(drop, items=["items-*.parquet"], count=6)
    problem = inspect(drop.parent).check.problem
    assert problem is not None
    assert problem["reason"] == "drop.unreadable"
    assert "items-1.parquet" in problem["message"]


def test_a_large_drop_is_sampled_over_its_files_and_no_further(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_check, "ROWS_MAX", 80)
    for part in range(20):
        write_parquet(drop / f"items-{part:02}.parquet", range(part * 50, part * 50 + 50), vectors(50))
    complete(drop)
    found = inspect(drop.parent)
    assert (found.rows, found.check.rows, found.check.files) == (1_000, 80, 8)
    # The last file is looked into as well: a job often goes wrong at its end.
    write_parquet(drop / "items-19.parquet", range(50), [*vectors(49), None])
    assert inspect(drop.parent).check.reasons["duplicate_id"] == 10


def test_wide_vectors_make_a_smaller_sample(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_check, "VECTOR_BYTES_MAX", 4 * 4 * 5)
    write_parquet(drop / "items-0.parquet", range(50), vectors(50))
    assert inspect(drop.parent).check.rows == 5


def test_the_cardinality_of_attributes_counts_values_and_nulls(drop: Path) -> None:
    columns = {
        "genre": [["noir", "drama"], ["noir"], None],
        "year": pa.array([1979, None, 1979], pa.int32()),
        "free": [True, False, True],
    }
    write_parquet(drop / "items-0.parquet", [1, 2, 3], UNIT, **columns)
    seen = {each.name: each for each in inspect(drop.parent).check.attributes}
    assert (seen["genre"].distinct, seen["genre"].nulls, seen["genre"].examples) == (2, 1, ("noir", "drama"))
    assert (seen["year"].distinct, seen["year"].nulls) == (1, 1)
    assert (seen["free"].distinct, seen["free"].type) == (2, "bool")


def test_drops_are_listed_newest_first(source: Path, drop: Path) -> None:
    write_parquet_drop(drop)
    (source / "2026-11-22").mkdir()
    assert inspect(source).drops == ("2026-11-22", "2026-11-21")


def test_files_of_other_names_are_found_by_their_patterns(drop: Path) -> None:
    pq.write_table(pa.table({"id": [1], "vector": [[1.0, 0.0]]}), drop / "emb-0.parquet")
    (drop / "_SUCCESS").touch()
    found = inspect(drop.parent, wanted=Wanted(files=("emb-*.parquet",)))
    assert (found.rows, found.source_files) == (1, ["emb-*.parquet"])
