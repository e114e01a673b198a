"""Drops in csv and npy give what the same rows in Parquet would give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles.batches import BatchLimits
from bundles.drop import inspect
from bundles.errors import DropError
from bundles.formats import csv as csv_format
from bundles.schema import ImportSchema
from tests.bundles.making import COSINE, DIMENSION, INT64, TEXT, complete, imported, vectors, with_attributes, write_csv

NUMBERED = ["id", "v0", "v1", "v2", "v3"]


def fails(drop: Path, out: Path, schema: ImportSchema = INT64) -> DropError:
    with pytest.raises(DropError) as caught:
        imported(drop, out, schema)
    return caught.value


def test_csv_with_a_column_for_each_number(drop: Path, out: Path) -> None:
    rows = vectors(30)
    write_csv(drop / "items.csv", NUMBERED, *[f"{index},{','.join(map(str, row))}" for index, row in enumerate(rows)])
    found = imported(drop, out)
    assert found.ids == list(range(30))
    np.testing.assert_array_equal(found.vectors, rows)


def test_csv_with_the_vector_as_one_text(drop: Path, out: Path) -> None:
    rows = vectors(30)
    lines = [f'{index},"[{", ".join(map(str, row))}]"' for index, row in enumerate(rows)]
    write_csv(drop / "items.csv", ["id", "vector"], *lines)
    np.testing.assert_array_equal(imported(drop, out).vectors, rows)


def test_csv_across_many_blocks_keeps_its_row_numbers(drop: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_format, "BLOCK_BYTES", 300)
    lines = [f"{index},1,2,3,4" for index in range(400)]
    for ragged in (0, 7, 8, 150, 151, 399):
        lines[ragged] = f"{ragged},1,2"
    lines[200] = "200,1,oops,3,4"
    write_csv(drop / "items.csv", NUMBERED, *lines)
    found = imported(drop, out, limits=BatchLimits(rows=5))
    assert [(row, reason) for _, row, reason, _ in found.reasons()] == [
        *((row, "wrong_dimension") for row in (1, 8, 9, 151, 152)),
        *((201, "nan"), (400, "wrong_dimension")),
    ]
    assert found.ids == [each for each in range(400) if each not in (0, 7, 8, 150, 151, 200, 399)]


def test_a_bad_cell_of_csv_costs_its_row(drop: Path, out: Path) -> None:
    schema = with_attributes(("year", "int64"), ("free", "bool"), ("genre", "list<string>"), ("title", "string"))
    write_csv(
        drop / "items.csv",
        [*NUMBERED, "year", "free", "genre", "title", "searchable"],
        "1, 1 ,2,3,4,1979,true,sf|horror,Alien,true",
        "2,1,2,3,4,x,,,,",
        "3,1,2,3,4,,maybe,,,",
        '4,1,2,3,4,,0,"[""a"",1]",,',
        '5,1,2,3,4,,0,"[""a|b"",""c""]","a\nb",0',
        "6,1,2,3,,,,,,",
        "6.5,1,2,3,4,,,,,",
        "99999999999999999999,1,2,3,4,,,,,",
        "8,1,2,3,4,,,,,no",
        '9,1,2,3,1e3,+7,FALSE,,"",',
        "10,nan,2,3,4,,,,,",
        "11,1_0,2,3,4,,,,,",
    )
    found = imported(drop, out, schema)
    assert found.ids == [1, 9, 5]
    assert found.report.searchable_items == 2
    assert found.attributes == {
        "year": [1979, 7, None],
        "free": [True, False, False],
        "genre": [["sf", "horror"], None, ["a|b", "c"]],
        "title": ["Alien", "", "a\nb"],
    }
    assert [(row, reason, shown) for _, row, reason, shown in found.reasons()] == [
        (2, "bad_attribute", "2"),
        (3, "bad_attribute", "3"),
        (4, "bad_attribute", "4"),
        (6, "nan", "6"),
        (7, "bad_id", "6.5"),
        (8, "bad_id", "99999999999999999999"),
        (9, "bad_attribute", "8"),
        (11, "nan", "10"),
        (12, "nan", "11"),
    ]


def test_ragged_vectors_in_text_cost_their_rows(drop: Path, out: Path) -> None:
    write_csv(
        drop / "items.csv",
        ["id", "vector"],
        '1,"[1,2,3,4]"',
        '2,"[1,2,3]"',
        "3,",
        '4,"[]"',
        '5,"1,2,3,4"',
        '6,"[1,2,three,4]"',
        '7,"[[1,2,3,4]]"',
        "8,[1,2,3,4]",
        '9," [ 1 , 2,3,4 ] "',
    )
    found = imported(drop, out)
    assert found.ids == [1, 9]
    assert [(row, reason) for _, row, reason, _ in found.reasons()] == [
        *((2, "wrong_dimension"), (3, "null_vector"), (4, "wrong_dimension"), (5, "wrong_dimension")),
        *((6, "nan"), (7, "nan"), (8, "wrong_dimension")),
    ]


@pytest.mark.parametrize(
    "cell", ["0.1 0.2 0.3 0.4", "[0.1 0.2 0.3 0.4]", "[ 0.1\n 0.2 0.3 0.4]", "0.1", "0.1|0.2", "[0.1"]
)
def test_vectors_in_csv_that_are_no_lists_are_told_what_is_expected(drop: Path, out: Path, cell: str) -> None:
    write_csv(drop / "items.csv", ["id", "vector"], f'1,"{cell}"', "2,", f'3,"{cell}"')
    error = fails(drop, out)
    assert (error.reason, error.details["found"]) == ("drop.bad_column_type", cell)
    assert error.message.startswith(f"Column `vector` of items.csv holds {json.dumps(cell)}; expected")
    assert error.message.endswith('"[0.1, -0.2, ...]", or the columns v0, v1 and so on.')


@pytest.mark.parametrize(("cell", "found"), [("[0.1]", 1), ("[]", 0), ("[1,2,3,4,5]", 5)])
def test_lists_in_csv_of_another_length_are_of_another_dimension(drop: Path, out: Path, cell: str, found: int) -> None:
    write_csv(drop / "items.csv", ["id", "vector"], f'1,"{cell}"')
    error = fails(drop, out)
    assert (error.reason, error.details.get("found")) == ("drop.dimension_mismatch", found)


def test_text_ids_in_csv_are_taken_as_they_are(drop: Path, out: Path) -> None:
    write_csv(drop / "items.csv", NUMBERED, "007,1,2,3,4", "7,1,2,3,4", ",1,2,3,4")
    found = imported(drop, out, TEXT)
    assert found.ids == ["007", "7"]
    assert found.report.reasons == {"bad_id": 1}


def test_a_byte_order_mark_and_windows_line_ends_are_read(drop: Path, out: Path) -> None:
    (drop / "items.csv").write_bytes(b"\xef\xbb\xbfid,v0,v1,v2,v3\r\n1,1,2,3,4\r\n\r\n2,1,2,3,4\r\n")
    assert imported(drop, out).ids == [1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "drop.unreadable"),
        (b"\n\n", "drop.unreadable"),
        (b"\xff\xfe\x00", "drop.unreadable"),
        (b"id,v0,v1,v2,v3\n1,\xff,2,3,4\n", "drop.unreadable"),
        (b'"id\n",v0,v1,v2,v3\n1,1,2,3,4\n', "drop.missing_column"),
        (b"id,v0,v1,v2,v3\n", "drop.empty"),
        (b"id,vector\n1,[1,2,3,4]\n2,[1,2,3,4]\n", "drop.unreadable"),
        (b"id,v0,v1,v2\n1,1,2,3\n", "drop.dimension_mismatch"),
        (b"id,v0,v1,v2,v3,v4\n1,1,2,3,4,5\n", "drop.dimension_mismatch"),
        (b"id,v0,v1,v2,v3\n1,1,2,3\n2,1,2,3\n", "drop.dimension_mismatch"),
        (b"film,v0,v1,v2,v3\n1,1,2,3,4\n", "drop.missing_column"),
        (b"id,id,v0,v1,v2,v3\n1,1,1,2,3,4\n", "drop.missing_column"),
        (b"id,x\n1,2\n", "drop.missing_column"),
    ],
)
def test_csv_that_cannot_be_items_is_refused(drop: Path, out: Path, content: bytes, reason: str) -> None:
    (drop / "items.csv").write_bytes(content)
    assert fails(drop, out).reason == reason


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("id_dtype", ["<i8", "<i4", "<u2", ">i8"])
def test_npy_of_every_float_type_and_order(drop: Path, out: Path, dtype: str, order: Any, id_dtype: str) -> None:
    rows = vectors(20).astype(np.float16).astype(np.float32)
    np.save(drop / "items.npy", np.asarray(rows, dtype, order=order))
    np.save(drop / "ids.npy", np.arange(5, 25).astype(id_dtype))
    found = imported(drop, out)
    assert found.ids == list(range(5, 25))
    np.testing.assert_array_equal(found.vectors, rows)


def test_npy_rows_are_judged_like_any_other(drop: Path, out: Path) -> None:
    rows = vectors(5).astype(np.float64)
    rows[1, 2] = np.nan
    rows[2] = 0
    rows[3, 0] = 1e200
    np.save(drop / "items.npy", rows)
    np.save(drop / "ids.npy", np.array([1, 2, 3, 4, 1]))
    found = imported(drop, out, COSINE)
    assert found.ids == [1]
    assert [reason for _, _, reason, _ in found.reasons()] == ["nan", "zero_norm", "nan", "duplicate_id"]


def test_the_manifest_pairs_files_of_items_and_ids(drop: Path, out: Path) -> None:
    rows = vectors(6)
    for number, name in enumerate("ab"):
        np.save(drop / f"vec-{name}.npy", rows[3 * number : 3 * number + 3])
        np.save(drop / f"key-{name}.npy", np.arange(3) + 10 * number)
    complete(drop, items=["vec-*.npy"], ids=["key-*.npy"], count=6)
    assert imported(drop, out).ids == [0, 1, 2, 10, 11, 12]


def test_npy_without_its_ids_is_refused(drop: Path, out: Path) -> None:
    np.save(drop / "items.npy", vectors(2))
    assert fails(drop, out).reason == "drop.not_found"
    complete(drop, items=["items.npy"], ids=["ids-*.npy"])
    assert fails(drop, out).reason == "drop.incomplete"
    for number in range(2):
        np.save(drop / f"ids-{number}.npy", np.arange(2))
    assert fails(drop, out).reason == "drop.bad_manifest"


@pytest.mark.parametrize("items", [["vectors.npy", "ids.npy"], ["embeddings.npy", "ids.npy"], ["*.npy"]])
def test_ids_that_are_listed_as_items_are_told_the_rule(drop: Path, out: Path, items: list[str]) -> None:
    for name in ("vectors.npy", "embeddings.npy"):
        np.save(drop / name, vectors(2))
    np.save(drop / "ids.npy", np.arange(2))
    complete(drop, items=items)
    error = fails(drop, out)
    assert error.reason == "drop.bad_manifest"
    assert error.message.startswith("ids.npy is among the files with items. The ids of items.npy are read from ids.npy")
    complete(drop, items=["vectors.npy"], ids=["ids.npy"])
    assert imported(drop, out).ids == [0, 1]


def test_vectors_of_another_name_are_told_where_their_ids_are_looked_for(drop: Path, out: Path) -> None:
    np.save(drop / "vectors.npy", vectors(2))
    complete(drop, items=["vectors.npy"])
    error = fails(drop, out)
    assert error.reason == "drop.not_found"
    assert '{"items": ["vectors.npy"], "ids": ["ids.npy"]}' in error.message


@pytest.mark.parametrize(
    ("rows", "ids", "reason"),
    [
        (vectors(2, 3), np.arange(2), "drop.dimension_mismatch"),
        (vectors(2), np.arange(3), "drop.count_mismatch"),
        (vectors(2), np.array([1.0, 2.0]), "drop.bad_id_type"),
        (vectors(2), np.array(["a", "b"]), "drop.bad_id_type"),
        (vectors(2), np.zeros((2, 1), np.int64), "drop.bad_id_type"),
        (np.ones((2, 4), np.int32), np.arange(2), "drop.bad_column_type"),
        (np.ones((2, 4), np.complex64), np.arange(2), "drop.bad_column_type"),
        (np.ones(4, np.float32), np.arange(4), "drop.bad_column_type"),
        (np.ones((2, 2, 2), np.float32), np.arange(2), "drop.bad_column_type"),
        (np.ones((2, 0), np.float32), np.arange(2), "drop.bad_column_type"),
    ],
)
def test_npy_that_cannot_be_items_is_refused(drop: Path, out: Path, rows: Any, ids: Any, reason: str) -> None:
    np.save(drop / "items.npy", rows)
    np.save(drop / "ids.npy", ids)
    assert fails(drop, out).reason == reason


def test_npy_carries_neither_attributes_nor_text_ids(drop: Path, out: Path) -> None:
    np.save(drop / "items.npy", vectors(2))
    np.save(drop / "ids.npy", np.arange(2))
    error = fails(drop, out, with_attributes(("year", "int64")))
    assert (error.reason, error.details["column"]) == ("drop.missing_column", "year")
    error = fails(drop, out, ImportSchema("string", DIMENSION, "ip"))
    assert (error.reason, error.details["file"]) == ("drop.bad_id_type", "ids.npy")
    assert error.message.endswith("Deliver items with text ids as Parquet or CSV.")


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (np.array(["a", "b"]), "drop.bad_id_type"),
        (np.array([b"a", b"b"]), "drop.bad_id_type"),
        (np.array(["a", "b"], object), "drop.unsafe_npy"),
    ],
)
def test_text_ids_in_npy_are_told_the_same_by_an_inspection_and_an_import(
    drop: Path, out: Path, ids: Any, reason: str
) -> None:
    np.save(drop / "items.npy", vectors(2))
    np.save(drop / "ids.npy", ids)
    error = fails(drop, out)
    with pytest.raises(DropError) as caught:
        inspect(drop.parent)
    assert (error.reason, caught.value.reason) == (reason, reason)
    assert error.message == caught.value.message
    assert "Parquet or CSV" in error.message
