"""What an import stores and what it reports, for drops in Parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.errors import DropError
from bundles.importing import import_items
from bundles.schema import ATTRIBUTE_TYPES, ImportSchema
from tests.bundles.making import (
    COSINE,
    DIMENSION,
    INT64,
    NAN,
    SMALL,
    TEXT,
    complete,
    imported,
    opened,
    read_arrow,
    vectors,
    with_attributes,
    write_parquet,
)


def fails(drop: Path, out: Path, schema: ImportSchema = INT64) -> DropError:
    with pytest.raises(DropError) as caught:
        imported(drop, out, schema)
    assert caught.value.owner == "user"
    assert not (out / "import.tmp").exists()
    return caught.value


def test_it_stores_rows_of_several_files_in_order(drop: Path, out: Path) -> None:
    rows = vectors(20)
    write_parquet(drop / "items-0.parquet", list(range(15)), rows[:15])
    write_parquet(drop / "items-1.parquet", list(range(15, 20)), rows[15:])
    found = imported(drop, out)
    assert found.ids == list(range(20))
    np.testing.assert_array_equal(found.vectors, rows)
    assert found.vectors.dtype == np.float32
    report = found.report
    assert (report.rows, report.good_rows, report.items, report.searchable_items, report.bad_rows) == (
        20,
        20,
        20,
        20,
        0,
    )
    assert report.bytes == sum(path.stat().st_size for path in drop.glob("items-*"))
    assert report.mean_norm == pytest.approx(np.linalg.norm(rows.astype(np.float64), axis=1).mean())


@pytest.mark.parametrize("numbers", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("size", [-1, DIMENSION])
def test_it_reads_lists_of_every_float_type(drop: Path, out: Path, numbers: pa.DataType, size: int) -> None:
    rows = vectors(10).astype(np.float16).astype(np.float32)
    typed = [row.astype(numbers.to_pandas_dtype()) for row in rows]
    write_parquet(drop / "items-0.parquet", list(range(10)), typed, pa.list_(numbers, size))
    np.testing.assert_array_equal(imported(drop, out).vectors, rows)


def test_rows_that_are_off_the_shelf_come_after_the_searchable_ones(drop: Path, out: Path) -> None:
    rows = vectors(20)
    searchable = [None if index == 4 else index % 3 != 0 for index in range(20)]
    write_parquet(drop / "items-0.parquet", list(range(20)), rows, searchable=pa.array(searchable, pa.bool_()))
    found = imported(drop, out)
    expected = [index for index in range(20) if index % 3] + [index for index in range(20) if index % 3 == 0]
    assert found.ids == expected
    np.testing.assert_array_equal(found.vectors, rows[expected])
    assert found.report.searchable_items == 13


def test_cosine_and_normalize_store_vectors_of_length_one(drop: Path, out: Path) -> None:
    rows = 5 * vectors(10)
    write_parquet(drop / "items-0.parquet", list(range(10)), rows)
    for schema in (COSINE, ImportSchema("int64", DIMENSION, "l2", normalize=True)):
        found = imported(drop, out, schema)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(found.vectors, rows / np.linalg.norm(rows, axis=1)[:, None], rtol=1e-5)
        assert found.report.mean_norm == pytest.approx(np.linalg.norm(rows, axis=1).mean(), rel=1e-5)


def test_every_bad_row_is_reported_with_its_file_row_reason_and_id(drop: Path, out: Path) -> None:
    good = [1.0, 2.0, 3.0, 4.0]
    rows: list[Any] = [good, [1, NAN, 3, 4], [1, 2, 3], None, good, good, [1, 2, 3, float("inf")], [0] * 4]
    write_parquet(drop / "items-0.parquet", pa.array([10, 11, 12, 13, 10, None, 16, 17], pa.int64()), rows)
    write_parquet(drop / "items-1.parquet", [18, 10], [good, good])
    found = imported(drop, out, COSINE)
    assert found.reasons() == [
        ("items-0.parquet", 2, "nan", 11),
        ("items-0.parquet", 3, "wrong_dimension", 12),
        ("items-0.parquet", 4, "null_vector", 13),
        ("items-0.parquet", 5, "duplicate_id", 10),
        ("items-0.parquet", 6, "bad_id", None),
        ("items-0.parquet", 7, "nan", 16),
        ("items-0.parquet", 8, "zero_norm", 17),
        ("items-1.parquet", 2, "duplicate_id", 10),
    ]
    assert found.ids == [10, 18]
    report = found.report
    one_each = dict.fromkeys(("wrong_dimension", "null_vector", "bad_id", "zero_norm"), 1)
    assert report.reasons == {"nan": 2, "duplicate_id": 2, **one_each}
    assert report.bad_rows == 8
    assert report.bad_row_percent == pytest.approx(80.0)
    assert json.loads(json.dumps(report.to_dict()))["bad"][0] == {
        "file": "items-0.parquet",
        "row": 2,
        "reason": "nan",
        "id": 11,
    }


def test_a_vector_of_zeros_is_good_where_length_does_not_matter(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], [[0.0] * 4])
    for metric in ("ip", "l2"):
        assert imported(drop, out, ImportSchema("int64", DIMENSION, metric)).report.bad_rows == 0


def test_a_number_too_large_for_float32_is_as_bad_as_infinity(drop: Path, out: Path) -> None:
    rows = [[1.0, 2.0, 3.0, 4.0], [1e300, 0, 0, 0], [1e30, 0, 0, 0], [0, None, 0, 1]]
    write_parquet(drop / "items-0.parquet", [1, 2, 3, 4], rows, pa.list_(pa.float64()))
    assert imported(drop, out).report.reasons == {"nan": 3}
    # A direction is still a direction when it is long.
    assert imported(drop, out, COSINE).ids == [1, 3]


def test_only_the_first_fifty_bad_rows_are_listed_but_all_are_counted(drop: Path, out: Path) -> None:
    rows = vectors(200)
    rows[1:150, 0] = NAN
    ids = list(range(200))
    ids[160:] = [0] * 40
    write_parquet(drop / "items-0.parquet", ids, rows)
    found = imported(drop, out)
    assert found.report.reasons == {"nan": 149, "duplicate_id": 40}
    assert [row for _, row, _, _ in found.reasons()] == list(range(2, 52))


def test_repeated_ids_among_the_first_bad_rows_are_listed_in_their_place(drop: Path, out: Path) -> None:
    rows = vectors(100)
    rows[40:, 0] = NAN
    write_parquet(drop / "items-0.parquet", [0, 0, *range(2, 100)], rows)
    found = imported(drop, out)
    assert found.reasons()[0] == ("items-0.parquet", 2, "duplicate_id", 0)
    assert [row for _, row, _, _ in found.reasons()[1:]] == list(range(41, 90))


def test_a_bad_row_does_not_take_the_id_from_a_good_one(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [7, 7], [[NAN] * 4, [1.0, 2.0, 3.0, 4.0]])
    found = imported(drop, out)
    assert found.ids == [7]
    assert found.report.reasons == {"nan": 1}


def test_the_first_of_two_rows_wins_also_when_it_is_off_the_shelf(drop: Path, out: Path) -> None:
    rows = vectors(3)
    write_parquet(drop / "items-0.parquet", [7, 7, 8], rows, searchable=[False, True, True])
    found = imported(drop, out)
    assert found.ids == [8, 7]
    np.testing.assert_array_equal(found.vectors, rows[[2, 0]])


def test_text_ids_are_stored_and_repeated_ones_found(drop: Path, out: Path) -> None:
    ids = ["tt001", "tt002", "tt001", "", None, "é" * 3_000, "zoë"]
    write_parquet(drop / "items-0.parquet", ids, vectors(7))
    found = imported(drop, out, TEXT)
    assert found.ids == ["tt001", "tt002", "zoë"]
    assert found.report.reasons == {"duplicate_id": 1, "bad_id": 3}
    assert found.reasons()[0] == ("items-0.parquet", 3, "duplicate_id", "tt001")
    keys = np.load(out / "id_keys.npy")
    assert keys.dtype == np.int64
    assert (np.diff(keys) > 0).all()


def test_unsigned_ids_beyond_int64_are_bad(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", pa.array([1, 2**63, 2**63 - 1], pa.uint64()), vectors(3))
    found = imported(drop, out)
    assert found.ids == [1, 2**63 - 1]
    assert found.report.reasons == {"bad_id": 1}


def test_attributes_are_stored_row_by_row_in_the_types_of_the_schema(drop: Path, out: Path) -> None:
    schema = with_attributes(
        ("title", "string"), ("year", "int64"), ("score", "float64"), ("free", "bool"), ("genre", "list<string>")
    )
    columns = {
        "title": pa.array(["Alien", None, "Brazil", "Cube"]).dictionary_encode(),
        "year": pa.array([1979, 1985, None, 1997], pa.int16()),
        "score": pa.array([8.5, NAN, 7.0, None], pa.float32()),
        "free": pa.array([True, False, None, True]),
        "genre": [["horror", "sf"], [], None, ["sf"]],
        "unused": [{"a": 1}] * 4,
    }
    write_parquet(drop / "items-0.parquet", [1, 2, 3, 4], vectors(4), searchable=[True, False, True, True], **columns)
    found = imported(drop, out, schema)
    assert found.ids == [1, 3, 4, 2]
    assert found.attributes == {
        "title": ["Alien", "Brazil", "Cube", None],
        "year": [1979, None, 1997, 1985],
        "score": [8.5, 7.0, None, None],
        "free": [True, None, True, False],
        "genre": [["horror", "sf"], None, ["sf"], []],
    }
    assert read_arrow(out / "attributes.arrow").column("title").num_chunks == 1


@pytest.mark.parametrize("type_name", ATTRIBUTE_TYPES)
def test_an_attribute_column_without_a_value_is_null_in_each_row(drop: Path, out: Path, type_name: str) -> None:
    """pandas writes a column of None as Arrow's type null, also in one file of several."""
    write_parquet(drop / "items-0.parquet", [1, 2], vectors(2), said=pa.nulls(2), searchable=pa.nulls(2))
    found = imported(drop, out, with_attributes(("said", type_name)))
    assert (found.ids, found.attributes, found.report.reasons) == ([1, 2], {"said": [None, None]}, {})


def test_lists_that_are_all_empty_are_lists_of_texts(drop: Path, out: Path) -> None:
    empty = pa.array([[], [], None], pa.list_(pa.null()))
    write_parquet(drop / "items-0.parquet", [1, 2, 3], vectors(3), genre=empty)
    found = imported(drop, out, with_attributes(("genre", "list<string>")))
    assert (found.attributes, found.report.reasons) == ({"genre": [[], [], None]}, {})


def test_a_cell_that_does_not_fit_costs_its_row(drop: Path, out: Path) -> None:
    schema = with_attributes(("year", "int64"), ("title", "string"), ("genre", "list<string>"))
    columns = {
        "year": [1979.0, 1985.5, NAN, 1e30, 5.0, 6.0],
        "title": ["a", "b", "c", "d", "x" * 5_000, "f"],
        "genre": [["a"], ["b"], [], ["d"], ["e"], ["f", None]],
    }
    write_parquet(drop / "items-0.parquet", [1, 2, 3, 4, 5, 6], vectors(6), **columns)
    found = imported(drop, out, schema)
    assert found.attributes == {"year": [1979, None], "title": ["a", "c"], "genre": [["a"], []]}
    assert [(row, reason) for _, row, reason, _ in found.reasons()] == [
        (2, "bad_attribute"),
        (4, "bad_attribute"),
        (5, "bad_attribute"),
        (6, "bad_attribute"),
    ]


def test_columns_can_have_other_names_in_the_files(drop: Path, out: Path) -> None:
    table = pa.table({"film": [1, 2], "emb": vectors(2).tolist()})
    pq.write_table(table, drop / "items-0.parquet")
    assert imported(drop, out, with_attributes(columns={"id": "film", "vector": "emb"})).ids == [1, 2]


def test_a_list_column_of_another_dimension_fails_naming_both(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", list(range(10)), vectors(10, 6))
    error = fails(drop, out)
    assert error.reason == "drop.dimension_mismatch"
    assert error.details == {"file": "items-0.parquet", "found": 6, "expected": 4}
    assert "6 dimensions; the schema says 4" in error.message


def test_a_fixed_size_column_of_another_dimension_fails_in_any_file(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1), pa.list_(pa.float32(), 4))
    write_parquet(drop / "items-1.parquet", [2], vectors(1, 3), pa.list_(pa.float32(), 3))
    error = fails(drop, out)
    assert (error.reason, error.details["file"], error.details["found"]) == (
        *("drop.dimension_mismatch", "items-1.parquet"),
        3,
    )


@pytest.mark.parametrize("missing", ["id", "vector", "year"])
def test_a_missing_column_is_named(drop: Path, out: Path, missing: str) -> None:
    table = pa.table({"id": [1], "vector": vectors(1).tolist(), "year": [1979]}).drop_columns([missing])
    pq.write_table(table, drop / "items-0.parquet")
    error = fails(drop, out, with_attributes(("year", "int64")))
    assert (error.reason, error.details["column"]) == ("drop.missing_column", missing)
    assert f"`{missing}`" in error.message


@pytest.mark.parametrize(("ids", "schema"), [(["a"], INT64), ([1.0], INT64), ([True], INT64), ([1], TEXT)])
def test_ids_of_the_wrong_type_fail_the_drop(drop: Path, out: Path, ids: list[Any], schema: ImportSchema) -> None:
    write_parquet(drop / "items-0.parquet", ids, vectors(1))
    error = fails(drop, out, schema)
    assert (error.reason, error.details["expected"]) == ("drop.bad_id_type", schema.id_type)


def test_an_attribute_column_of_another_type_fails_the_drop(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1), year=["1979"])
    error = fails(drop, out, with_attributes(("year", "int64")))
    assert (error.reason, error.details["column"]) == ("drop.bad_column_type", "year")


def test_a_vector_column_of_integers_fails_the_drop(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], [[1, 2, 3, 4]], pa.list_(pa.int8()))
    assert fails(drop, out).reason == "drop.bad_column_type"


def test_a_drop_without_a_good_row_is_empty_and_says_why(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1, 2], [[NAN] * 4, [1.0, NAN, 1.0, 1.0]])
    error = fails(drop, out)
    assert error.reason == "drop.empty"
    assert error.details["report"]["reasons"] == {"nan": 2}


def test_a_drop_with_nothing_searchable_is_empty(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", [1], vectors(1), searchable=[False])
    assert fails(drop, out).reason == "drop.empty"


def test_a_file_without_rows_is_empty(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", pa.array([], pa.int64()), [])
    assert fails(drop, out).reason == "drop.empty"


@pytest.mark.parametrize("promised", [9, 11])
def test_a_count_that_the_manifest_does_not_keep_fails_the_drop(drop: Path, out: Path, promised: int) -> None:
    write_parquet(drop / "items-0.parquet", list(range(10)), vectors(10))
    complete(drop, items=["items-0.parquet"], count=promised)
    error = fails(drop, out)
    assert error.reason == "drop.count_mismatch"
    assert (error.details["expected"], error.details["found"]) == (promised, 10)


@pytest.mark.parametrize("change", ["rewritten", "touched", "removed", "manifest"])
def test_a_drop_that_changes_while_it_is_read_fails(drop: Path, out: Path, change: str) -> None:
    write_parquet(drop / "items-0.parquet", list(range(50)), vectors(50))
    complete(drop, items=["items-0.parquet"])
    found = opened(drop)

    def disturb(_done: int, _expected: int) -> None:
        if change == "rewritten":
            write_parquet(drop / "new", list(range(60)), vectors(60))
            os.replace(drop / "new", drop / "items-0.parquet")
        elif change == "touched":
            os.utime(drop / "items-0.parquet", ns=(1, 1))
        elif change == "removed":
            (drop / "items-0.parquet").unlink(missing_ok=True)
        else:
            complete(drop, items=["items-0.parquet"], model_version="mind-8")

    with pytest.raises(DropError) as caught:
        import_items(found, INT64, out, limits=SMALL, progress=disturb)
    assert caught.value.reason == "drop.changed_while_read"


def test_a_drop_above_the_size_limit_is_refused_before_it_is_read(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", list(range(50)), vectors(50))
    seen: list[int] = []
    with pytest.raises(DropError) as caught:
        import_items(opened(drop), INT64, out, vector_bytes_max=799, progress=lambda done, _: seen.append(done))
    assert (caught.value.reason, caught.value.details["bytes"]) == ("drop.too_large", 800)
    assert seen == []


def test_progress_rises_to_the_expected_rows(drop: Path, out: Path) -> None:
    write_parquet(drop / "items-0.parquet", list(range(50)), vectors(50))
    seen: list[tuple[int, int]] = []
    import_items(opened(drop), INT64, out, limits=SMALL, progress=lambda *pair: seen.append(pair))
    assert [done for done, _ in seen] == [*range(7, 50, 7), 50]
    assert {expected for _, expected in seen} == {50}


def test_a_second_run_replaces_what_the_first_left(drop: Path, out: Path) -> None:
    schema = ImportSchema("string", DIMENSION, "ip", attributes=(("year", "int64"),))
    write_parquet(drop / "items-0.parquet", ["a", "b"], vectors(2), year=[1, 2])
    imported(drop, out, schema)
    write_parquet(drop / "items-0.parquet", [5], vectors(1))
    found = imported(drop, out)
    assert (found.ids, found.attributes) == ([5], {})
    assert sorted(path.name for path in out.iterdir()) == ["id_keys.npy", "id_rows.npy", "ids.npy", "vectors.npy"]
